"""Settings declared once: a frozen dataclass whose fields carry help, range and choices.

The library takes these dataclasses; `cloudtf.commands.app` derives flags, `--help` and `flags.txt`
from the same fields.

    @dataclasses.dataclass(frozen=True)
    class ResizeConfig(Settings):
        quality: int = setting(95, "JPEG quality of the records.", minimum=1, maximum=100)
"""

from __future__ import annotations

import ast
import dataclasses
import functools
import re
import typing
from typing import Any, Mapping, Optional, Sequence

from cloudtf.errors import UsageError, param

REQUIRED = object()


def setting(
    default: Any,
    help: str,  # noqa: A002 - the word users know from flags
    *,
    minimum: Optional[float] = None,
    maximum: Optional[float] = None,
    choices: Optional[Sequence[str]] = None,
    word: Optional[str] = None,
    topic: str = "main",
    may_change: bool = False,
) -> Any:
    """A dataclass field with what a flag needs to know.

    Args:
      default: the default value, or `REQUIRED`.
      help: one or two sentences. A setting or its value is named between backticks as Python
        writes it: `fold`, `weights='none'`, `tensorboard=False`; `help_text` brings it to the
        reader's form.
      minimum: the smallest allowed number (inclusive).
      maximum: the largest allowed number (inclusive).
      choices: the allowed words; for a tuple of words, the words allowed in it.
      word: of a number, a word that may stand in its place.
      topic: the heading under which `--help` lists the flag.
      may_change: whether a run or a conversion that began with one value may go on with another:
        true for what changes how long, how fast or where something is made, and not what. Also for
        what is compared in another way, such as files by their checksums.
    """
    metadata = {
        "help": help,
        "minimum": minimum,
        "maximum": maximum,
        "choices": tuple(choices) if choices is not None else None,
        "word": word,
        "topic": topic,
        "may_change": may_change,
        "required": default is REQUIRED,
    }
    return dataclasses.field(default=None if default is REQUIRED else default, metadata=metadata)


def value_type(config_class: type, name: str) -> tuple[type, bool]:
    """The type of one setting and whether it may be None: `Optional[int]` gives (int, True).

    Of a number in whose place a word may stand (`Union[int, str, None]`), that of the number.
    """
    annotation = _type_hints(config_class)[name]
    optional = False
    if typing.get_origin(annotation) is typing.Union:
        annotation = next(a for a in typing.get_args(annotation) if a is not type(None))
        optional = True
    return (typing.get_origin(annotation) or annotation), optional


# Evaluating the annotations of a class takes as long as decoding a photograph.
_type_hints = functools.cache(typing.get_type_hints)


class Settings:
    """Base of the settings dataclasses: checks types, ranges and choices on creation.

    Raises:
      UsageError: naming the setting, its value and what is allowed.
    """

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):  # type: ignore[arg-type]
            if "help" in field.metadata:
                _check(type(self), field, getattr(self, field.name))


def lasting(config: Settings) -> dict[str, Any]:
    """The settings by name, in their order, that must stay for what was begun to go on."""
    return {
        field.name: getattr(config, field.name)
        for field in dataclasses.fields(config)  # type: ignore[arg-type]
        if "help" in field.metadata and not field.metadata["may_change"]
    }


