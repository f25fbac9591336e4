"""Rows of a CSV with their numbers, read strictly: nothing is guessed, padded or cut off.

The file is read as its rows are taken, so that memory does not grow with its length.
"""

from __future__ import annotations

import collections
import contextlib
import csv
import itertools
from typing import Iterable, Iterator, TextIO

from cloudtf import files
from cloudtf.errors import UserError

Row = tuple[int, list[str]]

# Characters of a cell. The module's own limit, 131,072, is a large but possible mask; without any
# limit a stray quotation mark would have the rest of the file read into memory as one cell.
_MAX_FIELD = 1 << 26


@contextlib.contextmanager
def open_rows(path: str) -> Iterator[tuple[list[str], Iterator[Row]]]:
    """Opens a CSV in UTF-8, with or without a byte-order mark, of any line ends.

    Args:
      path: of the file. Its delimiter (comma, semicolon or tab) is told by the header.

    Yields:
      The header, and (number, cells) of each row that is not empty; the header is row 1, as in a
      spreadsheet. Every row has as many cells as the header.

    Raises:
      UserError: naming what is wrong with the header at once; and, as the rows are taken, the first
        that is no CSV, or that there is none.
    """
    with files.open_text(path) as file:
        yield _header_and_rows(path, file)


def _header_and_rows(path: str, file: TextIO) -> tuple[list[str], Iterator[Row]]:
    blank, first = 0, ""
    for first in file:
        if first.strip():
            break
        blank += 1
    else:
        raise UserError(f"{path} is empty; it must begin with a header row.")
    delimiter = max(",;\t", key=first.count)
    lines = _without_nul(path, itertools.chain([first], file), blank + 1)
    rows = _rows(path, lines, delimiter, blank + 1)
    _, header = next(rows, (0, []))
    header = [cell.strip() for cell in header]
    check_header(path, header)
    return header, checked(path, header, rows)


def _without_nul(path: str, lines: Iterable[str], start: int) -> Iterator[str]:
    for number, line in enumerate(lines, start):
        if "\0" in line:
            raise UserError(f"{path} has a NUL byte in row {number}; it is no CSV, or damaged.")
        yield line


def _rows(path: str, lines: Iterator[str], delimiter: str, start: int) -> Iterator[Row]:
    """Number and cells of each row that is not empty."""
    for number, line in enumerate(lines, start):
        if '"' not in line:
            # Masks are long and have no quotes; the module would look at each character.
            cells = line.rstrip("\r\n").split(delimiter)
        else:
            # What is quoted may go on over several lines.
            cells = _quoted(path, number, itertools.chain([line], lines), delimiter)
        if any(cells):
            yield number, cells


def _quoted(path: str, number: int, lines: Iterable[str], delimiter: str) -> list[str]:
    """The cells of the row with which `lines` begin; no more of them are taken than it has."""
    limit = csv.field_size_limit(_MAX_FIELD)  # Of the whole process: others have their own.
    try:
        return next(csv.reader(lines, delimiter=delimiter, strict=True))
    except csv.Error as error:
        raise UserError(
            f"{path} row {number} is no CSV ({error}); mend its quotation marks."
        ) from error
    finally:
        csv.field_size_limit(limit)


def checked(path: str, header: list[str], rows: Iterator[Row]) -> Iterator[Row]:
    """The same rows; UserError at one of another length than the header, or if none comes."""
    row = None
    for row in rows:
        number, cells = row
        if len(cells) != len(header):
            raise UserError(
                f"{path} row {number} has {len(cells)} cells, the header {len(header)}; "
                "mend the row."
            )
        yield row
    if row is None:
        raise UserError(f"{path} has a header but no rows; there is nothing to convert.")


def check_header(path: str, header: list[str]) -> None:
    """Raises UserError unless the columns can be told apart and are two or more."""
    if not header:
        raise UserError(f"{path} has nothing but delimiters; it must begin with a header row.")
    if len(header) < 2:
        raise UserError(
            f"{path} has one column only ({header[0][:40]!r}); cells are separated by commas, "
            "semicolons or tabs."
        )
    repeated = [name for name, count in collections.Counter(header).items() if count > 1]
    if repeated:
        raise UserError(f"{path} has two columns named {min(repeated)[:60]!r}; rename one.")
