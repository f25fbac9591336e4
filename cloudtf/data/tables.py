"""A table of text: the header and the rows of a CSV, of JSON, or of values that are in memory.

Labels are read from a `Table`, whatever it was made of. Its rows can be gone through again, since
what kind of table it is shows in all of them.
"""

from __future__ import annotations

import ast
import dataclasses
import itertools
import json
import re
import warnings
from typing import Any, Callable, Iterable, Iterator, Optional, Sequence

from cloudtf import files
from cloudtf.data import json_rows
from cloudtf.data.csv_rows import Row, check_header, checked, open_rows, open_text
from cloudtf.errors import UsageError, UserError, param

# Rows that show which columns have objects in their cells.
_FIRST_ROWS = 1000
# A table of more columns has one for each class.
_MOST_COLUMNS = 1000


@dataclasses.dataclass(frozen=True)
class Table:
    """A header and rows of as many cells.

    Attributes:
      source: what messages call the table: the path of its file, or a phrase such as `the labels`.
      header: the name of each column, without spaces around it; no two are equal, but some may be
        empty.
      rows: begins anew at each call, and gives (number, cells); the header of a CSV is row 1.
      verbatim: whether cells such as `none` and `NA` are names like any other, not blank: true of
        folders, which people named; in tables programs write such words for a missing value.
    """

    source: str
    header: list[str]
    rows: Callable[[], Iterator[Row]]
    verbatim: bool = False


def from_file(path: str, encoding: Optional[str] = None, column_names: Sequence[str] = ()) -> Table:
    """The table in a file: JSON by its extension or first character, else a CSV.

    A cell of a CSV that is a JSON object becomes columns, as it would in JSON.

    Args:
      path: the table's file, which is read again each time that the rows of a CSV are asked for.
      encoding: the name of a codec; None: as the byte-order mark says, without one UTF-8.
      column_names: the header of a CSV that has none.

    Raises:
      UserError: the file or its header cannot be used; problems of rows are raised with the rows.
    """
    ending = path.lower().rpartition(".")[2]
    with open_text(path, encoding) as text:
        first = next(iter(text), "")
        if ending in ("json", "jsonl", "ndjson", "manifest") or re.match(r'\s*\{\s*"', first):
            if column_names:
                raise UsageError(f"{param('column_names')} is for a CSV, and {path} is JSON.")
            lines = itertools.chain([first], text)
            header, cells, numbers = json_rows.read(path, lines, ending in ("jsonl", "ndjson"))
            return from_rows(path, header, cells, numbers)

    def rows() -> Iterator[Row]:
        with open_rows(path, encoding, column_names) as (_, found):
            yield from found

    with open_rows(path, encoding, column_names) as (header, found):
        objects = _columns_of_objects(found) if len(header) <= _MOST_COLUMNS else set()
    table = Table(path, header, rows)
    return _without_objects(table, objects) if objects else table


def _columns_of_objects(rows: Iterator[Row]) -> set[int]:
    """The columns with cells that are JSON objects or lists of them, as the first rows show."""

    def is_object(cell: str) -> bool:
        try:
            return not isinstance(_parsed(cell), str)
        except files.NamedTwice:  # Which is told with its row, when that is read.
            return True

    found: set[int] = set()
    for _, cells in itertools.islice(rows, _FIRST_ROWS):
        found.update(i for i, cell in enumerate(cells) if is_object(cell))
    return found


def _parsed(cell: str) -> Any:
    """The object in a cell, or the list of objects, as JSON or Python writes it; the cell where it
    is neither.

    Raises:
      files.NamedTwice: the object gives a name twice.
    """
    if not re.match(r"""(\[\s*)?\{\s*["'}]""", cell):
        return cell
    try:
        found = files.parse_json(cell)
    except files.NamedTwice:
        raise
    except ValueError:
        found = _python_literal(cell)
    objects = found if isinstance(found, list) and found else [found]
    return found if all(isinstance(item, dict) for item in objects) else cell


