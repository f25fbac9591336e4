"""What checkpoints cost: the time of a save against that of the steps between two.

    python benchmarks/checkpoint_cost.py --work_dir=DIR --json=checkpoint_cost.json

Steps and saves take turns in one process, so that whatever else the machine does slows both. A save
is what `cloudtf train` does: all weights are looked at, the checkpoint is written and flushed to
the disk, the one before it is removed. Steps are those of `TrainStep` on a constant batch, which is
the fastest that a run can be. The share is the median, over the saves, of a save's time over that
of --checkpoint_every steps like those before it.
"""

from __future__ import annotations

import dataclasses
import os
import shutil
import tempfile
import time
from typing import Any

import data
import harness
import numpy as np
from absl import flags

FLAGS = flags.FLAGS
flags.DEFINE_list("models", ["efficientnetb0", "efficientnetb2"], "Networks.")
flags.DEFINE_integer("image_size", 96, "Rows and columns of the images.", lower_bound=32)
flags.DEFINE_integer("batch_size", 32, "Images a step.", lower_bound=1)
flags.DEFINE_integer("checkpoint_every", 500, "Steps between checkpoints.", lower_bound=1)
flags.DEFINE_integer("turns", 10, "Saves, each after three steps.", lower_bound=2)

CLASSES = 4
TARGET = 0.02


def measure(model: str, size: int, batch_size: int, turns: int, work_dir: str) -> dict[str, Any]:
    """Seconds of steps and of saves, and a checkpoint's size; called in a process of its own."""
    import tensorflow as tf

    from cloudtf.model import losses, network, optimizers
    from cloudtf.training import sanity
    from cloudtf.training.checkpoints import CheckpointFolder
    from cloudtf.training.progress import Progress
    from cloudtf.training.step import TrainStep

    built = network.build_model(model, CLASSES, (size, size), None)
    optimizer = optimizers.make_optimizer("radam", 1e-4, 1_000_000)
    _ = optimizer.iterations
    optimizer._create_all_weights(built.trainable_variables)
    built.compile(optimizer=optimizer)
    strategy = tf.distribute.get_strategy()
    step = TrainStep(built, optimizer, losses.get_loss("bce"), strategy, batch_size, seed=0)
    random = np.random.default_rng(0)
    images = random.integers(0, 256, (batch_size, size, size, 3)).astype(np.uint8)
    labels = random.integers(0, 2, (batch_size, CLASSES)).astype(np.float32)
    keys = np.zeros((batch_size, 2), np.int32)
    batches = iter(tf.data.Dataset.from_tensors((images, labels, keys)).repeat())
    step(batches, 1)
    run_dir = tempfile.mkdtemp(dir=work_dir)
    folder = CheckpointFolder(run_dir)
    checkpoint = tf.train.Checkpoint(model=built, optimizer=optimizer)
    steps, saves = [], []
    for turn in range(turns):
        for _ in range(3):
            began = time.perf_counter()
            step(batches, 1)
            steps.append(time.perf_counter() - began)
        began = time.perf_counter()
        sanity.check_weights(built, turn)
        folder.save(checkpoint, Progress(total_steps=turn))
        saves.append(time.perf_counter() - began)
    written = sum(
        os.path.getsize(os.path.join(path, name))
        for path, _, names in os.walk(run_dir)
        for name in names
    )
    shutil.rmtree(run_dir)
    return {"steps": steps, "saves": saves, "megabytes": written / 1e6}


def main() -> None:
    """Measures and reports."""
    facts, rows, found = harness.machine(), [], {}
    for model in FLAGS.models:
        one = harness.in_process(
            measure,
            model=model,
            size=FLAGS.image_size,
            batch_size=FLAGS.batch_size,
            turns=FLAGS.turns,
            work_dir=data.folder(FLAGS.work_dir),
        )
        # Each save against the steps just before it, so that both met the same machine.
        steps = np.array(one["steps"]).reshape(FLAGS.turns, -1).mean(axis=1)
        shares = np.array(one["saves"]) / (FLAGS.checkpoint_every * steps)
        ratio = harness.ratio_of_pairs(model, shares)
        found[model] = {**one, "share": dataclasses.asdict(ratio), "reached": ratio.high < TARGET}
        rows.append(
            (
                model,
                f"{np.median(one['steps']):.3f}",
                f"{np.median(one['saves']):.3f}",
                f"{one['megabytes']:.0f}",
                f"{100 * ratio.median:.2f} % ({100 * ratio.low:.2f}–{100 * ratio.high:.2f})",
                f"< {100 * TARGET:g} %",
                "yes" if ratio.high < TARGET else "no",
            )
        )
    print(harness.describe(facts), "\n")
    header = ("network", "step, s", "save, s", "MB", "share of the time", "target", "reached")
    print(harness.table(header, rows))
    print(
        f"\n- {FLAGS.batch_size} images of {FLAGS.image_size} x {FLAGS.image_size} a step, a save "
        f"every {FLAGS.checkpoint_every} steps."
    )
    harness.write_json({"benchmark": "checkpoint_cost", "machine": facts, "networks": found})


if __name__ == "__main__":
    harness.run(main)
