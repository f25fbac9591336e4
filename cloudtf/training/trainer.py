"""Trains the network of a run stage by stage: steps, judgements, checkpoints, ways back."""

from __future__ import annotations

import contextlib
import dataclasses
import math
import time
from typing import Any, Callable, Iterator, Optional

import tensorflow as tf

from cloudtf import bars
from cloudtf.errors import UserError, param
from cloudtf.model import network, optimizers
from cloudtf.reporter import report
from cloudtf.training import (
    batch_norm,
    building,
    compatibility,
    epoch_line,
    features,
    hardware,
    head_fit,
    inputs,
    run_summaries,
    sanity,
    train_size,
    unused,
)
from cloudtf.training.callback_hooks import CallbackHooks
from cloudtf.training.in_flight import MOST_CALLS, StepsInFlight
from cloudtf.training.own_parts import has_body
from cloudtf.training.profiling import StepProfiler
from cloudtf.training.progress import Progress
from cloudtf.training.run import Run
from cloudtf.training.soup import Soup
from cloudtf.training.stages import Stage
from cloudtf.training.step import TrainStep
from cloudtf.training.stopping import LeftEarly
from cloudtf.training.weight_average import WeightAverage


class Trainer:
    """The network of a run, what judges it, and the steps that train it.

    Args:
      run: all that does not change, such as settings, records and hardware.
      progress: where the run stands; changed in place with every step.
      weights: prefix of the checkpoint to go on from; None begins anew.

    Raises:
      UserError: the network cannot be built, or the examples would come in another order.
    """

    # Of the stage under way; set by `begin`.
    _stage: Stage
    _optimizer: tf.keras.optimizers.Optimizer
    _checkpoint: tf.train.Checkpoint
    _average: Optional[WeightAverage]
    _average_replicas: Callable[[], None]
    _step: TrainStep
    _size: Optional[tuple[int, int]]
    _batches: Iterator[Any]
    # A step's, in the steps that this process has just run; NaN where it has measured none.
    _step_seconds = math.nan
    # Spent on checkpoints since the last epoch was judged.
    _saving_seconds = 0.0

    def __init__(self, run: Run, progress: Progress, weights: Optional[str]) -> None:
        config = run.config
        self._run, self._progress, self._weights = run, progress, weights
        self._loss = building.make_loss(run)
        self._model = building.run_model(run, restored=weights is not None)
        # Before a checkpoint is read: those of a new network.
        self._unsettled = building.unsettled_batch_norm(config, run.own, self._model)
        compatibility.check_model(config, run.own, progress, self._model)
        train_size.prepare(config, self._model, run.data.image_shape)
        inputs.settle_order(run, progress)
        self._judge = building.make_judge(run, self._model, self._loss)
        if progress.callback is not None:
            self._judge.restore(progress.callback)
        run.results.settle(self._judge.rows, self._judge.best)
        building.try_out(run, self._model, self._loss)
        if run.results.summaries is not None:
            run_summaries.write(run, run.results.summaries, self._model)
        epochs = sum(stage.epochs for stage in run.stages)
        self._hooks = CallbackHooks(run.own.callbacks, self._model, epochs, run.steps_per_epoch)
        last_step = run.steps_per_epoch * epochs
        self._profiler = StepProfiler(config.profile_steps, run.output_dir, last_step)
        self._soup = Soup(run, self._model) if config.soup is not None else None
        self._hooks_began = False
        self._every_steps, self._every_seconds = _checkpoint_interval(config.checkpoint_every)

    @property
    def model_name(self) -> str:
        """What the network is called."""
        return self._model.name if self._run.own.model_fn else self._run.config.model

    def unused_settings(self) -> list[str]:
        """Why settings that were given are not used, a phrase a reason."""
        return unused.unused_settings(self._run, self._model)

    def begin(self, stage: Stage) -> None:
        """Makes a stage's optimizer and step, from the checkpoint if the stage is under way.

        Raises:
          UserError: the checkpoint cannot be read, or a new one cannot be written.
        """
        run, progress, model, config = self._run, self._progress, self._model, self._run.config
        is_new = progress.stage != stage.index or not (progress.total_steps or progress.epoch)
        if is_new:
            progress.begin_stage(stage.index)
            self._judge.begin_stage(stage.name)
        several = sum(stage.epochs > 0 for stage in run.stages) > 1
        if (stage.fits_head or several) and progress.epoch < stage.epochs:
            report(_what_is_done(stage))
        building.set_trainable(run, model, stage.whole_network)
        if not (stage.whole_network or stage.fits_head or has_body(model)):
            raise UserError(
                f"{param(head_epochs=stage.epochs)} needs a model with a layer called "
                f"{network.BODY!r}, to be frozen; leave it out."
            )
        self._stage, model.stop_training = stage, False
        self._optimizer = building.make_optimizer(
            config, run.strategy, model, stage.learning_rate, stage.epochs * run.steps_per_epoch
        )
        with run.strategy.scope():
            model.compile(optimizer=self._optimizer)
        parts = {"model": model, "optimizer": self._optimizer}
        averaged = list(model.variables)
        self._average = None
        if not stage.fits_head:
            self._average = building.make_average(config, run.strategy, model)
        if self._average is not None:
            parts["average"] = self._average
            averaged += self._average.variables
        self._checkpoint = tf.train.Checkpoint(**parts)
        if self._weights is not None:
            self._restore(self._weights)
            self._weights = None
        self._average_replicas = batch_norm.replica_averager(run.strategy, averaged)
        self._size = self._train_size()
        self._step = self._make_step()
        if not self._hooks_began:
            self._hooks.begin(progress.callbacks)
            self._hooks_began = True
        if is_new and config.on_nan == "rewind":
            self.save()  # There must be something to go back to.
        if not stage.fits_head:
            self._batches = inputs.training_batches(run, progress, self._size)

    def _train_size(self) -> Optional[tuple[int, int]]:
        run, epoch = self._run, self._progress.epoch
        return train_size.train_size(run.config, self._stage, epoch, run.data.image_shape)

    def _make_step(self) -> TrainStep:
        run, config = self._run, self._run.config
        return TrainStep(
            self._model,
            self._optimizer,
            self._loss,
            run.strategy,
            config.images_per_step,
            seed=2 * config.seed + self._stage.index,
            device_augmentations=config if run.augment_on == "device" else None,
            augment_seed=config.seed,
            jit_compile=hardware.jit_compiles(config, run.strategy),
            unsettled=self._unsettled,
            accumulate_steps=config.accumulate_steps,
            average=self._average,
            size=self._size,
        )

    def _follow_size(self) -> None:
        """Goes on with images of the size that the epoch has."""
        if self._train_size() != self._size:
            self._size = self._train_size()
            self._step = self._make_step()
            self._batches = inputs.training_batches(self._run, self._progress, self._size)

    def stage_is_over(self) -> bool:
        """Whether all epochs of the stage are done, or patience has ended it."""
        return self._progress.epoch >= self._stage.epochs or self._progress.stopped_early

    def fit_head(self) -> dict[str, float]:
        """Fits the head on the features of the training examples, computed once.

        Returns:
          The mean `loss` of these, and `images_per_second` of the features computed here.

        Raises:
          LeftEarly: a stop is requested; the features that have been computed are kept.
        """
        if self._run.requests.leaves_before_first_step():
            raise LeftEarly
        self._hooks.epoch_begins(self._progress.total_epochs)
        return head_fit.fit_head(self._run, self._model, self._loss)

    def run_steps(self) -> dict[str, float]:
        """Runs the steps that the epoch still has, saving when it is due.

        Returns:
          The epoch's mean `loss`, and `images_per_second` of the steps run here.

        Raises:
          NotFinite: a loss, or a weight about to be saved, is not finite.
          LeftEarly: a stop is requested before the first step.
          Interrupted: a stop was requested; the run is saved.
        """
        run, progress, config = self._run, self._progress, self._run.config
        if run.requests.leaves_before_first_step():
            raise LeftEarly
        self._follow_size()
        self._hooks.epoch_begins(progress.total_epochs)
        began, first_step = time.perf_counter(), progress.step
        saved_at, saved_step = began, progress.step
        calls = MOST_CALLS if hardware.computes_meanwhile(run.strategy) else 0
        summaries = run.results.summaries
        keep = None if summaries is None else summaries.keep_losses
        flight = StepsInFlight(progress, calls, keep)
        shown = bars.bar(
            epoch_line.label(progress.total_epochs + 1, self._most_epochs()),
            run.steps_per_epoch,
            "steps",
            initial=progress.step,
            keep=False,
            hidden=not run.workers.is_chief,
        )
        with shown as bar, self._profiler:
            while progress.step < run.steps_per_epoch:
                count = min(config.steps_per_execution, run.steps_per_epoch - progress.step)
                self._hooks.steps_begin(progress.step)
                with self._profiler.steps(progress.total_steps, count) as traced:
                    flight.add(self._step.send(self._batches, count), count)
                    if traced or self._hooks.take_steps or not run.requests.has_stepped:
                        flight.settle()
                bar.update(count)
                bar.set_postfix(loss=f"{flight.mean_loss:.4f}", refresh=False)
                if not run.requests.has_stepped:
                    run.requests.has_stepped = True
                    report(f"First step after {time.perf_counter() - run.began:.1f} s.")
                    if first_step == 0:
                        # Speeds leave out the first step, which traces and compiles.
                        began, first_step = time.perf_counter(), progress.step
                if self._stops(self._hooks.steps_end(progress.step - 1, flight.mean_loss)):
                    break
                due = progress.step - saved_step >= self._every_steps
                if math.isfinite(self._every_seconds):
                    # Not all workers' clocks agree, and all must save at once.
                    waited = time.perf_counter() - saved_at
                    due = bool(run.workers.tell(waited).max() >= self._every_seconds)
                stopping = run.requests.pending()
                # An epoch's last step is saved once the epoch is judged, unless time is short.
                if stopping or (due and progress.step < run.steps_per_epoch):
                    flight.settle()
                    self._settle_weights()
                    self.save()
                    saved_at, saved_step = time.perf_counter(), progress.step
                    run.requests.check(config.run_dir)
            flight.settle()
        seconds = time.perf_counter() - began
        images = (progress.step - first_step) * config.images_per_step
        self._step_seconds = seconds / images * config.images_per_step if images else math.nan
        return {
            "loss": progress.mean_loss,
            "images_per_second": images / seconds if images else math.nan,
        }

    def judge_epoch(self, logs: dict[str, float]) -> None:
        """Scores the network and decides what follows: the best model, a lower rate, the end.

        Args:
          logs: the mean loss and the speed, as `run_steps` returns them.

        Raises:
          NotFinite: a weight, a score or the validation loss is not finite.
          LeftEarly: a stop is requested; the epoch is judged when the run goes on.
        """
        run, progress, began = self._run, self._progress, time.perf_counter()
        self._settle_weights()  # So that what is judged is what is saved.
        if self._judge.best is not None and run.workers.chief_says(run.results.has_lost_best()):
            self._judge.forget_best()
        rate = 0.0 if self._stage.fits_head else None
        logs = {**logs, "saving_seconds": self._saving_seconds}
        with self._judged_weights():
            decision = self._judge.judge(progress.total_epochs + 1, logs, rate)
            if self._soup is not None:
                self._soup.add(self._judge.rows)
        self._saving_seconds = 0.0
        self._report_epoch(time.perf_counter() - began, decision.stop)
        if decision.lower_rate and not decision.stop:
            optimizers.lower_learning_rate(self._optimizer, run.config.plateau_factor)
        stops = self._hooks.epoch_ends(progress.total_epochs, self._judge.rows[-1])
        progress.end_epoch(decision.stop, self._stops(stops))

    def save(self) -> None:
        """Writes a checkpoint, and only then puts a best model that waits for it in its place.

        No worker goes on, or leaves, before the chief has written all.
        """
        began = time.perf_counter()
        self._progress.callback = self._judge.state()
        self._progress.callbacks = self._hooks.state()
        if self._run.results.summaries is not None:
            self._run.results.summaries.write_kept()
        self._run.folder.save(self._checkpoint, self._progress)
        self._judge.publish()
        if self._run.stages[0].fits_head and self._progress.total_epochs:
            features.forget(self._run)
        if self._soup is not None and self._judge.rows:
            self._soup.drop(self._judge.rows)
        self._run.workers.meet()
        self._saving_seconds += time.perf_counter() - began

    def end(self) -> None:
        """Ends the run: the average of its epochs, its callbacks, and its last checkpoint.

        Raises:
          Interrupted: a stop was requested before the average was judged; the run is saved, and is
            not finished.
        """
        if self._soup is not None:
            try:
                self._soup.finish(self._judge)
            except LeftEarly:
                self.save()
                self._run.requests.check(self._run.config.run_dir)
        self._hooks.end()
        self._progress.finished = True
        self.save()

    def rewind(self, what: str) -> None:
        """Goes back to the last checkpoint, at half the rate.

        Args:
          what: the beginning of a sentence that says what was not finite.

        Raises:
          UserError: the run is to stop at it, or has gone back often enough, or the workers do not
            see the same checkpoint.
        """
        run, progress, stage = self._run, self._progress, self._stage
        rate, rewinds = optimizers.effective_learning_rate(self._optimizer), progress.rewinds
        stops = run.config.on_nan == "stop" or len(rewinds) >= sanity.MAX_REWINDS
        latest = None if stops else run.folder.latest()
        # A worker may see a shared folder as it was: all must go back to the same place.
        run.workers.check_same(checkpoints=latest and dataclasses.asdict(latest[1]))
        if latest is None:
            lower = param(**{stage.rate_setting: float(f"{stage.learning_rate / 10:g}")})
            raise sanity.refusal(what, rate, run.config, len(rewinds), lower)
        weights, earlier = latest
        if run.results.summaries is not None:
            run.results.summaries.forget_kept()
        self._restore(weights)
        progress.go_back_to(earlier)
        if progress.callback is not None:
            self._judge.restore(progress.callback)
        optimizers.lower_learning_rate(self._optimizer, sanity.RATE_FACTOR)
        progress.rewinds = [
            *rewinds,
            {"what": what, "learning_rate": rate, "back_to_step": progress.total_steps},
        ]
        report(
            f"{what} (learning rate {rate:.3g}): back to step {progress.total_steps} at half the "
            f"rate (rewind {len(progress.rewinds)} of {sanity.MAX_REWINDS})."
        )
        self._batches = inputs.training_batches(run, progress, self._size)

    def lacks_best(self) -> bool:
        """Whether `best.keras` has been lost and cannot be written again from the network as it is.

        It can where a checkpoint that has just been read, or written, is that of the best epoch.
        """
        run, progress, best = self._run, self._progress, self._judge.best
        if best is None or not run.workers.chief_says(bool(run.results.lacks(best))):
            return False
        is_of_now = best["epoch"] == progress.total_epochs and best["stage"] == self._stage.name
        if not is_of_now or progress.step:
            return True
        with self._judged_weights():
            self._judge.keep_best()
        self._judge.publish()
        report(
            f"{run.results.path('best.keras')} was gone or damaged, and is written again from the "
            "checkpoint."
        )
        return False

    def forget_best(self) -> None:
        """Lets the next epoch's model be kept in the place of a best one that has been lost."""
        self._judge.forget_best()

    def _judged_weights(self) -> contextlib.AbstractContextManager:
        """Within it the network has the weights that are judged and kept."""
        return contextlib.nullcontext() if self._average is None else self._average.in_place()

    def _later_epochs(self) -> int:
        """Epochs of the stages after the one under way."""
        return sum(stage.epochs for stage in self._run.stages[self._stage.index + 1 :])

    def _most_epochs(self) -> int:
        """The epochs of the run, if patience ends neither this stage nor a later one."""
        begun_at = self._progress.total_epochs - self._progress.epoch
        return begun_at + self._stage.epochs + self._later_epochs()

    def _report_epoch(self, judging_seconds: float, stage_ends: bool) -> None:
        row, best, total = self._judge.rows[-1], self._judge.best, self._most_epochs()
        is_best = best is not None and best["epoch"] == row["epoch"]
        epochs_left = self._later_epochs() if stage_ends else total - row["epoch"]
        seconds = self._step_seconds * self._run.steps_per_epoch + judging_seconds
        seconds_left = min(epochs_left * seconds, self._run.requests.seconds_left())
        report(epoch_line.epoch_line(row, total, is_best, seconds_left))
        if stage_ends and self._progress.epoch + 1 < self._stage.epochs:
            waited = self._run.config.early_stopping_patience
            report(f"Stopped early: no better PR-AUC in {waited} epoch{'s' * (waited > 1)}.")

    def _stops(self, wanted: bool) -> bool:
        """Whether a callback of any worker wants to stop."""
        return bool(self._run.own.callbacks) and bool(self._run.workers.tell(wanted).max())

    def _settle_weights(self) -> None:
        """Makes all replicas' weights those that would be saved, and looks at them."""
        self._average_replicas()
        sanity.check_weights(self._model, self._progress.total_steps)

    def _restore(self, weights: str) -> None:
        self._run.folder.restore(self._checkpoint, weights)
        # The chief's next checkpoint takes this one's place.
        self._run.workers.meet()


def _what_is_done(stage: Stage) -> str:
    if stage.fits_head:
        return "The head is fitted on features of the frozen body."
    return f"{'The whole network' if stage.whole_network else 'The head alone'} is trained."


def _checkpoint_interval(text: str) -> tuple[float, float]:
    """Steps and seconds between checkpoints; the one not asked for is infinite."""
    if text.endswith("m"):
        return math.inf, 60.0 * int(text[:-1])
    return float(text), math.inf
