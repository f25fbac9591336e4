"""Judge a model on a split: metrics, thresholds, predictions, plots and a report."""

from __future__ import annotations

from cloudtf import files
from cloudtf.evaluation.evaluate import EvaluateConfig, evaluate

CONFIG = EvaluateConfig


def run(config: EvaluateConfig) -> None:
    """Evaluates and prints the table of scores."""
    metrics = evaluate(config)
    print(f"{metrics['examples']} examples of {metrics['split']}")
    width = max(len(name) for name in metrics["pr_auc"])
    print(f"{'':<{width}}  PR-AUC  average precision")
    for name, value in metrics["pr_auc"].items():
        print(f"{name:<{width}}  {value:6.4f}  {metrics['average_precision'][name]:6.4f}")
    output = config.output_dir or config.run_dir or files.dirname(config.model or "")
    print(f"Open {files.join(output, 'report.html')}")
