"""Kills training runs with SIGKILL, again and again, and compares their results.

    python benchmarks/soak.py --kills=100 --max_minutes=60 --json=soak.json

A run of a small network is made once without being killed. Then the same run is made in other
folders by processes that are killed at moments from a seeded generator, and started again with the
same command until it ends. Three kinds of moments take turns:

- `operation`: just before the n-th time that Python opens, renames, lists or removes something in
  the run folder;
- `writing`: up to 30 ms after a temporary file or folder has been begun there, which TensorFlow and
  HDF5 fill without Python's knowing;
- `time`: any time between the start of training and the run's end.

At the end all must be equal to the bit: checkpoint, best model, best.json, history.csv but for its
speeds. And no start may go on from an earlier step than a checkpoint had before it.
"""

from __future__ import annotations

import csv
import dataclasses
import importlib
import json
import multiprocessing
import os
import pathlib
import select
import shutil
import signal
import sys
import tempfile
import time
import zipfile
from typing import Any, Optional

import data
import h5py
import harness
import numpy as np
from absl import flags

FLAGS = flags.FLAGS
flags.DEFINE_integer("kills", 100, "Kills, over all runs.", lower_bound=1)
flags.DEFINE_float("max_minutes", 60.0, "No kill after so long; runs under way are ended.")
flags.DEFINE_integer("processes", 2, "Runs at a time.", lower_bound=1)
flags.DEFINE_integer("seed", 0, "Keys the moments of the kills.")
flags.DEFINE_string("data_dir", None, "Records to train on: 48 examples.")

# 48 examples, 6 steps an epoch: 12 steps of the head, then 24 of the whole network.
RUN = (
    "--model=tiny", "--weights=none", "--batch_size=8", "--head_epochs=2", "--epochs=4",
    "--learning_rate=0.02", "--head_learning_rate=0.02", "--dropout=0.3", "--plateau_patience=1",
    "--early_stopping_patience=50", "--deterministic", "--checkpoint_every=2", "--notensorboard",
    "--strategy=cpu",
)  # fmt: skip
# What a run imports, most of it slowly.
_IMPORTS = (
    "cloudtf.training.train",
    "cloudtf.model.rectified_adam",
    "matplotlib.pyplot",
    "sklearn.metrics",
)
KINDS = ("operation", "writing", "time")
_WATCHED = ("open", "os.mkdir", "os.rename", "os.remove", "os.rmdir", "os.listdir", "shutil.rmtree")
# A run that is killed more often is left to end, so that each has its turn of being compared.
_KILLS_A_RUN = 20
# Seconds after which a process counts as hung.
_PATIENCE = 1800.0


@dataclasses.dataclass(frozen=True)
class Moment:
    """When to kill.

    Attributes:
      kind: `operation`, `writing` or `time`.
      event: the number of the event in the run folder after which the clock starts; for the kind
        `operation` the killing one itself.
      delay: seconds from that event to the kill.
    """

    kind: str
    event: int
    delay: float

    def counts(self, path: str) -> bool:
        """Whether something that happens to a path is an event."""
        return self.kind != "writing" or ".tmp" in path


def draw(random: np.random.Generator, number: int, seconds: float) -> Moment:
    """The moment for the kill of that number; a run never killed takes so many seconds."""
    kind = KINDS[number % len(KINDS)]
    if kind == "operation":
        return Moment(kind, int(random.integers(1, 150)), 0.0)
    if kind == "writing":
        return Moment(kind, int(random.integers(1, 40)), float(random.uniform(0, 0.03)))
    return Moment(kind, 1, float(random.uniform(0, 0.7 * seconds)))


def start(
    arguments: list[str], run_dir: str, log: str, moment: Optional[Moment] = None
) -> tuple[int, float]:
    """Runs `cloudtf train` in a forked process and kills it, if it lives until the moment.

    Returns:
      Its exit status, or minus the signal that killed it, and the seconds since its first event.
    """
    ours, theirs = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(ours)
        _train(arguments, run_dir, log, moment, theirs)
    os.close(theirs)
    began = time.monotonic()
    # The pipe says when the clock starts; and it closes when the process ends.
    if select.select([ours], [], [], _PATIENCE)[0] and os.read(ours, 1):
        began = time.monotonic()
        wait = moment.delay if moment else _PATIENCE
    else:
        wait = 0.0
    select.select([ours], [], [], wait)
    if moment or time.monotonic() - began >= _PATIENCE:
        os.kill(child, signal.SIGKILL)  # A process that has ended stays until it is waited for.
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    os.close(ours)
    return status, time.monotonic() - began


