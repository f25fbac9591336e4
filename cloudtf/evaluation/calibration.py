"""Fitting what makes scores probabilities, and measuring how far they are from that.

Two ways are tried a class: temperature scaling, one number (Guo et al., "On calibration of modern
neural networks", ICML 2017), and isotonic regression (Zadrozny and Elkan, KDD 2002). Both are
judged on images that they were not fitted on, and a class keeps its scores as they are unless the
better one lowers the Brier score by more than chance would.

`brier` is the mean squared error of a probability. `ece`, the expected calibration error, is the
mean distance between what is said and what is true, over 15 bins of as many images; since bins of
few images differ from the truth by chance alone, that much is taken off (Kumar, Liang and Ma,
"Verified uncertainty calibration", NeurIPS 2019, with the mean of a folded normal law in place of
draws from it).
"""

from __future__ import annotations

import dataclasses
import math
from typing import Any, Optional, Sequence

import numpy as np

from cloudtf.evaluation.bootstrap import Resamples, means
from cloudtf.model import calibration

BINS = 15
# Fewer images a bin say nothing.
_LEAST_IN_BIN = 10
# Fewer positives or negatives make no calibration.
_LEAST = 10
_FOLDS = 5


@dataclasses.dataclass(frozen=True)
class Calibrated:
    """A calibration of N images and C classes, and what it does.

    Attributes:
      classes: class name -> the entry of `calibration.json`, fitted on all images.
      scores: float64 [N, C], each image's calibrated by what was fitted without it.
    """

    classes: dict[Any, dict[str, Any]]
    scores: np.ndarray


def fit(
    labels: np.ndarray,
    scores: np.ndarray,
    class_names: Sequence[str],
    fit_folds: Optional[np.ndarray] = None,
    seed: int = 0,
) -> Calibrated:
    """Fits the calibration of every class.

    Args:
      labels: [N, C], 0 or 1; -1 where it is not known, which leaves the image out of that class.
      scores: [N, C], probabilities.
      class_names: C distinct names, in the order of the columns.
      fit_folds: [N], the fold of each image, groups kept together: an image is judged by what the
        other folds gave. Drawn where not given.
      seed: keys the draw of the folds; any whole number from 0.

    >>> random = np.random.default_rng(0)
    >>> truth = random.random((5000, 1))
    >>> labels, scores = random.random((5000, 1)) < truth, truth**3
    >>> found = fit(labels, scores, ["Fish"])
    >>> found.classes["Fish"]["method"], ece(labels[:, 0], found.scores[:, 0]) < 0.02
    ('isotonic', True)
    >>> round(ece(labels[:, 0], scores[:, 0]), 1)
    0.2
    """
    labels, scores = np.asarray(labels), np.asarray(scores, np.float64)
    if fit_folds is None:
        fit_folds = np.random.default_rng(seed).permutation(len(labels)) % _FOLDS
    classes, columns = {}, scores.copy()
    for index, name in enumerate(class_names):
        known = labels[:, index] >= 0
        truth, given = labels[known, index] > 0, scores[known, index]
        method, crossed = _choose(truth, given, np.asarray(fit_folds)[known])
        columns[known, index] = crossed
        # An image whose label is not known was not fitted on either.
        classes[name] = _FITS[method](truth, given)
        columns[~known, index] = calibration.apply(classes[name], scores[~known, index])
    return Calibrated(classes, columns)


def brier(labels: np.ndarray, scores: np.ndarray) -> float:
    """The mean squared error of one class's probabilities; NaN of no images.

    Args:
      labels: [N], 0 or 1; -1 where not known, which leaves the image out.
      scores: [N], probabilities.
    """
    known = np.asarray(labels) >= 0
    if not known.any():
        return math.nan
    return float(np.mean((np.asarray(scores)[known] - np.asarray(labels)[known]) ** 2))


