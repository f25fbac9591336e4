"""A TensorFlow profiler trace of some steps of a run."""

from __future__ import annotations

import contextlib
from typing import Any, Iterator, Optional

import tensorflow as tf

from cloudtf import files
from cloudtf.errors import UsageError, UserError, param, reason
from cloudtf.reporter import report


class StepProfiler:
    """Traces the steps of a window; used around an epoch's loop, whose end ends the trace too.

    Args:
      window: first and last step, counted from 1 over the whole run; or None.
      run_dir: the trace goes to its `tensorboard/`.
      last_step: the run's last step, if it is not stopped before.

    Raises:
      UsageError: the window is beyond the run's end.
    """

    def __init__(self, window: Optional[tuple[int, int]], run_dir: str, last_step: int) -> None:
        self._first, self._last = window or (0, 0)
        self._folder = files.join(run_dir, "tensorboard")
        self._began: Optional[int] = None
        self._done = 0
        self._wanted = window is not None
        self._given = param(profile=f"{self._first}:{self._last}")
        if self._first > last_step:
            raise UsageError(f"{self._given}: the run has only {last_step} steps.")

    def __enter__(self) -> StepProfiler:
        return self

    def __exit__(self, *_: Any) -> None:
        if self._began is not None:
            self._stop()

    @contextlib.contextmanager
    def steps(self, done: int, count: int) -> Iterator[bool]:
        """Around the call that runs `count` steps after the first `done` of the run.

        Gives whether they are traced, and then must have come to their end within.
        """
        if self._wanted and self._began is None and done + count >= self._first:
            self._start(done)
        if self._began is None:
            yield False
            return
        with tf.profiler.experimental.Trace("train", step_num=done + 1, _r=1):
            yield True
        self._done = done + count
        if self._done >= self._last:
            self._stop()

    def _start(self, done: int) -> None:
        if done >= self._last:
            self._wanted = False
            report(f"{self._given}: these steps are over; nothing is traced.")
            return
        try:
            tf.profiler.experimental.start(self._folder)
        except tf.errors.OpError as error:
            raise UserError(
                f"{self._given}: TensorFlow's profiler does not start ({reason(error)}); train "
                "without it."
            ) from error
        self._began = done + 1

    def _stop(self) -> None:
        tf.profiler.experimental.stop()
        report(
            f"Steps {self._began} to {self._done} are traced. To see them: pip install "
            f"tensorboard-plugin-profile; tensorboard --logdir={self._folder}; Profile."
        )
        self._began, self._wanted = None, False
