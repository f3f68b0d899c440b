# Short names for common tasks; `just --list` shows them.

# What is checked before a change is merged
check:
    .ci/run

# Every test; arguments go to `cargo test`
test *arguments:
    sh scripts/test.sh {{arguments}}

# Benchmarks of the crates
bench:
    cargo bench --workspace

# API documentation, and the figure of the README
docs:
    cargo doc --workspace --no-deps
    cargo build --release --bin bidual
    python3 docs/figures/path.py

# The smallest and fastest binary: target/dist/bidual
release:
    cargo build --workspace --profile dist
