"""Prediction tables: a CSV with the column `Image`, then one column of probabilities a class.

Where the truth is known, a column `truth:CLASS` a class follows, 0, 1 or blank for unknown, for
whoever looks at the table; whatever reads predictions leaves these out. Scores are written as the
shortest decimal that reads back as the same float64. Tables are paired with anything else by image
name, never by order.
"""

from __future__ import annotations

import math
from collections import Counter
from typing import Optional, Sequence

import numpy as np

from cloudtf import csv_files, files
from cloudtf.errors import UserError

IMAGE = "Image"
# Before the name of a class: no class has a colon in its name (`labels.check_class`).
TRUTH = "truth:"


def write(
    path: str,
    names: Sequence[str],
    scores: np.ndarray,
    class_names: Sequence[str],
    labels: Optional[np.ndarray] = None,
) -> None:
    """Writes a prediction table whole or not at all.

    Args:
      path: the CSV to write, local or remote.
      names, scores, class_names, labels: what is in it, as `text` takes them.

    Raises:
      UserError: `text` refuses it, or the file cannot be written.
    """
    files.write_text(path, text(path, names, scores, class_names, labels))


def text(
    path: str,
    names: Sequence[str],
    scores: np.ndarray,
    class_names: Sequence[str],
    labels: Optional[np.ndarray] = None,
) -> str:
    """The content of a prediction table.

    Args:
      path: the CSV that it is for, which errors name.
      names: N distinct image names, extension included.
      scores: [N, C] probabilities; float32 is widened to float64 first, which is exact.
      class_names: C distinct names, none of them `Image` or beginning with `truth:`.
      labels: [N, C], 0, 1 or -1 (unknown): the truth; None: nothing is known of it.

    Raises:
      UserError: a name that is empty or comes twice, a score that is NaN or outside 0 to 1, or
        class names that cannot be columns.
      ValueError: the shapes do not agree.
    """
    scores = np.asarray(scores, dtype=np.float64)
    for values in (scores,) if labels is None else (scores, labels):
        if np.shape(values) != (len(names), len(class_names)):
            raise ValueError(
                f"Scores or labels {np.shape(values)} must be [{len(names)} names, "
                f"{len(class_names)} classes]."
            )
    _check_columns(path, [IMAGE, *class_names])
    for name in class_names:
        if name.startswith(TRUTH):
            raise UserError(f"The class {name!r} cannot be a column of {path}; rename it.")
    _check_names(path, names)
    wrong = ~((scores >= 0) & (scores <= 1))
    if wrong.any():
        row, column = np.argwhere(wrong)[0]
        raise UserError(
            f"The score of {names[row]} for class {class_names[column]} is {scores[row, column]}, "
            f"which is not a probability, so {path} was not written."
        )
    header = [IMAGE, *class_names]
    table = [[name, *values] for name, values in zip(names, scores.tolist())]
    if labels is not None:
        header += [TRUTH + name for name in class_names]
        for row, truth in zip(table, np.asarray(labels).astype(int).tolist()):
            row += ["" if value < 0 else value for value in truth]
    return csv_files.text(header, table)


def read(path: str) -> tuple[list[str], np.ndarray, list[str]]:
    """Reads a prediction table, without the columns of truth.

    Returns:
      N image names, scores [N, C] float64, and C class names, all in the file's order.

    Raises:
      UserError: the file is missing or malformed; the first column is not `Image`; a name is
        empty or comes twice; a cell is not a number from 0 to 1 (the line is named).
    """
    header, rows = csv_files.read(path)
    _check_columns(path, header)
    columns = [i for i, name in enumerate(header) if i and not name.startswith(TRUTH)]
    class_names = [header[i] for i in columns]
    if not class_names:
        raise UserError(f"The prediction table {path} has no class column after {IMAGE!r}.")
    names = [cells[0] for _, cells in rows]
    _check_names(path, names)
    scores = np.empty((len(rows), len(class_names)), dtype=np.float64)
    for index, (line, cells) in enumerate(rows):
        for column, cell in enumerate(cells[i] for i in columns):
            value = _probability(cell)
            if math.isnan(value):
                raise UserError(
                    f"Line {line} of {path} has {cell[:60]!r} for class {class_names[column]}, "
                    "which is not a number from 0 to 1."
                )
            scores[index, column] = value
    return names, scores, class_names


def read_truth(path: str) -> np.ndarray:
    """The columns of truth of a prediction table: int64 [N, C], 0, 1 or -1 (unknown).

    Raises:
      UserError: the table is missing or malformed, or has no truth for one of its classes.
    """
    header, rows = csv_files.read(path)
    columns = []
    for name in header[1:]:
        if not name.startswith(TRUTH):
            if TRUTH + name not in header:
                raise UserError(
                    f"{path} does not have the truth ({TRUTH}{name}); `cloudtf evaluate` writes it."
                )
            columns.append(header.index(TRUTH + name))
    truth = np.empty((len(rows), len(columns)), np.int64)
    for index, (line, cells) in enumerate(rows):
        for column, cell in enumerate(cells[i] for i in columns):
            if cell not in ("", "0", "1"):
                raise UserError(
                    f"Line {line} of {path} has {cell[:60]!r} as a truth, which is 0, 1 or blank."
                )
            truth[index, column] = int(cell or -1)
    return truth


def is_table(content: bytes) -> bool:
    """Whether a file seems to be a prediction table, and not a one-hot label CSV like it."""
    header, _, rows = content[: 1 << 20].lstrip(b"\xef\xbb\xbf").partition(b"\n")
    first = rows.partition(b"\n")[0].partition(b",")[2]
    # Probabilities are written with a point or an exponent, labels as 0 and 1.
    return header.startswith(f"{IMAGE},".encode()) and (not rows or bool(set(first) & set(b".e")))


def _probability(cell: str) -> float:
    """The number in a cell, or NaN for what is not a number from 0 to 1."""
    try:
        value = float(cell)
    except ValueError:
        return math.nan
    # Python reads 0_5 as 5, which nobody means in a table.
    return value if 0 <= value <= 1 and "_" not in cell else math.nan


def _check_columns(path: str, header: Sequence[str]) -> None:
    if header[0] != IMAGE:
        raise UserError(
            f"The first column of the prediction table {path} is {header[0][:60]!r}; it must be "
            f"{IMAGE!r}, followed by one column a class."
        )
    if len(header) < 2:
        raise UserError(f"The prediction table {path} has no class column after {IMAGE!r}.")
    for name, times in Counter(header).items():
        if times > 1 or not name:
            what = f"{times} columns named {name!r}" if name else "a column without a name"
            raise UserError(f"The prediction table {path} has {what}; each needs its own name.")


def _check_names(path: str, names: Sequence[str]) -> None:
    for name, times in Counter(names).items():
        if times > 1 or not name:
            what = f"{times} rows for the image {name!r}" if name else "a row without image name"
            raise UserError(f"The prediction table {path} has {what}; each image needs one row.")
