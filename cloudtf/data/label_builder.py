"""What the rows of a label table come to: images, classes, labels and problems."""

from __future__ import annotations

import itertools
import posixpath
from array import array
from typing import Optional, Sequence

import numpy as np

from cloudtf.data.image_names import ImageNames, slashed
from cloudtf.data.labels import (
    LabelTable,
    Problem,
    check_class,
    check_distinct,
    check_name,
    replaced_characters,
)
from cloudtf.data.layouts.facts import Options
from cloudtf.data.tables import Table
from cloudtf.errors import UsageError, UserError, param

# A column that gives more classes than this is not one of classes.
MAX_CLASSES = 10_000
# Bytes of the table of labels.
MAX_LABELS = 4_000_000_000


def one_spelling(name: str) -> str:
    """One spelling for all names of a file, which must not become several images."""
    return posixpath.normpath(name) if name.startswith(".") or "/" in name else name


class TableBuilder:
    """Collects images, the classes that their rows mention, and the problems."""

    def __init__(self, source: Table, options: Options, names: Optional[ImageNames]) -> None:
        self.source, self.names, self.columns = source, names, options.further_columns
        self.replaces = options.class_characters == "replace"
        # Whether classes such as 1.0 are called 1.
        self.whole = False
        self.fixed = bool(options.classes)
        # Whether the user has said which columns are of classes.
        self.from_setting = bool(options.classes or options.label_columns)
        self.images: dict[str, int] = {}  # Name -> number, in the order of the file.
        self.first_rows = array("q")
        self.classes: dict[str, int] = {}
        # One entry a mention: which image, which class, 1 (present), 0 or -1 (unknown).
        self.mentions = array("q"), array("i"), array("b")
        self._masks: dict[int, bytes] = {}
        # How many rows say that an image has no class; whether images have several rows.
        self.without_class, self.several_rows = 0, False
        # Class names that were changed: as they stand in the table -> as they are used.
        self.renamed: dict[str, str] = {}
        self._extra_at = [source.header.index(name) for name in self.columns]
        self._extra: list[tuple[str, ...]] = []  # One an image, equal ones once.
        self._extra_kinds: dict[tuple[str, ...], tuple[str, ...]] = {}
        self._problems: list[tuple[int, Problem]] = []
        self._dropped: set[str] = set()
        if len(set(options.classes)) < len(options.classes):
            raise UsageError(f"{param('classes')} names a class twice.")
        self.add_classes(options.classes)

    def add_classes(self, names: Sequence[str]) -> list[str]:
        """Adds classes of a setting or a header; UserError if one of them cannot be a class.

        Returns:
          What they are called from now on.
        """
        used = []
        for name in names:
            name = self._usable(name)
            try:
                self._add_class(name)
            except ValueError as error:
                raise UserError(
                    f"{self.source.source}: the class name {name[:60]!r} {error}{self._hint(name)}."
                ) from error
            used.append(name)
        return used

    def _usable(self, name: str) -> str:
        """A class's name without the characters that it cannot have, if those are replaced, and
        without the decimals of a whole number."""
        if name in self.classes or not (self.replaces or self.whole):
            return name
        used = name.partition(".")[0] if self.whole else name
        if self.replaces:
            used = self.renamed.get(name) or replaced_characters(used)
        if used != name:
            if used in self.renamed.values() and name not in self.renamed:
                raise UserError(
                    f"{self.source.source} has the class {name[:60]!r} and another that becomes "
                    f"{used[:60]!r} too; rename one."
                )
            self.renamed[name] = used
        return used

    def _hint(self, name: str) -> str:
        if self.replaces or replaced_characters(name) == name:
            return ""
        return f" (write _ in their place with {param(class_characters='replace')})"

    def _add_class(self, name: str) -> int:
        """The number of a class, which may be new; ValueError, one phrase, if it cannot be one."""
        if name in self.classes:
            return self.classes[name]
        check_class(name)
        if len(self.classes) == MAX_CLASSES:
            raise UserError(
                f"{self.source.source} names more than {MAX_CLASSES:,} classes; is it the right "
                "column?"
            )
        self.classes[name] = len(self.classes)
        return self.classes[name]

    def problem(self, name: str, row: int, reason: str, drops_image: bool = True) -> None:
        """Notes what is wrong with a row, and that its image is not to be used."""
        self._problems.append((row, Problem(name, f"row {row} {reason}", drops_image)))
        if drops_image:
            self._dropped.add(name)

    def image(self, raw: str, row: int, cells: list[str]) -> Optional[tuple[int, str]]:
        """An image's number and name, noted on its first row; None, and a problem, if unusable."""
        name = raw.strip()
        number = self.images.get(name)
        if number is not None:
            others = self._others(number, cells) if self.columns else []
            if others:
                reason = f"gives {name} another {' and '.join(others)} than"
                self.problem(name, row, f"{reason} row {self.first_rows[number]}")
                return None
            return number, name
        try:
            check_name(name)
            plain = one_spelling(name)
        except ValueError as error:
            # A path of another machine: perhaps its end is that of a file here.
            plain = slashed(name)
            if self.names is None or not plain or not self.names.knows(plain):
                self.problem(name, row, str(error))
                return None
        if plain != name:
            return self.image(plain, row, cells)
        number = self.images[name] = len(self.images)
        self.first_rows.append(row)
        if self.columns:
            extra = tuple(cells[i] for i in self._extra_at)
            self._extra.append(self._extra_kinds.setdefault(extra, extra))
        return number, name

    def _others(self, number: int, cells: list[str]) -> list[str]:
        """The further columns in which a row has something else than the first of its image."""
        known = zip(self.columns, self._extra[number], self._extra_at)
        return [column for column, cell, index in known if cells[index] != cell]

    def mention(self, image: tuple[int, str], row: int, class_name: str, value: int) -> bool:
        """Notes a class of an image; False, and a problem, if it cannot be one or is not listed.

        Args:
          image: number and name of the image.
          row: the number of the row, for messages.
          class_name: the class, as the table writes it.
          value: 1: present, 0: absent, -1: unknown.
        """
        class_name = self._usable(class_name)
        number = self.classes.get(class_name)
        if number is None:
            if self.fixed:
                self.problem(image[1], row, f"has the unknown class {class_name[:60]!r}")
                return False
            try:
                number = self._add_class(class_name)
            except ValueError as error:
                reason = f"cannot be used: the class name {class_name[:60]!r} {error}"
                self.problem(image[1], row, reason + self._hint(class_name))
                return False
        for column, entry in zip(self.mentions, (image[0], number, value)):
            column.append(entry)
        return True

    def table(self) -> LabelTable:
        """The result; classes that only images with problems mention are not in it."""
        if not self.classes and self._problems:
            raise self._useless("has no row that can be used")
        if not self.classes:
            raise UserError(
                f"{self.source.source} names no class at all; there is nothing to learn."
            )
        keep = np.array([name not in self._dropped for name in self.images], bool)
        images, numbers, values = (np.frombuffer(a, a.typecode) for a in self.mentions)
        kept = keep[images] if len(images) else np.zeros(0, bool)
        all_classes = list(self.classes)
        if self.fixed:
            classes = all_classes
        else:
            classes = sorted(all_classes[i] for i in np.unique(numbers[kept]))
            if not classes:
                raise self._useless("names classes only in rows that cannot be used")
        try:
            check_distinct(classes)
        except ValueError as error:
            raise UserError(f"{self.source.source}: {error}.") from error
        names = tuple(itertools.compress(self.images, keep))
        if len(names) * len(classes) > MAX_LABELS:
            raise UserError(
                f"{self.source.source} names {len(classes):,} classes for {len(names):,} images, "
                "which no table can hold; is it the right column?"
            )
        at = np.full(len(all_classes), -1)
        at[[self.classes[name] for name in classes]] = np.arange(len(classes))
        said = kept & (values != 0)
        labels = np.zeros((len(names), len(classes)), np.int8)
        labels[(np.cumsum(keep) - 1)[images[said]], at[numbers[said]]] = values[said]
        extra = list(itertools.compress(self._extra, keep))
        return LabelTable(
            names=names,
            labels=labels,
            classes=tuple(classes),
            rows=np.array(self.first_rows, np.int64)[keep],
            columns={
                column: tuple(texts[i].strip() for texts in extra)
                for i, column in enumerate(self.columns)
            },
            problems=tuple(p for _, p in sorted(self._problems, key=lambda entry: entry[0])),
            masks=self._masks_of_images(keep, at) if self._masks else (),
        )

    def keep_mask(self, mention: int, runs: bytes) -> None:
        """Keeps the mask of a mention until the photograph is there of which it is.

        Packed (see `rle.pack`): the masks of a large set are hundreds of megabytes of digits.
        """
        self._masks[mention] = runs

    def _masks_of_images(
        self, keep: np.ndarray, at: np.ndarray
    ) -> tuple[tuple[tuple[int, bytes], ...], ...]:
        """The masks of each image that is kept, by the numbers of the classes that are."""
        images, numbers, _ = self.mentions
        found: list[list[tuple[int, bytes]]] = [[] for _ in range(len(keep))]
        for mention, runs in self._masks.items():
            found[images[mention]].append((int(at[numbers[mention]]), runs))
        return tuple(tuple(masks) for masks, kept in zip(found, keep) if kept)

    def _useless(self, why: str) -> UserError:
        _, first = min(self._problems, key=lambda entry: entry[0])
        return UserError(
            f"{self.source.source} {why}; the first problem is {first.file!r}: {first.reason}."
        )
