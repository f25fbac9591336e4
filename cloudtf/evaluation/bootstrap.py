"""How far a score would move on other images: the bootstrap, vectorised.

A resample draws as many images as there are, with replacement (Efron, "Bootstrap methods: another
look at the jackknife", Annals of Statistics 1979). It is kept as weights, how often each image was
drawn, so that an image is sorted once and all resamples are scored together: a score is an equation
of weighted counts. Where images belong together (frames of one scene), whole groups are drawn.

Each resample is a function of (seed, its number, the groups). So two models that are scored with
equal `Resamples` are scored on the same images, and the difference of their draws is paired.

    resamples = Resamples(len(labels), seed=0)
    draws = areas(labels, scores, resamples).average_precision  # [R, C]
    low, high = intervals.of_area(mean_average_precision, mean_of_classes(draws))
"""

from __future__ import annotations

import dataclasses
import math
from typing import Iterator, Optional, Sequence

import numpy as np

# Resamples that are drawn and scored together: their weights of an image fill a few cache lines.
_BLOCK = 64
# What a resample costs an image, and a positive; and what is worth a wait: some 10 s on one core.
_COST, _COST_OF_POSITIVE, _MOST_COST = 1, 20, 1_000_000_000
_MOST_COST_BESIDE_TRAINING = 200_000_000
# Fewer make no 95% interval.
_LEAST = 200
RESAMPLES = 1000


@dataclasses.dataclass(frozen=True)
class Resamples:
    """Resamples of N images.

    Attributes:
      num_images: N, the number of images.
      seed: keys the random draws; any whole number from 0.
      count: R, how many resamples.
      groups: the group of each image, N names or numbers; None where each is its own.
    """

    num_images: int
    seed: int = 0
    count: int = RESAMPLES
    groups: Optional[Sequence] = None

    def blocks(self) -> Iterator[np.ndarray]:
        """The weights of some resamples after the other: float32 [N, B], whole numbers.

        B is at most 64; all blocks together have R columns.
        """
        unit = np.arange(self.num_images)
        if self.groups is not None:
            unit = np.unique(np.asarray(self.groups), return_inverse=True)[1].reshape(-1)
        units = int(unit.max()) + 1 if len(unit) else 0
        for first in range(0, self.count, _BLOCK):
            size = min(_BLOCK, self.count - first)
            # Always a whole block, so that a resample does not depend on how many are asked for.
            random = np.random.default_rng((self.seed, first))
            drawn = random.integers(max(units, 1), size=(_BLOCK, units))[:size]
            drawn += units * np.arange(size)[:, None]
            counts = np.bincount(drawn.reshape(-1), minlength=units * size)
            weights = counts.reshape(size, units).T.astype(np.float32)
            yield weights if self.groups is None else weights[unit]


@dataclasses.dataclass(frozen=True)
class Areas:
    """Areas under the precision-recall curves of each resample.

    Attributes:
      pr_auc: float64 [R, C], the trapezoids, as `pr_auc.score` defines them; NaN where a resample
        has no positive or no negative of the class.
      average_precision: float64 [R, C], NaN for the same.
    """

    pr_auc: np.ndarray
    average_precision: np.ndarray


