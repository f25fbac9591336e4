"""The images that a model does worst on, doubts most, and does best on."""

from __future__ import annotations

from typing import Callable, Mapping, NamedTuple, Optional, Sequence

import numpy as np

from cloudtf.data import masks

# Of each kind.
MOST = 6
# Classes of an image that are named: what is said of more no one reads.
_MOST_SAID = 6
# A probability nearer 0 or 1 than this is taken for this.
_LEAST = 1e-6

Images = Callable[[Sequence[str]], Mapping[str, np.ndarray]]
# (names of N images, images uint8 [N, H, W, 3], numbers of classes) -> activation maps float32
# [N, classes, h, w]; None where the model has none.
Maps = Callable[[Sequence[str], np.ndarray, Sequence[int]], Optional[np.ndarray]]


class Said(NamedTuple):
    """What a model says of a class in an image.

    Attributes:
      class_name: the name of the class.
      score: its probability, 0 to 1.
      label: 0, 1 or -1 (unknown).
    """

    class_name: str
    score: float
    label: int


class Example(NamedTuple):
    """An image that is worth a look.

    Attributes:
      name: the name of the image in the records.
      pixels: uint8 [H, W, 3].
      focus: the class that it is worth a look for.
      overlay: the image under the activation map of that class, uint8 [H, W, 3]; None where there
        is no map, or nothing in it.
      inside: how much of that map is inside the mask of the class, in words; nothing where that is
        not known.
      said: the classes that it shows or that the model takes to be there, the most probable first.
    """

    name: str
    pixels: np.ndarray
    focus: str
    overlay: Optional[np.ndarray]
    inside: str
    said: Sequence[Said]


def choose(labels: np.ndarray, scores: np.ndarray, most: int = MOST) -> dict[str, list[int]]:
    """Which images are worth a look.

    Args:
      labels: [N, C], 0, 1 or -1 (unknown).
      scores: [N, C], probabilities.
      most: images of each kind; of few images a third of them.

    Returns:
      Heading -> numbers of images, none of them twice: those of the highest mean log loss over
      their classes, of the rest those of the highest mean entropy, of the rest those of the lowest
      loss, among images that show a class if there are any.

    >>> labels = np.array([[1], [1], [0]])
    >>> choose(labels, np.array([[0.1], [0.98], [0.4]]))
    {'Worst': [0], 'Most doubtful': [2], 'Best': [1]}
    """
    known = labels >= 0
    numbers = np.flatnonzero(known.any(axis=1))
    labels, known = labels[numbers], known[numbers]
    probable = np.clip(scores[numbers], _LEAST, 1 - _LEAST)
    count = np.maximum(known.sum(axis=1), 1)
    loss = np.where(known, -np.log(np.where(labels > 0, probable, 1 - probable)), 0)
    loss = loss.sum(axis=1) / count
    doubt = np.where(known, _entropy(probable), 0).sum(axis=1) / count
    most = min(most, max(1, len(numbers) // 3))
    shows = (labels > 0).any(axis=1)
    best = np.where(shows, loss, np.inf) if shows.any() else loss
    left = np.ones(len(numbers), bool)
    found = {}
    for heading, order in (("Worst", -loss), ("Most doubtful", -doubt), ("Best", best)):
        rows = [row for row in np.argsort(order, kind="stable") if left[row]][:most]
        rows = [row for row in rows if np.isfinite(order[row])]
        left[rows] = False
        found[heading] = numbers[rows].tolist()
    return {heading: rows for heading, rows in found.items() if rows}


def gather(
    labels: np.ndarray,
    scores: np.ndarray,
    names: Sequence[str],
    classes: Sequence[str],
    images: Images,
    maps: Optional[Maps] = None,
    small_masks: Optional[Mapping[str, bytes]] = None,
) -> dict[str, list[Example]]:
    """The images that are worth a look, with what the model says of them and where it looks.

    Args:
      labels: [N, C], 0, 1 or -1 (unknown).
      scores: [N, C], probabilities.
      names: the N image names.
      classes: the C class names.
      images: a function from names of images to their pixels.
      maps: a function that gives the activation maps of images for some classes.
      small_masks: names of images -> where their classes are, see `data.masks`.

    Returns:
      Heading -> examples, as `choose` has them.
    """
    from cloudtf.evaluation.activation_maps import inside, overlaid

    chosen = choose(labels, scores)
    rows = [row for group in chosen.values() for row in group]
    shown = [names[row] for row in rows]
    pixels = images(shown)
    focus = {
        row: _focus(heading, labels[row], scores[row])
        for heading, group in chosen.items()
        for row in group
    }
    columns = sorted(set(focus.values()))
    drawn = None
    if maps and rows:
        drawn = maps(shown, np.stack([pixels[name] for name in shown]), columns)
    found: dict[str, list[Example]] = {}
    for number, row in enumerate(rows):
        heading = next(heading for heading, group in chosen.items() if row in group)
        image, column = pixels[names[row]], focus[row]
        overlay, share = None, ""
        if drawn is not None and drawn[number, columns.index(column)].any():
            activation = drawn[number, columns.index(column)]
            overlay = overlaid(image, activation)
            content = (small_masks or {}).get(names[row], b"")
            # Scores may be older than the records, whose labels may have been corrected since.
            if content and len(content) == masks.NUM_BYTES * int((labels[row] == 1).sum()):
                share = inside(activation, masks.decode(content, labels[row])[column])
        said = _said(labels[row], scores[row], classes, column)
        found.setdefault(heading, []).append(
            Example(names[row], image, classes[column], overlay, share, said)
        )
    return found


def _entropy(probable: np.ndarray) -> np.ndarray:
    return -(probable * np.log(probable) + (1 - probable) * np.log1p(-probable))


def _focus(heading: str, label: np.ndarray, score: np.ndarray) -> int:
    """The class that an image is worth a look for."""
    wrong = np.where(label < 0, -1, np.abs((label > 0) - score))
    if heading == "Worst":
        return int(wrong.argmax())
    if heading == "Best":
        return int(np.where(label > 0, score, -1).argmax())
    return int(np.where(label < 0, np.inf, np.abs(score - 0.5)).argmin())


def _said(
    label: np.ndarray, score: np.ndarray, classes: Sequence[str], focus: int
) -> tuple[Said, ...]:
    """The classes that are there or are taken to be, and the one in focus; of few classes all."""
    worth = np.maximum(score, label > 0)
    worth[focus] = 2
    rows = np.argsort(-worth, kind="stable")[:_MOST_SAID]
    rows = rows[np.argsort(-score[rows], kind="stable")]
    return tuple(Said(classes[row], float(score[row]), int(label[row])) for row in rows)