def ece(labels: np.ndarray, scores: np.ndarray, bins: int = BINS) -> float:
    """The expected calibration error of one class, debiased; NaN of no images.

    Args:
      labels: [N], 0 or 1; -1 where not known, which leaves the image out.
      scores: [N], probabilities.
      bins: the number of bins of as many images each; fewer of few images.
    """
    table = reliability(labels, scores, bins)
    if not table.images.size:
        return math.nan
    share = table.images / table.images.sum()
    gap = np.abs(table.said - table.true)
    spread = np.sqrt(table.true * (1 - table.true) / table.images)
    found = float((share * gap).sum())
    expected = float((share * folded_mean(gap, spread)).sum())
    return max(0.0, 2 * found - expected)


@dataclasses.dataclass(frozen=True)
class Reliability:
    """What was said and what is true, in each bin that has images, from the lowest score up.

    Attributes:
      images: int64 [B], how many images are in it.
      right: int64 [B], how many of them show the class.
      said: float64 [B], their mean score.
    """

    images: np.ndarray
    right: np.ndarray
    said: np.ndarray

    @property
    def true(self) -> np.ndarray:
        """float64 [B], the share that shows the class."""
        return self.right / self.images


def reliability(labels: np.ndarray, scores: np.ndarray, bins: int = BINS) -> Reliability:
    """Divides one class's images into bins of as many each; equal scores stay together.

    Args:
      labels: [N], 0 or 1; -1 where not known, which leaves the image out.
      scores: [N], probabilities.
      bins: how many; fewer of few images, so that each has 10.
    """
    known = np.asarray(labels) >= 0
    truth, scores = np.asarray(labels)[known] > 0, np.asarray(scores, np.float64)[known]
    place = _bins(scores, bins)
    images = np.bincount(place)
    right, said = np.bincount(place, truth), np.bincount(place, scores)
    has = images > 0
    return Reliability(images[has], right[has].astype(np.int64), said[has] / images[has])


def ece_draws(labels: np.ndarray, scores: np.ndarray, resamples: Resamples) -> np.ndarray:
    """How the calibration error would move on other images: float64 [R, C], not debiased.

    A bin whose scores are too high counts as it is, one whose are too low counts negatively, in all
    resamples alike, so that they vary as the sum does where no bin changes its side. What that
    says of the error, `calibration_interval` tells.

    Args:
      labels: [N, C], 0 or 1; -1 where not known, which leaves the image out of that class.
      scores: [N, C], probabilities.
      resamples: which images are drawn how often, [N, R] in all.
    """
    labels, scores = np.asarray(labels), np.asarray(scores, np.float64)
    found = []
    # 48 classes at a time: of a thousand, all would need gigabytes.
    for first in range(0, labels.shape[1], 48):
        parts = []
        for index in range(first, min(first + 48, labels.shape[1])):
            known = labels[:, index] >= 0
            part = np.where(known[:, None], np.zeros((1, BINS)), np.nan)
            rows = np.flatnonzero(known)
            off = scores[rows, index] - labels[rows, index]
            place = _bins(scores[rows, index], BINS)
            part[rows, place] = off * np.sign(np.bincount(place, off))[place]
            parts.append(part)
        drawn = means(np.concatenate(parts, axis=1), resamples)
        found.append(drawn.reshape(len(drawn), len(parts), BINS).sum(axis=2))
    return np.concatenate(found, axis=1)


