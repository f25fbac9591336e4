"""Where each pixel of an augmented image comes from: flips, affine maps and grid distortion.

All are one inverse map from output pixels to source coordinates, along which `augment` resamples.
Grid distortion moves columns and rows independently, and the others are affine, so the map of
example b is

    x_source = ax[b, column] + bx[b, row],      y_source = ay[b, column] + by[b, row]

and four short vectors an example say everything, in fixed point with 8 fractional bits.
"""

from __future__ import annotations

from typing import Optional

import tensorflow as tf

from cloudtf.pipeline import affine, colour
from cloudtf.pipeline.affine import Affine
from cloudtf.pipeline.augmentations import Augmentations
from cloudtf.pipeline.draws import Draws
from cloudtf.pipeline.maps import Maps, fixed


def sample_maps(
    ops: Augmentations,
    seed: int,
    keys: tf.Tensor,
    height: int,
    width: int,
    in_turn: bool = False,
    size: Optional[tuple[int, int]] = None,
) -> Maps:
    """Draws the maps of a batch.

    The forward order is the original notebook's (docs/ORIGINAL.md): vertical flip, horizontal flip,
    rotation, distortion; those that are new come before the distortion (see `affine`). Each is
    drawn with `ops.augment_probability` for each example, or `ops.augment_ops` of them are.

    Args:
      ops: the augmentations to draw, their probability and strengths.
      seed: keys the random draws, with `keys`; the lowest 32 bits count.
      keys: int32 [B, 2], (epoch, example number in the split).
      height: H, rows of the images.
      width: W, columns of the images.
      in_turn: whether maps are made one example after the other (see `make_maps`).
      size: (h, w) of the images as they come out; None: as they are.
    """
    size, draws = size or (height, width), Draws(ops, seed, keys)
    stretch = draws.cells(ops.limit("distortion_limit"))
    maps = make_maps(
        draws.chosen("vertical_flip"),
        draws.chosen("horizontal_flip"),
        affine.sample(draws, ops, height, width),
        stretch[:, : ops.distortion_steps],
        stretch[:, ops.distortion_steps :],
        height,
        width,
        in_turn,
        size,
    )
    return maps._replace(**colour.sample(draws, ops, *size))


def make_maps(
    vertical: tf.Tensor,
    horizontal: tf.Tensor,
    linear: Affine,
    column_stretch: tf.Tensor,
    row_stretch: tf.Tensor,
    height: int,
    width: int,
    in_turn: bool = False,
    size: Optional[tuple[int, int]] = None,
) -> Maps:
    """The inverse maps for given parameters, which leave colours alone.

    Args:
      vertical: bool [B], whether the image is turned upside down.
      horizontal: bool [B], whether the image is mirrored.
      linear: turns, scales and moves the image.
      column_stretch: float32 [B, S]: how many source columns an output column of each of the S
        equal cells spans; the first column stays in place (albumentations' GridDistortion).
      row_stretch: float32 [B, S], the same for rows.
      height: H, rows of the images.
      width: W, columns of the images.
      in_turn: one example after the other, with the same result. For one thread of an input
        pipeline, compiled: XLA would share a batch among more, which takes longer than making it.
      size: (h, w) of the images as they come out; None: as they are.
    """
    rows, columns = size or (height, width)
    parameters = (vertical, horizontal, column_stretch, row_stretch, *linear)
    if in_turn:

        def one(parts: tuple[tf.Tensor, ...]) -> tuple[tf.Tensor, ...]:
            made = _coordinates(tuple(part[None] for part in parts), height, width, rows, columns)
            return tuple(values[0] for values in made)

        shapes = ([columns], [rows], [columns], [rows])
        signature = tuple(tf.TensorSpec(shape, tf.int32) for shape in shapes)
        return Maps(*tf.map_fn(one, parameters, fn_output_signature=signature))
    return Maps(*_coordinates(parameters, height, width, rows, columns))


def _coordinates(
    parameters: tuple[tf.Tensor, ...], height: int, width: int, rows: int, columns: int
) -> tuple[tf.Tensor, ...]:
    """`ax`, `bx`, `ay` and `by` of `Maps`, from the parameters of `make_maps`.

    With the angle's cosine and sine in the matrix: here they would be computed for each pixel.
    """
    vertical, horizontal, column_stretch, row_stretch, *numbers = parameters
    linear = Affine(*(number[:, None] for number in numbers))
    center_x, center_y = (width - 1) / 2.0, (height - 1) / 2.0
    # Output to source of a counter-clockwise turn, with y pointing down.
    across = stretched(column_stretch, positions(columns, width), width) - center_x
    down = stretched(row_stretch, positions(rows, height), height) - center_y
    ax, bx = center_x + linear.xx * across, linear.xy * down + linear.x
    ay, by = linear.yx * across + linear.y, center_y + linear.yy * down
    mirror, upside = horizontal[:, None], vertical[:, None]
    ax, bx = tf.where(mirror, (width - 1.0) - ax, ax), tf.where(mirror, -bx, bx)
    ay, by = tf.where(upside, -ay, ay), tf.where(upside, (height - 1.0) - by, by)
    return tuple(fixed(values) for values in (ax, bx, ay, by))


def positions(count: int, size: int) -> tf.Tensor:
    """The centres of `count` pixels that cover an axis of `size` pixels: float32 [1, count]."""
    numbers = tf.range(count, dtype=tf.float32)[None, :]
    return numbers if count == size else (numbers + 0.5) * (size / count) - 0.5


def stretched(stretch: tf.Tensor, coordinate: tf.Tensor, size: int) -> tf.Tensor:
    """A piecewise-linear map of an axis.

    Args:
      stretch: float32 [B, S], the slope in each of S equal cells.
      coordinate: float32 [1, N] or [B, N], positions before the distortion, in pixels.
      size: pixels along the axis.

    Returns:
      float32 [B, N], source positions.
    """
    cells = stretch.shape[1]
    # Offsets from the identity, so that unit stretches give whole numbers to the bit.
    moved = tf.zeros_like(coordinate)
    for cell in range(cells):
        # How far each pixel has gone into the cell. (A sum over an axis XLA does not vectorize.)
        inside = tf.clip_by_value(coordinate - cell * (size / cells), 0.0, size / cells)
        moved += (stretch[:, cell, None] - 1.0) * inside
    return coordinate + moved
