"""What a check-up finds, reported line by line."""

from __future__ import annotations

import shutil
import textwrap
from typing import Callable, Optional, TypeVar

from cloudtf import errors
from cloudtf.errors import UserError
from cloudtf.reporter import report

Result = TypeVar("Result")

_INDENT = " " * 6


class Sheet:
    """Reports findings as they come, each `ok`, `note` (works, but read it) or `wrong`.

    Attributes:
      wrong_count: the number of findings that were `wrong`.
      note_count: the number of findings that were notes.
    """

    def __init__(self) -> None:
        self.wrong_count = 0
        self.note_count = 0

    def heading(self, text: str) -> None:
        """Begins a part."""
        report(f"\n{text}")

    def ok(self, text: str) -> None:
        """A check that passed."""
        self._line("ok", text)

    def note(self, text: str) -> None:
        """Something that works, and that the user should know."""
        self.note_count += 1
        self._line("note", text)

    def wrong(self, text: str) -> None:
        """Something that training would refuse, fail on or silently suffer from."""
        self.wrong_count += 1
        self._line("wrong", text)

    def attempt(self, check: Callable[[], Result]) -> Optional[Result]:
        """Runs a check; what it raises for the user is `wrong`, and None is returned."""
        try:
            return check()
        except UserError as error:
            self.wrong(str(error))
        except ModuleNotFoundError as error:
            named = errors.for_missing(error)
            if named is error:
                raise
            self.wrong(str(named))
        return None

    def plain(self, text: str) -> None:
        """A line as it is."""
        report(text)

    def _line(self, level: str, text: str) -> None:
        # Paths and flags stay whole, so that they can be copied.
        report(
            textwrap.fill(
                text,
                max(30, min(shutil.get_terminal_size().columns, 100)),
                initial_indent=f"{level:<6}",
                subsequent_indent=_INDENT,
                break_long_words=False,
                break_on_hyphens=False,
            )
        )
