"""Photographs to small JPEGs: checked, decoded to RGB, resized, encoded.

The kind of file is told by its first bytes, never by its name. JPEG (gray, CMYK, progressive, EXIF
orientation) and PNG (palette, 16 bits, alpha, which is dropped) are understood. The declared size
is read before anything is decoded, so that a small file cannot ask for all the memory.
"""

from __future__ import annotations

import struct
import zlib

import cv2
import numpy as np
import simplejpeg

MAX_PIXELS = 200_000_000
MAX_SIDE = 65_500
# A progressive JPEG touches every pixel once a scan; usual files have about 10 scans.
MAX_SCANNED_PIXELS = 4_000_000_000

# The shrinking at which two steps are as good as an area mean; measured in benchmarks/convert.py.
_TWO_STEP = (1.5, 4.0)

_PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"


def convert_image(data: bytes, height: int, width: int, quality: int) -> bytes:
    """A photograph as an RGB JPEG of the given size.

    Args:
      data: the bytes of a JPEG or PNG file.
      height: rows of the result.
      width: columns.
      quality: of the JPEG, 1 to 100.

    Returns:
      The bytes of a 4:2:0 JPEG.

    Raises:
      ValueError: one phrase on what is wrong with `data`; see `decode`.
    """
    image = resize(decode(data, height, width), height, width)
    return simplejpeg.encode_jpeg(image, quality=quality, colorsubsampling="420")


def decode(data: bytes, min_height: int = 0, min_width: int = 0) -> np.ndarray:
    """The pixels of a JPEG or PNG, upright.

    Args:
      data: the bytes of the file.
      min_height: if given, a JPEG is decoded at the smallest scale (of n/8) with at least so many
        rows, which is much faster than in full; never enlarged.
      min_width: the same for columns.

    Returns:
      uint8 [H, W, 3], RGB.

    Raises:
      ValueError: one phrase: empty, neither JPEG nor PNG, too large, truncated or damaged.
    """
    if not data:
        raise ValueError("the file is empty")
    if data[:3] == b"\xff\xd8\xff":
        orientation, progressive = _jpeg_segments(data)
        size = (min_width, min_height) if orientation >= 5 else (min_height, min_width)
        image = _decode_jpeg(data, *size, progressive)
    elif data[:8] == _PNG_SIGNATURE:
        image, orientation = _decode_png(data)
    else:
        raise ValueError("the file is neither a JPEG nor a PNG")
    return _upright(image, orientation)


def resize(image: np.ndarray, height: int, width: int) -> np.ndarray:
    """`image` (uint8 [H, W, 3]) at another size: area means where it shrinks, linear where not."""
    rows, columns = image.shape[:2]
    low, high = _TWO_STEP
    if low * height <= rows <= high * height and low * width <= columns <= high * width:
        # To twice the size, where two pixels cover the step, then means of 2 x 2: within a grey
        # level of the area mean and 2.4 times as fast, as OpenCV has SIMD code for both steps.
        image = cv2.resize(image, (2 * width, 2 * height), interpolation=cv2.INTER_LINEAR)
        return cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA)
    smaller = (min(width, columns), min(height, rows))
    if smaller != (columns, rows):
        image = cv2.resize(image, smaller, interpolation=cv2.INTER_AREA)
    if smaller != (width, height):
        image = cv2.resize(image, (width, height), interpolation=cv2.INTER_LINEAR)
    return np.ascontiguousarray(image)


def _check_size(height: int, width: int) -> None:
    if not (0 < height <= MAX_SIDE and 0 < width <= MAX_SIDE and height * width <= MAX_PIXELS):
        raise ValueError(
            f"the image says it has {width} x {height} pixels; at most {MAX_SIDE:,} a side and "
            f"{MAX_PIXELS:,} in all are read"
        )


