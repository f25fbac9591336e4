"""The train step: augment, forward, backward, update; under any strategy, one or many a call."""

from __future__ import annotations

import contextlib
from typing import Any, Callable, Iterator, Optional, Sequence

import numpy as np
import tensorflow as tf

from cloudtf import errors
from cloudtf.model import random_layers
from cloudtf.pipeline import augment
from cloudtf.pipeline.augmentations import Augmentations
from cloudtf.training import accumulation, batch_norm
from cloudtf.training.weight_average import WeightAverage


class Sent:
    """Steps that were sent to the device, which may still compute them.

    Args:
      values: their losses, float32 [N].
      what: the beginning of a sentence, such as `A step of 32 images`.
    """

    def __init__(self, values: tf.Tensor, what: str) -> None:
        self._values, self._what = values, what

    def losses(self) -> np.ndarray:
        """Waits for the steps: their losses, float32 [N].

        Raises:
          UserError: a step does not fit into memory.
        """
        with _naming_memory(self._what):
            return self._values.numpy()


class TrainStep:
    """Runs train steps on batches from a distributed iterator.

    Args:
      model: uint8 [B, H, W, 3] to probabilities [B, C].
      optimizer: whose `iterations` exist already.
      loss: (labels [B, C], probabilities [B, C]) -> [B].
      strategy: the replicas that share each batch.
      global_batch: images a step over all replicas.
      seed: of dropout and of augmentation on the device.
      device_augmentations: applied here with `augment_seed`; None where the host has done it.
      augment_seed: the seed that the host would have used.
      jit_compile: compile the forward and backward pass with XLA.
      unsettled: batch-norm layers whose averages have still to forget their first values, and
        follow faster for as long (`batch_norm.early_momentum`).
      accumulate_steps: the parts in which each replica's share of a batch is computed, one after
        the other, before the one update.
      average: follows the weights after each update.
      size: (height, width) to which images are brought where they are augmented here; None: none.

    Attributes:
      replica_step: what each replica runs, and a TPU compiles as a whole: the four
        parts of a `Batch` -> its part of the loss, a scalar.
    """

    def __init__(
        self,
        model: tf.keras.Model,
        optimizer: tf.keras.optimizers.Optimizer,
        loss: Callable[[tf.Tensor, tf.Tensor], tf.Tensor],
        strategy: tf.distribute.Strategy,
        global_batch: int,
        seed: int,
        device_augmentations: Optional[Augmentations] = None,
        augment_seed: int = 0,
        jit_compile: bool = False,
        unsettled: Sequence[tf.keras.layers.Layer] = (),
        accumulate_steps: int = 1,
        average: Optional[WeightAverage] = None,
        size: Optional[tuple[int, int]] = None,
    ) -> None:
        scaled = hasattr(optimizer, "get_scaled_loss")
        num_parts = strategy.num_replicas_in_sync * accumulate_steps

        def gradients(images: tf.Tensor, labels: tf.Tensor, step: tf.Tensor) -> tuple:
            with tf.GradientTape() as tape:
                early = batch_norm.following(unsettled, batch_norm.early_momentum(step))
                with random_layers.stochastic_step(seed, step), early:
                    probabilities = model(images, training=True)
                value = tf.reduce_sum(loss(labels, probabilities)) / global_batch
                if model.losses:  # Of the weights, as a regularizer gives them.
                    value += tf.add_n(model.losses) / num_parts
                target = optimizer.get_scaled_loss(value) if scaled else value
            found = tape.gradient(target, model.trainable_variables)
            return value, (optimizer.get_unscaled_gradients(found) if scaled else found)

        if jit_compile:
            gradients = tf.function(gradients, jit_compile=True, autograph=False)

        def replica_step(
            images: tf.Tensor, labels: tf.Tensor, mask: tf.Tensor, keys: tf.Tensor
        ) -> tf.Tensor:
            del mask  # All ones: only an evaluation is padded.
            if device_augmentations is not None:
                images = augment.augment(
                    images,
                    keys,
                    ops=device_augmentations,
                    seed=augment_seed,
                    whole_batch=True,
                    size=size,
                )
            if accumulate_steps == 1:
                value, found = gradients(images, labels, optimizer.iterations)
            else:
                value, found = accumulation.summed(
                    gradients,
                    (images, labels),
                    optimizer.iterations,
                    accumulate_steps,
                    model.trainable_variables,
                )
            optimizer.apply_gradients(zip(found, model.trainable_variables))
            if average is not None:
                average.update(optimizer.iterations.read_value())
            return value

        def step(iterator: Iterator) -> tf.Tensor:
            losses = strategy.run(replica_step, args=next(iterator))
            return strategy.reduce(tf.distribute.ReduceOp.SUM, losses, axis=None)

        # AutoGraph would rewrite the sources of the whole model to find nothing to change.
        @tf.function(autograph=False)
        def one(iterator: Iterator) -> tf.Tensor:
            return step(iterator)[None]

        @tf.function(autograph=False)
        def many(iterator: Iterator, count: tf.Tensor) -> tf.Tensor:
            def another(i: tf.Tensor, losses: tf.TensorArray) -> tuple:
                return i + 1, losses.write(i, step(iterator))

            losses = tf.TensorArray(tf.float32, size=count, element_shape=[])
            return tf.while_loop(lambda i, _: i < count, another, [0, losses])[1].stack()

        self.replica_step = replica_step
        self._one, self._many = one, many
        self._what = f"A step of {global_batch} images"

    def send(self, iterator: Any, count: int) -> Sent:
        """Sends `count` steps to the device, which may still compute them on return.

        Raises:
          UserError: a step does not fit into memory.
        """
        with _naming_memory(self._what):
            if count == 1:
                return Sent(self._one(iterator), self._what)
            return Sent(self._many(iterator, tf.constant(count)), self._what)

    def __call__(self, iterator: Any, count: int) -> np.ndarray:
        """Runs `count` steps, waits for them, and returns their losses, float32 [count].

        Raises:
          UserError: a step does not fit into memory.
        """
        return self.send(iterator, count).losses()


@contextlib.contextmanager
def _naming_memory(what: str) -> Iterator[None]:
    try:
        yield
    except tf.errors.ResourceExhaustedError as error:
        raise errors.out_of_memory(what) from error
