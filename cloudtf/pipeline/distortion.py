"""Flips, rotation and grid distortion: where each pixel of an augmented image comes from.

All four are one inverse map from output pixels to source coordinates, along which `augment`
resamples. Grid distortion moves columns and rows independently, and the others are affine, so the
map of example b is

    x_source = ax[b, column] + bx[b, row],      y_source = ay[b, column] + by[b, row]

and four short vectors an example say everything, in fixed point with 8 fractional bits.
"""

from __future__ import annotations

import math
from typing import NamedTuple, Optional

import tensorflow as tf

from cloudtf.pipeline import randomness
from cloudtf.pipeline.augmentations import Augmentations

FRACTION_BITS = 8
ONE = 1 << FRACTION_BITS


class Maps(NamedTuple):
    """Where each output pixel comes from, in 1/256 pixels, and its photometric change.

    Attributes:
      ax: int32 [B, W]; with bx the source column of output (row, column).
      bx: int32 [B, H].
      ay: int32 [B, W]; with by the source row.
      by: int32 [B, H]; see `ay`.
      gain: int32 [B], 256 for unchanged contrast; None leaves grey levels alone.
      offset: int32 [B], in 1/256 grey levels, added after the gain; None with it.
    """

    ax: tf.Tensor
    bx: tf.Tensor
    ay: tf.Tensor
    by: tf.Tensor
    gain: Optional[tf.Tensor]
    offset: Optional[tf.Tensor]


def sample_maps(
    ops: Augmentations, seed: int, keys: tf.Tensor, height: int, width: int, in_turn: bool = False
) -> Maps:
    """Draws the maps of a batch.

    The forward order is the original notebook's (docs/ORIGINAL.md): vertical flip, horizontal flip,
    rotation, distortion. Each is drawn with `ops.augment_probability` for each example.

    Args:
      ops: the augmentations to draw, their probability and strengths.
      seed: keys the random draws, with `keys`; the lowest 32 bits count.
      keys: int32 [B, 2], (epoch, example number in the split).
      height: H, rows of the images.
      width: W, columns of the images.
      in_turn: whether maps are made one example after the other (see `make_maps`).
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
    photometric = {"brightness", "contrast"} & set(ops.augmentations)
    return make_maps(
        vertical, horizontal, angle, stretch[:, :steps], stretch[:, steps:],
        contrast if photometric else None, brightness if photometric else None, height, width,
        in_turn,
    )  # fmt: skip


def make_maps(
    vertical: tf.Tensor,
    horizontal: tf.Tensor,
    angle: tf.Tensor,
    column_stretch: tf.Tensor,
    row_stretch: tf.Tensor,
    contrast: Optional[tf.Tensor],
    brightness: Optional[tf.Tensor],
    height: int,
    width: int,
    in_turn: bool = False,
) -> Maps:
    """The inverse maps for given parameters.

    Args:
      vertical: bool [B], whether the image is turned upside down.
      horizontal: bool [B], whether the image is mirrored.
      angle: float32 [B], radians, counter-clockwise about the image's centre.
      column_stretch: float32 [B, S]: how many source columns an output column of each of the S
        equal cells spans; the first column stays in place (albumentations' GridDistortion).
      row_stretch: float32 [B, S], the same for rows.
      contrast: float32 [B], factor about mid-grey (127.5); None with `brightness` for neither.
      brightness: float32 [B], grey levels added.
      height: H, rows of the images.
      width: W, columns of the images.
      in_turn: one example after the other, with the same result. For one thread of an input
        pipeline, compiled: XLA would share a batch among more, which takes longer than making it.
    """
    parameters = (
        vertical, horizontal, tf.cos(angle), tf.sin(angle), column_stretch, row_stretch
    )  # fmt: skip
    if in_turn:

        def one(parts: tuple[tf.Tensor, ...]) -> tuple[tf.Tensor, ...]:
            made = _coordinates(tuple(part[None] for part in parts), height, width)
            return tuple(values[0] for values in made)

        shapes = ([width], [height], [width], [height])
        signature = tuple(tf.TensorSpec(shape, tf.int32) for shape in shapes)
        ax, bx, ay, by = tf.map_fn(one, parameters, fn_output_signature=signature)
    else:
        ax, bx, ay, by = _coordinates(parameters, height, width)
    if contrast is None or brightness is None:
        return Maps(ax, bx, ay, by, None, None)
    offset = 127.5 * (1.0 - contrast) + brightness
    return Maps(ax, bx, ay, by, _fixed(contrast), _fixed(offset))


def _coordinates(
    parameters: tuple[tf.Tensor, ...], height: int, width: int
) -> tuple[tf.Tensor, ...]:
    """`ax`, `bx`, `ay` and `by` of `Maps`, from the first six parameters of `make_maps`.

    With the angle's cosine and sine in its place: here they would be computed for each pixel.
    """
    vertical, horizontal, cos, sin, column_stretch, row_stretch = parameters
    columns = _stretched(column_stretch, width)
    rows = _stretched(row_stretch, height)
    center_x, center_y = (width - 1) / 2.0, (height - 1) / 2.0
    cos, sin = cos[:, None], sin[:, None]
    # Output to source of a counter-clockwise turn, with y pointing down.
    ax = center_x + cos * (columns - center_x)
    bx = -sin * (rows - center_y)
    ay = sin * (columns - center_x)
    by = center_y + cos * (rows - center_y)
    mirror, upside = horizontal[:, None], vertical[:, None]
    ax, bx = tf.where(mirror, (width - 1.0) - ax, ax), tf.where(mirror, -bx, bx)
    ay, by = tf.where(upside, -ay, ay), tf.where(upside, (height - 1.0) - by, by)
    return tuple(_fixed(values) for values in (ax, bx, ay, by))


def _stretched(stretch: tf.Tensor, size: int) -> tf.Tensor:
    """Source coordinates [B, size] of a piecewise-linear map from its cells' stretches [B, S]."""
    cells = stretch.shape[1]
    coordinate = tf.range(size, dtype=tf.float32)[None, :]
    # Offsets from the identity, so that unit stretches give whole numbers to the bit.
    moved = tf.zeros_like(coordinate)
    for cell in range(cells):
        # How far each pixel has gone into the cell. (A sum over an axis XLA does not vectorize.)
        inside = tf.clip_by_value(coordinate - cell * (size / cells), 0.0, size / cells)
        moved += (stretch[:, cell, None] - 1.0) * inside
    return coordinate + moved


def _fixed(value: tf.Tensor) -> tf.Tensor:
    return tf.cast(tf.round(value * ONE), tf.int32)
