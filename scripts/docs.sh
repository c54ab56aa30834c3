#!/usr/bin/env bash
# The reference, one page per module, from the docstrings: build/reference/index.html (about a minute).
set -euo pipefail
cd "$(dirname "$0")/.."
source scripts/_environment.sh
ensure_environment requirements-docs.txt

export TF_CPP_MIN_LOG_LEVEL=3 TF_ENABLE_ONEDNN_OPTS=0 JAX_PLATFORMS=cpu CUDA_VISIBLE_DEVICES=
"$PYTHON" -m pdoc --docformat google --output-directory build/reference hoi_jax data_prep
echo "== build/reference/index.html"
