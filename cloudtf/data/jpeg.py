"""JPEG files to pixels, at the smallest scale that will do.

Plain files are decoded as they are. What a decoder complains of is looked at closely: what does not
make the picture is left out, and where the picture is all there its pixels are those of the same
file without its oddities. Where it is not, the file is refused.
"""

from __future__ import annotations

import contextlib
import re
from typing import NamedTuple, Optional

import cv2
import numpy as np
import simplejpeg

from cloudtf.data import jpeg_codes, jpeg_picture, orientation, pixels
from cloudtf.errors import reason

# A progressive JPEG touches every pixel once a scan; usual files have about 10 scans.
MAX_SCANNED_PIXELS = 4_000_000_000

_SCAN_OR_END = re.compile(rb"\xff(?:\xda(?=[\x00-\xff]{2})|\xd9)", re.DOTALL)
_XMP = b"http://ns.adobe.com/xap/1.0/\0"
# OpenCV's names for scales of n/8.
_REDUCED = {
    1: cv2.IMREAD_REDUCED_COLOR_8,
    2: cv2.IMREAD_REDUCED_COLOR_4,
    4: cv2.IMREAD_REDUCED_COLOR_2,
    8: cv2.IMREAD_COLOR,
}
# The end of a file of which the last part was never written.
_UNWRITTEN = bytes(64) + b"\xff\xd9"


class Header(NamedTuple):
    """What is known of a JPEG before it is decoded."""

    marker: int  # Of its frame header.
    frame: int  # Where the content of its frame header begins.
    scan: int  # Where its first SOS segment begins.
    size: tuple[int, int]  # Rows and columns as stored.
    orientation: int  # 1 to 8; see `orientation.of`.


class Decoded(NamedTuple):
    """A decoded photograph.

    Attributes:
      image: the pixels as stored, uint8 [H, W, 3], RGB.
      orientation: which way up it is stored, 1 to 8 as in the Exif standard.
      extent: the rows and columns of `image` that are photograph, not always whole numbers.
      size: rows and columns of the whole photograph as stored.
    """

    image: np.ndarray
    orientation: int
    extent: tuple[float, float]
    size: tuple[int, int]


def read_header(data: bytes) -> Header:
    """The frame header of a JPEG, and its orientation.

    Raises:
      ValueError: the file ends before its image data, or has no frame header.
    """
    frame, kind, exif, xmp = 0, 0, b"", b""
    segment = jpeg_picture.next_segment(data, 2)
    while segment is not None:
        marker, start, end = segment
        if marker == jpeg_picture.SOS:
            break
        if marker in jpeg_picture.FRAMES:
            frame, kind = start, marker
        elif marker == 0xE1:  # APP1
            if data.startswith(orientation.EXIF, start):
                # What does not fit into one segment goes on in the next.
                exif += data[start + len(orientation.EXIF) if exif else start : end]
            elif data.startswith(_XMP, start):
                xmp = data[start + len(_XMP) : end]
        segment = jpeg_picture.next_segment(data, end)
    if not frame or segment is None or segment[2] > len(data):
        raise ValueError("the JPEG is truncated: it ends in its header")
    size = data[frame + 1] << 8 | data[frame + 2], data[frame + 3] << 8 | data[frame + 4]
    return Header(kind, frame, segment[1] - 4, size, orientation.of(exif, xmp))


def decode(data: bytes, min_height: int, min_width: int, memory: pixels.Memory) -> Decoded:
    """A JPEG at the smallest scale of n/8 that covers a size.

    Args:
      data: the bytes of the file.
      min_height: rows that the upright photograph has at least, if it has them in full.
      min_width: columns that it has at least, likewise.
      memory: gives the array to decode to, by its shape.

    Raises:
      ValueError: one phrase: too large, image data missing or damaged, of a kind that is not read.
    """
    header = read_header(data)
    height, width = header.size
    pixels.check_size(height, width)
    if header.marker in jpeg_picture.PROGRESSIVE or data[header.scan + 4] < data[header.frame + 5]:
        _check_scans(data, header)
    if header.orientation >= 5:
        min_height, min_width = min_width, min_height
    scale = scale_for(height, width, min_height, min_width)
    buffer = memory((*scaled(height, width, scale), 3))
    try:
        if data.endswith(_UNWRITTEN):
            raise ValueError("it ends with zeros")
        image = _strictly(data, min_height, min_width, buffer)
    except ValueError:
        image, scale = _closely(data, min_height, min_width, scale, buffer)
    while scale < 8 and scaled(height, width, scale + 1) == image.shape[:2]:
        scale += 1  # A few pixels are as many at several scales.
    # 427 rows at 3/8 are 160.125, in 161: taken for the whole, they would stretch the photograph.
    extent = height * scale / 8, width * scale / 8
    return Decoded(image, header.orientation, extent, header.size)


