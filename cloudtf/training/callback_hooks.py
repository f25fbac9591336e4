"""Keras callbacks in cloudtf's loop: called as `model.fit` does, and carried over restarts."""

from __future__ import annotations

import json
from typing import Any, Sequence

import numpy as np
import tensorflow as tf

# What Keras sets on every callback.
_NOT_STATE = ("model", "params")


class CallbackHooks:
    """Calls Keras callbacks at each point of a run, and knows what a checkpoint must have of them.

    What of a callback has changed since the run began goes into the checkpoint, if it is made of
    numbers, texts, lists and dicts: the counts of an EarlyStopping, the best value of a
    ModelCheckpoint. What is set when a callback is made is that of the new start.

    Args:
      callbacks: Keras callbacks, called in this order.
      model: the network, which is compiled.
      epochs: the epochs of all stages.
      steps: the steps of an epoch.
    """

    def __init__(
        self,
        callbacks: Sequence[tf.keras.callbacks.Callback],
        model: tf.keras.Model,
        epochs: int,
        steps: int,
    ) -> None:
        self._callbacks, self._model = tuple(callbacks), model
        self._list = tf.keras.callbacks.CallbackList(
            list(callbacks), model=model, epochs=epochs, steps=steps, verbose=0
        )
        self._fresh: list[dict[str, Any]] = []

    @property
    def take_steps(self) -> bool:
        """Whether a callback is called after steps, so that it must be given their mean loss."""
        return any(callback._implements_train_batch_hooks() for callback in self._callbacks)

    def begin(self, state: Sequence[dict[str, Any]]) -> None:
        """Begins training, or goes on with what `state` gave.

        Args:
          state: of the callbacks of an earlier start; taken by those of the same class in turn.
        """
        self._model.stop_training = False
        self._list.on_train_begin()
        self._fresh = [_plain(callback) for callback in self._callbacks]
        waiting = list(state)
        for callback in self._callbacks:
            name = type(callback).__name__
            found = next((entry for entry in waiting if entry["class"] == name), None)
            if found is not None:
                waiting.remove(found)
                for key, value in found["changed"].items():
                    setattr(callback, key, _decoded(value))

    def epoch_begins(self, epoch: int) -> None:
        """Before the steps of an epoch, which counts from 0 over all stages."""
        self._list.on_epoch_begin(epoch)

    def steps_begin(self, step: int) -> None:
        """Before a call of one or more steps, of which this is the first in its epoch, from 0."""
        self._list.on_train_batch_begin(step)

    def steps_end(self, step: int, loss: float) -> bool:
        """After it; whether a callback wants to stop.

        Args:
          step: the last step of the call in its epoch, from 0.
          loss: the mean loss of the epoch so far.
        """
        self._list.on_train_batch_end(step, {"loss": loss})
        return self._model.stop_training

    def epoch_ends(self, epoch: int, row: dict[str, Any]) -> bool:
        """After an epoch was judged; whether a callback wants to stop.

        Args:
          epoch: the number of the epoch, from 0.
          row: its row of the history, the numbers of which are the logs.
        """
        logs = {name: value for name, value in row.items() if name not in ("epoch", "stage")}
        self._list.on_epoch_end(epoch, logs)
        return self._model.stop_training

    def end(self) -> None:
        """Ends training."""
        self._list.on_train_end()

    def state(self) -> list[dict[str, Any]]:
        """What has changed of each callback since it began, as JSON values."""
        return [
            {
                "class": type(callback).__name__,
                "changed": {
                    name: value
                    for name, value in _plain(callback).items()
                    if name not in fresh or fresh[name] != value
                },
            }
            for callback, fresh in zip(self._callbacks, self._fresh)
        ]


def _plain(callback: tf.keras.callbacks.Callback) -> dict[str, Any]:
    """The attributes that JSON can have."""
    plain = {}
    for name, value in vars(callback).items():
        if name not in _NOT_STATE:
            try:
                plain[name] = json.loads(json.dumps(_encoded(value), allow_nan=False))
            except (TypeError, ValueError, RecursionError):
                continue
    return plain


def _encoded(value: Any) -> Any:
    """A value with what JSON lacks written as text: numbers that are not finite."""
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float) and not np.isfinite(value):
        return {"float": repr(value)}
    if isinstance(value, dict):
        if not all(isinstance(key, str) for key in value):
            raise TypeError("JSON has texts as keys")
        return {key: _encoded(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_encoded(item) for item in value]
    return value


def _decoded(value: Any) -> Any:
    if isinstance(value, dict):
        if set(value) == {"float"}:
            return float(value["float"])
        return {key: _decoded(item) for key, item in value.items()}
    return [_decoded(item) for item in value] if isinstance(value, list) else value
