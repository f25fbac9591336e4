"""Stopping a run between two steps: SIGTERM, Ctrl-C and a time limit."""

from __future__ import annotations

import contextlib
import math
import signal
import threading
import time
from typing import Any, Optional

from cloudtf.errors import UserError


class Interrupted(UserError):
    """The run was told to stop, has saved itself and can go on."""

    def __init__(self, message: str, exit_status: int) -> None:
        super().__init__(message)
        self.exit_status = exit_status


class StopRequests:
    """Turns SIGTERM, Ctrl-C and a time limit into a clean stop between two steps."""

    def __init__(self, max_minutes: Optional[float]) -> None:
        self._deadline = math.inf
        if max_minutes is not None:
            self._deadline = time.monotonic() + 60 * max_minutes
        self._signal: Optional[int] = None
        self._old: dict[int, Any] = {}

    def __enter__(self) -> StopRequests:
        # Python takes signals in its main thread only.
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGTERM, signal.SIGINT):
                self._old[number] = signal.signal(number, self._note)
        return self

    def __exit__(self, *_: Any) -> None:
        for number, handler in self._old.items():
            with contextlib.suppress(TypeError):
                signal.signal(number, handler)

    def _note(self, number: int, _frame: Any) -> None:
        if self._signal is not None and number == signal.SIGINT:
            raise KeyboardInterrupt  # The second Ctrl-C does not wait for the step.
        self._signal = number

    def pending(self) -> bool:
        """Whether the run is to stop."""
        return self._signal is not None or time.monotonic() >= self._deadline

    def check(self, run_dir: str) -> None:
        """Leaves, once the run has been saved.

        Raises:
          Interrupted: with exit status 143 (SIGTERM), 130 (Ctrl-C) or 75 (time limit).
        """
        if not self.pending():
            return
        reasons = {
            signal.SIGTERM: ("told to stop (SIGTERM)", 143),
            signal.SIGINT: ("interrupted", 130),
            None: ("--max_minutes is over", 75),
        }
        reason, status = reasons[self._signal]
        raise Interrupted(
            f"{reason}; all is saved in {run_dir}, run the same command to go on.", status
        )
