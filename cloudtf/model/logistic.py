"""Ridge-regularised logistic regressions, one a class, solved together on the same features.

For each class the kernel w [F] and the bias b minimise

    sum over examples of (log loss of w·x + b) + strength / 2 · |w|²

where x are the features, centred and divided by the square root of their deviation (Pareto scaling;
van den Berg et al. 2006, doi:10.1186/1471-2164-7-142) and by one number for all, so that their mean
variance is 1. Features that vary much then keep more of their weight than if each were divided by
its deviation. What is returned takes the features as they are.

The strengths are chosen by cross-validation, from strong to weak, each beginning with the solution
of the one before. All classes and folds are columns of one problem, solved by Newton steps, each of
them by conjugate gradients (Lin, Weng and Keerthi 2008, JMLR 9, pages 627 to 650). In the basis in
which the features are uncorrelated, the mean curvature gives a diagonal preconditioner that comes
near to the solution.
"""

from __future__ import annotations

from typing import NamedTuple, Sequence

import numpy as np

# From strong to weak: beyond what is best at both ends on all sets that were tried.
STRENGTHS = tuple(10.0 ** (half / 2) for half in range(9, -3, -1))
# Where there are too few examples to choose by.
USUAL_STRENGTH = 100.0

# Strengths weaker than the best that are tried before a class is done.
_PATIENCE = 2
# Numbers in an array of examples by columns that is worked on at once.
_AT_ONCE = 1 << 24
_MAX_NEWTON_STEPS = 100
_MAX_GRADIENT_STEPS = 100
_MAX_HALVINGS = 20


class LinearHead(NamedTuple):
    """What gives the log odds of each class: features · kernel + bias.

    Attributes:
      kernel: float64 [F, C].
      bias: float64 [C].
    """

    kernel: np.ndarray
    bias: np.ndarray


