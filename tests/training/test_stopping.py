"""Runs that are told to stop: while they trace, wait for data, evaluate; and on a full disk."""

from __future__ import annotations

import json
import os
import pathlib
import re
import resource
import signal
import subprocess
import time

import pytest
import tensorflow as tf

from cloudtf import files
from cloudtf.commands import app
from cloudtf.evaluation import history, scoring
from cloudtf.model import network, random_layers
from cloudtf.pipeline.dataset import ImageDataset
from cloudtf.training import soup
from cloudtf.training import step as step_module
from cloudtf.training.checkpoints import CheckpointFolder
from cloudtf.training.stopping import LeftEarly, StopRequests, Watched


@pytest.fixture
def arguments(records_dir, tmp_path):
    """Of a run of two epochs of six steps."""
    return [
        "train", f"--data_dir={records_dir}", f"--run_dir={tmp_path / 'run'}", "--model=tiny",
        "--weights=none", "--epochs=2", "--batch_size=8", "--notensorboard",
        "--train_metric_examples=10",
    ]  # fmt: skip


@pytest.fixture
def steps(monkeypatch):
    """The list of steps run, a True each."""
    call, seen = step_module.TrainStep.send, []

    def counted(self, iterator, count):
        values = call(self, iterator, count)
        seen.append(True)
        return values

    monkeypatch.setattr(step_module.TrainStep, "send", counted)
    return seen


def once(monkeypatch, owner, name, number):
    """Sends a signal to this process at the first call of a function."""
    function, sent = getattr(owner, name), []

    def patched(*positional, **named):
        if not sent:
            sent.append(number)
            os.kill(os.getpid(), number)
        return function(*positional, **named)

    monkeypatch.setattr(owner, name, patched)


def waiting_for_data(monkeypatch, number):
    """Sends it while TensorFlow waits for the third batch, outside of Python."""
    batches = ImageDataset.training_batches

    def slow(keys):
        if slow.calls == 2:
            os.kill(os.getpid(), number)
            time.sleep(1.0)
        slow.calls += 1
        return keys

    def patched(self, split, batch_size, **options):
        def delayed(batch):
            keys = tf.py_function(slow, [batch.keys], tf.int32)
            keys.set_shape(batch.keys.shape)
            return batch._replace(keys=keys)

        return batches(self, split, batch_size, **options).map(delayed)

    slow.calls = 0
    monkeypatch.setattr(ImageDataset, "training_batches", patched)


POINTS = {
    # What is under way; steps run and judged epochs when it leaves.
    "building": (lambda patch, number: once(patch, network, "build_model", number), 0, 0),
    "tracing": (
        lambda patch, number: once(patch, random_layers, "stochastic_step", number), 1, 0,
    ),
    "waiting for data": (waiting_for_data, 3, 0),
    "evaluating": (
        lambda patch, number: once(patch, scoring.Scorer, "_send", number), 6, 0,
    ),
    "writing the best model": (
        lambda patch, number: once(patch, history, "write", number), 6, 1,
    ),
    "judging the average": (
        lambda patch, number: once(patch, soup, "reestimate", number), 12, 2,
    ),
}  # fmt: skip


@pytest.mark.parametrize("point", POINTS)
def test_a_signal_saves_and_leaves_whatever_is_under_way(
    arguments, steps, tmp_path, monkeypatch, capsys, point
):
    number, status, reason = signal.SIGTERM, 143, "told to stop (SIGTERM)"
    if point == "evaluating":
        number, status, reason = signal.SIGINT, 130, "interrupted"
    if point == "judging the average":
        arguments = [*arguments, "--soup=2"]
    send, wanted_steps, wanted_epochs = POINTS[point]
    run_dir = str(tmp_path / "run")
    with monkeypatch.context() as patch:
        send(patch, number)
        assert app.main(arguments) == status
    assert len(steps) <= wanted_steps + (point == "waiting for data")
    assert len(steps) >= min(wanted_steps, 1)
    said = capsys.readouterr().err.splitlines()
    assert [line for line in said if line.startswith("cloudtf train:")] == [
        f"cloudtf train: {reason}; all is saved in {run_dir}, run the same command to go on."
    ]
    _, progress = CheckpointFolder(run_dir).latest()
    assert (progress.total_steps, progress.total_epochs) == (len(steps), wanted_epochs)
    assert app.main(arguments) == 0
    assert len(steps) == 12, "no step was lost"
    assert [row["epoch"] for row in history.read(f"{run_dir}/history.csv")] == [1, 2]


