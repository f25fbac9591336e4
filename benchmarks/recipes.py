"""What each option of training is worth: an ablation over sets and seeds, behind docs/RECIPE.md.

    python benchmarks/recipes.py --results=recipes.jsonl --work_dir=/tmp/sets --until=23:55
    python benchmarks/recipes.py --results=recipes.jsonl --write=docs/RECIPE.md

Every row of a study (`STUDIES`) changes some flags of the study's base, at the same budget. A run
is a process of its own; its best epoch is chosen on val, and what is reported is measured once, on
test, which no choice has seen (or, of a study of last epochs, on val, with no choice at all). A
line a run is added to --results; what is there already is not run again, so the command may be
stopped and begun anew at any time. With PYTHONPATH naming another checkout the code does not change
under the runs; its commit is in every line.

The tables give the mean over the seeds of the mean PR-AUC of the classes, the deviation over the
seeds, and the CPU time of the training without the imports (some 5 s). The difference to the base
is that of pairs (set, seed), with its 95% interval (Student's t).
"""

from __future__ import annotations

import csv
import dataclasses
import datetime
import json
import multiprocessing
import os
import pathlib
import subprocess
import sys
import tempfile
import time
from typing import Any, Iterator, NamedTuple

import harness
import numpy as np
import real_sets
from absl import flags
from scipy import stats

import cloudtf
from cloudtf.data import records
from cloudtf.data.convert import ConvertConfig, convert
from cloudtf.diagnosis import timing
from cloudtf.synthetic.synthesize import KAGGLE_COUNTS, SynthesizeConfig, synthesize

FLAGS = flags.FLAGS
CLOUDS = 1200
_BEGIN, _END = "<!-- written by benchmarks/recipes.py -->", "<!-- end -->"


@dataclasses.dataclass(frozen=True)
class Study:
    """Rows that are compared with one base.

    Attributes:
      title: the heading of its table.
      size: rows and columns of the images.
      base: the flags of the base.
      rows: for each row the flags that it adds or changes. Two words among them are none:
        `size=128`, of the records; `folds`, which trains a model a fold and takes the mean of their
        scores.
      sets: the sets on which it runs.
      last: what is compared is the model after the last epoch, on val, of which nothing is chosen;
        else the best epoch's, on test.
    """

    title: str
    size: int
    base: str
    rows: dict[str, str]
    sets: tuple[str, ...] = ("clouds", "earth", "emoji")
    last: bool = False


class Run(NamedTuple):
    """One training of a study: the row's name is empty for the base."""

    study: str
    row: str
    set: str
    size: int
    seed: int
    flags: tuple[str, ...]
    folds: bool


_ALWAYS = (
    "--strategy=cpu --train_metric_examples=0 --tensorboard=false --early_stopping_patience=99"
)
_LITE0 = f"{_ALWAYS} --model=efficientnetlite0 --weights=imagenet"

STUDIES: dict[str, Study] = {
    "head": Study(
        "The head alone, on frozen ImageNet features",
        64,
        f"{_LITE0} --head=features --epochs=0",
        {
            "epochs: three of Adam": "--head=epochs --head_epochs=3 --head_learning_rate=1e-2 "
            "--optimizer=adam",
            "four views": "--feature_views=4",
            "96 pixels": "size=96",
            "128 pixels": "size=128",
            "128 pixels and the mean of five folds": "size=128 folds",
        },
    ),
    "finetune": Study(
        "Fine-tuning all layers for 66 steps, after the head on features",
        64,
        f"{_LITE0} --head=features --steps_per_epoch=66 --epochs=1 --optimizer=adamw "
        "--schedule=cosine --learning_rate=1e-4",
        {
            "batch norm trained too": "--freeze_batch_norm=false",
            "average of weights": "--ema=0.95",
            "mixup 0.2": "--mixup=0.2",
            "cutmix 1": "--cutmix=1",
            "no augmentation": "--augmentations=",
            "flips alone": "--augmentations=vertical_flip,horizontal_flip",
            "lower layers slower": "--layer_decay=0.8",
            "label smoothing 0.1": "--label_smoothing=0.1",
            "asymmetric loss": "--loss=asymmetric",
            "focal loss": "--loss=focal",
            "effective positive weights": "--positive_weights=effective",
            "crops": "--augmentations=vertical_flip,horizontal_flip,rotation,crop",
            "erasing": "--augmentations=vertical_flip,horizontal_flip,rotation,grid_distortion,"
            "erase",
            "two at random of eight": "--augment_ops=2 --augmentations=vertical_flip,"
            "horizontal_flip,rotation,grid_distortion,scale,shift,shear,crop",
            "clipping to norm 1": "--clip_norm=1",
            "RAdam, linear schedule": "--optimizer=radam --schedule=linear",
            "RAdam, linear schedule, rate 3e-4": "--optimizer=radam --schedule=linear "
            "--learning_rate=3e-4",
            "rate 5e-4": "--learning_rate=5e-4",
            "rate 3e-5": "--learning_rate=3e-5",
        },
        last=True,
    ),
    "recipe": Study(
        "flags/finetune.flags at 128 pixels",
        128,
        f"--flagfile=flags/finetune.flags {_ALWAYS}",
        {
            "the head alone": "--epochs=0",
            "RAdam, linear schedule, rate 3e-4": "--optimizer=radam --schedule=linear "
            "--learning_rate=3e-4",
            "ten epochs": "--epochs=10",
            "the mean of five folds of ten epochs": "--epochs=10 folds",
        },
    ),
    "scratch": Study(
        "From random weights, 8 epochs",
        64,
        f"{_ALWAYS} --model=efficientnetb0 --weights=none --epochs=8",
        {
            "the demo's rate, 12 epochs": "--epochs=12 --learning_rate=6e-3 --warmup_proportion=0",
            "the demo's rate and cosine": "--learning_rate=6e-3 --warmup_proportion=0 "
            "--schedule=cosine",
            "AdamW and cosine": "--optimizer=adamw --schedule=cosine --learning_rate=3e-3",
            "AdamW and cosine, 12 epochs": "--epochs=12 --optimizer=adamw --schedule=cosine "
            "--learning_rate=3e-3",
            "average of weights": "--ema=0.98",
            "mixup 0.2": "--mixup=0.2",
            "no augmentation": "--augmentations=",
            "crops": "--augmentations=vertical_flip,horizontal_flip,rotation,crop",
            "clipping to norm 1": "--clip_norm=1",
        },
    ),
}


