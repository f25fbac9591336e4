"""Stopping a run between two steps: SIGTERM, Ctrl-C and a time limit."""

from __future__ import annotations

import contextlib
import math
import signal
import threading
import time
from typing import Any, Iterable, Iterator, Optional

from cloudtf.errors import UserError


class Interrupted(UserError):
    """The run was told to stop, has saved itself and can go on."""

    def __init__(self, message: str, exit_status: int) -> None:
        super().__init__(message)
        self.exit_status = exit_status


class EvaluationLeft(Exception):
    """A run that is to stop has left its evaluation before the end."""


class Watched:
    """Batches to evaluate, left half way by a run that is to stop.

    Args:
      batches: to be gone through, as often as wanted.
      requests: to stop.
    """

    def __init__(self, batches: Iterable, requests: StopRequests) -> None:
        self._batches, self._requests = batches, requests

    def __iter__(self) -> Iterator:
        """The batches.

        Raises:
          EvaluationLeft: the run is to stop.
        """
        for batch in self._batches:
            if self._requests.leaves_evaluation():
                raise EvaluationLeft
            yield batch


class StopRequests:
    """Turns SIGTERM, Ctrl-C and a time limit into a clean stop between two steps.

    Attributes:
      has_stepped: whether a step has been run since the start; told by the loop.
    """

    def __init__(self, max_minutes: Optional[float]) -> None:
        self._deadline = math.inf
        if max_minutes is not None:
            self._deadline = time.monotonic() + 60 * max_minutes
        self._signal: Optional[int] = None
        self._old: dict[int, Any] = {}
        self.has_stepped = False

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

    def leaves_before_first_step(self) -> bool:
        """Whether a signal came before there was anything to lose: tracing would take long."""
        return self._signal is not None and not self.has_stepped

    def leaves_evaluation(self) -> bool:
        """Whether not to wait for the rest of an evaluation.

        A time limit that is shorter than an evaluation must not keep a run from ever going on:
        after a start it counts from the first step.
        """
        return self._signal is not None or (self.has_stepped and self.pending())

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