def _bins(scores: np.ndarray, bins: int) -> np.ndarray:
    """Which of at most `bins` bins each score falls into: int64 [N]."""
    bins = max(1, min(bins, len(scores) // _LEAST_IN_BIN))
    if not len(scores):
        return np.zeros(0, np.int64)
    edges = np.sort(scores)[np.arange(1, bins) * len(scores) // bins]
    return np.searchsorted(edges, scores, side="right")


def folded_mean(gap: np.ndarray, spread: np.ndarray) -> np.ndarray:
    """The mean of |gap + spread * Z|, Z standard normal; of arrays of one shape, or 0-d."""
    from scipy.special import ndtr

    with np.errstate(divide="ignore", invalid="ignore"):
        at = np.where(spread > 0, gap / spread, np.inf)
    peak = spread * math.sqrt(2 / math.pi) * np.exp(-(np.minimum(at, 40) ** 2) / 2)
    return peak + gap * (1 - 2 * ndtr(-at))


def _choose(truth: np.ndarray, scores: np.ndarray, fit_folds: np.ndarray) -> tuple[str, np.ndarray]:
    """The method of one class, and its images' scores by what was fitted without them."""
    best, chosen = "none", scores
    if min(truth.sum(), (~truth).sum()) < _LEAST or len(np.unique(fit_folds)) < 2:
        return best, chosen
    errors = (scores - truth) ** 2
    least = errors.mean()
    for method in ("temperature", "isotonic"):
        crossed = scores.copy()
        for fold in np.unique(fit_folds):
            others = fit_folds != fold
            entry = _FITS[method](truth[others], scores[others])
            crossed[~others] = calibration.apply(entry, scores[~others])
        gain = errors - (crossed - truth) ** 2
        # More than chance: one standard error.
        sure = gain.mean() > gain.std() / math.sqrt(len(gain))
        if sure and errors.mean() - gain.mean() < least:
            best, chosen, least = method, crossed, errors.mean() - gain.mean()
    return best, chosen


def _none(truth: np.ndarray, scores: np.ndarray) -> dict[str, Any]:
    return {"method": "none"}


def _temperature(truth: np.ndarray, scores: np.ndarray) -> dict[str, Any]:
    """Newton's method on 1 / T, in which the log loss is convex."""
    from scipy.special import expit

    logits = calibration.logits(scores)
    inverse = 1.0
    for _ in range(50):
        found = expit(inverse * logits)
        slope = ((found - truth) * logits).sum()
        bend = (found * (1 - found) * logits**2).sum()
        if not bend > 0:
            break
        # No further than to half or twice at once, and never to the wrong sign.
        step = min(max(inverse - slope / bend, inverse / 2), inverse * 2)
        step = min(max(step, 1 / 50), 50.0)
        if abs(step - inverse) < 1e-10 * inverse:
            break
        inverse = step
    return {"method": "temperature", "temperature": float(1 / inverse)}


def _isotonic(truth: np.ndarray, scores: np.ndarray) -> dict[str, Any]:
    """Isotonic regression; each of its steps becomes a point in its middle, with lines between."""
    from sklearn.isotonic import IsotonicRegression

    fitted = IsotonicRegression(y_min=0, y_max=1, out_of_bounds="clip").fit_transform(scores, truth)
    step = np.unique(fitted, return_inverse=True)[1].reshape(-1)
    # Steps of few images belong to the next: they say little, and a step into one would be steep.
    merged: list[int] = []
    size = 0
    for number in np.bincount(step).tolist():
        merged.append(merged[-1] + (size >= _LEAST_IN_BIN) if merged else 0)
        size = number + (0 if size >= _LEAST_IN_BIN else size)
    step = np.array(merged)[step]
    images = np.bincount(step)
    x, y = np.bincount(step, scores) / images, np.bincount(step, fitted) / images
    inside = (x > 0) & (x < 1)
    # It goes on flat beyond the first and the last.
    x, y = np.concatenate([[0], x[inside], [1]]), y[inside]
    y = np.concatenate([y[:1], y, y[-1:]]) if len(y) else np.full(2, fitted.mean())
    y = (1 - calibration.OWN_SHARE) * y + calibration.OWN_SHARE * x
    # Shorter in the file; points that have become one are one.
    points = [(float(f"{a:.9g}"), float(f"{b:.9g}")) for a, b in zip(x, y)]
    kept = points[:1]
    for point in points[1:]:
        if point[0] > kept[-1][0] and point[1] > kept[-1][1]:
            kept.append(point)
    kept[-1] = points[-1]
    return {"method": "isotonic", "from": [a for a, _ in kept], "to": [b for _, b in kept]}


_FITS = {"none": _none, "temperature": _temperature, "isotonic": _isotonic}