def _train(
    arguments: list[str], run_dir: str, log: str, moment: Optional[Moment], pipe: int
) -> None:
    """The life of the forked process."""
    seen, first = 0, moment or Moment("time", 1, 0.0)

    def watch(event: str, given: tuple) -> None:
        nonlocal seen
        if event not in _WATCHED or not str(given[0]).startswith(run_dir):
            return
        if first.counts(str(given[0])):
            seen += 1
            if seen == first.event:
                if first.kind == "operation":
                    os.kill(os.getpid(), signal.SIGKILL)
                os.write(pipe, b"!")

    descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    os.dup2(descriptor, 1)
    os.dup2(descriptor, 2)
    sys.addaudithook(watch)
    status = 99
    try:
        from cloudtf.commands import app

        status = app.main(["train", *arguments])
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


def lane(
    number: int, kills: int, deadline: float, records: str, unbroken: str, seconds: float, seed: int
) -> dict[str, Any]:
    """Makes runs one after the other until there were `kills` kills or the deadline is past.

    Returns:
      What happened: `kills` (a dict each), `runs`, `starts`, `lost` and `differences` (sentences).
    """
    random = np.random.default_rng([seed, number])
    found: dict[str, Any] = {"kills": [], "runs": 0, "starts": 0, "lost": [], "differences": []}
    while len(found["kills"]) < kills and time.monotonic() < deadline:
        run_dir = f"{os.path.dirname(unbroken)}/run-{number}-{found['runs']}"
        log, here, step = f"{run_dir}.log", 0, -1
        while True:
            may_kill = here < _KILLS_A_RUN and len(found["kills"]) < kills
            moment = None
            if may_kill and time.monotonic() < deadline:
                moment = draw(random, len(found["kills"]), seconds)
            found["starts"] += 1
            status, _ = start(_flags(records, run_dir), run_dir, log, moment)
            now = last_step(run_dir)
            if now < step:
                found["lost"].append(f"{run_dir}: step {step}, then {now}")
            step = now
            if status != -signal.SIGKILL or moment is None:
                break
            here += 1
            half = [p.name for p in pathlib.Path(run_dir).rglob("*") if ".tmp" in p.name]
            found["kills"].append({**dataclasses.asdict(moment), "step": step, "half": half})
        found["runs"] += 1
        if status:
            hung = "did not end" if status == -signal.SIGKILL else f"ended with status {status}"
            found["differences"].append(f"{run_dir}: {hung}, see {log}")
            continue
        if "Traceback" in pathlib.Path(log).read_text(encoding="utf-8"):
            found["differences"].append(f"{run_dir}: a traceback in {log}")
        differences = compare(run_dir, unbroken)
        found["differences"] += differences
        if not differences:
            shutil.rmtree(run_dir)
    return found


def _flags(records: str, run_dir: str) -> list[str]:
    return [f"--data_dir={records}", f"--run_dir={run_dir}", *RUN]


def last_step(run_dir: str) -> int:
    """The step of the last whole checkpoint; -1 without any."""
    from cloudtf.training.checkpoints import CheckpointFolder

    found = CheckpointFolder(run_dir).latest()
    return found[1].total_steps if found else -1


def compare(run_dir: str, other_dir: str) -> list[str]:
    """What differs between two finished runs."""
    wrong = []
    for name, content in contents(other_dir).items():
        if contents(run_dir).get(name) != content:
            wrong.append(f"{run_dir}: {name} differs from {other_dir}")
    left = [p.name for p in pathlib.Path(run_dir).rglob("*") if ".tmp" in p.name]
    return wrong + [f"{run_dir}: {name} is left over" for name in left]


