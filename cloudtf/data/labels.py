"""Label CSVs to one multi-hot table: Kaggle's RLE masks, one-hot columns, or lists of classes.

    Image_Label,EncodedPixels      image,Fish,Flower      image,classes
    a.jpg_Fish,1 5 20 7            a.jpg,1,0              a.jpg,Fish Flower
    a.jpg_Flower,                  b.jpg,0,0              b.jpg,

An image is known by its name. One with no class is an example like any other. Whatever is wrong
with a row is collected as a `Problem`, so that all can be reported together.
"""

from __future__ import annotations

import dataclasses
import posixpath
import re
from typing import Callable, Iterator, Optional, Sequence

import numpy as np

from cloudtf.data import rle
from cloudtf.data.csv_rows import read_rows
from cloudtf.errors import UsageError, UserError

FORMATS = ("kaggle_rle", "onehot", "list")
# A column that gives more classes than this is not one of classes.
MAX_CLASSES = 10_000

_ZERO_ONE = {"0": 0, "1": 1, "0.0": 0, "1.0": 1, "": None}
_LIST_HEADERS = ("class", "classes", "label", "labels", "tag", "tags")


@dataclasses.dataclass(frozen=True)
class Problem:
    """Something wrong with one image or row.

    Attributes:
      file: the image's name, or as much of it as could be read.
      reason: one phrase, without a full stop; names the row where there is one.
      drops_image: False if the image itself is sound (a row that repeats another).
    """

    file: str
    reason: str
    drops_image: bool = True


@dataclasses.dataclass(frozen=True)
class LabelTable:
    """What a label CSV says.

    Attributes:
      names: of the images, each once, in the order of the file.
      labels: uint8 [images, classes], 0 or 1.
      classes: in label order.
      rows: int64 [images], the first row of each image, counted from 1 with the header.
      columns: the extra columns asked for: name -> one text an image.
      problems: in the order of the rows; images they drop are not in `names`.
    """

    names: tuple[str, ...]
    labels: np.ndarray
    classes: tuple[str, ...]
    rows: np.ndarray
    columns: dict[str, tuple[str, ...]]
    problems: tuple[Problem, ...] = ()

    def take(self, indices: Sequence[int]) -> LabelTable:
        """The images at `indices`, in that order, and the same problems."""
        indices = np.asarray(indices, np.int64)
        return dataclasses.replace(
            self,
            names=tuple(self.names[i] for i in indices),
            labels=self.labels[indices],
            rows=self.rows[indices],
            columns={k: tuple(v[i] for i in indices) for k, v in self.columns.items()},
        )


def read_labels(
    path: str,
    label_format: str = "auto",
    classes: Sequence[str] = (),
    columns: Sequence[str] = (),
) -> LabelTable:
    """Reads a label CSV (commas, semicolons or tabs; UTF-8 with or without a byte-order mark).

    Args:
      path: the CSV.
      label_format: one of `FORMATS`, or `auto`: told by the header and the first rows.
      classes: the class order. If empty: the order of the columns of a one-hot CSV, else
        alphabetical.
      columns: further columns to read (a split, a group); they hold no classes.

    Raises:
      UserError: the file as a whole cannot be used. Problems of single rows are in the result.
      UsageError: `columns` or `classes` do not fit the header.
    """
    header, rows = read_rows(path)
    for name in columns:
        if name not in header:
            raise UsageError(f"{path} has no column {name!r}; it has {', '.join(header)}.")
    if label_format == "auto":
        label_format = _recognise(header, rows, columns)
    parse = {"kaggle_rle": _parse_rle, "onehot": _parse_onehot, "list": _parse_list}[label_format]
    builder = _Builder(path, header, columns, tuple(classes))
    parse(builder, rows)
    return builder.table()


def check_name(name: str) -> None:
    """Checks that an image name stays inside its folder whatever it is joined to.

    Raises:
      ValueError: one phrase on what is wrong.
    """
    if not name:
        raise ValueError("has no image name")
    if not name.isprintable():
        raise ValueError("has a control character in the image name")
    try:
        name.encode()
    except UnicodeEncodeError:
        raise ValueError("has an image name that is not UTF-8") from None
    if name.startswith("/") or "\\" in name or re.match(r"[A-Za-z]:|\w+://", name):
        raise ValueError("names an image by an absolute path or with a backslash")
    if ".." in name.split("/"):
        raise ValueError("names an image outside the folder")


