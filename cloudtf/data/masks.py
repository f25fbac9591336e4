"""Small masks: where in the picture of a record each of its classes is, in 28 x 28 bits.

A bit is 1 where at least half of its cell is in the mask; of a mask that fills half of no cell, the
bit of the cell with most of it. All bits 0 means that the class is in the photograph but not where:
it had no mask, or one of another image size.
"""

from __future__ import annotations

from typing import Sequence

import numpy as np

from cloudtf.data import pixels, rle

SIDE = 28
# Of one class: rows of bits from the upper left, the first bit of a byte its highest.
NUM_BYTES = SIDE * SIDE // 8

# The class and the runs of each mask of a photograph, as `rle.pack` gives them.
Masks = Sequence[tuple[int, bytes]]


def encode(
    masks: Masks,
    label: np.ndarray,
    size: tuple[int, int],
    frame: tuple[float, float, float, float],
) -> bytes:
    """The small masks of the classes that a label has, one after the other.

    Args:
      masks: of the photograph, numbered by class; several of a class are taken together.
      label: [C], 1 for the classes that are present.
      size: rows and columns of the photograph, upright, which the masks are of.
      frame: the part of it that is the record's picture; see `aspect.frame`.

    Returns:
      98 bytes for each class that is present.
    """
    found = []
    for number in np.flatnonzero(label == 1).tolist():
        areas = np.zeros((SIDE, SIDE))
        for _, runs in (mask for mask in masks if mask[0] == number):
            try:
                areas += _areas(runs, size, frame)
            except ValueError:  # It is not of this photograph, or not of its full size.
                areas[:] = 0
                break
        bits = areas >= frame[2] * frame[3] / SIDE**2 / 2 - 1e-6
        if areas.any() and not bits.any():
            bits.flat[areas.argmax()] = True
        found.append(np.packbits(bits).tobytes())
    return b"".join(found)


def decode(content: bytes, label: Sequence[int]) -> np.ndarray:
    """The bits of `encode`: bool [C, 28, 28], False for classes that are not present.

    Args:
      content: the bytes of small masks, as `encode` gives them.
      label: [C], 1 for the classes that are present.

    Raises:
      ValueError: there are more bytes, or fewer, than the label asks for.
    """
    present = np.flatnonzero(np.asarray(label) == 1)
    if len(content) != NUM_BYTES * len(present):
        raise ValueError(
            f"its masks have {len(content)} bytes, {NUM_BYTES * len(present)} for "
            f"{len(present)} classes are right"
        )
    result = np.zeros((len(label), SIDE * SIDE), bool)
    bits = np.unpackbits(np.frombuffer(content, np.uint8))
    result[present] = bits.reshape(len(present), SIDE * SIDE)
    return result.reshape(-1, SIDE, SIDE)


def _areas(
    runs: bytes, size: tuple[int, int], frame: tuple[float, float, float, float]
) -> np.ndarray:
    """How many of the photograph's pixels of a mask are in each cell: float64 [28, 28].

    By its runs, of which a mask has about one a column, and not by its pixels: a tenth of a
    millisecond, where decoding the photograph takes four. ValueError: it reaches beyond the
    photograph.
    """
    rows, columns = size
    starts, ends = rle.unpack(runs)
    areas = np.zeros((SIDE, SIDE))
    if not len(ends):
        return areas
    if ends[-1] > rows * columns:
        raise ValueError("the mask is not of this photograph")
    column, top, bottom = _by_columns(starts, ends, rows)
    y, x, height, width = frame
    steps = np.arange(SIDE + 1) / SIDE
    edges = y + height * steps
    first = np.searchsorted(edges[1:], top.min(), "right")
    touched = slice(first, np.searchsorted(edges[:-1], bottom.max()))
    low, high = edges[:-1][touched, None], edges[1:][touched, None]
    # Of all columns before each, and of the part of one that an edge divides.
    shape = len(low), len(column) + 1
    before, outside = (
        pixels.reused("areas", (2 * shape[0], shape[1], 8)).view(np.float64).reshape(2, *shape)
    )
    before[:, 0] = 0
    inside, outside = before[:, 1:], outside[:, 1:]
    np.minimum(np.maximum(bottom, low, out=inside), high, out=inside)
    inside -= np.minimum(np.maximum(top, low, out=outside), high, out=outside)
    np.cumsum(inside, axis=1, out=inside)
    edges = np.clip(x + width * steps, 0, columns)
    whole = np.floor(edges).astype(np.int64)
    first_run, last_run = (np.searchsorted(column, whole, side) for side in ("left", "right"))
    part = edges - whole
    # Where no run is, exactly nothing is added.
    up_to = before[:, first_run] + (before[:, last_run] - before[:, first_run]) * part
    areas[touched] = np.diff(up_to, axis=1)
    return areas


def _by_columns(
    starts: np.ndarray, ends: np.ndarray, rows: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The column of each run, int64, and its first row and the one after its last, float64.

    A run may go on in the next columns; each column's part is one of its own.
    """
    column, last = starts // rows, (ends - 1) // rows
    if (last > column).any():
        parts = last - column + 1
        run = np.repeat(np.arange(len(starts)), parts)
        column = np.arange(len(run)) - np.repeat(np.cumsum(parts) - parts, parts) + column[run]
        starts, ends = starts[run], ends[run]
    top = np.maximum(starts - column * rows, 0)
    bottom = np.minimum(ends - column * rows, rows)
    return column, top.astype(np.float64), bottom.astype(np.float64)
