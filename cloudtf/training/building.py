"""What a run builds before its first step: the network and its optimizer."""

from __future__ import annotations

import contextlib
from typing import Iterator, Optional

import tensorflow as tf

from cloudtf.errors import UsageError, param
from cloudtf.model import network, optimizers
from cloudtf.training import hardware
from cloudtf.training.config import TrainConfig


def build_model(
    config: TrainConfig,
    strategy: tf.distribute.Strategy,
    num_classes: int,
    image_shape: tuple[int, int],
    weights: Optional[str],
) -> tf.keras.Model:
    """The network of the settings, under the strategy and in its number format.

    Args:
      config: the settings of the run.
      strategy: the replicas that share the weights.
      num_classes: C, the width of the output.
      image_shape: (height, width) of the images, in pixels.
      weights: what it begins with, as `TrainConfig.weights`; None for random ones.
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
      config: the settings of the run.
      strategy: the replicas that share the weights.
      model: whose trainable weights it changes.
      learning_rate: the peak of its schedule.
      total_steps: the length of its schedule.
    """
    with strategy.scope():
        optimizer = optimizers.make_optimizer(
            config.optimizer,
            learning_rate,
            total_steps,
            warmup_proportion=config.warmup_proportion,
            min_lr=config.final_rate * learning_rate,
        )
        if config.mixed_precision and hardware.accelerator(strategy) == "GPU":
            optimizer = tf.keras.mixed_precision.LossScaleOptimizer(optimizer)
        # Created here, or a mirrored loop of steps would create it while tracing.
        _ = optimizer.iterations
        optimizer._create_all_weights(model.trainable_variables)
    return optimizer


@contextlib.contextmanager
def precision(mixed: bool, strategy: tf.distribute.Strategy) -> Iterator[None]:
    """Builds layers in float32, or in half precision where the hardware computes in it.

    Raises:
      UsageError: half precision is asked for on a CPU.
    """
    policies = {"GPU": "mixed_float16", "TPU": "mixed_bfloat16"}
    accelerator = hardware.accelerator(strategy)
    if mixed and accelerator not in policies:
        raise UsageError(
            f"{param(mixed_precision=True)} is for GPUs and TPUs: on a CPU half precision is "
            "emulated and slower; leave it out."
        )
    before = tf.keras.mixed_precision.global_policy()
    # Also in float32, whatever a program has set globally.
    tf.keras.mixed_precision.set_global_policy(policies[accelerator] if mixed else "float32")
    try:
        yield
    finally:
        tf.keras.mixed_precision.set_global_policy(before)
