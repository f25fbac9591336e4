"""The errors that are meant for the user: one sentence that names the culprit and the mend."""

from __future__ import annotations

import sys


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
