"""A run: all that is fixed from its start to its end, and how it is opened."""

from __future__ import annotations

import contextlib
import dataclasses
import time
from typing import Iterator, Optional

import tensorflow as tf

from cloudtf import files, temporary
from cloudtf.data import verify
from cloudtf.locks import FolderLock
from cloudtf.pipeline.dataset import ImageDataset, open_dataset
from cloudtf.pipeline.service.client import DataService
from cloudtf.training import compatibility, hardware
from cloudtf.training.checkpoints import CheckpointFolder
from cloudtf.training.config import TrainConfig
from cloudtf.training.own_parts import OwnParts
from cloudtf.training.results import ResultFolder
from cloudtf.training.splits import choose_splits
from cloudtf.training.stages import Stage, stages
from cloudtf.training.stopping import StopRequests
from cloudtf.training.workers import Workers


@dataclasses.dataclass(frozen=True)
class Run:
    """What does not change while a run is under way; what does is `progress.Progress`.

    Attributes:
      config: the settings of this start.
      own: the network, loss and callbacks that were given beside the settings.
      began: when the run was started, on the clock of `time.perf_counter`, in seconds.
      data: the opened records with all of their splits.
      service: makes the batches for training; None makes them here.
      train_splits: the names of the splits to train on, read as one.
      val_split: the name of the split that judges each epoch.
      records: the fingerprint of these splits.
      strategy: the replicas, on this machine or several.
      replica_batch: images a step of each replica.
      workers: the processes that take part.
      stages: the stages in order; one may have no epochs.
      output_dir: where this worker writes; the chief's is the run folder.
      results: the files in it that are for people and later commands.
      folder: the checkpoints in the run folder.
      requests: stop requests (SIGTERM, Ctrl-C, the time limit) to honour between steps.
    """

    config: TrainConfig
    own: OwnParts
    began: float
    data: ImageDataset
    service: Optional[DataService]
    train_splits: tuple[str, ...]
    val_split: str
    records: str
    strategy: tf.distribute.Strategy
    replica_batch: int
    workers: Workers
    stages: tuple[Stage, ...]
    output_dir: str
    results: ResultFolder
    folder: CheckpointFolder
    requests: StopRequests

    @property
    def num_examples(self) -> int:
        """Examples to train on."""
        return self.data.num_examples(self.train_splits)

    @property
    def steps_per_epoch(self) -> int:
        """As many as the settings say, or as the examples fill."""
        filled = max(1, round(self.num_examples / self.config.images_per_step))
        return self.config.steps_per_epoch or filled

    @property
    def augment_on(self) -> str:
        """Where images are augmented: `host` or `device`."""
        return hardware.augments_on(self.config, self.strategy)


@contextlib.contextmanager
def open_run(config: TrainConfig, own: OwnParts) -> Iterator[Run]:
    """Opens the records, the hardware and the run folder, which nobody else may use meanwhile.

    The order matters. TensorFlow's determinism and, for several workers, the cluster come before
    its first operation; impossible settings are refused before anything slow; the run folder is
    locked before anything in it is read.

    Raises:
      UserError: bad input, or a run folder in use.
      WorkerLost: from within, if another worker has gone.
    """
    began = time.perf_counter()
    stage_epochs = own.stage_epochs(config)
    tf.keras.utils.set_random_seed(config.seed)
    if config.deterministic:
        tf.config.experimental.enable_op_determinism()
    sharers = hardware.workers_here(config.strategy)
    data = open_dataset(config.data_dir, config.cache, config.on_bad_record, sharers)
    service = None
    if config.data_service is not None:
        service = DataService(config.data_service, exact=config.deterministic)
    strategy = hardware.make_strategy(config.strategy, config.tpu)
    replica_batch = hardware.per_replica_batch(strategy, config.batch_size)
    hardware.jit_compiles(config, strategy)
    replica_batch *= hardware.accumulates(config, strategy)
    workers = Workers(strategy)
    with contextlib.ExitStack() as stack:
        stack.enter_context(workers.naming_losses())
        output_dir = config.run_dir
        if not workers.is_chief:
            # All workers save, since reading a replicated average takes part from each; what the
            # others write is thrown away.
            output_dir = stack.enter_context(temporary.scratch_folder())
        files.make_dirs(output_dir)
        stack.enter_context(FolderLock(output_dir, "run", "run_dir"))
        requests = stack.enter_context(StopRequests(config.max_minutes, workers))
        files.remove_leftovers(output_dir)
        train_splits, val_split = choose_splits(config, data)
        if service is not None:
            data.cache.keep_on_disk(data.manifest.joined(train_splits))
        used = (*train_splits, val_split)
        verify.check_first_records(config.data_dir, data.manifest, used)
        yield Run(
            config=config,
            own=own,
            began=began,
            data=data,
            service=service,
            train_splits=train_splits,
            val_split=val_split,
            records=compatibility.fingerprint(data, used),
            strategy=strategy,
            replica_batch=replica_batch,
            workers=workers,
            stages=stages(config, stage_epochs, own.fits_features(config)),
            output_dir=output_dir,
            results=ResultFolder(output_dir, data.classes, config.tensorboard and workers.is_chief),
            folder=CheckpointFolder(config.run_dir, output_dir),
            requests=requests,
        )
