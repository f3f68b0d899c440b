# Short names for common tasks; `just --list` shows them.

# What is checked before a change is merged
check:
    .ci/run

# Every test; arguments go to `cargo test`
test *arguments:
    sh scripts/test.sh {{arguments}}

# Certified networks next to scikit-learn on real sets in DATA, a folder a set
bench data *arguments:
    cargo build --release --bin bidual
    python3 benchmarks/real_sets.py --data {{data}} {{arguments}}

# API documentation, and the outputs and the figure in the texts
docs:
    cargo doc --workspace --no-deps
    cargo build --release --bin bidual
    python3 docs/refresh.py
    python3 docs/figures/path.py

# The smallest and fastest binary: target/dist/bidual
release:
    cargo build --workspace --profile dist
