"""Settings: types, ranges and choices are checked where they are made, and written as flags."""

from __future__ import annotations

import ast
import dataclasses
import math
import pathlib
from typing import Optional

import pytest

import cloudtf
from cloudtf import errors, settings
from cloudtf.data.convert_config import ConvertConfig
from cloudtf.errors import UsageError
from cloudtf.evaluation.evaluate import EvaluateConfig
from cloudtf.evaluation.predict import PredictConfig
from cloudtf.settings import (
    REQUIRED,
    Settings,
    from_flagfile,
    help_text,
    setting,
    to_flagfile,
    value_type,
)
from cloudtf.training.config import TrainConfig


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
    assert from_flagfile(to_flagfile(made)) == {
        "name": "x y", "count": "3", "rate": "1e-05", "kind": "round", "words": "a,b",
        "fast": "true",
    }  # fmt: skip


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


@dataclasses.dataclass(frozen=True)
class Newer(Example):
    """The next version of Example, with a setting that nobody has thought about."""

    where: str = setting("here", "Where to go.", may_change=True)
    forgotten: int = setting(7, "What is new.")


def test_what_was_begun_goes_on_unless_a_lasting_setting_changes():
    before = {**dataclasses.asdict(Newer("x", words=("a",), where="there")), "words": ["a"]}
    assert settings.changed(Newer("x", words=("a",)), before) == {}
    found = settings.changed(Newer("y", words=("b",), rate=2.0), before)
    assert found == {"name": ("x", "y"), "rate": (0.5, 2.0), "words": (("a",), ("b",))}


def test_a_setting_that_says_nothing_of_changes_may_not_change():
    assert "forgotten" in settings.lasting(Newer("x")) and "where" not in settings.lasting(
        Newer("x")
    )
    before = dataclasses.asdict(Example("x"))  # Of a version that had none.
    assert settings.changed(Newer("x"), before) == {}
    assert settings.changed(Newer("x", forgotten=8), before) == {"forgotten": (7, 8)}


# With another value of one of these, what has been begun stays what it is: it takes longer or less
# long, stops or is kept elsewhere, or is compared by its content.
MAY_CHANGE = {
    TrainConfig: {
        "cache", "checkpoint_every", "data_dir", "data_service", "early_stopping_patience",
        "epochs", "find_rate", "max_minutes", "on_bad_record", "on_nan", "plateau_factor",
        "plateau_patience", "profile", "resume", "run_dir", "steps_per_execution", "strategy",
        "tensorboard", "tpu", "train_metric_examples",
    },
    ConvertConfig: {
        "absent_words", "beam_options", "blank", "class_characters", "classes", "column_names",
        "engine", "follow_links", "ignore_columns", "keep_columns",
        "image_column", "image_suffix", "images_dir", "label_columns", "label_format",
        "label_separator", "labels_csv", "labels_encoding", "on_error", "output_dir", "overwrite",
        "present_words", "uncertain", "unlisted", "verify", "workers",
    },
}  # fmt: skip


@pytest.mark.parametrize("config_class", MAY_CHANGE)
def test_each_setting_of_a_run_and_of_a_conversion_may_change_or_not(config_class):
    fields = [field for field in dataclasses.fields(config_class) if "help" in field.metadata]
    free = {field.name for field in fields if field.metadata["may_change"]}
    assert free == MAY_CHANGE[config_class]
    given = {"data_dir": "a", "run_dir": "b", "output_dir": "c", "images_dir": "d"}
    names = {field.name for field in fields}
    config = config_class(**{name: given[name] for name in given.keys() & names})
    before = {field.name: getattr(config, field.name) for field in fields}
    for field in fields:
        other = {**before, field.name: "another value"}
        assert set(settings.changed(config, other)) == {field.name} - free


def test_a_default_stands_once():
    """Functions that take a setting as a parameter take its default from where it is declared."""
    declared = {}
    for config_class in (TrainConfig, ConvertConfig, EvaluateConfig, PredictConfig):
        for field in dataclasses.fields(config_class):
            declared.setdefault(field.name, set()).add(field.default)
    twice = []
    for path in pathlib.Path(cloudtf.__file__).parent.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not isinstance(node, ast.FunctionDef):
                continue
            given = [*node.args.posonlyargs, *node.args.args]
            pairs = list(zip(reversed(given), reversed(node.args.defaults)))
            pairs += zip(node.args.kwonlyargs, node.args.kw_defaults)
            for argument, default in pairs:
                value = getattr(default, "value", None)
                same = isinstance(default, ast.Constant) and value not in (None, 0, 1, "")
                if same and value in declared.get(argument.arg, ()):
                    twice.append(f"{path.name}: {node.name}({argument.arg}={value!r})")
    assert not twice
