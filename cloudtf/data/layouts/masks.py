"""Tables of run-length encoded masks, of which only matters which are empty."""

from __future__ import annotations

from typing import Optional

from cloudtf.data import words
from cloudtf.data.layouts.facts import Candidate, Facts, Layout, Options, listed
from cloudtf.data.layouts.names_of_classes import best_of
from cloudtf.data.layouts.survey import Column, are_relative, mask_likeness
from cloudtf.errors import UserError, param

# What the columns are called that have the masks of several columns, and the names of these.
CLASS, MASK = "[column]", "[mask]"


def are_of_classes(columns: list[Column], options: Options) -> bool:
    """Whether the user has named several columns of masks, each of which is a class."""
    named = [c for c in columns if c.name in options.label_columns]
    if len(named) < 2 or options.label_format not in ("auto", "kaggle_rle"):
        return False
    found = [mask_likeness(c) for c in named if c.values]
    return any(found) and all(likely is not False for likely in found)


def candidate(facts: Facts) -> Optional[Candidate]:
    """A row of a mask for each image, or for each image and class.

    Raises:
      UserError: the setting says that there are masks, and there are none, or in two columns.
    """
    forced = facts.options.label_format == "kaggle_rle"
    found, sure = _columns(facts)
    if not found and not forced:
        return None
    if not found:
        raise UserError(
            f"{facts.source} has no column of masks, such as EncodedPixels, as "
            f"{param(label_format='kaggle_rle')} has."
        )
    if len(found) > 1:
        raise UserError(
            f"{facts.source} has masks in the columns {listed(found)}: if each is of a class, name "
            f"all of them with {param('label_columns')}, else leave out all but one with "
            f"{param('ignore_columns')}."
        )
    mask = found[0]

    def build() -> Layout:
        if not sure and not forced:
            raise UserError(
                f"{facts.source} has lists of numbers in the column {mask.shown!r}, which may be "
                f"masks or classes: give {param(label_format='kaggle_rle')} or "
                f"{param(label_format='list')}."
            )
        named = [c for c in facts.content if c is not mask]
        if facts.options.label_columns and named and not forced:
            raise UserError(
                f"{facts.source} has masks beside {listed(named)}: give "
                f"{param(label_format='kaggle_rle')} if those that are not empty say which classes "
                f"an image has, else {param(ignore_columns=mask.name)}."
            )
        hot = [c for c in named if c.family is not None and not words.is_other(c.name)]
        if hot and not facts.joined and not forced and not _classes(named):
            raise UserError(
                f"{facts.source} has masks in the column {mask.shown!r} beside yes and no in "
                f"{listed(hot)}: give {param(label_format='kaggle_rle')} or "
                f"{param(label_format='onehot')}."
            )
        classes: list[Column] = []
        if not facts.joined:
            if not facts.options.label_columns:
                named = _classes(named)
            classes = best_of(facts, named)
        return Layout(
            "kaggle_rle",
            facts.image.index,
            joined=facts.joined,
            labels=tuple(c.index for c in classes),
            value=mask.index,
            whole=any(column.are_whole() for column in classes),
            relative=are_relative(mask),
        )

    return Candidate(100, [mask], build)


def _classes(columns: list[Column]) -> list[Column]:
    """The columns that name the class of each mask."""
    return [c for c in columns if words.label_rank(c.name) == 2 and c.values]


def _columns(facts: Facts) -> tuple[list[Column], bool]:
    """The columns of masks, and whether they cannot be anything else."""
    named = [c for c in facts.usable if words.is_mask(c.name) and _may_be_masks(c)]
    if named:
        return named, True
    boxes = facts.has_boxes()
    # With the setting, columns that the user has named have the classes of the masks.
    content = facts.usable if facts.options.label_format == "kaggle_rle" else facts.content
    likely = {c.index: mask_likeness(c) for c in content if not words.is_other(c.name, boxes)}
    found = [c for c in content if likely.get(c.index)]
    if found:
        return found, True
    if facts.options.label_format == "auto" and (
        facts.options.label_separator or facts.options.classes
    ):
        return [], False
    unclear = [c for c in content if likely.get(c.index, False) is None]
    # Beside columns of classes, pairs of small numbers are something else.
    others = [c for c in facts.content if words.label_rank(c.name) and c not in unclear]
    return ([] if others else unclear), False


def _may_be_masks(column: Column) -> bool:
    """Whether a column of such a name has lists of numbers, sound or not, or nothing at all."""
    if words.plain(column.name) == "encodedpixels":
        return True
    texts = list(column.values)
    numbers = [t for t in texts if t.replace(" ", "").lstrip("-").isdigit()]
    return 2 * len(numbers) >= len(texts) and (not texts or any(" " in t for t in numbers))
