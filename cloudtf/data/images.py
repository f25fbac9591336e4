"""Photographs to small JPEGs: checked, decoded to RGB, resized, encoded.

The kind of file is told by its first bytes, never by its name. JPEG (gray, CMYK, progressive, EXIF
orientation) and PNG (palette, 16 bits, alpha, which is dropped) are understood. The declared size
is read before anything is decoded, so that a small file cannot ask for all the memory.
"""

from __future__ import annotations

import struct
import threading
import zlib
from typing import Optional

import cv2
import numpy as np
import simplejpeg

from cloudtf.errors import reason

MAX_PIXELS = 200_000_000
MAX_SIDE = 65_500
# A progressive JPEG touches every pixel once a scan; usual files have about 10 scans.
MAX_SCANNED_PIXELS = 4_000_000_000

# Shrinking by between these, two steps are as good as one area mean; see `resize`.
TWO_STEP = (1.5, 4.0)

# Large arrays that each thread uses again for the next image: without, the pages that malloc gives
# back and takes anew cost as much as the resizing. Larger ones than this are not kept.
_scratch = threading.local()
_MAX_SCRATCH = 1 << 24

_PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"


def convert_image(data: bytes, height: int, width: int, quality: int) -> bytes:
    """A photograph as an RGB JPEG of the given size.

    Args:
      data: the bytes of a JPEG or PNG file.
      height: rows of the result.
      width: columns of the result.
      quality: JPEG quality of the result, 1 to 100.

    Returns:
      The bytes of a 4:2:0 JPEG.

    Raises:
      ValueError: one phrase on what is wrong with `data`; see `decode`.
    """
    image = load(data, height, width)
    return simplejpeg.encode_jpeg(image, quality=quality, colorsubsampling="420")


def load(data: bytes, height: int, width: int) -> np.ndarray:
    """The pixels of a JPEG or PNG, upright, at the given size.

    A JPEG is decoded at the smallest scale (of n/8) that covers the size, which takes a fraction of
    the time, and of the memory, of decoding it in full.

    Args:
      data: the bytes of the file.
      height: rows of the result.
      width: columns of the result.

    Returns:
      uint8 [height, width, 3], RGB.

    Raises:
      ValueError: one phrase on what is wrong with `data`; see `decode`.
    """
    image, orientation, extent = _read(data, height, width, reuse=True)
    if orientation >= 5:
        height, width = width, height
    small = resize(image, height, width, extent)
    # Where nothing was resized, the pixels are still those in the scratch array.
    return _upright(small.copy() if np.shares_memory(small, image) else small, orientation)


def decode(data: bytes, min_height: int = 0, min_width: int = 0) -> np.ndarray:
    """The pixels of a JPEG or PNG, upright.

    Args:
      data: the bytes of the file.
      min_height: if given, a JPEG is decoded at the smallest scale with at least so many rows. Its
        last row and column may then reach beyond the photograph; `load` makes up for that.
      min_width: the same for columns.

    Returns:
      uint8 [H, W, 3], RGB.

    Raises:
      ValueError: one phrase: empty, neither JPEG nor PNG, too large, truncated or damaged.
    """
    image, orientation, _ = _read(data, min_height, min_width, reuse=False)
    return _upright(image, orientation)


def resize(
    image: np.ndarray, height: int, width: int, extent: Optional[tuple[float, float]] = None
) -> np.ndarray:
    """An image at another size: means where it shrinks, linear where it grows.

    Args:
      image: uint8 [H, W, 3].
      height: rows of the result.
      width: columns of the result.
      extent: the part of `image` to take, from its upper left corner: rows and columns, not always
        whole. All of it if None.

    Returns:
      uint8 [height, width, 3].
    """
    rows, columns = extent or image.shape[:2]
    shrinking = (rows / height, columns / width)
    if extent and extent != image.shape[:2]:
        if min(shrinking) > 1 and max(shrinking) <= TWO_STEP[1]:
            # To twice the size by exact positions, then means of 2 x 2.
            step_y, step_x = shrinking[0] / 2, shrinking[1] / 2
            positions = np.array([[step_x, 0, step_x / 2 - 0.5], [0, step_y, step_y / 2 - 0.5]])
            image = cv2.warpAffine(
                image,
                positions,
                (2 * width, 2 * height),
                dst=_reused("twice", (2 * height, 2 * width, 3)),
                flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
                borderMode=cv2.BORDER_REPLICATE,
            )
            return cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA)
        image = image[: max(1, round(rows)), : max(1, round(columns))]
    elif TWO_STEP[0] <= min(shrinking) and max(shrinking) <= TWO_STEP[1]:
        # The same for whole sizes, 2.4 times as fast as an area mean of any ratio: OpenCV has SIMD
        # code for both steps.
        image = cv2.resize(
            image,
            (2 * width, 2 * height),
            dst=_reused("twice", (2 * height, 2 * width, 3)),
            interpolation=cv2.INTER_LINEAR,
        )
        return cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA)
    rows, columns = image.shape[:2]
    smaller = (min(width, columns), min(height, rows))
    if smaller != (columns, rows):
        image = cv2.resize(image, smaller, interpolation=cv2.INTER_AREA)
    if smaller != (width, height):
        image = cv2.resize(image, (width, height), interpolation=cv2.INTER_LINEAR)
    return np.ascontiguousarray(image)


