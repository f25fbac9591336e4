"""Mixup and cutmix: pairs of images of a batch become two mixtures (Zhang et al. 2018,
arXiv:1710.09412; Yun et al. 2019, arXiv:1905.04899).

The images of a batch are paired as they stand in it: the first with the second, and so on; of an
odd number the last has no partner. So a batch that replicas share in even parts is mixed as a whole
one is. Everything is whole numbers: the host and any device give the same bytes.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import tensorflow as tf

from cloudtf.pipeline.augmentations import Augmentations
from cloudtf.pipeline.colour import inside_rectangle
from cloudtf.pipeline.draws import MIXING, Draws
from cloudtf.pipeline.maps import FRACTION_BITS, ONE

# Equally probable shares into which a Beta distribution is divided.
_STEPS = 4096
# Areas are rounded to this part of the image's.
_SHARES = 1 << 16


class Mix(NamedTuple):
    """What a batch is mixed by.

    Attributes:
      weight: int32 [B], how much of its own pixels an image keeps, in 1/256; the rest is its
        partner's.
      box: int32 [B, 4], a rectangle with the partner's pixels: the first row and the one after the
        last, the first column and the one after the last; empty where nothing is pasted.
    """

    weight: tf.Tensor
    box: tf.Tensor


def sample(ops: Augmentations, seed: int, keys: tf.Tensor, height: int, width: int) -> Mix:
    """Draws what each image of a batch is mixed by.

    Args:
      ops: `mixup` and `cutmix`, the parameters of their Beta distributions, and how often.
      seed: keys the random draws, with `keys`; the lowest 32 bits count.
      keys: int32 [B, 2], (epoch, example number in the split).
      height: rows of the images that are mixed.
      width: columns of the images that are mixed.
    """
    draws = Draws(ops, seed, keys)
    mixed = draws.lane(MIXING) < ops.mix_probability
    # Whether by cutmix: none, all, or half of them.
    share = 0.0 if ops.cutmix == 0 else 1.0 if ops.mixup == 0 else 0.5
    pastes = draws.lane(MIXING + 1) < share
    shares = tf.cast(draws.lane(MIXING + 2) * _STEPS, tf.int32)
    whole = tf.fill(tf.shape(shares), ONE)
    weight, box = whole, tf.zeros([tf.shape(shares)[0], 4], tf.int32)
    if ops.mixup > 0:
        # The larger share is the image's own, which is the same for pairs drawn at random.
        own = tf.gather(tf.constant(_beta(ops.mixup)), shares)
        own = tf.maximum(own, ONE - own)
        weight = tf.where(mixed & ~pastes, own, whole)
    if ops.cutmix > 0:
        own = tf.gather(tf.constant(_beta(ops.cutmix)), shares)
        edges = []
        for size, lane in ((height, MIXING + 3), (width, MIXING + 4)):
            # A box of the image's own ratio of sides, its centre anywhere in the image.
            sides = np.round(size * np.sqrt(1 - np.arange(ONE + 1) / ONE)).astype(np.int32)
            side = tf.gather(tf.constant(sides), own)
            first = tf.cast(draws.lane(lane) * size, tf.int32) - side // 2
            edges += [tf.maximum(first, 0), tf.minimum(first + side, size)]
        box = tf.where((mixed & pastes)[:, None], tf.stack(edges, axis=1), box)
    return Mix(weight, box)


compiled_sample = tf.function(sample, jit_compile=True, autograph=False)


def _beta(parameter: float) -> np.ndarray:
    """Shares of Beta(parameter, parameter) that are equally probable: int32 [4096], in 1/256."""
    from scipy.special import betaincinv

    middles = (np.arange(_STEPS) + 0.5) / _STEPS
    return np.round(ONE * betaincinv(parameter, parameter, middles)).astype(np.int32)


def partners(values: tf.Tensor) -> tf.Tensor:
    """The rows [B, ...] of each one's partner; the last of an odd number is its own."""
    numbers = tf.range(tf.shape(values)[0])
    other = tf.bitwise.bitwise_xor(numbers, 1)
    return tf.gather(values, tf.where(other < tf.shape(values)[0], other, numbers))


def apply(images: tf.Tensor, mix: Mix) -> tf.Tensor:
    """Mixes the images of a batch: uint8 [B, H, W, 3] to the same.

    Shares are rounded to 1/256, and values to whole ones, halves upwards.
    """
    return _apply(images, partners(images), mix)


@tf.function(jit_compile=True, autograph=False)
def _apply(images: tf.Tensor, others: tf.Tensor, mix: Mix) -> tf.Tensor:
    inside = inside_rectangle(mix.box, images.shape[1], images.shape[2])
    weight = tf.where(inside, 0, mix.weight[:, None, None])[..., None]
    mine, theirs = tf.cast(images, tf.int32), tf.cast(others, tf.int32)
    mixed = mine * weight + theirs * (ONE - weight) + ONE // 2
    return tf.cast(tf.bitwise.right_shift(mixed, FRACTION_BITS), tf.uint8)


def own_share(mix: Mix, height: int, width: int) -> tf.Tensor:
    """How much of a mixture is the image's own, by weight or by area: float32 [B].

    A multiple of 2**-16, so that labels are the same to the bit wherever they are mixed.
    """
    top, bottom, left, right = tf.unstack(tf.cast(mix.box, tf.int64), axis=1)
    pixels = height * width
    pasted = ((bottom - top) * (right - left) * 2 * _SHARES + pixels) // (2 * pixels)
    own = tf.cast(mix.weight, tf.int64) * (_SHARES // ONE) - pasted
    return tf.cast(own, tf.float32) * (1.0 / _SHARES)


def labels(mine: tf.Tensor, others: tf.Tensor, share: tf.Tensor) -> tf.Tensor:
    """Labels of mixtures: each image's by its share; unknown where a part of it is.

    Args:
      mine: float32 [B, C], 0 or 1, or -1 where unknown.
      others: those of the partners, likewise.
      share: float32 [B], how much of each mixture is the image's own.

    Returns:
      float32 [B, C], from 0 to 1, or -1 where unknown.
    """
    own = share[:, None]
    unknown = ((mine < 0) & (own > 0)) | ((others < 0) & (own < 1))
    mixed = own * mine + (1.0 - own) * others
    return tf.where(unknown, tf.constant(-1.0), mixed)
