"""Whether both stacks learn equally well and as fast: the demo's training, some seeds on each.

    python benchmarks/stacks.py --json=stacks.json \\
      --pythons=.venv/bin/python,.venv-current/bin/python

Each run is a process of its own, `cloudtf train` with flags/demo.flags and another seed; the stacks
take turns (A B, B A, A B, ...), so that a machine that changes its speed meets both. Without
--pythons only the stack of the Python that runs this is measured. Scores are those of the best
model on the validation images; images/s is the median over the epochs after the first.
"""

from __future__ import annotations

import json
import os
import pathlib
import subprocess
import sys
import tempfile
import time
from typing import Any

import data
import harness
import numpy as np
from absl import flags

FLAGS = flags.FLAGS
flags.DEFINE_list("pythons", [], "Pythons to compare, each with its stack; the first is the base.")
flags.DEFINE_list("seeds", ["0", "1", "2"], "Seeds of the training.")
flags.DEFINE_integer("images", 1200, "Images in the set.", lower_bound=64)
flags.DEFINE_integer("size", 64, "Rows and columns of the images.", lower_bound=32)
flags.DEFINE_string("train_flags", "", "More flags of `cloudtf train`, separated by spaces.")

ROOT = pathlib.Path(__file__).resolve().parents[1]
# How far apart the speeds may be without a reason given.
SAME_SPEED = 0.9
_TRAIN = """
import importlib.metadata, json, statistics, sys, time
began = time.perf_counter()
from cloudtf.commands import app
from cloudtf.training.config import TrainConfig
from cloudtf.training.train import train
import tensorflow as tf
config = app.parse(TrainConfig, sys.argv[2:])
result = train(config)
speeds = [row["images_per_second"] for row in result.history]
best = result.best
found = {
    "python": sys.version.split()[0],
    "tensorflow": tf.__version__,
    "keras": tf.keras.Model.__module__.split(".")[0],
    "seed": config.seed,
    "epoch": best["epoch"],
    "pr_auc": best["pr_auc"]["mean"],
    "average_precision": best["average_precision"]["mean"],
    "images_per_second": statistics.median(speeds[1:] or speeds),
    "seconds": time.perf_counter() - began,
}
with open(sys.argv[1], "w") as file:
    json.dump(found, file)
"""


def train(python: str, records_dir: str, seed: str) -> dict[str, Any]:
    """One run; what it came to."""
    with tempfile.TemporaryDirectory() as folder:
        output = os.path.join(folder, "result.json")
        command = [
            python,
            "-c",
            _TRAIN,
            output,
            f"--flagfile={ROOT / 'flags' / 'demo.flags'}",
            f"--data_dir={records_dir}",
            f"--run_dir={os.path.join(folder, 'run')}",
            f"--seed={seed}",
            *FLAGS.train_flags.split(),
        ]
        environment = {k: v for k, v in os.environ.items() if k != "TF_USE_LEGACY_KERAS"}
        environment["PYTHONPATH"] = str(ROOT)
        done = subprocess.run(command, env=environment, capture_output=True, encoding="utf-8")
        if done.returncode:
            sys.exit(f"{python} failed:\n{done.stdout}{done.stderr}")
        with open(output, encoding="utf-8") as file:
            return json.load(file)


def name_of(run: dict[str, Any]) -> str:
    """The stack in a few words."""
    return f"TensorFlow {run['tensorflow']}, {run['keras']}, Python {run['python']}"


def row(name: str, runs: list[dict[str, Any]]) -> tuple[str, ...]:
    """A line of the table: means, with the smallest and the largest."""
    cells = [name]
    for key, form in (("pr_auc", ".4f"), ("average_precision", ".4f")):
        values = [run[key] for run in runs]
        cells.append(f"{np.mean(values):{form}} ({min(values):{form}}–{max(values):{form}})")
    speeds = [run["images_per_second"] for run in runs]
    cells.append(f"{np.median(speeds):.1f} ({min(speeds):.1f}–{max(speeds):.1f})")
    return tuple(cells)


def verdict(base: list[dict[str, Any]], other: list[dict[str, Any]]) -> dict[str, Any]:
    """Two stacks with the same seeds, run by run in pairs.

    Returns:
      `score_difference`: of the mean PR-AUC, other minus base; `spread`: the larger of both
      stacks' ranges over the seeds; `learns_equally`: the difference is within the spread;
      `speed_ratio`: median of other over base; `same_speed`: within 10%.
    """
    scores = [np.array([run["pr_auc"] for run in runs]) for runs in (base, other)]
    difference = float(scores[1].mean() - scores[0].mean())
    spread = float(max(np.ptp(values) for values in scores))
    speeds = [np.array([run["images_per_second"] for run in runs]) for runs in (base, other)]
    ratio = float(np.median(speeds[1] / speeds[0]))
    return {
        "score_difference": difference,
        "spread": spread,
        "learns_equally": abs(difference) <= spread,
        "speed_ratio": ratio,
        "same_speed": SAME_SPEED <= ratio <= 1 / SAME_SPEED,
    }


def main() -> None:
    """Measures and reports."""
    pythons = FLAGS.pythons or [sys.executable]
    photographs = data.photographs(data.folder(FLAGS.work_dir), FLAGS.images, 466, 700)
    records_dir = data.converted(photographs, FLAGS.size, val_fraction=0.2)
    runs: list[list[dict[str, Any]]] = [[] for _ in pythons]
    for turn, seed in enumerate(FLAGS.seeds):
        order = range(len(pythons))
        for index in order if turn % 2 == 0 else reversed(order):
            began = time.perf_counter()
            runs[index].append(train(pythons[index], records_dir, seed))
            print(
                f"seed {seed}, {name_of(runs[index][-1])}: {time.perf_counter() - began:.0f} s",
                file=sys.stderr,
                flush=True,
            )
    names = [name_of(found[0]) for found in runs]
    header = ("stack", "PR-AUC", "average precision", "images/s")
    print(harness.table(header, [row(*pair) for pair in zip(names, runs)]), "\n")
    verdicts = {}
    for name, found in zip(names[1:], runs[1:]):
        verdicts[name] = judged = verdict(runs[0], found)
        learns = "yes" if judged["learns_equally"] else "no"
        same = "yes" if judged["same_speed"] else "no"
        print(f"{name} against {names[0]}:")
        print(f"- PR-AUC {judged['score_difference']:+.4f}, spread {judged['spread']:.4f}:")
        print(f"  learns equally well: {learns}")
        print(f"- speed {judged['speed_ratio']:.3f} times; within 10%: {same}")
    harness.write_json(
        {
            "benchmark": "stacks",
            "machine": harness.machine(),
            "train_flags": FLAGS.train_flags,
            "runs": dict(zip(names, runs)),
            "verdicts": verdicts,
        }
    )


if __name__ == "__main__":
    harness.run(main)
