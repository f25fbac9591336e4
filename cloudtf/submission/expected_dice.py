"""Which masks cost more than they bring, by the score of the contest, and what removing them gains.

The contest's score of an (image, class) pair is the Dice of its mask, and 1 where both masks are
empty. Of a pair for which a mask is drawn let p be the probability that the class is there and d
the Dice to expect of its mask if it is. Keeping the mask is worth p d, removing it 1 - p: so it is
removed where p < 1 / (1 + d).

Both are meant of pairs with a mask. Where masks of labelled images are given, p and d are estimated
on their pairs: p by beta calibration (Kull, Silva Filho and Flach, 2017), which is a logistic
regression on log p and log(1 - p), on probabilities of a model that has not seen the images. Where
they are not, the probabilities are taken as they are: a drawn mask is assumed to say nothing of the
class that the probability does not.
"""

from __future__ import annotations

import dataclasses
import math
from typing import Optional, Sequence

import numpy as np

LEVEL = 0.95
# Fewer pairs of either kind are no ground for a calibration of their class alone.
_ENOUGH = 20
_LEAST = 1e-6


@dataclasses.dataclass(frozen=True)
class Pairs:
    """Pairs of labelled images for which a mask is drawn.

    Attributes:
      images: [N], the number of each one's image.
      classes: [N], the number of its class.
      scores: [N], the probability of the class, by a model that has not seen the image.
      present: bool [N], whether the class is there.
      dice: [N], the Dice of its mask where it is; any number elsewhere.
    """

    images: np.ndarray
    classes: np.ndarray
    scores: np.ndarray
    present: np.ndarray
    dice: np.ndarray

    def take(self, numbers: np.ndarray) -> Pairs:
        """Some of them, in that order."""
        return Pairs(*(getattr(self, field.name)[numbers] for field in dataclasses.fields(self)))


@dataclasses.dataclass(frozen=True)
class Belief:
    """What is believed of pairs with a mask.

    Attributes:
      dice: [C], the Dice to expect of a class's masks where the class is there.
      spread: [C], the standard deviation of that Dice.
      weights: [C, 3], of log p, of -log(1 - p) and of 1 in the logit of the calibrated probability;
        1, 1 and 0 leave it as it is.
      dice_variance: [C], how far `dice` may be off, squared; 0 where it is given.
      covariances: [C, 3, 3], the same of `weights`.
      groups: [C], equal for classes whose `weights` are one estimate.
    """

    dice: np.ndarray
    spread: np.ndarray
    weights: np.ndarray
    dice_variance: np.ndarray
    covariances: np.ndarray
    groups: np.ndarray

    def probabilities(self, scores: np.ndarray, classes: np.ndarray) -> np.ndarray:
        """The probability of each pair's class: float64 [N], of scores [N] and classes [N]."""
        from scipy.special import expit

        weights = self.weights[classes]
        return expit((_features(scores) * weights[:, :2]).sum(axis=1) + weights[:, 2])


@dataclasses.dataclass(frozen=True)
class Gain:
    """What removing some masks is expected to add to the mean score of all pairs.

    Attributes:
      mean: what is added on average; under 0 where it is a loss.
      low: 95 times of 100 at least so much is added,
      high: and at most so much.
    """

    mean: float
    low: float
    high: float


def assumed(dice: np.ndarray) -> Belief:
    """The belief where nothing but the Dice [C] to expect of the masks is known."""
    dice = np.asarray(dice, np.float64)
    # No quantity from 0 to 1 has a larger deviation.
    spread = np.sqrt(dice * (1 - dice))
    count = len(dice)
    as_it_is = np.tile([1.0, 1.0, 0.0], (count, 1))
    return Belief(
        dice, spread, as_it_is, np.zeros(count), np.zeros((count, 3, 3)), np.arange(count)
    )


def estimated(pairs: Pairs, num_classes: int, dice: Optional[np.ndarray] = None) -> Belief:
    """The belief that pairs of labelled images give.

    A class with few pairs is taken as all classes together are.

    Args:
      pairs: those with a mask, at least one of a class that is there and one of one that is not.
      num_classes: C, the number of classes.
      dice: [C], the Dice to expect; estimated if None.

    Returns:
      The Dice of each class, and the calibration of its probabilities.
    """
    all_dice = pairs.dice[pairs.present]
    together = _calibrated(pairs.scores, pairs.present)
    rows = []
    for number in range(num_classes):
        own = pairs.classes == number
        there = pairs.dice[own & pairs.present]
        enough = min(len(there), int(own.sum()) - len(there)) >= _ENOUGH
        fitted = _calibrated(pairs.scores[own], pairs.present[own]) if enough else together
        some = there if len(there) >= _ENOUGH else all_dice
        spread = float(some.std(ddof=1)) if len(some) > 1 else 0.5
        rows.append((some.mean(), spread, spread**2 / len(some), *fitted, number if enough else -1))
    found, spreads, variances, weights, covariances, groups = map(np.array, zip(*rows))
    if dice is not None:
        found, variances = np.asarray(dice, np.float64), np.zeros(num_classes)
    return Belief(found, spreads, weights, variances, covariances, groups)


