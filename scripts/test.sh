#!/bin/sh
# Runs every test. Needs a Rust toolchain and python3 with venv and pip; the Python
# packages for the ONNX tests go to a virtual environment in the target directory.
# Arguments are passed to `cargo test`.
set -eu
cd "$(dirname "$0")/.."

if ! command -v python3 >/dev/null 2>&1; then
    echo "scripts/test.sh: python3 was not found. The exported ONNX files are tested with" >&2
    echo "onnxruntime: install Python 3.10 or newer with its venv and pip modules." >&2
    exit 1
fi

target=${CARGO_TARGET_DIR:-target}
mkdir -p "$target"
environment=$(cd "$target" && pwd)/test-venv
python=$environment/bin/python

if ! "$python" -c 'import numpy, onnx, onnxruntime' >/dev/null 2>&1; then
    echo "scripts/test.sh: installing onnx, onnxruntime and numpy in $environment"
    if ! python3 -m venv --clear "$environment"; then
        echo "scripts/test.sh: python3 cannot make a virtual environment; install its venv module" >&2
        echo "(the package python3-venv on Debian and Ubuntu)." >&2
        exit 1
    fi
    "$python" -m pip install --quiet --disable-pip-version-check onnx onnxruntime numpy
fi

BIDUAL_PYTHON=$python
export BIDUAL_PYTHON
exec cargo test --workspace "$@"
