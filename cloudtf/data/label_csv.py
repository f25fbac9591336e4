"""Label CSVs to one multi-hot table: Kaggle's RLE masks, one-hot columns, or lists of classes.

    Image_Label,EncodedPixels      image,Fish,Flower      image,classes
    a.jpg_Fish,1 5 20 7            a.jpg,1,0              a.jpg,Fish Flower
    a.jpg_Flower,                  b.jpg,0,0              b.jpg,

Rows are taken one at a time and not kept, masks least of all: what stays of a row is a few numbers.
"""

from __future__ import annotations

import itertools
import re
from array import array
from typing import Callable, Iterator, Optional, Sequence, Union

import numpy as np

from cloudtf.data import rle, tables
from cloudtf.data.convert_config import ConvertConfig
from cloudtf.data.csv_rows import Row
from cloudtf.data.label_builder import TableBuilder, one_spelling
from cloudtf.data.labels import EXTENSIONS, LabelTable
from cloudtf.data.tables import Table
from cloudtf.errors import UsageError, UserError

_ZERO_ONE = {"0": 0, "1": 1, "0.0": 0, "1.0": 1}
_LIST_HEADERS = ("class", "classes", "label", "labels", "tag", "tags")
_LOOKED_AT = 1000


def read_labels(
    source: Union[str, Table],
    label_format: str = ConvertConfig.label_format,
    classes: Sequence[str] = (),
    columns: Sequence[str] = (),
) -> LabelTable:
    """Reads a label CSV (commas, semicolons or tabs; UTF-8 with or without a byte-order mark).

    Args:
      source: the path of the CSV, or a table of rows.
      label_format: one of `FORMATS`, or `auto`: told by the header and the first rows.
      classes: the class order. If empty: the order of the columns of a one-hot CSV, else
        alphabetical.
      columns: further columns to read (a split, a group); they hold no classes.

    Raises:
      UserError: the file as a whole cannot be used. Problems of single rows are in the result.
      UsageError: `columns` or `classes` do not fit the header.
    """
    table = tables.from_csv(source) if isinstance(source, str) else source
    header = table.header
    for name in columns:
        if name not in header:
            has = ", ".join(header)[:400]
            raise UsageError(f"{table.source} has no column {name!r}; it has {has}.")
    if label_format == "auto":
        label_format = _recognise(header, list(itertools.islice(table.rows(), _LOOKED_AT)), columns)
    parse = {"kaggle_rle": _parse_rle, "onehot": _parse_onehot, "list": _parse_list}
    builder = TableBuilder(table.source, header, columns, tuple(classes))
    parse[label_format](builder, table.rows())
    return builder.table()


def _recognise(header: list[str], rows: list[Row], columns: Sequence[str]) -> str:
    if _find(header, "encodedpixels") is not None:
        return "kaggle_rle"
    content = [i for i in range(1, len(header)) if header[i] not in columns]
    if len(content) > 1:
        return "onehot"
    if content and header[content[0]].lower() not in _LIST_HEADERS:
        cells = {cells[content[0]].strip() for _, cells in rows}
        if cells <= set(_ZERO_ONE):
            return "onehot"
    return "list"


def _find(header: list[str], *names: str) -> Optional[int]:
    """Where a column of one of these names stands, whatever its case and punctuation."""
    plain = [re.sub(r"[^a-z]", "", cell.lower()) for cell in header]
    return next((plain.index(name) for name in names if name in plain), None)


def _parse_rle(builder: TableBuilder, rows: Iterator[Row]) -> None:
    pixels = _find(builder.header, "encodedpixels")
    if pixels is None:
        raise UserError(f"{builder.path} has no column EncodedPixels, as kaggle_rle has.")
    split = _splitter(builder)
    # One entry a mention: its row, and what tells its mask from others.
    numbers, masks = array("q"), array("q")
    malformed: dict[int, str] = {}
    for row, cells in rows:
        raw, class_name = split(cells)
        if not raw or not class_name:
            name = one_spelling((raw or class_name).strip())
            builder.problem(name, row, "is not named IMAGE_CLASS")
            continue
        image = builder.image(raw, row, cells)
        mask = cells[pixels].strip()
        if image is None or not builder.mention(image, row, class_name, bool(mask)):
            continue
        try:
            rle.check(mask)
        except ValueError as error:
            malformed[len(numbers)] = f"({class_name}) has a malformed mask: {error}"
        numbers.append(row)
        # Python's hash of a text has 64 bits and a secret key: none can be made to clash.
        masks.append(hash(cells[pixels]))
    names = list(builder.images)
    images, class_numbers, _ = builder.mentions
    class_names = list(builder.classes)
    for later, first in _repeats(images, class_numbers, len(class_names)):
        malformed.pop(later, None)
        name, class_name = names[images[later]], class_names[class_numbers[later]]
        equal = masks[later] == masks[first]
        verb = "repeats" if equal else "contradicts"
        reason = f"({class_name}) {verb} row {numbers[first]}"
        builder.problem(name, numbers[later], reason, drops_image=not equal)
    for at, reason in malformed.items():
        builder.problem(names[images[at]], numbers[at], reason)


