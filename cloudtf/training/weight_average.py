"""An exponential average of the weights over the steps, which is judged and kept in their place."""

from __future__ import annotations

import contextlib
from typing import Any, Iterator

import tensorflow as tf

# Later averages change so little in a step that they follow every so many.
_EVERY = 8
_EACH_STEP_UNTIL = 64


class WeightAverage(tf.Module):
    """Follows all weights of a model (Polyak & Juditsky 1992; the decay as in Tan & Le 2019).

    The average after step t = 1, 2, ... is

        average = d average + (1 - d) weights,   d = min(decay, (1 + t) / (10 + t))

    so that it forgets the first weights within a few steps, and after few steps is that of the last
    tenth of them. From step 64 on it takes every eighth step, with d to the eighth power: the
    difference is far below that between two seeds, and so is its cost. Batch norm's averages are
    averaged as the weights are; under replicas that is each replica's own, until they are averaged
    as those of the model are.

    It is a tf.Module: a checkpoint that has it among its parts keeps it.

    Args:
      model: the network whose floating-point variables are followed, built under `strategy`.
      strategy: the replicas that share the weights.
      decay: the share of the average that each step leaves, in [0, 1).
    """

    def __init__(
        self, model: tf.keras.Model, strategy: tf.distribute.Strategy, decay: float
    ) -> None:
        super().__init__(name="average")
        self._followed = [v for v in model.variables if v.dtype.is_floating]
        self._strategy, self._decay = strategy, decay
        with strategy.scope():
            self._averages = [_twin(variable) for variable in self._followed]
        self._exchange = tf.function(self._exchanged, autograph=False)

    def update(self, step: tf.Tensor) -> None:
        """Follows the weights after an update; in the replica function.

        Args:
          step: the number of the update, from 1; an integer scalar.
        """

        def follow(power: int) -> tf.Tensor:
            done = tf.cast(step, tf.float32)
            kept = tf.minimum(self._decay, (1.0 + done) / (10.0 + done)) ** power
            for average, variable in zip(self._averages, self._followed):
                gap = average.read_value() - variable.read_value()
                average.assign_sub(tf.cast(1.0 - kept, gap.dtype) * gap, read_value=False)
            return tf.constant(True)

        tf.cond(
            step < _EACH_STEP_UNTIL,
            lambda: follow(1),
            lambda: tf.cond(step % _EVERY == 0, lambda: follow(_EVERY), lambda: tf.constant(True)),
        )

    @contextlib.contextmanager
    def in_place(self) -> Iterator[None]:
        """The model has the averages for weights inside, and its own again after."""
        self._swap()
        try:
            yield
        finally:
            self._swap()

    def _swap(self) -> None:
        with self._strategy.scope():
            self._exchange()

    def _exchanged(self) -> None:
        for average, variable in zip(self._averages, self._followed):
            of_model, of_average = variable.read_value(), average.read_value()
            with tf.control_dependencies([of_model, of_average]):
                variable.assign(of_average)
                average.assign(of_model)


def _twin(variable: Any) -> tf.Variable:
    """A variable of its own on each replica: nothing is exchanged as it follows."""
    is_own = variable.synchronization == tf.VariableSynchronization.ON_READ
    aggregations = tf.VariableAggregation
    return tf.Variable(
        variable.read_value(),
        trainable=False,
        name=f"average/{variable.name.partition(':')[0]}",
        synchronization=tf.VariableSynchronization.ON_READ,
        aggregation=aggregations.MEAN if is_own else aggregations.ONLY_FIRST_REPLICA,
    )
