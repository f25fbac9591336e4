"""The rows of a submission, and which image and class of a prediction table each of them means."""

from __future__ import annotations

from typing import Sequence

from cloudtf import csv_files
from cloudtf.data.image_names import ImageNames, Splitter
from cloudtf.errors import UserError
from cloudtf.text import listed

COLUMNS = ["Image_Label", "EncodedPixels"]

Pair = tuple[int, int]  # Row and column of a prediction table.
Row = tuple[int, str, str]  # Line of a submission, IMAGE_CLASS, mask.


def read(path: str) -> list[Row]:
    """The rows of a submission: line, IMAGE_CLASS and mask, as they stand.

    Raises:
      UserError: the file is missing or malformed, or has other columns.
    """
    header, rows = csv_files.read(path)
    if header != COLUMNS:
        raise UserError(
            f"The columns of the submission {path} are {','.join(header)[:60]!r}; they must be "
            f"{','.join(COLUMNS)!r}."
        )
    return [(line, cells[0], cells[1]) for line, cells in rows]


def matched(
    path: str,
    rows: Sequence[Row],
    predictions_path: str,
    names: Sequence[str],
    class_names: Sequence[str],
) -> list[Pair]:
    """For each row the place of its image and class in a prediction table.

    Args:
      path: the submission, which errors name.
      rows: its rows, as `read` gives them.
      predictions_path: the prediction table, which errors name.
      names: the images of the table, in order.
      class_names: its classes, in order.

    Raises:
      UserError: an Image_Label cannot be divided, or names a class or an image that the table does
        not have.
    """
    row_of = {name: index for index, name in enumerate(names)}
    column_of = {name: index for index, name in enumerate(class_names)}
    image_names = ImageNames(names)
    split = Splitter(image_names, class_names)
    found = []
    for line, label, _ in rows:
        image, class_name = _split(path, line, label, split)
        if class_name not in column_of:
            raise UserError(
                f"Line {line} of {path} names the class {class_name!r}, which "
                f"{predictions_path} does not predict; it has {listed(class_names)}."
            )
        matches = image_names.matches(image)
        if len(matches) != 1:
            missing = {split(label)[0] for _, label, _ in rows}
            missing = {image for image in missing if len(image_names.matches(image)) != 1}
            raise UserError(
                f"Line {line} of {path} names the image {image!r}, which has no "
                f"predictions in {predictions_path} ({len(missing)} such images in all); "
                "predict the images of this submission."
            )
        found.append((row_of[matches[0]], column_of[class_name]))
    return found


def _split(path: str, line: int, label: str, split: Splitter) -> tuple[str, str]:
    ways = split.ways(label)
    if not ways:
        raise UserError(
            f"Line {line} of {path} has the Image_Label {label!r}; it must be IMAGE_CLASS, such "
            "as 0011165.jpg_Fish."
        )
    if len(ways) > 1:
        either = " or ".join(f"{image!r} and {name!r}" for image, name in ways[:2])
        raise UserError(
            f"Line {line} of {path} has the Image_Label {label!r}, which may be the image and "
            f"class {either}; rename one."
        )
    return ways[0]
