"""How far a long task is: a bar on a terminal and in a notebook, an occasional line elsewhere.

A bar is drawn over itself by carriage returns, and a file or a pipe would keep every state of it.
There, a line says how far the task is every half minute, and a shorter task says nothing:

    convert: 3,120 of 5,546 images, 26 s left
"""

from __future__ import annotations

import contextlib
import sys
import time
from typing import Any, Optional, Protocol, TextIO

from tqdm import tqdm

from cloudtf.text import duration

# Seconds between two lines.
INTERVAL = 30.0


class Bar(Protocol):
    """What shows the progress of a task."""

    def update(self, count: int = 1) -> Any:
        """So many more are done."""

    def set_postfix(self, *, refresh: bool = True, **values: Any) -> Any:
        """Shows values beside the progress, at once or from the next time on."""


def bar(
    doing: str,
    total: Optional[int],
    unit: str,
    initial: int = 0,
    keep: bool = True,
    in_bytes: bool = False,
    hidden: bool = False,
) -> contextlib.AbstractContextManager[Bar]:
    """Shows the progress of a task on stderr until the `with` block ends.

    Args:
      doing: what the line begins with, such as `convert`.
      total: how many there are to do; None where that is not known.
      unit: the word for what is counted, in the plural, such as `images`.
      initial: how many are done already.
      keep: whether a bar stays on the terminal when the task is done.
      in_bytes: whether bytes are counted, which are shown as kB and MB.
      hidden: whether to show nothing, as where another process shows the same.

    >>> with bar("draw", 3, "images") as progress:
    ...     for _ in range(3):
    ...         progress.update(1)
    """
    stream = None if hidden else sys.stderr
    if stream is None or not redraws(stream):
        return _Lines(doing, total, unit, initial, stream)
    shown: Any = tqdm(
        desc=doing,
        total=total,
        unit="B" if in_bytes else f" {unit}",
        unit_scale=in_bytes,
        initial=initial,
        leave=keep,
        dynamic_ncols=True,
        file=stream,
    )
    return shown


def redraws(stream: TextIO) -> bool:
    """Whether a line that ends in a carriage return is written over by the next one."""
    # A notebook draws what its kernel's stream says, which is no terminal.
    in_notebook = type(stream).__module__.startswith("ipykernel")
    return in_notebook or stream.isatty()


class _Lines:
    """Progress as occasional lines."""

    def __init__(
        self, doing: str, total: Optional[int], unit: str, initial: int, stream: Optional[TextIO]
    ) -> None:
        self._doing, self._total, self._unit = doing, total, unit
        self._first = self._done = initial
        self._stream, self._values = stream, ""
        self._begun = self._said = time.monotonic()

    def __enter__(self) -> _Lines:
        return self

    def __exit__(self, *error: object) -> None:
        pass

    def update(self, count: int = 1) -> None:
        self._done += count
        now = time.monotonic()
        if now - self._said >= INTERVAL and self._stream is not None:
            self._said = now
            self._stream.write(f"{self._line(now - self._begun)}\n")
            self._stream.flush()

    def set_postfix(self, *, refresh: bool = True, **values: Any) -> None:
        self._values = "".join(f", {name} {value}" for name, value in values.items())

    def _line(self, seconds: float) -> str:
        of = "" if self._total is None else f" of {self._total:,}"
        line = f"{self._doing}: {self._done:,}{of} {self._unit}{self._values}"
        here = self._done - self._first
        if self._total is None or not here:
            return line
        return f"{line}, {duration(seconds / here * (self._total - self._done))} left"
