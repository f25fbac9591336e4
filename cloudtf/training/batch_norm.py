"""Averages of batch norm: how fast they follow, and their mean over replicas that each keep own."""

from __future__ import annotations

import contextlib
import contextvars
import threading
from typing import Any, Callable, Iterator, Optional, Sequence

import numpy as np
import tensorflow as tf

# A context variable is also local to a thread; MirroredStrategy traces each replica in its own.
_MOMENTUM: contextvars.ContextVar[tuple[tf.Tensor, bool]] = contextvars.ContextVar(
    "cloudtf_batch_norm_momentum"
)
_LOCK = threading.Lock()


def early_momentum(step: tf.Tensor) -> tf.Tensor:
    """The largest momentum of the update after `step` others: (1 + step) / (10 + step).

    With a constant momentum of 0.99 averages are still half their first values after 70 updates,
    and half of weights long gone after some hundred more. With this one they forget their first
    values within five updates, and come from the last tenth of all updates until a network's own
    momentum is the smaller one (0.99: from update 891 on). It is the decay that
    `tf.train.ExponentialMovingAverage` has for a number of updates.
    """
    done = tf.cast(step, tf.float32)
    return (1.0 + done) / (10.0 + done)


def layers_of(model: tf.keras.Model) -> list[tf.keras.layers.Layer]:
    """All batch-norm layers of a model, those of models inside it among them."""
    return [
        layer
        for layer in model._flatten_layers(include_self=False)
        if isinstance(layer, tf.keras.layers.BatchNormalization)
    ]


def unsettled(model: tf.keras.Model) -> list[tf.keras.layers.Layer]:
    """The batch-norm layers whose averages are still the first ones: means of 0, variances of 1."""
    return [
        layer
        for layer in layers_of(model)
        if not np.any(layer.moving_mean.numpy()) and np.all(layer.moving_variance.numpy() == 1)
    ]


@contextlib.contextmanager
def following(
    layers: Sequence[tf.keras.layers.Layer], momentum: tf.Tensor, at_most: bool = True
) -> Iterator[None]:
    """Calls of a model inside have another momentum in some of its batch norm.

    Enter it inside the replica function, around the model's call in training. It is there while
    the call is traced only: layers keep the momentum that they have, and that files have of them.

    Args:
      layers: batch-norm layers of Keras; frozen ones keep their averages as ever.
      momentum: float32 scalar in [0, 1].
      at_most: leave a layer's own where that is the smaller one.
    """
    token = _MOMENTUM.set((momentum, at_most))
    with _LOCK:  # Replicas take turns, and one may enter before another leaves.
        for layer in layers:
            if not isinstance(layer.momentum, _Momentum):
                vars(layer)["momentum"] = _Momentum(layer.momentum)
            layer.momentum.users += 1
    try:
        yield
    finally:
        with _LOCK:
            for layer in layers:
                layer.momentum.users -= 1
                if not layer.momentum.users:
                    vars(layer)["momentum"] = layer.momentum.own
        _MOMENTUM.reset(token)


class _Momentum:
    """Stands for a layer's momentum; Keras turns it into a tensor, or takes it off 1."""

    def __init__(self, own: float) -> None:
        self.own, self.users = own, 0

    def __tf_tensor__(self, dtype: Any = None, name: Optional[str] = None) -> tf.Tensor:
        momentum, at_most = _MOMENTUM.get()
        if at_most:
            momentum = tf.minimum(momentum, self.own)
        return tf.cast(momentum, dtype or tf.float32)

    def __rsub__(self, other: float) -> tf.Tensor:
        return other - tf.convert_to_tensor(self)


def replica_averager(
    strategy: tf.distribute.Strategy, variables: Sequence[tf.Variable]
) -> Callable[[], None]:
    """A function that gives every replica the mean of all replicas' batch-norm averages.

    Each replica keeps its own, from its part of the batches; what is saved is their mean. Taken now
    and then it is the same as taken at the end, since the averages are linear in what they are fed,
    and training does not use them. Without it each replica would be judged with averages that are
    not the saved ones, and no two workers would come to the same scores.
    """
    own = [
        variable
        for variable in variables
        if variable.synchronization == tf.VariableSynchronization.ON_READ
    ]
    if strategy.num_replicas_in_sync == 1 or not own:
        return lambda: None

    @tf.function(autograph=False)
    def average() -> None:
        for variable in own:
            variable.assign(variable.read_value())

    def average_in_scope() -> None:
        with strategy.scope():
            average()

    return average_in_scope
