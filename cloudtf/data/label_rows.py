"""The rows of each kind of label table: what they say of which image and class."""

from __future__ import annotations

import functools
import itertools
from array import array
from concurrent.futures import ThreadPoolExecutor
from typing import Callable, Iterator, NamedTuple, Optional, Union

import numpy as np

from cloudtf import machine
from cloudtf.data import image_names, rle, words
from cloudtf.data.image_names import Splitter
from cloudtf.data.label_builder import MAX_CLASSES, TableBuilder, one_spelling
from cloudtf.data.layouts import qualifiers
from cloudtf.data.layouts.facts import Layout
from cloudtf.data.layouts.survey import Column
from cloudtf.errors import UsageError, param

# The class of masks that name none.
PRESENT = "present"
# Masks that are checked together: so many rows or characters.
_CHUNK_ROWS, _CHUNK_CHARACTERS = 4096, 1 << 18


def parse(builder: TableBuilder, layout: Layout, columns: list[Column]) -> None:
    """Goes through the rows of a table once and gives what they say to the builder.

    Args:
      builder: collects images, classes and problems; it knows the table.
      layout: how the table is to be read.
      columns: what the cells of each column are like, from `survey`.
    """
    parsers = {
        "kaggle_rle": _parse_masks,
        "long": _parse_long,
        "onehot": _parse_onehot,
        "list": _parse_lists,
        "rows": _parse_lists,
    }
    builder.whole = layout.whole
    parsers[layout.kind](builder, layout, columns)


def _pairs(
    builder: TableBuilder, layout: Layout, columns: list[Column]
) -> Callable[[int, list[str]], Optional[tuple[str, str]]]:
    """What finds the image and the class of a row; None, and a problem, if it has them not.

    The class is empty where the row names an image alone.
    """
    if not layout.joined:
        at = layout.labels[0] if layout.labels else None
        only = next(iter(builder.classes), PRESENT)

        def apart(row: int, cells: list[str]) -> Optional[tuple[str, str]]:
            image = cells[layout.image].strip()
            class_name = only if at is None else cells[at].strip()
            named = at is None or not words.is_blank(class_name)
            return image, class_name if named else ""

        return apart

    known = list(builder.classes)
    if not known:
        known = image_names.established(columns[layout.image].texts, builder.names, MAX_CLASSES)
    split = Splitter(builder.names, known)

    def divided(row: int, cells: list[str]) -> Optional[tuple[str, str]]:
        joined = cells[layout.image].strip()
        ways = split.ways(joined)
        if len(ways) == 1:
            return ways[0]
        name = one_spelling(joined.strip("_").strip())
        if not ways and builder.names is not None and builder.names.knows(name):
            return name, ""
        if not ways:
            builder.problem(name, row, "is not named IMAGE_CLASS")
        else:
            either = " or ".join(f"{i!r} and {c!r}" for i, c in ways)
            builder.problem(name, row, f"may be the image and class {either}"[:300])
        return None

    return divided


class _Seen:
    """Which (image, class) was mentioned in which row, and what the row said of it."""

    def __init__(self, builder: TableBuilder, objects: bool = False) -> None:
        """Begins without mentions; `objects`: several rows may each have one of the class."""
        self.builder, self.objects = builder, objects
        # One entry a mention.
        self.rows, self.said = array("q"), array("q")
        self.problems: dict[int, str] = {}

    def add(self, row: int, said: int, problem: str = "") -> None:
        """Notes the mention that the builder has just taken.

        Args:
          row: the number of the row, as messages have it.
          said: a number that is equal for equal statements.
          problem: a phrase on what is wrong with the row; empty if it is sound.
        """
        if problem:
            self.problems[len(self.rows)] = problem
        self.rows.append(row)
        self.said.append(said)

    def report(self) -> None:
        """Notes as problems what is wrong with rows, and those that repeat or contradict others."""
        builder = self.builder
        names, class_names = list(builder.images), list(builder.classes)
        images, numbers, values = builder.mentions
        for later, first in _repeats(images, numbers, len(class_names)):
            if self.objects and values[later] and values[first]:
                continue
            self.problems.pop(later, None)
            name, class_name = names[images[later]], class_names[numbers[later]]
            equal = self.said[later] == self.said[first]
            verb = "repeats" if equal else "contradicts"
            reason = f"({class_name}) {verb} row {self.rows[first]}"
            builder.problem(name, self.rows[later], reason, drops_image=not equal)
        for at, reason in self.problems.items():
            builder.problem(names[images[at]], self.rows[at], reason)