def _decode_jpeg(data: bytes, min_height: int, min_width: int, progressive: bool) -> np.ndarray:
    try:
        height, width = simplejpeg.decode_jpeg_header(data, strict=False)[:2]
    except ValueError as error:
        raise ValueError(f"the JPEG is damaged in its header ({_phrase(error)})") from error
    _check_size(height, width)
    if progressive and height * width * data.count(b"\xff\xda") > MAX_SCANNED_PIXELS:
        raise ValueError("the JPEG has far too many scans for its size")
    try:
        return simplejpeg.decode_jpeg(data, min_height=min_height, min_width=min_width)
    except ValueError as error:
        raise ValueError(f"the JPEG is truncated or damaged ({_phrase(error)})") from error


def _decode_png(data: bytes) -> tuple[np.ndarray, int]:
    """The pixels as stored, and the orientation."""
    orientation, position, name = 1, 8, b""
    # libpng as used by OpenCV lets some damage pass with only a note, so it is found here.
    while name != b"IEND":
        if position + 12 > len(data):
            raise ValueError("the PNG is truncated")
        length, name = struct.unpack_from(">I4s", data, position)
        end = position + 12 + length
        if end > len(data):
            raise ValueError("the PNG is truncated")
        if zlib.crc32(data[position + 4 : end - 4]) != int.from_bytes(data[end - 4 : end], "big"):
            raise ValueError("the PNG is damaged (a checksum does not agree)")
        if position == 8:
            if name != b"IHDR" or length != 13:
                raise ValueError("the PNG is damaged (it has no header)")
            width, height = struct.unpack_from(">II", data, 16)
            _check_size(height, width)
        if name == b"eXIf":
            orientation = _exif_orientation(data[position + 8 : end - 4])
        position = end
    flags = cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION
    try:
        image = cv2.imdecode(np.frombuffer(data, np.uint8), flags)
    except cv2.error:
        image = None
    if image is None:
        raise ValueError("the PNG is damaged")
    return cv2.cvtColor(image, cv2.COLOR_BGR2RGB), orientation


def _jpeg_segments(data: bytes) -> tuple[int, bool]:
    """EXIF orientation (1 to 8; 1 if there is none) and whether the JPEG is progressive."""
    orientation, position = 1, 2
    while position + 4 <= len(data) and data[position] == 0xFF:
        marker = data[position + 1]
        if marker == 0xFF:  # Fill byte.
            position += 1
            continue
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):  # The frame header.
            return orientation, marker in (0xC2, 0xC6, 0xCA, 0xCE)
        length = int.from_bytes(data[position + 2 : position + 4], "big")
        if marker == 0xE1 and data[position + 4 : position + 10] == b"Exif\0\0":
            orientation = _exif_orientation(data[position + 10 : position + 2 + length])
        position += 2 + max(length, 2)
    # Not walked through; libjpeg, which skips rubbish between segments, may still read it.
    return orientation, True


def _exif_orientation(tiff: bytes) -> int:
    """Tag 0x0112 of the first directory of a TIFF header; 1 where it is absent or nonsense."""
    order = {b"II*\0": "<", b"MM\0*": ">"}.get(tiff[:4])
    if order is None:
        return 1
    try:
        (directory,) = struct.unpack_from(order + "I", tiff, 4)
        (count,) = struct.unpack_from(order + "H", tiff, directory)
        for entry in range(directory + 2, directory + 2 + 12 * count, 12):
            tag, kind = struct.unpack_from(order + "HH", tiff, entry)
            if tag == 0x0112:
                value = struct.unpack_from(order + ("H" if kind == 3 else "I"), tiff, entry + 8)[0]
                return value if 1 <= value <= 8 else 1
    except struct.error:
        pass
    return 1


def _upright(image: np.ndarray, orientation: int) -> np.ndarray:
    """Undoes an EXIF orientation (CIPA DC-008, tag Orientation)."""
    if orientation >= 5:
        image = image.transpose(1, 0, 2)
    # Where the first stored row and column belong: bottom and right are flipped back.
    if orientation in (3, 4, 7, 8):
        image = image[::-1]
    if orientation in (2, 3, 6, 7):
        image = image[:, ::-1]
    return np.ascontiguousarray(image)


def _phrase(error: Exception) -> str:
    return " ".join(str(error).split())[:80].rstrip(".")
