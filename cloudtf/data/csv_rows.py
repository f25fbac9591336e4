"""Rows of a CSV with their numbers, read strictly: nothing is guessed, padded or cut off."""

from __future__ import annotations

import csv
import io
import sys

from cloudtf import files
from cloudtf.errors import UserError


def read_rows(path: str) -> tuple[list[str], list[tuple[int, list[str]]]]:
    """Reads a CSV in UTF-8, with or without a byte-order mark, of any line ends.

    Args:
      path: of the file. Its delimiter (comma, semicolon or tab) is told by the header.

    Returns:
      The header, and (number, cells) of each row that is not empty; the header is row 1, as in a
      spreadsheet. Every row has as many cells as the header.

    Raises:
      UserError: naming the first row that is no CSV, or what is wrong with the header.
    """
    text = files.read_text(path)
    if "\0" in text:
        row = text.count("\n", 0, text.index("\0")) + 1
        raise UserError(f"{path} has a NUL byte in row {row}; it is no CSV, or damaged.")
    first = next((line for line in text.splitlines() if line.strip()), "")
    if not first:
        raise UserError(f"{path} is empty; it must begin with a header row.")
    delimiter = max(",;\t", key=first.count)
    # The module's own limit, 131,072, is a large but possible mask.
    csv.field_size_limit(min(sys.maxsize, 2**31 - 1))
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    rows: list[tuple[int, list[str]]] = []
    header: list[str] = []
    number = 0
    try:
        for number, cells in enumerate(reader, start=1):
            if not any(cells):
                continue
            if not header:
                header = [cell.strip() for cell in cells]
                _check_header(path, header, delimiter)
            elif len(cells) != len(header):
                raise UserError(
                    f"{path} row {number} has {len(cells)} cells, the header {len(header)}; "
                    "mend the row."
                )
            else:
                rows.append((number, cells))
    except csv.Error as error:
        raise UserError(f"{path} row {number + 1} is no CSV ({error}); mend the row.") from error
    if not rows:
        raise UserError(f"{path} has a header but no rows; there is nothing to convert.")
    return header, rows


def _check_header(path: str, header: list[str], delimiter: str) -> None:
    if len(header) < 2:
        raise UserError(
            f"{path} has one column only ({header[0][:40]!r}); cells are separated by commas, "
            "semicolons or tabs."
        )
    repeated = {name for name in header if header.count(name) > 1}
    if repeated:
        raise UserError(f"{path} has two columns named {min(repeated)!r}; rename one.")
