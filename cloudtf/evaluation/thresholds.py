"""Choosing the decision thresholds of each class; `cloudtf.model.thresholds` keeps them.

A class is present where its score is at least the threshold. Two thresholds are chosen a class:
`recall`, the strictest that still finds the wanted share of the positives, and `precision`, the
most lenient whose finds are still right as often as wanted (so the one that finds the most).

No decision hangs by a hair. A threshold lies halfway between two neighbouring scores, so that it
decides alike wherever a score is off by some rounding: in an exported model, on another machine, in
another reader of the CSV. Between scores closer than `GAP` there is none: it goes to the next wider
gap on the side that keeps the target, down for recall and up for precision.

- Ties: equal scores are one score; they are never divided.
- The low end: under the lowest score everything is present. The threshold is halfway to 0, or 0
  where the lowest score is less than `GAP`. So recall always has one, if there are positives.
- The high end: over the highest score nothing is present, which has no precision. Where no gap
  wide enough reaches the wanted precision there is no threshold (None).
"""

from __future__ import annotations

from typing import Optional, Sequence

import numpy as np

from cloudtf.evaluation import pr_auc
from cloudtf.evaluation.evaluate import EvaluateConfig

# Neighbouring scores closer than this are not told apart: a float32 network computed elsewhere may
# be off by a tenth of it.
GAP = 1e-5


def choose(
    labels: np.ndarray,
    scores: np.ndarray,
    class_names: Sequence[str],
    recall_target: float = EvaluateConfig.recall_target,
    precision_target: float = EvaluateConfig.precision_target,
) -> dict[str, dict[str, dict[str, Optional[float]]]]:
    """Both thresholds of every class, as the `classes` of `thresholds.json` have them.

    Args:
      labels: [N, C], 0 or 1.
      scores: [N, C], probabilities.
      class_names: C distinct names, in the order of the columns.
      recall_target: the wanted recall, 0 to 1.
      precision_target: the wanted precision, 0 to 1.

    Returns:
      For each class `recall` and `precision`, each with `target`, `threshold`, and the
      `precision` and `recall` found there; the last three are None where no threshold reaches
      the target (for recall: only where the class has no positives).

    Raises:
      UserError: a score is not finite or a label is neither 0 nor 1.
      ValueError: the shapes do not agree or a target is outside 0 to 1.

    >>> labels, scores = np.array([[1], [1], [0], [1]]), np.array([[0.9], [0.6], [0.4], [0.2]])
    >>> fish = choose(labels, scores, ["Fish"], recall_target=0.6, precision_target=0.9)["Fish"]
    >>> fish["recall"]["threshold"], fish["precision"]["threshold"]
    (0.5, 0.5)
    """
    for target in (recall_target, precision_target):
        if not 0 <= target <= 1:
            raise ValueError(f"A target of {target} is not between 0 and 1.")
    labels, scores = pr_auc.checked(labels, scores, class_names)
    chosen = {}
    for index, name in enumerate(class_names):
        at_recall = at_precision = (None, None, None)
        if labels[:, index].any():
            precision, recall, distinct = pr_auc.curve(labels[:, index], scores[:, index])
            cuts, wide = _cuts(distinct)
            # Without the curve's last point: nothing is present there, over the highest score.
            points = list(zip(cuts.tolist(), precision.tolist(), recall.tolist()))
            # Recall begins at 1 and falls as thresholds rise, so there is always a last one.
            at_recall = points[np.flatnonzero(wide & (recall[:-1] >= recall_target))[-1]]
            precise = np.flatnonzero(wide & (precision[:-1] >= precision_target))
            if precise.size:
                at_precision = points[precise[0]]
        chosen[name] = {
            "recall": _entry(recall_target, *at_recall),
            "precision": _entry(precision_target, *at_precision),
        }
    return chosen


def _cuts(distinct: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Under each of the scores [T], ascending: where a threshold would lie, and if it may, bool."""
    lowest = distinct[0]
    # Logits are no probabilities, but have an order too.
    below = np.concatenate([[0.0 if lowest >= 0 else lowest - GAP], distinct[:-1]])
    wide = distinct - below >= GAP
    cuts = np.where(wide, below + (distinct - below) / 2, below)
    wide[0] = True  # Nothing is lower than the low end itself.
    return cuts, wide


def _entry(
    target: float, threshold: Optional[float], precision: Optional[float], recall: Optional[float]
) -> dict[str, Optional[float]]:
    return {
        "target": float(target),
        "threshold": threshold,
        "precision": precision,
        "recall": recall,
    }
