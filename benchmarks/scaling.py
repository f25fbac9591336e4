"""Time and memory against the size of the set: conversion, an epoch of input, evaluation.

    python benchmarks/scaling.py --work_dir=DIR --json=scaling.json

Sets of 1, 4 and 16 times --images are made of the same photographs, linked under new names. Every
measurement is a process of its own, whose peak resident memory is read from the kernel; times are
taken inside, without the start of Python and TensorFlow. Cost is linear if an image of the largest
set takes as long as one of the smallest. Of input, as many epochs of each set are timed as have the
same number of images: one epoch of a smaller set is too short to measure, and most of it is start.
"""

from __future__ import annotations

import csv
import os
import shutil
import tempfile
import time
from typing import Any, Callable

import data
import harness
import numpy as np
from absl import flags

from cloudtf.diagnosis import timing

FLAGS = flags.FLAGS
flags.DEFINE_integer("images", 500, "Images of the smallest set.", lower_bound=64)
flags.DEFINE_integer("batch_size", 32, "Images a batch.", lower_bound=1)
flags.DEFINE_integer("epochs", 20, "Epochs of the long passes.", lower_bound=1)
flags.DEFINE_integer("evaluation_size", 64, "Rows and columns for the evaluation.", lower_bound=32)

FACTORS = (1, 4, 16)
# Epochs of the largest set whose images are timed.
_LARGEST_EPOCHS = 2


def convert(photographs: str, output: str) -> dict[str, float]:
    """Converts a set; like the functions below, called in a process of its own."""
    from cloudtf.data.convert import ConvertConfig
    from cloudtf.data.convert import convert as run

    config = ConvertConfig(
        labels_csv=os.path.join(photographs, "train.csv"),
        images_dir=os.path.join(photographs, "train_images"),
        output_dir=output,
        overwrite=True,
    )
    return _measured(lambda: run(config))


def epochs(records_dir: str, cache: str, count: int, batch_size: int) -> dict[str, float]:
    """Goes through the training pipeline, all four augmentations on the host."""
    import tensorflow as tf

    import cloudtf

    tf.constant(0)
    found = cloudtf.open_dataset(records_dir, cache=cache)
    batches = found.batches("train", batch_size, training=True)
    # Compiles the augmentation and loads what is cached, apart from the measurement.
    next(iter(batches))
    steps = count * found.num_examples("train") // batch_size

    def run() -> None:
        for _ in batches.take(steps):
            pass

    result = _measured(run)
    # Whole batches only: what is missing of the last epoch, or too much, is made up for.
    result["seconds"] *= count * found.num_examples("train") / (steps * batch_size)
    return result


def evaluate(records_dir: str, model: str) -> dict[str, float]:
    """Runs `cloudtf evaluate` with a tiny network: what is around the network dominates."""
    import tensorflow as tf

    from cloudtf.evaluation.evaluate import EvaluateConfig
    from cloudtf.evaluation.evaluate import evaluate as run

    tf.constant(0)
    with tempfile.TemporaryDirectory() as output:
        config = EvaluateConfig(data_dir=records_dir, model=model, split="train", output_dir=output)
        # Imports, fonts and traces are paid by a first run.
        return _measured(lambda: run(config), warm_up=True)


def make_model(path: str, records_dir: str, size: int) -> None:
    """Saves a network for `evaluate`."""
    from cloudtf.data import records
    from cloudtf.model import network, saving

    classes = records.read_manifest(records_dir).classes
    model = network.build_model("tiny", len(classes), (size, size), None)
    info = {
        "classes": list(classes),
        "image_height": size,
        "image_width": size,
        "model": "tiny",
        "val_split": "train",
    }
    saving.save_model(model, path, info)


def _measured(function: Callable[[], Any], warm_up: bool = False) -> dict[str, float]:
    before = _peak_memory()
    with timing.quiet():
        if warm_up:
            function()
        began = time.perf_counter()
        function()
        seconds = time.perf_counter() - began
    return {"seconds": seconds, "start_mb": before, "peak_mb": _peak_memory()}


def _peak_memory() -> float:
    """Peak resident memory of this process so far, in MB."""
    with open("/proc/self/status", encoding="ascii") as file:
        line = next(line for line in file if line.startswith("VmHWM"))
    return int(line.split()[1]) / 1024