def records_of(name: str, size: int, folds: bool) -> str:
    """The records of a set, made at the first call: train, val and test, or folds and test."""
    work_dir = FLAGS.work_dir or real_sets.CACHE
    if name != "clouds":
        return real_sets.converted(name, work_dir, size, folds)
    folder = os.path.join(work_dir, "clouds-hard")
    path = f"{folder}-{size}{'-folds' if folds else ''}"
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
                    labels_csv=_with_splits(folder, folds),
                    images_dir=os.path.join(folder, "train_images"),
                    output_dir=path,
                    image_height=size,
                    image_width=size,
                    split_column="split",
                    overwrite=True,
                )
            )
    return path


def _with_splits(folder: str, folds: bool) -> str:
    """A table of the clouds' labels with a column `split`: of six images the last is of test."""
    labels: dict[str, dict[str, Any]] = {}
    with open(os.path.join(folder, "train.csv"), encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            image, name = row["Image_Label"].rsplit("_", 1)
            labels.setdefault(image, {"image": image})[name] = int(bool(row["EncodedPixels"]))
    path = os.path.join(folder, "folds.csv" if folds else "labels.csv")
    with open(path, "w", encoding="utf-8", newline="") as file:
        rows = csv.DictWriter(file, ("image", "split", *KAGGLE_COUNTS))
        rows.writeheader()
        for index, row in enumerate(labels.values()):
            split = "val" if index % 6 == 4 else "train"
            if folds:
                split = f"fold{index % real_sets.NUM_FOLDS}"
            rows.writerow({**row, "split": "test" if index % 6 == 5 else split})
    return path


def wanted() -> Iterator[Run]:
    """The runs of all studies, or of those of --only: all rows with the first seed, and so on."""
    for seed in map(int, FLAGS.seeds):
        for study_name, study in STUDIES.items():
            for row, changes in {"": "", **study.rows}.items():
                if FLAGS.only and not {study_name, f"{study_name}/{row}"} & set(FLAGS.only):
                    continue
                words = f"{study.base} {changes}".split()
                given = tuple(word for word in words if word.startswith("--"))
                sizes = [int(word[5:]) for word in words if word.startswith("size=")]
                size, folds = (sizes or [study.size])[-1], "folds" in words
                for set_name in [name for name in study.sets if name in FLAGS.sets]:
                    yield Run(study_name, row, set_name, size, seed, given, folds)


def key(run: dict[str, Any]) -> tuple:
    """What tells one run of another."""
    return (*(run[name] for name in ("study", "row", "set", "size", "seed")), *run["flags"])


def measured() -> list[dict[str, Any]]:
    """The lines of --results."""
    if not os.path.exists(FLAGS.results):
        return []
    lines = pathlib.Path(FLAGS.results).read_text(encoding="utf-8").splitlines()
    return [json.loads(line) for line in lines]


def measure(run: Run) -> dict[str, Any]:
    """Trains and scores in a process of its own, whose imports are those of one that it copies.

    Raises:
      RuntimeError: it failed; the message is what it said last.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["cloudtf.training.train", "cloudtf.commands.app"])
    with tempfile.TemporaryDirectory() as folder:
        arguments = [
            *run.flags,
            f"--data_dir={os.path.abspath(records_of(run.set, run.size, run.folds))}",
            f"--run_dir={os.path.join(folder, 'run')}",
            f"--seed={run.seed}",
        ]
        process = context.Process(target=_train, args=(arguments, folder, run.folds))
        process.start()
        process.join()
        result, output = (pathlib.Path(folder, name) for name in ("found.json", "output.txt"))
        if not result.exists():
            raise RuntimeError(output.read_text(encoding="utf-8").strip().splitlines()[-1])
        return {**run._asdict(), **json.loads(result.read_text(encoding="utf-8"))}


def _train(arguments: list[str], folder: str, folds: bool) -> None:
    """Trains, then scores the test images with the best model; CPU time is that of the training."""
    with open(os.path.join(folder, "output.txt"), "wb") as output:
        for stream in (1, 2):
            os.dup2(output.fileno(), stream)
    from cloudtf.commands import app
    from cloudtf.evaluation import pr_auc, scoring
    from cloudtf.model import classifier
    from cloudtf.training.config import TrainConfig

    os.chdir(os.path.dirname(os.path.dirname(cloudtf.__file__)))  # For flagfiles.
    config, seconds = app.parse(TrainConfig, arguments), 0.0
    data = cloudtf.open_dataset(config.data_dir)
    results, scores = [], []
    for fold in range(real_sets.NUM_FOLDS) if folds else [None]:
        run_dir, before = f"{config.run_dir}-{fold}", time.process_time()
        results.append(cloudtf.train(dataclasses.replace(config, run_dir=run_dir, fold=fold)))
        seconds += time.process_time() - before
        model = classifier.read(os.path.join(run_dir, "best.keras")).model
        scores.append(scoring.Scorer(model).dataset(data.batches("test", batch_size=64)))
    mean = np.mean([found.scores for found in scores], axis=0)
    judged = pr_auc.score(scores[0].labels, mean, data.classes)
    found = {
        "test": judged.mean_pr_auc,
        "classes": judged.pr_auc,
        "val_epochs": [[row["val_pr_auc_mean"] for row in r.history] for r in results],
        "cpu_seconds": seconds,
    }
    with open(os.path.join(folder, "found.json"), "w", encoding="utf-8") as file:
        json.dump(found, file)


def measure_all() -> None:
    """Runs what is not in --results yet, until --until."""
    done = {key(line) for line in measured()}
    git = ["git", "-C", os.path.dirname(cloudtf.__file__)]
    commit = subprocess.check_output([*git, "rev-parse", "--short", "HEAD"], text=True).strip()
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
            line = {**measure(run), "commit": commit}
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
        for row, changes in {"": "", **study.rows}.items():
            found = [line for line in of_study if line["row"] == row]
            if found:
                cells = [
                    _cell([_score(line) for line in found if line["set"] == set_name])
                    for set_name in study.sets
                ]
                named = f"{row}: `{changes}`" if row else "the base"
                rows.append((named, *cells, _seconds(found), _difference(found, base)))
        if rows:
            header = ("", *study.sets, "CPU, s", "against the base")
            flags_shown = study.base.replace(_ALWAYS, "").strip()
            what = "the model after the last epoch, on val" if study.last else "the best, on test"
            parts.append(f"### {study.title}\n\n`{flags_shown}`, {study.size} pixels; {what}\n\n")
            parts.append(harness.table(header, rows) + "\n\n")
    return "".join(parts)


def _score(line: dict[str, Any]) -> float:
    """The mean PR-AUC by which a run is compared."""
    return line["val_epochs"][-1][-1] if STUDIES[line["study"]].last else line["test"]


def _cell(values: list[float]) -> str:
    """Mean and deviation over the seeds."""
    if not values:
        return ""
    spread = f" ± {np.std(values, ddof=1):.4f}" if len(values) > 1 else ""
    return f"{np.mean(values):.4f}{spread}" + ("" if len(values) >= 3 else f" ({len(values)})")


def _seconds(lines: list[dict[str, Any]]) -> str:
    return f"{np.median([line['cpu_seconds'] for line in lines]):.0f}"


def _difference(lines: list[dict[str, Any]], base: dict[tuple, dict[str, Any]]) -> str:
    """The mean difference over pairs (set, seed), and its interval."""
    pairs = [
        _score(line) - _score(base[line["set"], line["seed"]])
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
    """Measures, or writes the tables between the two comments that mark their place."""
    if FLAGS.write is None:
        measure_all()
        return
    document = pathlib.Path(FLAGS.write)
    before, _, rest = document.read_text(encoding="utf-8").partition(_BEGIN)
    _, _, after = rest.partition(_END)
    document.write_text(f"{before}{_BEGIN}\n\n{tables()}{_END}{after}", encoding="utf-8")


if __name__ == "__main__":
    flags.DEFINE_string("results", "recipes.jsonl", "File of the runs, a line each.")
    flags.DEFINE_string("until", None, "Time of day, HH:MM, after which no run begins.")
    flags.DEFINE_list("sets", ["clouds", "earth", "emoji"], "Sets to run on.")
    flags.DEFINE_list("seeds", ["0", "1", "2"], "Seeds of the training.")
    flags.DEFINE_list("only", [], "Studies, or STUDY/ROW, to run.")
    flags.DEFINE_string("write", None, "Measure nothing; write the tables into this document.")
    harness.run(main)
