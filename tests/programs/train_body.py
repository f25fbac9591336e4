"""Trains one of Keras's networks in one go and in parts, or on one device and on two logical ones.

Arguments: a folder of records; a folder for the runs; the name of the network; `parts` or
`replicas`. Answers with the history (without speeds) and the digest of the best weights of `whole`
and `parts`, or of `one` and `two`.
"""

from __future__ import annotations

import contextlib
import json
import sys
from typing import Any

import tensorflow as tf

import cloudtf
from cloudtf.model import network, saving
from cloudtf.training.stopping import Interrupted


def main(data_dir: str, folder: str, name: str, what: str) -> None:
    """Answers with all of it."""
    cpu = tf.config.list_physical_devices("CPU")[0]
    tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)

    def train(run: str, **settings: Any) -> dict[str, Any]:
        given = {"strategy": "cpu", "deterministic": True, "head_epochs": 0, **settings}
        config = cloudtf.TrainConfig(
            data_dir=data_dir,
            run_dir=f"{folder}/{run}",
            model=name,
            weights="none",
            epochs=1,
            steps_per_epoch=2,
            batch_size=8,
            augment_on="host",
            train_metric_examples=0,
            tensorboard=False,
            **given,
        )
        result = cloudtf.train(config)
        rows = [{k: v for k, v in row.items() if "second" not in k} for row in result.history]
        best = cloudtf.load_model(f"{folder}/{run}/best.keras")
        return {"history": rows, "weights": saving.weights_sha256(best)}

    found = {}
    if what == "parts":
        found["whole"] = train("whole", head_epochs=1)
        while "parts" not in found:
            with contextlib.suppress(Interrupted):
                found["parts"] = train("parts", head_epochs=1, max_minutes=0.0001)
    else:
        network.DROP_CONNECT_RATE = 0.0
        found["one"] = train("one", sync_batch_norm=True)
        found["two"] = train("two", strategy="mirrored", sync_batch_norm=True)
    print(json.dumps(found))


if __name__ == "__main__":
    main(*sys.argv[1:])
