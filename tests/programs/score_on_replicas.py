"""Scores 13 examples on four logical CPU devices, and on one.

Arguments: a folder of records; a model file. Answers with numbers, labels and scores by `four` or
`one` and the size of the batches.
"""

from __future__ import annotations

import json
import sys
from typing import Any

import tensorflow as tf

import cloudtf
from cloudtf.evaluation import scoring
from cloudtf.training.hardware import make_strategy


def main(data_dir: str, model_path: str) -> None:
    """Answers with all of them."""
    cpu = tf.config.list_physical_devices("CPU")[0]
    tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 4)
    strategy = make_strategy("mirrored")
    with strategy.scope():
        model = cloudtf.load_model(model_path)
    alone = cloudtf.load_model(model_path)
    data = cloudtf.open_dataset(data_dir)
    result: dict[str, Any] = {"replicas": strategy.num_replicas_in_sync}
    for name, scorer in (("four", scoring.Scorer(model, strategy)), ("one", scoring.Scorer(alone))):
        # 13 examples in batches of 8, and in batches that four replicas cannot share evenly.
        for size in (8, 6):
            batches = data.evaluation_batches("train", size, max_examples=13)
            scored = scorer.dataset(batches)
            parts = (scored.numbers, scored.labels, scored.scores)
            result[f"{name} {size}"] = [part.tolist() for part in parts]
    print(json.dumps(result))


if __name__ == "__main__":
    main(*sys.argv[1:])