def affordable(labels: np.ndarray) -> int:
    """How many resamples are worth their time: 1,000, or fewer (200 at least) of very many labels.

    Args:
      labels: [N, C], 0 or 1; -1 where it is not known.
    """
    return min(RESAMPLES, max(_LEAST, _MOST_COST // _cost(labels)))


def affordable_beside_training(labels: np.ndarray) -> int:
    """As many as `affordable`, if they take less than a second; or fewer, or 0 for less than 200.

    Args:
      labels: [N, C], 0 or 1; -1 where it is not known.
    """
    count = min(RESAMPLES, _MOST_COST_BESIDE_TRAINING // _cost(labels))
    return count if count >= _LEAST else 0


def _cost(labels: np.ndarray) -> int:
    labels = np.asarray(labels)
    return max(1, _COST * labels.size + _COST_OF_POSITIVE * int((labels > 0).sum()))


def areas(
    labels: np.ndarray,
    scores: np.ndarray,
    resamples: Optional[Resamples],
    weights: Optional[np.ndarray] = None,
) -> Areas:
    """The exact areas of every class on every resample.

    They are those of `pr_auc.score` on the images of the resample, each as often as it was drawn.

    Args:
      labels: [N, C], 0 or 1; -1 where it is not known, which leaves the image out of that class.
      scores: [N, C], finite; a higher score means that the class is more likely present.
      resamples: which images are drawn how often, [N, R] in all; None: every image once, R is 1.
      weights: [N, C], how much an image counts for a class each time it is drawn, over 0; None:
        all are 1.

    >>> labels, scores = np.array([[1], [0], [1], [0]]), np.array([[0.9], [0.6], [0.4], [0.1]])
    >>> draws = areas(labels, scores, Resamples(4, count=200)).average_precision
    >>> draws.shape, float(np.nanmax(draws))
    ((200, 1), 1.0)
    """
    labels, scores = np.asarray(labels), np.asarray(scores)
    curves = [
        _Curve(labels[:, i], scores[:, i], None if weights is None else weights[:, i])
        for i in range(labels.shape[1])
    ]
    shape = (1 if resamples is None else resamples.count, labels.shape[1])
    once = [np.ones([len(labels), 1], np.float32)]
    trapezoid, average = np.empty(shape), np.empty(shape)
    first = 0
    for drawn in once if resamples is None else resamples.blocks():
        rows = slice(first, first + drawn.shape[1])
        for index, curve in enumerate(curves):
            trapezoid[rows, index], average[rows, index] = curve.areas(drawn)
        first = rows.stop
    return Areas(trapezoid, average)


def biases(
    labels: np.ndarray,
    scores: np.ndarray,
    weights: Optional[np.ndarray] = None,
    copies: Optional[np.ndarray] = None,
) -> np.ndarray:
    """The small-sample bias of the average precision of each class, estimated by leaving one out.

    The precision at the score of a positive counts that positive itself, which raises it. Here it
    is taken from the other positives instead, and the bias is the difference of the two areas. From
    10 positives on that is right on average; with fewer it is somewhat too large.

    Args:
      labels: [N, C], 0 or 1; -1 where it is not known, which leaves the image out of that class.
      scores: [N, C], finite.
      weights: [N, C], how much an image counts for a class, over 0; None: all are 1.
      copies: [C], how many positives are worth one, where they belong together; None: each is.

    Returns:
      float64 [C], from 0; NaN where a class has no positive or no negative, 0 where it has one
      positive.

    >>> labels = np.array([[0], [1], [0], [1], [0]])
    >>> scores = np.array([[0.9], [0.8], [0.6], [0.4], [0.1]])
    >>> biases(labels, scores).round(2).tolist()
    [0.25]
    """
    labels, scores = np.asarray(labels), np.asarray(scores)
    found = []
    for i in range(labels.shape[1]):
        curve = _Curve(labels[:, i], scores[:, i], None if weights is None else weights[:, i])
        found.append(curve.bias(1 if copies is None else copies[i]))
    return np.array(found)


def precisions(
    labels: np.ndarray, scores: np.ndarray, recalls: np.ndarray, resamples: Resamples
) -> np.ndarray:
    """One class's curve on every resample: the precision where each recall is first reached.

    Args:
      labels: [N], 0 or 1; -1 where it is not known, which leaves the image out.
      scores: [N], finite.
      recalls: [G], the recalls to look at, over 0 and rising.
      resamples: which images are drawn how often, [N, R] in all.

    Returns:
      float64 [R, G]; NaN in resamples that have no positive.
    """
    curve = _Curve(np.asarray(labels), np.asarray(scores))
    parts = [curve.precisions(weights, np.asarray(recalls)) for weights in resamples.blocks()]
    return np.concatenate(parts)


def means(values: np.ndarray, resamples: Resamples) -> np.ndarray:
    """The mean of some quantities over the images of every resample: float64 [R, K].

    Args:
      values: [N, K], such as squared errors, or the gain of each image; NaN where a quantity does
        not exist, which leaves the image out of that mean.
      resamples: which images are drawn how often, [N, R] in all.
    """
    values = np.asarray(values, np.float64)
    known = np.isfinite(values).astype(np.float64)
    filled = np.where(known > 0, values, 0)
    parts = []
    for block in resamples.blocks():
        weights = block.T.astype(np.float64)
        with np.errstate(invalid="ignore"):
            parts.append((weights @ filled) / (weights @ known))
    return np.concatenate(parts)


def mean_of_classes(draws: np.ndarray) -> np.ndarray:
    """The mean over the classes that exist in each resample: [R, C] to [R]; NaN where none does."""
    known = np.isfinite(draws)
    with np.errstate(invalid="ignore"):
        return np.where(known, draws, 0).sum(axis=1) / known.sum(axis=1)


def filled(draws: np.ndarray) -> np.ndarray:
    """The draws with the mean of a class where it does not exist, so that means are of all classes.

    Else a class that few resamples have would move a mean by coming and going.

    Args:
      draws: [R, C]; NaN where a class does not exist in a resample.

    Returns:
      float64 [R, C]; NaN where a class exists in no resample.
    """
    exists = np.isfinite(draws)
    mean = np.where(exists, draws, 0).sum(axis=0) / np.maximum(exists.sum(axis=0), 1)
    return np.where(exists, draws, np.where(exists.any(axis=0), mean, math.nan))


class _Curve:
    """One class's images in the order of their scores, in parts between which nothing changes.

    Recall only moves where positives are. So all that an area needs is, at each distinct score of a
    positive, the weight of the images above it (that came since the last one), of the positives
    that have it, and of the negatives that have it. A sparse matrix, of ones or of what each image
    counts, adds up how often they are drawn.
    """

    def __init__(
        self, labels: np.ndarray, scores: np.ndarray, weights: Optional[np.ndarray] = None
    ) -> None:
        from scipy.sparse import csr_matrix

        known = np.flatnonzero(labels >= 0)
        labels, scores = labels[known] > 0, scores[known]
        weights = np.ones(len(known)) if weights is None else np.asarray(weights)[known]
        # Descending scores; of equal ones the positives first.
        order = np.lexsort((~labels, -scores))
        labels, scores = labels[order], scores[order]
        begins = np.flatnonzero(np.concatenate([[True], scores[1:] != scores[:-1]])[: len(order)])
        ends = np.append(begins[1:], len(order))
        positives = np.add.reduceat(labels, begins, dtype=np.int64) if len(order) else begins
        has = positives > 0
        begins, ends, positives = begins[has], ends[has], positives[has]
        self._num_steps = len(begins)
        last = ends[-1] if len(ends) else 0
        parts = np.stack([begins, begins + positives, ends], axis=1).reshape(-1)
        # What lies under the last positive matters for one thing: whether there are negatives.
        starts = np.concatenate([[0], parts, [len(order)]])
        assert last == starts[-2]
        self._sums = csr_matrix(
            (weights[order].astype(np.float32), known[order].astype(np.int32), starts),
            shape=(len(starts) - 1, int(known.max()) + 1 if len(known) else 0),
        )
        self._num_rows = self._sums.shape[1]

    def precisions(self, weights: np.ndarray, recalls: np.ndarray) -> np.ndarray:
        """[B, G], of weights [N, B]."""
        if not self._num_steps:
            return np.full((weights.shape[1], len(recalls)), math.nan)
        added = self._sums @ weights[: self._num_rows]
        above, positive, tied = (added[i : 3 * self._num_steps : 3] for i in range(3))
        upto = np.cumsum(above + positive + tied, axis=0, dtype=np.float64)
        found = np.cumsum(positive, axis=0, dtype=np.float64)
        rows = []
        for some, all_of_them in zip(found.T, upto.T):
            # A little less, so that 0.3 of 10 is 3 of them.
            first = np.searchsorted(some, recalls * some[-1] - 1e-9)
            rows.append(some[first] / all_of_them[first] if some[-1] else recalls * math.nan)
        return np.stack(rows)

    def bias(self, copies: float) -> float:
        """The average precision less the same with each positive judged by the others alone.

        Args:
          copies: how many positives are left out with each: those that it is one of.
        """
        if not self._num_steps:
            return math.nan
        added = np.asarray(self._sums.sum(axis=1), np.float64).reshape(-1)
        above, positive, tied = (added[i : 3 * self._num_steps : 3] for i in range(3))
        upto = np.cumsum(above + positive + tied)
        found = np.cumsum(positive)
        total = found[-1]
        if not upto[-1] + added[-1] > total:
            return math.nan
        if total - copies < 1e-9:
            return 0.0
        others = np.maximum(found - copies, 0) * total / (total - copies)
        wrong = upto - found
        by_others = np.divide(
            others, others + wrong, np.ones_like(others), where=others + wrong > 0
        )
        return max(0.0, float((positive * (found / upto - by_others)).sum() / total))

    def areas(self, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Trapezoid and average precision of each resample [B], of weights [N, B]."""
        nothing = np.full(weights.shape[1], math.nan)
        if not self._num_steps:
            return nothing, nothing
        # Without weights whole numbers, and no more of them than float32 counts exactly.
        added = self._sums @ weights[: self._num_rows]
        above, positive, tied = (added[i : 3 * self._num_steps : 3] for i in range(3))
        upto = np.cumsum(above + positive + tied, axis=0, dtype=np.float64)
        before = upto - positive - tied
        found = np.cumsum(positive, axis=0, dtype=np.float64)
        total = found[-1]
        exists = (total > 0) & (upto[-1] + added[-1] > total)
        with np.errstate(invalid="ignore", divide="ignore"):
            # Over the highest score nothing is present: scikit-learn calls that precise.
            precise_before = np.where(before > 0, (found - positive) / before, 1.0)
            precise = np.where(upto > 0, found / upto, 1.0)
            average = (positive * precise).sum(axis=0) / total
            rise = (positive * (precise_before - precise)).sum(axis=0) / (2 * total)
        return np.where(exists, average + rise, math.nan), np.where(exists, average, math.nan)
