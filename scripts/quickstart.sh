#!/usr/bin/env bash
# From nothing to a report: environment, embedded dataset, training, evaluation. Run it again to go on or to look.
set -euo pipefail
cd "$(dirname "$0")/.."
source scripts/_environment.sh
start=$SECONDS
ensure_environment requirements.txt

workdir=runs/quickstart
report=$workdir/report.html
export TF_CPP_MIN_LOG_LEVEL=3 TF_ENABLE_ONEDNN_OPTS=0

if [ -f "$report" ] && [ -f "$workdir/metrics.json" ]; then
  echo "== already done; remove $workdir to start again"
  "$PYTHON" - "$workdir/metrics.json" <<'PY'
import json, sys
result = json.load(open(sys.argv[1]))
for name, values in {"model": result["metrics"], **result["compared"]}.items():
    print(f"{name:<20} HOI mAP {100 * values['default/full']:.2f}")
PY
else
  echo "== training TIN on the embedded scenes (a few minutes; Ctrl-C saves, this command goes on from there)"
  "$PYTHON" train.py --config configs/tin_hoi_scenes.py --workdir "$workdir"
  echo "== evaluating"
  "$PYTHON" evaluate.py --workdir "$workdir" --out "$workdir/metrics.json" --report "$report"
fi
echo "== report: $report ($((SECONDS - start)) s)"
