"""Dropout and drop-connect whose masks are a pure function of (seed, layer, step, replica).

Keras draws its masks from generators whose position is lost with the process, so that a run that
is killed and resumed differs from one never killed. Here a train step says which step it is, and
the mask follows from that:

    with random_layers.stochastic_step(seed, step):
        probabilities = model(images, training=True)
"""

from __future__ import annotations

import collections
import contextlib
import contextvars
import hashlib
from typing import Any, Iterator, NamedTuple, Optional

import tensorflow as tf

from cloudtf.model import keras2

# Classes of Keras 3 cannot be derived from as those of Keras 2.
keras2.require()

# A context variable is also local to a thread; MirroredStrategy traces each replica in its own.
_STEP: contextvars.ContextVar[Optional[_Step]] = contextvars.ContextVar(
    "cloudtf_stochastic_step", default=None
)


class _Step(NamedTuple):
    """What the masks of a training step follow from."""

    seed: int
    number: tf.Tensor
    draws: collections.Counter  # Of each layer so far, in this call of the model.


@contextlib.contextmanager
def stochastic_step(seed: int, step: Any) -> Iterator[None]:
    """Makes the random layers called inside draw the masks of one training step.

    Enter it inside the replica function (what `strategy.run` is given), around the model's call:
    the replica's number is part of the key, so that replicas draw different masks.

    Args:
      seed: the run's seed, a Python int; it is fixed while tracing.
      step: integer scalar (tensor, variable or number), e.g. `optimizer.iterations`. The mask
        follows its value at each execution, not the value at tracing.
    """
    token = _STEP.set(_Step(int(seed), tf.cast(step, tf.int32), collections.Counter()))
    try:
        yield
    finally:
        _STEP.reset(token)


class FixedDropout(tf.keras.layers.Dropout):
    """Dropout with reproducible masks inside `stochastic_step`, Keras's own dropout outside it.

    With `noise_shape=(None, 1, 1, 1)` whole examples are dropped: drop-connect, i.e. stochastic
    depth (Huang et al. 2016, arXiv:1603.09382). A frozen layer (`trainable=False`) drops nothing,
    as frozen batch normalisation uses its averages.

    It bears the name of the layer in the efficientnet package, with the same config, so that a
    saved model loads without cloudtf wherever `efficientnet.tfkeras` has been imported.
    """

    def call(self, inputs: tf.Tensor, training: Any = None) -> tf.Tensor:
        """Drops with probability `rate` while training; shape and dtype stay."""
        if training is None:
            training = tf.keras.backend.learning_phase()
        if not self.trainable or not self.rate:
            return tf.identity(inputs)
        context = _STEP.get()
        if context is None:
            return super().call(inputs, training=training)
        if not training:
            return tf.identity(inputs)
        # XLA draws the same integers as plain TensorFlow, but makes other floats of them. float32,
        # since in half precision a rate of 0.01 could not be told from 0.008.
        bits = tf.random.stateless_uniform(
            self._noise_shape(inputs),
            _key(context.seed, self.name, context.number),
            minval=None,
            maxval=None,
            dtype=tf.int32,
            alg="philox",
        )
        uniform = tf.cast(bits, tf.float32) * 2.0**-32 + 0.5
        scale = 1.0 / (1.0 - self.rate) if self.rate < 1 else 0.0
        return inputs * tf.cast(tf.cast(uniform >= self.rate, tf.float32) * scale, inputs.dtype)

    def _noise_shape(self, inputs: tf.Tensor) -> list[Any]:
        """The mask's shape: static where the input's is, as XLA wants it."""
        dynamic = tf.shape(inputs)
        sizes = [dynamic[i] if n is None else n for i, n in enumerate(inputs.shape.as_list())]
        wanted = self.noise_shape or [None] * len(sizes)
        return [size if n is None else n for size, n in zip(sizes, wanted)]

    # What Keras's own call asks for; its answer fails where an input's batch size is unknown.
    def _get_noise_shape(self, inputs: tf.Tensor) -> Optional[tf.Tensor]:
        return None if self.noise_shape is None else tf.stack(self._noise_shape(inputs))


def make_reproducible(model: tf.keras.Model) -> None:
    """Lets all random layers of any model draw as a function of the step inside `stochastic_step`.

    Dropout and noise of Keras's own draw from generators otherwise, whose position is lost with the
    process. Outside `stochastic_step` they draw anew each time, as ever.
    """
    for index, layer in enumerate(model._flatten_layers(include_self=False)):
        generator = getattr(layer, "_random_generator", None)
        if generator is not None and not isinstance(layer, FixedDropout):
            # Not by the layer's setattr, which would track it for checkpoints.
            # By its place in the model: its name has a number that counts on with each model.
            vars(layer)["_random_generator"] = _stepwise(type(generator), f"layer {index}")


def _stepwise(base: type, name: str) -> Any:
    """A generator of Keras that takes its seeds from the step."""

    class Stepwise(base):
        def make_seed_for_stateless_op(self) -> tf.Tensor:
            context = _STEP.get()
            if context is None:
                return tf.random.uniform([2], maxval=2**31 - 1, dtype=tf.int32)
            context.draws[name] += 1
            return _key(context.seed, f"{name}/{context.draws[name]}", context.number)

    return Stepwise(rng_type="stateless")


def _key(seed: int, name: str, step: tf.Tensor) -> tf.Tensor:
    """The two int32 words of a stateless seed."""
    digest = hashlib.sha256(f"{seed}/{name}".encode()).digest()
    word = tf.constant(int.from_bytes(digest[:4], "little", signed=True), tf.int32)
    replica_context = tf.distribute.get_replica_context()
    if replica_context is not None:
        replica = tf.cast(replica_context.replica_id_in_sync_group, tf.int32)
        # An odd multiplier (the golden ratio's, as in Weyl sequences) that wraps around.
        word += replica * tf.constant(-1640531527, tf.int32)
    return tf.stack([word, step])
