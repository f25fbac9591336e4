"""Train a classifier on records, and keep the best model.

Run again on the same run folder, it goes on from the last checkpoint.
"""

from __future__ import annotations

from cloudtf import files
from cloudtf.training.config import TrainConfig

CONFIG = TrainConfig


def run(config: TrainConfig) -> None:
    """Trains and prints the best PR-AUC a class."""
    from cloudtf.training.train import train

    result = train(config)
    print(f"Best model: epoch {result.best['epoch']}, {files.join(result.run_dir, 'best.keras')}")
    width = max(len(name) for name in result.best["pr_auc"])
    print(f"{'':<{width}}  PR-AUC  average precision")
    for name, value in result.best["pr_auc"].items():
        print(f"{name:<{width}}  {value:6.4f}  {result.best['average_precision'][name]:6.4f}")
