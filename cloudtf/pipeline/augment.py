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
from typing import NamedTuple, Optional

import tensorflow as tf

from cloudtf.pipeline import randomness
from cloudtf.pipeline.augmentations import Augmentations

FRACTION_BITS = 8
_ONE = 1 << FRACTION_BITS

left_shift, right_shift = tf.bitwise.left_shift, tf.bitwise.right_shift


class Maps(NamedTuple):
    """Where each output pixel comes from, in 1/256 pixels, and its photometric change.

    Attributes:
      ax: int32 [B, W]; with bx the source column of output (row, column).
      bx: int32 [B, H].
      ay: int32 [B, W]; with by the source row.
      by: int32 [B, H].
      gain: int32 [B], 256 for unchanged contrast; None leaves grey levels alone.
      offset: int32 [B], in 1/256 grey levels, added after the gain; None with it.
    """

    ax: tf.Tensor
    bx: tf.Tensor
    ay: tf.Tensor
    by: tf.Tensor
    gain: Optional[tf.Tensor]
    offset: Optional[tf.Tensor]


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
    photometric = {"brightness", "contrast"} & set(ops.augmentations)
    return make_maps(
        vertical, horizontal, angle, stretch[:, :steps], stretch[:, steps:],
        contrast if photometric else None, brightness if photometric else None, height, width,
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
) -> Maps:
    """The inverse maps for given parameters.

    Args:
      vertical: bool [B], turn upside down.
      horizontal: bool [B], mirror.
      angle: float32 [B], radians, counter-clockwise about the image's centre.
      column_stretch: float32 [B, S]: how many source columns an output column of each of the S
        equal cells spans; the first column stays in place (albumentations' GridDistortion).
      row_stretch: float32 [B, S], the same for rows.
      contrast: float32 [B], factor about mid-grey (127.5); None with `brightness` for neither.
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
    ax, bx, ay, by = (_fixed(value) for value in (ax, bx, ay, by))
    if contrast is None:
        return Maps(ax, bx, ay, by, None, None)
    return Maps(ax, bx, ay, by, _fixed(contrast), _fixed(127.5 * (1.0 - contrast) + brightness))


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
    """Resamples a batch bilinearly along `maps`.

    Three compiled stages: RGB pixels become one 32-bit word each, words are gathered and mixed, and
    words become bytes again. In one stage XLA's fusion would find and mix each pixel once for
    each channel, which was measured to take four times as long.

    Args:
      images: uint8 [B, H, W, 3] with static H and W.
      maps: from `make_maps` or `sample_maps`.

    Returns:
      uint8 [B, H, W, 3], within one grey level of exact arithmetic; a whole-pixel move is exact.
    """
    height, width = images.shape[1:3]
    count = height * width
    packed = _resample(_pack(tf.reshape(images, [-1, count, 3])), maps, height, width)
    words = _unpack(tf.pad(packed, [[0, 0], [0, -count % 4]]) if count % 4 else packed)
    channels = tf.reshape(tf.bitcast(words, tf.uint8), [tf.shape(words)[0], -1])
    return tf.reshape(channels[:, : 3 * count], [-1, height, width, 3])


@tf.function(jit_compile=True, autograph=False)
def _pack(pixels: tf.Tensor) -> tf.Tensor:
    """uint8 [B, N, 3] to uint32 [B, N]: red in the lowest byte, then green and blue."""
    pixels = tf.cast(pixels, tf.uint32)
    return pixels[..., 0] | left_shift(pixels[..., 1], 8) | left_shift(pixels[..., 2], 16)


@tf.function(jit_compile=True, autograph=False)
def _resample(packed: tf.Tensor, maps: Maps, height: int, width: int) -> tf.Tensor:
    """Mixes the four neighbours of each source position: uint32 [B, H * W], packed as by `_pack`.

    Red and blue are mixed in one multiplication, a channel in each half of the word: a sum of four
    bytes with weights that add up to 256 fits in 16 bits.
    """
    # Distortion reaches at most 1.9 sides (1.4 from the centre), and a turn takes it anywhere.
    reach = 1.5 * math.hypot(height, width) + max(height, width)
    x = _reflect(maps.ax[:, None, :] + maps.bx[:, :, None], width, reach)
    y = _reflect(maps.ay[:, None, :] + maps.by[:, :, None], height, reach)
    corner = right_shift(y, FRACTION_BITS) * width + right_shift(x, FRACTION_BITS)
    right, below = (tf.cast(position & (_ONE - 1), tf.uint32) for position in (x, y))
    both = right_shift(right * below + _ONE // 2, FRACTION_BITS)
    weights = (_ONE + both - right - below, right - both, below - both, both)
    red_blue, green = tf.zeros_like(corner, tf.uint32), tf.zeros_like(corner, tf.uint32)
    for offset, weight in zip((0, 1, width, width + 1), weights):
        # Past the last row or column the weight is zero, so any pixel may stand in.
        neighbour = tf.minimum(corner + offset, height * width - 1)
        pixel = tf.gather(packed, neighbour, axis=1, batch_dims=1)
        red_blue += (pixel & 0x00FF00FF) * weight
        green += (right_shift(pixel, 8) & 0xFF) * weight
    half = _ONE // 2
    red_blue = right_shift(red_blue + half * 0x00010001, FRACTION_BITS) & 0x00FF00FF
    green = (green + half) & 0xFF00
    if maps.gain is not None and maps.offset is not None:
        gain, offset = maps.gain[:, None, None], maps.offset[:, None, None]
        red = _toned(red_blue & 0xFF, gain, offset)
        blue = _toned(right_shift(red_blue, 16), gain, offset)
        red_blue = red | left_shift(blue, 16)
        green = left_shift(_toned(right_shift(green, 8), gain, offset), 8)
    return tf.reshape(red_blue | green, [-1, height * width])


def _toned(channel: tf.Tensor, gain: tf.Tensor, offset: tf.Tensor) -> tf.Tensor:
    """Contrast and brightness of one channel, uint32 [B, H, W] in 0..255."""
    value = tf.cast(channel, tf.int32) * gain + offset
    return tf.cast(
        tf.clip_by_value(right_shift(value + _ONE // 2, FRACTION_BITS), 0, 255), tf.uint32
    )


@tf.function(jit_compile=True, autograph=False)
def _unpack(packed: tf.Tensor) -> tf.Tensor:
    """uint32 [B, N] with N a multiple of 4 to the 3 N / 4 words that hold their 3 N bytes."""
    four = tf.reshape(packed, [tf.shape(packed)[0], packed.shape[1] // 4, 4])
    a, b, c, d = (four[..., i] for i in range(4))
    # Little-endian, as every machine that TensorFlow runs on.
    first = a | left_shift(b, 24)
    second = right_shift(b, 8) | left_shift(c, 16)
    third = right_shift(c, 16) | left_shift(d, 8)
    return tf.stack([first, second, third], axis=-1)


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
    maps = _compiled_sample_maps(ops, seed, keys, images.shape[1], images.shape[2])
    return apply_maps(images, maps)


# Compiled apart from its use, so that a position is rounded once for all who need it.
_compiled_sample_maps = tf.function(sample_maps, jit_compile=True, autograph=False)
