"""What becomes of pixels once they are in their places: contrast, brightness, grey, channels,
erasing.

Pixels are packed: uint32, red in the lowest byte, then green and blue.
"""

from __future__ import annotations

import itertools
import math
from typing import Optional

import tensorflow as tf

from cloudtf.data.pixels import FILL
from cloudtf.pipeline.augmentations import Augmentations
from cloudtf.pipeline.draws import Draws
from cloudtf.pipeline.maps import FRACTION_BITS, ONE, Maps, fixed

# ITU-R BT.601, in 1/256.
_LUMA = (77, 150, 29)
# Where the channels may go, each in bits of the word; the first order is the one they come in.
_ORDERS = tuple(itertools.permutations((0, 8, 16)))
# Zhong et al. 2020: the least share of an image that is erased, and its most elongated rectangle.
_LEAST_ERASED = 0.02
_MOST_ELONGATED = 1 / 0.3

left_shift, right_shift = tf.bitwise.left_shift, tf.bitwise.right_shift


def sample(
    draws: Draws, ops: Augmentations, height: int, width: int
) -> dict[str, Optional[tf.Tensor]]:
    """Draws how the colours of a batch change: the fields of `Maps` for them.

    Args:
      draws: the random numbers of the batch.
      ops: the augmentations to draw, and their limits.
      height: rows of the images as they come out.
      width: columns of the images as they come out.
    """
    names = set(ops.augmentations)
    gain = offset = grey = order = erased = None
    if {"brightness", "contrast"} & names:
        brightness = draws.within("brightness", ops.limit("brightness_limit") * 255.0)
        contrast = draws.factor("contrast", ops.limit("contrast_limit"))
        gain, offset = tone(contrast, brightness)
    if "grey" in names:
        grey = draws.chosen("grey")
    if "channel_shuffle" in names:
        others = len(_ORDERS) - 1
        which = 1 + tf.cast(draws.number("channel_shuffle") * others, tf.int32)
        which = tf.where(draws.chosen("channel_shuffle"), which, tf.zeros_like(which))
        order = tf.gather(tf.constant(_ORDERS, tf.uint32), which)
    if "erase" in names:
        rectangle = _rectangle(draws, ops, height, width)
        erased = tf.where(draws.chosen("erase")[:, None], rectangle, tf.zeros_like(rectangle))
    return {"gain": gain, "offset": offset, "grey": grey, "order": order, "erased": erased}


def tone(contrast: tf.Tensor, brightness: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Gain and offset, as in `Maps`.

    Args:
      contrast: float32 [B], factor about mid-grey (127.5).
      brightness: float32 [B], grey levels added.
    """
    return fixed(contrast), fixed(127.5 * (1.0 - contrast) + brightness)


def _rectangle(draws: Draws, ops: Augmentations, height: int, width: int) -> tf.Tensor:
    limit = ops.limit("erase_limit")
    least = min(_LEAST_ERASED, limit)
    area = least + draws.number("erase") * (limit - least)
    stretch = (2.0 * draws.number("erase", 1) - 1.0) * math.log(_MOST_ELONGATED)
    down = tf.clip_by_value(tf.sqrt(area * tf.exp(stretch)), area, 1.0)
    rows = _pixels(down, height)
    columns = _pixels(area / down, width)
    top = tf.cast(draws.number("erase", 2) * tf.cast(height + 1 - rows, tf.float32), tf.int32)
    left = tf.cast(draws.number("erase", 3) * tf.cast(width + 1 - columns, tf.float32), tf.int32)
    return tf.stack([top, top + rows, left, left + columns], axis=1)


def _pixels(share: tf.Tensor, size: int) -> tf.Tensor:
    return tf.clip_by_value(tf.cast(tf.round(share * size), tf.int32), 1, size)


def apply(packed: tf.Tensor, maps: Maps) -> tf.Tensor:
    """Changes packed pixels, uint32 [B, h, w], in the order of `Maps`."""
    if maps.gain is not None and maps.offset is not None:
        packed = _tone(packed, maps.gain, maps.offset)
    if maps.grey is not None:
        luma = tf.add_n([w * c for w, c in zip(_LUMA, _channels(packed))])
        luma = right_shift(luma + ONE // 2, FRACTION_BITS)
        packed = tf.where(maps.grey[:, None, None], luma * 0x010101, packed)
    if maps.order is not None:
        moved = [
            left_shift(channel, maps.order[:, index, None, None])
            for index, channel in enumerate(_channels(packed))
        ]
        packed = moved[0] | moved[1] | moved[2]
    if maps.erased is not None:
        inside = inside_rectangle(maps.erased, packed.shape[1], packed.shape[2])
        fill = sum(level << 8 * index for index, level in enumerate(FILL))
        packed = tf.where(inside, tf.constant(fill, tf.uint32), packed)
    return packed


def inside_rectangle(rectangle: tf.Tensor, height: int, width: int) -> tf.Tensor:
    """Which pixels lie in rectangles int32 [B, 4] as in `Maps.erased`: bool [B, height, width]."""
    top, bottom, left, right = (rectangle[:, index, None] for index in range(4))
    rows, columns = tf.range(height)[None], tf.range(width)[None]
    in_rows, in_columns = (rows >= top) & (rows < bottom), (columns >= left) & (columns < right)
    return in_rows[:, :, None] & in_columns[:, None, :]


def _channels(packed: tf.Tensor) -> list[tf.Tensor]:
    return [right_shift(packed, bits) & 0xFF for bits in (0, 8, 16)]


def _tone(packed: tf.Tensor, gain: tf.Tensor, offset: tf.Tensor) -> tf.Tensor:
    gain, offset = gain[:, None, None], offset[:, None, None]
    result = tf.zeros_like(packed)
    for bits in (0, 8, 16):
        channel = tf.cast(right_shift(packed, bits) & 0xFF, tf.int32) * gain + offset
        channel = tf.clip_by_value(right_shift(channel + ONE // 2, FRACTION_BITS), 0, 255)
        result |= left_shift(tf.cast(channel, tf.uint32), bits)
    return result