def check_class(name: str) -> None:
    """Checks that a class name can stand in file names, CSV headers and `a|b` lists.

    Raises:
      ValueError: one phrase on what is wrong.
    """
    if not name.strip() or not name.isprintable() or len(name) > 100:
        raise ValueError("is empty, too long or has control characters")
    if set(name) & set('/\\|,;:*?"<>') or name.startswith("."):
        raise ValueError("has a character that file names or lists cannot hold")


def combination(label: np.ndarray, classes: Sequence[str]) -> str:
    """A label's classes joined by `|`; empty for none."""
    return "|".join(name for name, present in zip(classes, label) if present)


def _recognise(header: list[str], rows: list[tuple[int, list[str]]], columns: Sequence[str]) -> str:
    if _find(header, "encodedpixels") is not None:
        return "kaggle_rle"
    content = [i for i in range(1, len(header)) if header[i] not in columns]
    if len(content) > 1:
        return "onehot"
    if content and header[content[0]].lower() not in _LIST_HEADERS:
        cells = {cells[content[0]].strip() for _, cells in rows[:1000]}
        if cells <= set(_ZERO_ONE) - {""}:
            return "onehot"
    return "list"


def _find(header: list[str], *names: str) -> Optional[int]:
    """Where a column of one of these names stands, whatever its case and punctuation."""
    plain = [re.sub(r"[^a-z]", "", cell.lower()) for cell in header]
    return next((plain.index(name) for name in names if name in plain), None)


class _Builder:
    """Collects images, their classes and the problems, row by row."""

    def __init__(
        self, path: str, header: list[str], columns: Sequence[str], classes: tuple[str, ...]
    ) -> None:
        self.path, self.header, self.columns = path, header, tuple(columns)
        self.classes, self.fixed = classes, bool(classes)
        for name in classes:
            self._check_class(name)
        if len(set(classes)) < len(classes):
            raise UsageError("--classes names a class twice.")
        self.known = set(classes)
        self.first_row: dict[str, int] = {}
        # Image -> each class that its rows mention -> whether it is present.
        self.said: dict[str, dict[str, bool]] = {}
        self.extra: dict[str, list[str]] = {}
        self.problems: list[Problem] = []
        self.dropped: set[str] = set()
        self._extra_at = [header.index(name) for name in self.columns]

    def _check_class(self, name: str) -> None:
        try:
            check_class(name)
        except ValueError as error:
            raise UserError(f"{self.path}: the class name {name[:60]!r} {error}.") from error

    def problem(self, name: str, row: int, reason: str, drops_image: bool = True) -> None:
        self.problems.append(Problem(name, f"row {row} {reason}", drops_image))
        if drops_image:
            self.dropped.add(name)

    def image(self, raw: str, row: int, cells: list[str]) -> Optional[str]:
        """The image's name, noted on its first row; None (and a problem) if it is unusable."""
        name = raw.strip()
        if name in self.first_row:
            if self.columns and [cells[i] for i in self._extra_at] != self.extra[name]:
                reason = f"puts {name} in another {' or '.join(self.columns)} than"
                self.problem(name, row, f"{reason} row {self.first_row[name]}")
                return None
            return name
        try:
            check_name(name)
        except ValueError as error:
            self.problem(name, row, str(error))
            return None
        if name.startswith("./") or "//" in name or "/./" in name:
            # Two spellings of a file must not become two images.
            return self.image(posixpath.normpath(name), row, cells)
        self.first_row[name] = row
        self.said[name] = {}
        self.extra[name] = [cells[i] for i in self._extra_at]
        return name

    def add(self, name: str, row: int, class_name: str) -> bool:
        """Notes a class of an image; False (and a problem) if --classes does not list it."""
        if not self.learn(name, row, class_name):
            return False
        self.said[name][class_name] = True
        return True

    def learn(self, name: str, row: int, class_name: str) -> bool:
        """Notes that there is such a class, present or not; the result as for `add`."""
        if class_name not in self.known:
            if self.fixed:
                self.problem(name, row, f"has the unknown class {class_name[:60]!r}")
                return False
            self._check_class(class_name)
            self.known.add(class_name)
            if len(self.known) > MAX_CLASSES:
                raise UserError(
                    f"{self.path} names more than {MAX_CLASSES:,} classes; is it the right column?"
                )
        self.said[name].setdefault(class_name, False)
        return True

    def table(self) -> LabelTable:
        """The result; classes that only images with problems mention are not in it."""
        names = tuple(name for name in self.first_row if name not in self.dropped)
        classes = self.classes or tuple(sorted({c for name in names for c in self.said[name]}))
        if not self.classes and not self.known:
            raise UserError(f"{self.path} names no class at all; there is nothing to learn.")
        index = {name: i for i, name in enumerate(classes)}
        labels = np.zeros((len(names), len(classes)), np.uint8)
        for row, name in enumerate(names):
            for class_name, present in self.said[name].items():
                labels[row, index[class_name]] = present
        return LabelTable(
            names=names,
            labels=labels,
            classes=classes,
            rows=np.array([self.first_row[name] for name in names], np.int64),
            columns={
                column: tuple(self.extra[name][i].strip() for name in names)
                for i, column in enumerate(self.columns)
            },
            problems=tuple(self.problems),
        )