def _repeats(images: array, classes: array, num_classes: int) -> Iterator[tuple[int, int]]:
    """Indices of mentions of an (image, class) that was mentioned before, and of the first."""
    keys = np.array(images, np.int64) * num_classes + np.array(classes, np.int64)
    order = np.argsort(keys, kind="stable")
    new = np.diff(keys[order], prepend=-1) > 0
    first = order[np.maximum.accumulate(np.where(new, np.arange(len(order)), 0))]
    yield from zip(order[~new].tolist(), first[~new].tolist())


def _named(
    builder: TableBuilder,
    layout: Layout,
    columns: list[Column],
    is_nothing: Callable[[str, str], bool],
) -> Iterator[tuple[int, list[str], tuple[int, str], str]]:
    """Number, cells, image (its number and name) and class of each row that names both.

    A row of an image alone is one that has none of the classes, if `is_nothing` says so of its
    class and its value; else that is a problem.
    """
    assert layout.value is not None
    pair_of = _pairs(builder, layout, columns)
    for row, cells in builder.source.rows():
        pair = pair_of(row, cells)
        if not pair:
            continue
        nothing = pair[1] not in builder.classes and is_nothing(pair[1], cells[layout.value])
        if not (pair[1] or nothing):
            without = "is not named IMAGE_CLASS" if layout.joined else "has no class"
            builder.problem(one_spelling(pair[0]), row, without)
            continue
        image = builder.image(pair[0], row, cells)
        if nothing:
            builder.without_class += 1
        elif image:
            yield row, cells, image, pair[1]


def _parse_masks(builder: TableBuilder, layout: Layout, columns: list[Column]) -> None:
    assert layout.value is not None
    # Where the columns are apart, each row may be of one of several objects.
    seen = _Seen(builder, objects=not layout.joined)
    check = functools.partial(_check_masks, relative=layout.relative)
    chunks = _chunks_of_masks(builder, layout, columns)
    with ThreadPoolExecutor(machine.usable_cores()) as pool:
        # Numbers are read without Python's lock, so that this goes on beside reading the rows.
        checked = machine.map_ahead(pool, check, chunks, 2 * machine.usable_cores())
        for mask, packed in itertools.chain.from_iterable(checked):
            problem = ""
            if isinstance(packed, ValueError):
                problem = f"({mask.class_name}) has a malformed mask: {packed}"
            elif packed is not None:
                builder.keep_mask(len(seen.rows), packed)
            # Python's hash of a text has 64 bits and a secret key: none can be made to clash.
            seen.add(mask.row, hash(mask.text), problem)
    seen.report()


class _Mask(NamedTuple):
    row: int
    class_name: str
    text: str  # As the cell has it; perhaps blank.


def _chunks_of_masks(
    builder: TableBuilder, layout: Layout, columns: list[Column]
) -> Iterator[list[_Mask]]:
    """The cells of masks in the order of their rows, some at a time; their classes are noted."""
    assert layout.value is not None
    chunk: list[_Mask] = []
    characters = 0

    def is_nothing(class_name: str, text: str) -> bool:
        none = not class_name or class_name == "-1" or words.is_no_class(class_name)
        return none and rle.is_empty(text.strip())

    for row, cells, image, class_name in _named(builder, layout, columns, is_nothing):
        text = cells[layout.value]
        if not builder.mention(image, row, class_name, not rle.is_empty(text.strip())):
            continue
        chunk.append(_Mask(row, class_name, text))
        characters += len(text)
        if len(chunk) == _CHUNK_ROWS or characters > _CHUNK_CHARACTERS:
            yield chunk
            chunk, characters = [], 0
    yield chunk


