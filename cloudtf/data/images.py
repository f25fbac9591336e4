"""Photographs to small JPEGs: checked, decoded to RGB, resized, encoded.

A file's kind is read from its first bytes, never from its name. JPEG and PNG are read by code of
this project, of any colours, depth and orientation; WebP, TIFF, BMP, GIF, AVIF and HEIC by Pillow.
Alpha is dropped; of several pictures in a file the first is taken. What is odd in a file but not in
its picture changes no pixel, a picture that is not whole is refused. The declared size is read
before anything is decoded, so that a small file cannot ask for all the memory.
"""

from __future__ import annotations

from typing import NamedTuple, Optional

import cv2
import numpy as np
import simplejpeg

from cloudtf.data import jpeg, kinds, likeness, orientation, other_kinds, pixels, png, tiff
from cloudtf.data.aspect import ASPECTS, fitted, resized

# Shrinking by between these, two steps are as good as one area mean; see `resize`.
TWO_STEP = (1.5, 4.0)


class Converted(NamedTuple):
    """A photograph made small.

    Attributes:
      encoded: the bytes of a 4:2:0 JPEG.
      depth: bits of a value as the photograph had it, 8 for fewer; see `pixels.depth_of`.
      sketch: the bytes of its sketch, uint8 [32, 32] (see `likeness.sketch`), if it was asked for.
      size: rows and columns of the photograph as it stands upright.
    """

    encoded: bytes
    depth: int
    sketch: bytes
    size: tuple[int, int]


def convert_image(
    data: bytes,
    height: int,
    width: int,
    quality: int,
    aspect: str = ASPECTS[0],
    with_sketch: bool = False,
) -> Converted:
    """A photograph as an RGB JPEG of the given size.

    Args:
      data: the bytes of a file of one of `kinds.READABLE`.
      height: rows of the result.
      width: columns of the result.
      quality: JPEG quality of the result, 1 to 100.
      aspect: how it gets the ratio of sides of the result, one of `ASPECTS`.
      with_sketch: whether to make the sketch too, by which copies of the photograph are found.

    Raises:
      ValueError: one phrase on what is wrong with `data`; see `decode`.
    """
    image, depth, size = _load(data, height, width, aspect)
    encoded = simplejpeg.encode_jpeg(image, quality=quality, colorsubsampling="420")
    sketch = likeness.sketch(image).tobytes() if with_sketch else b""
    return Converted(encoded, depth, sketch, size)


def load(data: bytes, height: int, width: int, aspect: str = ASPECTS[0]) -> np.ndarray:
    """The pixels of a photograph, upright, at the given size.

    A JPEG is decoded at the smallest scale (of n/8) that covers the size, which takes a fraction of
    the time, and of the memory, of decoding it in full.

    Args:
      data: the bytes of the file.
      height: rows of the result.
      width: columns of the result.
      aspect: how it gets the ratio of sides of the result, one of `ASPECTS`.

    Returns:
      uint8 [height, width, 3], RGB.

    Raises:
      ValueError: one phrase on what is wrong with `data`; see `decode`.
    """
    return _load(data, height, width, aspect).image


def upright_size(data: bytes) -> tuple[int, int]:
    """Rows and columns of a photograph as it stands upright, from the header of its file.

    Raises:
      ValueError: one phrase on what is wrong with the header.
    """
    if data[:2] == b"\xff\xd8":
        header = jpeg.read_header(data)
        size, turned = header.size, header.orientation
        pixels.check_size(*size)
    elif data[:8] == png.SIGNATURE:
        size, turned = png.read_header(data)
    else:
        other = _other_header(data)
        size, turned = other.size, other.orientation
    return _turned(size, turned)


def is_grey(data: bytes) -> bool:
    """Whether a photograph has one band (beside alpha), from the header of its file.

    Raises:
      ValueError: one phrase on what is wrong with the header.
    """
    if data[:2] == b"\xff\xd8":
        return data[jpeg.read_header(data).frame + 5] == 1
    if data[:8] == png.SIGNATURE:
        return data[25:26] in (b"\0", b"\4")
    return _other_header(data).bands == 1


def decode(data: bytes, min_height: int = 0, min_width: int = 0) -> np.ndarray:
    """The pixels of a photograph, upright.

    Args:
      data: the bytes of the file.
      min_height: if given, a JPEG is decoded at the smallest scale with at least so many rows. Its
        last row and column may then reach beyond the photograph; `load` makes up for that.
      min_width: the same for columns.

    Returns:
      uint8 [H, W, 3], RGB.

    Raises:
      ValueError: one phrase: empty, of another kind, too large, image data missing or damaged.
    """
    photograph = _read(data, min_height, min_width, _new)
    return orientation.upright(photograph.image, photograph.orientation)


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
                dst=pixels.reused("twice", (2 * height, 2 * width, 3)),
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
            dst=pixels.reused("twice", (2 * height, 2 * width, 3)),
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


class _Loaded(NamedTuple):
    image: np.ndarray
    depth: int
    size: tuple[int, int]  # Rows and columns of the photograph, upright.


def _load(data: bytes, height: int, width: int, aspect: str) -> _Loaded:
    """The pixels of a photograph as `load` gives them; it is decoded once."""
    whole = height, width
    if aspect != "stretch" and data[:2] == b"\xff\xd8":  # The scale depends on the size.
        whole = resized(*upright_size(data), height, width, aspect)
    photograph = _read(data, *whole, _scratch)
    image, turned = photograph.image, photograph.orientation
    size = _turned(photograph.size, turned)
    rows, columns = _turned(resized(*size, height, width, aspect), turned)
    small = resize(image, rows, columns, photograph.extent)
    # Where nothing was resized, the pixels are still those in the scratch array.
    small = small.copy() if np.shares_memory(small, image) else small
    return _Loaded(
        fitted(orientation.upright(small, turned), height, width), photograph.depth, size
    )


def _turned(size: tuple[int, int], turned: int) -> tuple[int, int]:
    """Rows and columns of a stored image upright, or the other way round."""
    return (size[1], size[0]) if turned >= 5 else size


class _Photograph(NamedTuple):
    image: np.ndarray  # As stored.
    orientation: int
    extent: tuple[float, float]  # How many rows and columns of `image` are photograph.
    size: tuple[int, int]  # Rows and columns at full scale, as stored.
    depth: int = 8


def _read(data: bytes, min_height: int, min_width: int, memory: pixels.Memory) -> _Photograph:
    if not data:
        raise ValueError("the file is empty")
    if data[:2] == b"\xff\xd8":
        decoded = jpeg.decode(data, min_height, min_width, memory)
        return _Photograph(decoded.image, decoded.orientation, decoded.extent, decoded.size)
    if data[:8] == png.SIGNATURE:
        image, turned, depth = png.decode(data)
    else:
        kind = _other_kind(data)
        image, turned, depth = (
            tiff.decode(data) if kind == "TIFF" else other_kinds.decode(kind, data)
        )
    size = image.shape[:2]
    return _Photograph(image, turned, size, size, depth)


def _other_header(data: bytes) -> other_kinds.Header:
    kind = _other_kind(data)
    return tiff.read_header(data) if kind == "TIFF" else other_kinds.read_header(kind, data)


def _other_kind(data: bytes) -> str:
    kind = kinds.kind_of(data)
    if kind not in kinds.READABLE:
        raise ValueError(kinds.refusal(data))
    return kind


def _scratch(shape: tuple[int, int, int]) -> np.ndarray:
    return pixels.reused("decoded", shape)


def _new(shape: tuple[int, int, int]) -> np.ndarray:
    return np.empty(shape, np.uint8)
