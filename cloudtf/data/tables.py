"""A table of text: the header and the rows of a CSV, or of rows that are in memory already.

Labels are read from a `Table`, whatever it was made of. Its rows can be gone through again, since
what kind of table it is shows in all of them.
"""

from __future__ import annotations

import dataclasses
import json
from typing import Any, Callable, Iterable, Iterator, Sequence

from cloudtf.data.csv_rows import Row, check_header, checked, open_rows


@dataclasses.dataclass(frozen=True)
class Table:
    """A header and rows of as many cells.

    Attributes:
      source: what messages call the table: the path of its file, or a phrase such as `the labels`.
      header: the name of each column, without spaces around it; no two are equal.
      rows: begins anew at each call, and gives (number, cells); the header is row 1.
    """

    source: str
    header: list[str]
    rows: Callable[[], Iterator[Row]]


def from_csv(path: str) -> Table:
    """The table in a CSV, which is read again each time that its rows are asked for.

    Raises:
      UserError: the file or its header cannot be used; problems of rows are raised with the rows.
    """

    def rows() -> Iterator[Row]:
        with open_rows(path) as (_, found):
            yield from found

    with open_rows(path) as (header, _):
        return Table(path, header, rows)


def from_rows(source: str, header: Sequence[Any], rows: Iterable[Sequence[Any]]) -> Table:
    """A table of values in memory, such as those of a pandas DataFrame.

    Args:
      source: what messages call it.
      header: the names of the columns.
      rows: of values: text, numbers, truth values, None or NaN for a blank cell, or lists of them
        (the classes of an image). They are kept.

    Raises:
      UserError: the header cannot be used; rows of another length are told of as they are taken.

    >>> rows = [["a.jpg", ["Fish", "Sugar"]], ["b.jpg", None]]
    >>> table = from_rows("labels", ["image", "classes"], rows)
    >>> list(table.rows())
    [(2, ['a.jpg', '["Fish", "Sugar"]']), (3, ['b.jpg', ''])]
    """
    names = [cell_text(name).strip() for name in header]
    check_header(source, names)
    kept = list(rows)

    def numbered() -> Iterator[Row]:
        for number, cells in enumerate(kept, 2):
            yield number, [cell_text(cell) for cell in cells]

    return Table(source, names, lambda: checked(source, names, numbered()))


def cell_text(value: Any) -> str:
    """A value as it stands in a CSV: blank for None and NaN, a list as JSON writes it."""
    if isinstance(value, str):
        return value
    if value is None:
        return ""
    if hasattr(value, "tolist"):  # NumPy's.
        value = value.tolist()
    if isinstance(value, (list, tuple, set, frozenset)):
        texts = [cell if isinstance(cell, (str, int, float)) else str(cell) for cell in value]
        return json.dumps(texts, ensure_ascii=False)
    if isinstance(value, float) and value != value:
        return ""
    return str(value)
