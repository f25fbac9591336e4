"""What is known of a set's images: names, classes and a multi-hot table; which names are allowed.

An image is known by its name. One with no class is an example like any other. Whatever is wrong
with an image or its row is a `Problem`, so that all can be reported together.
"""

from __future__ import annotations

import dataclasses
import re
import unicodedata
from typing import Iterable, NamedTuple, Sequence

import numpy as np

# How the names of photographs end.
EXTENSIONS = (
    *(".jpg", ".jpeg", ".jfif", ".png", ".webp", ".tif", ".tiff", ".bmp", ".gif"),
    *(".avif", ".heic", ".heif"),
)
# The same for a sentence.
ENDINGS = ".jpg, .png, .webp, .tif, .bmp, .gif, .avif or .heic"
# The kinds of label table: masks, a column a class, a list of classes in each cell, a row a class,
# a row an image and class with yes or no; see `layouts`.
FORMATS = ("kaggle_rle", "onehot", "list", "rows", "long")
# In place of a table: the folder that an image is in.
FOLDERS = "folders"
# What a label says of a class of which it is not known whether it is present.
UNKNOWN = -1
# Words that stand beside class names, as keys of metrics.json and as a column of predictions.
_RESERVED = ("mean", "Image")
# What file names or lists of classes cannot hold.
_NOT_IN_CLASSES = frozenset('/\\|,;:*?"<>')


class Problem(NamedTuple):
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
      labels: int8 [images, classes]: 1 for present, 0 for absent, -1 for unknown.
      classes: the names of the classes, in label order.
      rows: int64 [images], the first row of each image, counted from 1 with the header.
      columns: the extra columns asked for: name -> one text an image.
      problems: in the order of the rows; images they drop are not in `names`.
      account: how the CSV was read, as lines of text.
      masks: the masks of each image, each the number of its class and its runs, packed (see
        `rle.pack`); empty where the labels have no masks.
    """

    names: tuple[str, ...]
    labels: np.ndarray
    classes: tuple[str, ...]
    rows: np.ndarray
    columns: dict[str, tuple[str, ...]]
    problems: tuple[Problem, ...] = ()
    account: tuple[str, ...] = ()
    masks: tuple[tuple[tuple[int, bytes], ...], ...] = ()

    def take(self, indices: Sequence[int]) -> LabelTable:
        """The images at `indices`, in that order, and the same problems."""
        indices = np.asarray(indices, np.int64)
        return dataclasses.replace(
            self,
            names=tuple(self.names[i] for i in indices),
            labels=self.labels[indices],
            rows=self.rows[indices],
            columns={k: tuple(v[i] for i in indices) for k, v in self.columns.items()},
            masks=tuple(self.masks[i] for i in indices) if self.masks else (),
        )

    def masks_of(self, index: int) -> tuple[tuple[int, bytes], ...]:
        """The masks of one image: the number of the class of each, and its runs, packed."""
        return self.masks[index] if self.masks else ()


def check_name(name: str) -> None:
    """Checks that an image name stays inside its folder whatever it is joined to.

    Raises:
      ValueError: one phrase on what is wrong.
    """
    if not name:
        raise ValueError("has no image name")
    try:
        name.encode()
    except UnicodeEncodeError:
        raise ValueError("has an image name that is not UTF-8") from None
    if not name.isprintable():
        raise ValueError(f"has {_unprintable(name)} in the image name")
    if name.startswith("/") or "\\" in name or re.match(r"[A-Za-z]:|\w+://", name):
        raise ValueError("names an image by an absolute path or with a backslash")
    if name == "." or ".." in name.split("/"):
        raise ValueError("names an image outside the folder")


def check_class(name: str) -> None:
    """Checks that a class name can stand in file names, CSV headers, JSON keys and `a|b` lists.

    Raises:
      ValueError: one phrase on what is wrong.
    """
    if not name.strip() or len(name) > 100:
        raise ValueError("is empty or too long")
    if not name.isprintable():
        raise ValueError(f"has {_unprintable(name)}")
    if name != name.strip():
        raise ValueError("begins or ends with a space")
    if set(name) & _NOT_IN_CLASSES or name.startswith("."):
        raise ValueError("has a character that file names or lists cannot hold")
    if name in _RESERVED:
        raise ValueError("means something else in metrics.json or prediction tables; rename it")


def replaced_characters(name: str) -> str:
    """A class name with `_` for the characters that file names or lists cannot hold.

    >>> replaced_characters("Nodule/Mass"), replaced_characters("/m/01g317")
    ('Nodule_Mass', 'm_01g317')
    """
    held = "".join("_" if c in _NOT_IN_CLASSES or not c.isprintable() else c for c in name)
    held = re.sub(r"_ |_{2,}", "_", held).lstrip("._ ") if held != name else held.lstrip(".")
    return held.strip() if held.strip(" _") else name


def _unprintable(text: str) -> str:
    """What the first character is that cannot be printed as itself."""
    character = next(c for c in text if not c.isprintable())
    kind = unicodedata.category(character)
    if kind == "Cc":
        return "a control character"
    what = "a space other than the plain one" if kind == "Zs" else "an invisible character"
    return f"{what} (U+{ord(character):04X})"


def escaped(text: str) -> str:
    """A file's name as any other file can hold it: what in it is not UTF-8 by its escape."""
    return text.encode("utf-8", "backslashreplace").decode()


def check_distinct(classes: Sequence[str]) -> None:
    """Checks that no two class names are one file name on a disk that ignores case.

    Raises:
      ValueError: naming two that are.
    """
    seen: dict[str, str] = {}
    for name in classes:
        # Some disks compose accents, too.
        plain = unicodedata.normalize("NFC", unicodedata.normalize("NFC", name).casefold())
        other = seen.setdefault(plain, name)
        if other != name:
            raise ValueError(
                f"the classes {other!r} and {name!r} differ only in case or in how accents are "
                "encoded; rename one"
            )


def classes_with(value: int, label: Iterable[int], classes: Sequence[str]) -> list[str]:
    """The classes that have a value in a label.

    >>> classes_with(UNKNOWN, [1, 0, -1], ["Fish", "Flower", "Sugar"])
    ['Sugar']
    """
    return [name for name, said in zip(classes, label) if said == value]


def combination(label: Iterable[int], classes: Sequence[str]) -> str:
    """A label's classes joined by `|`, unknown ones behind a `?`; empty for none.

    >>> combination([1, 0, -1], ["Fish", "Flower", "Sugar"])
    'Fish|?Sugar'
    """
    # No class has a question mark in its name.
    return "|".join(
        f"?{name}" if value < 0 else name for name, value in zip(classes, label) if value
    )
