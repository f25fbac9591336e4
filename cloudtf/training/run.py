"""A training run: from the settings to a run folder with the best model, resumable at any step."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import math
import tempfile
import time
from typing import Any, Iterator, Optional

import numpy as np
import tensorflow as tf
from tqdm import tqdm

from cloudtf import files, settings
from cloudtf.errors import UsageError, UserError
from cloudtf.evaluation import history, scoring
from cloudtf.model import losses, network, optimizers
from cloudtf.pipeline.dataset import ImageDataset, open_dataset
from cloudtf.training import strategy as strategies
from cloudtf.training.checkpoints import CheckpointFolder, Progress, RunLock
from cloudtf.training.config import TrainConfig
from cloudtf.training.pr_auc_callback import PrAucCallback
from cloudtf.training.step import TrainStep
from cloudtf.training.stopping import StopRequests

# Settings that may differ when a run goes on: they change how long or how fast, not what.
_MAY_CHANGE = {
    "cache",
    "checkpoint_every",
    "early_stopping_patience",
    "epochs",
    "max_minutes",
    "plateau_factor",
    "plateau_patience",
    "resume",
    "run_dir",
    "steps_per_execution",
    "tensorboard",
    "train_metric_examples",
}


@dataclasses.dataclass(frozen=True)
class TrainResult:
    """What a run has come to.

    Attributes:
      run_dir: its folder.
      best: the content of `best.json`.
      history: the rows of `history.csv`.
    """

    run_dir: str
    best: dict[str, Any]
    history: list[dict[str, Any]]


@dataclasses.dataclass(frozen=True)
class _Stage:
    name: str
    epochs: int
    learning_rate: float
    whole_network: bool


def train(config: TrainConfig) -> TrainResult:
    """Trains a classifier, or goes on with one whose run folder is not finished.

    Raises:
      UserError: bad input, a run folder in use or made with other settings, or a loss that is not
        finite.
      Interrupted: SIGTERM, Ctrl-C or `max_minutes`; the run is saved and can go on.
    """
    began = time.perf_counter()
    tf.keras.utils.set_random_seed(config.seed)
    if config.deterministic:
        tf.config.experimental.enable_op_determinism()
    data = open_dataset(config.data_dir, config.cache)
    strategy = strategies.make_strategy(config.strategy, config.tpu)
    with contextlib.ExitStack() as stack:
        output_dir = config.run_dir
        if not strategies.is_chief(strategy):
            # All workers save, since reading a replicated average takes part from each; what the
            # others write is thrown away.
            output_dir = stack.enter_context(tempfile.TemporaryDirectory())
        files.make_dirs(output_dir)
        stack.enter_context(RunLock(output_dir))
        requests = stack.enter_context(StopRequests(config.max_minutes))
        files.remove_leftovers(output_dir)
        run = _Run(config, data, strategy, requests, began, output_dir)
        if run.progress.finished:
            print(f"The run in {config.run_dir} is finished; more --epochs would go on with it.")
            return run.result()
        return run.train()


class _Run:
    def __init__(
        self,
        config: TrainConfig,
        data: ImageDataset,
        strategy: tf.distribute.Strategy,
        requests: StopRequests,
        began: float,
        output_dir: str,
    ) -> None:
        self.config, self.data, self.strategy = config, data, strategy
        self.output_dir = output_dir
        self.requests = requests
        self.began: Optional[float] = began
        self.train_splits, self.val_split = _splits(config, data)
        self.stages = [
            _Stage("head", config.stage_epochs[0], config.head_learning_rate, False),
            _Stage("whole", config.stage_epochs[1], config.learning_rate, True),
        ]
        self.folder = CheckpointFolder(output_dir)
        found = self.folder.latest()
        self.weights, self.progress = found or (None, Progress())
        if found is not None:
            self._check_resumable()
        self.progress.records = self._fingerprint()
        self.progress.settings = dataclasses.asdict(config)
        if self._patience_regained():
            self.progress.stopped_early = False
        if self.progress.finished and self._has_more_epochs():
            self.progress.finished = False

    def train(self) -> TrainResult:
        config = self.config
        replica_batch = strategies.per_replica_batch(self.strategy, config.batch_size)
        num_examples = self.data.num_examples(self.train_splits)
        self.steps_per_epoch = config.steps_per_epoch or max(
            1, round(num_examples / config.batch_size)
        )
        on_accelerator = strategies.accelerator(self.strategy) != "CPU"
        self.augment_on = config.augment_on
        if self.augment_on == "auto":
            self.augment_on = "device" if on_accelerator else "host"
        with self.strategy.scope(), _precision(config.mixed_precision, self.strategy):
            self.model = network.build_model(
                config.model,
                num_classes=len(self.data.classes),
                image_shape=self.data.image_shape,
                weights=None if config.weights == "none" or self.weights else config.weights,
                dropout=config.dropout,
                batch_norm_momentum=config.batch_norm_momentum,
                sync_batch_norm=config.sync_batch_norm,
            )
        self.loss = losses.get_loss(config.loss)
        self.callback = self._make_callback()
        if self.progress.callback is not None:
            self.callback.restore(self.progress.callback)
        # Also when going on: settings that may change are those of the last start.
        files.write_text(files.join(self.output_dir, "flags.txt"), settings.to_flagfile(config))
        self._describe(num_examples)
        with self.data.naming_damage(self.train_splits), self.data.naming_damage(self.val_split):
            for index, stage in enumerate(self.stages):
                if index >= self.progress.stage and stage.epochs:
                    self._train_stage(index, stage, replica_batch)
        self.progress.finished = True
        self._save()
        return self.result()

    def result(self) -> TrainResult:
        state = history.from_json(self.progress.callback or {})
        best = state.get("best")
        if best is None:
            raise UserError(
                f"The run in {self.config.run_dir} ended without a model to keep: PR-AUC was "
                "undefined in every epoch, since no class has both positives and negatives in "
                f"the split {self.val_split!r}."
            )
        return TrainResult(self.config.run_dir, best, state["rows"])

    def _train_stage(self, index: int, stage: _Stage, replica_batch: int) -> None:
        progress, config = self.progress, self.config
        if progress.stage != index or progress.total_steps == 0:
            progress.stage, progress.epoch, progress.step, progress.loss_sum = index, 0, 0, 0.0
            progress.stopped_early = False
            self.callback.begin_stage(stage.name)
        network.set_body_trainable(self.model, stage.whole_network)
        with self.strategy.scope():
            optimizer = optimizers.make_optimizer(
                config.optimizer,
                stage.learning_rate,
                stage.epochs * self.steps_per_epoch,
                warmup_proportion=config.warmup_proportion,
                min_lr=config.final_rate * stage.learning_rate,
            )
            if config.mixed_precision and strategies.accelerator(self.strategy) == "GPU":
                optimizer = tf.keras.mixed_precision.LossScaleOptimizer(optimizer)
            # Created here, or a mirrored loop of steps would create it while tracing.
            _ = optimizer.iterations
            optimizer._create_all_weights(self.model.trainable_variables)
            self.model.compile(optimizer=optimizer)
        self.checkpoint = tf.train.Checkpoint(model=self.model, optimizer=optimizer)
        if self.weights is not None:
            self._restore()
        self.callback.set_model(self.model)
        self.model.stop_training = False
        step = TrainStep(
            self.model,
            optimizer,
            self.loss,
            self.strategy,
            config.batch_size,
            seed=2 * config.seed + index,
            device_augmentations=config if self.augment_on == "device" else None,
            augment_seed=config.seed,
            jit_compile=config.jit_compile,
        )
        batches = iter(self._distributed_batches(replica_batch))
        while progress.epoch < stage.epochs and not progress.stopped_early:
            self._train_epoch(stage, step, batches)
            self._save()
            self.requests.check(self.config.run_dir)

    def _train_epoch(self, stage: _Stage, step: TrainStep, batches: Iterator) -> None:
        progress, config = self.progress, self.config
        every_steps, every_seconds = _checkpoint_interval(config.checkpoint_every)
        began, first_step = time.perf_counter(), progress.step
        saved_at, saved_step = began, progress.step
        bar = tqdm(
            total=self.steps_per_epoch,
            initial=progress.step,
            desc=f"{stage.name} {progress.epoch + 1}/{stage.epochs}",
            unit="step",
            leave=False,
            dynamic_ncols=True,
        )
        with bar:
            while progress.step < self.steps_per_epoch:
                left = self.steps_per_epoch - progress.step
                count = min(config.steps_per_execution, left)
                values = step(batches, count)
                self._check_finite(values)
                progress.loss_sum += float(values.sum(dtype="float64"))
                progress.step += count
                progress.total_steps += count
                bar.update(count)
                bar.set_postfix(loss=f"{progress.loss_sum / progress.step:.4f}", refresh=False)
                if self.began is not None:
                    bar.write(f"First step after {time.perf_counter() - self.began:.1f} s.")
                    self.began = None
                    if first_step == 0:
                        # Speeds leave out the first step, which traces and compiles.
                        began, first_step = time.perf_counter(), progress.step
                due = progress.step - saved_step >= every_steps or (
                    time.perf_counter() - saved_at >= every_seconds
                )
                stopping = self.requests.pending()
                # An epoch's last step is saved once the epoch is judged, unless time is short.
                if stopping or (due and progress.step < self.steps_per_epoch):
                    self._check_weights()
                    self._save()
                    saved_at, saved_step = time.perf_counter(), progress.step
                    self.requests.check(config.run_dir)
        seconds = time.perf_counter() - began
        images = (progress.step - first_step) * config.batch_size
        logs = {
            "loss": progress.loss_sum / progress.step,
            "images_per_second": images / seconds if images else math.nan,
        }
        self._check_weights()
        self.callback.on_epoch_end(progress.total_epochs, logs)
        _print_epoch(self.callback)
        progress.epoch += 1
        progress.total_epochs += 1
        progress.step, progress.loss_sum = 0, 0.0
        progress.stopped_early = self.model.stop_training

    def _save(self) -> None:
        self.progress.callback = self.callback.state()
        self.folder.save(self.checkpoint, self.progress)

    def _restore(self) -> None:
        try:
            status = self.checkpoint.read(self.weights)
            status.assert_existing_objects_matched().expect_partial()
        except Exception as error:  # TensorFlow has many for a damaged file, IndexError among them.
            folder = files.dirname(self.weights)
            raise UserError(
                f"The checkpoint {folder} cannot be read ({str(error).splitlines()[0][:160]}); "
                f"remove it, and the same command begins anew in {self.config.run_dir}."
            ) from error
        self.weights = None

    def _make_callback(self) -> PrAucCallback:
        config = self.config
        batch = _evaluation_batch(config.batch_size, self.strategy.num_replicas_in_sync)
        training = None
        if config.train_metric_examples:
            training = self.data.batches(
                self.train_splits, batch, max_examples=config.train_metric_examples
            )
        return PrAucCallback(
            self.data.batches(self.val_split, batch),
            self.data.classes,
            training=training,
            run_dir=self.output_dir,
            early_stopping_patience=config.early_stopping_patience,
            plateau_patience=config.plateau_patience,
            plateau_factor=config.plateau_factor,
            loss=self.loss,
            scorer=scoring.Scorer(self.model, self.strategy),
            info={
                "image_height": self.data.image_shape[0],
                "image_width": self.data.image_shape[1],
                "model": config.model,
                "val_split": self.val_split,
                "data_dir": config.data_dir,
            },
            tensorboard=config.tensorboard,
        )

    def _distributed_batches(self, replica_batch: int) -> Any:
        def make(context: tf.distribute.InputContext) -> tf.data.Dataset:
            replicas = context.num_replicas_in_sync // context.num_input_pipelines
            return self.data.batches(
                self.train_splits,
                replica_batch,
                training=True,
                augment_on=self.augment_on,
                augmentations=self.config,
                seed=self.config.seed,
                start=self.progress.total_steps * self.config.batch_size,
                share=(context.input_pipeline_id, context.num_input_pipelines, replicas),
                with_keys=True,
            )

        return self.strategy.distribute_datasets_from_function(make)

    def _check_finite(self, values: Any) -> None:
        for i, value in enumerate(values):
            if not math.isfinite(value):
                self._refuse(f"The loss is {value}", self.progress.total_steps + i + 1)

    def _check_weights(self) -> None:
        """Before anything is kept: the last update may have spoilt what the loss did not show."""
        for variable in [*self.model.variables, *self.model.optimizer.variables()]:
            if variable.dtype.is_floating and not np.isfinite(variable.numpy()).all():
                self._refuse(f"{variable.name} is not finite", self.progress.total_steps)

    def _refuse(self, what: str, step: int) -> None:
        rate = optimizers.effective_learning_rate(self.model.optimizer)
        raise UserError(
            f"{what} at step {step} (learning rate {rate:.3g}); nothing of it was saved. Try a "
            "learning rate ten times smaller, or train without --mixed_precision."
        )

    def _fingerprint(self) -> str:
        """Of the records that the run reads: checksums of shards, class names, image size."""
        used = [self.data.manifest.split(s) for s in (*self.train_splits, self.val_split)]
        sums = [[split.name, [shard.sha256 for shard in split.shards]] for split in used]
        text = json.dumps([self.data.classes, self.data.image_shape, sums])
        return hashlib.sha256(text.encode()).hexdigest()

    def _check_resumable(self) -> None:
        config, old = self.config, self.progress.settings or {}
        if config.resume == "never":
            raise UserError(
                f"{config.run_dir} holds a run already; drop --resume=never to go on with it, or "
                "give another --run_dir."
            )
        for name, value in dataclasses.asdict(config).items():
            before = old.get(name)
            before = tuple(before) if isinstance(before, list) else before
            if name not in _MAY_CHANGE and name in old and before != value:
                raise UserError(
                    f"--{name}={value} differs from the {before} that the run in {config.run_dir} "
                    "began with; give the old value to go on, or another --run_dir."
                )
        if self.progress.records not in (None, self._fingerprint()):
            raise UserError(
                f"The records in {config.data_dir} are not those that the run in {config.run_dir} "
                "began with; put the old ones back to go on, or give another --run_dir."
            )

    def _has_more_epochs(self) -> bool:
        """Whether a finished run has been given more epochs, or more patience."""
        stage = self.progress.stage
        if any(later.epochs for later in self.stages[stage + 1 :]):
            return True
        more = self.progress.epoch < self.stages[stage].epochs
        return more and not self.progress.stopped_early

    def _patience_regained(self) -> bool:
        waited = (self.progress.callback or {}).get("patience", {}).get("epochs_since_best", 0)
        return self.progress.stopped_early and waited < self.config.early_stopping_patience

    def _describe(self, num_examples: int) -> None:
        replicas = strategies.describe(self.strategy)
        print(f"{self.config.model} on {replicas}, batch {self.config.batch_size}")
        print(f"{num_examples} training examples, {self.steps_per_epoch} steps an epoch")
        print(f"Augmentation on the {self.augment_on}; {self.data.describe_cache()}")
        if self.progress.total_steps:
            print(
                f"Going on after step {self.progress.total_steps} "
                f"({self.progress.total_epochs} epochs done)."
            )


@contextlib.contextmanager
def _precision(mixed: bool, strategy: tf.distribute.Strategy) -> Iterator[None]:
    """Builds layers in half precision where the hardware computes in it."""
    policies = {"GPU": "mixed_float16", "TPU": "mixed_bfloat16"}
    accelerator = strategies.accelerator(strategy)
    if not mixed:
        yield
        return
    if accelerator not in policies:
        raise UsageError(
            "--mixed_precision is for GPUs and TPUs: on a CPU half precision is emulated and "
            "slower; leave it out."
        )
    before = tf.keras.mixed_precision.global_policy()
    tf.keras.mixed_precision.set_global_policy(policies[accelerator])
    try:
        yield
    finally:
        tf.keras.mixed_precision.set_global_policy(before)


def _splits(config: TrainConfig, data: ImageDataset) -> tuple[tuple[str, ...], str]:
    """The splits to train on and the one to validate on.

    Raises:
      UserError: they are not there or have no labels, or no class could be judged on the latter.
    """
    if not data.classes:
        raise UserError(
            f"The records in {config.data_dir} have no labels; convert the photographs with "
            "--labels_csv to train on them."
        )
    if config.fold is None:
        others, held_out = (config.train_split,), config.val_split
        if config.train_split == config.val_split:
            raise UserError("--train_split and --val_split are the same.")
    else:
        held_out = f"fold{config.fold}"
        others = tuple(name for name in data.splits if name.startswith("fold") and name != held_out)
    for name in (*others, held_out):
        data.manifest.split(name)
    spec = data.manifest.split(held_out)
    counts = spec.class_counts.values()
    if counts and all(count in (0, spec.num_examples) for count in counts):
        raise UserError(
            f"No class has both positives and negatives in the split {held_out!r} of "
            f"{config.data_dir}, so PR-AUC is undefined and no model could be chosen; convert "
            "with a larger --val_fraction, or name another split."
        )
    return others, held_out


def _checkpoint_interval(text: str) -> tuple[float, float]:
    """Steps and seconds between checkpoints; the one not asked for is infinite."""
    if text.endswith("m"):
        return math.inf, 60.0 * int(text[:-1])
    return float(text), math.inf


def _evaluation_batch(batch_size: int, replicas: int) -> int:
    return max(batch_size, 64 * replicas)


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
