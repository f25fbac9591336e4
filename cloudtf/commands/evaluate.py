"""Judge a model on a split: metrics, thresholds, predictions, plots and a report."""

from __future__ import annotations

import shutil

from cloudtf.evaluation import pr_auc, promises, slices
from cloudtf.evaluation.evaluate import EvaluateConfig, judge

CONFIG = EvaluateConfig


def run(config: EvaluateConfig) -> None:
    """Evaluates and prints the tables of scores and of thresholds."""
    found = judge(config)
    metrics = found.metrics
    print(f"{metrics['examples']} examples of {metrics['split']}")
    width = shutil.get_terminal_size().columns
    print(pr_auc.table(metrics, width))
    print(promises.table(found.thresholds, metrics["average_precision"], width))
    if "slices" in metrics:
        print(slices.table(metrics["slices"]))
    print(f"Open {found.report}")
