#!/usr/bin/env bash
# Every step on a synthetic set: photographs, records, training, thresholds, submission.
# Usage: tools/demo.sh FOLDER (made anew).
set -euo pipefail
here=$(cd "$(dirname "$0")/.." && pwd)
demo=${1:-demo}
began=$SECONDS
step() { printf '\n== %s\n' "$*"; }

rm -rf "$demo"
mkdir -p "$demo"

step "Synthetic photographs of clouds, in Kaggle's format"
cloudtf synthesize --flagfile="$here/flags/demo_synthesize.flags" --output_dir="$demo/photographs"

step "Photographs to TFRecords"
python "$here/tools/make_tfrecords.py" --labels_csv="$demo/photographs/train.csv" \
  --images_dir="$demo/photographs/train_images" --output_dir="$demo/records" \
  --image_height=64 --image_width=64
cloudtf preview --data_dir="$demo/records" --output="$demo/preview.png"

step "Training EfficientNet-B2 from random weights on small images"
cloudtf train --flagfile="$here/flags/demo.flags" --data_dir="$demo/records" --run_dir="$demo/run"

step "Metrics, thresholds, plots"
cloudtf evaluate --run_dir="$demo/run" --data_dir="$demo/records"

step "Predictions for the test photographs, and the cleaned submission"
cloudtf predict --model="$demo/run/best.keras" --images_dir="$demo/photographs/test_images" \
  --output="$demo/predictions_test.csv"
cloudtf postprocess --submission="$demo/photographs/sample_submission.csv" \
  --predictions="$demo/predictions_test.csv" --thresholds="$demo/run/thresholds.json" \
  --output="$demo/submission.csv"

step "Scores on the validation photographs (a coin would have 0.53)"
python - "$demo/run/metrics.json" <<'PYTHON'
import json, sys

metrics = json.load(open(sys.argv[1]))
for name, value in metrics["pr_auc"].items():
    average = metrics["average_precision"][name]
    print(f"{name:<8} PR-AUC {value:.4f}  average precision {average:.4f}")
if metrics["average_precision"]["mean"] < 0.80:
    sys.exit("The network has not learnt: the mean average precision is under 0.80.")
PYTHON

printf '\nDone in %d s. Open %s\n' "$((SECONDS - began))" "$demo/run/report.html"
