"""CSVs as cloudtf writes them, read and written: comma, UTF-8, a header, every cell as it is.

Label tables, which others write, are read by `data.csv_rows`.
"""

from __future__ import annotations

import csv
import io
import re
from typing import Sequence

from cloudtf import files
from cloudtf.errors import UserError

_NEEDS_QUOTES = re.compile(r'[,"\r\n]')


def read(path: str) -> tuple[list[str], list[tuple[int, list[str]]]]:
    """The header of a CSV, and its rows as (line number, cells), every cell as it is written.

    Blank lines are passed over.

    Raises:
      UserError: the file is missing, empty, or malformed, or a row is longer or shorter than the
        header (its line is named).
    """
    content = files.read_text(path)
    # A mask's runs may be longer than the 131,072 characters that the csv module allows.
    limit = csv.field_size_limit(2**31 - 1)
    reader = csv.reader(io.StringIO(content, newline=""), strict=True)
    try:
        rows = [(reader.line_num, cells) for cells in reader if cells]
    except csv.Error as error:
        raise UserError(
            f"Line {reader.line_num} of {path} is not CSV ({error}); correct it or make it again."
        ) from error
    finally:
        csv.field_size_limit(limit)
    if not rows:
        raise UserError(f"The table {path} is empty; it needs at least a line of column names.")
    header = rows[0][1]
    for line, cells in rows[1:]:
        if len(cells) != len(header):
            raise UserError(
                f"Line {line} of {path} has {len(cells)} cells where the header has "
                f"{len(header)} ({','.join(header)[:60]}); cells are separated by commas."
            )
    return header, rows[1:]


def write(path: str, header: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Writes a CSV whole or not at all: UTF-8, LF, quotes only where needed."""
    files.write_text(path, text(header, rows))


def text(header: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """What `write` writes.

    >>> text(["Image", "reason"], [("a,b.jpg", "the file is empty")])
    'Image,reason\\n"a,b.jpg",the file is empty\\n'
    """
    lines = [",".join(map(_cell, row)) for row in [header, *rows]]
    return "\n".join(lines) + "\n"


def _cell(value: object) -> str:
    # Not csv.writer: before Python 3.13 it leaves a lone carriage return without quotes.
    if not isinstance(value, str):
        return repr(value)
    return '"' + value.replace('"', '""') + '"' if _NEEDS_QUOTES.search(value) else value
