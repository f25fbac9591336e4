"""Augmentation of a whole uint8 batch by one compiled resampling along its maps (`maps`).

Outside the frame the image is reflected without repeating its edge (OpenCV's BORDER_REFLECT_101).
The same code runs in the input pipeline and inside the train step on an accelerator.
"""

from __future__ import annotations

import math
from typing import NamedTuple, Optional

import tensorflow as tf

from cloudtf.pipeline import affine, colour, mixing
from cloudtf.pipeline.augmentations import Augmentations
from cloudtf.pipeline.distortion import sample_maps
from cloudtf.pipeline.maps import FRACTION_BITS, ONE, Maps

# XLA for CPUs gives each gather a loop of its own from TensorFlow 2.20 on, in which it computes the
# source coordinates anew. There they are computed once, before: a third of the time (0.32 against
# 0.89 ms an image). Up to 2.19 one loop does all, and keeping coordinates in memory costs 0.02 to
# 0.1 ms.
GATHERS_APART = tuple(map(int, tf.__version__.split(".")[:2])) >= (2, 20)

left_shift, right_shift = tf.bitwise.left_shift, tf.bitwise.right_shift


class _Corners(NamedTuple):
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


def apply_maps(
    images: tf.Tensor, maps: Maps, whole_batch: bool = False, reach: float = 1.0
) -> tf.Tensor:
    """Resamples a batch bilinearly along `maps`.

    In three stages: RGB pixels become one 32-bit word each, words are gathered and mixed, and words
    become bytes again. Where XLA fuses them for a CPU it locates and mixes each pixel once for each
    channel, which was measured to take four times as long. So they are kept apart: in an input
    pipeline by a condition, in a loop over the images, each of which then stays in the core's own
    cache over all stages; for a whole batch at once by compiling each stage by itself.

    Args:
      images: uint8 [B, H, W, 3] with static H and W; B is at least 1 unless `whole_batch`.
      maps: where each pixel comes from, as made by `make_maps` or `sample_maps`.
      whole_batch: resample all images at once, as accelerators do best, and which uses all cores
        for one batch; else one image after the other.
      reach: how many times farther away sources may be than by a turn and a distortion.

    Returns:
      uint8 [B, h, w, 3], the size of the maps, within one grey level of exact arithmetic; a
      whole-pixel move is exact. Both ways give the same bytes.
    """
    height, width = images.shape[1:3]
    rows, columns = maps.bx.shape[1], maps.ax.shape[1]
    count = rows * columns
    pixels = tf.reshape(images, [-1, height * width, 3])
    if whole_batch:
        packed = _compiled_resample(_compiled_pack(pixels), maps, height, width, reach)
        words = _compiled_unpack(tf.reshape(packed, [-1, count]))
    else:
        words = _resample_in_turn(pixels, maps, height, width, reach, GATHERS_APART)
    channels = tf.reshape(tf.bitcast(words, tf.uint8), [tf.shape(words)[0], -1])
    batch = -1 if images.shape[0] is None else images.shape[0]
    return tf.reshape(channels[:, : 3 * count], [batch, rows, columns, 3])


