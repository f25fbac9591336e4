"""Files to a model's pixels in TensorFlow ops alone, for models that leave cloudtf.

What `cloudtf.data.images.load` does for records and predictions: decoding at the smallest scale of
n/8 that covers the size, orientation, depth, and the same two ways of resizing, in the whole
numbers of OpenCV. At scales of 1/8, 1/4, 1/2 and 1 (photographs of 1400 x 2100 at 224 x 224 are
decoded at 1/4) pixels are the same, but for one in ten thousand that is one grey level off. The
other scales TensorFlow's decoder lacks; they are computed from the next larger one, and differ
more.

JPEG and PNG are read, as in the converter, and files of which image data is missing are refused.
TensorFlow's decoder does not say all that the converter's does: here a JPEG also passes whose codes
were changed in the middle, or that lacks less than its last 16 x 16 pixels; and a PNG with damaged
compressed text is refused.

Here and in what this calls, branches and loops are `tf.cond`, `tf.switch_case` and `tf.while_loop`:
AutoGraph, which makes them of Python's, took a quarter of an export's time.
"""

from __future__ import annotations

import functools
from typing import Callable

import cv2
import numpy as np
import tensorflow as tf

from cloudtf.data import images, png
from cloudtf.data.aspect import ASPECTS, MOST_ELONGATED
from cloudtf.data.pixels import MAX_PIXELS, MAX_SIDE
from cloudtf.model import jpeg_parts, png_parts, resizing

# Pixels along the side that each block of 8 x 8 becomes: libjpeg's scales.
_SCALES = tuple(range(1, 9))


@tf.autograph.experimental.do_not_convert
def decode(encoded: tf.Tensor, height: int, width: int, aspect: str = ASPECTS[0]) -> tf.Tensor:
    """Photographs of any size as the pixels that a model takes.

    Args:
      encoded: string [B], the bytes of JPEG or PNG files.
      height: rows of pixels in the result.
      width: columns of pixels in the result.
      aspect: how they get the ratio of sides of the result, one of `ASPECTS`.

    Returns:
      uint8 [B, height, width, 3], RGB, upright.

    Raises:
      tf.errors.InvalidArgumentError: one is neither JPEG nor PNG, is damaged, or too large
        (see `images`).
    """
    return tf.map_fn(
        lambda data: _photograph(data, height, width, aspect),
        encoded,
        fn_output_signature=tf.TensorSpec([height, width, 3], tf.uint8),
    )


def _photograph(data: tf.Tensor, height: int, width: int, aspect: str) -> tf.Tensor:
    is_png = tf.equal(tf.strings.substr(data, 0, 8), png.SIGNATURE)
    image, extent, size, turned = tf.cond(
        is_png,
        lambda: _of_png(data, height, width, aspect),
        lambda: _of_jpeg(data, height, width, aspect),
    )
    image = _resized(image, extent, size)
    image = tf.cond(turned >= 5, lambda: tf.transpose(image, [1, 0, 2]), lambda: image)
    image = tf.cond(_among(turned, 3, 4, 7, 8), lambda: image[::-1], lambda: image)
    image = tf.cond(_among(turned, 2, 3, 6, 7), lambda: image[:, ::-1], lambda: image)
    if aspect != "stretch":
        image = tf.cast(resizing.fitted(image[None], height, width)[0], tf.uint8)
    return tf.ensure_shape(image, [height, width, 3])


def _of_png(data: tf.Tensor, height: int, width: int, aspect: str) -> tuple[tf.Tensor, ...]:
    """What `_resized` takes, and the orientation: int32 scalar, 1 to 8."""
    turned, stored = png_parts.orientation(data), png_parts.size(data)
    with tf.control_dependencies([_fits(stored)]):
        data = tf.identity(data)
    size = _stored_size(turned, stored, height, width, aspect)
    image = png_parts.decode(data)
    return image, tf.cast(tf.shape(image)[:2], tf.float32), size, turned


