"""Augmentation of a whole uint8 batch by one compiled resampling.

Vertical flip, horizontal flip, rotation and grid distortion are one inverse map from output pixels
to source positions. Grid distortion moves columns and rows independently, and the others are
affine, so the map of example b is

    x_source = ax[b, column] + bx[b, row],      y_source = ay[b, column] + by[b, row]

and four short vectors an example say everything. Positions are fixed point with 8 fractional bits;
outside the frame the image is reflected without repeating its edge (OpenCV's BORDER_REFLECT_101).
Sampling the maps and applying them are separate functions. The same code runs in the input
pipeline and inside the train step on an accelerator.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import tensorflow as tf

from cloudtf.pipeline import randomness
from cloudtf.pipeline.augmentations import Augmentations

FRACTION_BITS = 8
_ONE = 1 << FRACTION_BITS


class Maps(NamedTuple):
    """Where each output pixel comes from, in 1/256 pixels, and its photometric change.

    Attributes:
      ax: int32 [B, W]; with bx the source column of output (row, column).
      bx: int32 [B, H].
      ay: int32 [B, W]; with by the source row.
      by: int32 [B, H].
      gain: int32 [B], 256 for unchanged contrast.
      offset: int32 [B], in 1/256 grey levels, added after the gain.
    """

    ax: tf.Tensor
    bx: tf.Tensor
    ay: tf.Tensor
    by: tf.Tensor
    gain: tf.Tensor
    offset: tf.Tensor


def sample_maps(ops: Augmentations, seed: int, keys: tf.Tensor, height: int, width: int) -> Maps:
    """Draws the maps of a batch.

    The forward order is the notebook's: vertical flip, horizontal flip, rotation, distortion.
    Each is drawn with `ops.augment_probability` for each example.

    Args:
      ops: which augmentations, and how strong.
      seed: the run's seed.
      keys: int32 [B, 2], (epoch, example number).
      height: rows of the images.
      width: columns.
    """
    steps = ops.distortion_steps
    u = randomness.uniforms(seed, keys, 9 + 2 * steps)
    p = ops.augment_probability

    def chosen(name: str, lane: int) -> tf.Tensor:
        return (u[:, lane] < p) if name in ops.augmentations else tf.zeros_like(u[:, lane], tf.bool)

    def symmetric(numbers: tf.Tensor, limit: float) -> tf.Tensor:
        return (2.0 * numbers - 1.0) * limit

    vertical = chosen("vertical_flip", 0)
    horizontal = chosen("horizontal_flip", 1)
    angle = symmetric(u[:, 3], math.radians(ops.rotation_degrees))
    angle = tf.where(chosen("rotation", 2), angle, tf.zeros_like(angle))
    stretch = 1.0 + symmetric(u[:, 9:], ops.distortion_limit)
    stretch = tf.where(chosen("grid_distortion", 4)[:, None], stretch, tf.ones_like(stretch))
    brightness = symmetric(u[:, 6], ops.brightness_limit * 255.0)
    brightness = tf.where(chosen("brightness", 5), brightness, tf.zeros_like(brightness))
    contrast = 1.0 + symmetric(u[:, 8], ops.contrast_limit)
    contrast = tf.where(chosen("contrast", 7), contrast, tf.ones_like(contrast))
    return make_maps(
        vertical, horizontal, angle, stretch[:, :steps], stretch[:, steps:],
        contrast, brightness, height, width,
    )  # fmt: skip


def make_maps(
    vertical: tf.Tensor,
    horizontal: tf.Tensor,
    angle: tf.Tensor,
    column_stretch: tf.Tensor,
    row_stretch: tf.Tensor,
    contrast: tf.Tensor,
    brightness: tf.Tensor,
    height: int,
    width: int,
) -> Maps:
    """The inverse maps for given parameters.

    Args:
      vertical: bool [B], turn upside down.
      horizontal: bool [B], mirror.
      angle: float32 [B], radians, counter-clockwise about the image's centre.
      column_stretch: float32 [B, S]: how many source columns an output column of each of the S
        equal cells spans; the first column stays in place (albumentations' GridDistortion).
      row_stretch: float32 [B, S], the same for rows.
      contrast: float32 [B], factor about mid-grey (127.5).
      brightness: float32 [B], grey levels added.
      height: rows.
      width: columns.
    """
    columns = _stretched(column_stretch, width)
    rows = _stretched(row_stretch, height)
    center_x, center_y = (width - 1) / 2.0, (height - 1) / 2.0
    cos, sin = tf.cos(angle)[:, None], tf.sin(angle)[:, None]
    # Output to source of a counter-clockwise turn, with y pointing down.
    ax = center_x + cos * (columns - center_x)
    bx = -sin * (rows - center_y)
    ay = sin * (columns - center_x)
    by = center_y + cos * (rows - center_y)
    mirror, upside = horizontal[:, None], vertical[:, None]
    ax, bx = tf.where(mirror, (width - 1.0) - ax, ax), tf.where(mirror, -bx, bx)
    ay, by = tf.where(upside, -ay, ay), tf.where(upside, (height - 1.0) - by, by)
    offset = 127.5 * (1.0 - contrast) + brightness
    return Maps(*(_fixed(v) for v in (ax, bx, ay, by, contrast, offset)))


def _stretched(stretch: tf.Tensor, size: int) -> tf.Tensor:
    """Source positions [B, size] of a piecewise-linear 1-D map from its cells' stretches [B, S]."""
    cells = stretch.shape[1]
    position = tf.range(size, dtype=tf.float32)
    starts = tf.range(cells, dtype=tf.float32) * (size / cells)
    # How far each pixel has gone into each cell: linear maps are then one small product.
    inside = tf.clip_by_value(position[None, :] - starts[:, None], 0.0, size / cells)
    # Offsets from the identity, so that unit stretches give whole numbers to the bit.
    moved = tf.reduce_sum((stretch - 1.0)[:, :, None] * inside[None], axis=1)
    return position[None, :] + moved


def _fixed(value: tf.Tensor) -> tf.Tensor:
    return tf.cast(tf.round(value * _ONE), tf.int32)


def apply_maps(images: tf.Tensor, maps: Maps) -> tf.Tensor:
    """Resamples a batch bilinearly along `maps`; to be compiled by XLA (`jit_compile=True`).

    Args:
      images: uint8 [B, H, W, C] with static H, W and C.
      maps: from `make_maps` or `sample_maps`.

    Returns:
      uint8 [B, H, W, C].
    """
    height, width, channels = images.shape[1:]
    # Distortion reaches at most 1.9 sides (1.4 from the centre), and a turn takes it anywhere.
    reach = 1.5 * math.hypot(height, width) + max(height, width)
    x = _reflect(maps.ax[:, None, :] + maps.bx[:, :, None], width, reach)
    y = _reflect(maps.ay[:, None, :] + maps.by[:, :, None], height, reach)
    x0, y0 = tf.bitwise.right_shift(x, FRACTION_BITS), tf.bitwise.right_shift(y, FRACTION_BITS)
    fx, fy = tf.bitwise.bitwise_and(x, _ONE - 1), tf.bitwise.bitwise_and(y, _ONE - 1)
    # The far neighbour of the last pixel has weight zero; itself stands in for it.
    right = tf.cast(x0 < width - 1, tf.int32)
    below = tf.cast(y0 < height - 1, tf.int32) * width
    pixels = tf.reshape(images, [-1, height * width, channels])
    corner = y0 * width + x0

    def at(index: tf.Tensor) -> tf.Tensor:
        return tf.cast(tf.gather(pixels, index, axis=1, batch_dims=1), tf.int32)

    fx, fy = fx[..., None], fy[..., None]
    top = at(corner) * (_ONE - fx) + at(corner + right) * fx
    bottom = at(corner + below) * (_ONE - fx) + at(corner + below + right) * fx
    value = top * (_ONE - fy) + bottom * fy
    value = tf.bitwise.right_shift(value + (1 << 15), 16)
    value = value * maps.gain[:, None, None, None] + maps.offset[:, None, None, None]
    value = tf.bitwise.right_shift(value + _ONE // 2, FRACTION_BITS)
    return tf.cast(tf.clip_by_value(value, 0, 255), tf.uint8)


def _reflect(position: tf.Tensor, size: int, reach: float) -> tf.Tensor:
    """Folds fixed-point positions into 0..size-1 by reflection at the centres of edge pixels.

    Args:
      position: in 1/256 pixels, up to `reach` pixels to either side of zero.
      size: pixels along this axis.
      reach: bound of the positions, which says how many folds are needed.
    """
    if size == 1:
        return tf.zeros_like(position)
    last = (size - 1) * _ONE
    folded = tf.abs(position)
    # The reflected image is even and repeats every 2 * last: folding at a multiple of that changes
    # nothing but how far away a position can be, which it halves. One fold does for a square.
    folds = max(1, math.ceil(math.log2(reach / (2 * (size - 1)))))
    for k in range(folds, 0, -1):
        folded = tf.abs((last << k) - folded)
    # A position beyond `reach` stays inside all the same.
    return tf.maximum(last - tf.abs(last - folded), 0)


def augment(images: tf.Tensor, keys: tf.Tensor, *, ops: Augmentations, seed: int) -> tf.Tensor:
    """Augments a batch; each example's change depends on (seed, its key) alone.

    Args:
      images: uint8 [B, H, W, C], static shape.
      keys: int32 [B, 2], (epoch, example number in the split).
      ops: which augmentations, and how strong.
      seed: the run's seed.

    Returns:
      uint8 [B, H, W, C].
    """
    if not ops.augmentations:
        return images
    maps = sample_maps(ops, seed, keys, images.shape[1], images.shape[2])
    return apply_maps(images, maps)
