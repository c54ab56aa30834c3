#!/usr/bin/env bash
# From nothing to a page with all five systems: environment, test scenes, exported checkpoints. Run it again to look.
set -euo pipefail
cd "$(dirname "$0")/.."
source scripts/_environment.sh
ensure_environment requirements.txt
exec "$PYTHON" -m scripts.quickstart
