"""The batches of a run: an endless stream to train on, and what judges each epoch."""

from __future__ import annotations

import contextlib
from typing import Any, Callable, Iterator, Optional, Sequence, Union

import tensorflow as tf

from cloudtf import machine
from cloudtf.pipeline.order import Share
from cloudtf.pipeline.service.client import DataService
from cloudtf.training import compatibility, hardware, malloc
from cloudtf.training.progress import Progress
from cloudtf.training.run import Run
from cloudtf.training.stopping import Watched

# Images that a replica scores at once, at least: evaluation needs less memory than training.
_LEAST_EVALUATION_BATCH = 64


def settle_order(run: Run, progress: Progress) -> None:
    """Chooses what is kept in memory, in the order of examples that the run began with.

    Raises:
      UserError: the settings or this machine's memory would give another order.
    """
    data, splits, share = run.data, run.train_splits, Share(run.workers.index, run.workers.count)
    part = data.training_part(splits, share)
    if progress.streamed and run.config.cache == "auto":
        data.cache.keep_on_disk(data.manifest.joined(splits))  # Whatever memory is free now.
    data.cache.settle(part, lambda mine: int(run.workers.tell(mine).min()))
    streamed = run.service is None and data.cache.way(part) == "none"
    compatibility.check_order(run.config, progress.streamed, streamed)
    progress.streamed = streamed


def training_batches(
    run: Run, progress: Progress, size: Optional[tuple[int, int]] = None
) -> Iterator[Any]:
    """The batches from where the run stands, as each replica takes them, without end.

    Args:
      run: gives the examples, and how they are augmented.
      progress: says how many of them there were before.
      size: (height, width) of the images as they are trained on; None: as in the records.
    """
    start = progress.total_steps * run.config.images_per_step
    return _batches_from(run, start, run.augment_on, run.service, size)


def plain_batches(run: Run) -> Iterator[Any]:
    """The batches of a new run, as each replica takes them, without augmentation and end."""
    return _batches_from(run, 0, "device", None)  # The device is left to do it, and does not.


def _batches_from(
    run: Run,
    start: int,
    augment_on: str,
    service: Optional[DataService],
    size: Optional[tuple[int, int]] = None,
) -> Iterator[Any]:
    def make(context: tf.distribute.InputContext) -> tf.data.Dataset:
        replicas = context.num_replicas_in_sync // context.num_input_pipelines
        options: dict[str, Any] = {
            "augment_on": augment_on,
            "augmentations": run.config,
            "seed": run.config.seed,
            "start": start,
            "size": size,
            "share": Share(context.input_pipeline_id, context.num_input_pipelines, replicas),
        }
        if service is not None:
            maker = run.data.batch_maker(run.train_splits, run.replica_batch, **options)
            return service.batches(maker)
        return run.data.training_batches(
            run.train_splits, run.replica_batch, cores=_training_cores(run.strategy), **options
        )

    return iterate(run.strategy, make)


def evaluation_batches(
    run: Run,
    splits: Union[str, Sequence[str]],
    max_examples: Optional[int] = None,
    skip: int = 0,
) -> Watched:
    """This worker's share of some splits, once and in order; a run that is to stop leaves it.

    Args:
      run: whose workers share the examples.
      splits: a name, or several to be read as one.
      max_examples: only the first so many; None for all.
      skip: batches to leave out at the beginning.
    """
    workers = run.workers.count
    replicas = run.strategy.num_replicas_in_sync // workers
    batches = run.data.evaluation_batches(
        splits,
        max(run.config.batch_size // workers, _LEAST_EVALUATION_BATCH * replicas),
        max_examples=max_examples,
        share=Share(run.workers.index, workers),
    )
    # Among several workers the others would wait for the one that leaves.
    return Watched(batches.skip(skip) if skip else batches, run.requests, workers == 1)


@contextlib.contextmanager
def naming_faults(run: Run) -> Iterator[None]:
    """Around code that goes through batches: names the record or the service that made it fail.

    Raises:
      UserError: in the place of TensorFlow's error.
    """
    with contextlib.ExitStack() as stack:
        stack.enter_context(run.data.naming_damage(run.train_splits))
        stack.enter_context(run.data.naming_damage(run.val_split))
        if run.service is not None:
            stack.enter_context(run.service.naming_failures())
        yield


def iterate(
    strategy: tf.distribute.Strategy, make: Callable[[tf.distribute.InputContext], tf.data.Dataset]
) -> Iterator[Any]:
    """The batches of all replicas, without end.

    Args:
      strategy: the replicas that are fed.
      make: gives the batches of the input pipeline that its context names: a dataset of infinite
        cardinality, or the workers ask one another before each step whether all have a batch.

    Returns:
      What `strategy.run` takes, batch by batch.
    """
    batches = iter(strategy.distribute_datasets_from_function(make))
    malloc.keep_large_blocks()
    return batches


def _training_cores(strategy: tf.distribute.Strategy) -> Optional[int]:
    """Cores for the training input; None for all.

    A CPU that trains needs them itself: an image's step takes it ten times as long as its input and
    more, and each thread of the input holds up an operation that is spread over all cores. With
    both of two cores the input cost 4% of a step of EfficientNet-B0 at 64 pixels, with one 2%.
    """
    if hardware.accelerator(strategy) != "CPU":
        return None
    return max(1, machine.usable_cores() // 4)
