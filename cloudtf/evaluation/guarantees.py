"""The laws by which a threshold keeps its promise on new examples.

They ask for no model of the scores, only that new examples are drawn as those were on which the
threshold was chosen.

**Recall.** Let a threshold keep k of n positives, k being fixed before the scores are seen. Among
the scores of positives it is an order statistic, so the recall on new examples follows Beta(k,
n + 1 - k), whatever the scores are (Wilks, "Determination of sample sizes for setting tolerance
limits", 1941). It is at least the target with probability P(Binomial(n, target) < k). A threshold
that lies lower, because of ties or of a wider gap, keeps more.

**Precision.** How many of the m finds over a threshold are right is binomial, and Clopper and
Pearson's bound ("The use of confidence or fiducial limits", Biometrika 1934) tells whether fewer
would be right on new examples. But the best of many thresholds is the luckiest one too. So they
are tested in an order that does not depend on the labels, from the strictest down, and the first
that fails ends it: then the chance that any proven one is wrong stays what it is for one (Maurer,
Hothorn and Lehmacher, 1995; Angelopoulos et al., "Learn then test", 2021). In that order are the
strictest threshold that would be proven without a wrong find, the strictest that would with one,
with two, and so on: to try others in between would only add chances to fail.

**Groups.** Both laws are for examples that are drawn one by one. Where several belong together,
such as pictures of one thing, new examples are those of new groups, and examples are worth fewer
than they are: at worst a group is one example that counts as often as it has members, and n
examples in groups of n_g are worth (sum n_g)^2 / sum n_g^2 (Kish, "Survey sampling", 1965).
Proportions are then taken of so many, as in Korn and Graubard's intervals for surveys (Survey
Methodology 24, 1998). How alike a group is needs no estimate, so that the number is fixed before
the scores of positives are seen; and it is fewer than examples are worth that are less than the
same. It takes the groups' sizes to say nothing of how hard they are: if only large groups are
missed, it is too many.
"""

from __future__ import annotations

import functools
import math
from typing import Any, Optional, Sequence

import numpy as np

# A number of positives past this is none that anybody could collect.
_MOST_POSITIVES = 10**7


def effective_sizes(groups: np.ndarray) -> np.ndarray:
    """The effective size of the first 1, 2, ... examples: so many independent ones say as much.

    Args:
      groups: [K], the number of the group of each example, in an order that may matter.

    Returns:
      float64 [K], at least 1; of the first k examples k, if no two of them belong together.

    >>> effective_sizes(np.array([0, 1, 1, 2])).round(2).tolist()
    [1.0, 2.0, 1.8, 2.67]
    """
    # The members of a group that came before: a square grows by twice as many and one.
    order = np.argsort(groups, kind="stable")
    members = groups[order]
    begins = np.flatnonzero(np.concatenate([[True], members[1:] != members[:-1]])[: len(order)])
    before = np.empty(len(order), np.int64)
    lengths = np.diff(np.append(begins, len(order)))
    before[order] = np.arange(len(order)) - np.repeat(begins, lengths)
    return np.arange(1, len(order) + 1) ** 2 / np.cumsum(2 * before + 1)


def effective_counts(chosen: np.ndarray, groups: Optional[Sequence] = None) -> np.ndarray:
    """What the chosen examples of each class are worth: float64 [C].

    Args:
      chosen: bool [N, C], such as which examples are positives.
      groups: N names or numbers, the group of each example; None where each is its own.
    """
    if groups is None:
        return chosen.sum(axis=0).astype(np.float64)
    numbers = np.unique(np.asarray(groups), return_inverse=True)[1].reshape(-1)
    members = np.zeros([int(numbers.max(initial=0)) + 1, chosen.shape[1]])
    np.add.at(members, numbers, chosen)
    return chosen.sum(axis=0) ** 2 / np.maximum((members**2).sum(axis=0), 1)


def recall_confidence(kept: int, positives: int, target: float) -> float:
    """How surely a threshold that keeps `kept` of `positives` has the wanted recall on new ones.

    >>> round(recall_confidence(94, 100, 0.94), 3), round(recall_confidence(99, 100, 0.94), 3)
    (0.394, 0.985)
    """
    from scipy.special import bdtr

    return 1.0 if target <= 0 else float(bdtr(kept - 1, positives, target))


def positives_to_keep(positives: int, target: float, confidence: float) -> Optional[int]:
    """The least number of positives to keep for a recall of `target`, so surely; None: all are few.

    >>> [positives_to_keep(n, 0.94, 0.95) for n in (48, 49, 100, 250, 550)]
    [None, 49, 99, 242, 527]
    """
    from scipy.stats import binom

    if not positives:
        return None
    keep = max(1, int(binom.ppf(confidence, positives, target)) + 1)
    return keep if keep <= positives else None


