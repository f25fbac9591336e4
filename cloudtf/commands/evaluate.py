"""Judge a model on a split: metrics, thresholds, predictions, plots and a report."""

from __future__ import annotations

import shutil

from cloudtf.evaluation import tables
from cloudtf.evaluation.evaluate import EvaluateConfig, judge

CONFIG = EvaluateConfig


def run(config: EvaluateConfig) -> None:
    """Evaluates and prints the tables of scores and of thresholds."""
    print(tables.text(judge(config), shutil.get_terminal_size().columns))
