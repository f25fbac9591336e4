"""Trains the tiny network on one device and on two logical ones, or as a worker of a cluster.

Arguments: a folder of records; a folder for the runs; `mirrored` or `worker` (with TF_CONFIG).
Answers with each run's history, best epoch and weights, and with what was refused.
"""

from __future__ import annotations

import json
import os
import sys
from typing import Any

import tensorflow as tf

import cloudtf
from cloudtf.errors import UsageError
from cloudtf.model import network
from cloudtf.training import hardware


class Runs:
    """Trains with the same settings but those that are given.

    Attributes:
      found: history, best epoch and weights by the run's name.
    """

    def __init__(self, data_dir: str, folder: str) -> None:
        self._data_dir, self._folder = data_dir, folder
        self.found: dict[str, Any] = {}

    def train(self, name: str, **settings: Any) -> None:
        """Trains one."""
        run_dir = f"{self._folder}/{name}"
        config = cloudtf.TrainConfig(
            data_dir=self._data_dir,
            run_dir=run_dir,
            model="tiny",
            batch_size=8,
            learning_rate=3e-3,
            augment_on="host",
            augmentations=("horizontal_flip", "crop"),
            mixup=0.4,
            cutmix=1.0,
            tensorboard=False,
            **{"weights": "none", "head_epochs": 1, "epochs": 2, **settings},
        )
        done = cloudtf.train(config)
        weights = cloudtf.load_model(f"{run_dir}/best.keras").get_weights()
        self.found[name] = {
            "history": done.history,
            "best": done.best,
            "weights": [values.tolist() for values in weights],
        }


def refused(runs: Runs) -> list[str]:
    """What is said about a compiled step that sums over replicas."""
    sentences = []
    changes: tuple[dict[str, Any], ...] = (
        {"sync_batch_norm": True},
        {"loss": "dice"},
        {"loss": "bce_dice"},
    )
    for change in changes:
        try:
            runs.train("refused", strategy="mirrored", jit_compile=True, **change)
        except UsageError as error:
            sentences.append(str(error))
    return sentences


def main(data_dir: str, folder: str, kind: str) -> None:
    """Answers with all of it."""
    network.DROP_CONNECT_RATE = 0.0
    runs = Runs(data_dir, folder)
    if kind == "worker":
        runs.train("worker", strategy="multi_worker", sync_batch_norm=True)
        print(json.dumps(runs.found))
        return
    cpu = tf.config.list_physical_devices("CPU")[0]
    tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
    runs.train("one", strategy="cpu", sync_batch_norm=True)
    runs.train("two", strategy="mirrored", sync_batch_norm=True)
    runs.train("apart", strategy="mirrored")
    runs.train("many", strategy="mirrored", sync_batch_norm=True, steps_per_execution=4)
    runs.train("compiled", strategy="mirrored", jit_compile=True)
    fitted = {"weights": f"{folder}/one/best.keras", "head_epochs": None, "epochs": 0}
    runs.train("fitted", strategy="cpu", **fitted)
    runs.train("fitted_by_two", strategy="mirrored", **fitted)
    sentences = refused(runs)
    strategy = hardware.make_strategy("mirrored")
    others = {
        "refused": sentences,
        "begun": os.path.exists(f"{folder}/refused"),
        "same": hardware.make_strategy("mirrored") is strategy,
        "described": hardware.describe(strategy),
    }
    print(json.dumps({**runs.found, **others}))


if __name__ == "__main__":
    main(*sys.argv[1:])
