"""How a photograph gets the ratio of sides of the records: stretched, padded or cut.

Padded and cut photographs are resized as stretched ones are, to the size that fits inside or
covers the other, and then get borders, or lose them, on both sides. The functions here are copied
into the scripts of exported models: they need numpy alone.
"""

from __future__ import annotations

import numpy as np

from cloudtf.data.pixels import FILL

ASPECTS = ("stretch", "pad", "crop")
# How many times more elongated than the records a photograph may be that is to be cut.
MOST_ELONGATED = 64


def resized(rows: int, columns: int, height: int, width: int, aspect: str) -> tuple[int, int]:
    """The size to which a whole photograph is resized, before it is padded or cut.

    Args:
      rows: rows of the photograph, upright.
      columns: columns of the photograph, upright.
      height: rows of the result.
      width: columns of the result.
      aspect: `stretch`, `pad` or `crop`.

    Returns:
      Rows and columns, at least 1: those of the result, with `pad` one of them less, with `crop`
      one of them more.

    Raises:
      ValueError: the photograph is too elongated to be cut.

    >>> resized(1400, 2100, 224, 224, "pad"), resized(1400, 2100, 224, 224, "crop")
    ((149, 224), (224, 336))
    """
    if aspect == "stretch":
        return height, width
    wide, high = columns * height, rows * width
    if aspect == "crop" and max(wide, high) > MOST_ELONGATED * min(wide, high):
        raise ValueError("the image is too elongated to be cut; pad or stretch it")
    if (wide >= high) == (aspect == "pad"):
        height = max(1, (2 * rows * width + columns) // (2 * columns))
    else:
        width = max(1, (2 * columns * height + rows) // (2 * rows))
    return height, width


def frame(
    rows: int, columns: int, height: int, width: int, aspect: str
) -> tuple[float, float, float, float]:
    """The part of a photograph that becomes the picture of a record, in the photograph's pixels.

    Args:
      rows: rows of the photograph, upright.
      columns: columns of the photograph, upright.
      height: rows of the record's picture.
      width: columns of the record's picture.
      aspect: `stretch`, `pad` or `crop`.

    Returns:
      Its first row and column, which lie before the photograph where it is padded, its height and
      its width.

    >>> frame(100, 200, 50, 50, "crop"), frame(100, 200, 50, 50, "pad")
    ((0.0, 50.0, 100.0, 100.0), (-48.0, 0.0, 200.0, 200.0))
    """
    part = []
    for whole, size, target in zip(
        (rows, columns), resized(rows, columns, height, width, aspect), (height, width)
    ):
        before = max(0, size - target) // 2 - max(0, target - size) // 2
        part.append((before * whole / size, target * whole / size))
    (top, high), (left, wide) = part
    return top, left, high, wide


def fitted(image: np.ndarray, height: int, width: int) -> np.ndarray:
    """A photograph with borders of the mean colour, or without those that are too much.

    Args:
      image: uint8 [H, W, 3], as `resized` says.
      height: rows of the result.
      width: columns of the result.

    Returns:
      uint8 [height, width, 3], with the centre of `image` in its centre.
    """
    rows, columns = image.shape[:2]
    if (rows, columns) == (height, width):
        return image
    top, left = max(0, rows - height) // 2, max(0, columns - width) // 2
    image = image[top : top + height, left : left + width]
    result = np.empty((height, width, 3), np.uint8)
    result[:] = FILL
    top, left = max(0, height - rows) // 2, max(0, width - columns) // 2
    result[top : top + image.shape[0], left : left + image.shape[1]] = image
    return result
