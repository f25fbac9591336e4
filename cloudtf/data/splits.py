"""Which image goes to which split: stratified on the label combination, or groups kept together.

Whole combinations of labels are good strata while there are enough images of each; of many classes
nearly each image has a combination of its own, and then they are no better than chance
(`is_balanced` tells). Then images are dealt out one by one, so that each class has its share.
"""

from __future__ import annotations

from typing import Optional, Sequence

import numpy as np

from cloudtf.data.labels import UNKNOWN
from cloudtf.errors import UserError, param

# Strata serve while no class is farther from its share than this.
_TOLERANCE = 0.05


def stratified_fraction(labels: np.ndarray, fraction: float, seed: int) -> np.ndarray:
    """Draws a share of the examples in which each label combination is as frequent as in all.

    Examples are put in order of their combination, at random within it, and taken at even steps
    (systematic sampling; Madow and Madow, 1944): each combination gives its share to within one
    example, and those too rare to be divided together give theirs.

    Args:
      labels: 0, 1 or -1 (unknown, as a third value), [N, C].
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
      labels: 0, 1 or -1 (unknown, as a third value), [N, C].
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
      labels: 0, 1 or -1 (unknown, as a third value), [N, C].
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
    features = _features(labels, member)
    random = np.random.default_rng(seed)
    order = random.permutation(len(numbers))
    order = order[np.argsort(-features[order, 0], kind="stable")]
    return _deal(features, order, shares)[member]


def one_by_one(
    labels: np.ndarray, sizes: Sequence[int], seed: int, together: Sequence[Sequence[int]] = ()
) -> np.ndarray:
    """Deals images out so that every part has its exact size and about its share of each class.

    As `grouped`, with every image a group of its own; those of the rarest classes come first, while
    there is a choice (as in iterative stratification: Sechidis, Tsoumakas and Vlahavas, 2011).

    Args:
      labels: 0, 1 or -1 (unknown, as a third value), [N, C].
      sizes: the number of images of each part, at least 1, which add up to N.
      seed: keys the random order in which images are dealt; any whole number from 0.
      together: indices of images that stay in one part, a list for each such group; no index twice.

    Returns:
      int64 [N], the part of each image. Sizes are off only if groups are too large for them.
    """
    member = np.arange(len(labels))
    for group in together:
        member[list(group)] = min(group)
    member = np.unique(member, return_inverse=True)[1].reshape(-1)
    features = _features(labels, member)
    counts = np.bincount(member)
    order = np.random.default_rng(seed).permutation(len(counts))
    # A rare class is a large part of its feature; images without any class come last.
    rarest = features[:, 1:].max(axis=1, initial=0)
    order = order[np.lexsort((-rarest[order], -counts[order]))]
    shares = np.asarray(sizes) / max(len(labels), 1)
    return _deal(features, order, shares, (counts, np.asarray(sizes)))[member]


def joined(groups: Sequence[str], together: Sequence[Sequence[int]]) -> list[str]:
    """Groups of images, with those made one that have images in common with one of `together`.

    Args:
      groups: the group of each image; an empty name is a group of its own.
      together: lists of indices of images.

    Returns:
      A name for each image, the same for all of a group, none of them empty.

    >>> joined(["", "a", "a", "b", ""], [[0, 2]])
    ['1', '1', '1', '3', '4']
    """
    first: dict[str, int] = {}
    leader = [first.setdefault(name, i) if name else i for i, name in enumerate(groups)]

    def find(i: int) -> int:
        while leader[i] != i:
            i = leader[i]
        return i

    for group in together:
        for one, other in zip(group, group[1:]):
            leader[find(one)] = find(other)
    return [str(find(i)) for i in range(len(groups))]


def is_balanced(labels: np.ndarray, part: np.ndarray) -> bool:
    """Whether each part has its share of each class: to within one image or a twentieth of it.

    Args:
      labels: 0, 1 or -1 (unknown, as a third value), [N, C].
      part: the part of each image, [N], from 0.
    """
    sizes = np.bincount(part)
    labels = _counted(labels)
    counts = np.stack([labels[part == one].sum(axis=0) for one in range(len(sizes))])
    wanted = sizes[:, None] / max(len(labels), 1) * counts.sum(axis=0)
    return bool((np.abs(counts - wanted) <= np.maximum(1, _TOLERANCE * wanted)).all())


def _counted(labels: np.ndarray) -> np.ndarray:
    """What is shared out: who shows each class, and of whom it is unknown: bool [N, C + U]."""
    unknown = labels == UNKNOWN
    return np.hstack([labels == 1, unknown[:, unknown.any(axis=0)]])


def _features(labels: np.ndarray, member: np.ndarray) -> np.ndarray:
    """Of each group, its share of all images, and of all that `_counted` has columns for."""
    each = np.hstack([np.ones((len(labels), 1)), _counted(labels)])
    features = np.zeros((member.max(initial=-1) + 1, each.shape[1]))
    np.add.at(features, member, each)
    return features / np.maximum(features.sum(axis=0), 1)


def _deal(
    features: np.ndarray,
    order: np.ndarray,
    shares: Sequence[float],
    sizes: Optional[tuple[np.ndarray, np.ndarray]] = None,
) -> np.ndarray:
    """The part of each group, dealt in `order`, each to the part whose shortfall it fills best.

    `sizes`: how many images each group has, and how many each part takes.
    """
    share = np.asarray(shares, float)[:, None]
    filled = np.zeros((len(share), features.shape[1]))
    part = np.empty(len(order), np.int64)
    counts, room = (np.zeros(len(order)), np.zeros(len(share))) if sizes is None else sizes
    room = room.copy()
    for left, group in zip(range(len(order), 0, -1), order):
        new = features[group]
        # How much the squared distance to the shares grows, relative to each part's share.
        growth = (new * (new + 2 * (filled - share))).sum(axis=1) / share[:, 0]
        empty = filled[:, 0] == 0
        if left <= empty.sum():  # No part may go without.
            growth[~empty] = np.inf
        full = room < counts[group]
        if not full.all():
            growth[full] = np.inf
        part[group] = growth.argmin()
        filled[part[group]] += new
        room[part[group]] -= counts[group]
    return part


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
