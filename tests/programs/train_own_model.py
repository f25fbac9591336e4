"""Trains a user's own model with dropout, loss and callbacks: in one go, in parts, on two replicas.

Arguments: the records, a folder for the runs. Finds the histories without speeds, the calls of a
callback, and whether the run in parts ends with the weights of the one in one go.
"""

from __future__ import annotations

import json
import sys
from typing import Any

import numpy as np
import tensorflow as tf

import cloudtf
from cloudtf.training.stopping import Interrupted

records_dir, folder = sys.argv[1:]
cpu = tf.config.list_physical_devices("CPU")[0]
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)


def model_fn(num_classes: int, image_shape: tuple[int, int]) -> tf.keras.Model:
    """Keras's own layers, those that draw among them."""
    return tf.keras.Sequential(
        [
            tf.keras.Input((*image_shape, 3), dtype="uint8"),
            tf.keras.layers.Rescaling(1 / 255),
            tf.keras.layers.RandomContrast(0.3),
            tf.keras.layers.Conv2D(8, 3, strides=4, activation="relu"),
            tf.keras.layers.BatchNormalization(),
            tf.keras.layers.GaussianNoise(0.1),
            tf.keras.layers.GlobalAveragePooling2D(),
            tf.keras.layers.Dropout(0.3),
            tf.keras.layers.Dense(num_classes, activation="sigmoid"),
        ]
    )


class Counts(tf.keras.callbacks.Callback):
    """Remembers epochs and counts steps over all starts."""

    def __init__(self) -> None:
        super().__init__()
        self.epochs: list = []
        self.steps = 0

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        """Counts."""
        self.steps += 1

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        """Remembers."""
        self.epochs.append([epoch, sorted(name for name in logs if "Fish" in name)])


def config(name: str, **changes: Any) -> cloudtf.TrainConfig:
    """Of a run of three epochs of six steps."""
    given = {
        "epochs": 3, "batch_size": 8, "learning_rate": 0.01, "deterministic": True,
        "tensorboard": False, "strategy": "cpu", "checkpoint_every": "4",
    }  # fmt: skip
    return cloudtf.TrainConfig(
        data_dir=records_dir, run_dir=f"{folder}/{name}", **{**given, **changes}
    )


def train(counts: Counts, name: str, **changes: Any) -> list[dict[str, Any]]:
    """A start of a run: its history."""
    stop = tf.keras.callbacks.EarlyStopping("loss", min_delta=10.0, patience=3)
    result = cloudtf.train(
        config(name, **changes),
        model_fn=model_fn,
        loss_fn=tf.keras.losses.BinaryFocalCrossentropy(),
        callbacks=[counts, stop],
    )
    return [{k: v for k, v in row.items() if "second" not in k} for row in result.history]


whole = Counts()
found: dict[str, Any] = {"whole": train(whole, "whole"), "counts": [whole.epochs, whole.steps]}
for _ in range(3):
    parts = Counts()
    try:
        found["parts"] = train(parts, "parts", max_minutes=0.0001)
        break
    except Interrupted:
        pass
else:
    parts = Counts()
    found["parts"] = train(parts, "parts")
found["part_counts"] = [parts.epochs, parts.steps]
weights = [cloudtf.load_model(f"{folder}/{name}/best.keras") for name in ("whole", "parts")]
found["same"] = all(
    np.array_equal(*pair) for pair in zip(*(model.get_weights() for model in weights))
)
found["two"] = train(Counts(), "two", strategy="mirrored", epochs=1)
print(json.dumps(found))
