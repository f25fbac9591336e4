"""Labels that look wrong: given ones against the probabilities of a model that has not seen them.

Confident learning (Northcutt, Jiang and Chuang, "Confident Learning: Estimating Uncertainty in
Dataset Labels", JAIR 2021), for each class on its own. A model is confident that a class is present
where its probability is at least the mean over the images that are labelled so, and the same of its
absence. A label is suspect where the model is confident of the other. The least believable come
first: those of the least self-confidence, the probability of the label that was given, beside what
is usual for that label of that class.

The probabilities must be of images that the model was not trained on: those of a validation split,
or out of fold.
"""

from __future__ import annotations

import collections
import re
from typing import Callable, Mapping, NamedTuple, Optional, Sequence

import numpy as np

from cloudtf import csv_files
from cloudtf.data.image_names import ImageNames, Splitter
from cloudtf.data.tables import Table
from cloudtf.evaluation import sheet

COLUMNS = ("Image", "class", "label", "probability", "row")
# On the sheet.
MOST_DRAWN = 24
_HEADER = ",".join(COLUMNS).encode()


class Suspect(NamedTuple):
    """A label that looks wrong.

    Attributes:
      image: the name of the image.
      class_name: the class whose label it is.
      label: the label of that class in the records, 0 or 1.
      probability: of the class, by a model that has not seen the image.
      row: of the label table, counted as its reader does; None where it is not known.
    """

    image: str
    class_name: str
    label: int
    probability: float
    row: Optional[int] = None


def find(
    labels: np.ndarray,
    scores: np.ndarray,
    names: Sequence[str],
    class_names: Sequence[str],
    row_of: Optional[Callable[[str, str], Optional[int]]] = None,
) -> list[Suspect]:
    """The labels that look wrong, the least believable first.

    Args:
      labels: [N, C], 0 or 1; -1 where it is not known.
      scores: [N, C], probabilities of images that the model was not trained on.
      names: the N image names.
      class_names: the C class names, in the order of the columns.
      row_of: (image, class) -> the row of the label table; see `rows`.

    Returns:
      As many as there seem to be wrong labels; none of a class without positives or negatives.

    >>> labels = np.array([[1], [1], [1], [0], [0], [0]])
    >>> scores = np.array([[0.9], [0.8], [0.1], [0.97], [0.2], [0.1]])
    >>> found = find(labels, scores, list("abcdef"), ["Fish"])
    >>> [(suspect.image, suspect.label) for suspect in found]
    [('d', 0), ('c', 1)]
    """
    labels, scores = np.asarray(labels), np.asarray(scores, np.float64)
    given = np.where(labels == 1, scores, 1 - scores)
    beside = np.full(labels.shape, np.inf)
    for column in range(labels.shape[1]):
        usual = [given[labels[:, column] == one, column] for one in (0, 1)]
        if not all(map(len, usual)):
            continue
        confident = [float(values.mean()) for values in usual]
        for one in (0, 1):
            rows = np.flatnonzero(labels[:, column] == one)
            other = 1 - given[rows, column]
            wrong = (other >= confident[1 - one]) & (other > given[rows, column])
            beside[rows[wrong], column] = given[rows[wrong], column] - confident[one]
    order = np.argsort(beside, axis=None, kind="stable")[: int(np.isfinite(beside).sum())]
    found = []
    for image, column in zip(*(part.tolist() for part in np.unravel_index(order, labels.shape))):
        name, class_name = names[image], class_names[column]
        row = None if row_of is None else row_of(name, class_name)
        score = float(scores[image, column])
        found.append(Suspect(name, class_name, int(labels[image, column]), score, row))
    return found


def rows(
    table: Table, names: Sequence[str], class_names: Sequence[str]
) -> Callable[[str, str], Optional[int]]:
    """Where in a label table a label stands, whatever its layout.

    Args:
      table: the labels as `convert` reads them.
      names: the names of the images in the records, extension included.
      class_names: the names of the classes in label order.

    Returns:
      (image, class) -> the row that names both, else the first of the image, else None.
    """
    images = ImageNames(names)
    split = Splitter(images, class_names)
    known = set(class_names)

    def image_in(cell: str) -> Optional[tuple[str, Optional[str]]]:
        matches = images.matches(cell)
        if len(matches) == 1:
            return matches[0], None
        ways = split.ways(cell)
        if len(ways) != 1 or len(images.matches(ways[0][0])) != 1:
            return None
        return images.matches(ways[0][0])[0], ways[0][1]

    hits: collections.Counter[int] = collections.Counter()
    for (_, cells), _ in zip(table.rows(), range(200)):
        hits.update(column for column, cell in enumerate(cells) if image_in(cell) is not None)
    if not hits:
        return lambda image, class_name: None
    column = max(hits, key=lambda number: (hits[number], -number))
    first: dict[str, int] = {}
    of_class: dict[tuple[str, str], int] = {}
    for number, cells in table.rows():
        found = image_in(cells[column]) if column < len(cells) else None
        if found is None:
            continue
        image, class_name = found
        first.setdefault(image, number)
        named = {class_name} if class_name is not None else set()
        for other in cells[:column] + cells[column + 1 :]:
            if len(other) <= 10_000:  # A mask names no class.
                named |= known & {other.strip(), *re.split(r"[|,; ]+", other.strip())}
        for one in named:
            of_class.setdefault((image, str(one)), number)
    return lambda image, class_name: of_class.get((image, class_name), first.get(image))


def table(suspects: Sequence[Suspect]) -> str:
    """The content of `suspects.csv`: the probability with four decimals, a blank for no row."""
    cells = [
        (s.image, s.class_name, s.label, round(s.probability, 4), "" if s.row is None else s.row)
        for s in suspects
    ]
    return csv_files.text(COLUMNS, cells)


def is_table(content: bytes) -> bool:
    """Whether a file is a `suspects.csv`."""
    return content.startswith(_HEADER)


def draw(
    path: str,
    suspects: Sequence[Suspect],
    images: Mapping[str, np.ndarray],
) -> None:
    """Draws a sheet of thumbnails of the first suspects, each with what is said of it.

    Args:
      path: the PNG file to write, local or remote.
      suspects: the labels that look wrong, at least one.
      images: names -> the images of the first ones, uint8 [H, W, 3] each.
    """
    shown = suspects[:MOST_DRAWN]
    captions = [
        (
            f"{s.class_name}: {'yes' if s.label else 'no'}, p = {s.probability:.2f}",
            s.image if s.row is None else f"row {s.row}, {s.image}",
        )
        for s in shown
    ]
    more = f" of {len(suspects):,}" if len(suspects) > len(shown) else ""
    title = f"Labels that look wrong: the first {len(shown)}{more} (as given; p by the model)"
    sheet.draw(path, [images[s.image] for s in shown], captions, title)