def _check_masks(
    chunk: list[_Mask], relative: bool
) -> list[tuple[_Mask, Union[bytes, ValueError, None]]]:
    """Each with its runs, packed, or with what is wrong with it; None: it has none to keep."""
    found: list[tuple[_Mask, Union[bytes, ValueError, None]]] = []
    for mask in chunk:
        packed: Union[bytes, ValueError, None] = None
        try:
            if rle.is_empty(mask.text.strip()):
                pass
            elif relative:
                rle.check(mask.text, relative=True)
            else:
                packed = rle.pack(mask.text)
        except ValueError as error:
            packed = error
        found.append((mask, packed))
    return found


def _parse_long(builder: TableBuilder, layout: Layout, columns: list[Column]) -> None:
    assert layout.value is not None
    family = layout.families[0]
    answer = _answer(family, layout)
    seen = _Seen(builder)

    def is_nothing(class_name: str, cell: str) -> bool:
        return not class_name and (words.is_blank(cell) or answer(cell) == 0)

    for row, cells, image, class_name in _named(builder, layout, columns, is_nothing):
        cell = cells[layout.value]
        value = answer(cell)
        if value is None:
            builder.problem(
                image[1], row, f"({class_name}) has {cell[:20]!r}, not {_yes_or_no(family)}"
            )
            continue
        if builder.mention(image, row, class_name, value):
            seen.add(row, value)
    seen.report()


def _answer(family: str, layout: Layout) -> Callable[[str], Optional[int]]:
    """What says if a cell means present (1), absent (0) or unknown (-1); None: none of them."""

    def answer(cell: str) -> Optional[int]:
        value = layout.said.get(cell.strip().lower())
        if value is not None:
            return value
        value = words.truth(cell, family)
        if value is None:
            return layout.blank if words.is_blank(cell) else None
        return {-1: layout.minus, 0: layout.zero, 1: 1}[value]

    return answer


def _yes_or_no(family: str) -> str:
    yes, no = words.examples(family)
    return f"{no} or {yes}" if no else f"{yes} or blank"


def _parse_onehot(builder: TableBuilder, layout: Layout, columns: list[Column]) -> None:
    names = [builder.source.header[i] for i in layout.labels]
    if builder.fixed and set(names) != set(builder.classes):
        raise UsageError(
            f"{param(classes=tuple(builder.classes))} are not the class columns of "
            f"{builder.source.source}: {', '.join(names)[:400]}."
        )
    found = builder.add_classes(names)
    builder.fixed = True

    def answer_of(family: str) -> Callable[[str], Optional[int]]:
        return functools.lru_cache(1000)(_answer(family, layout))

    at = [
        (i, class_name, family, answer_of(family))
        for i, class_name, family in zip(layout.labels, found, layout.families)
    ]
    explained = set[str]()

    def values(row: int, name: str, cells: list[str]) -> Optional[dict[str, int]]:
        result = {}
        for i, class_name, family, answer in at:
            cell = cells[i]
            value = answer(cell)
            if value is None:
                reason = f"has {cell[:20]!r} for {class_name}, not {_yes_or_no(family)}"
                if class_name not in explained and not builder.from_setting:
                    name_of = builder.source.header[i]
                    reason += f" (if that is no class, give {param(ignore_columns=name_of)}"
                    if columns[i].are_codes():
                        hint = param(label_columns=name_of)
                        reason += f"; if its numbers are the classes, {hint}"
                    said = f"{param('present_words')} or {param('absent_words')}"
                    reason += f"; if {cell[:20]!r} says yes or no, {said})"
                    explained.add(class_name)
                builder.problem(name, row, reason)
                return None
            if value:
                result[class_name] = value
        return result

    _rows_of_images(builder, layout, values, union=False)


