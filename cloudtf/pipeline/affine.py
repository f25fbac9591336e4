"""Rotation, shear, scale, aspect, shift and crop: the linear part of where pixels come from.

Output positions p (after the grid distortion) have their source at

    centre + matrix · (p - centre) + offset

before the flips. Forward the order is: flips, crop, rotation, shear, scale and aspect, shift, grid
distortion.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import tensorflow as tf

from cloudtf.pipeline.augmentations import Augmentations
from cloudtf.pipeline.draws import Draws

# Beside the rotation; without any of them there is nothing here but its cosine and sine.
NAMES = frozenset(["scale", "shift", "shear", "aspect", "crop"])


class Affine(NamedTuple):
    """The matrix and the offset of a batch, each float32 [B].

    Attributes:
      xx: how far the source column moves with the output column.
      xy: how far the source column moves with the output row.
      yx: how far the source row moves with the output column.
      yy: how far the source row moves with the output row.
      x: columns by which the source is moved.
      y: rows by which the source is moved.
    """

    xx: tf.Tensor
    xy: tf.Tensor
    yx: tf.Tensor
    yy: tf.Tensor
    x: tf.Tensor
    y: tf.Tensor


def rotation(angle: tf.Tensor) -> Affine:
    """A turn about the centre, counter-clockwise with y pointing down: float32 [B], radians."""
    cos, sin = tf.cos(angle), tf.sin(angle)
    zero = tf.zeros_like(angle)
    return Affine(cos, -sin, sin, cos, zero, zero)


def sample(draws: Draws, ops: Augmentations, height: int, width: int) -> Affine:
    """Draws what a batch's pictures are turned, sheared, scaled, moved and cut by.

    Args:
      draws: the random numbers of the batch.
      ops: the augmentations to draw, and their limits.
      height: H, rows of the images.
      width: W, columns of the images.
    """
    turn = rotation(draws.within("rotation", math.radians(ops.limit("rotation_degrees"))))
    if not NAMES & set(ops.augmentations):
        return turn
    shear = math.radians(ops.limit("shear_degrees"))
    shear_x = tf.tan(draws.within("shear", shear))
    shear_y = tf.tan(draws.within("shear", shear, 1))
    scale = draws.factor("scale", ops.limit("scale_limit"))
    wider = tf.sqrt(draws.ratio("aspect", ops.limit("aspect_limit")))
    move_x = draws.within("shift", ops.limit("shift_limit") * width)
    move_y = draws.within("shift", ops.limit("shift_limit") * height, 1)
    crop_x, crop_y, crop_width, crop_height = _crop(draws, ops)
    # From the output back to the source: scale and aspect, shear, rotation, crop.
    per_x, per_y = 1.0 / (scale * wider), wider / scale
    xx, xy = per_x, shear_x * per_y
    yx, yy = shear_y * per_x, per_y
    xx, yx = turn.xx * xx + turn.xy * yx, turn.yx * xx + turn.yy * yx
    xy, yy = turn.xx * xy + turn.xy * yy, turn.yx * xy + turn.yy * yy
    xx, xy = crop_width * xx, crop_width * xy
    yx, yy = crop_height * yx, crop_height * yy
    x = crop_x * width - (xx * move_x + xy * move_y)
    y = crop_y * height - (yx * move_x + yy * move_y)
    return Affine(xx, xy, yx, yy, x, y)


def _crop(draws: Draws, ops: Augmentations) -> tuple[tf.Tensor, ...]:
    """Where crops have their centres, from the image's, and their sides, as shares of its sides."""
    chosen = draws.chosen("crop")
    area = 1.0 - draws.number("crop") * ops.limit("crop_scale")
    area = tf.where(chosen, area, tf.ones_like(area))
    # No wider than the image and no higher, so that a crop has all of its area.
    ratio = draws.ratio("crop", ops.limit("aspect_limit"), 1)
    across = tf.clip_by_value(tf.sqrt(area * ratio), area, 1.0)
    down = area / across
    x = (draws.number("crop", 2) - 0.5) * (1.0 - across)
    y = (draws.number("crop", 3) - 0.5) * (1.0 - down)
    return x, y, across, down


def reach(ops: Augmentations) -> float:
    """How many times farther from an image's centre sources may lie than by a turn alone."""
    names, factor = set(ops.augmentations), 1.0
    if "scale" in names:
        factor /= 1.0 - ops.limit("scale_limit")
    if "aspect" in names:
        factor *= math.sqrt(1.0 + ops.limit("aspect_limit"))
    if "shear" in names:
        factor *= 1.0 + math.tan(math.radians(ops.limit("shear_degrees")))
    if "shift" in names:
        factor *= 1.0 + ops.limit("shift_limit")
    return factor
