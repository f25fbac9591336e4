"""Tables with the names of classes in their cells: a list for each image, or a row for each."""

from __future__ import annotations

import re
from typing import Optional

from cloudtf.data import words
from cloudtf.data.image_names import has_extension
from cloudtf.data.layouts import beside, printed_lists, qualifiers, separators
from cloudtf.data.layouts.facts import Candidate, Facts, Layout, listed
from cloudtf.data.layouts.survey import Column
from cloudtf.errors import UserError, param


def candidate(facts: Facts) -> Optional[Candidate]:
    """Names of classes: all of an image in one cell, or a row for each.

    Raises:
      UserError: the setting says that there are names, and there are none.
    """
    options = facts.options
    forced = options.label_format in ("list", "rows")
    columns, score = _columns(facts, forced)
    if not columns:
        if forced and facts.image.verbatim:
            raise _unclear_levels(facts)
        if forced:
            raise facts.unclear(f"has no column of names of classes: {listed(facts.content)}")
        return None
    boxes = facts.has_boxes()

    def build() -> Layout:
        others = [c for c in facts.content if c.values and c not in columns]
        if options.label_columns and others:
            raise UserError(
                f"{facts.source} has yes and no in {listed(others)} and the names of classes in "
                f"{listed(columns)}; give columns of one kind as {param('label_columns')}."
            )
        chosen = columns if options.label_columns else best_of(facts, columns)
        for column in chosen:
            _check_names(facts, column, forced)
        if len(chosen) == 1:
            _check_letters(facts, chosen[0], forced)
        beside.check_confidence(facts)
        beside.check_counts(facts, chosen)
        if not (forced or boxes):
            beside.check_answers(facts, chosen)
        _check_numbers(facts, chosen[0])
        separator = _separator(facts, chosen)
        cells = _cut(chosen, separator)
        vector = _vector(facts, chosen, cells, separator)
        several = len(chosen) > 1 or any(len(cell) > 1 for cell in cells)
        names = {name for cell in cells for name in cell}
        answers = not names & {*options.classes} and qualifiers.have_answers(
            facts.source, chosen[0].shown, names
        )
        said = options.label_separator or options.classes or _are_numbered(facts, chosen)
        if not (answers or said):
            separators.check_parts(facts.source, chosen[0].shown, names, separator)
            if several:
                qualifiers.check_doubts(facts.source, chosen[0].shown, names, separator)
        kind = "list"
        if options.label_format == "rows" or (not forced and (boxes or not several)):
            kind = "rows"
        return Layout(
            kind,
            facts.image.index,
            labels=tuple(c.index for c in chosen),
            separator=separator,
            vector=vector,
            several=several,
            boxes=boxes or options.label_format == "rows",
            prefixes=_share_names(chosen, separator),
            whole=not chosen[0].verbatim and words.are_whole(names),
            answers=answers,
        )

    return Candidate(85 if boxes else score, columns, build)


def _unclear_levels(facts: Facts) -> UserError:
    """What to raise for folders within folders, of which any may be those of the classes."""
    levels = [c for c in facts.content if c.values]
    shown = []
    for column in levels:
        few = ", ".join(sorted(column.values)[:3])
        shown.append(f"{column.name} ({few[:80]}{', ...' if len(column.values) > 3 else ''})")
    return UserError(
        f"{facts.source} has folders within folders, and any level may be that of the classes: "
        f"{', '.join(shown)}; name it, such as {param(label_columns=levels[-1].name)}."
    )


