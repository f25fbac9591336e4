"""The area under the precision-recall curve, exact, a class and in the mean.

Two areas are kept. `pr_auc` is the original notebook's (docs/ORIGINAL.md): the trapezoid under
scikit-learn's `precision_recall_curve`, which interpolates between points and so flatters (a
constant score at 1% prevalence gets 0.505). `average_precision` is the step function's area and
does not (it gets 0.01). See Davis and Goadrich, "The relationship between precision-recall and ROC
curves", ICML 2006.

Scores are never binned: `tf.keras.metrics.AUC` is not a substitute.
"""

from __future__ import annotations

import dataclasses
import math
from typing import Any, Mapping, Sequence

import numpy as np

from cloudtf.data.labels import UNKNOWN
from cloudtf.errors import UserError
from cloudtf.text import extremes, listed


@dataclasses.dataclass(frozen=True)
class PrAuc:
    """Areas under the precision-recall curves of one set of examples.

    Attributes:
      pr_auc: trapezoid area a class; NaN for a class without positives or without negatives.
      average_precision: average precision a class; NaN for the same classes.
    """

    pr_auc: dict[str, float]
    average_precision: dict[str, float]

    @property
    def mean_pr_auc(self) -> float:
        """Mean of the trapezoid areas that exist; NaN where none does."""
        return _finite_mean(self.pr_auc)

    @property
    def mean_average_precision(self) -> float:
        """Mean of the average precisions that exist; NaN where none does."""
        return _finite_mean(self.average_precision)

    @property
    def undefined(self) -> tuple[str, ...]:
        """The classes that have no area and are left out of the means."""
        return tuple(name for name, area in self.pr_auc.items() if not math.isfinite(area))

    def warning(self, examples: str) -> str:
        """A sentence on the undefined classes, for people; empty if there are none.

        Args:
          examples: a name for the examples that were scored, such as `validation examples`.
        """
        if not self.undefined:
            return ""
        return (
            f"Warning: no PR-AUC for {listed(self.undefined)}, which all or none of the "
            f"{examples} show; left out of the mean."
        )


def table(metrics: Mapping[str, Any], columns: int = 80) -> str:
    """Both areas of the classes (of the worst and the best, if there are many) and of the mean.

    Args:
      metrics: the content of `metrics.json` or of `best.json`: `pr_auc` and `average_precision`,
        each by class and with `mean`, and where they are known their `intervals`.
      columns: those of the terminal; where they are too few for the intervals of both areas, that
        of average precision, which does not flatter, is shown.
    """
    intervals = metrics.get("intervals", {})
    classes = {name: area for name, area in metrics["average_precision"].items() if name != "mean"}
    worst, best = extremes(classes)
    width = max(len(name) for name in [*worst, *best, "mean"])
    titles = {"pr_auc": "PR-AUC", "average_precision": "average precision"}
    sure = [measure for measure in titles if measure in intervals]
    if width + sum(2 + len(title) for title in titles.values()) + 16 * len(sure) > columns:
        sure = sure[-1:]
    heading = "".join(
        f"  {title}" + f"  {'95% interval':<14}" * (measure in sure)
        for measure, title in titles.items()
    )
    lines = [f"{'':<{width}}{heading}".rstrip()]

    def add(names: Sequence[str]) -> None:
        for name in names:
            line = f"{name:<{width}}"
            for measure, title in titles.items():
                line += f"  {f'{metrics[measure][name]:6.4f}':<{len(title)}}"
                if measure in sure:
                    low, high = intervals[measure][name]
                    line += f"  {f'{low:.3f} to {high:.3f}':<14}"
            lines.append(line.rstrip())

    add(worst)
    left_out = len(classes) - len(worst) - len(best)
    if left_out:
        lines.append(f"... {left_out:,} more classes, all of them in the files ...")
    add([*best, "mean"])
    return "\n".join(lines)


