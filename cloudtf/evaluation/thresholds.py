"""Choosing the decision thresholds of each class; `cloudtf.model.thresholds` keeps them.

A class is present where its score is at least the threshold. Four thresholds are chosen a class:

- `recall`, the strictest that still finds the wanted share of the positives, and `precision`, the
  most lenient whose finds are still right as often as wanted. They hold on the examples that they
  were chosen on, and on new ones about every other time: `confidence` says how surely.
- `recall_guaranteed` and `precision_guaranteed`, which hold on new ones as surely as is asked for;
  see `guarantees`. Where too few examples show it, there is none.

Where examples belong together in groups, `confidence` and intervals are those for examples of new
groups, and count the examples as what they are worth at least.

On request there are two more: `f_beta`, of the highest F-beta, and `cost`, of the least cost.

No decision hangs by a hair. A threshold lies halfway between two neighbouring scores, so that it
decides alike wherever a score is off by some rounding: in an exported model, on another machine, in
another reader of the CSV. Between scores closer than `GAP` there is none: it goes to the next wider
gap on the side that keeps the target, down for recall and up for precision.

- Ties: equal scores are one score; they are never divided.
- The low end: under the lowest score everything is present. The threshold is halfway to 0, or 0
  where the lowest score is less than `GAP`. So recall always has one, if there are positives.
- The high end: over the highest score nothing is present, which has no precision. Where no gap
  wide enough reaches the wanted precision there is no threshold (None).
"""

from __future__ import annotations

import dataclasses
import itertools
import math
from typing import Any, Optional, Sequence

import numpy as np

from cloudtf.errors import UserError
from cloudtf.evaluation import guarantees, intervals, pr_auc
from cloudtf.evaluation.evaluate import EvaluateConfig

# Neighbouring scores closer than this are not told apart: a float32 network computed elsewhere may
# be off by a tenth of it.
GAP = 1e-5


def choose_thresholds(
    labels: np.ndarray,
    scores: np.ndarray,
    recall_target: float = EvaluateConfig.recall_target,
    precision_target: float = EvaluateConfig.precision_target,
    confidence: float = EvaluateConfig.confidence,
    class_names: Optional[Sequence[str]] = None,
    beta: Optional[float] = None,
    costs: Optional[tuple[float, float]] = None,
    groups: Optional[Sequence] = None,
) -> dict[Any, dict[str, dict[str, Any]]]:
    """The thresholds of every class, as the `classes` of `thresholds.json` have them.

    Args:
      labels: [N, C], 0 or 1, or -1 where unknown; such examples have no say for that class.
      scores: [N, C], probabilities.
      recall_target: the wanted recall, 0 to 1.
      precision_target: the wanted precision, 0 to 1.
      confidence: how surely the guaranteed thresholds keep their target on new examples of the
        same kind, 0 to 1 (exclusive).
      class_names: C distinct names, in the order of the columns; 0, 1, ... where there are none.
      beta: also chooses `f_beta`, the threshold of the highest F-beta (recall counts `beta` times
        as much as precision).
      costs: also chooses `cost`, the threshold of the least cost, of the cost of a positive that
        is missed and that of a false alarm.
      groups: N names or numbers, the group of each example, where several belong together, such as
        pictures of one thing: what is promised is then promised of examples of new groups, which
        takes more of them.

    Returns:
      For each class `recall`, `precision`, `recall_guaranteed` and `precision_guaranteed`, each
      with `target`, `threshold`, the `precision` and `recall` found there, their 95% `intervals`
      ([low, high], Clopper and Pearson's), and the `confidence` that the target holds on new
      examples. All but the target are None where no threshold reaches
      it (for `recall`: only where the class has no positives), and then the guaranteed ones have
      `needs`: how many positives would do, None where no number would. `f_beta` has `beta` and the
      `f_beta` found, `cost` has `miss`, `false_alarm` and the `cost` an example, in the place of
      target and confidence.

    Raises:
      UserError: a score is not finite, a label is another number, or -1 stands for absent.
      ValueError: the shapes do not agree, DataFrames have the same rows or columns in another
        order, an example has no group, or a target, the confidence, beta or a cost is out of its
        range.

    >>> labels = np.arange(200)[:, None] % 2
    >>> scores = 0.25 + labels * 0.5 + np.linspace(0, 0.2, 200)[:, None]
    >>> chosen = cloudtf.choose_thresholds(labels, scores, recall_target=0.9)[0]
    >>> round(chosen["recall"]["threshold"], 4), chosen["recall"]["recall"]
    (0.7701, 0.9)
    >>> surer = chosen["recall_guaranteed"]
    >>> round(surer["threshold"], 4), surer["recall"]
    (0.758, 0.96)
    >>> round(chosen["recall"]["confidence"], 2), round(surer["confidence"], 2)
    (0.42, 0.98)
    """
    for target in (recall_target, precision_target):
        if not 0 <= target <= 1:
            raise ValueError(f"A target of {target} is not between 0 and 1.")
    if not 0 < confidence < 1:
        raise ValueError(f"A confidence of {confidence} is not between 0 and 1.")
    if beta is not None and not 0 < beta < np.inf:
        raise ValueError(f"A beta of {beta} is not a number over 0.")
    if costs is not None and not (len(costs) == 2 and all(0 <= cost < np.inf for cost in costs)):
        raise ValueError(f"Costs of {costs} are not two numbers from 0.")
    if np.ndim(labels) != 2:
        raise ValueError(
            f"Labels {np.shape(labels)} are not [examples, classes]; give a column a class."
        )
    _check_aligned(labels, scores, class_names)
    names: list[Any] = list(range(np.shape(labels)[1]) if class_names is None else class_names)
    labels, scores = pr_auc.checked(labels, scores, names)
    if (labels < 0).any() and not (labels == 0).any():
        raise UserError("All labels are 1 or -1, which is for unknown; give 0 for absent.")
    numbers = None
    if groups is not None:
        if len(groups) != len(labels):
            raise ValueError(
                f"{len(groups)} groups are not one for each of {len(labels)} examples."
            )
        numbers = _numbers(groups)
    chosen = {}
    for index, name in enumerate(names):
        of_class = None if numbers is None else numbers[labels[:, index] >= 0]
        cuts = _cuts(*pr_auc.of_class(labels, scores, index), of_class)
        chosen[name] = {
            "recall": _recall(cuts, recall_target, None),
            "precision": _precision(cuts, precision_target),
            "recall_guaranteed": _recall(cuts, recall_target, confidence),
            "precision_guaranteed": _precision_guaranteed(cuts, precision_target, confidence),
        }
        if beta is not None:
            chosen[name]["f_beta"] = _f_beta(cuts, beta)
        if costs is not None:
            chosen[name]["cost"] = _cost(cuts, *costs)
    return chosen