def _columns(facts: Facts, forced: bool) -> tuple[list[Column], int]:
    """The columns that may name classes, and the score that this gives."""
    columns = [c for c in facts.content if c.values and (forced or _may_name_classes(facts, c))]
    if facts.options.label_columns and any(c.are_codes() for c in columns):
        # Beside grades, 0 and 1 are grades.
        columns = [c for c in facts.content if c in columns or c.family == words.NUMBERS]
    if facts.options.label_columns:
        return columns, 60
    taxa = [c for c in columns if words.is_taxon(c.name)]
    if len(taxa) > 2:
        return taxa, 60
    boxes = facts.has_boxes()
    for rank, score in ((2, 60), (1, 40)):
        ranked = [
            c
            for c in columns
            if words.label_rank(c.name) == rank and not words.is_other(c.name, boxes)
        ]
        if ranked:
            return ranked, score
    # A single column whose name says nothing: names of classes, but not counts or ages.
    left = [c for c in facts.content if not c.values or not c.are_mostly(words.is_measure)]
    if len(left) != 1:
        return [], 0
    (only,) = left
    numbers = all(text.lstrip("-").isdigit() for text in only.values)
    grades = only.are_codes() and only.family is not None
    repeats = grades or only.repeats_texts()
    measured = numbers and (words.is_other(only.name) or not repeats)
    blank = not only.values and not words.is_other(only.name)
    if words.is_split(only.name):
        return [], 0
    return (left, 50) if blank or (only in columns and not measured) else ([], 0)


def _may_name_classes(facts: Facts, column: Column) -> bool:
    """Whether the cells may be names of classes: not yes and no, fractions, or names of files."""
    if column.family is not None:
        return words.is_class_column(column.name) or column.are_codes()
    # 0,3 and 1,2 may be fractions as well as lists.
    comma = all(re.fullmatch(r"-?\d+,\d+", text) for text in column.values)
    if comma and facts.options.label_separator is None and not facts.options.label_columns:
        return False
    return not column.are_mostly(words.is_measure) and not column.are_mostly(has_extension)


def _check_names(facts: Facts, column: Column, forced: bool) -> None:
    """Refuses yes and no in a column called `label`; 0 and 1 are the names of two classes."""
    said = column.family
    if forced or said is None:
        return
    if said != words.NUMBERS or any(column.truth(t, said) == -1 for t in column.values):
        raise UserError(
            f"{facts.source} has yes and no in the column {column.name!r}: give "
            f"{param(label_format='onehot')} if that is a class, {param(label_format='list')} if "
            "these are the names of classes."
        )


def _check_letters(facts: Facts, column: Column, forced: bool) -> None:
    """Refuses a letter or two, or 1 and 2, in a column whose name says nothing of classes: J and N
    may be yes and no in some language, or two classes. If the column was named as one of classes,
    only N and X are suspect."""
    numbers = set(column.values) == {"1", "2"}  # As questionnaires have them.
    letters = {text.lower() for text in column.values if len(text) == 1 and text.isalpha()}
    letters |= set(column.values) if numbers else set()
    if len(letters) < len(column.values) or len(letters) not in (1, 2):
        return
    named = forced or words.label_rank(column.name)
    if named or (facts.options.label_columns and not letters & {"n", "x"}):
        return
    shown = " and ".join(map(repr, sorted(column.values)))
    raise UserError(
        f"{facts.source} has {shown} in the column {column.shown!r}: if that says yes and no, say "
        f"which is which with {param('present_words')} and {param('absent_words')}, else give "
        f"{param(label_format='list')}."
    )


def best_of(facts: Facts, columns: list[Column]) -> list[Column]:
    """The column to take of several with names of classes, or all of `label_1`, `label_2`.

    Raises:
      UserError: they say different things.
    """
    stems = {c.name.rstrip("0123456789") for c in columns}
    if len(columns) < 2 or (len(stems) == 1 and not stems & {c.name for c in columns}):
        return columns
    # `class_name` beside `class_id`.
    texts = [c for c in columns if not all(t.lstrip("-").isdigit() for t in c.values)] or columns
    if any(not say_the_same(texts[0], other) for other in texts[1:]):
        raise facts.unclear(f"has names of classes in several columns: {listed(texts)}")
    return texts[:1]


