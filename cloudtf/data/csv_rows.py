"""Rows of a CSV with their numbers, read strictly: no cell is guessed, cut off or moved.

The file is read as its rows are taken, so that memory does not grow with its length. The header
tells the delimiter (comma, semicolon, tab, bar, or spaces), or a first line `sep=;` as Excel writes
it. A first line with a number alone is the count of rows with which celebA's attribute list begins.
"""

from __future__ import annotations

import codecs
import collections
import contextlib
import csv
import itertools
import re
from typing import Iterable, Iterator, NamedTuple, Optional, Sequence, TextIO

from cloudtf import files
from cloudtf.data.image_names import ends_like_an_image
from cloudtf.errors import UserError, param

Row = tuple[int, list[str]]

# Characters of a cell. The module's own limit, 131,072, is a large but possible mask; without any
# limit a stray quotation mark would have the rest of the file read into memory as one cell.
_MAX_FIELD = 1 << 26
# What begins a file that is no text, and what it is.
_NO_TEXT = {
    b"PK\x03\x04": "an Excel or ZIP file",
    b"\xd0\xcf\x11\xe0": "an Excel file",
    b"PAR1": "a Parquet file",
    b"\x1f\x8b": "a gzip file",
    b"%PDF": "a PDF",
    b"<!DO": "a web page",
    b"<htm": "a web page",
    b"<?xm": "an XML file",
}
_BYTE_ORDER_MARKS = {
    codecs.BOM_UTF8: "utf-8-sig",
    codecs.BOM_UTF32_LE: "utf-32",
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}
_SPACES = " "
_NUMBER = re.compile(r"[-+\d.,]+")


@contextlib.contextmanager
def open_text(path: str, encoding: Optional[str] = None) -> Iterator[TextIO]:
    """Opens the text of a table.

    Args:
      path: the table's file, local or remote.
      encoding: the name of a codec; None: as the byte-order mark says, without one UTF-8.

    Raises:
      UserError: the file is missing, no text, or in another encoding.
    """
    with files.open_bytes(path) as file:
        start = bytes(file.read(4))
    for begins, what in _NO_TEXT.items():
        if start.startswith(begins):
            raise UserError(f"{path} is {what}, not a CSV; open it and save its table as CSV.")
    if encoding is None:
        marks = (name for mark, name in _BYTE_ORDER_MARKS.items() if start.startswith(mark))
        encoding = next(marks, "utf-8")
    try:
        with files.open_text(path, encoding) as text:
            yield text
    except UserError as error:
        if not isinstance(error.__cause__, UnicodeError):
            raise
        tried = param("labels_encoding")
        raise UserError(
            f"{str(error).partition(';')[0]}; save it as UTF-8, or name its encoding with {tried} "
            "(latin-1 and cp1252 are usual)."
        ) from error


@contextlib.contextmanager
def open_rows(
    path: str, encoding: Optional[str] = None, column_names: Sequence[str] = ()
) -> Iterator[tuple[list[str], Iterator[Row]]]:
    """Opens a CSV of any line ends; lines above its header that begin with # are comments, and so
    are lines among its rows that begin with # and a space, and name no image behind it.

    Args:
      path: the table's file, local or remote.
      encoding: the name of a codec; None: as the byte-order mark says, without one UTF-8.
      column_names: the header of a table that has none: then rows may have fewer cells, and where
        spaces separate them the last column takes the rest.

    Yields:
      The header, and (number, cells) of each row that is not empty. Lines are counted from 1, the
      header among them, as in a spreadsheet. Every row has as many cells as the header.

    Raises:
      UserError: naming what is wrong with the header at once; and, as the rows are taken, the first
        that is no CSV, or that there is none.
    """
    with open_text(path, encoding) as file:
        yield _header_and_rows(path, file, column_names)


