"""A JPEG file as TensorFlow's decoder should see it, made by TensorFlow's ops.

That decoder takes half a picture for a whole one, and stops at segments that it does not know. What
`cloudtf.data.jpeg_picture` does for the converter is done here in a graph: the segments that make
the picture are kept, and whether its image data are all there is looked at as far as that can be
seen without following their codes.

Branches and loops are TensorFlow's own (`tf.cond`, `tf.while_loop`): see `jpeg_input`.
"""

from __future__ import annotations

from typing import Callable, NamedTuple

import numpy as np
import tensorflow as tf

from cloudtf.data import jpeg_picture, orientation
from cloudtf.model import orientation_ops

_XMP = b"http://ns.adobe.com/xap/1.0/\0"
# Quantisation and Huffman tables, restart interval, JFIF, Adobe; the frame header besides.
_KEPT = (0xDB, 0xC4, 0xCC, 0xDD, 0xE0, 0xEE)
_ENDS = (0xD8, 0xD9)
_MISSING = "The JPEG is truncated: image data is missing."
# Put behind the data of each scan, it changes the picture where the data do not suffice for it.
_MORE = bytes(range(37, 97))
# Bits 0 to k - 1 of 64, by k.
_UPTO = np.array([(1 << k) - 1 for k in range(65)], np.uint64).view(np.int64)
# At the end of a scan so many zeros were never written, or are no part of it.
_ZEROS = r"\x00{64,}$"


class Parts(NamedTuple):
    """A JPEG file taken apart.

    Attributes:
      file: string scalar, the picture alone as a file.
      longer: string scalar, the same with more bytes behind the data of each scan.
      size: int32 [2], rows and columns as stored.
      components: int32 scalar, the colour components.
      scans: int32 scalar, the scans.
      orientation: int32 scalar, 1 to 8.
    """

    file: tf.Tensor
    longer: tf.Tensor
    size: tf.Tensor
    components: tf.Tensor
    scans: tf.Tensor
    orientation: tf.Tensor


class _Found(NamedTuple):
    """What the segments of a file have said up to a place.

    Attributes:
      at: int32 scalar, the place.
      going: bool scalar, whether the file has more that matters.
      file: string scalar, what is kept so far of the picture as a file.
      longer: string scalar, the same with more bytes behind the data of each scan.
      exif: string scalar, what the segments of Exif data hold.
      xmp: string scalar, the XMP packet.
      size: int32 [2], rows and columns as stored.
      progressive: bool scalar, whether the frame is.
      names: uint8 [C], the components.
      sides: int32 [C, 2], rows and columns of blocks of each component in a unit.
      known: int64 [C], a bit for each coefficient of each component that is told to the last bit.
      whole: int32 scalar, the components of which all are.
      scans: int32 scalar, the scans.
      interval: int32 scalar, units between two restart markers; 0 for none.
    """

    at: tf.Tensor
    going: tf.Tensor
    file: tf.Tensor
    longer: tf.Tensor
    exif: tf.Tensor
    xmp: tf.Tensor
    size: tf.Tensor
    progressive: tf.Tensor
    names: tf.Tensor
    sides: tf.Tensor
    known: tf.Tensor
    whole: tf.Tensor
    scans: tf.Tensor
    interval: tf.Tensor


def _nothing_found() -> _Found:
    start, empty, zero = tf.constant(b"\xff\xd8"), tf.constant(b""), tf.constant(0)
    return _Found(
        at=tf.constant(2),
        going=tf.constant(True),
        file=start,
        longer=start,
        exif=empty,
        xmp=empty,
        size=tf.zeros([2], tf.int32),
        progressive=tf.constant(False),
        names=tf.zeros([0], tf.uint8),
        sides=tf.zeros([0, 2], tf.int32),
        known=tf.zeros([0], tf.int64),
        whole=zero,
        scans=zero,
        interval=zero,
    )