def repeated(photographs: str, factor: int) -> str:
    """A folder with every photograph `factor` times, as links."""
    path = f"{photographs}-times-{factor}"
    if os.path.exists(os.path.join(path, "train.csv")):
        return path
    shutil.rmtree(path, ignore_errors=True)
    os.makedirs(os.path.join(path, "train_images"))
    for source in data.photograph_paths(photographs):
        for copy in range(factor):
            name = f"{copy:02d}-{os.path.basename(source)}"
            os.link(source, os.path.join(path, "train_images", name))
    with open(os.path.join(photographs, "train.csv"), encoding="utf-8") as file:
        header, *rows = csv.reader(file)
    with open(os.path.join(path, "train.csv"), "w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(header)
        for copy in range(factor):
            writer.writerows([f"{copy:02d}-{row[0]}", *row[1:]] for row in rows)
    return path


def main() -> None:
    """Measures and reports."""
    facts = harness.machine()
    work_dir = data.folder(FLAGS.work_dir)
    photographs = data.photographs(work_dir, FLAGS.images, 466, 700)
    sets = {factor: repeated(photographs, factor) for factor in FACTORS}
    records = {factor: data.converted(path) for factor, path in sets.items()}
    small = {factor: data.converted(path, FLAGS.evaluation_size) for factor, path in sets.items()}
    model = os.path.join(work_dir, f"tiny-{FLAGS.evaluation_size}.keras")
    harness.in_process(make_model, path=model, records_dir=small[1], size=FLAGS.evaluation_size)
    output = tempfile.mkdtemp(dir=work_dir)
    batch = FLAGS.batch_size

    def an_epoch(factor: int, cache: str) -> dict[str, float]:
        count = _LARGEST_EPOCHS * FACTORS[-1] // factor
        found = harness.in_process(
            epochs, records_dir=records[factor], cache=cache, count=count, batch_size=batch
        )
        return {**found, "seconds": found["seconds"] / count}

    work: dict[str, Callable[[int], dict[str, float]]] = {
        "conversion": lambda factor: harness.in_process(
            convert, photographs=sets[factor], output=output
        ),
        **{
            f"an epoch of input, cache {cache}": lambda factor, cache=cache: an_epoch(factor, cache)
            for cache in ("none", "encoded", "decoded")
        },
        "evaluation": lambda factor: harness.in_process(
            evaluate, records_dir=small[factor], model=model
        ),
    }
    rows = []
    try:
        for name, measure in work.items():
            if FLAGS.cases and not any(word in name for word in FLAGS.cases):
                continue
            turns = []
            for turn in range(FLAGS.rounds):
                order = FACTORS if turn % 2 == 0 else FACTORS[::-1]
                turns.append({factor: measure(factor) for factor in order})
            rows.append(_summary(name, turns))
    finally:
        shutil.rmtree(output, ignore_errors=True)
    passes = {
        f"{FLAGS.epochs} epochs, cache {cache}, {4 * FLAGS.images} images": harness.in_process(
            epochs, records_dir=records[4], cache=cache, count=FLAGS.epochs, batch_size=batch
        )
        for cache in ("none", "encoded", "decoded")
    }
    _print(facts, rows, passes)
    harness.write_json(
        {
            "benchmark": "scaling",
            "machine": facts,
            "images": FLAGS.images,
            "rounds": FLAGS.rounds,
            "scaling": rows,
            "passes": passes,
        }
    )


def _summary(name: str, turns: list[dict[int, dict[str, float]]]) -> dict[str, Any]:
    """Medians over the turns, and the ratios of the cost of an image between sizes."""

    def medians(key: str) -> dict[int, float]:
        return {f: float(np.median([turn[f][key] for turn in turns])) for f in FACTORS}

    first, last = FACTORS[0], FACTORS[-1]
    costs = np.array([[turn[f]["seconds"] / (f * FLAGS.images) for f in FACTORS] for turn in turns])
    # What a set costs whatever its size falls out of the difference of two sizes.
    steep = np.array(
        [
            (turn[last]["seconds"] - turn[FACTORS[1]]["seconds"])
            / (turn[FACTORS[1]]["seconds"] - turn[first]["seconds"])
            * (FACTORS[1] - first)
            / (last - FACTORS[1])
            for turn in turns
        ]
    )
    return {
        "name": name,
        "seconds": medians("seconds"),
        "peak_mb": medians("peak_mb"),
        "start_mb": medians("start_mb"),
        "cost_ratio": float(np.median(costs[:, -1] / costs[:, 0])),
        "slope_ratio": float(np.median(steep)),
    }


def _print(
    facts: dict[str, Any], rows: list[dict[str, Any]], passes: dict[str, dict[str, float]]
) -> None:
    print(harness.describe(facts), "\n")
    sizes = [f"{factor * FLAGS.images:,}" for factor in FACTORS]
    header = ("images/s at", *sizes, "cost 16x / 1x", "slope 16x-4x / 4x-1x")
    speeds = [
        (
            row["name"],
            *(harness.number(f * FLAGS.images / row["seconds"][f]) for f in FACTORS),
            f"{row['cost_ratio']:.2f}",
            f"{row['slope_ratio']:.2f}",
        )
        for row in rows
    ]
    print(harness.table(header, speeds), "\n")
    memory = [
        (
            row["name"],
            *(f"{row['peak_mb'][f]:,.0f}" for f in FACTORS),
            f"{row['start_mb'][FACTORS[-1]]:,.0f}",
        )
        for row in rows
    ]
    print(harness.table(("peak MB at", *sizes, "before the work"), memory), "\n")
    print(
        harness.table(
            ("long pass", "peak MB", "before it", "seconds"),
            (
                (name, f"{p['peak_mb']:,.0f}", f"{p['start_mb']:,.0f}", f"{p['seconds']:.1f}")
                for name, p in passes.items()
            ),
        )
    )


if __name__ == "__main__":
    harness.run(main)