class _Dialect(NamedTuple):
    """How the rows are written.

    Attributes:
      delimiter: the character that separates cells; a space stands for any number of them.
      names_lacking: how many columns the header has no name for.
      takes_rest: whether the last column has all that is left of a row.
    """

    delimiter: str
    names_lacking: int = 0
    takes_rest: bool = False


def _header_and_rows(
    path: str, file: TextIO, column_names: Sequence[str] = ()
) -> tuple[list[str], Iterator[Row]]:
    lines = _without_nul(path, file)
    number, first = _next_line(lines, 0)
    while first.startswith("#") and not any(c in first for c in ",;\t|"):
        number, first = _next_line(lines, number)
    if not first:
        raise UserError(f"{path} is empty; it must begin with a header row.")
    said = re.fullmatch(r'"?sep=(.)"?', first.strip("\r\n \ufeff"), re.IGNORECASE)
    counted = re.fullmatch(r"\s*\d+\s*", first)
    if said or counted:
        number, first = _next_line(lines, number)
    # What follows the header tells spaces between cells from spaces in the name of a single column.
    after, second = (number, "") if any(c in first for c in ",;\t|") else _next_line(lines, number)
    dialect = _Dialect(said[1]) if said else _dialect(first, second)
    if counted and first and dialect.delimiter != _SPACES and not any(c in first for c in ",;\t|"):
        dialect = _Dialect(_SPACES, takes_rest=True)  # DeepFashion's attributes have one name.
    if column_names and not said:
        dialect = _dialect_of(column_names, first, dialect)
    waiting = itertools.chain([first], [""] * (after - number - 1), [second] if second else [])
    # Spaces behind the delimiters of the header stand before quotation marks too.
    delimiter = dialect.delimiter
    spaced = delimiter == _SPACES or first.count(delimiter) == first.count(f"{delimiter} ") > 0
    rows = _rows(path, itertools.chain(waiting, lines), delimiter, number, spaced)
    if column_names:
        header = [name.strip() for name in column_names]
    else:
        _, cells = next(rows, (0, []))
        header = [""] * dialect.names_lacking + [cell.strip() for cell in cells]
    check_header(path, header)
    if column_names or dialect.takes_rest:
        rows = _fitted(rows, len(header), dialect)
    return header, checked(path, header, rows)


def _fitted(rows: Iterator[Row], width: int, dialect: _Dialect) -> Iterator[Row]:
    """The same rows, the rest of each in its last column or blanks where it has fewer cells."""
    for number, cells in rows:
        if len(cells) > width and dialect.takes_rest:
            cells = [*cells[: width - 1], " ".join(cells[width - 1 :])]
        yield number, cells + [""] * (width - len(cells))


def _next_line(lines: Iterator[str], number: int) -> tuple[int, str]:
    """The next line that is not blank, and its number; "" at the end."""
    for line in lines:
        number += 1
        if line.strip():
            return number, line
    return number, ""


def _dialect(header: str, second: str) -> _Dialect:
    bare = re.sub(r'"[^"]*"', "", header)
    delimiter = max(",;\t", key=bare.count)
    if delimiter in bare:
        return _Dialect(delimiter)
    if "|" in bare:
        return _Dialect("|")
    words, cells = len(header.split()), len(second.split())
    if words > 1 and cells in (words, words + 1):
        return _Dialect(_SPACES, cells - words)
    return _Dialect(delimiter)


def _dialect_of(column_names: Sequence[str], row: str, usual: _Dialect) -> _Dialect:
    """How a table without a header is written, of which the first row is one of images."""
    bare = re.sub(r'"[^"]*"', "", row)
    for delimiter in "\t,;|":
        if bare.count(delimiter) + 1 == len(column_names):
            return _Dialect(delimiter)
    if not any(c in bare for c in ",;\t|") or len(bare.split()) == len(column_names):
        return _Dialect(_SPACES, takes_rest=True)
    return usual