@tf.function(jit_compile=True, autograph=False)
def _resample_in_turn(
    pixels: tf.Tensor, maps: Maps, height: int, width: int, reach: float, gathers_apart: bool
) -> tf.Tensor:
    """All three stages: uint8 [B, H * W, 3] to words uint32 [B, 3 * ceil(h * w / 4)]."""
    count = maps.bx.shape[1] * maps.ax.shape[1]

    def one(i: tf.Tensor, results: tf.TensorArray) -> tuple[tf.Tensor, tf.TensorArray]:
        own = Maps(*(None if values is None else _row(values, i) for values in maps))
        packed = _pack(_row(pixels, i))

        def find_corners() -> _Corners:
            return _corners(own, height, width, reach)

        corners = find_corners() if gathers_apart else None
        # What XLA does on one side of a condition it does not fuse with what is on the other.
        moved = tf.cond(
            _whole_pixels(own),
            lambda: _move(packed, corners or find_corners(), own, width),
            lambda: _mix(packed, corners or find_corners(), own, height, width),
        )
        return i + 1, results.write(i, _unpack(tf.reshape(moved, [1, count]))[0])

    images = tf.shape(pixels)[0]
    results = tf.TensorArray(tf.uint32, images, element_shape=[-(-count // 4) * 3])
    _, results = tf.while_loop(lambda i, _: i < images, one, (tf.constant(0), results))
    return results.stack()


def _row(values: tf.Tensor, i: tf.Tensor) -> tf.Tensor:
    """[1, ...]: the i-th of [B, ...]. (Of `values[i]` XLA makes a padded copy of all of them.)"""
    rest = values.shape[1:]
    return tf.slice(values, [i, *(0 for _ in rest)], [1, *rest])


def _pack(pixels: tf.Tensor) -> tf.Tensor:
    """uint8 [B, N, 3] to uint32 [B, N]: red in the lowest byte, then green and blue."""
    pixels = tf.cast(pixels, tf.uint32)
    return pixels[..., 0] | left_shift(pixels[..., 1], 8) | left_shift(pixels[..., 2], 16)


def _resample(packed: tf.Tensor, maps: Maps, height: int, width: int, reach: float) -> tf.Tensor:
    """uint32 [B, H * W], packed as by `_pack`, to [B, h, w]."""
    return _mix(packed, _corners(maps, height, width, reach), maps, height, width)


def _mix(packed: tf.Tensor, corners: _Corners, maps: Maps, height: int, width: int) -> tf.Tensor:
    """Mixes the four neighbours of each source point.

    Red and blue are mixed in one multiplication, a channel in each half of the word: a sum of four
    bytes with weights that add up to 256 fits in 16 bits. Nothing is flattened here: XLA would make
    one loop over all pixels of it, and find each pixel's row and column by division and gathers.

    Args:
      packed: uint32 [B, H * W], packed as by `_pack`.
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


def _move(packed: tf.Tensor, corners: _Corners, maps: Maps, width: int) -> tf.Tensor:
    """What `_mix` does, to the bit, where no coordinate is between pixels."""
    right, below = (
        tf.cast(right_shift(weight, FRACTION_BITS), tf.int32)
        for weight in (corners.right, corners.below)
    )
    pixel = corners.corner + right + below * width
    return colour.apply(tf.gather(packed, pixel, axis=1, batch_dims=1), maps)


def _whole_pixels(maps: Maps) -> tf.Tensor:
    """Whether no coordinate is between pixels, as where an image is flipped or left alone: bool."""
    parts = tf.concat([maps.ax, maps.bx, maps.ay, maps.by], axis=1) & (ONE - 1)
    return tf.equal(tf.reduce_max(parts), 0)


def _corners(maps: Maps, height: int, width: int, reach: float) -> _Corners:
    x, y = _coordinates(maps, height, width, reach)
    column, right = _neighbours(x, width)
    row, below = _neighbours(y, height)
    return _Corners(row * width + column, right, below)


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


def _unpack(packed: tf.Tensor) -> tf.Tensor:
    """uint32 [B, N] to the 3 * ceil(N / 4) words a row that begin with their 3 N bytes."""
    count = packed.shape[1]
    if count % 4:
        packed = tf.pad(packed, [[0, 0], [0, -count % 4]])
    four = tf.reshape(packed, [-1, -(-count // 4), 4])
    # Word k of each three: what pixel k has left of its three bytes, and the first of the next one.
    # Little-endian, as every machine that TensorFlow runs on.
    bits = tf.constant([0, 8, 16], tf.uint32)
    words = right_shift(four[..., :3], bits) | left_shift(four[..., 1:], 24 - bits)
    return tf.reshape(words, [-1, -(-count // 4) * 3])


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


def augment(
    images: tf.Tensor,
    keys: tf.Tensor,
    *,
    ops: Augmentations,
    seed: int,
    whole_batch: bool = False,
    size: Optional[tuple[int, int]] = None,
) -> tf.Tensor:
    """Augments a batch; each example's change depends on (seed, its key) alone, but for what it is
    mixed with: the one beside it in the batch (see `mixing`).

    Args:
      images: uint8 [B, H, W, 3], static H and W.
      keys: int32 [B, 2], (epoch, example number in the split).
      ops: the augmentations to apply, their probability and strengths.
      seed: keys the random draws, with `keys`; the lowest 32 bits count.
      whole_batch: whether images are resampled all at once (see `apply_maps`).
      size: (h, w) of the result, made by the same resampling; None: as the images are.

    Returns:
      uint8 [B, h, w, 3].
    """
    height, width = images.shape[1:3]
    size = size or (height, width)
    if ops.augmentations or size != (height, width):
        maps = _compiled_sample_maps(ops, seed, keys, height, width, not whole_batch, size)
        images = apply_maps(images, maps, whole_batch, affine.reach(ops))
    if ops.mixes:
        images = mixing.apply(images, mixing.compiled_sample(ops, seed, keys, *size))
    return images


# Each stage is compiled by itself, so that a coordinate is rounded once for all uses, and a pixel
# is located once for all its channels.
_compiled_sample_maps, _compiled_pack, _compiled_resample, _compiled_unpack = (
    tf.function(stage, jit_compile=True, autograph=False)
    for stage in (sample_maps, _pack, _resample, _unpack)
)