def _check_aligned(labels: Any, scores: Any, class_names: Optional[Sequence[str]]) -> None:
    """Refuses DataFrames with the same rows or columns in another order: arrays have no names.

    Raises:
      ValueError: naming what is in another order.
    """
    for what, axis in (("rows", 0), ("columns", 1)):
        orders = {
            name: frame.axes[axis].tolist()
            for name, frame in (("labels", labels), ("scores", scores))
            if hasattr(frame, "axes")
        }
        if axis and class_names is not None:
            orders["class_names"] = list(class_names)
        for (one, first), (other, second) in itertools.combinations(orders.items(), 2):
            if first != second and sorted(map(repr, first)) == sorted(map(repr, second)):
                raise ValueError(
                    f"The {what} of {one} and {other} are the same in another order; they are "
                    "paired by their places, so bring them into one order."
                )


def _numbers(groups: Sequence) -> np.ndarray:
    """The groups as whole numbers, [N].

    Raises:
      ValueError: an example has none.
    """
    number_of: dict[Any, int] = {}
    for index, group in enumerate(groups):
        if group is None or group != group:
            raise ValueError(
                f"The group of example {index} is missing; give it one of its own if it belongs "
                "with no other."
            )
        number_of.setdefault(group, len(number_of))
    return np.array([number_of[group] for group in groups], np.int64)


@dataclasses.dataclass(frozen=True)
class _Cuts:
    """Where a threshold of one class may lie, from the lowest up; nowhere without positives.

    Attributes:
      thresholds: float64 [T].
      present: int64 [T], how many examples score at least that.
      right: int64 [T], how many positives are among them.
      positives: how many there are in all.
      examples: how many there are in all.
      worth: float64 [T], how many examples, drawn one by one, those present are worth; `present`
        where none belong together.
      positives_worth: the same of the positives, rounded down.
    """

    thresholds: np.ndarray
    present: np.ndarray
    right: np.ndarray
    positives: int
    examples: int
    worth: np.ndarray
    positives_worth: int

    def entry(self, index: Optional[int], confidence: Optional[float]) -> dict[str, Any]:
        """What is found at one of them; None: at none."""
        if index is None:
            return dict.fromkeys(("threshold", "precision", "recall", "intervals", "confidence"))
        right, present = int(self.right[index]), int(self.present[index])
        return {
            "threshold": float(self.thresholds[index]),
            "precision": right / present,
            "recall": right / self.positives,
            "intervals": {
                "precision": _interval(right, present, float(self.worth[index])),
                "recall": _interval(right, self.positives, self.positives_worth),
            },
            "confidence": confidence,
        }


def _interval(right: int, of: int, worth: float) -> list[float]:
    return list(intervals.of_proportion(worth if right == of else worth * right / of, worth))