def test_a_time_limit_leaves_an_evaluation_only_if_the_start_has_done_a_step():
    """Or one shorter than an evaluation would keep a run from ever going on."""
    requests = StopRequests(max_minutes=0.0)
    assert list(Watched([1, 2], requests)) == [1, 2]
    requests.has_stepped = True
    with pytest.raises(LeftEarly):
        list(Watched([1, 2], requests))
    assert list(Watched([1, 2], StopRequests(None))) == [1, 2]


def test_the_time_that_is_left_is_that_of_the_limit():
    assert 110 < StopRequests(max_minutes=2.0).seconds_left() <= 120
    assert StopRequests(None).seconds_left() == float("inf")


# Full disks.


@pytest.fixture
def small_disk(tmp_path):
    """A folder on a disk of 2 MB of its own."""
    folder = tmp_path / "disk"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(folder)]
    if subprocess.run(command, capture_output=True).returncode:
        pytest.skip("no disk can be mounted here")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


def refused(err):
    """The one sentence that was said, and no traceback."""
    said = [line for line in err.splitlines() if line.startswith("cloudtf train:")]
    assert len(said) == 1 and "Traceback" not in err, err
    return said[0]


def fill(folder, but):
    """Takes all of a disk's room but so many bytes."""
    (folder / "filler").unlink(missing_ok=True)
    stat = os.statvfs(folder)
    (folder / "filler").write_bytes(bytes(max(0, stat.f_bavail * stat.f_frsize - but)))


def test_a_full_disk_is_one_sentence_and_the_run_goes_on_when_there_is_room(
    arguments, small_disk, capfd
):
    run_dir = small_disk / "run"
    arguments = [
        *(
            argument
            for argument in arguments
            if "--run_dir" not in argument and argument != "--notensorboard"
        ),
        f"--run_dir={run_dir}",
        "--checkpoint_every=4",
    ]
    assert app.main([*arguments, "--epochs=1"]) == 0
    model = (run_dir / "best.keras").read_bytes()
    first = history.read(f"{run_dir}/history.csv")
    (checkpoint,) = (run_dir / "checkpoints").iterdir()
    need = sum(path.stat().st_size for path in checkpoint.iterdir())
    seen = set()
    for but in (0, 4096, need // 2, need + 8192, need + 16384, need + len(model), 2 * need + 8192):
        fill(small_disk, but)
        capfd.readouterr()
        status = app.main([*arguments, "--epochs=3"])
        err = capfd.readouterr().err
        if status == 0:
            break
        assert status == 1
        sentence = refused(err)
        assert "cannot be written" in sentence
        seen.add(re.sub(r".*/run/(\S+?)[ :].*", r"\1", sentence))
        # What was there is still there, whole.
        _, progress = CheckpointFolder(str(run_dir)).latest()
        assert progress.total_epochs >= 1
        assert history.read(f"{run_dir}/history.csv")[0] == first[0]
        assert not [name for name in files.list_dir(str(run_dir)) if ".tmp" in name]
    (small_disk / "filler").unlink()
    assert len(seen) >= 2, seen
    assert app.main([*arguments, "--epochs=3"]) == 0
    assert [row["epoch"] for row in history.read(f"{run_dir}/history.csv")] == [1, 2, 3]
    best = json.loads(pathlib.Path(run_dir, "best.json").read_text())
    assert best["pr_auc"]["mean"] == max(
        row["val_pr_auc_mean"] for row in history.read(f"{run_dir}/history.csv")
    )


def test_a_limit_on_the_size_of_files_is_one_sentence_too(arguments, tmp_path, capfd):
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, limits[1]))
    try:
        status = app.main(arguments)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert status == 1
    assert "cannot be written" in refused(capfd.readouterr().err)
    assert CheckpointFolder(str(tmp_path / "run")).latest() is None
    assert app.main(arguments) == 0
