"""What the cells of each column are like, over all rows of a table and in bounded memory."""

from __future__ import annotations

import collections
import dataclasses
import functools
import operator
import re
from typing import Callable, Iterator, Mapping, Optional

from cloudtf.data import rle, words
from cloudtf.data.csv_rows import Row
from cloudtf.data.tables import Table

# Different cells of a column that are kept; a column of more is one of names, numbers or prose.
MAX_DISTINCT = 20_000
# Characters of a cell that are kept.
MAX_KEPT = 200
# Rows and characters that are looked at together.
_CHUNK_ROWS, _CHUNK_CHARACTERS = 4096, 1 << 20
# What may stand between classes in a cell.
SEPARATORS = "|;,\n"
# Cells of the first rows that are kept in their order.
_FIRST = 1000
# Numbers from here on are of pixels, not of classes.
_NO_CLASS = 10_000


@dataclasses.dataclass(eq=False)
class Column:
    """The cells of one column; what follows from them is known once all are there.

    Attributes:
      index: the number of the column, from 0.
      name: its name in the header; may be empty.
      texts: how often each text comes, without spaces around it, `MAX_KEPT` characters of it; of
        some texts only where there are more than `MAX_DISTINCT`.
      many: whether there are more different texts than that.
      separators: those of `SEPARATORS` that are somewhere in its cells.
      first: the cells of the first rows.
      said: what the user has said that words mean, in lower case: 1: yes, 0: no.
      verbatim: whether texts such as `none` are what they say; see `Table`.
    """

    index: int
    name: str
    texts: collections.Counter[str] = dataclasses.field(default_factory=collections.Counter)
    many: bool = False
    separators: set[str] = dataclasses.field(default_factory=set)
    first: list[str] = dataclasses.field(default_factory=list)
    said: Mapping[str, int] = dataclasses.field(default_factory=dict)
    verbatim: bool = False

    @property
    def shown(self) -> str:
        """What messages call it."""
        return self.name or f"column {self.index + 1}"

    @functools.cached_property
    def values(self) -> dict[str, int]:
        """The texts that are not blank, and how often each comes."""
        is_blank = operator.not_ if self.verbatim else words.is_blank
        return {text: count for text, count in self.texts.items() if not is_blank(text)}

    def has_blanks(self) -> bool:
        """Whether some cell has no value."""
        return len(self.values) < len(self.texts)

    @functools.cached_property
    def family(self) -> Optional[str]:
        """The family of yes and no in which the cells are written; None: they say something else.

        Numbers may be mixed with up to as many other cells, which are mistakes then; words may not.
        """
        if self.many or not self.values:
            return None
        for name in words.FAMILIES:
            if all(self.truth(text, name) is not None for text in self.values):
                return name
        total = sum(self.values.values())
        numbers = sum(
            n for text, n in self.values.items() if self.truth(text, words.NUMBERS) is not None
        )
        return words.NUMBERS if 2 * numbers >= total else None

    def truth(self, text: str, family: str) -> Optional[int]:
        """What a cell says in the words of a family, or by what the user has said."""
        said = self.said.get(text.strip().lower())
        return words.truth(text, family) if said is None else said

    def are_codes(self) -> bool:
        """Whether all cells are whole numbers, of which some are more than 1: grades, say."""
        if self.said and all(text.lower() in self.said for text in self.values):
            return False  # The user has said that they say yes and no.
        whole = [re.fullmatch(r"0*(\d{1,9})(\.0*)?", text, re.ASCII) for text in self.values]
        return all(whole) and any(number and int(number[1]) > 1 for number in whole)

    def are_whole(self) -> bool:
        """Whether the cells are the names of classes as numbers, which pandas wrote as 1.0."""
        return not self.verbatim and words.are_whole(self.values)

    def are_mostly(self, test: Callable[[str], bool]) -> bool:
        """Whether more than half of the cells that are not blank pass a test."""
        passed = sum(count for text, count in self.values.items() if test(text))
        return 2 * passed > sum(self.values.values())

    def repeats_texts(self) -> bool:
        """Whether most texts come in several rows, as names of classes do."""
        return 2 * len(self.values) <= sum(self.values.values())

    def add(self, cells: tuple[str, ...]) -> None:
        """Takes the cells of some rows into account."""
        if len(self.first) < _FIRST:
            self.first += [cell[:MAX_KEPT].strip() for cell in cells[: _FIRST - len(self.first)]]
        joined = "\0".join(cells)
        self.separators.update(c for c in SEPARATORS if c in joined)
        if not self.many:
            for cell, count in collections.Counter(cells).items():
                self.texts[cell.strip()[:MAX_KEPT]] += count
            self.many = len(self.texts) > MAX_DISTINCT


def survey(table: Table, said: Optional[Mapping[str, int]] = None) -> list[Column]:
    """Goes through a table once.

    Args:
      table: its rows are gone through once, and not kept.
      said: what the user has said that words mean, in lower case: 1: yes, 0: no.

    Raises:
      UserError: some row cannot be read.
    """
    columns = [
        Column(index, name, said=said or {}, verbatim=table.verbatim)
        for index, name in enumerate(table.header)
    ]
    for chunk in _chunks(table.rows()):
        for column, cells in zip(columns, zip(*chunk)):
            column.add(cells)
    return columns


def _chunks(rows: Iterator[Row]) -> Iterator[list[list[str]]]:
    chunk: list[list[str]] = []
    characters = 0
    for _, cells in rows:
        chunk.append(cells)
        characters += sum(map(len, cells))
        if len(chunk) == _CHUNK_ROWS or characters > _CHUNK_CHARACTERS:
            yield chunk
            chunk, characters = [], 0
    if chunk:
        yield chunk


def is_index(column: Column) -> bool:
    """Whether a column counts the rows, as pandas writes its index."""
    numbers = [cell for cell in column.first if cell.isascii() and cell.isdigit()]
    if len(numbers) < len(column.first):
        return False
    return all(int(b) == int(a) + 1 for a, b in zip(numbers, numbers[1:]))


def mask_likeness(column: Column) -> Optional[bool]:
    """Whether the cells are masks: True: they are, False: some cannot be, None: they may be.

    Masks are pairs of whole numbers in order. Small ones are classes of an image as well.
    """
    texts = _masks(column)
    if not texts or not all(_is_sound(text) for text in texts):
        return False
    return True if any(int(n) >= _NO_CLASS for text in texts for n in text.split()) else None


def are_relative(column: Column) -> bool:
    """Whether the runs of most masks of a column only make sense from the end of the run before."""
    texts = _masks(column)
    wrong = [text for text in texts if not _is_sound(text) and _is_sound(text, relative=True)]
    return len(wrong) > 1 and 2 * len(wrong) > len(texts)


def _masks(column: Column) -> list[str]:
    """The cells that are not empty masks, without a number that may have been cut off."""
    texts = [text for text in column.values if not rle.is_empty(text)]
    return [
        text if len(text) < MAX_KEPT else " ".join(text.split()[: len(text.split()) // 2 * 2 - 2])
        for text in texts
    ]


def _is_sound(text: str, relative: bool = False) -> bool:
    try:
        rle.check(text, relative=relative)
    except ValueError:
        return False
    return True