def _reused(name: str, shape: tuple[int, int, int]) -> np.ndarray:
    """An array of this thread with any content, the same one at the next call where it fits."""
    size = shape[0] * shape[1] * shape[2]
    if size > _MAX_SCRATCH:
        return np.empty(shape, np.uint8)
    kept = getattr(_scratch, name, None)
    if kept is None or kept.size < size:
        kept = np.empty(size, np.uint8)
        setattr(_scratch, name, kept)
    return kept[:size].reshape(shape)


def _read(
    data: bytes, min_height: int, min_width: int, reuse: bool
) -> tuple[np.ndarray, int, tuple[float, float]]:
    """The pixels as stored, the orientation, and how many rows and columns are photograph."""
    if not data:
        raise ValueError("the file is empty")
    if data[:3] == b"\xff\xd8\xff":
        return _decode_jpeg(data, min_height, min_width, reuse)
    if data[:8] == _PNG_SIGNATURE:
        image, orientation = _decode_png(data)
        return image, orientation, image.shape[:2]
    raise ValueError("the file is neither a JPEG nor a PNG")


def _check_size(height: int, width: int) -> None:
    if not (0 < height <= MAX_SIDE and 0 < width <= MAX_SIDE and height * width <= MAX_PIXELS):
        raise ValueError(
            f"the image says it has {width} x {height} pixels; at most {MAX_SIDE:,} a side and "
            f"{MAX_PIXELS:,} in all are read"
        )


def _decode_jpeg(
    data: bytes, min_height: int, min_width: int, reuse: bool
) -> tuple[np.ndarray, int, tuple[float, float]]:
    """See `_read`; at the smallest scale that covers the size when upright.

    With `reuse` the pixels are valid until the next call in the same thread.
    """
    orientation, frame = _jpeg_segments(data)
    kind, _, height, width = struct.unpack_from(">xBHxHH", data, frame)
    _check_size(height, width)
    progressive = kind in (0xC2, 0xC6, 0xCA, 0xCE)
    if progressive and height * width * data.count(b"\xff\xda") > MAX_SCANNED_PIXELS:
        raise ValueError("the JPEG has far too many scans for its size")
    if orientation >= 5:
        min_height, min_width = min_width, min_height
    try:
        size = {"min_height": min_height, "min_width": min_width}
        rows, columns = simplejpeg.decode_jpeg_header(data, **size)[:2]
        buffer = _reused("decoded", (rows, columns, 3)) if reuse else None
        image = simplejpeg.decode_jpeg(data, **size, buffer=buffer)
    except (ValueError, KeyError) as error:  # KeyError: a colour space it does not know.
        raise ValueError(f"the JPEG is truncated or damaged ({reason(error, 80)})") from error
    # 427 rows at 3/8 are 160.125, in 161: taken for the whole, they would stretch the photograph.
    fits = (n for n in range(8, 0, -1) if _scaled(height, width, n) == (rows, columns))
    scale = next(fits, 8) / 8
    return image, orientation, (height * scale, width * scale)


def _scaled(height: int, width: int, eighths: int) -> tuple[int, int]:
    """The size that libjpeg gives an image at a scale of n/8."""
    return -(-height * eighths // 8), -(-width * eighths // 8)


def _decode_png(data: bytes) -> tuple[np.ndarray, int]:
    """The pixels as stored, and the orientation."""
    orientation, position, name = 1, 8, b""
    pixels = []
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
        if name == b"IDAT":
            pixels.append(data[position + 8 : end - 4])
        if name == b"eXIf":
            orientation = _exif_orientation(data[position + 8 : end - 4])
        position = end
    _check_stream(pixels, 9 * width * height + 1024)
    flags = cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION
    try:
        image = cv2.imdecode(np.frombuffer(data, np.uint8), flags)
    except cv2.error:
        image = None
    if image is None:
        raise ValueError("the PNG is damaged")
    return cv2.cvtColor(image, cv2.COLOR_BGR2RGB), orientation


def _check_stream(pieces: list[bytes], longest: int) -> None:
    """Unpacks the pixels of a PNG, of which `longest` bytes are more than any has, to check them.

    Raises:
      ValueError: they are cut off or do not agree with their checksum, or go on beyond the image.
    """
    stream, length = zlib.decompressobj(), 0
    try:
        for piece in pieces:
            while piece and not stream.eof:
                length += len(stream.decompress(piece, 1 << 20))
                if length > longest:
                    raise ValueError("the PNG is damaged (it holds more than its pixels)")
                piece = stream.unconsumed_tail
        length += len(stream.flush())
    except zlib.error as error:
        raise ValueError("the PNG is damaged (its pixels cannot be unpacked)") from error
    if not stream.eof:
        raise ValueError("the PNG is truncated")


def _jpeg_segments(data: bytes) -> tuple[int, int]:
    """The EXIF orientation (1 to 8; 1 if there is none) and where the frame header begins.

    Raises:
      ValueError: the segments do not lead to a whole frame header.
    """
    orientation, position = 1, 2
    while position + 9 <= len(data) and data[position] == 0xFF:
        marker = data[position + 1]
        if marker == 0xFF:  # Fill byte.
            position += 1
            continue
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):
            return orientation, position
        length = int.from_bytes(data[position + 2 : position + 4], "big")
        if marker == 0xE1 and data[position + 4 : position + 10] == b"Exif\0\0":
            orientation = _exif_orientation(data[position + 10 : position + 2 + length])
        if length < 2:
            break
        position += 2 + length
    raise ValueError("the JPEG is truncated or damaged in its header")


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
