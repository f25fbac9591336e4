"""PNG files to pixels: checked whole, turned as their metadata say, deep values made bytes."""

from __future__ import annotations

import re
import struct
import zlib
from typing import NamedTuple

import cv2
import numpy as np

from cloudtf.data import orientation, pixels

SIGNATURE = b"\x89PNG\r\n\x1a\n"

# What makes the pixels of a still image. The rest is not given to libpng, which warns of bad colour
# profiles on stderr, and to OpenCV, which would play an animation.
_PIXELS = (b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND")
# A longer text is no orientation.
_MAX_TEXT = 1 << 20


class Decoded(NamedTuple):
    """A decoded photograph.

    Attributes:
      image: the pixels as stored, uint8 [H, W, 3], RGB.
      orientation: which way up it is stored, 1 to 8 as in the Exif standard.
      depth: bits of a value as it was stored, 8 for fewer; see `pixels.depth_of`.
    """

    image: np.ndarray
    orientation: int
    depth: int


def decode(data: bytes) -> Decoded:
    """A PNG; of an animation its still image.

    Args:
      data: the bytes of the file.

    Raises:
      ValueError: one phrase: too large, truncated or damaged.
    """
    chunks = _chunks(data)
    width, height = struct.unpack_from(">II", data, 16)
    # libpng as used by OpenCV lets some damage pass with only a note, so it is found here.
    stream = [data[chunk.start : chunk.end] for chunk in chunks if chunk.name == b"IDAT"]
    _check_stream(stream, 9 * width * height + 1024)
    turned = _orientation(data, chunks)
    if any(chunk.name not in _PIXELS for chunk in chunks):
        kept = [data[c.start - 8 : c.end + 4] for c in chunks if c.name in _PIXELS]
        data = b"".join([SIGNATURE, *kept])
    deep = data[24] == 16
    flags = cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION
    try:
        image = cv2.imdecode(
            np.frombuffer(data, np.uint8), flags | (cv2.IMREAD_ANYDEPTH if deep else 0)
        )
    except cv2.error:
        image = None
    if image is None:
        raise ValueError("the PNG is damaged")
    depth = pixels.depth_of(image) if deep else 8
    image = cv2.cvtColor(pixels.to_bytes(image) if deep else image, cv2.COLOR_BGR2RGB)
    return Decoded(image, turned, depth)


def read_header(data: bytes) -> tuple[tuple[int, int], int]:
    """Rows and columns of a PNG as stored, and its orientation, 1 to 8.

    Raises:
      ValueError: the file is truncated or damaged, or its picture too large.
    """
    chunks = _chunks(data)
    width, height = struct.unpack_from(">II", data, 16)
    return (height, width), _orientation(data, chunks)


class _Chunk(NamedTuple):
    name: bytes
    start: int  # Of its content.
    end: int


def _chunks(data: bytes) -> list[_Chunk]:
    """The chunks of a file, once their checksums agree."""
    chunks: list[_Chunk] = []
    position, name = len(SIGNATURE), b""
    while name != b"IEND":
        if position + 12 > len(data):
            raise ValueError("the PNG is truncated")
        length, name = struct.unpack_from(">I4s", data, position)
        end = position + 12 + length
        if end > len(data):
            raise ValueError("the PNG is truncated")
        if zlib.crc32(data[position + 4 : end - 4]) != int.from_bytes(data[end - 4 : end], "big"):
            raise ValueError("the PNG is damaged (a checksum does not agree)")
        if not chunks:
            if name != b"IHDR" or length != 13:
                raise ValueError("the PNG is damaged (it has no header)")
            width, height = struct.unpack_from(">II", data, position + 8)
            pixels.check_size(height, width)
        chunks.append(_Chunk(name, position + 8, end - 4))
        position = end
    return chunks


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


def _orientation(data: bytes, chunks: list[_Chunk]) -> int:
    """The orientation in an eXIf chunk, or in a text: as ImageMagick writes Exif data, or XMP."""
    texts: dict[bytes, bytes] = {}
    for name, start, end in chunks:
        if name == b"eXIf":
            texts[b"exif"] = data[start:end]
        elif name in (b"tEXt", b"zTXt", b"iTXt"):
            keyword, text = _text(name, data[start:end])
            texts[keyword] = text
    if not texts:
        return 1
    exif = texts.get(b"exif", b"")
    for kind in (b"exif", b"APP1"):
        exif = exif or _profile(texts.get(b"Raw profile type " + kind, b""))
    return orientation.of(exif, texts.get(b"XML:com.adobe.xmp", texts.get(b"xmp", b"")))


def _text(name: bytes, body: bytes) -> tuple[bytes, bytes]:
    """Keyword and text of a chunk of text; no text where it is damaged or very long."""
    keyword, _, text = body.partition(b"\0")
    packed = name == b"zTXt"
    if packed:
        text = text[1:]  # The way of packing; there is one.
    elif name == b"iTXt":
        packed = text[:1] == b"\1"
        text = text[2:].partition(b"\0")[2].partition(b"\0")[2]  # Behind language and translation.
    if packed:
        try:
            text = zlib.decompressobj().decompress(text, _MAX_TEXT)
        except zlib.error:
            text = b""
    return keyword, text


def _profile(text: bytes) -> bytes:
    """The bytes in a raw profile: a line with its name, one with its length, then hexadecimal."""
    match = re.match(rb"\s*\S+\s+\d+\s+([0-9a-fA-F\s]*)", text)
    digits = b"".join(match[1].split()) if match else b""
    return bytes.fromhex(digits.decode()) if len(digits) % 2 == 0 else b""
