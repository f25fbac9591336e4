"""Trains with all options of optimisation at once: in one go, in parts, and on two replicas.

Arguments: a folder of records; a folder for the runs. Answers with histories without speeds, the
best model's figures and digest, and the sentences that each run has said.
"""

from __future__ import annotations

import json
import sys
from typing import Any

import numpy as np
import tensorflow as tf

import cloudtf
from cloudtf.model import network, saving
from cloudtf.training.stopping import Interrupted

OPTIONS: dict[str, Any] = {
    "optimizer": "adamw",
    "weight_decay": 0.1,
    "schedule": "cosine",
    "body_rate": 0.7,
    "layer_decay": 0.8,
    "clip_norm": 0.3,
    "ema": 0.9,
    "soup": "greedy",
}
records_dir, folder = sys.argv[1:]
cpu = tf.config.list_physical_devices("CPU")[0]
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)


def train(name: str, **changes: Any) -> dict[str, Any]:
    """A start of a run of three epochs of three steps, or of what is left of it."""
    given = {
        "model": "tiny", "weights": "none", "epochs": 3, "batch_size": 16, "learning_rate": 3e-3,
        "dropout": 0.2, "deterministic": True, "tensorboard": False, "strategy": "cpu",
        "checkpoint_every": "2",
    }  # fmt: skip
    said: list[str] = []
    with cloudtf.reporting_to(said.append):
        done = cloudtf.train(
            cloudtf.TrainConfig(
                data_dir=records_dir, run_dir=f"{folder}/{name}", **{**given, **OPTIONS, **changes}
            )
        )
    rows = [{k: v for k, v in row.items() if "second" not in k} for row in done.history]
    model = saving.load_model(f"{folder}/{name}/best.keras")
    weights = [np.asarray(value).tolist() for value in model.get_weights()]
    return {
        "history": rows,
        "best": done.best,
        "digest": saving.weights_sha256(model),
        "weights": weights if name in ("one", "two") else None,
        "said": [line for line in said if "verage of epochs" in line],
    }


def in_parts(name: str, **changes: Any) -> dict[str, Any]:
    """The same, stopped twice after a step."""
    for _ in range(2):
        try:
            return train(name, max_minutes=0.00001, **changes)
        except Interrupted:
            pass
    return train(name, **changes)


found = {
    "whole": train("whole", accumulate_steps=2, batch_size=8),
    "parts": in_parts("parts", accumulate_steps=2, batch_size=8),
}
network.DROP_CONNECT_RATE = 0.0
for name, strategy in (("one", "cpu"), ("two", "mirrored")):
    found[name] = train(name, strategy=strategy, epochs=2, sync_batch_norm=True, dropout=0.0)
print(json.dumps(found))
