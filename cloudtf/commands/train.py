"""Train a classifier on records, and keep the best model.

Run again on the same run folder, it goes on from the last checkpoint.
"""

from __future__ import annotations

from cloudtf import files
from cloudtf.evaluation import pr_auc
from cloudtf.training.config import TrainConfig

CONFIG = TrainConfig


def run(config: TrainConfig) -> None:
    """Trains and prints the best PR-AUC a class."""
    from cloudtf.training.train import train

    result = train(config)
    print(f"Best model: epoch {result.best['epoch']}, {files.join(result.run_dir, 'best.keras')}")
    print(pr_auc.table(result.best["pr_auc"], result.best["average_precision"]))
