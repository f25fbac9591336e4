"""A PNG file in TensorFlow's ops: `cloudtf.data.png` as a graph.

Branches and loops are TensorFlow's own (`tf.cond`, `tf.while_loop`): see `jpeg_input`.
"""

from __future__ import annotations

from typing import NamedTuple

import tensorflow as tf

from cloudtf.data import pixels
from cloudtf.model import orientation_ops

_HEAD = 8 + 8  # The signature, and length and name of the first chunk.


def size(data: tf.Tensor) -> tf.Tensor:
    """Rows and columns that a PNG file, string scalar, says it has: int32 [2]."""
    content = _head(data)
    stated = content[_HEAD : _HEAD + 8]
    return tf.stack(
        [
            orientation_ops.number(stated[4:], 4, False),
            orientation_ops.number(stated[:4], 4, False),
        ]
    )


@tf.function(input_signature=[tf.TensorSpec([], tf.string)], autograph=False)
def decode(data: tf.Tensor) -> tf.Tensor:
    """The pixels of a PNG file.

    Args:
      data: string scalar, the bytes of the file.

    Returns:
      uint8 [H, W, 3], RGB, as stored. Of 16-bit files as `pixels.to_bytes` says.

    Raises:
      tf.errors.InvalidArgumentError: the file is damaged.
    """

    def of_sixteen_bits() -> tf.Tensor:
        deep = tf.cast(tf.io.decode_png(data, 3, tf.uint16), tf.int32)
        largest = tf.reduce_max(deep)
        smaller = [tf.cast(largest >= 1 << depth, tf.int32) for depth in pixels.DEPTHS[:-1]]
        depth = tf.gather(tf.constant(pixels.DEPTHS), tf.add_n(smaller))
        return tf.cast(tf.bitwise.right_shift(deep, depth - 8), tf.uint8)

    is_deep = tf.equal(_head(data)[_HEAD + 8], 16)
    return tf.cond(is_deep, of_sixteen_bits, lambda: tf.io.decode_png(data, 3))


class _Found(NamedTuple):
    """What the chunks of a file have said up to a place; string scalars but for the first two."""

    at: tf.Tensor  # int32 scalar, the place.
    going: tf.Tensor  # bool scalar, whether the file goes on.
    exif: tf.Tensor
    profile: tf.Tensor
    older: tf.Tensor
    xmp: tf.Tensor


@tf.function(input_signature=[tf.TensorSpec([], tf.string)], autograph=False)
def orientation(data: tf.Tensor) -> tf.Tensor:
    """The orientation of a PNG file, string scalar: int32 scalar, 1 to 8; see `png`."""
    content = tf.io.decode_raw(data, tf.uint8)
    length = tf.size(content)
    content = tf.pad(content, [[0, 16]])

    def step(found: _Found) -> tuple[_Found]:
        at = found.at
        extent = orientation_ops.number(content[at : at + 4], 4, False)
        name = tf.strings.substr(data, at + 4, 4)
        end = at + 12 + tf.maximum(extent, 0)
        found = found._replace(at=end)

        def has_exif() -> _Found:
            return found._replace(exif=tf.strings.substr(data, at + 8, extent))

        def has_text() -> _Found:
            keyword, text = _text(name, tf.strings.substr(data, at + 8, extent))

            def of(wanted: bytes, before: tf.Tensor) -> tf.Tensor:
                return tf.where(tf.equal(keyword, wanted), text, before)

            return found._replace(
                exif=of(b"exif", found.exif),
                profile=of(b"Raw profile type exif", found.profile),
                older=of(b"Raw profile type APP1", found.older),
                xmp=of(b"XML:com.adobe.xmp", found.xmp),
            )

        ends = (extent < 0) | (end > length) | (end < at)
        is_text = tf.reduce_any(tf.equal(name, [b"tEXt", b"zTXt", b"iTXt"]))
        kind = tf.where(tf.equal(name, b"eXIf"), 1, tf.where(is_text, 2, 0))
        ways = [lambda: found, has_exif, has_text]
        return (
            tf.cond(
                ends,
                lambda: found._replace(going=tf.constant(False)),
                lambda: tf.switch_case(kind, ways),
            ),
        )

    nothing = tf.constant(b"")
    begin = _Found(tf.constant(8), tf.constant(True), nothing, nothing, nothing, nothing)
    (found,) = tf.while_loop(lambda one: one.going & (one.at + 12 <= length), step, (begin,))
    exif = found.exif
    for text in (found.profile, found.older):
        exif = tf.cond(
            tf.equal(exif, b""), lambda text=text: _bytes_of(text), lambda exif=exif: exif
        )
    return orientation_ops.of(exif, found.xmp)


def _head(data: tf.Tensor) -> tf.Tensor:
    """The first bytes of a file, uint8, zeros behind its end."""
    head = tf.io.decode_raw(tf.strings.substr(data, 0, 64), tf.uint8)
    return tf.pad(head, [[0, 64 - tf.size(head)]])


def _text(name: tf.Tensor, body: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Keyword and text of a chunk of text; a text that is packed is refused if it is damaged."""
    keyword, text = _split(body)
    is_packed, international = tf.equal(name, b"zTXt"), tf.equal(name, b"iTXt")
    # Behind how it is packed, language and translation.
    _, described = _split(orientation_ops.rest(text, 2))
    _, translated = _split(described)
    packed = is_packed | (international & tf.equal(tf.strings.substr(text, 0, 1), b"\x01"))
    text = tf.where(is_packed, orientation_ops.rest(text, 1), text)
    text = tf.where(international, translated, text)
    return keyword, tf.cond(packed, lambda: tf.io.decode_compressed(text, "ZLIB"), lambda: text)


def _split(text: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """What comes before the first zero byte, and what behind it."""
    first = tf.strings.regex_replace(text, r"(?s)\x00\C*$", "")
    return first, orientation_ops.rest(text, tf.strings.length(first) + 1)


def _bytes_of(profile: tf.Tensor) -> tf.Tensor:
    """The bytes in a raw profile, hexadecimal behind its name and length; empty if it is none."""
    digits = tf.strings.regex_replace(profile, r"(?s)^\s*\S+\s+\d+\s+([0-9a-fA-F\s]*)\C*$", r"\1")
    codes = tf.cast(tf.io.decode_raw(digits, tf.uint8), tf.int32)
    codes = codes[codes > 32]  # Without spaces and line breaks.
    values = tf.where(codes < 58, codes - 48, tf.bitwise.bitwise_or(codes, 32) - 87)
    sound = tf.reduce_all((values >= 0) & (values < 16)) & tf.equal(tf.size(values) % 2, 0)
    values = tf.where(sound, values, tf.zeros_like(values))[: tf.size(values) // 2 * 2]
    pairs = tf.reshape(values, [-1, 2])
    letters = tf.gather(
        tf.constant([bytes([n]) for n in range(256)]), pairs[:, 0] * 16 + pairs[:, 1]
    )
    return tf.strings.reduce_join(letters)
