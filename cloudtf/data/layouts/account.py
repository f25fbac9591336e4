"""How a label table was read, in words, so that a wrong guess is seen."""

from __future__ import annotations

import shutil
import textwrap
from typing import TYPE_CHECKING, Sequence

from cloudtf.data import words
from cloudtf.data.labels import UNKNOWN, LabelTable, classes_with
from cloudtf.data.layouts.facts import VALUES, Layout, Options
from cloudtf.data.layouts.survey import Column
from cloudtf.errors import param

if TYPE_CHECKING:
    from cloudtf.data.label_builder import TableBuilder

# Images that are shown.
_EXAMPLES = 3
_KINDS = {
    "kaggle_rle": "masks, of which those that are not empty say which classes an image has",
    "onehot": "a column of yes and no for each class",
    "list": "a list of classes for each image",
    "rows": "a row for each image and class",
    "long": "a row for each image and class, with yes or no",
}


def account(
    columns: Sequence[Column],
    layout: Layout,
    options: Options,
    builder: TableBuilder,
    table: LabelTable,
) -> tuple[str, ...]:
    """Lines that say the kind of table, its columns, what was decided, and three images.

    Args:
      columns: all columns of the table, in its order.
      layout: how the table was read.
      options: what the user has said of the table; the columns of the splits, and those
        that are kept, are shown.
      builder: the collector of the labels, which counts what it has met.
      table: the labels that came of it.
    """
    if builder.source.verbatim:
        about = _account_of_folders(layout, options, builder, table)
        return (*about, *_notes(columns, layout, options, builder))
    shown = {column.index: column.shown for column in columns}
    lines = [f"{builder.source.source} is read as:", *_entry("kind", [_kind(layout, builder)])]
    lines += _entry("image", [shown[layout.image]])
    if layout.kind == "onehot":
        lines += _entry("classes", [shown[i] for i in layout.labels])
    elif layout.joined:
        lines += _entry("class", [f"behind the image's name in {shown[layout.image]}"])
    elif layout.labels:
        lines += _entry("class", [shown[i] for i in layout.labels])
    if layout.value is not None:
        is_mask = layout.kind == "kaggle_rle"
        lines += _entry("mask" if is_mask else "yes or no", [shown[layout.value]])
    if options.columns:
        lines += _entry("splits", list(options.columns))
    if options.kept:
        lines += _entry("kept", list(options.kept))
    used = {layout.image, layout.value, *layout.labels}
    others = [
        c.shown
        for c in columns
        if c.index not in used and c.name not in options.further_columns and (c.name or c.values)
    ]
    if others:
        lines += _entry("not used", others)
    for number in range(min(_EXAMPLES, len(table.names))):
        lines += _entry(f"row {table.rows[number]}", [_example(table, number)])
    return (*lines, *_notes(columns, layout, options, builder))


def _account_of_folders(
    layout: Layout, options: Options, builder: TableBuilder, table: LabelTable
) -> list[str]:
    """The same of folders: an example of each of some classes, in the place of rows."""
    lines = [f"{builder.source.source} is read as:", *_entry("kind", ["a folder for each class"])]
    levels = [builder.source.header[i] for i in layout.labels]
    if levels != ["label"]:
        lines += _entry("class", levels)
    lines += _entry("classes", table.classes)
    if options.columns:
        lines += _entry("splits", list(options.columns))
    first = [
        int(at[0]) for at in (column.nonzero()[0] for column in table.labels.T == 1) if len(at)
    ]
    for number in list(dict.fromkeys(first))[:_EXAMPLES]:
        lines += _entry("such as", [_example(table, number)])
    return lines


def _example(table: LabelTable, number: int) -> str:
    """An image and its classes."""
    label = table.labels[number]
    said = ", ".join(classes_with(1, label, table.classes)) or "(none)"
    unknown = ", ".join(classes_with(UNKNOWN, label, table.classes))
    return f"{table.names[number]}: {said}" + (f"; unknown: {unknown}" if unknown else "")


def _kind(layout: Layout, builder: TableBuilder) -> str:
    if layout.kind == "rows" and not builder.several_rows:
        return "a class for each image"
    kind = _KINDS[layout.kind]
    if layout.kind == "list" and layout.separator.text:
        kind += f", separated by {layout.separator.name}"
    kind += ", each with yes or no" * layout.answers
    return kind


def _entry(what: str, texts: Sequence[str]) -> list[str]:
    text = ", ".join(texts)
    return _wrapped(text if len(text) <= 300 else f"{text[:296]} ...", f"  {what:<9} ")


def _wrapped(text: str, start: str) -> list[str]:
    width = min(max(shutil.get_terminal_size().columns, 40), 100)
    return textwrap.wrap(
        text,
        width,
        initial_indent=start,
        subsequent_indent=" " * (len(start) or 2),
        break_long_words=False,
        break_on_hyphens=False,
    )


def _answers(columns: Sequence[Column], layout: Layout) -> list[tuple[Column, str]]:
    """The columns of yes and no, and in which words they say it."""
    indices = layout.labels if layout.kind == "onehot" else (layout.value,)
    return [(columns[i], name) for i, name in zip(indices, layout.families) if i is not None]


def _notes(
    columns: Sequence[Column], layout: Layout, options: Options, builder: TableBuilder
) -> list[str]:
    notes = []
    hot = [columns[i] for i in layout.labels] if layout.kind == "onehot" else []
    blanks = sum(sum(c.texts.values()) - sum(c.values.values()) for c in hot)
    if blanks:
        notes.append(f"{blanks:,} blank cells count as {options.blank}.")
    uncertain = sum(
        count
        for column, name in _answers(columns, layout)
        for text, count in column.values.items()
        if column.truth(text, name) == (0 if layout.zero else -1)
    )
    said = layout.zero or layout.minus
    if uncertain and options.uncertain and VALUES[options.uncertain] == said:
        notes.append(f"{uncertain:,} uncertain cells count as {options.uncertain}.")
    named = [columns[i] for i in layout.labels] if layout.kind in ("list", "rows") else []
    empty = [
        (text, count)
        for column in named
        for text, count in column.texts.items()
        if text and text not in column.values
    ]
    none = named[0].texts[""] if len(named) == 1 else 0
    if none:
        many = "1 blank cell counts" if none == 1 else f"{none:,} blank cells count"
        notes.append(f"{many} as none of the classes.")
    if empty:
        count = sum(number for _, number in empty)
        notes.append(f"{count:,} cells such as {empty[0][0]!r} count as blank.")
    if builder.without_class:
        number, noun = builder.without_class, "photograph" if builder.source.verbatim else "row"
        many = f"1 {noun} of no finding counts"
        if number > 1:
            many = f"{number:,} {noun}s of no finding count"
        notes.append(f"{many} as none of the classes.")
    if layout.kind == "rows" and builder.several_rows and not builder.source.verbatim:
        notes.append("The rows of an image add up.")
    if layout.prefixes:
        notes.append("Classes are called by their columns too, which share names.")
    if builder.renamed:
        first = next(iter(builder.renamed.items()))
        number = len(builder.renamed)
        many = "1 class is renamed:" if number == 1 else f"{number:,} classes are renamed, such as"
        notes.append(f"{many} {first[0]} to {first[1]}.")
    for column in columns:
        if words.is_split(column.name) and column.name not in options.further_columns:
            hint = param(split_column=column.name)
            notes.append(f"{column.name} may say the split: {hint} keeps it.")
    return [line for note in notes for line in _wrapped(note, "  ")]
