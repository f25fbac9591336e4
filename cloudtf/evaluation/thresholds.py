"""Choosing the decision thresholds of each class; `cloudtf.model.thresholds` keeps them.

A class is present where its score is at least the threshold. Two thresholds are chosen a class:
`recall`, the strictest that still finds the wanted share of the positives, and `precision`, the
most lenient whose finds are still right as often as wanted (so the one that finds the most).
"""

from __future__ import annotations

from typing import Optional, Sequence

import numpy as np

from cloudtf.evaluation import pr_auc
from cloudtf.evaluation.evaluate import EvaluateConfig


def choose(
    labels: np.ndarray,
    scores: np.ndarray,
    class_names: Sequence[str],
    recall_target: float = EvaluateConfig.recall_target,
    precision_target: float = EvaluateConfig.precision_target,
) -> dict[str, dict[str, dict[str, Optional[float]]]]:
    """Both thresholds of every class, in the structure of `thresholds.json`.

    Args:
      labels: [N, C], 0 or 1.
      scores: [N, C], probabilities. A float32 score is widened to float64, which is exact, so a
        threshold still compares equal to the score that it came from.
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
    """
    for target in (recall_target, precision_target):
        if not 0 <= target <= 1:
            raise ValueError(f"A target of {target} is not between 0 and 1.")
    labels, scores = pr_auc.checked(labels, scores, class_names)
    chosen = {}
    for index, name in enumerate(class_names):
        nowhere: tuple[Optional[float], ...] = (None, None, None)
        at_recall = at_precision = nowhere
        if labels[:, index].any():
            curve = pr_auc.curve(labels[:, index], scores[:, index])
            # The curve's last point has no threshold: nothing is present there.
            precision, recall = curve[0][:-1], curve[1][:-1]
            # Recall begins at 1 and falls as thresholds rise, so there is always a last one.
            at_recall = _point(curve, np.flatnonzero(recall >= recall_target)[-1])
            precise = np.flatnonzero(precision >= precision_target)
            if precise.size:
                at_precision = _point(curve, precise[0])
        chosen[name] = {
            "recall": _entry(recall_target, at_recall),
            "precision": _entry(precision_target, at_precision),
        }
    return chosen


def _point(
    curve: tuple[np.ndarray, np.ndarray, np.ndarray], index: int
) -> tuple[float, float, float]:
    precision, recall, thresholds = curve
    return float(thresholds[index]), float(precision[index]), float(recall[index])


def _entry(target: float, found: tuple[Optional[float], ...]) -> dict[str, Optional[float]]:
    threshold, precision, recall = found
    return {
        "target": float(target),
        "threshold": threshold,
        "precision": precision,
        "recall": recall,
    }
