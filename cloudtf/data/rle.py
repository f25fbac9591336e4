"""Kaggle's run-length encoding of masks: `start length start length ...`.

Pixels are numbered from 1, down each column and then column by column from the left (column-major),
as in "Understanding Clouds from Satellite Images". Runs come in order and do not overlap; runs that
touch are allowed. The empty text is the empty mask.
"""

from __future__ import annotations

import struct
from typing import Optional

import numpy as np

from cloudtf.data import words

# Longer numbers cannot be positions in an image, and the sum of two of 18 digits fits an int64.
_MAX_DIGITS = 18
# Up to about this length plain Python is faster than numpy.
_SHORT = 300
# What a packed mask has in place of a step that is as long or longer.
_LONG = (1 << 16) - 1


# What stands for an empty mask in the cells of public sets: also `1 1`, the pixel in the corner,
# with which submissions are filled where a blank is not taken.
_EMPTY = frozenset(["-1", "-1.0", "0", "0 0", "1 1"])


def is_empty(text: str) -> bool:
    """Whether a cell holds no mask: blank, or what programs and people write in place of a blank.

    >>> [is_empty(text) for text in ("", "nan", "-1", "NULL", "1 1", "1 2")]
    [True, True, True, True, True, False]
    """
    return len(text) < 10 and (words.is_blank(text) or " ".join(text.split()) in _EMPTY)


def encode(mask: np.ndarray) -> str:
    """The runs of a mask.

    Args:
      mask: bool [H, W] (or numbers, where all but zero is inside).

    Raises:
      ValueError: `mask` is not two-dimensional.
    """
    mask = np.asarray(mask)
    if mask.ndim != 2:
        raise ValueError(f"a mask has two dimensions, not {mask.ndim}")
    padded = np.zeros(mask.size + 2, bool)
    padded[1:-1] = mask.astype(bool, copy=False).ravel(order="F")
    edges = np.flatnonzero(padded[1:] != padded[:-1])
    runs = edges.reshape(-1, 2)
    pairs = np.stack([runs[:, 0] + 1, runs[:, 1] - runs[:, 0]], axis=1)
    return " ".join(map(str, pairs.ravel().tolist()))


def decode(text: str, height: int, width: int) -> np.ndarray:
    """The mask that `text` encodes.

    Returns:
      bool [height, width], in column-major memory order.

    Raises:
      ValueError: `text` is malformed or does not fit the image; see `check`.
    """
    if height < 1 or width < 1:
        raise ValueError(f"an image of {height} x {width} pixels has no mask")
    starts, ends = runs(text, height * width)
    steps = np.zeros(height * width + 1, np.int8)
    # Starts are unique among themselves and so are ends, so each pixel is counted once; where one
    # run ends and the next begins at once, the two cancel.
    steps[starts] += 1
    steps[ends] -= 1
    return np.cumsum(steps[:-1], dtype=np.int8).view(bool).reshape(width, height).T


def check(text: str, num_pixels: Optional[int] = None, relative: bool = False) -> None:
    """Checks that `text` is a well-formed mask.

    Args:
      text: the runs, as whole numbers with spaces between them.
      num_pixels: height times width of the image; None if unknown.
      relative: each start counts from the end of the run before it, as some sets have it.

    Raises:
      ValueError: one phrase: a word that is no whole number, an odd count of numbers, a start or
        length under 1, runs that overlap or are out of order, a run beyond the image.
    """
    if relative:
        numbers = _paired(text)
        if numbers.size and (numbers.min() < 0 or numbers[:, 1].min() < 1):
            raise ValueError("has a run of no pixels")
        return
    # Only recognises sound masks; what is wrong with another is found in one place.
    steps = _steps(text) if len(text) <= _SHORT else None
    if steps is None or (num_pixels is not None and sum(steps) > num_pixels):
        runs(text, num_pixels)


def _steps(text: str) -> Optional[list[int]]:
    """The pixels outside before each run of a short mask, and those in it; None where the text is
    malformed or needs a closer look."""
    words = text.split()
    if not text.isascii() or len(words) % 2:
        return None
    end = 1
    steps: list[int] = []
    for start, length in zip(words[::2], words[1::2]):
        if not (start.isdigit() and length.isdigit()) or len(start + length) > _MAX_DIGITS:
            return None
        steps += (int(start) - end, int(length))
        if steps[-2] < 0 or steps[-1] < 1:
            return None
        end = int(start) + int(length)
    return steps


