"""A contact sheet: thumbnails with two lines under each."""

from __future__ import annotations

from typing import Any, Sequence

import numpy as np

from cloudtf.evaluation import fonts
from cloudtf.evaluation.drawing import GREY, plain, saved_figure


def draw(
    path: str,
    images: Sequence[np.ndarray],
    captions: Sequence[tuple[str, str]],
    title: str,
    columns: int = 6,
) -> None:
    """Draws a contact sheet, with two lines under each image.

    Args:
      path: the PNG file to write, local or remote.
      images: N arrays, uint8 [H, W, 3], all of one size.
      captions: N pairs of texts; the second one is smaller.
      title: the heading of the sheet, and the title in the file's metadata.
      columns: the images in a row.
    """
    height, width = images[0].shape[:2]
    gap, margin, below = 0.12, 0.25, 0.42
    cell_width = 1.7
    cell_height = cell_width * height / width
    columns = min(columns, max(4, len(images)))  # As wide as a title, at least.
    rows = -(-len(images) // columns)
    sheet_width = 2 * margin + columns * cell_width + (columns - 1) * gap
    sheet_height = 2 * margin + 0.35 + rows * (cell_height + below)
    with saved_figure(path, sheet_width, sheet_height, title, photographs=True) as figure:

        def write(left: float, top: float, text: str, **style: Any) -> None:
            place = left / sheet_width, top / sheet_height
            figure.text(*place, plain(text), va="top", family=fonts.families(text), **style)

        write(margin, sheet_height - margin, title, fontsize=12, weight="bold")
        for number, (image, (first, second)) in enumerate(zip(images, captions)):
            left = margin + number % columns * (cell_width + gap)
            top = sheet_height - margin - 0.35 - number // columns * (cell_height + below)
            place = (left, top - cell_height, cell_width, cell_height)
            whole = (sheet_width, sheet_height) * 2
            axes = figure.add_axes([part / of for part, of in zip(place, whole)])
            axes.imshow(image, aspect="auto", interpolation="antialiased")
            axes.set_axis_off()
            write(left, top - cell_height - 0.04, _cut(first, 25), fontsize=8)
            write(left, top - cell_height - 0.2, _cut(second, 33), fontsize=6, color=GREY)


def _cut(text: str, most: int) -> str:
    """A text of so many characters at most, without its middle if need be."""
    half = (most - 1) // 2
    return text if len(text) <= most else f"{text[:half]}…{text[-half:]}"
