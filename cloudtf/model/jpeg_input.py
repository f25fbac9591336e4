"""JPEG bytes to a model's pixels in TensorFlow ops alone, for models that leave cloudtf.

What `cloudtf.data.images.load` does for records and predictions: decoding at the smallest scale of
n/8 that covers the size, EXIF orientation, and the same two ways of resizing. At scales of 1/8,
1/4, 1/2 and 1 (photographs of 1400 x 2100 at 224 x 224 are decoded at 1/4) pixels are the same but
for rounding, two grey levels at most. The other scales TensorFlow's decoder lacks; they are
computed from the next larger one, and differ a little more. PNG files are not understood.
"""

from __future__ import annotations

from typing import Callable

import numpy as np
import tensorflow as tf

from cloudtf.data import images

# Pixels along the side that each block of 8 x 8 becomes: libjpeg's scales.
_SCALES = tuple(range(1, 9))
_ORIENTATION_TAG = 0x0112


def decode(encoded: tf.Tensor, height: int, width: int) -> tf.Tensor:
    """Photographs of any size as the pixels that a model takes.

    Args:
      encoded: string [B], the bytes of JPEG files.
      height: rows of pixels in the result.
      width: columns of pixels in the result.

    Returns:
      uint8 [B, height, width, 3], RGB, upright.

    Raises:
      tf.errors.InvalidArgumentError: one is no JPEG, damaged, or too large (see `images`).
    """
    return tf.map_fn(
        lambda data: _photograph(data, height, width),
        encoded,
        fn_output_signature=tf.TensorSpec([height, width, 3], tf.uint8),
    )


def _photograph(data: tf.Tensor, height: int, width: int) -> tf.Tensor:
    stored = tf.io.extract_jpeg_shape(data)[:2]
    orientation = _orientation(tf.io.decode_raw(data, tf.uint8))
    turned = orientation >= 5
    size = tf.where(turned, tf.constant([width, height]), tf.constant([height, width]))
    # In 64 bits: 65,535 squared is more than 32 bits hold.
    pixels = tf.reduce_prod(tf.cast(stored, tf.int64))
    fits = (tf.reduce_max(stored) <= images.MAX_SIDE) & (pixels <= images.MAX_PIXELS)
    refused = tf.debugging.Assert(fits, ["The JPEG has too many pixels:", stored])
    with tf.control_dependencies([refused]):
        data = tf.identity(data)
    # Sizes rise with the scale: those too small come first.
    too_small = [tf.reduce_any(_scaled(stored, scale) < size) for scale in _SCALES[:-1]]
    index = tf.add_n([tf.cast(small, tf.int32) for small in too_small])
    image = tf.switch_case(index, [_decoder(data, stored, scale) for scale in _SCALES])
    extent = tf.cast(stored * (index + 1), tf.float32) / 8.0
    image = _resized(image, extent, size)
    image = tf.cond(turned, lambda: tf.transpose(image, [1, 0, 2]), lambda: image)
    image = tf.cond(_among(orientation, 3, 4, 7, 8), lambda: image[::-1], lambda: image)
    image = tf.cond(_among(orientation, 2, 3, 6, 7), lambda: image[:, ::-1], lambda: image)
    return tf.ensure_shape(image, [height, width, 3])


def _scaled(stored: tf.Tensor, scale: int) -> tf.Tensor:
    return (stored * scale + 7) // 8


