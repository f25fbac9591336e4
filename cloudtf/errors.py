"""The errors that are meant for the user: one sentence that names the culprit and the mend."""

from __future__ import annotations


class UserError(Exception):
    """Bad input. The message is one sentence naming the file, row or flag, and how to mend it.

    Commands print the message without a traceback and exit with `exit_status`.
    """

    exit_status = 1


class UsageError(UserError):
    """A flag that is unknown, missing, of the wrong type or out of range."""

    exit_status = 2
