"""Which way up a photograph is stored: its Exif or XMP data, found where Pillow finds them."""

from __future__ import annotations

import re
import struct
from typing import Optional

import numpy as np

EXIF = b"Exif\0\0"
TAG = 0x0112  # Orientation, in TIFF and in CIPA DC-008 (Exif).

# Byte orders, and 42, which some write the wrong way round.
_HEADS = {b"II*\0": "<", b"II\0*": "<", b"MM\0*": ">", b"MM*\0": ">"}
# TIFF types: the length of a value, and how it is unpacked where it may be an orientation.
_SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4, 16: 8}
_FORMATS = {3: "H", 4: "I", 8: "h", 9: "i", 13: "I"}
_IN_XMP = re.compile(rb'tiff:Orientation(?:="|>)([0-9])')


def of(exif: bytes, xmp: bytes) -> int:
    """The orientation that a file's metadata state.

    Args:
      exif: a TIFF header with its directory, after `Exif\\0\\0` or not; empty if there is none.
      xmp: an XMP packet, which counts where the Exif data do not say; empty if there is none.

    Returns:
      1 to 8 as in the Exif standard; 1 (upright) where nothing or nonsense is stated.

    >>> of(b"", b'<rdf:Description tiff:Orientation="6"/>')
    6
    """
    value = _of_exif(exif)
    if value is None:
        match = _IN_XMP.search(xmp)
        value = int(match[1]) if match else 1
    return value if 1 <= value <= 8 else 1


def _of_exif(exif: bytes) -> Optional[int]:
    """Tag 0x0112 of the first directory; None where it is absent, 0 where it is no number."""
    for _ in range(2):  # Some write the name twice.
        if exif.startswith(EXIF):
            exif = exif[len(EXIF) :]
    order = _HEADS.get(exif[:4])
    if order is None:
        return None
    try:
        (directory,) = struct.unpack_from(order + "I", exif, 4)
        (count,) = struct.unpack_from(order + "H", exif, directory)
        for entry in range(directory + 2, directory + 2 + 12 * count, 12):
            tag, kind, length, offset = struct.unpack_from(order + "HHII", exif, entry)
            if tag == TAG and length and kind in _SIZES:
                # Values of more than four bytes are elsewhere.
                place = entry + 8 if length * _SIZES[kind] <= 4 else offset
                form = _FORMATS.get(kind)
                return int(struct.unpack_from(order + form, exif, place)[0]) if form else 0
    except struct.error:
        pass
    return None


def upright(image: np.ndarray, orientation: int) -> np.ndarray:
    """Undoes an orientation.

    Args:
      image: the pixels as stored, [H, W, channels].
      orientation: which way up it is stored, 1 to 8 as in the Exif standard.

    Returns:
      The pixels as they should be seen, C-contiguous; [W, H, channels] from orientation 5 on.
    """
    if orientation >= 5:
        image = image.transpose(1, 0, 2)
    # Where the first stored row and column belong: bottom and right are flipped back.
    if orientation in (3, 4, 7, 8):
        image = image[::-1]
    if orientation in (2, 3, 6, 7):
        image = image[:, ::-1]
    return np.ascontiguousarray(image)
