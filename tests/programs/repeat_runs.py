"""Deterministic runs of the tiny network that differ in one setting each, or in none.

Arguments: a folder of records; a folder for the runs. Answers with their histories, without speeds.
"""

from __future__ import annotations

import json
import sys
from typing import Any

import cloudtf

CHANGES: dict[str, dict[str, Any]] = {
    "one": {},
    "again": {},
    "seed": {"seed": 2},
    "four": {"steps_per_execution": 4},
    "device": {"augment_on": "device"},
    "streamed": {"cache": "encoded"},
}


def history(data_dir: str, run_dir: str, changes: dict[str, Any]) -> list[dict[str, Any]]:
    """Of one run."""
    settings: dict[str, Any] = {
        "data_dir": data_dir,
        "run_dir": run_dir,
        "model": "tiny",
        "weights": "none",
        "head_epochs": 1,
        "epochs": 1,
        "batch_size": 8,
        "learning_rate": 3e-4,
        "dropout": 0.2,
        "seed": 1,
        "deterministic": True,
        "tensorboard": False,
    }
    rows = cloudtf.train(cloudtf.TrainConfig(**{**settings, **changes})).history
    return [{k: v for k, v in row.items() if "second" not in k} for row in rows]


def main(data_dir: str, folder: str) -> None:
    """Answers with all of them."""
    found = {
        name: history(data_dir, f"{folder}/{name}", changes) for name, changes in CHANGES.items()
    }
    print(json.dumps(found))


if __name__ == "__main__":
    main(*sys.argv[1:])
