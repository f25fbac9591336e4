"""A training run: from the settings to a run folder with the best model, resumable at any step."""

from __future__ import annotations

import contextlib
import dataclasses
import tempfile
import time
from typing import Any, Iterator, Optional

import tensorflow as tf

from cloudtf import files, settings
from cloudtf.data import verify
from cloudtf.errors import UserError
from cloudtf.evaluation import history, scoring
from cloudtf.locks import FolderLock
from cloudtf.model import losses
from cloudtf.pipeline.dataset import ImageDataset, open_dataset
from cloudtf.pipeline.service import DataService
from cloudtf.training import label_notes, resuming, startup
from cloudtf.training import strategy as strategies
from cloudtf.training.checkpoints import CheckpointFolder, Progress
from cloudtf.training.config import TrainConfig
from cloudtf.training.loop import EpochLoop
from cloudtf.training.pr_auc_callback import PrAucCallback
from cloudtf.training.profiling import StepProfiler
from cloudtf.training.stage import Shared, StageRun
from cloudtf.training.stopping import StopRequests, Watched
from cloudtf.training.workers import Workers


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
    sharers = strategies.workers_here(config.strategy)
    data = open_dataset(config.data_dir, config.cache, config.on_bad_record, sharers)
    service = startup.data_service(config)
    strategy = strategies.make_strategy(config.strategy, config.tpu)
    startup.jit_compiles(config, strategy)  # What cannot be is said before the long set-up.
    workers = Workers(strategy)
    with contextlib.ExitStack() as stack:
        stack.enter_context(workers.naming_losses())
        output_dir = config.run_dir
        if not workers.is_chief:
            # All workers save, since reading a replicated average takes part from each; what the
            # others write is thrown away.
            output_dir = stack.enter_context(tempfile.TemporaryDirectory())
        files.make_dirs(output_dir)
        stack.enter_context(FolderLock(output_dir, "run", "--run_dir"))
        requests = stack.enter_context(StopRequests(config.max_minutes, workers))
        files.remove_leftovers(output_dir)
        run = _Run(config, data, service, strategy, workers, requests, began, output_dir)
        if run.progress.finished:
            print(f"The run in {config.run_dir} is finished; more --epochs would go on with it.")
            return run.result()
        return run.train()


