"""Whether one photograph is a copy of another, turned, flipped or cropped, from small images.

A sketch is a photograph in 32 x 32 grey pixels. Flips and turns change its cosine transform (as in
pHash) in the simplest way: signs, and rows for columns. What a crop keeps is compared by
transforming that part of the sketch alone, which `align` finds to a fraction of a pixel.
"""

from __future__ import annotations

import functools

import cv2
import numpy as np

SIDE = 32
# The symmetries of a square, as numbers: + 4 swaps rows and columns, then + 2 turns it upside down,
# and + 1 is a flip from left to right.
ORIENTATIONS = 8
# A part of a photograph: first row, height, first column, width, as shares of the whole. A copy may
# lack up to 5% of each side, so that one of these is never far from what it shows.
PARTS = np.array(
    [(0, 1, 0, 1)]
    + [(a, 0.95, b, 0.95) for a in (0, 0.025, 0.05) for b in (0, 0.025, 0.05)]
    + [(0.05, 0.9, 0.05, 0.9)],
    np.float32,
)
_MOST_CROPPED = 0.1  # Of a side, on each end.

# Cosines each way that are compared when two sketches are aligned.
_FINE = 12
# What two sketches may differ by after they are aligned, as squares of grey levels: a share of the
# structure, what re-encoding at a low quality changes, and a share of what is finer than these
# cosines, which resizing turns into something else.
_STRUCTURE, _NOISE, _FINER = 0.1**2, 0.3**2, 0.03

# The side of the colour images that are compared in the end, and the deviation that is allowed at
# each place there: in levels, a share of the slope (a tenth of a pixel), a share of the detail
# that resizing loses. No part of 5 x 5 pixels may be beyond `_BEYOND` times that.
_COLOUR_SIDE = 64
_LEVELS, _SLOPE, _DETAIL, _BEYOND = 2.0, 0.1, 0.25, 5.5


def sketch(image: np.ndarray) -> np.ndarray:
    """A photograph in few grey pixels.

    Args:
      image: uint8 [H, W, 3], RGB.

    Returns:
      uint8 [32, 32].
    """
    grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
    return cv2.resize(grey, (SIDE, SIDE), interpolation=cv2.INTER_AREA)


def cosines(low: np.ndarray, size: np.ndarray, count: int) -> np.ndarray:
    """The first cosines over a part of the sketch's side, as means over its pixels.

    Args:
      low: where the parts begin, as a share of the side, float32 of any shape S.
      size: their lengths, as shares of the side, of the same shape.
      count: the number of frequencies, from 0 on.

    Returns:
      float32 [*S, count, 32]: what a row of pixels is multiplied with for its coefficients.
    """
    edges = np.linspace(0, 1, SIDE + 1, dtype=np.float32)
    inside = np.clip((edges - low[..., None]) / size[..., None], 0, 1)[..., None, :]
    wave = np.arange(count, dtype=np.float32)[:, None] * np.float32(np.pi)
    integral = np.where(wave == 0, inside, np.sin(wave * inside) / np.where(wave == 0, 1, wave))
    return np.diff(integral, axis=-1) * np.where(wave == 0, np.float32(1), np.float32(2**0.5))


def oriented(coefficients: np.ndarray) -> np.ndarray:
    """The coefficients [..., U, U] of a sketch in all orientations: [..., 8, U, U]."""
    sign = (-1.0) ** np.arange(coefficients.shape[-1], dtype=np.float32)
    found = []
    for swapped in (coefficients, np.swapaxes(coefficients, -1, -2)):
        for rows in (swapped, swapped * sign[:, None]):
            found += [rows, rows * sign]
    return np.stack(found, axis=-3)


def structure(coefficients: np.ndarray) -> np.ndarray:
    """Coefficients [..., U * U] without what brightness and its slow change across a picture give.

    An even sky is nothing but that; so what two skies have in common is left out.
    """
    smooth = _smooth(round(coefficients.shape[-1] ** 0.5))
    return coefficients - (coefficients @ smooth.T) @ smooth


@functools.cache
def _smooth(count: int) -> np.ndarray:
    """The polynomials in x and y up to the second degree, orthonormal: [6, count * count]."""
    places = (np.arange(256) + 0.5) / 256
    waves = np.cos(np.pi * np.arange(count)[:, None] * places)
    waves *= np.where(np.arange(count)[:, None] == 0, 1, 2**0.5) / 256
    axis = [waves @ places**power for power in range(3)]
    products = [np.outer(axis[a], axis[b]).ravel() for a in range(3) for b in range(3 - a)]
    return np.linalg.qr(np.array(products).T)[0].T.astype(np.float32)


