"""The train step of planned settings, on random images: no data is needed."""

from __future__ import annotations

import time
from typing import Any, Iterator

import numpy as np
import tensorflow as tf

from cloudtf.diagnosis.timing import Case, Turn
from cloudtf.model import network
from cloudtf.pipeline.batching import Batch
from cloudtf.training import building, hardware, inputs
from cloudtf.training.config import TrainConfig
from cloudtf.training.own_parts import OwnParts
from cloudtf.training.step import TrainStep


def prepare(config: TrainConfig, strategy: tf.distribute.Strategy, model: tf.keras.Model) -> Case:
    """Train steps of `model`; items are images.

    The whole network is trained, unless the settings have epochs for the head alone. A turn is at
    least one call of `steps_per_execution` steps.
    """
    network.set_body_trainable(model, config.stage_epochs[1] > 0)
    optimizer = building.make_optimizer(config, strategy, model, 1e-5, 1_000_000)
    on_device = hardware.augments_on(config, strategy) == "device"
    weighted = config.positive_weights != "none"
    step = TrainStep(
        model,
        optimizer,
        building.settings_loss(config, [1.0] * model.output_shape[-1] if weighted else None, False),
        strategy,
        config.images_per_step,
        seed=0,
        device_augmentations=config if on_device else None,
        jit_compile=hardware.jit_compiles(config, strategy),
        unsettled=building.unsettled_batch_norm(config, OwnParts(), model),
        accumulate_steps=hardware.accumulates(config, strategy),
        average=building.make_average(config, strategy, model),
    )
    batches = _batches(config, strategy, model)
    count = config.steps_per_execution
    images = config.images_per_step * count

    def measure(wanted: int) -> Turn:
        calls = max(1, round(wanted / images))
        cpu, began = time.process_time(), time.perf_counter()
        for _ in range(calls):
            step(batches, count)
        seconds = time.perf_counter() - began
        return Turn(seconds, calls * images, cpu_seconds=time.process_time() - cpu)

    return Case(measure, images)


def _batches(
    config: TrainConfig, strategy: tf.distribute.Strategy, model: tf.keras.Model
) -> Iterator[Any]:
    """One random batch again and again, as each replica takes it."""
    share = hardware.per_replica_batch(strategy, config.batch_size) * config.accumulate_steps
    random = np.random.default_rng(0)
    images = random.integers(0, 256, (share, *model.input_shape[1:]), np.uint8)
    labels = random.integers(0, 2, (share, model.output_shape[-1])).astype(np.float32)
    keys = np.stack([np.zeros(share), np.arange(share)], axis=1).astype(np.int32)

    def make(_: tf.distribute.InputContext) -> tf.data.Dataset:
        batch = Batch(images, labels, np.ones(share, np.float32), keys)
        return tf.data.Dataset.from_tensors(batch).repeat().prefetch(2)

    return inputs.iterate(strategy, make)
