"""TIFF files to pixels: the first picture, of bytes or 16-bit values, in one band or three."""

from __future__ import annotations

import struct
from typing import Literal, NamedTuple

import cv2
import numpy as np

from cloudtf.data import other_kinds, pixels

# Tags (TIFF 6.0).
_SUBFILE, _WIDTH, _HEIGHT, _BITS, _PHOTOMETRIC = 254, 256, 257, 258, 262
_ORIENTATION, _SAMPLES, _PLANAR, _EXTRA, _FORMAT, _DNG = 274, 277, 284, 338, 339, 50706
# Photometric interpretations.
_MIN_IS_WHITE, _MIN_IS_BLACK, _RGB, _PALETTE, _CMYK = 0, 1, 2, 3, 5
# Types of values: how long, and how to unpack them.
_TYPES = {1: (1, "B"), 3: (2, "H"), 4: (4, "I"), 13: (4, "I"), 16: (8, "Q")}
# No picture has more values for a tag, or more tags.
_MOST_VALUES, _MOST_ENTRIES = 64, 4096
# From OpenCV 5 on it is in a module of its own.
_SET_LOG_LEVEL = getattr(cv2, "setLogLevel", None) or cv2.utils.logging.setLogLevel


class _Header(NamedTuple):
    width: int
    height: int
    bits: tuple[int, ...]
    bands: int
    extra: tuple[int, ...]
    photometric: int
    formats: tuple[int, ...]
    orientation: int
    planar: bool
    upright: bytes  # The file without its orientation, which some versions of OpenCV heed.


def decode(data: bytes) -> other_kinds.Decoded:
    """The first picture of a TIFF.

    Args:
      data: the bytes of the file.

    Raises:
      ValueError: one phrase: too large, damaged, a camera's raw file, or values or bands that are
        no photograph's.
    """
    header = _header(data)
    pixels.check_size(header.height, header.width)
    if set(header.formats) - {1}:
        raise ValueError(
            "the TIFF has values that are signed or floating-point; write it with values of 8 or "
            "16 bits from 0 up"
        )
    colours = header.bands - len(header.extra)
    alpha = [kind for kind in header.extra if kind in (1, 2)]
    if len(alpha) < len(header.extra) or (colours not in (1, 3) and header.photometric != _CMYK):
        raise ValueError(
            f"the TIFF has {header.bands} bands, and a photograph has 1 or 3; write the three to "
            "look at to a file of their own, such as with gdal_translate -b 4 -b 3 -b 2"
        )
    if max(header.bits) <= 8:
        return other_kinds.decode("TIFF", data)
    if set(header.bits) != {16} or header.photometric not in (_MIN_IS_WHITE, _MIN_IS_BLACK, _RGB):
        raise ValueError(
            f"the TIFF has values of {max(header.bits)} bits of a kind that is not read; write it "
            "with values of 8 or 16 bits, grey or RGB"
        )
    if header.planar and header.bands > 1:
        raise ValueError(
            "the TIFF has 16-bit bands that are stored apart; write them pixel by pixel, such as "
            "with gdal_translate -co INTERLEAVE=PIXEL"
        )
    return _deep(header)


def read_header(data: bytes) -> other_kinds.Header:
    """What a TIFF says of its first picture.

    Raises:
      ValueError: one phrase: too large, damaged, or a camera's raw file.
    """
    header = _header(data)
    pixels.check_size(header.height, header.width)
    colours = header.bands - len(header.extra)
    grey = colours == 1 and header.photometric != _PALETTE
    bands = 1 if grey else 4 if header.photometric == _CMYK else 3
    return other_kinds.Header((header.height, header.width), header.orientation, bands)


def _deep(header: _Header) -> other_kinds.Decoded:
    """A picture of 16-bit values, which Pillow does not read in colour."""
    _SET_LOG_LEVEL(0)  # What is wrong with a file is raised, not logged.
    try:
        image = cv2.imdecode(np.frombuffer(header.upright, np.uint8), cv2.IMREAD_UNCHANGED)
    except cv2.error:
        image = None
    if image is None or image.dtype != np.uint16:
        raise ValueError("the TIFF is damaged, or packed in a way that is not read")
    if header.photometric == _MIN_IS_WHITE:
        image = 65535 - image
    depth = pixels.depth_of(image if image.ndim == 2 else image[..., :3])
    small = pixels.to_bytes(image if image.ndim == 2 else image[..., :3])
    code = cv2.COLOR_GRAY2RGB if small.ndim == 2 else cv2.COLOR_BGR2RGB
    return other_kinds.Decoded(cv2.cvtColor(small, code), header.orientation, depth)


def _header(data: bytes) -> _Header:
    tags, places = _first_directory(data)
    if not tags.get(_WIDTH) or not tags.get(_HEIGHT):
        raise ValueError("the TIFF is damaged (it has no picture at its start)")
    if _DNG in tags or data[8:10] == b"CR" or tags.get(_SUBFILE, (0,))[0] & 1:
        raise ValueError("the file is a camera's raw file, or begins with a preview; develop it")
    bands = tags.get(_SAMPLES, (1,))[0]
    turned = tags.get(_ORIENTATION, (1,))[0]
    upright = bytearray(data)
    if _ORIENTATION in places:
        order: Literal["little", "big"] = "little" if data[:2] == b"II" else "big"
        at = places[_ORIENTATION]
        upright[at : at + 2] = (1).to_bytes(2, order)
    return _Header(
        tags[_WIDTH][0],
        tags[_HEIGHT][0],
        tags.get(_BITS, (1,)),
        bands,
        tags.get(_EXTRA, ())[:bands],
        tags.get(_PHOTOMETRIC, (_MIN_IS_BLACK,))[0],
        tags.get(_FORMAT, (1,)),
        turned if 1 <= turned <= 8 else 1,
        tags.get(_PLANAR, (1,))[0] == 2,
        bytes(upright),
    )


def _first_directory(data: bytes) -> tuple[dict[int, tuple[int, ...]], dict[int, int]]:
    """The whole numbers of the first directory by their tags, and where in the file they are.

    Nothing where there is no directory.
    """
    order = "<" if data[:2] == b"II" else ">"
    # Files with offsets of 8 bytes have larger entries.
    big = data[2:4] in (b"+\0", b"\0+")
    pointer, form, length, inline = ("Q", "HHQ", 20, 8) if big else ("I", "HHI", 12, 4)
    values: dict[int, tuple[int, ...]] = {}
    places: dict[int, int] = {}
    try:
        (directory,) = struct.unpack_from(order + pointer, data, 8 if big else 4)
        (count,) = struct.unpack_from(order + ("Q" if big else "H"), data, directory)
        first = directory + (8 if big else 2)
        for entry in range(first, first + length * min(count, _MOST_ENTRIES), length):
            tag, kind, number = struct.unpack_from(order + form, data, entry)
            if kind not in _TYPES or not 0 < number <= _MOST_VALUES:
                continue
            size, letter = _TYPES[kind]
            place = entry + length - inline
            if size * number > inline:
                (place,) = struct.unpack_from(order + pointer, data, place)
            values[tag] = struct.unpack_from(f"{order}{number}{letter}", data, place)
            places[tag] = place
    except (struct.error, OverflowError):
        return {}, {}
    return values, places
