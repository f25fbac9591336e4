"""TFRecord files and `tf.train.Example` written without TensorFlow.

Converting is decoding, resizing and encoding of JPEGs; loading TensorFlow would take longer than
converting several hundred photographs. The two formats are small and fixed: the record framing is
described in https://www.tensorflow.org/tutorials/load_data/tfrecord, the message in
tensorflow/core/example/example.proto and https://protobuf.dev/programming-guides/encoding.
"""

from __future__ import annotations

import functools
import struct
from typing import Mapping, Sequence, Union

import numpy as np

# Castagnoli's polynomial, bits reversed.
_POLYNOMIAL = 0x82F63B78
_MASK_DELTA = 0xA282EAD8
# Bytes that one table look-up pass of `crc32c` covers; the table (1 KB a byte) stays in L2.
_BLOCK = 256
_ROWS = np.arange(_BLOCK) * 256

# What `frame` adds to a record.
FRAME_BYTES = 16

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


def frame(record: bytes) -> bytes:
    """One record as it stands in a TFRecord file: length, its checksum, bytes, their checksum."""
    length = struct.pack("<Q", len(record))
    return b"".join((length, _masked(length), record, _masked(record)))


def crc32c(data: bytes) -> int:
    """The CRC-32C (Castagnoli) of `data`.

    Every byte's share of the checksum of a block depends only on its value and place, and the
    shares are joined by XOR, so that a whole message is one table look-up in numpy.
    """
    if len(data) < 4:
        padded = np.frombuffer(data, np.uint8)
        state = 0xFFFFFFFF
        for byte in padded.tolist():
            state = (state >> 8) ^ int(_byte_table()[(state ^ byte) & 0xFF])
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
    return struct.pack("<I", masked_crc32c(data))


@functools.cache
def _byte_table() -> np.ndarray:
    table = np.arange(256, dtype=np.uint32)
    for _ in range(8):
        table = np.where(table & 1, table >> 1 ^ np.uint32(_POLYNOMIAL), table >> 1)
    return table


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