def _without_nul(path: str, lines: Iterable[str]) -> Iterator[str]:
    for number, line in enumerate(lines, 1):
        if "\0" in line:
            raise UserError(
                f"{path} has a NUL byte in row {number}; it is no CSV, damaged, or in UTF-16 (then "
                f"give {param(labels_encoding='utf-16-le')})."
            )
        yield line


def _rows(
    path: str, lines: Iterator[str], delimiter: str, start: int, spaced: bool
) -> Iterator[Row]:
    """Number and cells of each row that is neither empty nor a comment among the rows."""
    for number, line in enumerate(lines, start):
        if line.startswith("# ") and not ends_like_an_image(line.split(delimiter)[0].strip()):
            continue
        if '"' not in line:
            # Masks are long and have no quotes; the module would look at each character.
            text = line.rstrip("\r\n")
            cells = text.split() if delimiter == _SPACES else text.split(delimiter)
        else:
            # What is quoted may go on over several lines.
            cells = _quoted(path, number, itertools.chain([line], lines), delimiter, spaced)
        if any(cells):
            yield number, cells


def _quoted(
    path: str, number: int, lines: Iterable[str], delimiter: str, spaced: bool
) -> list[str]:
    """The cells of the row with which `lines` begin; no more of them are taken than it has."""
    limit = csv.field_size_limit(_MAX_FIELD)  # Of the whole process: others have their own.
    try:
        return next(csv.reader(lines, delimiter=delimiter, strict=True, skipinitialspace=spaced))
    except csv.Error as error:
        raise UserError(
            f"{path} row {number} is no CSV ({error}); correct its quotation marks."
        ) from error
    finally:
        csv.field_size_limit(limit)


def checked(path: str, header: list[str], rows: Iterator[Row]) -> Iterator[Row]:
    """The same rows; UserError at one of another length than the header, or if none comes.

    Delimiters at the end of a row, behind the last column that has a name, may be there or not.
    """
    row = None
    width = len(header)
    named = max((i + 1 for i, name in enumerate(header) if name), default=0)
    for row in rows:
        number, cells = row
        if len(cells) != width:
            if len(cells) < named or any(cell.strip() for cell in cells[width:]):
                number_in_header = next((name for name in header if _NUMBER.fullmatch(name)), None)
                if number_in_header is not None:
                    raise no_header(path, number_in_header)
                raise UserError(
                    f"{path} row {number} has {len(cells)} cells, the header {width}; correct the "
                    "row (a cell that has the delimiter in it needs quotation marks)."
                )
            row = number, (cells + [""] * width)[:width]
        yield row
    if row is None:
        raise UserError(f"{path} has a header but no rows; there is nothing to convert.")


def check_header(path: str, header: list[str]) -> None:
    """Raises UserError unless there are two columns or more with names, and no two of one name."""
    if not any(header):
        raise UserError(f"{path} has nothing but delimiters; it must begin with a header row.")
    if len(header) < 2:
        raise UserError(
            f"{path} has one column only ({header[0][:40]!r}); cells are separated by commas, "
            "semicolons or tabs."
        )
    images = [name for name in header if ends_like_an_image(name)]
    if len(images) > 1 and header[0] not in images:
        raise UserError(
            f"{path} has an image in each column, such as {images[0][:60]!r} and "
            f"{images[1][:60]!r}; exchange its rows and columns, so that each image has a row."
        )
    if images:
        raise no_header(path, images[0])
    numbers = [name for name in header if _NUMBER.fullmatch(name)]
    if len(set(numbers)) < len(numbers):
        raise no_header(path, numbers[0])
    repeated = [name for name, count in collections.Counter(header).items() if name and count > 1]
    if repeated:
        raise UserError(f"{path} has two columns named {min(repeated)[:60]!r}; rename one.")


def no_header(path: str, cell: str) -> UserError:
    """What to raise for a table whose first row is one of an image; `cell` shows that."""
    return UserError(
        f"{path} has no header row: its first row has {cell[:60]!r}; name its columns, such as "
        f"{param(column_names=('image', 'label'))}."
    )
