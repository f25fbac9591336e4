"""Tables of yes and no: a column a class, or a row an image and class."""

from __future__ import annotations

import collections
from typing import NamedTuple, Optional

from cloudtf.data import words
from cloudtf.data.layouts import printed_lists
from cloudtf.data.layouts.facts import VALUES, Candidate, Facts, Layout, listed
from cloudtf.data.layouts.names_of_classes import best_of, say_the_same
from cloudtf.data.layouts.survey import Column
from cloudtf.errors import UserError, param

# In fewer rows, names of classes need not come twice.
_FEW_ROWS = 20


def onehot(facts: Facts) -> Optional[Candidate]:
    """A column of yes and no for each class.

    Raises:
      UserError: the setting says that there are such columns, and there are none.
    """
    forced = facts.options.label_format == "onehot"
    hot, score = _hot_columns(facts, forced)
    if not hot:
        if forced:
            raise facts.unclear(f"has no column of 0 and 1: {listed(facts.content)}")
        return None
    settled = forced or facts.options.label_columns or facts.options.classes

    def build() -> Layout:
        others = _others(facts) if len(hot) == 1 and not settled else []
        if others:
            few = [c for c in others if len(c.values) <= 3]
            hint = ""
            if few and not facts.repeats_images():
                said = f"{param('present_words')} and {param('absent_words')}"
                hint = f"; give what says yes and no in {listed(few)} as {said}, or"
            raise facts.unclear(
                f"has yes and no in {hot[0].shown!r} only, and other columns that may say the "
                f"classes: {listed(others)}{hint}"
            )
        if not settled:
            _check_twins(facts, hot)
        families = _families(facts, hot)
        uncertain = _uncertain(facts, hot, families)
        return Layout(
            "onehot",
            facts.image.index,
            labels=tuple(c.index for c in hot),
            families=families,
            said=facts.options.said,
            minus=uncertain.minus,
            zero=uncertain.zero,
            blank=VALUES[facts.options.blank],
            boxes=facts.has_boxes(),
        )

    return Candidate(score, hot, build)


def _check_twins(facts: Facts, hot: list[Column]) -> None:
    """Refuses `cat` beside `cat.1`, as pandas calls a second column of one name."""
    names = {column.name for column in hot}
    for name in names:
        first, _, number = name.rpartition(".")
        if number.isdigit() and first in names:
            raise UserError(
                f"{facts.source} has the columns {first!r} and {name!r}, as pandas calls two of "
                f"one name: leave one out, such as with {param(ignore_columns=name)}, or name the "
                f"columns of classes with {param('label_columns')}."
            )


def _others(facts: Facts) -> list[Column]:
    """The columns that are not of yes and no, and whose cells repeat as names of classes do."""
    boxes = facts.has_boxes()
    return [
        c
        for c in facts.content
        if c.family is None
        and c.values
        and (c.repeats_texts() or sum(c.values.values()) < _FEW_ROWS)
        and not words.is_other(c.name, boxes)
        and not c.are_mostly(words.is_measure)
    ]


def _hot_columns(facts: Facts, forced: bool) -> tuple[list[Column], int]:
    wanted = set(facts.options.classes)
    if wanted and {c.name for c in facts.content} >= wanted:
        return [c for c in facts.content if c.name in wanted], 98
    hot = [c for c in facts.content if c.family is not None]
    if facts.options.label_columns:
        if len(hot) < len(facts.content) or any(c.are_codes() for c in hot):
            return [], 0
    else:
        boxes = facts.has_boxes()
        hot = _with_a_yes([c for c in hot if not words.is_other(c.name, boxes)])
        found = set(hot)
        hot = [
            c
            for c in facts.content
            if c in found or (hot and not words.is_other(c.name, boxes) and _nearly(c))
        ]
        if any(words.plain(c.name) in ("val", "valid", "test") for c in facts.content):
            hot = [c for c in hot if words.plain(c.name) != "train"]
        if not forced:
            hot = [c for c in hot if not (c.are_codes() and words.label_rank(c.name))]
    if not forced and len(hot) == 1 and words.is_class_column(hot[0].name):
        return [], 0  # `label` with 0 and 1: the names of two classes.
    if not forced and len(hot) == 1 and hot[0].are_codes():
        return [], 0  # Grades, of which most are 0 and 1.
    if not facts.options.label_columns and any(column.has_blanks() for column in hot):
        # Between them, a column that is blank all through is a class without an image.
        low, high, found = hot[0].index, hot[-1].index, set(hot)
        hot = [
            c
            for c in facts.content
            if c in found or (low < c.index < high and c.name and not c.values)
        ]
    alone = len(facts.content) == len(hot)
    return hot, 55 if len(hot) > 1 else 45 if alone else 25


