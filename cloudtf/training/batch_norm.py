"""Averages of batch norm over replicas that each keep their own."""

from __future__ import annotations

from typing import Callable

import tensorflow as tf


def replica_averager(strategy: tf.distribute.Strategy, model: tf.keras.Model) -> Callable[[], None]:
    """A function that gives every replica the mean of all replicas' batch-norm averages.

    Each replica keeps its own, from its part of the batches; what is saved is their mean. Taken now
    and then it is the same as taken at the end, since the averages are linear in what they are fed,
    and training does not use them. Without it each replica would be judged with averages that are
    not the saved ones, and no two workers would come to the same scores.
    """
    own = [
        variable
        for variable in model.variables
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
