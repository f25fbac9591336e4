"""Resizing as `cloudtf.data.images` does it, in TensorFlow ops: in OpenCV's whole numbers.

`any_size` is of ops that TFLite and ONNX have too.
"""

from __future__ import annotations

import tensorflow as tf

from cloudtf.data.images import TWO_STEP
from cloudtf.data.pixels import FILL


def any_size(images: tf.Tensor, height: int, width: int, aspect: str) -> tf.Tensor:
    """Images of any size at that of a model, as `images.resize` and `aspect.fitted` make them.

    An area mean is computed in float32: a few values in a thousand are a grey level off.

    Args:
      images: uint8 [B, h, w, 3], RGB, upright, all of one size.
      height: rows of the result.
      width: columns of the result.
      aspect: how they get the ratio of sides of the result, one of `ASPECTS`.

    Returns:
      uint8 [B, height, width, 3].
    """
    rows, columns = tf.unstack(tf.shape(images)[1:3])
    size = tf.stack(fitted_size(rows, columns, height, width, aspect))
    shrinking = tf.cast(tf.stack([rows, columns]), tf.float32) / tf.cast(size, tf.float32)
    two_step = (tf.reduce_min(shrinking) >= TWO_STEP[0]) & (tf.reduce_max(shrinking) <= TWO_STEP[1])

    def by_means() -> tf.Tensor:
        smaller = tf.minimum(size, tf.stack([rows, columns]))
        return linear(_means(images, smaller), size, tf.float32)

    small = tf.cond(two_step, lambda: halved(linear(images, 2 * size, tf.float32)), by_means)
    if aspect != "stretch":
        small = fitted(small, height, width)
    small = tf.reshape(small, [-1, height, width, 3])
    return tf.cast(tf.clip_by_value(small, 0, 255), tf.uint8)


def fitted_size(
    rows: tf.Tensor, columns: tf.Tensor, height: int, width: int, aspect: str
) -> tuple[tf.Tensor, tf.Tensor]:
    """The size to which an image is resized before it is padded or cut; see `aspect.resized`.

    Args:
      rows: whole number, scalar; the products of two sides must fit its type.
      columns: the same of the other side.
      height: rows of the result.
      width: columns of the result.
      aspect: how the image gets the ratio of sides of the result.

    Returns:
      Its rows and columns, of the type of `rows`.
    """
    whole = [tf.constant(height, rows.dtype), tf.constant(width, rows.dtype)]
    if aspect == "stretch":
        return whole[0], whole[1]
    fewer = tf.maximum((2 * rows * width + columns) // (2 * columns), 1)
    narrower = tf.maximum((2 * columns * height + rows) // (2 * rows), 1)
    by_width = tf.equal(columns * height >= rows * width, aspect == "pad")
    return tf.where(by_width, fewer, whole[0]), tf.where(by_width, whole[1], narrower)


def fitted(images: tf.Tensor, height: int, width: int) -> tf.Tensor:
    """[B, h, w, 3] to int32 [B, height, width, 3]: borders, or none; see `aspect.fitted`."""
    size = tf.shape(images)[1:3]
    cut = tf.maximum(size - [height, width], 0) // 2
    images = images[:, cut[0] : cut[0] + height, cut[1] : cut[1] + width]
    before = tf.maximum([height, width] - size, 0) // 2
    after = [height, width] - tf.shape(images)[1:3] - before
    paddings = tf.concat([[[0, 0]], tf.stack([before, after], axis=1), [[0, 0]]], axis=0)
    fill = tf.constant(FILL, tf.int32)
    return tf.pad(tf.cast(images, tf.int32) - fill, paddings) + fill


def halved(images: tf.Tensor) -> tf.Tensor:
    """Means of 2 x 2, rounded: int32 [B, 2h, 2w, 3] to [B, h, w, 3]."""
    size = tf.shape(images)
    rows = tf.reshape(images, [size[0], size[1] // 2, 2, size[2] * 3])
    columns = tf.reshape(rows[:, :, 0] + rows[:, :, 1], [size[0], size[1] // 2, size[2] // 2, 2, 3])
    return (columns[:, :, :, 0] + columns[:, :, :, 1] + 2) // 4


def linear(images: tf.Tensor, size: tf.Tensor, precision: tf.DType) -> tf.Tensor:
    """`cv2.resize` with INTER_LINEAR, in its whole numbers: weights of 11 bits.

    Args:
      images: [B, h, w, 3], whole numbers from 0 to 255.
      size: int32 [2], height and width of the result.
      precision: in which positions are computed, before they are rounded to 11 bits; float64 is
        OpenCV's, and TFLite has float32 alone.

    Returns:
      int32 [B, *size, 3].
    """
    pixels = tf.cast(images, tf.int32)

    def sides(axis: int) -> tuple[tf.Tensor, ...]:
        """The pixels on both sides of each position along an axis, and their weights."""
        before, after = tf.shape(images)[axis + 1], size[axis]
        step = 1.0 / (tf.cast(after, precision) / tf.cast(before, precision))
        at = tf.cast((tf.cast(tf.range(after), precision) + 0.5) * step - 0.5, tf.float32)
        first = tf.floor(at)
        share = at - first
        if axis == 1:  # Along the columns OpenCV's borders have a weight of one.
            inside = (first >= 0) & (first < tf.cast(before - 1, tf.float32))
            share = tf.where(inside, share, tf.zeros_like(share))
        weights = [tf.cast(tf.round(part * 2048.0), tf.int32) for part in (1.0 - share, share)]
        index = tf.cast(first, tf.int32)
        low = tf.minimum(tf.maximum(index, 0), before - 1)
        high = tf.minimum(index + 1, before - 1)
        return low, high, weights[0], weights[1]

    left, right, of_left, of_right = sides(1)
    pixels = (
        tf.gather(pixels, left, axis=2) * of_left[:, None]
        + tf.gather(pixels, right, axis=2) * of_right[:, None]
    ) // 16
    above, below, of_above, of_below = sides(0)
    total = tf.gather(pixels, above, axis=1) * of_above[:, None, None] // 65536
    total += tf.gather(pixels, below, axis=1) * of_below[:, None, None] // 65536
    return (total + 2) // 4


def _means(images: tf.Tensor, size: tf.Tensor) -> tf.Tensor:
    """Area means, rounded: uint8 [B, h, w, 3] to float32 [B, *size, 3], none larger than before."""

    def shares(axis: int) -> tf.Tensor:
        """Which share of each result each pixel along an axis is: float32 [after, before]."""
        before, after = tf.shape(images)[axis + 1], size[axis]
        step = tf.cast(before, tf.float32) / tf.cast(after, tf.float32)
        start = tf.cast(tf.range(after), tf.float32)[:, None] * step
        pixel = tf.cast(tf.range(before), tf.float32)[None]
        covered = tf.minimum(start + step, pixel + 1.0) - tf.maximum(start, pixel)
        return tf.maximum(covered, 0.0) / step

    shape = tf.shape(images)
    pixels = tf.reshape(tf.cast(images, tf.float32), [shape[0], shape[1], shape[2] * 3])
    pixels = tf.matmul(shares(0), pixels)
    pixels = tf.reshape(pixels, [shape[0] * size[0], shape[2], 3])
    pixels = tf.reshape(tf.matmul(shares(1), pixels), [shape[0], size[0], size[1], 3])
    return tf.round(pixels)