def _nearly(column: Column) -> Optional[str]:
    """The family of words in which most cells say yes or no, some of them each; the rest are
    mistakes then, which are told when their rows are read."""
    if column.family is not None or column.many:
        return None
    for name in words.FAMILIES:
        answers = {column.truth(text, name) for text in column.values}
        if {0, 1} <= answers and column.are_mostly(
            lambda text, name=name: column.truth(text, name) is not None  # type: ignore[misc]
        ):
            return name
    return None


def _with_a_yes(hot: list[Column]) -> list[Column]:
    """Without the columns of words of which none ever says yes: F may be female."""
    sure = {words.NUMBERS}
    for column in hot:
        name = column.family or ""
        if any(column.truth(text, name) == 1 for text in column.values):
            sure.add(name)

    def is_sure(column: Column) -> bool:
        return column.family in sure or any(
            all(column.truth(text, name) is not None for text in column.values) for name in sure
        )

    return [column for column in hot if is_sure(column)]


def _families(facts: Facts, columns: list[Column]) -> tuple[str, ...]:
    """The words in which each column says yes and no; crosses say no in a table with ticks.

    Raises:
      UserError: there are ticks, crosses and blank cells, any of which may say no.
    """
    found = [column.family or _nearly(column) or words.NUMBERS for column in columns]
    marked = [c for c, name in zip(columns, found) if name in ("x", words.TICK_OR_CROSS)]
    texts = {text.lower() for c in marked for text in c.values} - set(facts.options.said)
    ticks, crosses = sorted(texts & words.TICKS), sorted(texts & words.CROSSES)
    if not (ticks and crosses):
        return tuple(found)
    if any(column.has_blanks() for column in marked):
        raise UserError(
            f"{facts.source} has the marks {ticks[0]!r} and {crosses[0]!r}, and blank cells too, "
            f"so that {crosses[0]!r} may say yes or no; say which with "
            f"{param(present_words=(crosses[0],))} or {param(absent_words=(crosses[0],))}."
        )
    return tuple(words.TICK_OR_CROSS if c in marked else name for c, name in zip(columns, found))


def check_signs(facts: Facts) -> None:
    """Refuses columns that have one or two words in common, of which is not known what they say.

    Raises:
      UserError: naming the words, and the settings that say it.
    """
    boxes = facts.has_boxes()
    shares = [
        c
        for c in facts.content
        if c.are_mostly(words.is_share) and c.values and not words.is_other(c.name, boxes)
    ]
    others = [c for c in facts.content if c.values and not words.is_other(c.name, boxes)]
    if len(shares) > 1 and 2 * len(shares) > len(others):
        raise UserError(
            f"{facts.source} has fractions, percentages or dates in {listed(shares)}, of which is "
            "not known where yes begins: write 1 and 0 in their place."
        )
    signs: dict[frozenset[str], list[Column]] = collections.defaultdict(list)
    for column in facts.content:
        texts = frozenset(column.values)
        short = all(len(text) <= 20 and not words.is_measure(text) for text in texts)
        short = short and not printed_lists.are_lists(texts)
        if 0 < len(texts) <= 3 and short and not words.is_other(column.name, boxes):
            signs[texts].append(column)
    texts, columns = max(signs.items(), key=lambda item: len(item[1]), default=(frozenset(), []))
    if len(columns) > 1:
        shown = " and ".join(map(repr, sorted(texts)))
        raise UserError(
            f"{facts.source} has {shown} in the columns {listed(columns)}: if they say yes and no, "
            f"name those that say yes with {param('present_words')} and those that say no with "
            f"{param('absent_words')}; if they are names of classes, give the columns as "
            f"{param('label_columns')}."
        )


