"""A table of text: the header and the rows of a CSV, of JSON, or of values that are in memory.

Labels are read from a `Table`, whatever it was made of. Its rows can be gone through again, since
what kind of table it is shows in all of them.
"""

from __future__ import annotations

import dataclasses
import json
from typing import Any, Callable, Iterable, Iterator, Optional, Sequence

from cloudtf.data.csv_rows import Row, check_header, checked, open_rows, open_text
from cloudtf.errors import UserError


@dataclasses.dataclass(frozen=True)
class Table:
    """A header and rows of as many cells.

    Attributes:
      source: what messages call the table: the path of its file, or a phrase such as `the labels`.
      header: the name of each column, without spaces around it; no two are equal, but some may be
        empty.
      rows: begins anew at each call, and gives (number, cells); the header of a CSV is row 1.
    """

    source: str
    header: list[str]
    rows: Callable[[], Iterator[Row]]


def from_file(path: str, encoding: Optional[str] = None) -> Table:
    """The table in a file: JSON by its extension (.json, .jsonl, .ndjson), else a CSV.

    Args:
      path: the table's file, which is read again each time that the rows of a CSV are asked for.
      encoding: the name of a codec; None: as the byte-order mark says, without one UTF-8.

    Raises:
      UserError: the file or its header cannot be used; problems of rows are raised with the rows.
    """
    if path.lower().endswith((".json", ".jsonl", ".ndjson")):
        return _from_json(path, encoding)

    def rows() -> Iterator[Row]:
        with open_rows(path, encoding) as (_, found):
            yield from found

    with open_rows(path, encoding) as (header, _):
        return Table(path, header, rows)


def _from_json(path: str, encoding: Optional[str]) -> Table:
    """Objects of one level, or with objects in them, whose keys are joined: `objects.category`."""
    objects: list[dict[str, Any]] = []
    numbers: list[int] = []
    with open_text(path, encoding) as file:
        if path.lower().endswith(".json"):
            found = _parsed(path, 1, file.read())
            if isinstance(found, dict) and {"images", "annotations"} <= found.keys():
                raise UserError(
                    f"{path} is COCO's JSON of annotations, which are no table; write a CSV with a "
                    "row for each: the file_name of its image_id and the name of its category_id "
                    "(docs/LABELS.md has the four lines that do it)."
                )
            if not isinstance(found, list):
                raise UserError(
                    f"{path} is no list of objects, one an image or label; make a CSV with a row "
                    "for each label of an image: its file name and the class."
                )
            lines: Iterable[tuple[int, Any]] = enumerate(found, 1)
        else:
            lines = (
                (number, _parsed(path, number, line))
                for number, line in enumerate(file, 1)
                if line.strip()
            )
        for number, line in lines:
            if not isinstance(line, dict):
                raise UserError(f"{path} row {number} is not a JSON object, such as {{...}}.")
            objects.append(_flat(line))
            numbers.append(number)
    header = list(dict.fromkeys(key for found in objects for key in found))
    cells = [[found.get(key) for key in header] for found in objects]
    return from_rows(path, header, cells, numbers)


def _parsed(path: str, number: int, text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        where = f" row {number}" if number > 1 or "\n" not in text.strip() else ""
        raise UserError(f"{path}{where} is not JSON: {str(error)[:100]}.") from error


def _flat(found: dict[str, Any]) -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in found.items():
        if isinstance(value, dict):
            flat.update((f"{key}.{inner}", part) for inner, part in value.items())
        else:
            flat[key] = value
    return flat


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
