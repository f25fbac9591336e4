"""The decision thresholds of each class, and `thresholds.json`.

A class is present where its score is at least the threshold. Two thresholds are chosen a class:
`recall`, the strictest that still finds the wanted share of the positives, and `precision`, the
most lenient whose finds are still right as often as wanted (so the one that finds the most).
"""

from __future__ import annotations

from typing import Any, Optional, Sequence

import numpy as np

from cloudtf import files
from cloudtf.errors import UserError
from cloudtf.evaluation import pr_auc

TARGETS = ("recall", "precision")


def choose(
    labels: np.ndarray,
    scores: np.ndarray,
    class_names: Sequence[str],
    recall_target: float = 0.94,
    precision_target: float = 0.90,
) -> dict[str, dict[str, dict[str, Optional[float]]]]:
    """Both thresholds of every class, in the structure of `thresholds.json`.

    Args:
      labels: [N, C], 0 or 1.
      scores: [N, C], probabilities. A float32 score is widened to float64, which is exact, so a
        threshold still compares equal to the score that it came from.
      class_names: C distinct names.
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


def write(path: str, chosen: dict[str, dict[str, dict[str, Optional[float]]]]) -> None:
    """Writes `thresholds.json`; floats read back exactly.

    Raises:
      UserError: a value in `chosen` could not be read back (see `read`).
    """
    _check(path, chosen)
    files.write_json(path, chosen)


def read(path: str) -> dict[str, dict[str, dict[str, Optional[float]]]]:
    """Reads `thresholds.json`.

    Raises:
      UserError: the file is missing or is not JSON; there is no class in it; a class lacks an
        entry or has one that is not a number from 0 to 1, or null where that is allowed.
    """
    chosen = files.read_json(path)
    _check(path, chosen)
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


def _check(path: str, chosen: Any) -> None:
    again = "make it again with `cloudtf evaluate`."
    if not isinstance(chosen, dict) or not chosen:
        raise UserError(f"{path} holds no thresholds by class; {again}")
    for name, by_target in chosen.items():
        for target in TARGETS:
            entry = by_target.get(target) if isinstance(by_target, dict) else None
            if not isinstance(entry, dict):
                raise UserError(f"{path} has no {target!r} entry for class {name}; {again}")
            for key in ("target", "threshold", "precision", "recall"):
                if key not in entry or not _allowed(entry[key], null=key != "target"):
                    raise UserError(
                        f"{path} has {entry.get(key)!r} as the {key} of {target!r} for class "
                        f"{name}, which is not a number from 0 to 1; {again}"
                    )


def _allowed(value: Any, null: bool) -> bool:
    if value is None:
        return null
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    return number and 0 <= value <= 1  # NaN is neither.
