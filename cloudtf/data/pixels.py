"""Arrays of pixels: how large they may be, how deep values become bytes, memory used again."""

from __future__ import annotations

import threading
from typing import Callable

import numpy as np

Memory = Callable[[tuple[int, int, int]], np.ndarray]  # An array of uint8 by its shape.

MAX_PIXELS = 200_000_000
MAX_SIDE = 65_500

LIMITS = f"at most {MAX_SIDE:,} a side and {MAX_PIXELS:,} in all"

# The mean colour of ImageNet's photographs, RGB: what stands where there is no picture.
FILL = (124, 116, 104)

# Bits that cameras and scanners give a value, of which PNG keeps those over 8 in 16.
DEPTHS = (8, 10, 12, 14, 16)

# Large arrays that each thread uses again for the next image: without, the pages that malloc gives
# back and takes anew cost as much as the resizing. Larger ones than this are not kept.
_scratch = threading.local()
_MAX_SCRATCH = 1 << 24


def check_size(height: int, width: int) -> None:
    """Refuses a size before anything is decoded, so that a small file cannot ask for all memory.

    Raises:
      ValueError: the size is 0, or larger than `MAX_SIDE` or `MAX_PIXELS`.
    """
    if not (0 < height <= MAX_SIDE and 0 < width <= MAX_SIDE and height * width <= MAX_PIXELS):
        raise ValueError(f"the image says it has {width} x {height} pixels; {LIMITS} are read")


def reused(name: str, shape: tuple[int, int, int]) -> np.ndarray:
    """An array of this thread, uint8 with any content; the same one at the next call if it fits."""
    size = shape[0] * shape[1] * shape[2]
    if size > _MAX_SCRATCH:
        return np.empty(shape, np.uint8)
    kept = getattr(_scratch, name, None)
    if kept is None or kept.size < size:
        kept = np.empty(size, np.uint8)
        setattr(_scratch, name, kept)
    return kept[:size].reshape(shape)


def depth_of(image: np.ndarray) -> int:
    """The bits of an image's values: the fewest of `DEPTHS` that hold the largest of them.

    >>> depth_of(np.array([[0, 3000]], np.uint16))
    12
    """
    largest = int(image.max(initial=0))
    return next(depth for depth in DEPTHS if largest < 1 << depth)


def to_bytes(image: np.ndarray) -> np.ndarray:
    """Values of 16 bits as bytes: of as many bits as the image uses, the upper 8.

    An image of 12 bits stored in 16 (0 to 4,095, as from a camera or an X-ray machine) comes out
    over the whole range of brightness, as one of 16 bits does. How many bits an image uses is told
    by its largest value; see `depth_of`.

    Args:
      image: uint16, of any shape.

    Returns:
      uint8, of the same shape.

    >>> to_bytes(np.array([0, 2048, 4095], np.uint16)).tolist()
    [0, 128, 255]
    >>> to_bytes(np.array([0, 2048, 65535], np.uint16)).tolist()
    [0, 8, 255]
    """
    return (image >> (depth_of(image) - 8)).astype(np.uint8)
