"""Which column names the images, and whether there is a header above it at all."""

from __future__ import annotations

import re
from typing import Optional, Sequence

from cloudtf.data import words
from cloudtf.data.csv_rows import no_header
from cloudtf.data.image_names import ImageNames, Splitter, ends_like_an_image, has_extension
from cloudtf.data.layouts.survey import Column, is_index
from cloudtf.errors import UserError, param

# Cells that are looked at.
_SAMPLE = 100
# Columns whose scores differ by less are as good.
_MARGIN = 0.15


def image_column(
    source: str,
    columns: Sequence[Column],
    names: Optional[ImageNames],
    wanted: Optional[str] = None,
    labels: Sequence[str] = (),
) -> Column:
    """The column of the images' names: files that are there decide before names of columns.

    Args:
      source: what messages call the table: its path, mostly.
      columns: the columns among which it is.
      names: the image files that are there; None: not known.
      wanted: the name of the column, if the user has said it.
      labels: names of columns that the user has said are others.

    Raises:
      UserError: two are as good and name different images.
    """
    for column in columns:
        if column.name == wanted:
            return column
    columns = [column for column in columns if column.name not in labels]
    if not columns:
        raise UserError(
            f"{source} has no column left for the images' names; name it with "
            f"{param('image_column')}."
        )
    scores = [_score(column, names) for column in columns]
    order = sorted(range(len(columns)), key=lambda i: -scores[i])
    best = columns[order[0]]
    for i in order[1:]:
        other = columns[i]
        near = scores[order[0]] - scores[i] < _MARGIN and scores[i] > 0.5
        if near and names is not None and _differ(best, other, names):
            raise UserError(
                f"{source} names images in the columns {best.shown!r} and {other.shown!r}; say "
                f"which with {param('image_column')}."
            )
    return best


def _score(column: Column, names: Optional[ImageNames]) -> float:
    cells = _sample(column)
    there = 0.0
    if names is not None and cells:
        split = Splitter(names)
        whole = sum(names.knows(cell) for cell in cells)
        joined = sum(any(names.knows(image) for image, _ in split.ways(cell)) for cell in cells)
        there = max(whole, 0.9 * joined) / len(cells)
    ends = sum(ends_like_an_image(cell) for cell in cells) / max(1, len(cells))
    score = there + 0.5 * words.image_rank(column.name) + 0.3 * ends
    score += 0.1 * (column.index == 0)
    if words.label_rank(column.name) == 2:
        score -= 0.3
    # pandas' index counts rows; files may be called 0.jpg.
    if words.plain(column.name) in ("", "unnamed0", "index") and is_index(column):
        score -= 0.6
    return score


def _sample(column: Column) -> list[str]:
    cells = [cell for cell in column.first if not words.is_blank(cell)]
    return cells[:: max(1, len(cells) // _SAMPLE)][:_SAMPLE]


def _differ(one: Column, other: Column, names: ImageNames) -> bool:
    """Whether two columns that name files name different ones."""
    pairs = list(zip(one.first, other.first))[:_SAMPLE]
    found = [(names.anywhere(a), names.anywhere(b)) for a, b in pairs]
    return any(a and b and a != b for a, b in found)


def is_joined(column: Column, names: Optional[ImageNames]) -> bool:
    """Whether the cells are `IMAGE_CLASS` rather than the name of an image alone."""
    cells = _sample(column)
    if names is not None:
        split = Splitter(names)
        known = [names.knows(cell) or bool(names.of_folder_and_start(cell)) for cell in cells]
        whole = sum(known)
        joined = sum(
            not there and any(names.knows(image) for image, _ in split.ways(cell))
            for cell, there in zip(cells, known)
        )
        if whole or joined:
            return joined > whole
    split = Splitter(None)
    joined = sum(
        not has_extension(cell) and any(has_extension(i) for i, _ in split.ways(cell)[:1])
        for cell in cells
    )
    return 2 * joined > len(cells) or (words.is_image_and_class(column.name) and bool(cells))


def check_header(
    source: str, columns: Sequence[Column], image: Column, names: Optional[ImageNames]
) -> None:
    """Refuses a table whose first row is an image without extension rather than names of columns.

    Raises:
      UserError: saying by which cell it shows.
    """
    name = image.name
    if name and not words.image_rank(name) and not words.label_rank(name):
        there = names is not None and bool(
            names.matches(name) or any(names.matches(i) for i, _ in Splitter(names).ways(name))
        )
        shapes = {_shape(cell) for cell in _sample(image)}
        if there or (re.search(r"\d", name) and shapes == {_shape(name)}):
            raise no_header(source, name)
    nameless = [column for column in columns[1:] if not column.name and column.values]
    if columns[0].name and len(nameless) > 1 and len(nameless) == len(columns) - 1:
        raise UserError(
            f"{source} has nothing but {columns[0].name[:60]!r} in its first row, where the names "
            "of the columns should be; remove the rows above these."
        )
    if not any(c.isalpha() for column in columns for c in column.name):
        raise UserError(
            f"{source} has no header row that names its columns: it begins with "
            f"{', '.join(column.name for column in columns)[:60]!r}; name them, such as "
            f"{param(column_names=('image', 'label'))}."
        )


def _shape(text: str) -> str:
    """A text with 0 for every digit and a for every letter."""
    return "".join("0" if c.isdigit() else "a" if c.isalpha() else c for c in text)