def _python_literal(text: str) -> Any:
    """The value that Python writes so; None where it is none."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Of backslashes, as in a Windows path.
            tree = ast.parse(text, mode="eval")
        value = ast.literal_eval(tree)
    except (ValueError, TypeError, SyntaxError, RecursionError, MemoryError):
        return None
    for node in ast.walk(tree):
        if isinstance(node, ast.Dict):
            names = [ast.literal_eval(key) for key in node.keys if key is not None]
            if len(set(names)) < len(names):
                raise files.NamedTwice(next(name for name in names if names.count(name) > 1))
    return value


def _without_objects(table: Table, columns: set[int]) -> Table:
    """A table in which the objects in some columns have become columns."""

    def parsed(number: int, name: str, cell: str) -> Any:
        try:
            return _parsed(cell)
        except files.NamedTwice as error:
            raise UserError(
                f"{table.source} row {number}: the object in the column {name!r} cannot be read, "
                f"since {error}; give each name once."
            ) from error

    objects = (
        (
            number,
            {
                name: parsed(number, name, cell) if i in columns else cell
                for i, (name, cell) in enumerate(zip(table.header, cells))
            },
        )
        for number, cells in table.rows()
    )
    header, cells, numbers = json_rows.from_objects(table.source, objects)
    return from_rows(table.source, header, cells, numbers)


def from_rows(
    source: str,
    header: Sequence[Any],
    rows: Iterable[Sequence[Any]],
    numbers: Optional[Sequence[int]] = None,
) -> Table:
    """A table of values in memory, such as those of a pandas DataFrame.

    Args:
      source: what messages call the table, such as `the labels`.
      header: the names of the columns.
      rows: of values: text, numbers, truth values, None or NaN for a blank cell, or lists of them
        (the classes of an image). They are kept.
      numbers: what messages call the rows; None: from 2 on, as in a CSV.

    Raises:
      UserError: the header cannot be used; rows of another length raise it as they are taken.

    >>> rows = [["a.jpg", ["Fish", "Sugar"]], ["b.jpg", None]]
    >>> table = from_rows("labels", ["image", "classes"], rows)
    >>> list(table.rows())
    [(2, ['a.jpg', '["Fish", "Sugar"]']), (3, ['b.jpg', ''])]
    """
    names = [cell_text(name).strip() for name in header]
    check_header(source, names)
    kept = list(rows)
    called = range(2, len(kept) + 2) if numbers is None else numbers

    def numbered() -> Iterator[Row]:
        for number, cells in zip(called, kept):
            yield number, [cell_text(cell) for cell in cells]

    return Table(source, names, lambda: checked(source, names, numbered()))


def with_joined(table: Table, name: str) -> Table:
    """A table with a column more where `name` lists several of its columns: `folder,file`.

    Args:
      table: the table of labels, in which the parts are columns of their own.
      name: a column, or several separated by commas, whose cells become one path.

    >>> table = from_rows("labels", ["folder", "file"], [["cam1", "1.jpg"], ["", "2.jpg"]])
    >>> list(with_joined(table, "folder,file").rows())
    [(2, ['cam1', '1.jpg', 'cam1/1.jpg']), (3, ['', '2.jpg', '2.jpg'])]
    """
    parts = [part.strip() for part in name.split(",")]
    if name in table.header or len(parts) < 2 or not set(parts) <= set(table.header):
        return table
    at = [table.header.index(part) for part in parts]

    def rows() -> Iterator[Row]:
        for number, cells in table.rows():
            path = "/".join(cells[i].strip().strip("/") for i in at if cells[i].strip())
            yield number, [*cells, path]

    return Table(table.source, [*table.header, name], rows)


def melted(table: Table, names: Sequence[str], column: str, value: str) -> Table:
    """A table with a row for each cell of some columns, in the place of a row for all of them.

    Args:
      table: the table of labels.
      names: the columns to take apart.
      column: the name of the new column that has their names.
      value: the name of the new column that has their cells.

    >>> table = from_rows("labels", ["image", "cat", "dog"], [["a.jpg", "1 5", ""]])
    >>> apart = melted(table, ["cat", "dog"], "class", "mask")
    >>> apart.header, list(apart.rows())
    (['image', 'class', 'mask'], [(2, ['a.jpg', 'cat', '1 5']), (2, ['a.jpg', 'dog', ''])])
    """
    at = [table.header.index(name) for name in names]
    others = [i for i in range(len(table.header)) if i not in at]

    def rows() -> Iterator[Row]:
        for number, cells in table.rows():
            rest = [cells[i] for i in others]
            for name, i in zip(names, at):
                yield number, [*rest, name, cells[i]]

    return Table(table.source, [*(table.header[i] for i in others), column, value], rows)


def cell_text(value: Any) -> str:
    """A value as it stands in a CSV: blank for None and NaN, a list as JSON writes it."""
    if isinstance(value, str):
        return value
    if value is None:
        return ""
    if hasattr(value, "tolist"):  # NumPy's.
        value = value.tolist()
    if isinstance(value, (set, frozenset)):
        value = sorted(value, key=str)
    if isinstance(value, (list, tuple)):
        texts = [cell if isinstance(cell, (str, int, float)) else str(cell) for cell in value]
        return json.dumps(texts, ensure_ascii=False)
    if isinstance(value, float) and value != value:
        return ""
    return str(value)
