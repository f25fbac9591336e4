"""Columns beside the names of classes that may change what the rows say of these."""

from __future__ import annotations

from cloudtf.data import words
from cloudtf.data.layouts.facts import Facts, listed
from cloudtf.data.layouts.survey import Column
from cloudtf.errors import UserError, param


def check_confidence(facts: Facts) -> None:
    """Refuses rows of which some are less sure than others, unless that is to be left out."""
    for column in facts.usable:
        if words.is_confidence(column.name) and not all(
            words.truth(text, words.NUMBERS) == 1 for text in column.values
        ):
            raise UserError(
                f"{facts.source} says how sure each row is in the column {column.name!r}: remove "
                f"the rows that you do not trust, and give {param(ignore_columns=column.name)}."
            )


def check_counts(facts: Facts, chosen: list[Column]) -> None:
    """Refuses rows that name a class of which there are 0, unless the number is to be left out."""
    for column in facts.usable:
        if not words.is_number_of(column.name):
            continue
        for text, number in zip(chosen[0].first, column.first):
            if words.truth(number, words.NUMBERS) == 0 and not words.is_blank(text):
                raise UserError(
                    f"{facts.source} has a row of {text[:60]!r} with 0 in the column "
                    f"{column.name!r}: remove such rows if the class is not there, and give "
                    f"{param(ignore_columns=column.name)}."
                )


def check_answers(facts: Facts, chosen: list[Column]) -> None:
    """Refuses columns such as `present`, `negated` or `malignant` beside the names of classes, of
    which is not known what they say, unless they are to be left out."""
    repeats = facts.repeats_images()
    if facts.options.label_columns and not repeats:
        return
    said = [
        c
        for c in facts.usable
        if c not in chosen
        and {0, 1} <= {c.truth(text, c.family or "") for text in c.values if c.family}
        and not c.are_codes()
        and not words.is_other(c.name)
        and not words.is_confidence(c.name)
        and not words.label_rank(c.name)
    ]
    if said and not repeats:
        raise facts.unclear(
            f"has names of classes in {listed(chosen)} and yes and no in {listed(said)}, of which "
            f"either may say the classes: leave others out with {param('ignore_columns')}, or"
        )
    if said:
        raise UserError(
            f"{facts.source} has yes and no in {listed(said)} beside the names of classes: give "
            f"{param(label_format='long')} if a no there says that the class of the row is not, "
            f"else {param(ignore_columns=tuple(c.name for c in said))}."
        )
    for column in facts.usable if repeats else ():
        answers = column.family is None and 1 < len(column.values) <= 3
        if column not in chosen and answers and words.is_value(column.name):
            raise UserError(
                f"{facts.source} has {' and '.join(map(repr, sorted(column.values)))[:100]} in the "
                f"column {column.name!r} beside names of classes: say which of them say yes and no "
                f"with {param('present_words')} and {param('absent_words')}, or leave it out with "
                f"{param(ignore_columns=column.name)}."
            )