def least_number(target: float, confidence: float) -> Optional[int]:
    """Of how many, all right, a share of `target` follows so surely; None: of no number.

    >>> least_number(0.94, 0.95), least_number(0.9, 0.95), least_number(1.0, 0.95)
    (49, 29, None)
    """
    if target <= 0:
        return 1
    return None if target >= 1 else math.ceil(math.log(1 - confidence) / math.log(target))


def precision_confidence(right: Any, present: Any, target: float) -> Any:
    """How surely finds of which so many are right have the wanted precision on new examples.

    It is Clopper and Pearson's confidence, for one threshold that was fixed before.

    Args:
      right: how many are right; a number or an array.
      present: how many finds there are; the same shape.
      target: the wanted precision, 0 to 1.

    >>> round(float(precision_confidence(29, 29, 0.9)), 3)
    0.953
    """
    from scipy.special import bdtr

    # P(at most so many wrong | the precision is the target) is the p-value.
    return 1 - bdtr(present - right, present, 1 - target)


def last_proven(
    right: np.ndarray, present: np.ndarray, examples: int, target: float, confidence: float
) -> tuple[Optional[int], Optional[float]]:
    """The last threshold of the fixed order that is proven, and how surely.

    Args:
      right: [T], how many finds over each threshold are right, from the strictest threshold down.
      present: [T], how many finds there are over each.
      examples: N, at least `present`.
      target: the wanted precision, 0 to 1.
      confidence: how surely it must be reached on new examples.

    Returns:
      The index of the threshold, and the confidence that it has; both None where the first of the
      order fails.
    """
    # What finds in groups are worth may fall: then the first threshold that has so many.
    finds = np.maximum.accumulate(present)
    order = np.searchsorted(finds, _finds_by_errors(examples, target, confidence))
    order = np.unique(order[order < len(present)])
    sure = precision_confidence(right[order], present[order], target)
    proven = int(np.logical_and.accumulate(sure >= confidence).sum())
    return (int(order[proven - 1]), float(sure[:proven].min())) if proven else (None, None)


@functools.lru_cache(maxsize=8)
def _finds_by_errors(examples: int, target: float, confidence: float) -> np.ndarray:
    """The least numbers of finds that prove the precision with 0, 1, 2, ... wrong ones.

    From a hundred on the numbers of wrong ones rise by 1%.
    """
    finds: list[int] = []
    wrong = number = 0
    while number < examples:
        fails, passes = number, number + 1
        while not _proves(wrong, passes, target, confidence):
            fails, passes = passes, passes + 2 * (passes - number)
            if fails >= examples:
                return np.array(finds, np.int64)
        while passes - fails > 1:
            middle = (fails + passes) // 2
            good = _proves(wrong, middle, target, confidence)
            fails, passes = (fails, middle) if good else (middle, passes)
        number = passes
        finds.append(number)
        wrong = max(wrong + 1, int(wrong * 1.01))
    return np.array(finds, np.int64)


def _proves(wrong: int, finds: int, target: float, confidence: float) -> bool:
    return wrong < finds and precision_confidence(finds - wrong, finds, target) >= confidence


def positives_for_precision(
    right: np.ndarray, present: np.ndarray, positives: int, target: float, confidence: float
) -> Optional[int]:
    """With how many positives a precision might be proven, if more examples were like these.

    It is the number with which the threshold that would be proven first has finds enough.

    Args:
      right: [T], how many finds over each threshold are right.
      present: [T], how many finds there are over each.
      positives: n, how many there are now.
      target: the wanted precision, 0 to 1.
      confidence: how surely it must be reached on new examples.

    Returns:
      A number over n and at least what `least_number` says; None where no threshold has a precision
      over the target, so that more examples would prove the contrary.
    """
    least = least_number(target, confidence)
    if not positives:
        return least
    better = right > target * present
    if least is None or not better.any():
        return None
    right, present = right[better], present[better]
    low, high = positives, max(positives + 1, least)

    def would_do(number: int) -> bool:
        times = number / positives
        # No more can be right than are found, also where a part of a find is left off.
        found = np.floor(present * times)
        sure = precision_confidence(np.minimum(right * times, found), found, target)
        return bool((sure >= confidence).any())

    while not would_do(high):
        low, high = high, 2 * high
        if high > _MOST_POSITIVES:
            return None
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if would_do(middle) else (middle, high)
    return high