def align(
    sketches: np.ndarray, others: np.ndarray, parts: np.ndarray, orientations: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Which part of each photograph a possible copy shows, and whether it may be one.

    Two steps of Gauss and Newton from the part that is given, on the coefficients.

    Args:
      sketches: uint8 [N, 32, 32], the photographs.
      others: uint8 [N, 32, 32], their possible copies.
      parts: float32 [N, 4], about the part that a copy shows (see `PARTS`).
      orientations: [N], which orientation of the copy is compared, 0 to 7.

    Returns:
      The parts, float32 [N, 4], and bool [N]: whether the two sketches are alike there.
    """
    grey = sketches.astype(np.float32)
    whole = cosines(np.float32(0), np.float32(1), _FINE)
    copies = oriented(whole @ others.astype(np.float32) @ whole.T)
    copies = copies[np.arange(len(copies)), orientations].reshape(len(grey), -1)
    wanted = structure(copies)
    parts = parts.copy()
    for steps_left in (2, 1, 0):
        low, size = parts[:, 0::2], parts[:, 1::2]
        rows, columns = np.moveaxis(cosines(low, size, _FINE), 1, 0)
        columns = np.swapaxes(columns, 1, 2)
        by_columns = grey @ columns
        rest = wanted - structure((rows @ by_columns).reshape(len(grey), -1))
        if not steps_left:
            break
        step = np.float32(0.01)
        slopes = []  # Of each edge of the part, towards its middle.
        for moved in ((low + step, size - step), (low, size - step)):
            by_row, by_column = np.moveaxis(cosines(*moved, _FINE), 1, 0)
            slopes.append((by_row - rows) / step @ by_columns)
            slopes.append(rows @ grey @ np.swapaxes(by_column, 1, 2) / step)
            slopes[-1] -= rows @ by_columns / step
        slope = structure(np.stack([s.reshape(len(grey), -1) for s in slopes], axis=1))
        normal = slope @ np.swapaxes(slope, 1, 2)
        ridge = 1e-3 * (1 + np.trace(normal, axis1=1, axis2=2))
        normal += np.eye(4, dtype=np.float32) * ridge[:, None, None]
        moves = np.linalg.solve(normal, slope @ rest[..., None])[..., 0]
        moves = np.clip(moves, -0.03, 0.03)
        first = np.clip(low + moves[:, :2], 0, _MOST_CROPPED)
        last = np.clip(1 - low - size + moves[:, 2:], 0, _MOST_CROPPED)
        parts[:, 0::2], parts[:, 1::2] = first, 1 - first - last
    left, present = (rest**2).sum(axis=1), (wanted**2).sum(axis=1)
    finer = (others.astype(np.float32) ** 2).mean(axis=(1, 2)) - (copies**2).sum(axis=1)
    return parts, left <= _STRUCTURE * present + _NOISE + _FINER * finer


def is_copy(image: np.ndarray, other: np.ndarray, part: np.ndarray, orientation: int) -> bool:
    """Whether a photograph shows, place by place and in colour, what a part of another does.

    Args:
      image: uint8 [H, W, 3], the photograph.
      other: uint8 [H, W, 3], its possible copy.
      part: [4], the part of `image` that the copy shows (see `PARTS`).
      orientation: which orientation of the copy is compared, 0 to 7.
    """
    if orientation & 4:
        other = other.transpose(1, 0, 2)
    other = other[:: -1 if orientation & 2 else 1, :: -1 if orientation & 1 else 1]
    side = _COLOUR_SIDE
    other = cv2.resize(np.ascontiguousarray(other), (side, side), interpolation=cv2.INTER_AREA)
    image = cv2.resize(image, (2 * side, 2 * side), interpolation=cv2.INTER_AREA)
    top, height, left, width = (float(value) for value in part)
    place = [
        [2 * width, 0, 2 * side * left + width - 0.5],
        [0, 2 * height, 2 * side * top + height - 0.5],
    ]
    image = cv2.warpAffine(
        image,
        np.array(place),
        (side, side),
        flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
        borderMode=cv2.BORDER_REPLICATE,
    )
    one, two = image.astype(np.float32), other.astype(np.float32)
    plain_one, plain_two = cv2.GaussianBlur(one, (0, 0), 1), cv2.GaussianBlur(two, (0, 0), 1)
    mean = (plain_one + plain_two) / 2
    slope = sum(cv2.Sobel(mean, cv2.CV_32F, x, 1 - x, scale=1 / 8) ** 2 for x in (0, 1))
    detail = np.maximum((one - plain_one) ** 2, (two - plain_two) ** 2)
    allowed = _LEVELS**2 + _around(_SLOPE**2 * slope + _DETAIL**2 * detail)
    return bool((_around((plain_one - plain_two) ** 2) <= _BEYOND * allowed).all())


def _around(values: np.ndarray) -> np.ndarray:
    """Means over the colours and 5 x 5 pixels, without the picture's rim."""
    return cv2.blur(values.mean(axis=2), (5, 5))[1:-1, 1:-1]