def scale_for(height: int, width: int, min_height: int, min_width: int) -> int:
    """The smallest n of 1 to 8 for which n/8 of a size has so many rows and columns; else 8."""
    if min_height <= 0 and min_width <= 0:
        return 8
    for scale in range(1, 8):
        rows, columns = scaled(height, width, scale)
        if rows >= min(min_height, height) and columns >= min(min_width, width):
            return scale
    return 8


def scaled(height: int, width: int, scale: int) -> tuple[int, int]:
    """The size that libjpeg gives an image at a scale of n/8."""
    return -(-height * scale // 8), -(-width * scale // 8)


def _check_scans(data: bytes, header: Header) -> None:
    """Refuses a JPEG of several scans of which some are missing, or that has thousands of them."""
    scans = []
    for match in _SCAN_OR_END.finditer(data, header.scan):
        start = match.end()
        if data[start - 1] == 0xD9:
            break
        scans.append(data[start + 2 : start + (data[start] << 8 | data[start + 1])])
    height, width = header.size
    if height * width * len(scans) > MAX_SCANNED_PIXELS:
        raise ValueError("the JPEG has far too many scans for its size")
    frame = jpeg_picture.read_frame(header.marker, data[header.frame : header.frame + 6 + 3 * 255])
    lacking = jpeg_picture.missing(frame, scans)
    if lacking:
        raise ValueError(f"the JPEG is truncated: image data is missing ({lacking})")


def _strictly(data: bytes, min_height: int, min_width: int, buffer: np.ndarray) -> np.ndarray:
    """Pixels if the decoder has nothing to complain of; ValueError with its words otherwise."""
    image = simplejpeg.decode_jpeg(data, min_height=min_height, min_width=min_width, buffer=buffer)
    if image.shape != buffer.shape:
        raise ValueError("it has another size than its header says")
    return image


def _closely(
    data: bytes, min_height: int, min_width: int, scale: int, buffer: np.ndarray
) -> tuple[np.ndarray, int]:
    """The pixels of a file that the decoder complained of, and their scale.

    Raises:
      ValueError: one phrase on what of its picture is not there.
    """
    picture = jpeg_picture.take_apart(data)
    if picture.frame.precision != 8:
        raise ValueError(f"the JPEG has {picture.frame.precision} bits a value; 8 are read")
    if len(picture.frame.components) not in (1, 3, 4):
        raise ValueError(
            f"the JPEG has {len(picture.frame.components)} colour components; 1, 3 and 4 are read"
        )
    with contextlib.suppress(ValueError):
        return _strictly(picture.file(), min_height, min_width, buffer), scale
    jpeg_codes.trim(picture)
    plain = picture.file()
    try:
        return _strictly(plain, min_height, min_width, buffer), scale
    except ValueError as error:
        # All of the picture is there: OpenCV's decoder knows more kinds of sampling.
        image, scale = _by_opencv(plain, scale)
        if image is None:
            raise ValueError(
                f"the JPEG is damaged, or of a kind that is not read ({reason(error, 80)})"
            ) from error
        return image, scale


def _by_opencv(data: bytes, scale: int) -> tuple[Optional[np.ndarray], int]:
    """The pixels at the next larger of the scales that OpenCV has, and that scale; None if it
    cannot decode them."""
    scale = next(known for known in _REDUCED if known >= scale)
    try:
        image = cv2.imdecode(np.frombuffer(data, np.uint8), _REDUCED[scale])
    except cv2.error:
        image = None
    return None if image is None else cv2.cvtColor(image, cv2.COLOR_BGR2RGB), scale
