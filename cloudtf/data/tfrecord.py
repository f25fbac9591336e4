"""TFRecord files and `tf.train.Example` without TensorFlow: written, and walked frame by frame.

Converting is decoding, resizing and encoding of JPEGs; loading TensorFlow would take longer than
converting several hundred photographs. The two formats are small and fixed: the record framing is
described in https://www.tensorflow.org/tutorials/load_data/tfrecord, the message in
tensorflow/core/example/example.proto and https://protobuf.dev/programming-guides/encoding.
"""

from __future__ import annotations

import contextlib
import functools
import struct
from typing import BinaryIO, Callable, Iterator, Mapping, Optional, Sequence, Union

import numpy as np

# Castagnoli's polynomial, bits reversed.
_POLYNOMIAL = 0x82F63B78
_MASK_DELTA = 0xA282EAD8
# Not the package's own way without compiled code, which is slower than the one here.
_compiled: Optional[Callable[[bytes], int]] = None
with contextlib.suppress(ModuleNotFoundError):
    import google_crc32c

    if google_crc32c.implementation == "c":
        _compiled = google_crc32c.value

# Bytes that one table look-up pass covers; the table (1 KB a byte) stays in L2.
_BLOCK = 256
_ROWS = np.arange(_BLOCK) * 256
# Up to so many bytes a loop is faster than NumPy; the look-up needs 4 at least.
_SHORT = 16

# A record stands between its length with a checksum, and a checksum of its own.
_HEADER = struct.Struct("<QI")
_FOOTER = struct.Struct("<I")

Feature = Union[bytes, Sequence[int]]


def encode_example(features: Mapping[str, Feature]) -> bytes:
    """A serialised `tf.train.Example`, the same bytes for the same features.

    Args:
      features: name -> bytes (one bytes_list value) or integers (an int64_list). They are written
        in the order of their names: protobuf itself promises no order.
    """
    entries = []
    for name in sorted(features):
        value = features[name]
        if isinstance(value, bytes):
            feature = _field(1, _field(1, value))  # Feature.bytes_list.value
        else:
            packed = b"".join(_varint(int(number) & (1 << 64) - 1) for number in value)
            feature = _field(3, _field(1, packed))  # Feature.int64_list.value
        entries.append(_field(1, _field(1, name.encode()) + _field(2, feature)))
    return _field(1, b"".join(entries))


def bytes_of(record: bytes, name: str) -> bytes:
    """The bytes of one feature of a serialised `tf.train.Example`.

    >>> bytes_of(encode_example({"image/format": b"jpeg", "image/height": [64]}), "image/format")
    b'jpeg'

    Raises:
      ValueError: there is no such feature, or it holds no bytes.
    """
    try:
        for features in _values(record, 1):
            for entry in _values(features, 1):
                if next(_values(entry, 1)) == name.encode():
                    return next(_values(next(_values(next(_values(entry, 2)), 1)), 1))
    except (StopIteration, IndexError) as error:
        raise ValueError(f"it holds no bytes in {name}") from error
    raise ValueError(f"it has no {name}")


def frame(record: bytes) -> bytes:
    """One record as it stands in a TFRecord file: length, its checksum, bytes, their checksum."""
    length = struct.pack("<Q", len(record))
    return b"".join((length, _masked(length), record, _masked(record)))


def spans(file: BinaryIO, size: int) -> Iterator[tuple[int, int]]:
    """Where the frames of a TFRecord file stand; only their lengths are read.

    Args:
      file: open for reading at any place.
      size: the file's length in bytes.

    Yields:
      Offsets of the first byte of each frame and of the byte after its last, up to the first frame
      whose length does not have its checksum or that would end after `size`. Where the last end is
      not `size`, the file is damaged there.
    """
    start = 0
    while start + _HEADER.size <= size:
        file.seek(start)
        header = file.read(_HEADER.size)
        if len(header) < _HEADER.size:
            return
        length, checksum = _HEADER.unpack(header)
        end = start + _HEADER.size + length + _FOOTER.size
        if end > size or masked_crc32c(header[:8]) != checksum:
            return
        yield start, end
        start = end


def edge_crcs(file: BinaryIO, size: int) -> tuple[int, ...]:
    """The checksums that stand in a TFRecord file beside its first and its last record.

    Args:
      file: open for reading at any place; only some bytes at its two ends are read.
      size: the file's length in bytes.

    Returns:
      Two masked CRC-32C; nothing where the file does not begin with a whole record.
    """
    first = next(spans(file, size), None)
    if first is None:
        return ()
    crcs: list[int] = []
    for end in (first[1], size):
        file.seek(end - _FOOTER.size)
        crcs += _FOOTER.unpack(file.read(_FOOTER.size))
    return tuple(crcs)


