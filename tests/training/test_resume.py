"""Runs that are killed, stopped and started again, in processes of their own.

The program train_and_die begins a process a run, which may kill itself with SIGKILL at a given
point; train_under_signals makes several runs in one process, to save time.
"""

from __future__ import annotations

import csv
import json
import os
import pathlib
import re
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from cloudtf.commands import app
from tests import programs

# 48 examples, 6 steps an epoch: 6 steps of the head, then 18 of the whole network.
FLAGS = (
    "--model=tiny",
    "--weights=none",
    "--batch_size=8",
    "--head_epochs=1",
    "--epochs=3",
    "--learning_rate=0.02",
    "--head_learning_rate=0.02",
    "--dropout=0.3",
    "--plateau_patience=1",
    "--deterministic",
    "--checkpoint_every=2",
    "--notensorboard",
)


def start(command, **options):
    return subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, encoding="utf-8", **options
    )


def train_command(arguments):
    return [sys.executable, "-m", "cloudtf", "train", *arguments]


def finish(process, status=0):
    out, err = process.communicate(timeout=240)
    assert process.returncode == status, err
    assert "Traceback" not in err
    return out, err


def arguments_for(records_dir, run_dir, *more):
    return [f"--data_dir={records_dir}", f"--run_dir={run_dir}", *FLAGS, *more]


def checkpoint_names(run_dir):
    folder = pathlib.Path(run_dir, "checkpoints")
    return sorted(os.listdir(folder)) if folder.exists() else []


