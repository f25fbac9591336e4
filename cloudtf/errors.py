"""The errors that are meant for the user: one sentence that names the culprit and the mend."""

from __future__ import annotations

import re
import sys

# What TensorFlow writes around a reason: nodes and ops, the place in the pipeline and in the batch.
_NAMES_OF_NODES = re.compile(
    r"\[*\{\{.*?\}\}\]*|\[Op:.*|Error in user-defined .*? iterator: \S+: |Name: <unknown>, "
    r"|, Index: \d+"
)
# First lines that only announce the reason, which is the last line then.
_ANNOUNCEMENTS = ("Graph execution error:", "in user code:")


class UserError(Exception):
    """Bad input. The message is one sentence naming the file, row or flag, and how to mend it.

    Commands print the message without a traceback and exit with `exit_status`.
    """

    exit_status = 1

    def __str__(self) -> str:
        text = super().__str__()
        # A name out of a file may hold line breaks, or what a terminal would obey.
        return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)


class UsageError(UserError):
    """A flag that is unknown, missing, of the wrong type or out of range."""

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


def out_of_memory(what: str) -> UserError:
    """What to raise where a device has no room for `what`, such as `A step of 32 images`."""
    return UserError(
        f"{what} does not fit into the device's memory; give a smaller --batch_size, or train with "
        "--mixed_precision, a smaller --model or smaller images."
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