def content(framed: bytes) -> bytes:
    """The record in a whole frame.

    Raises:
      ValueError: it does not have its checksum.
    """
    record = unchecked_content(framed)
    if framed[-_FOOTER.size :] != _masked(record):
        raise ValueError("it does not have its checksum")
    return record


def unchecked_content(framed: bytes) -> bytes:
    """The record in a whole frame of a file that has been checked otherwise."""
    return framed[_HEADER.size : -_FOOTER.size]


def crc32c(data: bytes) -> int:
    """The CRC-32C (Castagnoli) of `data`, by google-crc32c where that is installed."""
    return crc32c_by_tables(data) if _compiled is None else _compiled(data)


def crc32c_by_tables(data: bytes) -> int:
    """The same without compiled code, in some 50 times the time.

    Every byte's share of the checksum of a block depends only on its value and place, and the
    shares are joined by XOR, so that a whole message is one table look-up in numpy.
    """
    if len(data) <= _SHORT:
        state, steps = 0xFFFFFFFF, _byte_steps()
        for byte in data:
            state = (state >> 8) ^ steps[(state ^ byte) & 0xFF]
        return state ^ 0xFFFFFFFF
    blocks = -(-len(data) // _BLOCK)
    padded = np.zeros(blocks * _BLOCK, np.uint8)
    start = len(padded) - len(data)
    padded[start:] = np.frombuffer(data, np.uint8)
    # Zeros in front do not change a checksum that starts at zero; starting it at all ones is the
    # same as inverting the first four bytes.
    padded[start : start + 4] ^= 0xFF
    places, shift = _block_tables()
    at = padded.reshape(blocks, _BLOCK) + _ROWS
    shares = places.take(at, mode="wrap")  # Unlike "raise", makes no copy.
    state = 0
    zero, one, two, three = shift
    for share in np.bitwise_xor.reduce(shares, axis=1).tolist():
        state = share ^ (
            zero[state & 0xFF]
            ^ one[state >> 8 & 0xFF]
            ^ two[state >> 16 & 0xFF]
            ^ three[state >> 24]
        )
    return state ^ 0xFFFFFFFF


def masked_crc32c(data: bytes) -> int:
    """The checksum as TFRecord files hold it."""
    crc = crc32c(data)
    return ((crc >> 15 | crc << 17) + _MASK_DELTA) & 0xFFFFFFFF


def _masked(data: bytes) -> bytes:
    return _FOOTER.pack(masked_crc32c(data))


@functools.cache
def _byte_table() -> np.ndarray:
    table = np.arange(256, dtype=np.uint32)
    for _ in range(8):
        table = np.where(table & 1, table >> 1 ^ np.uint32(_POLYNOMIAL), table >> 1)
    return table


@functools.cache
def _byte_steps() -> list[int]:
    return _byte_table().tolist()


@functools.cache
def _block_tables() -> tuple[np.ndarray, list[list[int]]]:
    """The share of a byte at each place of a block, and the step of a state over a block."""

    def after_zero(state: np.ndarray) -> np.ndarray:
        return state >> 8 ^ _byte_table()[state & 0xFF]

    places = np.empty((_BLOCK, 256), np.uint32)
    places[-1] = _byte_table()
    for place in range(_BLOCK - 2, -1, -1):
        places[place] = after_zero(places[place + 1])
    shift = []
    for position in range(4):
        states = np.arange(256, dtype=np.uint32) << np.uint32(8 * position)
        for _ in range(_BLOCK):
            states = after_zero(states)
        shift.append(states.tolist())
    return places.ravel(), shift


def _values(message: bytes, number: int) -> Iterator[bytes]:
    """The contents of a message's length-delimited fields of one number; it has no others."""
    at = 0
    while at < len(message):
        tag, at = _number(message, at)
        length, at = _number(message, at)
        if tag == number << 3 | 2:
            yield message[at : at + length]
        at += length


def _number(message: bytes, at: int) -> tuple[int, int]:
    """The varint at a place, and the place after it."""
    value = shift = 0
    while True:
        byte = message[at]
        value |= (byte & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if byte < 0x80:
            return value, at


def _field(number: int, content: bytes) -> bytes:
    """A length-delimited protobuf field."""
    return _varint(number << 3 | 2) + _varint(len(content)) + content


def _varint(value: int) -> bytes:
    if value < 0x80:
        return bytes((value,))
    encoded = bytearray()
    while value >= 0x80:
        encoded.append(value & 0x7F | 0x80)
        value >>= 7
    encoded.append(value)
    return bytes(encoded)