def history_of(run_dir):
    """The cells of `history.csv`, as text, without the speeds."""
    with (pathlib.Path(run_dir) / "history.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    return [{k: v for k, v in row.items() if "second" not in k} for row in rows]


def assert_same_results(run_dir, other_dir):
    import tensorflow as tf

    from cloudtf.model import saving

    run, other = pathlib.Path(run_dir), pathlib.Path(other_dir)
    assert history_of(run) == history_of(other)
    assert (run / "best.json").read_bytes() == (other / "best.json").read_bytes()
    assert checkpoint_names(run) == checkpoint_names(other) == ["step-000000024-finished"]
    prefixes = [
        str(f / "checkpoints" / "step-000000024-finished" / "weights") for f in (run, other)
    ]
    readers = [tf.train.load_checkpoint(prefix) for prefix in prefixes]
    names = readers[0].get_variable_to_shape_map()
    assert names == readers[1].get_variable_to_shape_map()
    assert any("optimizer" in name and "/m/" in name for name in names), "the moments are in it"
    for name in names:
        values = [reader.get_tensor(name) for reader in readers]
        assert np.array_equal(*values), name
    data = [pathlib.Path(f"{prefix}.data-00000-of-00001").read_bytes() for prefix in prefixes]
    assert data[0] == data[1]
    models = [saving.load_model(str(folder / "best.keras")) for folder in (run, other)]
    for weights in zip(*(model.get_weights() for model in models)):
        assert np.array_equal(*weights)
    infos = [saving.read_info(str(folder / "best.keras")) for folder in (run, other)]
    assert infos[0] == infos[1]
    assert infos[0]["best"] == json.loads((run / "best.json").read_text())


@pytest.fixture(scope="module")
def background(records_dir, tmp_path_factory):
    """Two processes under way while the first test does its kills; see the next two fixtures."""
    folder = tmp_path_factory.mktemp("background")
    unbroken, stopped = str(folder / "unbroken"), str(folder / "stopped")
    arguments = arguments_for(records_dir, stopped, "--checkpoint_every=1000")
    plan = [
        (arguments, {"6": [signal.SIGTERM]}),  # In the last step of the head's epoch.
        (arguments, {"5": [signal.SIGINT]}),
        ([*arguments, "--max_minutes=0.0001"], {}),
        (arguments, {}),
        (arguments, {}),
        ([*arguments, "--batch_size=16"], {}),
        ([*arguments, "--resume=never"], {}),
        ([*arguments, "--epochs=4"], {}),
    ]
    processes = [
        start(train_command(arguments_for(records_dir, unbroken))),
        start(programs.command("train_under_signals", json.dumps(plan))),
    ]
    yield unbroken, stopped, processes
    for process in processes:
        process.kill()


@pytest.fixture(scope="module")
def unbroken(background):
    """The folder of a run that was never killed."""
    finish(background[2][0])
    return background[0]


@pytest.fixture(scope="module")
def stopped(background):
    """A run that is stopped, goes on, ends, is changed and prolonged: its folder, and results."""
    out, _ = finish(background[2][1])
    return background[1], programs.result(out)


class Runner:
    """Runs `cloudtf train` in processes that may die."""

    def __init__(self, folder):
        self.log = folder / "runs.log"
        with self.log.open("w") as log:
            self.process = subprocess.Popen(
                programs.command("train_and_die"),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                encoding="utf-8",
            )

    def begin(self, arguments, where="", at=0):
        """The number of a new process."""
        self.process.stdin.write(json.dumps([arguments, where, at]) + "\n")
        self.process.stdin.flush()
        return self._answer()

    def status(self):
        """How it ended: its exit status, or minus the signal that killed it."""
        return self._answer()

    def _answer(self):
        line = self.process.stdout.readline()
        assert line, self.log.read_text()
        return json.loads(line)


@pytest.fixture
def runner(tmp_path):
    runner = Runner(tmp_path)
    yield runner
    runner.process.stdin.close()
    runner.process.wait()


def test_a_run_killed_at_many_points_ends_as_one_never_killed(
    records_dir, background, runner, tmp_path, capfd, request
):
    run_dir = str(tmp_path / "run")
    arguments = arguments_for(records_dir, run_dir)

    def halted():
        """The number of a process that has just saved something new, and holds its breath."""
        before = checkpoint_names(run_dir)
        child = runner.begin(arguments)
        deadline = time.monotonic() + 120
        while checkpoint_names(run_dir) == before and time.monotonic() < deadline:
            time.sleep(0.005)
        os.kill(child, signal.SIGSTOP)
        return child

    # SIGTERM, in the head's epoch. Before that: no second run beside the first.
    child = halted()
    capfd.readouterr()
    second = [argument for argument in arguments if argument != "--deterministic"]
    assert app.main(["train", *second]) == 1
    assert f"Another run is at work in {run_dir}" in capfd.readouterr().err
    os.kill(child, signal.SIGTERM)
    os.kill(child, signal.SIGCONT)
    assert runner.status() == 143
    assert "all is saved" in runner.log.read_text()

    def killed(where, at):
        runner.begin(arguments, where, at)
        assert runner.status() == -signal.SIGKILL, runner.log.read_text()
        assert not any("finished" in name for name in checkpoint_names(run_dir))

    # At the end of the head's epoch, with half of best.keras written.
    killed("half_model", 1)
    assert [name for name in os.listdir(run_dir) if name.endswith(".tmp.keras")]
    assert not os.path.exists(f"{run_dir}/best.keras")
    # With the whole of it written and its checkpoint not, with its checkpoint and not yet in its
    # place, and there without best.json.
    waiting = f"{run_dir}/best.waiting.keras"
    killed("before_history", 1)
    assert os.path.exists(waiting)
    assert not os.path.exists(f"{run_dir}/best.keras")
    killed("before_best", 1)
    assert os.path.exists(waiting)
    assert checkpoint_names(run_dir) == ["step-000000006-active"]
    killed("best_without_figures", 1)
    assert os.listdir(run_dir).count("best.keras") and not os.path.exists(f"{run_dir}/best.json")
    # In the whole network's first epoch, weights written and their state not; then with the new
    # checkpoint beside the old one.
    killed("half_checkpoint", 1)
    assert [name for name in checkpoint_names(run_dir) if name.startswith(".step-")]
    killed("two_checkpoints", 2)
    assert checkpoint_names(run_dir) == ["step-000000008-active", "step-000000010-active"]
    # With the epoch judged and its history not written.
    killed("before_history", 1)
    assert checkpoint_names(run_dir)[-1] == "step-000000010-active"
    # From outside, in a step.
    os.kill(halted(), signal.SIGKILL)
    assert runner.status() == -signal.SIGKILL

    runner.begin(arguments)
    assert runner.status() == 0
    assert "Traceback" not in runner.log.read_text()
    assert_same_results(run_dir, request.getfixturevalue("unbroken"))
    assert not [name for name in os.listdir(run_dir) if ".tmp" in name]


def test_signals_and_time_limits_save_and_leave_and_more_epochs_go_on(stopped, unbroken):
    run_dir, results = stopped
    terminated, interrupted, limited, ended, again, other, never, longer = results
    assert (terminated["status"], terminated["steps"]) == (143, 6)
    assert "epoch " not in terminated["out"], "it left without judging the epoch"
    assert "told to stop (SIGTERM); all is saved in" in terminated["err"]
    assert "run the same command to go on" in terminated["err"]
    # Steps 7 to 11, of the whole network.
    assert (interrupted["status"], interrupted["steps"]) == (130, 5)
    assert "Going on after step 6 (0 epochs done)." in interrupted["out"]
    assert (limited["status"], limited["steps"]) == (75, 1)
    assert "--max_minutes is over; all is saved" in limited["err"]
    assert "Going on after step 11 (1 epochs done)." in limited["out"]
    assert (ended["status"], ended["steps"]) == (0, 24 - 12)

    assert (again["status"], again["steps"]) == (0, 0)
    assert "finished" in again["out"]
    assert re.search(r"mean +\d\.\d{4} +\d\.\d{3} to \d\.\d{3} +\d\.\d{4}", again["out"])
    assert other["status"] == 1 and "--batch_size=16 differs from the 8" in other["err"]
    assert never["status"] == 1 and "drop --resume=never" in never["err"]
    for result in (terminated, interrupted, limited, other, never):
        assert len([line for line in result["err"].splitlines() if "cloudtf train:" in line]) == 1

    assert (longer["status"], longer["steps"]) == (0, 6)
    assert [row["epoch"] for row in history_of(run_dir)] == ["1", "2", "3", "4", "5"]
    assert history_of(run_dir)[:4] == history_of(unbroken)
    assert checkpoint_names(run_dir) == ["step-000000030-finished"]
    assert "--epochs=4" in pathlib.Path(run_dir, "flags.txt").read_text()


def test_a_run_folder_may_have_any_name(records_dir, tmp_path):
    """Of the path of a checkpoint TensorFlow would take parts for wildcards."""
    run_dir = tmp_path / "run [1] a*b? back\\slash {c,d} "
    for epochs in ("0", "1"):
        arguments = arguments_for(records_dir, run_dir, f"--epochs={epochs}")
        assert app.main(["train", *arguments]) == 0
    rows = (run_dir / "history.csv").read_text().splitlines()
    assert [row.split(",")[:2] for row in rows[1:]] == [["1", "head"], ["2", "whole"]]
