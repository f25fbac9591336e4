"""The stages of resampling: pixels become words, words are gathered and mixed, and become bytes.

How they are put together is in `augment`.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import tensorflow as tf

from cloudtf.pipeline import colour
from cloudtf.pipeline.maps import FRACTION_BITS, ONE, Maps

left_shift, right_shift = tf.bitwise.left_shift, tf.bitwise.right_shift


class Corners(NamedTuple):
    """Which four neighbours each source point has, and their weights; each [B, H, W].

    Attributes:
      corner: int32 number of the upper left one in its image, at most the last but one of its row
        and column, so that the others exist.
      right: uint32 weight in 0..256 of the pixels beside it.
      below: likewise of those under it.
    """

    corner: tf.Tensor
    right: tf.Tensor
    below: tf.Tensor


def pack(pixels: tf.Tensor) -> tf.Tensor:
    """uint8 [B, N, 3] to uint32 [B, N]: red in the lowest byte, then green and blue."""
    pixels = tf.cast(pixels, tf.uint32)
    return pixels[..., 0] | left_shift(pixels[..., 1], 8) | left_shift(pixels[..., 2], 16)


def resample(packed: tf.Tensor, maps: Maps, height: int, width: int, reach: float) -> tf.Tensor:
    """uint32 [B, H * W], packed as by `pack`, to [B, h, w]."""
    return mix(packed, find_corners(maps, height, width, reach), maps, height, width)


def mix(packed: tf.Tensor, corners: Corners, maps: Maps, height: int, width: int) -> tf.Tensor:
    """Mixes the four neighbours of each source point.

    Red and blue are mixed in one multiplication, a channel in each half of the word: a sum of four
    bytes with weights that add up to 256 fits in 16 bits. Nothing is flattened here: XLA would make
    one loop over all pixels of it, and find each pixel's row and column by division and gathers.

    Args:
      packed: uint32 [B, H * W], packed as by `pack`.
      corners: the four neighbours of each source point, and their weights.
      maps: the maps of the batch, of which the change of colours is applied.
      height: H, rows of the images.
      width: W, columns of the images.

    Returns:
      uint32 [B, h, w].
    """
    corner, right, below = corners
    both = right_shift(right * below + ONE // 2, FRACTION_BITS)
    weights = (ONE + both - right - below, right - both, below - both, both)
    red_blue, green = tf.zeros_like(corner, tf.uint32), tf.zeros_like(corner, tf.uint32)
    # An image of one row or column has no second one.
    beside, under = int(width > 1), width * int(height > 1)
    for offset, weight in zip((0, beside, under, under + beside), weights):
        pixel = tf.gather(packed, corner + offset, axis=1, batch_dims=1)
        red_blue += (pixel & 0x00FF00FF) * weight
        green += (right_shift(pixel, 8) & 0xFF) * weight
    half = ONE // 2
    red_blue = right_shift(red_blue + half * 0x00010001, FRACTION_BITS) & 0x00FF00FF
    return colour.apply(red_blue | (green + half) & 0xFF00, maps)


def move(packed: tf.Tensor, corners: Corners, maps: Maps, height: int, width: int) -> tf.Tensor:
    """What `mix` does, to the bit, where no coordinate is between pixels."""
    del height  # Every corner is in the image.
    right, below = (
        tf.cast(right_shift(weight, FRACTION_BITS), tf.int32)
        for weight in (corners.right, corners.below)
    )
    pixel = corners.corner + right + below * width
    return colour.apply(tf.gather(packed, pixel, axis=1, batch_dims=1), maps)


def whole_pixels(maps: Maps) -> tf.Tensor:
    """Whether no coordinate is between pixels, as where an image is flipped or left alone: bool."""
    parts = tf.concat([maps.ax, maps.bx, maps.ay, maps.by], axis=1) & (ONE - 1)
    return tf.equal(tf.reduce_max(parts), 0)


def find_corners(maps: Maps, height: int, width: int, reach: float) -> Corners:
    """The neighbours of where each pixel comes from; `reach` as in `augment.apply_maps`."""
    x, y = _coordinates(maps, height, width, reach)
    column, right = _neighbours(x, width)
    row, below = _neighbours(y, height)
    return Corners(row * width + column, right, below)


def _coordinates(maps: Maps, height: int, width: int, reach: float) -> tuple[tf.Tensor, tf.Tensor]:
    """Source column and row of each pixel: int32 [B, h, w] in 1/256 pixels, in the image."""
    # Distortion reaches at most 1.9 sides (1.4 from the centre), and a turn takes it anywhere.
    reach *= 1.5 * math.hypot(height, width) + max(height, width)
    return (
        _reflect(maps.ax[:, None, :] + maps.bx[:, :, None], width, reach),
        _reflect(maps.ay[:, None, :] + maps.by[:, :, None], height, reach),
    )


def _neighbours(coordinate: tf.Tensor, size: int) -> tuple[tf.Tensor, tf.Tensor]:
    """The pixel before each coordinate along an axis of `size`, and the weight of the one after it.

    Returns:
      int32 pixel, at most the last but one, and uint32 weight in 0..256: at the last pixel itself
      the one before it has no weight, so that both always exist.
    """
    pixel = tf.minimum(right_shift(coordinate, FRACTION_BITS), max(size - 2, 0))
    return pixel, tf.cast(coordinate - left_shift(pixel, FRACTION_BITS), tf.uint32)


def _reflect(coordinate: tf.Tensor, size: int, reach: float) -> tf.Tensor:
    """Folds fixed-point coordinates into 0..size-1 by reflection at the centres of edge pixels.

    Args:
      coordinate: int32, in 1/256 pixels, up to `reach` pixels to either side of zero.
      size: pixels along this axis.
      reach: bound of the coordinates, which says how many folds are needed.
    """
    if size == 1:
        return tf.zeros_like(coordinate)
    last = (size - 1) * ONE
    folded = tf.abs(coordinate)
    # The reflected image is even and repeats every 2 * last: folding at a multiple of that changes
    # nothing but how far away a coordinate can be, which it halves. One fold does for a square.
    folds = max(1, math.ceil(math.log2(reach / (2 * (size - 1)))))
    for k in range(folds, 0, -1):
        folded = tf.abs((last << k) - folded)
    # A coordinate beyond `reach` stays inside all the same.
    return tf.maximum(last - tf.abs(last - folded), 0)


def unpack(packed: tf.Tensor) -> tf.Tensor:
    """uint32 [B, h, w], w a multiple of 4, to the words [B, h, w / 4, 3] that hold the bytes.

    Rows and groups are not flattened: then XLA would find them again by division.
    """
    batch, (rows, columns) = tf.shape(packed)[0], packed.shape[1:]
    four = tf.reshape(packed, [batch, rows, columns // 4, 4])
    # Word k of each three: what pixel k has left of its three bytes, and the first of the next one.
    # Little-endian, as every machine that TensorFlow runs on.
    bits = tf.constant([0, 8, 16], tf.uint32)
    return right_shift(four[..., :3], bits) | left_shift(four[..., 1:], 24 - bits)
