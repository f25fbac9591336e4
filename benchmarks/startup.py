"""What commands take that have next to nothing to do: start-up, in seconds of whole processes.

    python benchmarks/startup.py --work_dir=/tmp/data --before=../cloudtf-before --rounds=5

Each command runs in a process of its own until it ends, `train` until its first step is done.
Processor time (of the process and those that it started) says what start-up costs also where other
programs run beside it; beside it stand seconds of wall time. With --before, the root of another
checkout of this project, the two take turns (A B, B A, ...). The line of TensorFlow's own import is
the floor that no command goes below.
"""

from __future__ import annotations

import os
import pathlib
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from typing import NamedTuple

import data
import harness
import numpy as np
from absl import flags

from cloudtf.model import network, saving

FLAGS = flags.FLAGS
flags.DEFINE_string("before", None, "Root of another checkout, to compare with.")
flags.DEFINE_string("python", sys.executable, "The Python, with its stack.")
flags.DEFINE_integer("images", 64, "Images in the set.", lower_bound=16)

ROOT = pathlib.Path(__file__).resolve().parents[1]
FLOOR = "TensorFlow's import alone"
# Runs a command as `python -m cloudtf` does, and ends with its first step.
_TO_FIRST_STEP = """
import os, runpy, sys, cloudtf
cloudtf.set_reporter(lambda text: os._exit(0) if text.startswith("First step") else None)
sys.argv[0] = "cloudtf"
runpy.run_module("cloudtf", run_name="__main__")
"""


class Taken(NamedTuple):
    """Seconds that a process took."""

    cpu: float
    wall: float


def commands(work_dir: str) -> dict[str, list[str]]:
    """What is measured: a name and the arguments of Python. `OUT` stands for a new folder."""
    photographs = data.photographs(work_dir, FLAGS.images, 466, 700)
    records = data.converted(photographs, 64, val_fraction=0.2)
    few = os.path.join(work_dir, "startup-few")
    os.makedirs(few, exist_ok=True)
    for path in data.photograph_paths(photographs)[:6]:
        shutil.copy(path, few)
    model = os.path.join(work_dir, "startup-b2.keras")
    if not os.path.exists(model):
        classes = list("abcd")
        built = network.build_model("efficientnetb2", len(classes), (224, 224))
        saving.save_model(built, model, {"classes": classes, "model": "efficientnetb2"})
    cloudtf, preview = ["-m", "cloudtf"], [f"--data_dir={records}", "--output=OUT/preview.png"]
    train = [f"--data_dir={records}", "--run_dir=OUT/run", "--model=efficientnetb0"]
    train += ["--weights=none", "--epochs=1", "--strategy=cpu"]
    export = [*cloudtf, "export", "--noprove", f"--model={model}"]
    return {
        FLOOR: ["-c", "import tensorflow"],
        "preview": [*cloudtf, "preview", *preview],
        "predict, B2 at 224, 6 photographs": [
            *cloudtf, "predict", f"--model={model}", f"--images_dir={few}", "--output=OUT/all.csv",
        ],
        "train, B0 at 64, to the first step": ["-c", _TO_FIRST_STEP, "train", *train],
        "export, B2 as SavedModel": [*export, "--output=OUT/saved"],
        "export, B2 as TFLite": [*export, "--format=tflite", "--output=OUT/b2.tflite"],
    }  # fmt: skip


def run(arguments: list[str], root: pathlib.Path) -> Taken:
    """Seconds of one process with the package of a checkout."""
    environment = {**os.environ, "PYTHONPATH": str(root), "TF_CPP_MIN_LOG_LEVEL": "3"}
    environment.pop("TF_USE_LEGACY_KERAS", None)
    with tempfile.TemporaryDirectory() as folder:
        command = [FLAGS.python, *(word.replace("OUT/", f"{folder}/") for word in arguments)]
        before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
        done = subprocess.run(command, env=environment, capture_output=True, cwd=folder)
        wall, after = time.perf_counter() - began, resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.returncode:
        sys.exit(f"{command} failed:\n{done.stderr.decode(errors='replace')}")
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return Taken(cpu, wall)


def main() -> None:
    """Measures and reports."""
    roots = [ROOT] if FLAGS.before is None else [pathlib.Path(FLAGS.before).resolve(), ROOT]
    wanted = {
        name: arguments
        for name, arguments in commands(data.folder(FLAGS.work_dir)).items()
        if not FLAGS.cases or any(word in name for word in FLAGS.cases)
    }
    turns: dict[str, list[list[Taken]]] = {name: [[] for _ in roots] for name in wanted}
    for root in roots:  # Bytecode is there for whoever has run a command once.
        subprocess.run([FLAGS.python, "-m", "compileall", "-q", str(root / "cloudtf")])
    for number in range(FLAGS.rounds):
        for name, arguments in wanted.items():
            order = range(len(roots)) if number % 2 == 0 else reversed(range(len(roots)))
            for index in order:
                taken = run(arguments, roots[index])
                print(f"{name}: {taken.cpu:.2f} s of CPU", file=sys.stderr, flush=True)
                turns[name][index].append(taken)
    rows, ratios = [], []
    for name, found in turns.items():
        cells = [name]
        for part in ("cpu", "wall"):
            medians = [float(np.median([getattr(one, part) for one in of])) for of in found]
            cells += [f"{median:.2f}" for median in medians]
        rows.append(tuple(cells))
        if len(roots) == 2:
            pairs = np.array([new.cpu / old.cpu for old, new in zip(*found)])
            ratios.append(harness.ratio_of_pairs(f"{name}, CPU after / before", pairs))
    kinds = ("",) if len(roots) == 1 else (" before", " after")
    header = ("command", *(f"{p}, s{kind}" for p in ("CPU", "wall") for kind in kinds))
    facts = harness.machine()
    print(harness.describe(facts), "\n")
    print(harness.table(header, rows), "\n")
    if ratios:
        print(harness.ratios_table(ratios))
    harness.write_json({"benchmark": "startup", "machine": facts, "turns": turns})


if __name__ == "__main__":
    harness.run(main)
