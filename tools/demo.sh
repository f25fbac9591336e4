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

step "A first model: the ImageNet weights of EfficientNet-Lite0, and a head fitted on their features"
started=$SECONDS
cloudtf train --flagfile="$here/flags/demo_features.flags" --data_dir="$demo/records" \
  --run_dir="$demo/first"
first_seconds=$((SECONDS - started))

step "Training EfficientNet-B2 from random weights on small images"
started=$SECONDS
cloudtf train --flagfile="$here/flags/demo.flags" --data_dir="$demo/records" --run_dir="$demo/run"
run_seconds=$((SECONDS - started))

step "Metrics, thresholds, plots of both"
for run in first run; do
  cloudtf evaluate --run_dir="$demo/$run" --data_dir="$demo/records"
done

step "What each is worth on the validation photographs (a coin would have 0.53)"
better=$(python - "$demo" "$first_seconds" "$run_seconds" <<'PYTHON'
import json, sys

demo, *seconds = sys.argv[1:]
means = {}
for run, what, took in zip(("first", "run"), ("Lite0, fitted head", "B2, trained"), seconds):
    metrics = json.load(open(f"{demo}/{run}/metrics.json"))
    means[run] = metrics["average_precision"]["mean"]
    scores = f"PR-AUC {metrics['pr_auc']['mean']:.4f}  average precision {means[run]:.4f}"
    print(f"{what:<18}  {scores}  in {took} s", file=sys.stderr)
for run, least in (("first", 0.95), ("run", 0.80)):
    if means[run] < least:
        sys.exit(f"{demo}/{run} has not learnt: its mean average precision is under {least}.")
print(max(means, key=means.get))
PYTHON
)

step "Predictions of the better one for the test photographs, and the cleaned submission"
cloudtf predict --model="$demo/$better/best.keras" --images_dir="$demo/photographs/test_images" \
  --output="$demo/predictions_test.csv"
cloudtf postprocess --submission="$demo/photographs/sample_submission.csv" \
  --predictions="$demo/predictions_test.csv" --thresholds="$demo/$better/thresholds.json" \
  --output="$demo/submission.csv"

printf '\nDone in %d s. Open %s\n' "$((SECONDS - began))" "$demo/$better/report.html"
printf 'That of the other model is in %s\n' "$demo"/*/report.html | grep -v "$demo/$better/"