def contents(run_dir: str) -> dict[str, Any]:
    """All that must be the same to the bit."""
    folder, found = pathlib.Path(run_dir), {}
    found["best.json"] = (folder / "best.json").read_bytes()
    with (folder / "history.csv").open(newline="") as file:
        rows = [
            {name: cell for name, cell in row.items() if "second" not in name}
            for row in csv.DictReader(file)
        ]
    found["history.csv"] = rows
    (checkpoint,) = (folder / "checkpoints").iterdir()
    found["checkpoint"] = checkpoint.name
    for path in sorted(checkpoint.glob("weights.*")):
        found[path.name] = path.read_bytes()
    state = json.loads((checkpoint / "state.json").read_text())
    del state["sha256"]  # Of all that follows, speeds and folders too.
    for row in state["callback"]["rows"]:
        for name in [name for name in row if "second" in name]:
            del row[name]
    del state["settings"]["run_dir"]
    found["state.json"] = state
    with zipfile.ZipFile(folder / "best.keras") as archive:
        found["the best model's figures"] = archive.read("cloudtf.json")
        with archive.open("model.weights.h5") as member, h5py.File(member) as weights:
            arrays: dict[str, bytes] = {}
            weights.visititems(
                lambda name, item: (
                    arrays.update({name: item[()].tobytes()})
                    if isinstance(item, h5py.Dataset)
                    else None
                )
            )
    found["the best model's weights"] = arrays
    return found


def _make_records(work_dir: str) -> str:
    return data.converted(data.photographs(work_dir, 60, 160, 240), 32, val_fraction=0.2)


def main() -> None:
    """Kills and reports; exits with status 1 if anything was lost or differs."""
    facts, began = harness.machine(), time.monotonic()
    deadline = began + 60 * FLAGS.max_minutes
    records = FLAGS.data_dir
    if records is None:
        records = harness.in_process(_make_records, work_dir=data.folder(FLAGS.work_dir))
    # Imported once, before any fork; nothing of TensorFlow is started in this process.
    for name in _IMPORTS:
        importlib.import_module(name)

    folder = tempfile.mkdtemp(prefix="soak-", dir=data.folder(FLAGS.work_dir))
    unbroken = f"{folder}/unbroken"
    status, seconds = start(_flags(records, unbroken), unbroken, f"{unbroken}.log")
    if status:
        sys.exit(f"The run without kills ended with status {status}, see {unbroken}.log.")
    shares = [
        FLAGS.kills // FLAGS.processes + (number < FLAGS.kills % FLAGS.processes)
        for number in range(FLAGS.processes)
    ]
    with multiprocessing.get_context("fork").Pool(FLAGS.processes) as pool:
        waiting = [
            (number, share, deadline, records, unbroken, seconds, FLAGS.seed)
            for number, share in enumerate(shares)
        ]
        lanes = pool.starmap(lane, waiting, chunksize=1)
    kills = [kill for found in lanes for kill in found["kills"]]
    result = {
        "kills": len(kills),
        "kills_by_kind": {kind: sum(k["kind"] == kind for k in kills) for kind in KINDS},
        "kills_with_a_half_written_file": sum(bool(k["half"]) for k in kills),
        "kills_before_the_first_checkpoint": sum(k["step"] < 0 for k in kills),
        "kills_in_the_head_stage": sum(0 <= k["step"] < 12 for k in kills),
        "kills_in_the_whole_network": sum(k["step"] >= 12 for k in kills),
    }
    for name in ("runs", "starts"):
        result[name] = sum(found[name] for found in lanes)
    for name in ("lost", "differences"):
        result[name] = [sentence for found in lanes for sentence in found[name]]
    result["minutes"] = round((time.monotonic() - began) / 60, 1)
    print(harness.describe(facts), "\n")
    rows = []
    for name, value in result.items():
        if isinstance(value, dict):
            rows += [(f"of them {kind}", count) for kind, count in value.items()]
        else:
            rows.append((name.replace("_", " "), len(value) if isinstance(value, list) else value))
    print(harness.table(("what", "number"), rows))
    for sentence in [*result["lost"], *result["differences"]]:
        print(sentence)
    harness.write_json({"benchmark": "soak", "machine": facts, **result, "all_kills": kills})
    if result["lost"] or result["differences"]:
        sys.exit(1)
    shutil.rmtree(folder)


if __name__ == "__main__":
    harness.run(main)