def _parse_lists(builder: TableBuilder, layout: Layout, columns: list[Column]) -> None:
    known = builder.classes
    read = functools.lru_cache(10_000)(functools.partial(_names_in, builder, layout))

    def values(row: int, name: str, cells: list[str]) -> Optional[dict[str, int]]:
        found: list[str] = []
        for i in layout.labels:
            parts, problem = read(cells[i])
            if layout.prefixes and parts:
                parts = tuple(f"{columns[i].name} {part}" for part in parts)
            if problem:
                builder.problem(name, row, problem)
                return None
            builder.without_class += parts is None
            found += parts or ()
        if layout.vector:
            vector = zip(known, found)
            found = [c for c, part in vector if words.truth(part, words.NUMBERS) == 1]
        return dict.fromkeys(found, 1)

    _rows_of_images(builder, layout, values, union=layout.kind == "rows")


def _names_in(
    builder: TableBuilder, layout: Layout, cell: str
) -> tuple[Optional[tuple[str, ...]], str]:
    """The classes in a cell, None where it says that there are none; and what is wrong with it."""
    known = builder.classes if builder.fixed else ()
    cell = cell.strip()
    if cell in known or (cell and builder.source.verbatim and not words.is_no_class(cell)):
        return (cell,), ""
    try:
        parts = layout.separator.cut(cell)
    except ValueError as error:
        return (), str(error)
    if layout.vector:
        problem = f"has {len(parts)} numbers, not {layout.vector}"
        return tuple(parts), problem if len(parts) != layout.vector else ""
    none = words.is_no_class(cell) or (len(parts) == 1 and words.is_no_class(parts[0]))
    if none and not (parts and parts[0] in known):
        return None, ""
    if layout.answers:
        answers = [qualifiers.answer_of(part) for part in parts]
        return tuple(found[0] for found in answers if found and found[1]), ""
    found: list[str] = []
    for part in parts:
        # In a list by bars, some cells may be by spaces: known classes tell.
        inner = part.split() if known and part not in known else []
        found += inner if len(inner) > 1 and all(word in known for word in inner) else [part]
    for part in found:
        if part not in known and (words.is_blank(part) or words.is_no_class(part)):
            return (), f"has {part[:60]!r} among its classes"
    return tuple(found), ""


def _rows_of_images(
    builder: TableBuilder,
    layout: Layout,
    values: Callable[[int, str, list[str]], Optional[dict[str, int]]],
    union: bool,
) -> None:
    """Takes a row an image, or with `union` several that add up; `values`: of classes, not 0."""
    # One an image: what tells the classes of its first row from others; see `_parse_masks`.
    contents = array("q")
    repeated: list[tuple[str, int, int]] = []
    for row, cells in builder.source.rows():
        image = builder.image(cells[layout.image], row, cells)
        if image is None:
            continue
        number, name = image
        content = hash(tuple(cells[i].strip() for i in layout.labels))
        if number < len(contents):
            first = builder.first_rows[number]
            if contents[number] == content:
                repeated.append((name, row, first))
                continue
            if not union:
                builder.problem(name, row, f"contradicts row {first}")
                continue
            builder.several_rows = True
        else:
            contents.append(content)
        for class_name, value in (values(row, name, cells) or {}).items():
            if class_name and not builder.mention(image, row, class_name, value):
                break
    if not (layout.boxes or (union and builder.several_rows)):
        hint = f" (if an image may have several rows, give {param(label_format='rows')})"
        for name, row, first in repeated:
            reason = f"repeats row {first}{hint if layout.kind == 'rows' else ''}"
            builder.problem(name, row, reason, False)
            hint = ""
