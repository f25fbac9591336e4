"""What each option of training is worth: an ablation over sets and seeds, behind docs/RECIPE.md.

    python benchmarks/recipes.py --results=recipes.jsonl --work_dir=/tmp/sets --until=23:55
    python benchmarks/recipes.py --results=recipes.jsonl --tables

Every row of a study (`STUDIES`) changes some flags of the study's base, at the same budget. A run
is a process of its own; its best epoch is chosen on val, and what is reported is measured once, on
test, which no choice has seen. A line a run is added to --results; what is there already is not run
again, so the command may be stopped and begun anew at any time. --code names another checkout whose
cloudtf is run, so that the code does not change under the runs; its commit is in every line.

The tables give the mean over the seeds of the mean PR-AUC of the classes, the deviation over the
seeds, and the CPU time of the whole process, start-up included. The difference to the base is that
of pairs (set, seed), with its 95% interval (Student's t).
"""

from __future__ import annotations

import csv
import dataclasses
import datetime
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import time
from typing import Any, Iterable, Iterator, NamedTuple

import harness
import numpy as np
import real_sets
from absl import flags
from scipy import stats

from cloudtf.data import records
from cloudtf.data.convert import ConvertConfig, convert
from cloudtf.diagnosis import timing
from cloudtf.synthetic.synthesize import KAGGLE_COUNTS, SynthesizeConfig, synthesize

FLAGS = flags.FLAGS
ROOT = pathlib.Path(__file__).resolve().parents[1]
SEEDS = (0, 1, 2)
CLOUDS = 1200


@dataclasses.dataclass(frozen=True)
class Study:
    """Rows that are compared with one base.

    Attributes:
      title: the heading of its table.
      size: rows and columns of the images.
      base: the flags of the base.
      rows: for each row the flags that it adds or changes; `size=128` among them is of the records.
      sets: the sets on which it runs.
    """

    title: str
    size: int
    base: str
    rows: dict[str, str]
    sets: tuple[str, ...] = ("clouds", "earth", "emoji")


class Run(NamedTuple):
    """One training of a study: the row's name is empty for the base."""

    study: str
    row: str
    set: str
    size: int
    seed: int
    flags: tuple[str, ...]


_ALWAYS = (
    "--strategy=cpu --train_metric_examples=0 --tensorboard=false --early_stopping_patience=99"
)
_LITE0 = f"{_ALWAYS} --model=efficientnetlite0 --weights=imagenet"

STUDIES: dict[str, Study] = {
    "scratch": Study(
        "From random weights: 264 steps",
        64,
        f"{_ALWAYS} --model=efficientnetlite0 --weights=none --batch_norm_momentum=0.9 "
        "--steps_per_epoch=33 --epochs=8 --learning_rate=6e-3 --warmup_proportion=0",
        {
            "rate 3e-4 (the default)": "--learning_rate=3e-4 --warmup_proportion=0.1",
            "AdamW, cosine": "--optimizer=adamw --schedule=cosine --learning_rate=3e-3 "
            "--warmup_proportion=0.1",
            "no augmentation": "--augmentations=",
            "flips alone": "--augmentations=vertical_flip,horizontal_flip",
            "with crops": "--augmentations=vertical_flip,horizontal_flip,rotation,crop",
            "with erasing": "--augmentations=vertical_flip,horizontal_flip,rotation,"
            "grid_distortion,erase",
            "two at random of eight": "--augment_ops=2 --augmentations=vertical_flip,"
            "horizontal_flip,rotation,grid_distortion,scale,shift,shear,crop",
            "clipping to norm 1": "--clip_norm=1",
        },
    ),
}

# Trains, then scores the test images with the best model; CPU time is read in between.
_TRAIN = """
import json, os, sys, time
began = time.perf_counter()
from cloudtf.commands import app
from cloudtf.training.config import TrainConfig
config = app.parse(TrainConfig, sys.argv[2:])
from cloudtf.training.train import train
import cloudtf
result = train(config)
used = os.times()
found = {
    "best_epoch": result.best["epoch"],
    "val": result.best["pr_auc"]["mean"],
    "cpu_seconds": used.user + used.system,
    "wall_seconds": time.perf_counter() - began,
}
from cloudtf.evaluation import pr_auc, scoring
from cloudtf.model import classifier
model = classifier.read(os.path.join(config.run_dir, "best.keras"))
data = cloudtf.open_dataset(config.data_dir)
for key, flips in (("test", False), ("test_flips", True)):
    scores = scoring.Scorer(model.model, flips=flips).dataset(data.batches("test", batch_size=64))
    judged = pr_auc.score(scores.labels, scores.scores, data.classes)
    found[key] = judged.mean_pr_auc
    if not flips:
        found["classes"] = judged.pr_auc
with open(sys.argv[1], "w") as file:
    json.dump(found, file)
"""