def changed(config: Settings, before: Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
    """The lasting settings that have another value now than when something was begun.

    Args:
      config: the settings that were given now.
      before: the settings then, by name, lists for tuples (as JSON has them). One that is missing
        did not exist yet: what its default does now was done then.

    Returns:
      name -> (value before, value now), in the order of the settings.
    """
    defaults = {field.name: field.default for field in dataclasses.fields(config)}  # type: ignore[arg-type]
    differences = {}
    for name, now in lasting(config).items():
        then = before.get(name, defaults[name])
        then = tuple(then) if isinstance(then, list) else then
        if then != now:
            differences[name] = (then, now)
    return differences


def help_text(field: dataclasses.Field) -> str:
    """The help of a setting for who reads it now: in a command, with flags for the settings."""
    return _NAMED.sub(_named, field.metadata["help"])


_NAMED = re.compile(r"`([a-z][a-z0-9_]*)(?:=([^`]*))?`")


def _named(match: re.Match) -> str:
    name, value = match.groups()
    return param(name) if value is None else param(**{name: ast.literal_eval(value)})


def _check(config_class: type, field: dataclasses.Field, value: Any) -> None:
    rules, name = field.metadata, field.name
    if value is None:
        if rules["required"]:
            raise UsageError(f"{param(name)} is required: {help_text(field)}")
        return
    if rules["word"] is not None and value == rules["word"]:
        return
    expected, _ = value_type(config_class, name)
    if expected is float and isinstance(value, int) and not isinstance(value, bool):
        value = float(value)
    given = param(**{name: value})
    if not isinstance(value, expected) or (isinstance(value, bool) and expected is not bool):
        raise UsageError(f"{given} must be of type {expected.__name__}.")
    if rules["choices"] is not None:
        for word in value if isinstance(value, tuple) else (value,):
            if word not in rules["choices"]:
                wrong = f"{given}: {word!r}" if isinstance(value, tuple) else given
                raise UsageError(f"{wrong} is not one of {', '.join(rules['choices'])}.")
    low, high = rules["minimum"], rules["maximum"]
    # Written so that NaN, which compares false with everything, is refused.
    if low is not None and not value >= low:
        raise UsageError(f"{given} must be at least {low}.")
    if high is not None and not value <= high:
        raise UsageError(f"{given} must be at most {high}.")


def to_flagfile(config: Settings) -> str:
    """The flagfile that reproduces `config`: a `--name=value` line for each setting.

    A value that a line cannot hold as it is (with a line break, or spaces at its ends) is written
    as bash's `$'...'`, which `flagfile_lines` reads.
    """
    lines = []
    for field in dataclasses.fields(config):  # type: ignore[arg-type]
        value = getattr(config, field.name)
        if value is None or "help" not in field.metadata:
            continue
        if isinstance(value, bool):
            value = str(value).lower()
        elif isinstance(value, tuple):
            value = ",".join(value)
        lines.append(f"--{field.name}={_quoted(str(value))}")
    return "\n".join(lines) + "\n"


def flagfile_lines(text: str) -> list[str]:
    """The flags in a flagfile, such as `--seed=0`; blank lines and comments are left out.

    >>> flagfile_lines("# A comment\\n\\n  --seed=3\\n--data_dir=$'two\\\\u000alines '\\n")
    ['--seed=3', '--data_dir=two\\nlines ']
    """
    lines = (line.strip() for line in text.split("\n"))
    found = []
    for line in lines:
        if line and not line.startswith(("#", "//")):
            name, equals, value = line.partition("=")
            found.append(name + equals + _unquoted(value))
    return found


def from_flagfile(text: str) -> dict[str, str]:
    """The settings that a flagfile names, with their values as text."""
    settings = {}
    for line in flagfile_lines(text):
        if line.startswith("--"):
            name, equals, value = line[2:].partition("=")
            if not equals:  # Someone has edited the file: --name is true, --noname false.
                name, value = (name[2:], "false") if name.startswith("no") else (name, "true")
            settings[name] = value
    return settings


def _quoted(value: str) -> str:
    if value.isprintable() and value == value.strip() and not value.startswith("$'"):
        return value
    escaped = "".join(
        f"\\{c}" if c in "\\'" else c if c.isprintable() else f"\\U{ord(c):08x}" for c in value
    )
    return f"$'{escaped}'"


def _unquoted(value: str) -> str:
    if not (len(value) > 2 and value.startswith("$'") and value.endswith("'")):
        return value

    def character(escape: re.Match) -> str:
        kind, code = escape[1][0], escape[1][1:]
        return chr(int(code, 16)) if code else {"n": "\n", "t": "\t"}.get(kind, kind)

    return _ESCAPE.sub(character, value[2:-1])


_ESCAPE = re.compile(r"\\(u[0-9a-fA-F]{4}|U[0-9a-fA-F]{8}|.)")
