#!/usr/bin/env bash
# Linters, type checks and tests; makes .venv if needed. Arguments go to pytest: scripts/test.sh -m slow
set -euo pipefail
cd "$(dirname "$0")/.."
source scripts/_environment.sh
ensure_environment requirements-dev.txt

export TF_CPP_MIN_LOG_LEVEL=3 JAX_PLATFORMS=cpu CUDA_VISIBLE_DEVICES=
echo "== ruff check"
"$PYTHON" -m ruff check .
echo "== ruff format"
"$PYTHON" -m ruff format --check .
echo "== pyright"
"$PYTHON" -m pyright --pythonpath "$PYTHON"
echo "== pytest"
# Files are shared out among two processes: most of the time goes into compiling, on one core each.
"$PYTHON" -m pytest --numprocesses=2 --dist=loadfile --durations=10 "$@"
