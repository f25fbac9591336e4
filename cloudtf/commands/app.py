"""What every command shares: flags from settings, `--help`, and errors as one sentence.

A command is a module in `cloudtf.commands` with a docstring, `CONFIG` (a `Settings` dataclass) and
`run(config)`. One that takes words beside its flags says which (`WORDS`), one that takes a command
after `--` what that is (`AFTER_DASHES`); it gets them as a second argument.
Nothing else in the package knows absl flags.
"""

from __future__ import annotations

import dataclasses
import importlib
import io
import os
import shutil
import sys
import textwrap
from types import ModuleType
from typing import Any, Callable, Sequence, TypeVar

from absl import flags

from cloudtf import __version__, errors, files, settings
from cloudtf.errors import UsageError, UserError

Config = TypeVar("Config", bound=settings.Settings)

# Command -> one line for `cloudtf --help`, in the order of use.
COMMANDS = {
    "fit": "from photographs to a trained, judged and exported model",
    "synthesize": "make a synthetic set of cloud photographs in Kaggle's format",
    "convert": "turn photographs and a label CSV into TFRecords",
    "preview": "draw originals beside their augmented versions",
    "train": "train a classifier",
    "launch": "train with several workers on this machine",
    "data-worker": "make training batches for trainers on other machines",
    "evaluate": "metrics, thresholds and plots for a trained model",
    "predict": "probabilities for records, a folder of images or one image",
    "compare": "whether a model is better than another, or only by chance",
    "ensemble": "average trained models into one",
    "pseudo-label": "labels by a model for photographs without, to train on",
    "postprocess": "empty the masks of a submission that the classifier disbelieves",
    "doctor": "check the set-up and the data, and name the bottleneck",
    "bench": "the speed of each part on this machine",
    "export": "a model for other programs: SavedModel, TFLite or ONNX",
}

_HELP = ("help", "h", "helpfull", "helpshort")


def main(arguments: Sequence[str]) -> int:
    """Runs `arguments[0]` with the flags that follow.

    Returns:
      The exit status: 0 done, 1 bad input, 2 bad usage, 130 interrupted.
    """
    if not arguments or arguments[0] in ("-h", "--help", "--helpfull", "help"):
        print(_overview())
        return 0 if arguments else 2
    if arguments[0] in ("-V", "--version"):
        print(f"cloudtf {__version__}")
        return 0
    if arguments[0].startswith("--completion"):
        return _print_completion(arguments[0].partition("=")[2])
    name = arguments[0]
    if name not in COMMANDS:
        print(
            f"cloudtf: there is no command {name!r}; the commands are {', '.join(COMMANDS)}.",
            file=sys.stderr,
        )
        return 2
    return run_command(name, arguments[1:])


def run_command(name: str, arguments: Sequence[str]) -> int:
    """Runs one command with its flags; errors meant for the user become one sentence."""
    module = importlib.import_module(f"cloudtf.commands.{name.replace('-', '_')}")
    return run_module(f"cloudtf {name}", module, arguments)


