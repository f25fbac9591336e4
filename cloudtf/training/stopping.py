"""Stopping a run between two steps: SIGTERM, Ctrl-C and a time limit."""

from __future__ import annotations

import contextlib
import math
import signal
import threading
import time
from typing import Any, Iterator, Optional

from cloudtf.errors import UserError, param
from cloudtf.training.workers import Workers

# Beside the signals' numbers, and less than any: the time limit.
_TIME = 1
# The exit status of a run whose time is over: as EX_TEMPFAIL, try again.
TIME_OVER = 75


class Interrupted(UserError):
    """The run was told to stop, has saved itself and can go on."""

    def __init__(self, message: str, exit_status: int) -> None:
        super().__init__(message)
        self.exit_status = exit_status


class LeftEarly(Exception):
    """A run that is to stop has left an epoch before its first step, or within its evaluation."""


class Watched:
    """Batches to evaluate, left half way by a run that is to stop.

    Args:
      batches: what is gone through, as often as wanted.
      requests: the run's stop requests, looked at before each batch.
      may_leave: false where others would wait for this process: it then goes through all batches.
    """

    def __init__(self, batches: Any, requests: StopRequests, may_leave: bool = True) -> None:
        self._batches, self._requests, self._may_leave = batches, requests, may_leave

    def __len__(self) -> int:
        return len(self._batches)

    def __iter__(self) -> Iterator:
        """The batches.

        Raises:
          LeftEarly: the run is to stop.
        """
        for batch in self._batches:
            if self._may_leave and self._requests.leaves_evaluation():
                raise LeftEarly
            yield batch


class StopRequests:
    """Turns SIGTERM, Ctrl-C and a time limit into a clean stop between two steps.

    A request to one of several workers reaches all, which stop at the same step: they must all ask
    at the same points.

    Args:
      max_minutes: the time limit from now on; None for none.
      workers: all that take part in the run; without them there is only this process.

    Attributes:
      has_stepped: whether a step has been run since the start; set by the loop over the steps.
    """

    def __init__(self, max_minutes: Optional[float], workers: Optional[Workers] = None) -> None:
        self._workers = workers
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

    def seconds_left(self) -> float:
        """Seconds until the time limit; infinite without one."""
        return self._deadline - time.monotonic()

    def pending(self) -> bool:
        """Whether the run is to stop."""
        return self._reason() > 0

    def _reason(self) -> int:
        """The number of a signal, `_TIME`, or 0 while there is no reason to stop."""
        mine = self._signal or (_TIME if time.monotonic() >= self._deadline else 0)
        return mine if self._workers is None else int(self._workers.tell(mine).max())

    def leaves_before_first_step(self) -> bool:
        """Whether a signal came before there was anything to lose: tracing would take long."""
        return not self.has_stepped and self._reason() > _TIME

    def leaves_evaluation(self) -> bool:
        """Whether not to wait for the rest of an evaluation.

        A time limit that is shorter than an evaluation must not keep a run from ever going on:
        after a start it counts from the first step.
        """
        reason = self._reason()
        return reason > _TIME or (self.has_stepped and reason > 0)

    def check(self, run_dir: Optional[str]) -> None:
        """Leaves, once the run has been saved.

        Args:
          run_dir: where it is saved; None: nothing is kept.

        Raises:
          Interrupted: with exit status 143 (SIGTERM), 130 (Ctrl-C) or 75 (time limit).
        """
        number = self._reason()
        if not number:
            return
        reasons = {
            signal.SIGTERM: ("told to stop (SIGTERM)", 143),
            signal.SIGINT: ("interrupted", 130),
            _TIME: (f"{param('max_minutes')} is over", TIME_OVER),
        }
        reason, status = reasons[number]
        then = f"all is saved in {run_dir}, run the same command to go on"
        if run_dir is None:
            then = "nothing is kept, run the same command to begin anew"
        raise Interrupted(f"{reason}; {then}.", status)
