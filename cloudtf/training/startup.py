"""What a run settles before it starts: its stages, splits, batch shares and number format."""

from __future__ import annotations

import contextlib
import dataclasses
from typing import Iterable, Iterator, Optional

import tensorflow as tf

from cloudtf import machine
from cloudtf.errors import UsageError, UserError
from cloudtf.model import network, optimizers
from cloudtf.pipeline.dataset import ImageDataset
from cloudtf.pipeline.service import DataService
from cloudtf.training import strategy as strategies
from cloudtf.training.config import TrainConfig


@dataclasses.dataclass(frozen=True)
class Stage:
    """A part of a run: the head alone, or the whole network.

    Attributes:
      name: in the history.
      epochs: at most so many.
      learning_rate: its peak.
      rate_flag: the flag that sets the peak.
      whole_network: whether all layers are trained.
    """

    name: str
    epochs: int
    learning_rate: float
    rate_flag: str
    whole_network: bool


def stages(config: TrainConfig) -> list[Stage]:
    """The stages in order; one may have no epochs."""
    head_epochs, epochs = config.stage_epochs
    return [
        Stage("head", head_epochs, config.head_learning_rate, "head_learning_rate", False),
        Stage("whole", epochs, config.learning_rate, "learning_rate", True),
    ]


def data_service(config: TrainConfig) -> Optional[DataService]:
    """The service that makes the batches for training, if one is to.

    Raises:
      UserError: nobody answers at its address.
    """
    if config.data_service is None:
        return None
    return DataService(config.data_service, exact=config.deterministic)


def steps_per_epoch(config: TrainConfig, num_examples: int) -> int:
    """As told, or as many as the examples fill."""
    return config.steps_per_epoch or max(1, round(num_examples / config.batch_size))


def evaluation_batch(batch_size: int, replicas: int) -> int:
    """Images a batch in evaluation, which needs less memory than training."""
    return max(batch_size, 64 * replicas)


def augments_on(config: TrainConfig, strategy: tf.distribute.Strategy) -> str:
    """Where images are augmented: `host` or `device`."""
    if config.augment_on != "auto":
        return config.augment_on
    return "host" if strategies.accelerator(strategy) == "CPU" else "device"


def jit_compiles(config: TrainConfig, strategy: tf.distribute.Strategy) -> bool:
    """Whether the train step asks XLA to compile it. A TPU compiles all of it by itself.

    Raises:
      UsageError: replicas would have to speak to each other within what is compiled, which only a
        TPU's can.
    """
    if not config.jit_compile or strategies.accelerator(strategy) == "TPU":
        return False
    sums = "--sync_batch_norm" if config.sync_batch_norm else f"--loss={config.loss}"
    over_replicas = config.sync_batch_norm or config.loss in ("dice", "bce_dice")
    if over_replicas and strategy.num_replicas_in_sync > 1:
        raise UsageError(
            f"--jit_compile cannot be had with {sums} on {strategy.num_replicas_in_sync} replicas, "
            "over which that takes sums; leave one of the two out."
        )
    return True


def input_cores(strategy: tf.distribute.Strategy) -> Optional[int]:
    """Cores for the training input; None for all.

    A CPU that trains needs them itself: an image's step takes it ten times as long as its input and
    more, and each thread of the input holds up an operation that is spread over all cores. With
    both of two cores the input cost 4% of a step of EfficientNet-B0 at 64 pixels, with one 2%.
    """
    if strategies.accelerator(strategy) != "CPU":
        return None
    return max(1, machine.usable_cores() // 4)


def build_model(
    config: TrainConfig,
    strategy: tf.distribute.Strategy,
    num_classes: int,
    image_shape: tuple[int, int],
    weights: Optional[str],
) -> tf.keras.Model:
    """The network of the settings, under the strategy and in its number format.

    Args:
      config: the settings.
      strategy: the replicas.
      num_classes: C.
      image_shape: (height, width).
      weights: to begin with; None for random ones.
    """
    with strategy.scope(), precision(config.mixed_precision, strategy):
        return network.build_model(
            config.model,
            num_classes=num_classes,
            image_shape=image_shape,
            weights=weights,
            dropout=config.dropout,
            batch_norm_momentum=config.batch_norm_momentum,
            sync_batch_norm=config.sync_batch_norm,
        )


def make_optimizer(
    config: TrainConfig,
    strategy: tf.distribute.Strategy,
    model: tf.keras.Model,
    learning_rate: float,
    total_steps: int,
) -> tf.keras.optimizers.Optimizer:
    """The optimizer of the settings with all its variables, ready for a train step.

    Args:
      config: the settings.
      strategy: the replicas.
      model: whose trainable weights it changes.
      learning_rate: its peak.
      total_steps: of its schedule.
    """
    with strategy.scope():
        optimizer = optimizers.make_optimizer(
            config.optimizer,
            learning_rate,
            total_steps,
            warmup_proportion=config.warmup_proportion,
            min_lr=config.final_rate * learning_rate,
        )
        if config.mixed_precision and strategies.accelerator(strategy) == "GPU":
            optimizer = tf.keras.mixed_precision.LossScaleOptimizer(optimizer)
        # Created here, or a mirrored loop of steps would create it while tracing.
        _ = optimizer.iterations
        optimizer._create_all_weights(model.trainable_variables)
    return optimizer


@contextlib.contextmanager
def precision(mixed: bool, strategy: tf.distribute.Strategy) -> Iterator[None]:
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


def split_names(config: TrainConfig, present: Iterable[str]) -> tuple[tuple[str, ...], str]:
    """The names of the splits to train on and of the one to validate on.

    Args:
      config: the settings.
      present: the splits of the records.

    Raises:
      UserError: the two are one, or there is nothing to train on.
    """
    if config.fold is None:
        if config.train_split == config.val_split:
            raise UserError("--train_split and --val_split are the same.")
        return (config.train_split,), config.val_split
    held_out = f"fold{config.fold}"
    others = tuple(name for name in present if name.startswith("fold") and name != held_out)
    if not others:
        raise UserError(f"{config.data_dir} has no fold but {held_out!r}: nothing to train on.")
    return others, held_out


def splits(config: TrainConfig, data: ImageDataset) -> tuple[tuple[str, ...], str]:
    """The splits to train on and the one to validate on.

    Raises:
      UserError: they are not there or have no labels, or no class could be judged on the latter.
    """
    if not data.classes:
        raise UserError(
            f"The records in {config.data_dir} have no labels; convert the photographs with "
            "--labels_csv to train on them."
        )
    others, held_out = split_names(config, data.splits)
    for name in (*others, held_out):
        data.manifest.split(name)
    for names in (others, (held_out,)):
        if not data.num_examples(names):
            raise UserError(
                f"The split {'+'.join(names)!r} in {config.data_dir} has no examples; convert "
                "photographs for it, or name another split."
            )
    spec = data.manifest.split(held_out)
    counts = spec.class_counts.values()
    if counts and all(count in (0, spec.num_examples) for count in counts):
        raise UserError(
            f"No class has both positives and negatives in the split {held_out!r} of "
            f"{config.data_dir}, so PR-AUC is undefined and no model could be chosen; convert "
            "with a larger --val_fraction, or name another split."
        )
    return others, held_out