def runs(text: str, num_pixels: Optional[int]) -> tuple[np.ndarray, np.ndarray]:
    """The runs of a mask.

    Args:
      text: the mask; see `check`.
      num_pixels: height times width of the image; None if unknown.

    Returns:
      First pixels and one-past-last pixels, from 0: int64 [N] each.

    Raises:
      ValueError: `text` is malformed or does not fit the image.
    """
    numbers = _paired(text)
    starts, lengths = numbers[:, 0], numbers[:, 1]
    for name, values in (("start", starts), ("length", lengths)):
        if values.size and values.min() < 1:
            raise ValueError(f"run {int(values.argmin()) + 1} has {name} {values.min()}, under 1")
    ends = starts + lengths
    overlaps = np.flatnonzero(starts[1:] < ends[:-1])
    if overlaps.size:
        first = int(overlaps[0])
        raise ValueError(
            f"run {first + 2} starts at pixel {starts[first + 1]}, before run {first + 1} ends at "
            f"{ends[first] - 1}: runs must be in order and must not overlap"
        )
    if num_pixels is not None and ends.size and ends[-1] - 1 > num_pixels:
        raise ValueError(
            f"run {len(ends)} ends at pixel {ends[-1] - 1}, beyond the image's {num_pixels} pixels"
        )
    return starts - 1, ends - 1


def pack(text: str) -> bytes:
    """The runs of a mask in few bytes, four a run mostly: what `unpack` takes.

    Equal runs give equal bytes, however the text is spaced.

    Raises:
      ValueError: `text` is malformed; see `check`.
    """
    short = _steps(text) if len(text) <= _SHORT else None
    if short is not None and max(short, default=0) < _LONG:
        return len(short).to_bytes(4, "little") + struct.pack(f"<{len(short)}H", *short)
    steps = np.diff(np.stack(runs(text, None), axis=1).ravel(), prepend=0)
    # Of gaps and lengths nearly all are under 2^16; the others stand behind, in the same order.
    small = np.minimum(steps, _LONG).astype("<u2")
    count = len(steps).to_bytes(4, "little")
    return count + small.tobytes() + steps[steps >= _LONG].astype("<i8").tobytes()


def unpack(content: bytes) -> tuple[np.ndarray, np.ndarray]:
    """The runs in the bytes of `pack`, as `runs` gives them."""
    count = int.from_bytes(content[:4], "little")
    steps = np.frombuffer(content, "<u2", count, 4).astype(np.int64)
    if len(content) > 4 + 2 * count:
        steps[steps == _LONG] = np.frombuffer(content, "<i8", -1, 4 + 2 * count)
    edges = np.cumsum(steps)
    return edges[::2], edges[1::2]


def _paired(text: str) -> np.ndarray:
    """The numbers of a text as int64 [N, 2]."""
    numbers = _numbers(text)
    if len(numbers) % 2:
        raise ValueError(f"{len(numbers)} numbers cannot be paired as start and length")
    return numbers.reshape(-1, 2)


def _numbers(text: str) -> np.ndarray:
    """The whole numbers of a text, int64 [N]."""
    if text.isascii() and not text.isspace() and not text.encode().translate(None, b"0123456789 "):
        # Six times as fast as splitting, and there are several masks a photograph.
        numbers = np.fromstring(text, np.int64, sep=" ")
        if not numbers.size or numbers.max() < 10**_MAX_DIGITS:
            return numbers
    words = text.split()
    for word in words:
        if not (word.isascii() and word.isdigit()):
            shown = repr(word if len(word) <= 20 else word[:20] + "...")
            raise ValueError(f"{shown} is not a whole number of pixels")
        # Measured before converting: Python takes quadratic time for numbers of very many digits.
        if len(word.lstrip("0")) > _MAX_DIGITS:
            raise ValueError(f"the number {word[:_MAX_DIGITS]}... is far too large")
    return np.array([int(word.lstrip("0") or "0") for word in words], np.int64)