def _decoder(data: tf.Tensor, stored: tf.Tensor, scale: int) -> Callable[[], tf.Tensor]:
    # The side of a block as TensorFlow decodes it: 1, 2, 4 or 8.
    side = 1 << (scale - 1).bit_length()

    def decode_scaled() -> tf.Tensor:
        # The accurate transform is the converter's, and equals it to the bit.
        image = tf.io.decode_jpeg(data, 3, ratio=8 // side, dct_method="INTEGER_ACCURATE")
        return image if scale == side else _in_smaller_blocks(image, side, scale, stored)

    return decode_scaled


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
        twice = tf.raw_ops.ScaleAndTranslate(
            images=image[None],
            size=2 * size,
            scale=2.0 / shrinking,
            translation=[0.0, 0.0],
            kernel_type="triangle",
            antialias=False,
        )
        four = tf.reshape(tf.round(twice), [size[0], 2, size[1], 2, 3])
        return tf.floor((tf.reduce_sum(four, axis=[1, 3]) + 2.0) / 4.0)

    def by_means() -> tf.Tensor:
        rows, columns = tf.unstack(tf.maximum(1, tf.cast(tf.round(extent), tf.int32)))
        part = image[:rows, :columns]
        smaller = tf.minimum(size, tf.shape(part)[:2])
        small = tf.round(tf.image.resize(part, smaller, tf.image.ResizeMethod.AREA))
        return tf.round(tf.image.resize(small, size, tf.image.ResizeMethod.BILINEAR))

    return tf.saturate_cast(tf.cond(two_step, by_twice_the_size, by_means), tf.uint8)


def _orientation(content: tf.Tensor) -> tf.Tensor:
    """The EXIF orientation of a JPEG, 1 to 8; 1 if it has none. See `images._jpeg_segments`.

    Written as plain Python: AutoGraph makes TensorFlow's control flow of it.

    Args:
      content: uint8 [N], the bytes of the file.
    """
    length = tf.size(content)
    # A segment's head can then be read wherever it begins.
    content = tf.pad(content, [[0, 16]])
    orientation = tf.constant(1)
    position = tf.constant(2)
    going = tf.constant(True)
    while going and position + 9 <= length and content[position] == 0xFF:
        marker = content[position + 1]
        if marker == 0xFF:  # Fill byte.
            position += 1
        elif marker >= 0xC0 and marker <= 0xCF and not _among(marker, 0xC4, 0xC8, 0xCC):
            going = tf.constant(False)
        else:
            size = _number(content[position + 2 : position + 4], 2, little=False)
            head = content[position + 4 : position + 10]
            if marker == 0xE1 and tf.reduce_all(tf.equal(head, list(b"Exif\0\0"))):
                orientation = _of_tiff(content[position + 10 : position + 2 + size])
            position += 2 + size
            going = size >= 2
    return orientation


def _of_tiff(tiff: tf.Tensor) -> tf.Tensor:
    """The orientation in the first directory of a TIFF header, uint8 [N]; 1 where it is absent."""
    orientation = tf.constant(1)
    # A header, and a directory of one entry.
    if tf.size(tiff) >= 8 + 2 + 12:
        little = tf.reduce_all(tf.equal(tiff[:4], list(b"II*\0")))
        if little or tf.reduce_all(tf.equal(tiff[:4], list(b"MM\0*"))):
            # Beyond the end, and negative where 32 bits overflow, is nowhere.
            directory = _number(tiff[4:8], 4, little)
            if directory >= 0 and directory <= tf.size(tiff) - 2:
                count = _number(tiff[directory : directory + 2], 2, little)
                count = tf.minimum(count, (tf.size(tiff) - directory - 2) // 12)
                first = directory + 2
                entries = tf.reshape(tiff[first : first + 12 * count], [-1, 12])
                tags = _number(entries[:, :2], 2, little)
                found = entries[tf.equal(tags, _ORIENTATION_TAG)][:1]
                short = tf.equal(_number(found[:, 2:4], 2, little), 3)
                values = tf.where(
                    short, _number(found[:, 8:10], 2, little), _number(found[:, 8:12], 4, little)
                )
                values = values[(values >= 1) & (values <= 8)]
                orientation = tf.reduce_max(tf.concat([[1], values], axis=0))
    return orientation


def _number(content: tf.Tensor, size: int, little: tf.Tensor) -> tf.Tensor:
    """Two or four bytes, uint8 [..., size], as int32 [...] (which may overflow)."""
    factors = tf.constant([1 << 24, 1 << 16, 1 << 8, 1][4 - size :])
    factors = tf.where(little, factors[::-1], factors)
    return tf.reduce_sum(tf.cast(content, tf.int32) * factors, axis=-1)