class _Run:
    def __init__(
        self,
        config: TrainConfig,
        data: ImageDataset,
        service: Optional[DataService],
        strategy: tf.distribute.Strategy,
        workers: Workers,
        requests: StopRequests,
        began: float,
        output_dir: str,
    ) -> None:
        self.config, self.data, self.strategy, self.workers = config, data, strategy, workers
        self.service = service
        self.output_dir = output_dir
        self.requests = requests
        self.began = began
        self.train_splits, self.val_split = startup.splits(config, data)
        if service is not None:
            data.keep_on_disk(self.train_splits)
        used = (*self.train_splits, self.val_split)
        verify.check_first_records(config.data_dir, data.manifest, used)
        self.stages = startup.stages(config)
        self.folder = CheckpointFolder(config.run_dir, output_dir)
        records = resuming.fingerprint(data, used)
        found = self.folder.latest()
        self.weights: Optional[str] = None
        self.progress = Progress()
        if found is not None:
            self.weights, self.progress = found
        resuming.check_workers(workers, config, self.progress, records)
        if found is not None:
            resuming.check(config, self.progress, records)
        self.progress.records = records
        self.progress.settings = dataclasses.asdict(config)
        resuming.reopen(config, self.progress, self.stages)

    def train(self) -> TrainResult:
        config = self.config
        replica_batch = strategies.per_replica_batch(self.strategy, config.batch_size)
        num_examples = self.data.num_examples(self.train_splits)
        self.steps_per_epoch = startup.steps_per_epoch(config, num_examples)
        self.augment_on = startup.augments_on(config, self.strategy)
        self.model = startup.build_model(
            config,
            self.strategy,
            len(self.data.classes),
            self.data.image_shape,
            None if config.weights == "none" or self.weights else config.weights,
        )
        self.loss = losses.get_loss(config.loss)
        self._settle_order()
        self.callback = self._make_callback()
        if self.progress.callback is not None:
            self.callback.restore(self.progress.callback)
        self.callback.settle()
        profiler = StepProfiler(
            config.profile_steps,
            self.output_dir,
            self.steps_per_epoch * sum(config.stage_epochs),
        )
        shared = Shared(
            config=config,
            strategy=self.strategy,
            workers=self.workers,
            model=self.model,
            loss=self.loss,
            callback=self.callback,
            progress=self.progress,
            folder=self.folder,
            requests=self.requests,
            loop=EpochLoop(
                config,
                self.steps_per_epoch,
                self.progress,
                self.requests,
                self.began,
                profiler,
                self.workers,
            ),
            steps_per_epoch=self.steps_per_epoch,
            augment_on=self.augment_on,
            make_batches=lambda: self._distributed_batches(replica_batch),
        )
        # Also when going on: settings that may change are those of the last start.
        files.write_text(files.join(self.output_dir, "flags.txt"), settings.to_flagfile(config))
        self._describe(num_examples)
        with contextlib.ExitStack() as stack:
            stack.enter_context(self.data.naming_damage(self.train_splits))
            stack.enter_context(self.data.naming_damage(self.val_split))
            if self.service is not None:
                stack.enter_context(self.service.naming_failures())
            for index, stage in enumerate(self.stages):
                if index >= self.progress.stage and stage.epochs:
                    under_way = StageRun(shared, index, stage, self.weights)
                    self.weights = None
                    under_way.train()
        self.progress.finished = True
        under_way.save()
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

    def _settle_order(self) -> None:
        """Chooses what is kept in memory, in the order of examples that the run began with."""
        splits, worker, workers = self.train_splits, self.workers.index, self.workers.count
        if self.progress.streamed and self.config.cache == "auto":
            self.data.keep_on_disk(splits)  # Whatever memory is free now.
        self.data.settle_cache(
            splits, worker, workers, lambda mine: int(self.workers.tell(mine).min())
        )
        streamed = self.service is None and self.data.streams(splits, worker, workers)
        resuming.check_order(self.config, self.progress.streamed, streamed)
        self.progress.streamed = streamed

    def _make_callback(self) -> PrAucCallback:
        config, workers = self.config, self.workers.count
        batch = startup.evaluation_batch(
            config.batch_size // workers, self.strategy.num_replicas_in_sync // workers
        )
        share = (self.workers.index, workers, 1)
        validation, training = self.data.batches(self.val_split, batch, share=share), None
        if config.train_metric_examples:
            training = self.data.batches(
                self.train_splits, batch, max_examples=config.train_metric_examples, share=share
            )
        # Among several workers the others would wait for the one that leaves.
        if workers == 1:
            validation = Watched(validation, self.requests)
            training = training and Watched(training, self.requests)
        return PrAucCallback(
            validation,
            self.data.classes,
            training=training,
            run_dir=self.output_dir,
            early_stopping_patience=config.early_stopping_patience,
            plateau_patience=config.plateau_patience,
            plateau_factor=config.plateau_factor,
            loss=self.loss,
            scorer=scoring.Scorer(self.model, self.strategy, divided=workers > 1),
            info={
                "image_height": self.data.image_shape[0],
                "image_width": self.data.image_shape[1],
                "model": config.model,
                "val_split": self.val_split,
                "data_dir": config.data_dir,
            },
            tensorboard=config.tensorboard,
            best_waits=True,
        )

    def _distributed_batches(self, replica_batch: int) -> Iterator[Any]:
        def make(context: tf.distribute.InputContext) -> tf.data.Dataset:
            replicas = context.num_replicas_in_sync // context.num_input_pipelines
            told: dict[str, Any] = {
                "augment_on": self.augment_on,
                "augmentations": self.config,
                "seed": self.config.seed,
                "start": self.progress.total_steps * self.config.batch_size,
                "share": (context.input_pipeline_id, context.num_input_pipelines, replicas),
            }
            if self.service is not None:
                numbered = self.data.numbered_batches(self.train_splits, replica_batch, **told)
                return self.service.batches(numbered)
            return self.data.batches(
                self.train_splits,
                replica_batch,
                training=True,
                with_keys=True,
                cores=startup.input_cores(self.strategy),
                **told,
            )

        return strategies.iterate(self.strategy, make)

    def _describe(self, num_examples: int) -> None:
        replicas = strategies.describe(self.strategy)
        print(f"{self.config.model} on {replicas}, batch {self.config.batch_size}")
        print(f"{num_examples} training examples, {self.steps_per_epoch} steps an epoch")
        print(f"Augmentation on the {self.augment_on}; {self.data.describe_cache()}")
        if self.service is not None:
            print(f"Batches for training come from the data service at {self.service.address}")
        index, workers = self.workers.index, self.workers.count
        if workers > 1:
            print(self.data.describe_share(self.train_splits, index, workers))
        for note in label_notes.label_notes(
            self.data.manifest, self.train_splits, self.val_split, self.config.batch_size
        ):
            print(f"Note: {note}")
        if self.progress.total_steps:
            print(
                f"Going on after step {self.progress.total_steps} "
                f"({self.progress.total_epochs} epochs done)."
            )
