"""One stage of a run, the head or the whole network: its optimizer, its epochs, its checkpoints."""

from __future__ import annotations

import dataclasses
from typing import Any, Callable, Iterator, Optional

import tensorflow as tf

from cloudtf import files
from cloudtf.errors import UserError, reason
from cloudtf.model import network, optimizers
from cloudtf.training import sanity, startup
from cloudtf.training import strategy as strategies
from cloudtf.training.checkpoints import CheckpointFolder, Progress
from cloudtf.training.config import TrainConfig
from cloudtf.training.loop import EpochLoop
from cloudtf.training.pr_auc_callback import PrAucCallback
from cloudtf.training.startup import Stage
from cloudtf.training.step import TrainStep
from cloudtf.training.stopping import EvaluationLeft, StopRequests
from cloudtf.training.workers import Workers


@dataclasses.dataclass(frozen=True)
class Shared:
    """What the stages of a run have in common.

    Attributes:
      config: of the run.
      strategy: its replicas.
      workers: its workers.
      model: trained by one stage after the other.
      loss: (labels [B, C], probabilities [B, C]) -> [B].
      callback: judges each epoch.
      progress: where the run stands; changed in place.
      folder: of the checkpoints.
      requests: to stop.
      loop: over an epoch's steps.
      steps_per_epoch: steps of each epoch.
      augment_on: `host` or `device`.
      make_batches: gives training batches from where the run stands.
    """

    config: TrainConfig
    strategy: tf.distribute.Strategy
    workers: Workers
    model: tf.keras.Model
    loss: Callable[[tf.Tensor, tf.Tensor], tf.Tensor]
    callback: PrAucCallback
    progress: Progress
    folder: CheckpointFolder
    requests: StopRequests
    loop: EpochLoop
    steps_per_epoch: int
    augment_on: str
    make_batches: Callable[[], Iterator]


