"""What is known of a label table before it is read, and the layouts that it may have."""

from __future__ import annotations

import dataclasses
from typing import Callable, Mapping, NamedTuple, Optional, Sequence

from cloudtf.data import words
from cloudtf.data.convert_config import ConvertConfig
from cloudtf.data.labels import UNKNOWN
from cloudtf.data.layouts.separators import Separator
from cloudtf.data.layouts.survey import Column
from cloudtf.errors import UserError, param

# The words of settings for what a label may say of a class.
VALUES = {"absent": 0, "present": 1, "unknown": UNKNOWN}


@dataclasses.dataclass(frozen=True)
class Options:
    """What a user says of a label table; all of it may be left to the table.

    Attributes:
      label_format: one of `labels.FORMATS`, or `auto`.
      classes: the class names in label order; of a one-hot table the columns to read.
      columns: further columns to read (a split, a group); they hold no classes.
      kept: columns to keep for evaluations; they are read too, and hold no classes.
      image_column: the column of the images' names.
      label_columns: the columns that say the classes.
      label_separator: what stands between the classes in a cell: a word of `separators.NAMES`, or
        the text itself.
      ignore_columns: columns to leave out of account.
      uncertain: what -1, or a word such as `uncertain`, says of a class beside yes and no: a key of
        `VALUES`; None: such a table is refused.
      blank: what a blank cell says in a column of yes and no: a key of `VALUES`.
      class_characters: `replace`: characters that a class name cannot have become `_`; `refuse`.
      present_words: cells that say yes in columns of yes and no, beside those that are known to.
      absent_words: cells that say no there.
    """

    label_format: str = ConvertConfig.label_format
    classes: tuple[str, ...] = ()
    columns: tuple[str, ...] = ()
    kept: tuple[str, ...] = ()
    image_column: Optional[str] = None
    label_columns: tuple[str, ...] = ()
    label_separator: Optional[str] = None
    ignore_columns: tuple[str, ...] = ()
    uncertain: Optional[str] = None
    blank: str = ConvertConfig.blank
    class_characters: str = ConvertConfig.class_characters
    present_words: tuple[str, ...] = ()
    absent_words: tuple[str, ...] = ()

    @property
    def said(self) -> dict[str, int]:
        """What the user has said that words mean, in lower case: 1: yes, 0: no."""
        yes, no = (
            [text.strip().lower() for text in texts if text.strip()]
            for texts in (self.present_words, self.absent_words)
        )
        return {**dict.fromkeys(yes, 1), **dict.fromkeys(no, 0)}

    @property
    def further_columns(self) -> tuple[str, ...]:
        """All columns that are read and hold no classes, each once."""
        return tuple(dict.fromkeys((*self.columns, *self.kept)))


@dataclasses.dataclass(frozen=True)
class Layout:
    """How a table is read.

    Attributes:
      kind: how rows are read, one of `labels.FORMATS`.
      image: the index of the column of the images' names.
      joined: whether its cells are `IMAGE_CLASS`.
      labels: indices of the columns of classes: one a class (onehot), or with names in their cells.
      families: in which words each column of a class, or `value`, says yes and no.
      value: index of the column of masks (kaggle_rle), or of the one that says if the class of the
        row is there (long).
      separator: how a cell of names is cut.
      vector: a cell has 0 or 1 for each of so many classes, in place of names; 0: names.
      minus: what -1 and words for what is not known say of a class: 0, 1 or -1.
      zero: what 0 and words for no say of a class: 0, but where 0 is uncertain beside -1 for no.
      blank: what a blank cell says of a class: 0 or -1.
      several: whether a cell of names may hold several of them.
      boxes: whether an image may have several rows of one class.
      prefixes: whether a class is called by its column too, since columns share names.
      answers: whether each name in a cell has yes or no behind it: `cat=1;dog=0`.
      whole: whether names of classes are whole numbers as pandas may write them, 1 as 1.0.
      relative: whether the runs of masks count from the end of the run before.
      said: what the user has said that words mean in columns of yes and no: 1: yes, 0: no.
    """

    kind: str
    image: int
    joined: bool = False
    labels: tuple[int, ...] = ()
    families: tuple[str, ...] = ()
    value: Optional[int] = None
    separator: Separator = Separator("")
    vector: int = 0
    minus: int = 0
    zero: int = 0
    blank: int = 0
    several: bool = False
    boxes: bool = False
    prefixes: bool = False
    answers: bool = False
    whole: bool = False
    relative: bool = False
    said: Mapping[str, int] = dataclasses.field(default_factory=dict)


class Candidate(NamedTuple):
    """A layout that a table may have.

    Attributes:
      score: how much speaks for it, 0 to 100.
      columns: those that say the classes.
      build: makes the layout, or raises UserError since something in it does not show.
    """

    score: int
    columns: list[Column]
    build: Callable[[], Layout]


class Facts(NamedTuple):
    """All by which a layout is recognised.

    Attributes:
      source: what messages call the table: its path, mostly.
      columns: all columns, in the order of the table.
      usable: the columns that are neither the image's nor to be left out of account.
      content: those among `usable` that may say classes, by what the user says.
      image: the column of the images' names.
      joined: whether the cells of `image` are `IMAGE_CLASS`.
      options: the user's settings for label tables.
    """

    source: str
    columns: list[Column]
    usable: list[Column]
    content: list[Column]
    image: Column
    joined: bool
    options: Options

    def unclear(self, why: str) -> UserError:
        """What to raise where `why`; names the setting that helps."""
        joint = "" if why.endswith(" or") else ";"
        return UserError(
            f"{self.source} {why}{joint} name the columns of classes with {param('label_columns')}."
        )

    def repeats_images(self) -> bool:
        """Whether images have several rows, as the first of them show."""
        return len(set(self.image.first)) < len(self.image.first)

    def has_boxes(self) -> bool:
        """Whether the table is one of boxes around objects."""
        names = {words.innermost(column.name) for column in self.columns}
        boxes = [name for name in names if words.is_box(name)]
        sizes: tuple[set[str], ...] = ({"w", "h"}, {"width", "height"}, {"dx", "dy"})
        beside = {"x", "y"} <= names and any(names >= size for size in sizes)
        return len(boxes) > 2 or any("box" in name for name in boxes) or beside


def listed(columns: Sequence[Column]) -> str:
    """The names of columns for a sentence, at most 400 characters."""
    text = ", ".join(column.shown for column in columns)
    return text if len(text) < 400 else f"{text[:396]} ..."
