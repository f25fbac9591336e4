"""What is said of an epoch, in a line that fits a terminal of 80 columns."""

from __future__ import annotations

import math

from cloudtf.evaluation import history
from cloudtf.text import duration


def label(number: int, total: int) -> str:
    """Which epoch it is, as in `epoch 3 of 20`.

    Args:
      number: its number over all stages, from 1.
      total: the most epochs that the run takes, with those that patience may save.
    """
    return f"epoch {number} of {total}"


def epoch_line(row: history.Row, total: int, is_best: bool, seconds_left: float) -> str:
    """A line about an epoch that has been judged.

    Args:
      row: its row in the history.
      total: the most epochs that the run takes.
      is_best: whether its model is the best so far.
      seconds_left: what all other epochs would take, within the time limit; NaN where that is not
        known.

    >>> row = {"epoch": 3, "loss": 0.412, "val_loss": 0.5, "val_pr_auc_mean": 0.8139}
    >>> epoch_line({**row, "train_pr_auc_mean": 0.9}, 20, True, 700.0)
    'epoch 3 of 20  loss 0.412 val 0.500  PR-AUC 0.900 val 0.814 best  12 min left'
    """
    parts = [
        label(row["epoch"], total),
        f"loss {_loss(row['loss'])} val {_loss(row['val_loss'])}",
    ]
    if "train_pr_auc_mean" in row:
        parts.append(f"PR-AUC {row['train_pr_auc_mean']:.3f} val {row['val_pr_auc_mean']:.3f}")
    else:
        parts.append(f"val PR-AUC {row['val_pr_auc_mean']:.3f}")
    if is_best:
        parts[-1] += " best"
    if seconds_left > 0 and math.isfinite(seconds_left):
        parts.append(f"{duration(seconds_left)} left")
    line = "  ".join(parts)
    return line if len(line) <= 80 else " ".join(parts)


def _loss(value: float) -> str:
    """A loss in five characters."""
    for limit, form in ((10, ".3f"), (1000, ".3g"), (1e5, ".0f")):
        if value < limit:
            return f"{value:{form}}"
    return f"{value:.0e}"