class StageRun:
    """Trains one stage.

    Args:
      shared: with the other stages.
      index: of the stage.
      stage: what it is.
      weights: prefix of the checkpoint to go on from; None goes on with the model as it is.
    """

    def __init__(self, shared: Shared, index: int, stage: Stage, weights: Optional[str]) -> None:
        self._shared, self._stage = shared, stage
        config, progress = shared.config, shared.progress
        self._begins = progress.stage != index or progress.total_steps == 0
        if self._begins:
            progress.stage, progress.epoch, progress.step, progress.loss_sum = index, 0, 0, 0.0
            progress.stopped_early = False
            shared.callback.begin_stage(stage.name)
        network.set_body_trainable(shared.model, stage.whole_network)
        self._optimizer = startup.make_optimizer(
            config,
            shared.strategy,
            shared.model,
            stage.learning_rate,
            stage.epochs * shared.steps_per_epoch,
        )
        with shared.strategy.scope():
            shared.model.compile(optimizer=self._optimizer)
        self._checkpoint = tf.train.Checkpoint(model=shared.model, optimizer=self._optimizer)
        if weights is not None:
            self._restore(weights)
        shared.callback.set_model(shared.model)
        shared.model.stop_training = False
        self._average_replicas = strategies.replica_averager(shared.strategy, shared.model)
        self._step = TrainStep(
            shared.model,
            self._optimizer,
            shared.loss,
            shared.strategy,
            config.batch_size,
            seed=2 * config.seed + index,
            device_augmentations=config if shared.augment_on == "device" else None,
            augment_seed=config.seed,
            jit_compile=startup.jit_compiles(config, shared.strategy),
        )

    def train(self) -> None:
        """Trains what is left of the stage, saving after each epoch and on the way.

        Raises:
          UserError: something is not finite, or a file cannot be written.
          Interrupted: told to stop; the run is saved.
        """
        shared, progress = self._shared, self._shared.progress
        if self._begins and shared.config.on_nan == "rewind":
            self.save()  # There must be something to go back to.
        batches = shared.make_batches()
        while progress.epoch < self._stage.epochs and not progress.stopped_early:
            if shared.requests.leaves_before_first_step():
                self._save_and_leave()
            try:
                self._train_epoch(batches)
            except sanity.NotFinite as error:
                self._rewind(error.what)
                batches = shared.make_batches()
            except EvaluationLeft:
                # The epoch's steps are done; it is judged when the run goes on.
                self._save_and_leave()
            self._save_and_leave()

    def save(self) -> None:
        """Writes a checkpoint, and only then puts a best model that waits for it in its place.

        No worker goes on, or leaves, before the chief has written all.
        """
        shared = self._shared
        shared.progress.callback = shared.callback.state()
        shared.folder.save(self._checkpoint, shared.progress)
        shared.callback.place_best()
        shared.workers.meet()

    def _save_and_leave(self) -> None:
        self.save()
        self._shared.requests.check(self._shared.config.run_dir)

    def _save_checked(self) -> None:
        self._average_replicas()
        sanity.check_weights(self._shared.model, self._shared.progress.total_steps)
        self.save()

    def _train_epoch(self, batches: Iterator) -> None:
        shared, progress, stage = self._shared, self._shared.progress, self._stage
        title = f"{stage.name} {progress.epoch + 1}/{stage.epochs}"
        logs = shared.loop.run(self._step, batches, title, self._save_checked)
        # So that what is judged is what is saved.
        self._average_replicas()
        sanity.check_weights(shared.model, progress.total_steps)
        shared.callback.on_epoch_end(progress.total_epochs, logs)
        _print_epoch(shared.callback)
        progress.epoch += 1
        progress.total_epochs += 1
        progress.step, progress.loss_sum = 0, 0.0
        progress.stopped_early = shared.model.stop_training

    def _restore(self, weights: str) -> None:
        try:
            status = self._checkpoint.read(weights)
            status.assert_existing_objects_matched().expect_partial()
        except Exception as error:  # TensorFlow has many for a damaged file, IndexError among them.
            raise UserError(
                f"The checkpoint {files.dirname(weights)} cannot be read "
                f"({reason(error)}); remove it, and the same command begins "
                f"anew in {self._shared.config.run_dir}."
            ) from error
        # The chief's next checkpoint takes this one's place.
        self._shared.workers.meet()

    def _rewind(self, what: str) -> None:
        """Goes back to the last checkpoint, at half the rate.

        Raises:
          UserError: the run is to stop at what was found, or has gone back often enough, or the
            workers do not find the same checkpoint.
        """
        config, progress, stage = self._shared.config, self._shared.progress, self._stage
        rate, rewinds = optimizers.effective_learning_rate(self._optimizer), progress.rewinds
        stops = config.on_nan == "stop" or len(rewinds) >= sanity.MAX_REWINDS
        found = None if stops else self._shared.folder.latest()
        # A worker may see a shared folder as it was: all must go back to the same place.
        where = found and dataclasses.asdict(found[1])
        self._shared.workers.check_same(checkpoints=where)
        if found is None:
            flag = f"--{stage.rate_flag}={stage.learning_rate / 10:g}"
            raise sanity.refusal(what, rate, config, len(rewinds), flag)
        weights, earlier = found
        self._restore(weights)
        vars(progress).update(vars(earlier), settings=progress.settings)
        if progress.callback is not None:
            self._shared.callback.restore(progress.callback)
        lowered: Any = self._optimizer.learning_rate
        lowered.assign(lowered * sanity.RATE_FACTOR)
        progress.rewinds = [
            *rewinds,
            {"what": what, "learning_rate": rate, "back_to_step": progress.total_steps},
        ]
        print(
            f"{what} (learning rate {rate:.3g}): back to step {progress.total_steps} at half the "
            f"rate (rewind {len(progress.rewinds)} of {sanity.MAX_REWINDS}).",
            flush=True,
        )


def _print_epoch(callback: PrAucCallback) -> None:
    row = callback.rows[-1]
    kept = callback.best is not None and callback.best["epoch"] == row["epoch"]
    parts = [
        f"epoch {row['epoch']:>3} {row['stage']}",
        f"loss {row['loss']:.4f} val {row['val_loss']:.4f}",
    ]
    if "train_pr_auc_mean" in row:
        parts.append(f"PR-AUC {row['train_pr_auc_mean']:.4f} val {row['val_pr_auc_mean']:.4f}")
    else:
        parts.append(f"val PR-AUC {row['val_pr_auc_mean']:.4f}")
    parts.append(f"{row['images_per_second']:.0f} images/s")
    print("  ".join(parts) + ("  best, kept" if kept else ""), flush=True)
