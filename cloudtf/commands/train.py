"""Train a classifier on records, and keep the best model.

Run again on the same run folder, it goes on from the last checkpoint. With --fold=all it trains a
model a fold, and scores each photograph by the model that has not seen it.
"""

from __future__ import annotations

import shutil

from cloudtf import files
from cloudtf.evaluation import pr_auc, slices
from cloudtf.training.config import TrainConfig

CONFIG = TrainConfig


def run(config: TrainConfig) -> None:
    """Trains and prints the best PR-AUC a class."""
    if config.find_rate:
        from cloudtf.training.find_rate import find_rate

        print(f"Suggested: --learning_rate={find_rate(config).suggested:g}")
        return
    from cloudtf.training.train import train

    result = train(config)
    if result.folds:
        mean, spread = (
            result.best[name]["pr_auc"]["mean"] for name in ("folds_mean", "folds_spread")
        )
        for one in result.folds:
            print(f"{one.run_dir}: epoch {one.best['epoch']}, {one.best['pr_auc']['mean']:.4f}")
        print(f"Mean PR-AUC over the folds: {mean:.4f}, spread {spread:.4f}. Out of fold:")
    else:
        best = files.join(result.run_dir, "best.keras")
        print(f"Best model: epoch {result.best['epoch']}, {best}")
    print(pr_auc.table(result.best, shutil.get_terminal_size().columns))
    if "slices" in result.best:
        print(slices.table(result.best["slices"]))