def _parse_rle(builder: _Builder, rows: list[tuple[int, list[str]]]) -> None:
    pixels = _find(builder.header, "encodedpixels")
    both = _find(builder.header, "imagelabel")
    if pixels is None:
        raise UserError(f"{builder.path} has no column EncodedPixels, as kaggle_rle has.")
    for row, name, class_name, cells in _image_and_class(builder, rows, both, pixels):
        mask = cells[pixels].strip()
        if not mask:
            continue
        try:
            rle.check(mask)
        except ValueError as error:
            builder.problem(name, row, f"({class_name}) has a malformed mask: {error}")
        else:
            builder.add(name, row, class_name)


def _image_and_class(
    builder: _Builder, rows: list[tuple[int, list[str]]], both: Optional[int], pixels: int
) -> Iterator[tuple[int, str, str, list[str]]]:
    """Row, image, class and cells of each row of an RLE CSV that names an image and class anew."""
    split: Callable[[list[str]], tuple[str, str]]
    if both is not None:
        # Image names may hold underscores; class names do not.
        def split(cells: list[str]) -> tuple[str, str]:
            name, _, class_name = cells[both].strip().rpartition("_")
            return name, class_name
    else:
        image = _find(builder.header, "image", "imageid", "imagename", "filename")
        label = _find(builder.header, "label", "class", "classid", "labelname")
        if image is None or label is None:
            raise UserError(
                f"{builder.path} needs a column Image_Label, or columns Image and Label, beside "
                "EncodedPixels."
            )

        def split(cells: list[str]) -> tuple[str, str]:
            return cells[image].strip(), cells[label].strip()

    seen: dict[tuple[str, str], tuple[int, str]] = {}
    for row, cells in rows:
        raw, class_name = split(cells)
        if not raw or not class_name:
            builder.problem(raw or class_name, row, "is not named IMAGE_CLASS")
            continue
        name = builder.image(raw, row, cells)
        if name is None or not builder.learn(name, row, class_name):
            continue
        earlier = seen.setdefault((name, class_name), (row, cells[pixels]))
        if earlier[0] == row:
            yield row, name, class_name, cells
        elif earlier[1] == cells[pixels]:
            builder.problem(name, row, f"({class_name}) repeats row {earlier[0]}", False)
        else:
            builder.problem(name, row, f"({class_name}) contradicts row {earlier[0]}")


def _parse_onehot(builder: _Builder, rows: list[tuple[int, list[str]]]) -> None:
    at = [i for i in range(1, len(builder.header)) if builder.header[i] not in builder.columns]
    found = [builder.header[i] for i in at]
    if builder.fixed and set(found) != set(builder.classes):
        raise UsageError(
            f"--classes={','.join(builder.classes)} are not the class columns of {builder.path}: "
            f"{', '.join(found)}."
        )
    for name in found:
        builder._check_class(name)
    builder.classes = builder.classes or tuple(found)
    builder.known = set(found)

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


def _parse_list(builder: _Builder, rows: list[tuple[int, list[str]]]) -> None:
    at = [i for i in range(1, len(builder.header)) if builder.header[i] not in builder.columns]
    if len(at) != 1:
        raise UserError(
            f"{builder.path} has {len(at)} columns beside the image's name; a list CSV has one, "
            "with classes separated by spaces or |."
        )
    _one_row_an_image(builder, rows, lambda _row, _name, cells: re.split(r"[|\s]+", cells[at[0]]))


def _one_row_an_image(
    builder: _Builder,
    rows: list[tuple[int, list[str]]],
    present: Callable[[int, str, list[str]], Optional[list[str]]],
) -> None:
    said: dict[str, list[str]] = {}
    for row, cells in rows:
        name = builder.image(cells[0], row, cells)
        if name is None:
            continue
        first = builder.first_row[name]
        if first != row:
            if said[name] == cells[1:]:
                builder.problem(name, row, f"repeats row {first}", False)
            else:
                builder.problem(name, row, f"contradicts row {first}")
            continue
        said[name] = cells[1:]
        for class_name in present(row, name, cells) or ():
            if class_name and not builder.add(name, row, class_name):
                break
