"""Which way up a photograph is stored, in TensorFlow's ops: `cloudtf.data.orientation` as a graph.

Branches and loops are TensorFlow's own (`tf.cond`, `tf.while_loop`): see `jpeg_input`.
"""

from __future__ import annotations

from typing import Union

import tensorflow as tf

from cloudtf.data import orientation

_XMP = r'(?s)^\C*?tiff:Orientation(?:="|>)([0-9])\C*$'
# Bytes of a value by the kind of a directory entry, 0 for no kind; and the kinds that may be an
# orientation: SHORT and LONG, signed or not, and IFD.
_SIZES = [0, 1, 1, 2, 4, 8, 1, 1, 2, 4, 8, 4, 8, 4, 0, 0, 8]
_NUMBERS = (3, 4, 8, 9, 13)


def of(exif: tf.Tensor, xmp: tf.Tensor) -> tf.Tensor:
    """See `orientation.of`.

    Args:
      exif: string scalar, a TIFF header with its directory; empty if there is none.
      xmp: string scalar, an XMP packet; empty if there is none.

    Returns:
      int32 scalar, 1 to 8.
    """
    for _ in range(2):  # Some write the name twice.
        named = tf.equal(tf.strings.substr(exif, 0, len(orientation.EXIF)), orientation.EXIF)
        exif = tf.where(named, rest(exif, len(orientation.EXIF)), exif)
    value = _of_tiff(tf.io.decode_raw(exif, tf.uint8))
    digit = tf.strings.regex_replace(xmp, _XMP, r"\1")
    is_digit = tf.equal(tf.strings.length(digit), 1) & tf.strings.regex_full_match(digit, "[0-9]")
    value = tf.cond(
        (value < 0) & is_digit,
        lambda: tf.strings.to_number(digit, tf.int32),
        lambda: value,
    )
    return tf.where((value >= 1) & (value <= 8), value, 1)


def rest(text: tf.Tensor, start: Union[int, tf.Tensor]) -> tf.Tensor:
    """The bytes of a string scalar from a place on; none where it ends before."""
    return tf.strings.substr(text, tf.minimum(start, tf.strings.length(text)), 1 << 30)


def number(content: tf.Tensor, size: int, little: tf.Tensor) -> tf.Tensor:
    """Whole numbers of some bytes.

    Args:
      content: uint8 [..., size].
      size: how many bytes a number has, 2 or 4.
      little: whether the lowest byte comes first, bool scalar.

    Returns:
      int32 [...]; a number of four bytes from 2^31 on is negative.
    """
    weights = tf.constant([1 << 24, 1 << 16, 1 << 8, 1][4 - size :])
    weights = tf.where(little, weights[::-1], weights)
    return tf.reduce_sum(tf.cast(content, tf.int32) * weights, axis=-1)


def _of_tiff(tiff: tf.Tensor) -> tf.Tensor:
    """The orientation in the first directory of a TIFF header, uint8 [N]; -1 where it is absent."""

    def behind_header() -> tf.Tensor:
        little = tf.reduce_all(tf.equal(tiff[:2], list(b"II")))
        known = little | tf.reduce_all(tf.equal(tiff[:2], list(b"MM")))
        known &= tf.reduce_all(tf.equal(tf.sort(tiff[2:4]), [0, 42]))
        # Beyond the end, and negative where 32 bits overflow, is nowhere.
        directory = number(tiff[4:8], 4, little)
        known &= (directory >= 0) & (directory <= tf.size(tiff) - 2)
        return tf.cond(known, lambda: _in_directory(tiff, directory, little), _nowhere)

    # A header, and a directory of one entry.
    return tf.cond(tf.size(tiff) >= 8 + 2 + 12, behind_header, _nowhere)


def _nowhere() -> tf.Tensor:
    return tf.constant(-1)


def _in_directory(tiff: tf.Tensor, directory: tf.Tensor, little: tf.Tensor) -> tf.Tensor:
    """The orientation in a directory that begins at a place of a TIFF; -1 where it is absent."""
    count = number(tiff[directory : directory + 2], 2, little)
    count = tf.minimum(count, (tf.size(tiff) - directory - 2) // 12)
    first = directory + 2
    entries = tf.reshape(tiff[first : first + 12 * count], [-1, 12])
    tags = number(entries[:, :2], 2, little)
    kinds = number(entries[:, 2:4], 2, little)
    lengths = number(entries[:, 4:8], 4, little)
    sizes = tf.gather(tf.constant(_SIZES), tf.minimum(kinds, len(_SIZES) - 1))
    sizes = tf.where(kinds < len(_SIZES), sizes, 0)
    wanted = tf.equal(tags, orientation.TAG) & tf.not_equal(lengths, 0) & (sizes > 0)
    return tf.cond(
        tf.reduce_any(wanted),
        lambda: _value(tiff, entries[wanted][0], kinds[wanted][0], lengths[wanted][0], little),
        _nowhere,
    )


def _value(
    tiff: tf.Tensor, entry: tf.Tensor, kind: tf.Tensor, length: tf.Tensor, little: tf.Tensor
) -> tf.Tensor:
    """The first number of a directory entry, uint8 [12]; 0 if it is none, -1 if it is nowhere."""
    short = tf.equal(kind, 3) | tf.equal(kind, 8)
    size = tf.where(short, 2, 4)
    # Values of more than four bytes are elsewhere; so many that 32 bits overflow are too.
    elsewhere = (length < 0) | (length > tf.where(short, 2, 1))
    place = number(entry[8:12], 4, little)
    exists = (place >= 0) & (place <= tf.size(tiff) - size)
    content = tf.cond(
        elsewhere,
        lambda: tiff[place : tf.where(exists, place + size, place)],
        lambda: entry[8:12],
    )
    content = tf.pad(content, [[0, tf.maximum(0, 4 - tf.size(content))]])
    value = tf.where(short, number(content[:2], 2, little), number(content[:4], 4, little))
    is_number = tf.reduce_any(tf.equal(kind, list(_NUMBERS)))
    return tf.where(is_number, value, 0)
