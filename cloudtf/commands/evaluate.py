"""Judge a model on a split: metrics, thresholds, predictions, plots and a report."""

from __future__ import annotations

from cloudtf.evaluation import pr_auc, slices
from cloudtf.evaluation.evaluate import EvaluateConfig, judge

CONFIG = EvaluateConfig


def run(config: EvaluateConfig) -> None:
    """Evaluates and prints the table of scores."""
    found = judge(config)
    metrics = found.metrics
    print(f"{metrics['examples']} examples of {metrics['split']}")
    print(pr_auc.table(metrics))
    if "slices" in metrics:
        print(slices.table(metrics["slices"]))
    print(f"Open {found.report}")
