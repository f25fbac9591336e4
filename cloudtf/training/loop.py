"""The loop over an epoch's steps: counts, checks, saves when it is due, leaves when told to."""

from __future__ import annotations

import math
import time
from typing import Callable, Iterator, Optional

from tqdm import tqdm

from cloudtf.training import sanity
from cloudtf.training.checkpoints import Progress
from cloudtf.training.config import TrainConfig
from cloudtf.training.profiling import StepProfiler
from cloudtf.training.step import TrainStep
from cloudtf.training.stopping import StopRequests
from cloudtf.training.workers import Workers


class EpochLoop:
    """Runs epochs of a run.

    Args:
      config: of the run.
      steps_per_epoch: steps of each epoch.
      progress: counted on with every step.
      requests: to stop.
      began: when the run was started, on the clock of `time.perf_counter`.
      profiler: traces some of the steps.
      workers: of the run; the chief shows the progress bar.
    """

    def __init__(
        self,
        config: TrainConfig,
        steps_per_epoch: int,
        progress: Progress,
        requests: StopRequests,
        began: float,
        profiler: StepProfiler,
        workers: Workers,
    ) -> None:
        self._config, self._steps_per_epoch, self._progress = config, steps_per_epoch, progress
        self._requests, self._profiler, self._workers = requests, profiler, workers
        self._began: Optional[float] = began
        self._every_steps, self._every_seconds = checkpoint_interval(config.checkpoint_every)

    def run(
        self, step: TrainStep, batches: Iterator, title: str, save: Callable[[], None]
    ) -> dict[str, float]:
        """Runs the steps that the epoch still has.

        Args:
          step: to run.
          batches: what it takes.
          title: of the progress bar.
          save: checks the weights and writes a checkpoint.

        Returns:
          The epoch's mean `loss`, and `images_per_second` of the steps run here.

        Raises:
          NotFinite: a loss, or a weight about to be saved, is not finite.
          Interrupted: told to stop; the run is saved.
        """
        progress, config = self._progress, self._config
        began, first_step = time.perf_counter(), progress.step
        saved_at, saved_step = began, progress.step
        bar = tqdm(
            total=self._steps_per_epoch,
            initial=progress.step,
            desc=title,
            unit="step",
            leave=False,
            dynamic_ncols=True,
            disable=not self._workers.is_chief,
        )
        with bar, self._profiler:
            while progress.step < self._steps_per_epoch:
                left = self._steps_per_epoch - progress.step
                count = min(config.steps_per_execution, left)
                with self._profiler.steps(progress.total_steps, count):
                    values = step(batches, count)
                sanity.check_losses(values, progress.total_steps)
                progress.loss_sum += float(values.sum(dtype="float64"))
                progress.step += count
                progress.total_steps += count
                self._requests.has_stepped = True
                bar.update(count)
                bar.set_postfix(loss=f"{progress.loss_sum / progress.step:.4f}", refresh=False)
                if self._began is not None:
                    bar.write(f"First step after {time.perf_counter() - self._began:.1f} s.")
                    self._began = None
                    if first_step == 0:
                        # Speeds leave out the first step, which traces and compiles.
                        began, first_step = time.perf_counter(), progress.step
                due = progress.step - saved_step >= self._every_steps
                if math.isfinite(self._every_seconds):
                    # Not all workers' clocks agree, and all must save at once.
                    waited = time.perf_counter() - saved_at
                    due = bool(self._workers.tell(waited).max() >= self._every_seconds)
                stopping = self._requests.pending()
                # An epoch's last step is saved once the epoch is judged, unless time is short.
                if stopping or (due and progress.step < self._steps_per_epoch):
                    save()
                    saved_at, saved_step = time.perf_counter(), progress.step
                    self._requests.check(config.run_dir)
        seconds = time.perf_counter() - began
        images = (progress.step - first_step) * config.batch_size
        return {
            "loss": progress.loss_sum / progress.step,
            "images_per_second": images / seconds if images else math.nan,
        }


def checkpoint_interval(text: str) -> tuple[float, float]:
    """Steps and seconds between checkpoints; the one not asked for is infinite."""
    if text.endswith("m"):
        return math.inf, 60.0 * int(text[:-1])
    return float(text), math.inf
