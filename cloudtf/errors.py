"""The errors that are meant for the user: one sentence that names the culprit and the fix.

A message names a setting as `param("batch_size")` or `param(batch_size=0)` inside an f-string: who
calls the library reads `batch_size=0`, and who runs a command `--batch_size=0`.
"""

from __future__ import annotations

import contextlib
import re
import shlex
import sys
from typing import Any, Iterator, Mapping

# Whether messages name settings as flags: true while a command runs, for all of its threads.
_naming_flags = False

# Settings that the caller knows by another name, and those that are words of a command, no flags.
_names: dict[str, str] = {}
_words: dict[str, str] = {}

# A sentence has at most about so many characters.
_MAX_LENGTH = 3000

# A value is shown up to this many characters.
_MAX_SHOWN = 400

# What TensorFlow writes around a reason: nodes and ops, the place in the pipeline and in the batch.
_NAMES_OF_NODES = re.compile(
    r"\[*\{\{.*?\}\}\]*|\[Op:.*|Error in user-defined .*? iterator: \S+: |Name: <unknown>, "
    r"|, Index: \d+"
)
# First lines that only announce the reason, which is the last line then.
_ANNOUNCEMENTS = ("Graph execution error:", "in user code:")


class UserError(Exception):
    """Bad input. The message is one sentence naming the file, row or parameter, and the fix.

    Commands print the message without a traceback and exit with `exit_status`.

    >>> import cloudtf
    >>> try:
    ...     cloudtf.open_dataset("nowhere")
    ... except cloudtf.UserError as error:
    ...     print(error)
    There is no dataset.json in nowhere; ...
    """

    exit_status = 1

    def __str__(self) -> str:
        text = super().__str__()
        # A cell of a table, or a list of names, may be as long as the file it is from.
        if len(text) > _MAX_LENGTH:
            text = f"{text[: _MAX_LENGTH * 2 // 3]} ... {text[-_MAX_LENGTH // 3 :]}"
        # A name out of a file may hold line breaks, or what a terminal would obey.
        return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)


class UsageError(UserError):
    """A parameter that is unknown, missing, of the wrong type or out of range."""

    exit_status = 2


def reason(error: BaseException, limit: int = 160) -> str:
    """Why something failed, short enough to stand in brackets in a sentence.

    Args:
      error: any exception, also one without a text or with many lines.
      limit: most characters of the phrase.

    Returns:
      The first line of the exception's text, or the operating system's phrase alone, without
      TensorFlow's node names and without a full stop; the name of its class where it has no text.

    >>> reason(FileNotFoundError(2, "No such file or directory", "a.csv"))
    'No such file or directory'
    >>> reason(ValueError())
    'ValueError'
    """
    text = getattr(error, "strerror", None) or getattr(error, "message", None) or error
    lines = [line.strip() for line in _NAMES_OF_NODES.sub("", str(text)).splitlines()]
    lines = [line for line in lines if line.strip(" .:")] or [type(error).__name__]
    phrase = lines[-1 if lines[0] in _ANNOUNCEMENTS else 0].rstrip(" .:")
    return phrase if len(phrase) <= limit else f"{phrase[: limit - 3]}..."


def param(name: str = "", /, **setting: Any) -> str:
    """A setting as the reader of a message knows it: as a parameter, or as a flag of a command.

    | call | in Python | in a command |
    |---|---|---|
    | `param("batch_size")` | `batch_size` | `--batch_size` |
    | `param(batch_size=0)` | `batch_size=0` | `--batch_size=0` |
    | `param(cache="none")` | `cache='none'` | `--cache=none` |
    | `param(run_dir="my run")` | `run_dir='my run'` | `--run_dir='my run'` |
    | `param(classes=("A", "B"))` | `classes=('A', 'B')` | `--classes=A,B` |
    | `param(verify=True)` | `verify=True` | `--verify` |
    | `param(tensorboard=False)` | `tensorboard=False` | `--notensorboard` |

    Args:
      name: the setting, where its value does not matter.
      **setting: in place of that, one setting with its value.
    """
    if not setting:
        name = _names.get(name, name)
        return _words.get(name, f"--{name}") if _naming_flags else name
    ((name, value),) = setting.items()
    name = _names.get(name, name)
    if not _naming_flags:
        return f"{name}={_shortened(repr(value))}"
    if name in _words:
        return f"{_shortened(shlex.quote(str(value)))} as {_words[name]}"
    if isinstance(value, bool):
        return f"--{name}" if value else f"--no{name}"
    words = value if isinstance(value, (tuple, list)) else (value,)
    return f"--{name}={_shortened(shlex.quote(','.join(str(word) for word in words)))}"


def _shortened(text: str) -> str:
    return text if len(text) <= _MAX_SHOWN else f"{text[: _MAX_SHOWN - 4]} ..."


@contextlib.contextmanager
def naming_flags() -> Iterator[None]:
    """While this is entered, `param` writes flags: what a command does, and nothing else."""
    global _naming_flags
    before, _naming_flags = _naming_flags, True
    try:
        yield
    finally:
        _naming_flags = before


@contextlib.contextmanager
def renaming(names: Mapping[str, str], words: Mapping[str, str]) -> Iterator[None]:
    """While this is entered, `param` calls settings as the caller of several functions does.

    >>> with renaming({"run_dir": "output_dir"}, {}):
    ...     param("run_dir"), param(run_dir="a")
    ('output_dir', "output_dir='a'")

    Args:
      names: setting of a function -> setting of its caller.
      words: setting of the caller -> the word of its command that stands for it, in place of a
        flag, such as PHOTOS.
    """
    global _names, _words
    before, (_names, _words) = (_names, _words), (dict(names), dict(words))
    try:
        yield
    finally:
        _names, _words = before


def out_of_memory(what: str) -> UserError:
    """What to raise where a device has no room for `what`, such as `A step of 32 images`."""
    return UserError(
        f"{what} does not fit into the device's memory; give a smaller {param('batch_size')}, or "
        f"train with {param(mixed_precision=True)}, a smaller {param('model')} or smaller images."
    )


def for_missing(error: ModuleNotFoundError) -> Exception:
    """What to raise for a module that cannot be imported: which extra to install, if TensorFlow."""
    if (error.name or "").split(".")[0] != "tensorflow":
        return error
    extra = "classic" if sys.version_info < (3, 12) else "current"
    return UserError(
        f'TensorFlow is not installed; install it with: pip install "cloudtf[{extra}]" '
        f'(with a GPU "cloudtf[{extra}-gpu]").'
    )