def _repeats(images: array, classes: array, num_classes: int) -> Iterator[tuple[int, int]]:
    """Places of mentions of an (image, class) that was mentioned before, and of the first."""
    keys = np.array(images, np.int64) * num_classes + np.array(classes, np.int64)
    order = np.argsort(keys, kind="stable")
    new = np.diff(keys[order], prepend=-1) > 0
    first = order[np.maximum.accumulate(np.where(new, np.arange(len(order)), 0))]
    yield from zip(order[~new].tolist(), first[~new].tolist())


def _splitter(builder: TableBuilder) -> Callable[[list[str]], tuple[str, str]]:
    """What finds the image and the class in the cells of a row of an RLE CSV."""
    both = _find(builder.header, "imagelabel")
    if both is not None:
        # Image names may hold underscores; class names do not.
        def split(cells: list[str]) -> tuple[str, str]:
            name, _, class_name = cells[both].strip().rpartition("_")
            if class_name.lower().endswith(EXTENSIONS):  # `img_12.jpg` without a class.
                return cells[both], ""
            return name, class_name

        return split
    image = _find(builder.header, "image", "imageid", "imagename", "filename")
    label = _find(builder.header, "label", "class", "classid", "labelname")
    if image is None or label is None:
        raise UserError(
            f"{builder.path} needs a column Image_Label, or columns Image and Label, beside "
            "EncodedPixels."
        )
    return lambda cells: (cells[image].strip(), cells[label].strip())


def _parse_onehot(builder: TableBuilder, rows: Iterator[Row]) -> None:
    at = [i for i in range(1, len(builder.header)) if builder.header[i] not in builder.columns]
    found = [builder.header[i] for i in at]
    if builder.fixed and set(found) != set(builder.classes):
        raise UsageError(
            f"--classes={','.join(builder.classes)[:400]} are not the class columns of "
            f"{builder.path}: {', '.join(found)[:400]}."
        )
    builder.add_classes(found)
    builder.fixed = True

    def present(row: int, name: str, cells: list[str]) -> Optional[list[str]]:
        result = []
        for i, class_name in zip(at, found):
            value = _ZERO_ONE.get(cells[i].strip())
            if value is None:
                builder.problem(name, row, f"has {cells[i][:20]!r} for {class_name}, not 0 or 1")
                return None
            if value:
                result.append(class_name)
        return result

    _one_row_an_image(builder, rows, present)


def _parse_list(builder: TableBuilder, rows: Iterator[Row]) -> None:
    at = [i for i in range(1, len(builder.header)) if builder.header[i] not in builder.columns]
    if len(at) != 1:
        raise UserError(
            f"{builder.path} has {len(at)} columns beside the image's name; a list CSV has one, "
            "with classes separated by spaces or |."
        )
    _one_row_an_image(builder, rows, lambda _row, _name, cells: re.split(r"[|\s]+", cells[at[0]]))


def _one_row_an_image(
    builder: TableBuilder,
    rows: Iterator[Row],
    present: Callable[[int, str, list[str]], Optional[list[str]]],
) -> None:
    contents = array("q")  # One an image: what tells its cells from others; see `_parse_rle`.
    for row, cells in rows:
        image = builder.image(cells[0], row, cells)
        if image is None:
            continue
        number, name = image
        content = hash(tuple(cells[1:]))
        if number < len(contents):
            first = builder.first_rows[number]
            if contents[number] == content:
                builder.problem(name, row, f"repeats row {first}", False)
            else:
                builder.problem(name, row, f"contradicts row {first}")
            continue
        contents.append(content)
        for class_name in present(row, name, cells) or ():
            if class_name and not builder.mention(image, row, class_name, True):
                break
