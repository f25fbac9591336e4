"""Trains with steps that wait until the host has sent the step after them.

Arguments: the folder of records, a run folder. TensorFlow executes asynchronously, as it does on a
GPU. Answers with whether each step but the first and last saw the next one sent (`overlapped`), and
with the losses of the epochs (`losses`).
"""

from __future__ import annotations

import json
import sys
import threading
from typing import Any
from unittest import mock

import cloudtf  # noqa: F401 - before TensorFlow: it chooses the Keras API

# isort: split
import tensorflow as tf

from cloudtf.training.step import Sent, TrainStep

SECONDS = 10
BATCH = 8
STEPS = 6
EPOCHS = 2


def main() -> None:
    """Answers."""
    data_dir, run_dir = sys.argv[1:]
    changed = threading.Condition()
    sent, computed = 0, 0
    overlapped = []
    send = TrainStep.send

    def sends(self: TrainStep, iterator: Any, count: int) -> Sent:
        nonlocal sent
        result = send(self, iterator, count)
        with changed:
            sent += 1
            changed.notify_all()
        return result

    def computes() -> float:
        nonlocal computed
        with changed:
            place = computed % STEPS
            # For the first step of a run, and the last of an epoch, nothing is sent ahead.
            if computed and place < STEPS - 1:
                wanted = computed + 2
                overlapped.append(changed.wait_for(lambda: sent >= wanted, SECONDS))
            computed += 1
        return 1.0

    def loss(labels: tf.Tensor, probabilities: tf.Tensor) -> tf.Tensor:
        values = tf.keras.losses.binary_crossentropy(labels, probabilities)
        if labels.shape[0] != BATCH:  # It is tried out on fewer, and judges more at once.
            return values
        return values * tf.stop_gradient(tf.py_function(computes, [], tf.float32))

    tf.config.experimental.set_synchronous_execution(False)
    config = cloudtf.TrainConfig(
        data_dir=data_dir, run_dir=run_dir, model="tiny", weights="none", epochs=EPOCHS,
        batch_size=BATCH, steps_per_epoch=STEPS, strategy="cpu", tensorboard=False,
        train_metric_examples=0, deterministic=True,
    )  # fmt: skip
    with mock.patch.object(TrainStep, "send", sends):
        result = cloudtf.train(config, loss_fn=loss)
    losses = [row["loss"] for row in result.history]
    print(json.dumps({"overlapped": overlapped, "losses": losses}))


if __name__ == "__main__":
    main()
