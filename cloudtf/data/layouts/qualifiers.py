"""What stands beside the names of classes in the cells of a list: yes and no, numbers, doubts."""

from __future__ import annotations

import re
from typing import Collection, Optional

from cloudtf.data import words
from cloudtf.data.layouts.separators import Separator
from cloudtf.errors import UserError, param

# What stands before the name of a class that is not there.
_DENIAL = re.compile(
    r"(?:(?:no|not|without|kein|keine|ohne|sans|sin|sem)\s+|[-!~¬]\s*)(\S.*)", re.I
)
_ANSWER_BEHIND = re.compile(r"(\S.*?)\s*[=:]\s*([\w.+-]+)")
_NUMBER_BEHIND = re.compile(r"\S.*?\s*[=:]\s*-?[\d.]+\s*%?")


def check_doubts(source: str, column: str, found: Collection[str], separator: Separator) -> None:
    """Refuses names in lists that may say of another one that it is absent or uncertain.

    Args:
      source: what messages call the table: its path, mostly.
      column: the name of the column, for the message.
      found: all classes that its cells were cut into.
      separator: the separator by which they were cut.

    Raises:
      UserError: naming one, such as `no cat` or `cat?` beside `cat`.
    """
    known = set(found)
    numbers = {name for name in known if name.lstrip("-").isdigit()}
    if len(numbers) == 1 and numbers <= {"0", "-1"} and len(known) > 1:
        raise UserError(
            f"{source} has {min(numbers)!r} beside names of classes in the column {column!r}: "
            "leave such cells blank if they say that there is none; if it is a class, give "
            f"{param(label_separator=separator.name)}."
        )
    for name in sorted(known):
        denied = _DENIAL.fullmatch(name)
        bare, says = (denied[1], "absent") if denied else (name.rstrip("? "), "uncertain")
        if bare != name and bare in known:
            raise UserError(
                f"{source} has {name[:60]!r} beside {bare[:60]!r} in the column {column!r}, which "
                f"may say that it is {says}: write the names of what is there, or a column of yes "
                f"and no for each class; if it is a class of its own, give "
                f"{param(label_separator=separator.name)}."
            )


def have_answers(source: str, column: str, found: Collection[str]) -> bool:
    """Whether the names in the cells of a column have yes or no behind them: `cat=1`, `dog:no`.

    Args:
      source: what messages call the table: its path, mostly.
      column: the name of the column, for the message.
      found: all texts that its cells were cut into.

    Raises:
      UserError: there are numbers behind most names that are neither 0 nor 1.
    """
    answers = {name: answer_of(name) for name in found}
    numbers = [name for name in found if _NUMBER_BEHIND.fullmatch(name)]
    said = [answer for answer in answers.values() if answer is not None]
    if said and len(said) == len(answers):
        return True
    if 2 * len(numbers) > len(found):
        raise UserError(
            f"{source} has numbers behind the names of classes in the column {column!r} "
            f"({min(numbers)[:60]!r}), of which is not known where yes begins: write the names "
            "alone of the classes that are there."
        )
    return False


def answer_of(text: str) -> Optional[tuple[str, int]]:
    """The name and the 1 or 0 of a text such as `cat=1` or `dog: no`; None for another one.

    >>> answer_of("cat=1"), answer_of("Open water: no"), answer_of("ratio=3")
    (('cat', 1), ('Open water', 0), None)
    """
    found = _ANSWER_BEHIND.fullmatch(text)
    for family in (words.NUMBERS, "true/false", "yes/no") if found else ():
        value = words.truth(found[2], family)  # type: ignore[index]
        if value in (0, 1):
            return found[1], value  # type: ignore[index,return-value]
    return None