@tf.function(input_signature=[tf.TensorSpec([], tf.string)], autograph=False)
def take_apart(data: tf.Tensor) -> Parts:
    """The parts of a JPEG file.

    Args:
      data: string scalar, the bytes of the file.

    Raises:
      tf.errors.InvalidArgumentError: it is no JPEG, or its image data are not all there: a scan or
        what is between two restart markers is missing.
    """
    content = tf.io.decode_raw(data, tf.uint8)
    length = tf.size(content)
    is_jpeg = tf.equal(tf.strings.substr(data, 0, 2), b"\xff\xd8")
    asserted = tf.debugging.Assert(is_jpeg, ["The file is neither a JPEG nor a PNG."])
    with tf.control_dependencies([asserted]):
        places = tf.cast(tf.where(tf.equal(content[:-1], 0xFF))[:, 0], tf.int32)
    content = tf.pad(content, [[0, 16]])  # Heads can then be read wherever they begin.
    following = tf.cast(tf.gather(content, places + 1), tf.int32)
    begins = tf.constant([n not in jpeg_picture.ALONE or n in _ENDS for n in range(256)])
    markers = tf.concat([places[tf.gather(begins, following)], [length]], 0)
    restarts = places[(following >= 0xD0) & (following <= 0xD7)]

    def step(found: _Found) -> tuple[_Found]:
        at = _next(markers, found.at)
        marker = tf.cast(content[tf.minimum(at + 1, length)], tf.int32)
        after = at + 2 + tf.maximum(2, orientation_ops.number(content[at + 2 : at + 4], 2, False))
        segment = tf.strings.substr(data, at, tf.maximum(0, tf.minimum(after, length) - at))
        found = found._replace(at=after)

        def ends() -> _Found:
            return found._replace(going=tf.constant(False))

        def begins_scan() -> _Found:
            end = _next(markers, after)
            count = tf.cast(content[at + 4], tf.int32)
            piece = tf.strings.substr(data, after, _without_fill(content[after:end]))
            piece = tf.strings.regex_replace(piece, _ZEROS, "")
            identifiers = content[at + 5 : at + 5 + 2 * count : 2]
            concerned = tf.reduce_any(tf.equal(found.names[:, None], identifiers[None]), axis=1)
            own = restarts[(restarts >= after) & (restarts < end)]
            units = _units(found.size, found.sides, concerned)
            _check_restarts(tf.gather(content, own + 1), found.interval, units)
            band = _band(content[after - 3 : after], found.progressive)
            known = tf.where(concerned, tf.bitwise.bitwise_or(found.known, band), found.known)
            whole = tf.reduce_sum(tf.cast(tf.equal(known, -1), tf.int32))
            return found._replace(
                at=end,
                going=found.progressive | (whole < tf.size(found.names)),
                file=tf.strings.join([found.file, segment, piece]),
                longer=tf.strings.join([found.longer, segment, piece, _MORE]),
                known=known,
                whole=whole,
                scans=found.scans + 1,
            )

        def begins_frame() -> _Found:
            names = content[at + 10 : after : 3]
            both = tf.cast(content[at + 11 : after : 3], tf.int32)[: tf.size(names)]
            return found._replace(
                file=found.file + segment,
                longer=found.longer + segment,
                size=tf.stack(
                    [
                        orientation_ops.number(content[at + 5 : at + 7], 2, False),
                        orientation_ops.number(content[at + 7 : at + 9], 2, False),
                    ]
                ),
                progressive=tf.reduce_any(tf.equal(marker, jpeg_picture.PROGRESSIVE)),
                names=names,
                sides=tf.stack([both % 16, both // 16], axis=1),
                known=tf.zeros_like(names, tf.int64),
            )

        def is_kept() -> _Found:
            said = orientation_ops.number(content[at + 4 : at + 6], 2, False)
            return found._replace(
                file=found.file + segment,
                longer=found.longer + segment,
                interval=tf.where(tf.equal(marker, 0xDD), said, found.interval),
            )

        def describes() -> _Found:
            said = orientation_ops.rest(segment, 4)
            is_exif = tf.equal(tf.strings.substr(said, 0, len(orientation.EXIF)), orientation.EXIF)
            is_xmp = tf.equal(tf.strings.substr(said, 0, len(_XMP)), _XMP) & ~is_exif
            # What does not fit into one segment goes on in the next.
            named = tf.where(tf.equal(found.exif, b""), 0, len(orientation.EXIF))
            exif = found.exif + orientation_ops.rest(said, named)
            return found._replace(
                exif=tf.where(is_exif, exif, found.exif),
                xmp=tf.where(is_xmp, orientation_ops.rest(said, len(_XMP)), found.xmp),
            )

        # In the order of `_kind`.
        ways = [lambda: found, ends, begins_scan, begins_frame, is_kept, describes]
        kinds = tf.constant([_kind(number) for number in range(256)])
        kind = tf.where(after > length, _kind(_ENDS[0]), tf.gather(kinds, marker))
        return (tf.switch_case(kind, ways),)

    begin = _nothing_found()
    shapes = tf.nest.map_structure(lambda tensor: tensor.shape, begin)._replace(
        names=tf.TensorShape([None]),
        sides=tf.TensorShape([None, 2]),
        known=tf.TensorShape([None]),
    )
    (found,) = tf.while_loop(lambda found: found.going, step, (begin,), (shapes,))
    count = tf.size(found.names)
    complete = (count > 0) & tf.equal(found.whole, count)
    asserted = tf.debugging.Assert(complete, [_MISSING])
    with tf.control_dependencies([asserted]):
        end = tf.constant(b"\xff\xd9")
        turned = orientation_ops.of(found.exif, found.xmp)
        file, longer = found.file + end, found.longer + end
        return Parts(file, longer, found.size, count, found.scans, turned)


def _kind(marker: int) -> int:
    """What a segment does by its marker: 0 what does not matter, 1 ends the picture, 2 begins a
    scan, 3 begins the frame, 4 is a part of the picture, 5 may say how it is turned."""
    kinds = (_ENDS, (jpeg_picture.SOS,), jpeg_picture.FRAMES, _KEPT, (0xE1,))
    return next((kind for kind, markers in enumerate(kinds, 1) if marker in markers), 0)


def decode(parts: Parts, halvings: tf.Tensor) -> tf.Tensor:
    """The pixels at a scale of 1, 1/2, 1/4 or 1/8.

    Args:
      parts: the file's picture and what is known of it, from `take_apart`.
      halvings: int32 scalar, 0 to 3.

    Returns:
      uint8 [h, w, 3], RGB, as stored.

    Raises:
      tf.errors.InvalidArgumentError: image data is missing at the end, or cannot be decoded.
    """
    image = _decode(parts.file, halvings)
    # Where data ends early the decoder fills the rest with gray; with several scans, or four
    # colours, the rest may have any colour.
    corner = tf.cast(image[-1, -1], tf.int32)
    doubtful = tf.reduce_all(tf.abs(corner - 128) <= 2) | (parts.scans > 1) | (parts.components > 3)
    same = tf.cond(
        doubtful,
        lambda: tf.reduce_all(tf.equal(image, _decode(parts.longer, halvings))),
        lambda: tf.constant(True),
    )
    asserted = tf.debugging.Assert(same, [_MISSING])
    with tf.control_dependencies([asserted]):
        return tf.identity(image)


def _decode(file: tf.Tensor, halvings: tf.Tensor) -> tf.Tensor:
    def at(ratio: int) -> Callable[[], tf.Tensor]:
        # The accurate transform is the converter's, and equals it to the bit.
        return lambda: tf.io.decode_jpeg(file, 3, ratio, dct_method="INTEGER_ACCURATE")

    return tf.switch_case(halvings, [at(ratio) for ratio in (1, 2, 4, 8)])


def _next(markers: tf.Tensor, at: tf.Tensor) -> tf.Tensor:
    """The first of some ascending places that is not before `at`; the last of them is the end."""
    return markers[tf.minimum(tf.searchsorted(markers, at[None])[0], tf.size(markers) - 1)]


def _without_fill(content: tf.Tensor) -> tf.Tensor:
    """The length of some bytes, uint8 [N], without those of 0xFF at their end."""

    def found() -> tf.Tensor:
        others = tf.cast(tf.where(tf.not_equal(content, 0xFF))[:, 0], tf.int32)
        return tf.reduce_max(tf.concat([others + 1, [0]], 0))

    ends = tf.reduce_any(tf.equal(content[-1:], 0xFF))
    return tf.cond(ends, found, lambda: tf.size(content))


def _units(size: tf.Tensor, sides: tf.Tensor, chosen: tf.Tensor) -> tf.Tensor:
    """The units of a scan: blocks where it has one component, else as many blocks as all have.

    Args:
      size: int32 [2], of the picture.
      sides: int32 [C, 2], rows and columns of blocks of each component in a unit.
      chosen: bool [C], the components of the scan.
    """
    most = tf.maximum(1, tf.reduce_max(tf.concat([sides, [[1, 1]]], 0), axis=0))
    alone = tf.equal(tf.reduce_sum(tf.cast(chosen, tf.int32)), 1)
    own = tf.reduce_max(tf.concat([tf.boolean_mask(sides, chosen), [[0, 0]]], 0), axis=0)
    pixels = tf.where(alone, (size * own + most - 1) // most, size)
    unit = tf.where(alone, 8, 8 * most)
    return tf.reduce_prod((pixels + unit - 1) // unit)


def _band(last: tf.Tensor, progressive: tf.Tensor) -> tf.Tensor:
    """The coefficients that a scan tells to the last bit, a bit each, by the end of its header."""
    first, final, bits = tf.unstack(tf.reshape(tf.cast(last, tf.int32), [3]))
    upto = tf.constant(_UPTO)
    whole = tf.gather(upto, tf.minimum(final, 63) + 1)
    band = tf.bitwise.bitwise_and(whole, tf.bitwise.invert(tf.gather(upto, tf.minimum(first, 63))))
    band = tf.where(tf.equal(bits % 16, 0), band, tf.zeros_like(band))
    return tf.where(progressive, band, -tf.ones_like(band))


def _check_restarts(numbers: tf.Tensor, interval: tf.Tensor, units: tf.Tensor) -> None:
    """Refuses restart markers of a scan, uint8 [N], that are out of order or too few."""
    wanted = tf.where(interval > 0, (units - 1) // tf.maximum(interval, 1), 0)
    given = tf.cast(numbers[:wanted], tf.int32) - 0xD0
    tf.debugging.Assert(tf.equal(tf.size(given), wanted), [_MISSING])
    ordered = tf.reduce_all(tf.equal(given, tf.range(tf.size(given)) % 8))
    tf.debugging.Assert(ordered, ["The JPEG is damaged: its restart markers are out of order."])
