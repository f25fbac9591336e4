"""What an evaluation can say of a model beyond its scores: how sure each is, and how calibrated."""

from __future__ import annotations

import dataclasses
import math
from typing import Mapping, Optional, Sequence

import numpy as np

from cloudtf.evaluation import (
    bootstrap,
    calibration,
    calibration_interval,
    guarantees,
    intervals,
    pr_auc,
)

SEED = 0

# Measure -> class, and `mean`, -> value.
Measures = dict[str, dict[str, float]]
Intervals = dict[str, dict[str, list[float]]]


@dataclasses.dataclass(frozen=True)
class Evidence:
    """What was measured on N images of C classes, and how sure that is.

    Attributes:
      measures: `pr_auc`, `average_precision`, `brier`, `ece`, and the latter two after calibration,
        `brier_calibrated` and `ece_calibrated`: each by class, and their `mean`; NaN where a class
        cannot be scored, which leaves it out of the mean.
      intervals: the same keys -> [low, high], which hold the truth in 95% of all samples.
      resamples: which images were drawn how often for the intervals, [N, R] in all.
      calibrated: the calibration of each class, and the scores after it.
    """

    measures: Measures
    intervals: Intervals
    resamples: bootstrap.Resamples
    calibrated: calibration.Calibrated


def gather(
    labels: np.ndarray,
    scores: np.ndarray,
    class_names: Sequence[str],
    figures: pr_auc.PrAuc,
    fit_folds: Optional[np.ndarray] = None,
    groups: Optional[Sequence] = None,
) -> Evidence:
    """Measures a model's scores, calibrates them, and draws intervals for everything.

    Args:
      labels: [N, C], 0 or 1; -1 where it is not known.
      scores: [N, C], probabilities.
      class_names: C distinct names, in the order of the columns.
      figures: the areas of each class.
      fit_folds: [N], the fold of each image where there are folds, see `calibration.fit`.
      groups: the group of each image where images belong together, see `bootstrap.Resamples`.
    """
    labels, scores = np.asarray(labels), np.asarray(scores, np.float64)
    count = bootstrap.affordable(labels)
    resamples = bootstrap.Resamples(len(labels), SEED, count, groups)
    if fit_folds is None and groups is not None:
        # Images of a group are alike: none is judged by what the others gave.
        fit_folds = np.unique(np.asarray(groups), return_inverse=True)[1].reshape(-1) % 5
    calibrated = calibration.fit(labels, scores, class_names, fit_folds, SEED)
    measures: Measures = {
        "pr_auc": dict(figures.pr_auc),
        "average_precision": dict(figures.average_precision),
    }
    drawn = bootstrap.areas(labels, scores, resamples)
    draws = {"pr_auc": drawn.pr_auc, "average_precision": drawn.average_precision}
    sure: dict[str, list[intervals.Interval]] = {}
    for suffix, values in (("", scores), ("_calibrated", calibrated.scores)):
        for measure, of_class in (("brier", calibration.brier), ("ece", calibration.ece)):
            measures[measure + suffix] = {
                name: of_class(labels[:, i], values[:, i]) for i, name in enumerate(class_names)
            }
        errors = np.where(labels >= 0, (values - labels) ** 2, np.nan)
        draws["brier" + suffix] = bootstrap.means(errors, resamples)
        drawn_errors = calibration.ece_draws(labels, values, resamples)
        sure["ece" + suffix] = calibration_interval.of_classes(labels, values, drawn_errors, groups)
    for by_class in measures.values():
        known = [value for value in by_class.values() if math.isfinite(value)]
        by_class["mean"] = sum(known) / len(known) if known else math.nan
    found = _intervals(measures, draws, labels, scores, groups)
    for measure, ends in sure.items():
        found[measure] = {name: list(pair) for name, pair in zip(measures[measure], ends)}
    return Evidence(measures, found, resamples, calibrated)


def of_areas(
    labels: np.ndarray,
    scores: np.ndarray,
    figures: pr_auc.PrAuc,
    groups: Optional[Sequence] = None,
) -> Optional[Intervals]:
    """The intervals of `pr_auc` and `average_precision`, as `gather` draws them, in a second.

    Args:
      labels: [N, C], 0 or 1; -1 where it is not known.
      scores: [N, C], probabilities.
      figures: the areas of each class, in the order of the columns.
      groups: the group of each image where images belong together, see `bootstrap.Resamples`.

    Returns:
      Those that `gather` gives, or of very many labels ones of fewer resamples; None of so many
      that they would take longer.
    """
    labels = np.asarray(labels)
    count = bootstrap.affordable_beside_training(labels)
    if not count:
        return None
    resamples = bootstrap.Resamples(len(labels), SEED, count, groups)
    drawn = bootstrap.areas(labels, np.asarray(scores, np.float64), resamples)
    measures = {
        "pr_auc": {**figures.pr_auc, "mean": figures.mean_pr_auc},
        "average_precision": {
            **figures.average_precision,
            "mean": figures.mean_average_precision,
        },
    }
    draws = {"pr_auc": drawn.pr_auc, "average_precision": drawn.average_precision}
    return _intervals(measures, draws, labels, scores, groups)


def _intervals(
    measures: Measures,
    draws: Mapping[str, np.ndarray],
    labels: np.ndarray,
    scores: np.ndarray,
    groups: Optional[Sequence],
) -> Intervals:
    """Of measures by class, in the order of the columns, and their `mean`, which comes last."""
    there, absent = labels > 0, labels == 0
    positives = guarantees.effective_counts(there, groups)
    fewer = np.minimum(positives, guarantees.effective_counts(absent, groups))
    worth = guarantees.effective_counts(there | absent, groups)
    copies = there.sum(axis=0) / np.maximum(positives, 1)
    biases = bootstrap.biases(labels, scores, copies=copies)
    found: Intervals = {}
    for measure, drawn in draws.items():
        classes = [slice(i, i + 1) for i in range(len(fewer))]
        found[measure] = {}
        for name, of in zip(measures[measure], [*classes, slice(None)]):
            value = measures[measure][name]
            if measure in ("pr_auc", "average_precision"):
                known = np.isfinite(biases[of])
                several = bootstrap.filled(drawn[:, of][:, known])
                ends = intervals.of_area(
                    value,
                    several.mean(axis=1) if known.sum() > 1 else drawn[:, of][:, known].reshape(-1),
                    int(positives[of].sum()),
                    bias=float(biases[of][known].mean()) if known.any() else 0.0,
                    critical=intervals.critical_value(several.var(axis=0), fewer[of][known]),
                )
            elif fewer[of].sum() < calibration_interval.LEAST:
                column = bootstrap.mean_of_classes(drawn[:, of])
                ends = intervals.of_mean_of_few(value, column, float(worth[of].max()))
            else:
                column = bootstrap.mean_of_classes(drawn[:, of])
                critical = intervals.critical_value(drawn[:, of].var(axis=0), fewer[of], alone=0)
                low, high = intervals.of_mean(value, column, critical=critical)
                # No image that is all wrong was among them, which does not say that none is.
                ends = max(0.0, low), max(high, intervals.of_proportion(0, worth[of].max())[1])
            found[measure][name] = list(ends)
    return found