def score(labels: np.ndarray, scores: np.ndarray, class_names: Sequence[str]) -> PrAuc:
    """The exact areas for every class.

    Args:
      labels: [N, C], 0 or 1, or -1 where unknown (any numeric or bool dtype): such an example is
        left out of the areas of that class.
      scores: [N, C], finite; a higher score means that the class is more likely present.
      class_names: C distinct names, in the order of the columns.

    Raises:
      UserError: a score is not finite or a label is another number.
      ValueError: the shapes do not agree.

    >>> areas = score([[1], [1], [0]], [[0.9], [0.4], [0.6]], ["Fish"])
    >>> round(areas.average_precision["Fish"], 4), round(areas.pr_auc["Fish"], 4)
    (0.8333, 0.7917)
    """
    labels, scores = checked(labels, scores, class_names)
    trapezoid, average = {}, {}
    for index, name in enumerate(class_names):
        trapezoid[name], average[name] = _areas(*of_class(labels, scores, index))
    return PrAuc(trapezoid, average)


def checked(
    labels: np.ndarray, scores: np.ndarray, class_names: Sequence[str]
) -> tuple[np.ndarray, np.ndarray]:
    """Labels as int8 (0, 1 or -1) and scores as float64 (exact for float32), both [N, C].

    Raises:
      UserError: a score is not finite or a label is another number.
      ValueError: the shapes do not agree, or a class name comes twice.
    """
    labels, scores = np.asarray(labels), np.asarray(scores)
    if labels.ndim != 2 or labels.shape != scores.shape or labels.shape[1] != len(class_names):
        raise ValueError(
            f"Labels {labels.shape} and scores {scores.shape} must both be "
            f"[examples, {len(class_names)}]."
        )
    if len(set(class_names)) != len(class_names):
        raise ValueError(f"A class name comes twice in {list(class_names)}.")
    scores = scores.astype(np.float64, copy=False)
    _refuse(~np.isfinite(scores), scores, class_names, "score", "a finite number")
    unknown = labels == UNKNOWN
    wrong = (labels != 0) & (labels != 1) & ~unknown
    _refuse(wrong, labels, class_names, "label", "0 or 1 (or -1 where unknown)")
    return labels.astype(np.int8), scores


def of_class(labels: np.ndarray, scores: np.ndarray, index: int) -> tuple[np.ndarray, np.ndarray]:
    """Labels bool [K] and scores [K] of one class, of the examples whose label is known.

    Args:
      labels: [N, C], 0, 1 or -1 where unknown.
      scores: [N, C].
      index: the number of the class.
    """
    column, of_it = labels[:, index], scores[:, index]
    known = column >= 0
    if not known.all():
        column, of_it = column[known], of_it[known]
    return column.astype(bool), of_it


def curve(labels: np.ndarray, scores: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """scikit-learn's precision-recall curve of one class, thresholds ascending.

    Args:
      labels: [N] bool with at least one true.
      scores: [N] float64, finite.

    Returns:
      precision [T + 1] and recall [T + 1], whose last values are 1 and 0, and the distinct
      scores as thresholds [T]; point i counts as present what scores at least `thresholds[i]`.
    """
    # Here and not above: scikit-learn takes a second to import, and `--help` does not need it.
    from sklearn.metrics import precision_recall_curve

    return precision_recall_curve(labels, np.ascontiguousarray(scores), pos_label=1)


def _areas(labels: np.ndarray, scores: np.ndarray) -> tuple[float, float]:
    if not labels.any() or labels.all():
        return math.nan, math.nan
    from sklearn.metrics import auc

    precision, recall, _ = curve(labels, scores)
    # One curve serves both areas, since sorting is most of the work; the second line is
    # scikit-learn's own definition of average_precision_score.
    return float(auc(recall, precision)), float(-np.sum(np.diff(recall) * precision[:-1]))


def _finite_mean(areas: dict[str, float]) -> float:
    finite = [area for area in areas.values() if math.isfinite(area)]
    return sum(finite) / len(finite) if finite else math.nan


def _refuse(
    wrong: np.ndarray, values: np.ndarray, class_names: Sequence[str], what: str, wanted: str
) -> None:
    if wrong.any():
        row, column = np.argwhere(wrong)[0]
        raise UserError(
            f"The {what} of example {row} for class {class_names[column]} is "
            f"{values[row, column]}, not {wanted}."
        )
