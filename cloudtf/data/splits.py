"""Which image goes to which split: stratified on the label combination, or groups kept together."""

from __future__ import annotations

from typing import Sequence

import numpy as np

from cloudtf.errors import UserError, param


def stratified_fraction(labels: np.ndarray, fraction: float, seed: int) -> np.ndarray:
    """Draws a share of the examples in which each label combination is as frequent as in all.

    Examples are put in order of their combination, at random within it, and taken at even steps
    (systematic sampling; Madow and Madow, 1944): each combination gives its share to within one
    example, and those too rare to be divided together give theirs.

    Args:
      labels: 0 or 1, [N, C].
      fraction: the share to draw, in [0, 1).
      seed: keys the random choice; any whole number from 0.

    Returns:
      bool [N]; `max(1, round(N * fraction))` are True, but never all (none if the fraction is 0 or
        N is 1).
    """
    count = len(labels)
    wanted = 0
    if fraction > 0 and count > 1:
        wanted = min(max(1, round(count * fraction)), count - 1)
    random = np.random.default_rng(seed)
    order = _by_combination(labels, random)
    steps = np.arange(count + 1, dtype=np.int64) * wanted + random.integers(max(count, 1))
    taken = np.zeros(count, bool)
    taken[order] = np.diff(steps // max(count, 1)) > 0
    return taken


def stratified_folds(labels: np.ndarray, folds: int, seed: int) -> np.ndarray:
    """Deals the examples of each label combination out to `folds` folds in turn.

    Args:
      labels: 0 or 1, [N, C].
      folds: the number of folds, at least 2.
      seed: keys the random order in which examples are dealt; any whole number from 0.

    Returns:
      int64 [N], 0 to folds - 1; sizes differ by one at most, in all and in each combination.

    Raises:
      UserError: there are fewer examples than folds.
    """
    if len(labels) < folds:
        raise UserError(f"{param(folds=folds)} is more than the {len(labels)} images there are.")
    random = np.random.default_rng(seed)
    order = _by_combination(labels, random)
    result = np.empty(len(labels), np.int64)
    result[order] = np.arange(len(labels)) % folds
    return random.permutation(folds)[result]


def grouped(
    labels: np.ndarray, groups: Sequence[str], shares: Sequence[float], seed: int
) -> np.ndarray:
    """Deals whole groups out so that every part has its share of images and of each class.

    Greedy, largest group first, each to the part whose shortfall it fills best.

    Args:
      labels: 0 or 1, [N, C].
      groups: the group of each example, N names; an empty name is a group of its own.
      shares: the share of the images that each part gets; they add up to 1.
      seed: keys the random order of groups of equal size; any whole number from 0.

    Returns:
      int64 [N], the part of each example.

    Raises:
      UserError: there are fewer groups than parts.
    """
    keys = [(name, -1) if name else ("", i) for i, name in enumerate(groups)]
    numbers: dict[tuple[str, int], int] = {}
    member = np.array([numbers.setdefault(key, len(numbers)) for key in keys], np.int64)
    if len(numbers) < len(shares):
        raise UserError(
            f"The group column has {len(numbers)} groups for {len(shares)} splits; a group is "
            "never divided."
        )
    features = np.zeros((len(numbers), labels.shape[1] + 1))
    np.add.at(features, member, np.hstack([np.ones((len(labels), 1)), labels]))
    features /= np.maximum(features.sum(axis=0), 1)
    random = np.random.default_rng(seed)
    order = random.permutation(len(numbers))
    order = order[np.argsort(-features[order, 0], kind="stable")]
    share = np.asarray(shares, float)[:, None]
    filled = np.zeros((len(shares), features.shape[1]))
    part = np.empty(len(numbers), np.int64)
    for left, group in zip(range(len(order), 0, -1), order):
        new = features[group]
        # How much the squared distance to the shares grows, relative to each part's share.
        growth = (new * (new + 2 * (filled - share))).sum(axis=1) / share[:, 0]
        empty = filled[:, 0] == 0
        if left <= empty.sum():  # No part may go without.
            growth[~empty] = np.inf
        part[group] = growth.argmin()
        filled[part[group]] += new
    return part[member]


def _by_combination(labels: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """Indices of all examples, those of a label combination together, shuffled within each."""
    if not len(labels):
        return np.zeros(0, np.int64)
    kinds, kind = np.unique(labels, axis=0, return_inverse=True)
    order = random.permutation(len(labels))
    # The combinations come in random order: sorted ones alternate like binary numbers, and even
    # steps through those could take a class always or never.
    rank = random.permutation(len(kinds))[kind.reshape(-1)]
    return order[np.argsort(rank[order], kind="stable")]