def _of_jpeg(data: tf.Tensor, height: int, width: int, aspect: str) -> tuple[tf.Tensor, ...]:
    """What `_resized` takes, and the orientation: int32 scalar, 1 to 8."""
    parts = jpeg_parts.take_apart(data)
    with tf.control_dependencies([_fits(parts.size)]):
        stored = tf.identity(parts.size)
    size = _stored_size(parts.orientation, stored, height, width, aspect)
    # Sizes rise with the scale: those too small come first.
    too_small = [tf.reduce_any(_scaled(stored, scale) < size) for scale in _SCALES[:-1]]
    index = tf.add_n([tf.cast(small, tf.int32) for small in too_small])
    halvings = tf.constant([(8 // _side(scale)).bit_length() - 1 for scale in _SCALES])
    image = jpeg_parts.decode(parts, tf.gather(halvings, index))
    image = tf.switch_case(index, [_shrunk(image, scale, stored) for scale in _SCALES])
    return image, tf.cast(stored * (index + 1), tf.float32) / 8.0, size, parts.orientation


def _stored_size(
    orientation: tf.Tensor, stored: tf.Tensor, height: int, width: int, aspect: str
) -> tf.Tensor:
    """The size to which an image is resized before it is turned: int32 [2]; see `aspect.resized`.

    Args:
      orientation: int32 scalar, 1 to 8.
      stored: int32 [2], rows and columns of the photograph as stored.
      height: rows of the result, upright.
      width: columns of the result, upright.
      aspect: how the photograph gets the ratio of sides of the result.
    """
    size = tf.constant([height, width])
    if aspect != "stretch":
        # In 64 bits: the product of two sides is more than 32 hold.
        upright = tf.cast(tf.where(orientation >= 5, stored[::-1], stored), tf.int64)
        rows, columns = tf.unstack(upright)
        wide, high = columns * height, rows * width
        # Less elongated photographs alone can be cut.
        most, least = tf.maximum(wide, high), MOST_ELONGATED * tf.minimum(wide, high)
        can_be = most <= least if aspect == "crop" else True
        check = tf.debugging.Assert(can_be, ["The image is too elongated to be cut:", stored])
        with tf.control_dependencies([check] if check is not None else []):
            rows = tf.identity(rows)
        size = tf.stack(resizing.fitted_size(rows, columns, height, width, aspect))
        size = tf.cast(size, tf.int32)
    return tf.where(orientation >= 5, size[::-1], size)


def _fits(stored: tf.Tensor) -> tf.Operation:
    # In 64 bits: 65,535 squared is more than 32 bits hold.
    pixels = tf.reduce_prod(tf.cast(stored, tf.int64))
    some = tf.reduce_min(stored) > 0
    fits = some & (tf.reduce_max(stored) <= MAX_SIDE) & (pixels <= MAX_PIXELS)
    return tf.debugging.Assert(fits, ["The image has no pixels or too many pixels:", stored])


def _scaled(stored: tf.Tensor, scale: int) -> tf.Tensor:
    return (stored * scale + 7) // 8


def _shrunk(image: tf.Tensor, scale: int, stored: tf.Tensor) -> Callable[[], tf.Tensor]:
    """An image as decoded at a scale that TensorFlow has, at n/8."""
    side = _side(scale)
    return lambda: image if scale == side else _in_smaller_blocks(image, side, scale, stored)


def _side(scale: int) -> int:
    """The side of a block as TensorFlow decodes it for a scale of n/8: 1, 2, 4 or 8."""
    return 1 << (scale - 1).bit_length()


def _in_smaller_blocks(image: tf.Tensor, side: int, scale: int, stored: tf.Tensor) -> tf.Tensor:
    """What libjpeg does at scales of n/8: the lowest n x n frequencies of each block are kept.

    Args:
      image: uint8 [h, w, 3], decoded so that each block of the file is `side` x `side` pixels.
      side: pixels along a decoded block: 2, 4 or 8.
      scale: n, the pixels along a block of the result, less than `side`.
      stored: int32 [2], the height and width of the whole photograph.
    """
    cosines, fewer = _cosines(side), _cosines(scale)
    change = tf.constant((scale / side) ** 0.5 * fewer.T @ cosines[:scale], tf.float32)
    blocks = (tf.shape(image)[:2] + side - 1) // side
    missing = blocks * side - tf.shape(image)[:2]
    paddings = [[0, missing[0]], [0, missing[1]], [0, 0]]
    # libjpeg sees what the encoder put beyond the edge; the mirror image comes near it.
    pixels = tf.pad(tf.cast(image, tf.float32), paddings, "SYMMETRIC")
    pixels = tf.reshape(pixels, [blocks[0], side, blocks[1], side, 3])
    pixels = tf.einsum("ya,xb,iajbc->iyjxc", change, change, pixels)
    pixels = tf.reshape(pixels, [blocks[0] * scale, blocks[1] * scale, 3])
    rows, columns = tf.unstack(_scaled(stored, scale))
    return tf.saturate_cast(tf.round(pixels[:rows, :columns]), tf.uint8)


def _cosines(size: int) -> np.ndarray:
    """The orthonormal discrete cosine transform (DCT-II), float64 [size, size]."""
    frequency, position = np.mgrid[:size, :size]
    matrix = np.cos(np.pi * frequency * (2 * position + 1) / (2 * size)) * (2 / size) ** 0.5
    matrix[0] /= 2**0.5
    return matrix


def _among(value: tf.Tensor, *wanted: int) -> tf.Tensor:
    return tf.reduce_any(tf.equal(value, wanted))


def _resized(image: tf.Tensor, extent: tf.Tensor, size: tf.Tensor) -> tf.Tensor:
    """See `images.resize`: uint8 [h, w, 3] to uint8 [*size, 3].

    Args:
      image: uint8 [h, w, 3], the photograph in its top left corner.
      extent: float32 [2], the rows and columns of them that are photograph.
      size: int32 [2], height and width of the result.
    """
    shrinking = extent / tf.cast(size, tf.float32)
    whole = tf.reduce_all(tf.equal(extent, tf.cast(tf.shape(image)[:2], tf.float32)))
    least = tf.reduce_min(shrinking)
    enough = tf.where(whole, least >= images.TWO_STEP[0], least > 1.0)
    two_step = enough & (tf.reduce_max(shrinking) <= images.TWO_STEP[1])

    def by_twice_the_size() -> tf.Tensor:
        twice = tf.cond(
            whole,
            lambda: resizing.linear(image[None], 2 * size, tf.float64),
            lambda: _at_positions(image, shrinking, size)[None],
        )
        return resizing.halved(twice)[0]

    def by_means() -> tf.Tensor:
        rows, columns = tf.unstack(tf.maximum(1, tf.cast(tf.round(extent), tf.int32)))
        part = image[:rows, :columns]
        smaller = tf.minimum(size, tf.shape(part)[:2])
        small = tf.round(tf.image.resize(part, smaller, tf.image.ResizeMethod.AREA))
        return resizing.linear(small[None], size, tf.float64)[0]

    return tf.saturate_cast(tf.cond(two_step, by_twice_the_size, by_means), tf.uint8)


def _at_positions(image: tf.Tensor, shrinking: tf.Tensor, size: tf.Tensor) -> tf.Tensor:
    """`cv2.warpAffine` with INTER_LINEAR to twice the size, as `images.resize` calls it.

    Args:
      image: uint8 [h, w, 3].
      shrinking: float32 [2], rows and columns of the photograph for one of the result.
      size: int32 [2], half the height and half the width of the result.

    Returns:
      int32 [2 * size[0], 2 * size[1], 3].
    """
    steps = tf.cast(shrinking, tf.float64) / 2.0

    def sides(axis: int) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        """The pixels on both sides of each position along an axis, and the share of the second."""
        step, number = steps[axis], tf.range(tf.cast(2 * size[axis], tf.float64))
        at = step * number + (step / 2.0 - 0.5)
        if _rounds_positions():
            if axis == 1:
                at = tf.round(step * number * 1024.0) + tf.round((step / 2.0 - 0.5) * 1024.0)
            else:
                at = tf.round(at * 1024.0)
            at = tf.floor((at + 16.0) / 32.0) / 32.0
        first, last = tf.floor(at), tf.shape(image)[axis] - 1
        index = tf.cast(first, tf.int32)
        return (
            tf.clip_by_value(index, 0, last),
            tf.clip_by_value(index + 1, 0, last),
            tf.cast(at - first, tf.float32),
        )

    pixels = tf.cast(image, tf.float32)
    left, right, share = sides(1)
    pixels = (
        tf.gather(pixels, left, axis=1) * (1.0 - share)[:, None]
        + tf.gather(pixels, right, axis=1) * share[:, None]
    )
    above, below, share = sides(0)
    total = tf.gather(pixels, above) * (1.0 - share)[:, None, None]
    total += tf.gather(pixels, below) * share[:, None, None]
    return tf.cast(tf.floor(total + 0.5), tf.int32)


@functools.cache
def _rounds_positions() -> bool:
    """Whether `cv2.warpAffine` knows positions to 1/32 of a pixel only, as up to OpenCV 4."""
    ramp, right = np.array([[0, 255]], np.uint8), np.array([[1, 0, 1 / 64], [0, 1, 0]])
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    return int(cv2.warpAffine(ramp, right, (2, 1), flags=flags)[0, 0]) != 4