@errors.naming_flags()
def run_module(name: str, module: ModuleType, arguments: Sequence[str]) -> int:
    """Runs a module made like a command, wherever it is; `name` begins its help and its errors."""
    for stream in (sys.stdout, sys.stderr):
        # A name with an accent, where the terminal or a pipe is not UTF-8, is no reason to fail.
        if isinstance(stream, io.TextIOWrapper) and stream.errors in ("strict", "surrogateescape"):
            stream.reconfigure(errors="replace")
    others: list[Sequence[str]] = []
    if hasattr(module, "AFTER_DASHES"):
        end = [*arguments, "--"].index("--")
        arguments, others = arguments[:end], [arguments[end + 1 :]]
    try:
        if any(a.startswith("-") and a.lstrip("-") in _HELP for a in arguments):
            print(_help(name, module))
            return 0
        if hasattr(module, "WORDS"):
            config, words = parse_words(module.CONFIG, arguments)
            module.run(config, words)
        else:
            module.run(parse(module.CONFIG, arguments), *others)
        return 0
    except UserError as error:
        print(f"{name}: {error}", file=sys.stderr)
        return error.exit_status
    except ModuleNotFoundError as error:
        named = errors.for_missing(error)
        if named is error:
            raise
        print(f"{name}: {named}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print(f"{name}: stopped.", file=sys.stderr)
        return 130
    except BrokenPipeError:
        return 1


@errors.naming_flags()
def parse(config_class: type[Config], arguments: Sequence[str]) -> Config:
    """Flags to settings.

    Raises:
      UsageError: an unknown flag, a value of the wrong type or out of range, or a stray word.
    """
    config, words = parse_words(config_class, arguments)
    if words:
        raise UsageError(f"{words[0]!r} is not a flag; flags are written --name=value.")
    return config


@errors.naming_flags()
def parse_words(config_class: type[Config], arguments: Sequence[str]) -> tuple[Config, list[str]]:
    """Flags to settings, and the words among them, in their order.

    Raises:
      UsageError: an unknown flag, or a value of the wrong type or out of range.
    """
    values = _define(config_class)
    try:
        words = values(["cloudtf", *_expanded(arguments)])[1:]
    except (flags.Error, OSError, UnicodeDecodeError) as error:
        raise UsageError(" ".join(str(error).split()).rstrip(".") + ".") from error
    known = dataclasses.fields(config_class)  # type: ignore[arg-type]
    fields = [f for f in known if "help" in f.metadata]
    given = {f.name: values[f.name].value for f in fields}
    for name, value in given.items():
        if isinstance(value, list):
            given[name] = tuple(word.strip() for word in value if word.strip())
    return config_class(**given), words


def _expanded(arguments: Sequence[str], inside: tuple[str, ...] = ()) -> list[str]:
    """The arguments with the flags of each `--flagfile=FILE` in its place.

    absl's own reading of them knows neither UTF-8 everywhere nor `settings.to_flagfile`'s quotes.
    """
    found: list[str] = []
    rest = iter(arguments)
    for argument in rest:
        name, equals, path = argument.partition("=")
        if argument == "--":
            return [*found, argument, *rest]
        if name not in ("--flagfile", "-flagfile"):
            found.append(argument)
            continue
        path = path if equals else next(rest, "")
        if path in inside:
            raise UsageError(f"The flagfile {path} names itself by --flagfile.")
        try:
            lines = settings.flagfile_lines(files.read_text(os.path.expanduser(path)))
        except UserError as error:
            raise UsageError(f"--flagfile={path}: {error}") from error
        found += _expanded(lines, (*inside, path))
    return found


def _define(config_class: type) -> flags.FlagValues:
    values = flags.FlagValues()
    values.set_gnu_getopt()  # Flags may stand behind words.
    for field in dataclasses.fields(config_class):
        if "help" not in field.metadata:
            continue
        kind, _ = settings.value_type(config_class, field.name)
        text = settings.help_text(field)
        default: Any = field.default
        if kind is tuple:
            default = list(default) if default is not None else None
            flags.DEFINE_list(field.name, default, text, flag_values=values)
        elif field.metadata["word"]:
            parser = _NumberOrWord(field.metadata["word"])
            flags.DEFINE(parser, field.name, default, text, values, flags.ArgumentSerializer())
        else:
            definitions: dict[type, Callable[..., Any]] = {
                bool: flags.DEFINE_bool,
                int: flags.DEFINE_integer,
                float: flags.DEFINE_float,
                str: flags.DEFINE_string,
            }
            definitions[kind](field.name, default, text, flag_values=values)
    return values


class _NumberOrWord(flags.IntegerParser):
    """Reads a whole number, or one word that may stand in its place."""

    def __init__(self, word: str) -> None:
        super().__init__()
        self._word = word

    def parse(self, argument: Any) -> Any:
        return argument if argument == self._word else super().parse(argument)


def _print_completion(shell: str) -> int:
    from cloudtf.commands import completion

    if shell not in completion.SHELLS:
        shells = ", ".join(completion.SHELLS)
        print(f"cloudtf: --completion is one of {shells}, not {shell!r}.", file=sys.stderr)
        return 2
    print(completion.script(shell, list(COMMANDS)))
    return 0


def _overview() -> str:
    lines = [f"cloudtf {__version__}: multi-label image classifiers from TFRecords", ""]
    lines += [f"  {name:<12} {summary}" for name, summary in COMMANDS.items()]
    lines += ["", "cloudtf COMMAND --help lists the flags; --flagfile=FILE reads them from a file."]
    lines += ["cloudtf --completion=bash (or zsh) prints a script that completes them."]
    return "\n".join(lines)


def _help(name: str, module: ModuleType) -> str:
    width = min(shutil.get_terminal_size().columns, 100)
    about = f"{name}: {(module.__doc__ or '').strip()}"
    paragraphs = [textwrap.fill(" ".join(p.split()), width) for p in about.split("\n\n")]
    lines = ["\n\n".join(paragraphs)]
    if hasattr(module, "WORDS"):
        lines += ["", f"{name} {module.WORDS} --flag=value ..."]
    topics: dict[str, list[dataclasses.Field]] = {"main": []}
    for field in dataclasses.fields(module.CONFIG):
        if "help" in field.metadata:
            topics.setdefault(field.metadata["topic"], []).append(field)
    for topic, fields in topics.items():
        lines += ["", f"{topic}:"]
        for field in fields:
            lines.append(f"  --{field.name}{_allowed(module.CONFIG, field)}")
            lines.append(
                textwrap.fill(
                    settings.help_text(field),
                    width,
                    initial_indent=" " * 6,
                    subsequent_indent=" " * 6,
                )
            )
    lines += [
        "",
        "  --flagfile=FILE",
        "      Read flags from FILE, one a line; # begins a comment.",
    ]
    if hasattr(module, "AFTER_DASHES"):
        lines += ["", f"  -- {module.AFTER_DASHES}", "      What each of them runs."]
    return "\n".join(lines)


def _allowed(config_class: type, field: dataclasses.Field) -> str:
    rules = field.metadata
    kind, _ = settings.value_type(config_class, field.name)
    if rules["choices"] and kind is not tuple:
        shape = "=" + "|".join(rules["choices"])
    else:
        words = {bool: "", int: "=INTEGER", float: "=NUMBER", str: "=TEXT", tuple: "=A,B,..."}
        shape = words[kind] + (f"|{rules['word']}" if rules["word"] else "")
    low, high = rules["minimum"], rules["maximum"]
    notes = []
    if low is not None or high is not None:
        notes.append(f"{'' if low is None else low} to {'' if high is None else high}".strip())
    if rules["required"]:
        notes.append("required")
    elif field.default not in (None, ()):
        default = field.default
        notes.append(f"default {','.join(default) if isinstance(default, tuple) else default}")
    return shape + (f"  ({'; '.join(notes)})" if notes else "")