def say_the_same(one: Column, other: Column) -> bool:
    """Whether each text of a column stands beside one and the same of another."""
    pairs = set(zip(one.first, other.first))
    return len(pairs) == len(set(one.first)) == len(set(other.first))


def _separator(facts: Facts, columns: list[Column]) -> separators.Separator:
    if facts.options.label_separator is not None:
        return separators.given(facts.options.label_separator)
    texts: dict[str, int] = {}
    for column in columns:
        for text, count in column.values.items():
            texts[text] = texts.get(text, 0) + count
    marks = {mark for column in columns for mark in column.separators}
    if not marks - {","} and _are_numbered(facts, columns) and not facts.options.classes:
        return separators.Separator("")
    if facts.has_boxes() and not printed_lists.are_lists(texts):
        return separators.Separator("")  # A row is an object, of one class.
    return separators.choose(facts.source, columns[0].shown, texts, marks, facts.options.classes)


def _are_numbered(facts: Facts, columns: list[Column]) -> bool:
    """Whether a column beside has a number for each text, so that each is one class."""
    numbers = [
        c
        for c in facts.usable
        if (words.is_class_number(c.name) or words.label_rank(c.name) == 2)
        and all(text.isascii() and text.isdigit() for text in c.first)
        and len(set(c.first)) < len(c.first)
    ]
    return len(columns) == 1 and any(
        c is not columns[0] and say_the_same(columns[0], c) for c in numbers
    )


def _check_numbers(facts: Facts, column: Column) -> None:
    """Refuses cells with several numbers behind each name: boxes, or how sure a model is.

    Raises:
      UserError: naming one.
    """

    def has_boxes(text: str) -> bool:
        numbers = [separators.is_number(part) for part in text.split()]
        return not numbers[0] and all(numbers[1:3]) and 3 * sum(numbers) >= 2 * len(numbers) > 4

    boxes = param(label_separator="boxes")
    if facts.options.label_separator != "boxes" and column.are_mostly(has_boxes):
        first = next(filter(has_boxes, column.values))
        raise UserError(
            f"{facts.source} has numbers behind the names of classes in the column "
            f"{column.shown!r} ({first[:60]!r}): leave the numbers out with {boxes}, or write a "
            "row for each image and class."
        )


def _share_names(columns: list[Column], separator: separators.Separator) -> bool:
    """Whether columns of different kinds have a name in common: black hair, black eyes."""
    if len({c.name.rstrip("0123456789") for c in columns}) == 1:
        return False
    found = [{name for cell in _cut([column], separator) for name in cell} for column in columns]
    return sum(map(len, found)) > len(set[str]().union(*found))


def _cut(columns: list[Column], separator: separators.Separator) -> list[list[str]]:
    found = []
    for text in (text for column in columns for text in column.values):
        try:
            found.append([] if words.is_no_class(text) else separator.cut(text))
        except ValueError:
            continue  # A problem of its row, when that is read.
    return found


def _vector(
    facts: Facts,
    columns: list[Column],
    cells: list[list[str]],
    separator: separators.Separator,
) -> int:
    """The number of classes that each cell has a 0 or 1 for; 0: cells hold names."""
    vector = separators.is_vector(cells) if len(columns) == 1 else 0
    if vector and len(facts.options.classes) != vector:
        # No image has a class twice.
        may_be_names = all(len(set(cell)) == len(cell) for cell in cells)
        options = facts.options
        if may_be_names and options.label_format == "list" and options.label_separator is not None:
            return 0
        names = f"{param(label_format='list')} with {param(label_separator=separator.name)}"
        hint = (
            f", or, if 0 and 1 are the names of two classes, give {names}" if may_be_names else ""
        )
        raise UserError(
            f"{facts.source} has {vector} numbers of 0 and 1 in each cell of the column "
            f"{columns[0].shown!r}; name their classes, in that order, with {param('classes')}"
            f"{hint}."
        )
    return vector