def _cuts(labels: np.ndarray, scores: np.ndarray, groups: Optional[np.ndarray]) -> _Cuts:
    positives = int(labels.sum())
    if not positives:
        nothing = np.zeros(0, np.int64)
        return _Cuts(np.zeros(0), nothing, nothing, 0, len(labels), nothing, 0)
    distinct, place = np.unique(scores, return_inverse=True)
    place = place.reshape(-1)
    present = np.bincount(place, minlength=len(distinct))[::-1].cumsum()[::-1]
    right = np.bincount(place[labels], minlength=len(distinct))[::-1].cumsum()[::-1]
    # Under each score, halfway to the next lower one, where there is room.
    lowest = distinct[0]
    # Logits are no probabilities, but have an order too.
    below = np.concatenate([[0.0 if lowest >= 0 else lowest - GAP], distinct[:-1]])
    wide = distinct - below >= GAP
    thresholds = np.where(wide, below + (distinct - below) / 2, below)
    wide[0] = True  # Nothing is lower than the low end itself.
    thresholds, present, right = thresholds[wide], present[wide], right[wide]
    worth, positives_worth = present, positives
    if groups is not None:
        worth = guarantees.effective_sizes(groups[np.argsort(-scores, kind="stable")])[present - 1]
        positives_worth = int(guarantees.effective_sizes(groups[labels])[-1])
    return _Cuts(thresholds, present, right, positives, len(labels), worth, positives_worth)


def _recall(cuts: _Cuts, target: float, confidence: Optional[float]) -> dict[str, Any]:
    """The strictest threshold that keeps enough; for a confidence, enough to be so sure."""
    n = cuts.positives
    of = cuts.positives_worth
    keep: Optional[int] = int(np.searchsorted(np.arange(n + 1) / max(n, 1), target))
    if confidence is not None:
        keep = guarantees.positives_to_keep(of, target, confidence)
        keep = None if keep is None else math.ceil(keep * n / of)
    index, sure = None, None
    if n and keep is not None:
        # All are kept under the lowest score, so there is always a last one.
        index = int(np.flatnonzero(cuts.right >= keep)[-1])
        sure = guarantees.recall_confidence(keep * of // n, of, target)
    entry = {"target": float(target), **cuts.entry(index, sure)}
    if confidence is not None and index is None:
        entry["needs"] = _in_examples(cuts, guarantees.least_number(target, confidence))
    return entry


def _precision(cuts: _Cuts, target: float) -> dict[str, Any]:
    """The most lenient threshold whose finds are right often enough."""
    reached = np.flatnonzero(cuts.right / np.maximum(cuts.present, 1) >= target)
    index, sure = None, None
    if reached.size:
        index = int(reached[0])
        right, worth = _whole(cuts)
        sure = float(guarantees.precision_confidence(right[index], worth[index], target))
    return {"target": float(target), **cuts.entry(index, sure)}


def _precision_guaranteed(cuts: _Cuts, target: float, confidence: float) -> dict[str, Any]:
    """The most lenient threshold that passes, with all stricter ones of a fixed order."""
    # From the strictest down.
    right, worth = (values[::-1] for values in _whole(cuts))
    last, sure = guarantees.last_proven(right, worth, cuts.examples, target, confidence)
    index = None if last is None else len(worth) - 1 - last
    entry = {"target": float(target), **cuts.entry(index, sure)}
    if index is None:
        needs = guarantees.positives_for_precision(
            right, worth, cuts.positives_worth, target, confidence
        )
        entry["needs"] = _in_examples(cuts, needs)
    return entry


def _whole(cuts: _Cuts) -> tuple[np.ndarray, np.ndarray]:
    """How many are right, and present, of examples drawn one by one: whole numbers, rounded down.

    Rounded so that no precision is higher than it was found.
    """
    worth = np.floor(cuts.worth)
    return np.floor(worth * cuts.right / np.maximum(cuts.present, 1)), worth


def _in_examples(cuts: _Cuts, needs: Optional[int]) -> Optional[int]:
    """A number of positives, drawn one by one, as one of positives in groups like these."""
    if needs is None or not cuts.positives_worth:
        return needs
    return math.ceil(needs * cuts.positives / cuts.positives_worth)


def _f_beta(cuts: _Cuts, beta: float) -> dict[str, Any]:
    index, best = None, None
    if cuts.positives:
        values = (1 + beta**2) * cuts.right / (beta**2 * cuts.positives + cuts.present)
        index = int(values.argmax())
        best = float(values[index])
    entry = cuts.entry(index, None)
    return {"beta": float(beta), **_found(entry), "f_beta": best}


def _cost(cuts: _Cuts, miss: float, false_alarm: float) -> dict[str, Any]:
    index, least = None, None
    if cuts.positives:
        missed, alarms = cuts.positives - cuts.right, cuts.present - cuts.right
        values = (miss * missed + false_alarm * alarms) / cuts.examples
        index = int(values.argmin())
        least = float(values[index])
    entry = cuts.entry(index, None)
    return {
        "miss": float(miss),
        "false_alarm": float(false_alarm),
        **_found(entry),
        "cost": least,
    }


def _found(entry: dict[str, Any]) -> dict[str, Any]:
    return {key: entry[key] for key in ("threshold", "precision", "recall", "intervals")}