def records_of(name: str, size: int) -> str:
    """The records of a set with splits train, val and test; made at the first call."""
    work_dir = FLAGS.work_dir or real_sets.CACHE
    if name != "clouds":
        return real_sets.converted(name, work_dir, size)
    folder = os.path.join(work_dir, "clouds-hard")
    path = f"{folder}-{size}"
    if not os.path.exists(os.path.join(path, records.MANIFEST_NAME)):
        with timing.quiet():
            if not os.path.exists(os.path.join(folder, "sample_submission.csv")):
                synthesize(
                    SynthesizeConfig(
                        output_dir=folder,
                        num_images=CLOUDS,
                        num_test_images=0,
                        image_height=200,
                        image_width=300,
                        difficulty=1.0,
                    )
                )
            convert(
                ConvertConfig(
                    labels_csv=_with_splits(folder),
                    images_dir=os.path.join(folder, "train_images"),
                    output_dir=path,
                    image_height=size,
                    image_width=size,
                    split_column="split",
                    overwrite=True,
                )
            )
    return path


def _with_splits(folder: str) -> str:
    """A table of the clouds' labels with a column `split`: of six images four, one and one."""
    labels: dict[str, dict[str, Any]] = {}
    with open(os.path.join(folder, "train.csv"), encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            image, name = row["Image_Label"].rsplit("_", 1)
            labels.setdefault(image, {"image": image})[name] = int(bool(row["EncodedPixels"]))
    path = os.path.join(folder, "labels.csv")
    with open(path, "w", encoding="utf-8", newline="") as file:
        rows = csv.DictWriter(file, ("image", "split", *KAGGLE_COUNTS))
        rows.writeheader()
        for index, row in enumerate(labels.values()):
            rows.writerow({**row, "split": {4: "val", 5: "test"}.get(index % 6, "train")})
    return path


def wanted() -> Iterator[Run]:
    """The runs of all studies, or of those of --only: all rows with the first seed, and so on."""
    for seed in SEEDS:
        for study_name, study in STUDIES.items():
            for row, changes in {"": "", **study.rows}.items():
                if FLAGS.only and not {study_name, f"{study_name}/{row}"} & set(FLAGS.only):
                    continue
                words = f"{study.base} {changes}".split()
                size = ([study.size] + [int(w[5:]) for w in words if w.startswith("size=")])[-1]
                given = tuple(w for w in words if not w.startswith("size="))
                for set_name in [name for name in study.sets if name in FLAGS.sets]:
                    yield Run(study_name, row, set_name, size, seed, given)


def key(run: dict[str, Any]) -> tuple:
    """What tells one run of another."""
    return tuple(tuple(run[name]) if name == "flags" else run[name] for name in Run._fields)


def measured() -> list[dict[str, Any]]:
    """The lines of --results."""
    if not os.path.exists(FLAGS.results):
        return []
    lines = pathlib.Path(FLAGS.results).read_text(encoding="utf-8").splitlines()
    return [json.loads(line) for line in lines]


def measure(run: Run, commit: str) -> dict[str, Any]:
    """Trains and scores in a process of its own.

    Raises:
      RuntimeError: it failed; the message is what it said last.
    """
    with tempfile.TemporaryDirectory() as folder:
        output = os.path.join(folder, "found.json")
        command = [
            sys.executable,
            "-c",
            _TRAIN,
            output,
            *run.flags,
            f"--data_dir={records_of(run.set, run.size)}",
            f"--run_dir={os.path.join(folder, 'run')}",
            f"--seed={run.seed}",
        ]
        environment = {**os.environ, "PYTHONPATH": FLAGS.code}
        done = subprocess.run(command, env=environment, capture_output=True, encoding="utf-8")
        if done.returncode:
            raise RuntimeError((done.stdout + done.stderr).strip().splitlines()[-1])
        with open(output, encoding="utf-8") as file:
            return {**run._asdict(), **json.load(file), "commit": commit}


def measure_all() -> None:
    """Runs what is not in --results yet, until --until."""
    done = {key(line) for line in measured()}
    git = ["git", "-C", FLAGS.code]
    commit = subprocess.check_output([*git, "rev-parse", "--short", "HEAD"], text=True).strip()
    if subprocess.check_output([*git, "status", "--porcelain", "cloudtf"], text=True):
        commit += "+"
    failed = set()
    for run in wanted():
        if key(run._asdict()) in done or (run.study, run.row) in failed:
            continue
        if FLAGS.until and f"{datetime.datetime.now():%H:%M}" >= FLAGS.until:
            print(f"It is {FLAGS.until}; the same command goes on.", file=sys.stderr)
            return
        began = time.perf_counter()
        name = f"{run.study}/{run.row or 'base'}, {run.set}, seed {run.seed}"
        try:
            line = measure(run, commit)
        except RuntimeError as error:
            failed.add((run.study, run.row))
            print(f"{name}: {error}", file=sys.stderr, flush=True)
            continue
        with open(FLAGS.results, "a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")
        print(
            f"{name}: {line['test']:.4f}, {line['cpu_seconds']:.0f} s of CPU, "
            f"{time.perf_counter() - began:.0f} s",
            file=sys.stderr,
            flush=True,
        )


def tables() -> str:
    """A table of each study, of what is measured."""
    lines, parts = measured(), []
    for name, study in STUDIES.items():
        of_study = [line for line in lines if line["study"] == name]
        base = {(line["set"], line["seed"]): line for line in of_study if not line["row"]}
        rows = []
        for row in ("", *study.rows):
            found = [line for line in of_study if line["row"] == row]
            if found:
                cells = [_cell(line for line in found if line["set"] == s) for s in study.sets]
                rows.append((row or "base", *cells, _seconds(found), _difference(found, base)))
        if rows:
            header = ("", *study.sets, "CPU, s", "to the base")
            parts.append(f"### {study.title}\n\n`{study.base}`, {study.size} pixels\n\n")
            parts.append(harness.table(header, rows) + "\n\n")
    return "".join(parts)


def _cell(lines: Iterable[dict[str, Any]]) -> str:
    """Mean and deviation over the seeds."""
    values = [line["test"] for line in lines]
    if not values:
        return ""
    spread = f" ± {np.std(values, ddof=1):.4f}" if len(values) > 1 else ""
    return f"{np.mean(values):.4f}{spread}" + ("" if len(values) >= 3 else f" ({len(values)})")


def _seconds(lines: list[dict[str, Any]]) -> str:
    return f"{np.median([line['cpu_seconds'] for line in lines]):.0f}"


def _difference(lines: list[dict[str, Any]], base: dict[tuple, dict[str, Any]]) -> str:
    """The mean difference over pairs (set, seed), and its interval."""
    pairs = [
        line["test"] - base[line["set"], line["seed"]]["test"]
        for line in lines
        if line["row"] and (line["set"], line["seed"]) in base
    ]
    if len(pairs) < 2:
        return ""
    half = stats.t.ppf(0.975, len(pairs) - 1) * stats.sem(pairs)
    mean = np.mean(pairs)
    verdict = "better" if mean > half else "worse" if mean < -half else "no difference shown"
    return f"{mean:+.4f} ± {half:.4f}, {verdict}"


def main() -> None:
    """Measures, or prints the tables."""
    if FLAGS.tables:
        print(tables())
    else:
        measure_all()


if __name__ == "__main__":
    flags.DEFINE_string("results", "recipes.jsonl", "File of the runs, a line each.")
    flags.DEFINE_string("code", str(ROOT), "Checkout whose cloudtf is run.")
    flags.DEFINE_string("until", None, "Time of day, HH:MM, after which no run begins.")
    flags.DEFINE_list("sets", ["clouds", "earth", "emoji"], "Sets to run on.")
    flags.DEFINE_list("only", [], "Studies, or STUDY/ROW, to run.")
    flags.DEFINE_bool("tables", False, "Print the tables of what is measured.")
    harness.run(main)
