"""What is drawn for each example: which augmentations it gets, and the numbers that say how.

Each number of an example has a lane of its own, which it keeps whatever else is asked for.
"""

from __future__ import annotations

import functools
import math

import tensorflow as tf

from cloudtf.pipeline import randomness
from cloudtf.pipeline.augmentations import NAMES, Augmentations

# Lane of the number that decides whether an augmentation is applied; how strongly is in the lanes
# behind it. Those of the distortion's cells are behind all others of the first group.
_CHOICES = {
    "vertical_flip": 0,
    "horizontal_flip": 1,
    "rotation": 2,
    "grid_distortion": 4,
    "brightness": 5,
    "contrast": 7,
    "scale": 80,
    "shift": 82,
    "shear": 85,
    "aspect": 88,
    "crop": 90,
    "grey": 95,
    "channel_shuffle": 96,
    "erase": 98,
}
_CELLS = 9
# The first lane of the second group, behind 32 cells each way, and how many lanes it has.
_SECOND = 80
_IN_SECOND = 64
# By which the augmentations of an image are ordered, where a number of them is drawn.
_RANKS = 120
# What an example is mixed with is drawn from these on; see `mixing`.
MIXING = 110


class Draws:
    """The random numbers of a batch, each float32 [B] in [0, 1).

    Args:
      ops: the augmentations to draw, their probability and strengths.
      seed: keys the random draws, with `keys`; the lowest 32 bits count.
      keys: int32 [B, 2], (epoch, example number in the split).
    """

    def __init__(self, ops: Augmentations, seed: int, keys: tf.Tensor) -> None:
        self._ops = ops
        self._seed, self._keys = seed, keys
        self._first = randomness.uniforms(seed, keys, _CELLS + 2 * ops.distortion_steps)

    def chosen(self, name: str) -> tf.Tensor:
        """Which examples get an augmentation: bool [B]."""
        ops, number = self._ops, self.lane(_CHOICES[name])
        if name not in ops.augmentations:
            return tf.zeros_like(number, tf.bool)
        if ops.augment_ops is None:
            return number < ops.augment_probability
        # Its place among all, by numbers drawn for that; of equal ones the first comes first.
        index = NAMES.index(name)
        mine, before = self.lane(_RANKS + index), tf.zeros_like(number, tf.int32)
        for other in map(NAMES.index, set(ops.augmentations) - {name}):
            theirs = self.lane(_RANKS + other)
            is_before = theirs <= mine if other < index else theirs < mine
            before += tf.cast(is_before, tf.int32)
        return before < ops.augment_ops

    def number(self, name: str, which: int = 0) -> tf.Tensor:
        """A number of an augmentation, the `which`-th behind the one that decides on it."""
        return self.lane(_CHOICES[name] + 1 + which)

    def within(self, name: str, limit: float, which: int = 0) -> tf.Tensor:
        """A number from -limit to limit, and 0 where the augmentation is not applied."""
        values = (2.0 * self.number(name, which) - 1.0) * limit
        return tf.where(self.chosen(name), values, tf.zeros_like(values))

    def factor(self, name: str, limit: float, which: int = 0) -> tf.Tensor:
        """A number in 1 ± limit, and 1 where the augmentation is not applied."""
        values = 1.0 + (2.0 * self.number(name, which) - 1.0) * limit
        return tf.where(self.chosen(name), values, tf.ones_like(values))

    def ratio(self, name: str, limit: float, which: int = 0) -> tf.Tensor:
        """A number from 1 / (1 + limit) to 1 + limit, each and its inverse alike; else 1."""
        return tf.exp(self.within(name, math.log1p(limit), which))

    def cells(self, limit: float) -> tf.Tensor:
        """The stretch of the distortion's cells, columns and then rows: float32 [B, 2 S]."""
        stretch = 1.0 + (2.0 * self._first[:, _CELLS:] - 1.0) * limit
        return tf.where(self.chosen("grid_distortion")[:, None], stretch, tf.ones_like(stretch))

    def lane(self, index: int) -> tf.Tensor:
        """The number of a lane."""
        if index < _CELLS:
            return self._first[:, index]
        return self._second[:, index - _SECOND]

    @functools.cached_property
    def _second(self) -> tf.Tensor:
        return randomness.uniforms(self._seed, self._keys, _IN_SECOND, _SECOND)