class RidgeLogistic:
    """Logistic regressions of C classes on F features.

    A class of which no example is positive, or none negative, has the constant probability
    (positives + 1/2) / (examples + 1).

    Args:
      features: float [N, F], or [N, V, F] for V views of each example, which count 1/V each.
      labels: [N, C], 0 or 1, or -1 where unknown: such examples say nothing of that class.

    >>> random = np.random.default_rng(0)
    >>> features = random.normal(size=[200, 5])
    >>> labels = (features[:, :2] + random.normal(size=[200, 2]) > 0).astype(np.float32)
    >>> regressions = RidgeLogistic(features, labels)
    >>> strengths = regressions.choose(np.arange(200) % 4)
    >>> head = regressions.fit(strengths)
    >>> head.kernel.shape, head.bias.shape
    ((5, 2), (2,))
    """

    def __init__(self, features: np.ndarray, labels: np.ndarray) -> None:
        views = features.reshape(len(features), -1, features.shape[-1])
        self._views = views.shape[1]
        self._known, self._positive = labels >= 0, labels > 0
        rows = views.reshape(-1, views.shape[-1]).astype(np.float64)
        self._mean = rows.mean(axis=0)
        rows -= self._mean
        variance = np.mean(rows**2, axis=0)
        scale = np.where(variance > 0, variance, 1.0) ** 0.25
        self._scale = scale * (np.sqrt(np.mean(variance / scale**2)) or 1.0)
        rows /= self._scale
        self._axes, self._squares = _principal_axes(rows)
        # The last column is that of the bias.
        self._rotated = np.hstack([rows @ self._axes, np.ones([len(rows), 1])])
        self._squares = np.append(self._squares, len(rows)) / self._views

    def choose(
        self, folds: np.ndarray, strengths: Sequence[float] = STRENGTHS, max_examples: int = 20_000
    ) -> np.ndarray:
        """The strength of each class with the least log loss in cross-validation: float64 [C].

        Args:
          folds: int [N], the fold of each example, from 0; each is scored by regressions on the
            others.
          strengths: the ones to choose from, from strong to weak. A class is done when two after
            its best have been worse.
          max_examples: only the first so many take part.
        """
        folds = folds[:max_examples]
        num_folds, num_classes = int(folds.max()) + 1, self._positive.shape[1]
        at_once = max(1, _AT_ONCE // (len(folds) * self._views * num_folds))
        return np.concatenate(
            [
                self._choose(
                    folds, num_folds, np.arange(num_classes)[first : first + at_once], strengths
                )
                for first in range(0, num_classes, at_once)
            ]
        )

    def fit(self, strengths: np.ndarray) -> LinearHead:
        """Regressions on all examples.

        Args:
          strengths: the strength of the ridge of each class, float [C]; 0 or more.
        """
        at_once = max(1, _AT_ONCE // len(self._rotated))
        kernels = []
        for first in range(0, len(strengths), at_once):
            some = slice(first, first + at_once)
            targets = self._per_view(self._positive[:, some])
            weights = self._per_view(self._known[:, some]) / self._views
            start = _constants(len(self._squares), targets, weights)
            kernels.append(
                _solve(
                    self._rotated, self._squares, targets, weights, strengths[some], start, 1e-10
                )
            )
        rotated = np.hstack(kernels)
        kernel = self._axes @ rotated[:-1] / self._scale[:, None]
        return LinearHead(kernel, rotated[-1] - self._mean @ kernel)

    def held_out(
        self, folds: np.ndarray, strengths: np.ndarray, fitted_on: np.ndarray
    ) -> np.ndarray:
        """What regressions on some examples of the other folds say of each: float32 [K, C].

        Args:
          folds: int [K], the fold of each of the first K examples, from 0.
          strengths: the strength of the ridge of each class, float [C].
          fitted_on: bool [K], which of them take part where they are in another fold.

        Returns:
          Log odds, the mean over an example's views.
        """
        count, num_folds = len(folds), int(folds.max()) + 1
        rotated = self._rotated[: count * self._views].astype(np.float32)
        squares = self._squares * (fitted_on.sum() / len(self._known))
        at_once = max(1, _AT_ONCE // (len(rotated) * num_folds))
        found = []
        for first in range(0, len(strengths), at_once):
            classes = np.arange(first, min(first + at_once, len(strengths)))
            class_of = np.repeat(classes, num_folds)
            fold_of = np.tile(np.arange(num_folds), len(classes))
            takes_part = fitted_on[:, None] & (folds[:, None] != fold_of)
            targets = self._per_view(self._positive[:count, class_of]).astype(np.float32)
            weights = self._per_view(self._known[:count, class_of] & takes_part)
            weights = weights.astype(np.float32) / self._views
            start = _constants(len(squares), targets, weights)
            kernels = _solve(rotated, squares, targets, weights, strengths[class_of], start, 1e-5)
            odds = (rotated @ kernels).reshape(count, self._views, len(classes), num_folds)
            found.append(odds.mean(axis=1)[np.arange(count), :, folds])
        return np.concatenate(found, axis=1)

    def _choose(
        self, folds: np.ndarray, num_folds: int, classes: np.ndarray, strengths: Sequence[float]
    ) -> np.ndarray:
        """As `choose`, for some classes at once."""
        count = len(folds)
        rotated = self._rotated[: count * self._views].astype(np.float32)
        squares = self._squares * (count / len(self._known))
        # Columns are the folds of each class.
        class_of, fold_of = (
            np.repeat(classes, num_folds),
            np.tile(np.arange(num_folds), len(classes)),
        )
        held_out, known = folds[:, None] == fold_of, self._known[:count, class_of]
        targets = self._per_view(self._positive[:count, class_of]).astype(np.float32)
        weights = self._per_view(known & ~held_out).astype(np.float32) / self._views
        judged = self._per_view(known & held_out).astype(np.float32)
        kernels = _constants(len(squares), targets, weights)
        least, best = np.full(len(classes), np.inf), np.empty(len(classes))
        waited, left = np.zeros(len(classes), int), np.arange(len(classes))
        for strength in strengths:
            kernels = _solve(
                rotated,
                squares,
                targets,
                weights,
                np.full(kernels.shape[1], strength),
                kernels,
                1e-5,
            )
            losses = (judged * _log_losses(rotated @ kernels, targets)).sum(axis=0, dtype=float)
            losses = losses.reshape(-1, num_folds).sum(axis=1)
            better = losses < least[left]
            least[left[better]], best[left[better]] = losses[better], strength
            waited[left] = np.where(better, 0, waited[left] + 1)
            stays = waited[left] < _PATIENCE
            left, columns = left[stays], np.repeat(stays, num_folds)
            if not len(left):
                break
            kernels, targets, weights, judged = (
                values[:, columns] for values in (kernels, targets, weights, judged)
            )
        return best

    def _per_view(self, values: np.ndarray) -> np.ndarray:
        """A row a view of what has a row an example."""
        return np.repeat(values, self._views, axis=0).astype(np.float64)


def _principal_axes(rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Orthonormal axes [F, R] along which centred rows [N, F] vary, and the sums of squares [R]."""
    few = len(rows) < rows.shape[1]
    squares, axes = np.linalg.eigh(rows @ rows.T if few else rows.T @ rows)
    kept = squares > 1e-10 * squares[-1]
    squares, axes = squares[kept], axes[:, kept]
    return (rows.T @ axes / np.sqrt(squares) if few else axes), squares


def _constants(rank: int, targets: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Kernels [rank, K] that give each column the log odds of its targets, and nothing else."""
    frequency = ((weights * targets).sum(axis=0) + 0.5) / (weights.sum(axis=0) + 1)
    kernels = np.zeros([rank, targets.shape[1]], targets.dtype)
    kernels[-1] = np.log(frequency / (1 - frequency))
    return kernels


def _log_losses(log_odds: np.ndarray, targets: np.ndarray) -> np.ndarray:
    return np.maximum(log_odds, 0) - targets * log_odds + np.log1p(np.exp(-np.abs(log_odds)))


def _solve(
    rotated: np.ndarray,
    squares: np.ndarray,
    targets: np.ndarray,
    weights: np.ndarray,
    strengths: np.ndarray,
    kernels: np.ndarray,
    tolerance: float,
) -> np.ndarray:
    """The kernels [R, K] of K regressions; those without both targets stay as they are.

    Args:
      rotated: features [N, R], the last of which is 1 and has no ridge; computed in their type.
      squares: the sum of the squares of each of them, float [R].
      targets: 0 or 1, [N, K].
      weights: of the examples, [N, K], from 0 to 1.
      strengths: [K].
      kernels: where to begin, [R, K].
      tolerance: about how far above its least value a problem may stay, an example.
    """
    number = rotated.dtype.type
    found, total = (weights * targets).sum(axis=0), weights.sum(axis=0)
    index = np.flatnonzero((found > 0) & (found < total))
    solved, kernels, total = kernels.copy(), kernels[:, index], total[index]
    targets, weights = targets[:, index], weights[:, index]
    ridge = np.tile(strengths[index].astype(number), (len(squares), 1))
    ridge[-1] = 0
    squares = squares.astype(number)[:, None]
    odds = rotated @ kernels
    for _ in range(_MAX_NEWTON_STEPS):
        probabilities = 0.5 * (1 + np.tanh(odds / 2))
        curvature = weights * probabilities * (1 - probabilities)
        slope = rotated.T @ (weights * (probabilities - targets)) + ridge * kernels
        mean_curvature = np.maximum(curvature.sum(axis=0) / total, number(1e-6))
        metric = mean_curvature * squares + ridge
        gap = (slope**2 / metric).sum(axis=0)
        going = gap > tolerance * total
        solved[:, index[~going]] = kernels[:, ~going]
        index = index[going]
        if not len(index):
            return solved
        kernels, odds, targets, weights, ridge, curvature, slope, metric, gap, total = (
            values[..., going]
            for values in (
                kernels, odds, targets, weights, ridge, curvature, slope, metric, gap, total,
            )
        )  # fmt: skip
        goal = gap * np.minimum(0.3, np.sqrt(gap / total)) ** 2
        goal = np.maximum(goal, tolerance / 10 * total).astype(number)
        step, odds_step = _newton_step(rotated, curvature, ridge, slope, metric, goal)
        # Full steps but far from the end, where the loss is no parabola.
        before = _objective(odds, kernels, targets, weights, ridge)
        expected = 1e-4 * (slope * step).sum(axis=0)
        rounding = 100 * np.finfo(number).eps * before
        share = np.ones(len(index), number)
        for _ in range(_MAX_HALVINGS):
            after = _objective(
                odds + share * odds_step, kernels + share * step, targets, weights, ridge
            )
            rises = after > before + share * expected + rounding
            if not rises.any():
                break
            share[rises] /= 2
        kernels, odds = kernels + share * step, odds + share * odds_step
    solved[:, index] = kernels
    return solved


def _newton_step(
    rotated: np.ndarray,
    curvature: np.ndarray,
    ridge: np.ndarray,
    slope: np.ndarray,
    metric: np.ndarray,
    goal: np.ndarray,
) -> tuple[np.ndarray, np.ndarray]:
    """Newton's step [R, K] by conjugate gradients, and what it adds to the log odds [N, K].

    Args:
      rotated: features [N, R].
      curvature: the second derivative of each example's loss, [N, K].
      ridge: [R, K].
      slope: the gradient, [R, K].
      metric: the preconditioner's diagonal, [R, K].
      goal: the residual's squared length in this metric at which a column is done, [K].
    """
    step, odds_step = np.zeros_like(slope), np.zeros_like(curvature)
    residual = -slope
    direction = residual / metric
    length = (residual * direction).sum(axis=0)
    for _ in range(_MAX_GRADIENT_STEPS):
        going = length > goal
        if not going.any():
            break
        odds = rotated @ direction
        bent = rotated.T @ (curvature * odds) + ridge * direction
        share = np.where(going, length / np.maximum((direction * bent).sum(axis=0), 1e-30), 0)
        share = share.astype(slope.dtype)
        step += share * direction
        odds_step += share * odds
        residual -= share * bent
        scaled = residual / metric
        new = (residual * scaled).sum(axis=0)
        direction = (
            scaled
            + np.where(going, new / np.maximum(length, 1e-30), 0).astype(slope.dtype) * direction
        )
        length = np.where(going, new, length)
    return step, odds_step


def _objective(
    odds: np.ndarray,
    kernels: np.ndarray,
    targets: np.ndarray,
    weights: np.ndarray,
    ridge: np.ndarray,
) -> np.ndarray:
    losses = (weights * _log_losses(odds, targets)).sum(axis=0)
    return losses + (ridge * kernels**2).sum(axis=0) / 2