def margins(belief: Belief, scores: np.ndarray, classes: np.ndarray) -> np.ndarray:
    """What keeping each mask is worth beside removing it: p d - (1 - p), [N]; removed under 0."""
    chance = belief.probabilities(scores, classes)
    return chance * belief.dice[classes] - (1 - chance)


def gain(
    belief: Belief,
    scores: np.ndarray,
    classes: np.ndarray,
    num_pairs: int,
) -> Gain:
    """The gain to expect of removing some masks, and how far off it may be.

    The interval allows for what is known only by its probability; and, where the belief was
    estimated, for how far it may be off, to the first order (the delta method).

    Args:
      belief: the probabilities and the Dice that decided which masks are removed.
      scores: [N], the probabilities of the pairs whose masks are removed.
      classes: [N], the numbers of their classes.
      num_pairs: all pairs of the submission, those without masks among them.
    """
    if not len(scores):
        return Gain(0.0, 0.0, 0.0)
    chance = belief.probabilities(scores, classes)
    mean = -margins(belief, scores, classes).sum()
    lost = belief.dice[classes]
    # 1 where the class is not there, and minus the Dice of its mask where it is.
    variance = (
        chance * (1 - chance) * (1 + lost) ** 2 + chance * belief.spread[classes] ** 2
    ).sum()
    per_logit = chance * (1 - chance) * (1 + lost)
    slopes = -np.column_stack([_features(scores), np.ones(len(scores))]) * per_logit[:, None]
    for group in np.unique(belief.groups):
        members = np.flatnonzero(belief.groups == group)
        slope = slopes[np.isin(classes, members)].sum(axis=0)
        variance += slope @ belief.covariances[members[0]] @ slope
    by_class = np.bincount(classes, chance, minlength=len(belief.dice))
    variance += (by_class**2 * belief.dice_variance).sum()
    from scipy.special import ndtri

    width = float(ndtri((1 + LEVEL) / 2)) * math.sqrt(variance)
    return Gain(*(float(value) / num_pairs for value in (mean, mean - width, mean + width)))


def dice(mask: np.ndarray, truth: np.ndarray) -> float:
    """The Dice coefficient of two masks, bool [H, W] each; 1 where both are empty.

    >>> dice(np.array([[True, True, False]]), np.array([[False, True, False]]))
    0.6666666666666666
    """
    total = int(mask.sum()) + int(truth.sum())
    return 2 * int((mask & truth).sum()) / total if total else 1.0


def of_classes(words: Sequence[str], class_names: Sequence[str]) -> np.ndarray:
    """The Dice of each class, [C], from one number for all of them or one a class.

    Args:
      words: `0.55`, or `Fish:0.5` and so on.
      class_names: the C class names.

    Raises:
      ValueError: one phrase on what is wrong.

    >>> of_classes(["Fish:0.5", "Flower:0.6"], ["Flower", "Fish"]).tolist()
    [0.6, 0.5]
    """
    if len(words) == 1 and ":" not in words[0]:
        words = [f"{name}:{words[0]}" for name in class_names]
    found: dict[str, float] = {}
    for word in words:
        name, _, number = word.rpartition(":")
        try:
            value = float(number)
        except ValueError:
            value = math.nan
        if not 0 <= value <= 1:
            raise ValueError(f"{word!r} is neither a number from 0 to 1 nor CLASS:NUMBER")
        if name not in class_names:
            raise ValueError(f"{name!r} is not one of the classes")
        found[name] = value
    missing = [name for name in class_names if name not in found]
    if missing:
        raise ValueError(f"{missing[0]} has none")
    return np.array([found[name] for name in class_names])


def _features(scores: np.ndarray) -> np.ndarray:
    kept = np.clip(np.asarray(scores, np.float64), _LEAST, 1 - _LEAST)
    return np.stack([np.log(kept), -np.log1p(-kept)], axis=1)


def _calibrated(scores: np.ndarray, present: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The weights of `Belief` by which scores become probabilities of `present`, and how far off
    they may be: [3], [3, 3]."""
    from scipy.special import expit
    from sklearn.linear_model import LogisticRegression

    features = _features(scores)
    together = np.eye(3)
    model = LogisticRegression(C=100.0).fit(features, present)
    if (model.coef_ < 0).any():  # Of their sum alone, or a higher score would mean less.
        together = np.array([[1.0, 1.0, 0.0], [0.0, 0.0, 1.0]])
        model = LogisticRegression(C=100.0).fit(features @ together[:1, :2].T, present)
    own = np.append(np.maximum(model.coef_[0], 0.0), model.intercept_)
    weights = own @ together
    inputs = np.column_stack([features, np.ones(len(scores))])
    chance = expit(inputs @ weights)
    inputs = inputs @ together.T
    information = (inputs * (chance * (1 - chance))[:, None]).T @ inputs
    information += np.diag([0.01] * (len(own) - 1) + [1e-9])
    return weights, together.T @ np.linalg.inv(information) @ together
