"""Settings: types, ranges and choices are checked where they are made, and written as flags."""

from __future__ import annotations

import dataclasses
import math
from typing import Optional

import pytest

from cloudtf import errors
from cloudtf.errors import UsageError
from cloudtf.settings import REQUIRED, Settings, help_text, setting, to_flagfile, value_type


@dataclasses.dataclass(frozen=True)
class Example(Settings):
    name: str = setting(REQUIRED, "What to call it.")
    count: int = setting(3, "How many.", minimum=1, maximum=9)
    rate: float = setting(0.5, "How fast.", minimum=0)
    kind: str = setting("round", "Which kind.", choices=("round", "square"))
    words: tuple[str, ...] = setting((), "Which words.", choices=("a", "b"))
    limit: Optional[int] = setting(None, "At most so many.", minimum=1)
    fast: bool = setting(False, "Hurry.")


def test_defaults_and_given_values_are_taken():
    made = Example("x", rate=2, words=("b", "a"))
    assert (made.count, made.rate, made.kind, made.words, made.limit) == (
        3, 2, "round", ("b", "a"), None,
    )  # fmt: skip
    with pytest.raises(dataclasses.FrozenInstanceError):
        made.count = 4


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        ({"name": None}, r"name is required: What to call it\."),
        ({"count": 0}, r"count=0 must be at least 1\."),
        ({"count": 10}, r"count=10 must be at most 9\."),
        ({"count": 1.5}, r"count=1\.5 must be of type int\."),
        ({"count": True}, r"count=True must be of type int\."),
        ({"count": "3"}, r"count='3' must be of type int\."),
        ({"rate": -0.1}, r"rate=-0\.1 must be at least 0\."),
        ({"rate": math.nan}, r"rate=nan must be at least 0\."),
        ({"rate": "fast"}, r"rate='fast' must be of type float\."),
        ({"kind": "oval"}, r"kind='oval' is not one of round, square\."),
        ({"words": ("a", "c")}, r"words=\('a', 'c'\): 'c' is not one of a, b\."),
        ({"words": ["a"]}, r"words=\['a'\] must be of type tuple\."),
        ({"limit": 0}, r"limit=0 must be at least 1\."),
        ({"fast": 1}, r"fast=1 must be of type bool\."),
    ],
)
def test_a_wrong_value_is_refused_with_its_name(wrong, sentence):
    with pytest.raises(UsageError, match=f"^{sentence}$"):
        Example(**{"name": "x", **wrong})


def test_a_setting_knows_its_type_and_whether_it_may_be_missing():
    assert value_type(Example, "count") == (int, False)
    assert value_type(Example, "limit") == (int, True)
    assert value_type(Example, "words") == (tuple, False)


def test_the_flagfile_has_a_line_for_each_setting_that_has_a_value():
    made = Example("x y", words=("a", "b"), rate=1e-05, fast=True)
    assert to_flagfile(made).splitlines() == [
        "--name=x y",
        "--count=3",
        "--rate=1e-05",
        "--kind=round",
        "--words=a,b",
        "--fast=true",
    ]


def test_help_names_settings_as_its_reader_does():
    field = dataclasses.field(
        metadata={
            "help": "Not with `fold`, `weights='none'` or `tensorboard=False`; `10m`: minutes."
        }
    )
    assert help_text(field) == "Not with fold, weights='none' or tensorboard=False; `10m`: minutes."
    with errors.naming_flags():
        in_command = help_text(field)
    assert in_command == "Not with --fold, --weights=none or --notensorboard; `10m`: minutes."