def long(facts: Facts) -> Optional[Candidate]:
    """A row for each image and class, with yes or no.

    Raises:
      UserError: the setting says that there are such rows, and there are none.
    """
    forced = facts.options.label_format == "long"
    value, classes = _value_and_classes(facts, forced)
    if value is None:
        if forced:
            raise UserError(
                f"{facts.source} has no row for each image and class with yes or no, as "
                f"{param(label_format='long')} has."
            )
        return None
    said = value.family or words.NUMBERS
    if classes and not forced and all(value.truth(t, said) == 1 for t in value.values):
        return None  # It says nothing.
    code = words.may_be_a_code(value.name)
    if code and not forced and classes and facts.options.label_columns:
        return None
    if (
        classes
        and not forced
        and (not facts.repeats_images() or (code and any(say_the_same(value, c) for c in classes)))
    ):
        columns = listed([*classes, value])

        def refuse() -> Layout:
            raise facts.unclear(f"has the columns {columns}, of which either may say the classes")

        return Candidate(90, classes, refuse)

    def build() -> Layout:
        assert value is not None
        named = best_of(facts, classes)
        families = _families(facts, [value])
        uncertain = _uncertain(facts, [value], families)
        return Layout(
            "long",
            facts.image.index,
            joined=not named,
            labels=tuple(c.index for c in named),
            families=families,
            said=facts.options.said,
            value=value.index,
            whole=any(column.are_whole() for column in named),
            minus=uncertain.minus,
            zero=uncertain.zero,
            blank=VALUES[facts.options.blank],
        )

    return Candidate(90, classes or [value], build)


def _value_and_classes(facts: Facts, forced: bool) -> tuple[Optional[Column], list[Column]]:
    """The column that says yes and no, and those that may name the class; None: there is none."""
    values = [c for c in facts.usable if c.family is not None]
    if facts.joined:
        values = [c for c in values if not words.is_other(c.name, facts.has_boxes())]
        return (values[0], []) if len(values) == 1 else (None, [])
    if not forced:
        values = [c for c in values if words.is_value(c.name) and not c.are_codes()]
        # `label` beside `present` numbers classes.
        values = [c for c in values if not words.label_rank(c.name)] or values
    repeats = facts.repeats_images()

    def may_name(column: Column) -> bool:
        # Names of classes may be numbers, of which most are 0 and 1.
        numbered = words.label_rank(column.name) == 2 and repeats
        return column.family is None or numbered or column.are_codes()

    classes = [
        c
        for c in facts.content
        if c not in values
        and c.values
        and may_name(c)
        and (facts.options.label_columns or words.label_rank(c.name))
    ]
    return (values[0], classes) if len(values) == 1 and classes else (None, [])


def _uncertain_text(columns: list[Column], families: tuple[str, ...]) -> str:
    """The first cell that says neither yes nor no."""
    return next(
        text
        for column, name in zip(columns, families)
        for text in column.values
        if column.truth(text, name) == -1
    )[:20]


class _Uncertain(NamedTuple):
    """What the numbers -1 and 0 say of a class: 0, 1 or -1."""

    minus: int
    zero: int


def _uncertain(facts: Facts, columns: list[Column], families: tuple[str, ...]) -> _Uncertain:
    """What -1 stands for: absent where it is the other of two numbers, else as the user says.

    Of PASCAL's lists 0 is uncertain, beside more of -1, which is absent.
    """
    found: collections.Counter[Optional[int]] = collections.Counter()
    blanks, numbers = False, True
    for column, name in zip(columns, families):
        numbers = numbers and name == words.NUMBERS
        for text, count in column.values.items():
            found[column.truth(text, name)] += count
        blanks = blanks or column.has_blanks()
    if -1 not in found or (numbers and not (0 in found or blanks)):
        return _Uncertain(0, 0)
    pascal = numbers and not blanks and found[-1] > found[0]
    uncertain = facts.options.uncertain
    if uncertain is None:
        which = "0, beside more of -1" if pascal else _uncertain_text(columns, families)
        raise UserError(
            f"{facts.source} has classes that are neither present nor absent but uncertain "
            f"({which}); give {param(uncertain='absent')}, {param(uncertain='present')} or, to "
            f"leave them out of training and scores, {param(uncertain='unknown')}."
        )
    return _Uncertain(0, VALUES[uncertain]) if pascal else _Uncertain(VALUES[uncertain], 0)
