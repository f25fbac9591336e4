"""Checkpoint folders: whole at every moment, in order, and given back when the disk is full."""

from __future__ import annotations

import dataclasses
import errno
import json
import os

import pytest
import tensorflow as tf

from cloudtf import files
from cloudtf.errors import UserError
from cloudtf.training.checkpoints import CheckpointFolder
from cloudtf.training.progress import Progress


class Killed(BaseException):
    """Stands for SIGKILL: nothing after it is run but what a `finally` holds."""


def saved(folder, value, **progress):
    variable = tf.Variable(float(value))
    folder.save(tf.train.Checkpoint(value=variable), Progress(loss_sum=float(value), **progress))


def value_of(folder):
    """The value of the last whole checkpoint, which its weights and its state must agree on."""
    prefix, progress = folder.latest()
    variable = tf.Variable(-1.0)
    folder.restore(tf.train.Checkpoint(value=variable), prefix)
    assert float(variable) == progress.loss_sum
    return progress.loss_sum


def dying(monkeypatch, at):
    """Dies in the `at`-th change of the file system, which removing a folder leaves half done."""
    seen = 0

    def hook(name):
        function = getattr(files, name)

        def patched(path, *rest):
            nonlocal seen
            seen += 1
            if seen == at:
                if name == "remove_tree" and files.is_dir(path):
                    for child in files.list_dir(path)[:2]:
                        files.remove(files.join(path, child))
                raise Killed
            return function(path, *rest)

        monkeypatch.setattr(files, name, patched)

    for name in ("make_dirs", "remove_tree", "flush", "write_json", "move"):
        hook(name)


@pytest.mark.parametrize("remote", [False, True], ids=["local", "remote"])
@pytest.mark.parametrize(
    ("old", "new"),
    [
        ({"total_steps": 8}, {"total_steps": 10}),
        ({"total_steps": 8}, {"total_steps": 8}),
        ({"total_steps": 8}, {"total_steps": 8, "finished": True}),
        ({"total_steps": 8, "finished": True}, {"total_steps": 8}),
        ({"total_steps": 999_999_999}, {"total_steps": 1_000_000_000}),
    ],
)
def test_a_save_that_dies_anywhere_leaves_the_old_or_the_new_checkpoint_whole(
    tmp_path, monkeypatch, remote, old, new
):
    found, at = [], 0
    while not found or found[-1] != "not killed":
        at += 1
        run_dir = str(tmp_path / str(at))
        if remote:
            run_dir = f"ram:/{run_dir}"
        folder = CheckpointFolder(run_dir)
        saved(folder, 1, **old)
        with monkeypatch.context() as patch:
            dying(patch, at)
            try:
                saved(folder, 2, **new)
                found.append("not killed")
            except Killed:
                found.append(value_of(folder))
        if found[-1] != "not killed":
            # The next start saves again, and all that is left over goes.
            saved(folder, 3, **new)
        assert value_of(folder) == (2 if found[-1] == "not killed" else 3)
        assert len(files.list_dir(files.join(run_dir, "checkpoints"))) == 1
    assert {1, 2} <= set(found)


def test_checkpoints_of_one_step_come_in_the_order_of_their_writing(tmp_path):
    folder = CheckpointFolder(str(tmp_path))
    names = []
    for value, finished in enumerate((False, False, True, False, False, True)):
        saved(folder, value, total_steps=6, finished=finished)
        assert value_of(folder) == value
        names += os.listdir(tmp_path / "checkpoints")
    assert names == [
        "step-000000006-active", "step-000000006.2-active", "step-000000006.2-finished",
        "step-000000006.3-active", "step-000000006.4-active", "step-000000006.4-finished",
    ]  # fmt: skip


def test_foreign_files_in_the_folder_are_left_alone(tmp_path):
    folder = CheckpointFolder(str(tmp_path))
    saved(folder, 1, total_steps=1)
    for name in ("notes.txt", "step-by-step.txt", ".step-7.swp"):
        (tmp_path / "checkpoints" / name).write_text("mine")
    saved(folder, 2, total_steps=2)
    assert value_of(folder) == 2
    assert len(os.listdir(tmp_path / "checkpoints")) == 4


def test_a_save_that_fails_gives_back_the_room_and_keeps_the_old_one(tmp_path, monkeypatch):
    folder = CheckpointFolder(str(tmp_path))
    saved(folder, 1, total_steps=1)

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    for name in ("flush", "move"):
        with monkeypatch.context() as patch:
            patch.setattr(files, name, full)
            with pytest.raises(UserError, match="cannot be written .*No space left.*make room"):
                saved(folder, 2, total_steps=2)
        assert value_of(folder) == 1
        assert os.listdir(tmp_path / "checkpoints") == ["step-000000001-active"]


@pytest.mark.parametrize("name", ["a[1]", "a[", "a*", "a?b", "a\\b", "a\\[b", "{a}", "a b", "é%20"])
@pytest.mark.parametrize("root", ["local", "ram"])
def test_a_checkpoint_is_read_whatever_characters_its_folder_has(name, root, tmp_path):
    if root == "ram":
        run_dir = f"ram://wildcards/{name}"
        if "\\" in name or "?" in name or "*" in name:
            pytest.skip("TensorFlow's ram:// takes these for wildcards wherever they are")
    else:
        run_dir = str(tmp_path / name)
        # One that TensorFlow would find in its place.
        saved(CheckpointFolder(str(tmp_path / "a1")), 7.0, total_steps=1)
    folder = CheckpointFolder(run_dir)
    for step in (1, 2):
        saved(folder, step, total_steps=step)
        assert value_of(folder) == step


def test_a_damaged_checkpoint_is_named_and_advice_costs_no_data(tmp_path):
    folder = CheckpointFolder(str(tmp_path))
    saved(folder, 1.0, total_steps=1)
    prefix, _ = folder.latest()
    with open(f"{prefix}.index", "wb") as file:
        file.write(b"half")
    with pytest.raises(UserError) as caught:
        folder.restore(tf.train.Checkpoint(value=tf.Variable(0.0)), prefix)
    said = str(caught.value)
    assert said.startswith(f"The checkpoint {os.path.dirname(prefix)} cannot be read (")
    assert said.endswith("; put a whole copy of it back, or begin anew in another run_dir.")
    assert "remove" not in said


def test_a_worker_that_goes_while_a_checkpoint_is_written_or_read_is_not_a_full_disk(tmp_path):
    """Reading what all replicas have a part of takes part from each worker."""
    lost = tf.errors.UnavailableError(None, None, "Collective ops is aborted by: Socket closed")

    class Lost:
        def write(self, prefix):
            raise lost

        read = write

    folder = CheckpointFolder(str(tmp_path))
    saved(folder, 1.0, total_steps=1)
    with pytest.raises(tf.errors.UnavailableError):
        folder.save(Lost(), Progress(total_steps=2))
    assert os.listdir(tmp_path / "checkpoints") == ["step-000000001-active"]
    with pytest.raises(tf.errors.UnavailableError):
        folder.restore(Lost(), folder.latest()[0])
    # An error of the same kind that names the file is one of the file.
    lost = tf.errors.UnavailableError(
        None, None, f"{tmp_path}/checkpoints/.step-000000002-active.tmp/weights; Resource busy"
    )
    with pytest.raises(UserError, match="cannot be written .*make room"):
        folder.save(Lost(), Progress(total_steps=2))
    assert value_of(folder) == 1.0


# What is beside the weights.

JUDGE = {
    "stage": "whole",
    "rows": [{"epoch": 1, "stage": "whole", "loss": 0.5, "val_loss": None}],
    "best": {"epoch": 1, "stage": "whole", "pr_auc": {"Fish": 0.5}, "average_precision": {}},
    "patience": {"best": 0.5, "epochs_since_best": 0, "epochs_on_plateau": 0},
}
WHOLE = Progress(
    stage=1, epoch=1, step=3, total_steps=9, total_epochs=2, loss_sum=1.5, callback=JUDGE,
    settings={"seed": 1, "augmentations": ("rotation",)}, records="abc", streamed=False,
    rewinds=[{"what": "The loss is nan", "learning_rate": 0.1, "back_to_step": 2}],
)  # fmt: skip


def test_what_is_beside_the_weights_reads_back_and_every_changed_character_is_noticed(tmp_path):
    folder = CheckpointFolder(str(tmp_path))
    folder.save(tf.train.Checkpoint(value=tf.Variable(0.0)), WHOLE)
    _, read = folder.latest()
    assert read == dataclasses.replace(WHOLE, settings={"seed": 1, "augmentations": ["rotation"]})
    (path,) = (tmp_path / "checkpoints").glob("*/state.json")
    text = path.read_text()
    meaning = json.loads(text)
    for at, old in enumerate(text):
        if old.isalnum():
            new = "7" if old != "7" else "3"
            changed = text[:at] + new + text[at + 1 :]
            path.write_text(changed)
            with pytest.raises(UserError) as caught:
                folder.latest()
            assert str(caught.value).count("state.json") == 1, "one sentence"
    path.write_text(json.dumps(meaning))  # The same, written otherwise.
    assert folder.latest()[1] == read


@pytest.mark.parametrize(
    ("name", "wrong"),
    [
        ("stage", [7, -1, "1", None, True, 1.0]),
        ("epoch", ["many", -1, None, 1.5]),
        ("total_steps", ["9", -9, [9]]),
        ("loss_sum", ["much", None, [1]]),
        ("stopped_early", [0, "no", None]),
        ("callback", [
            3, {}, {**JUDGE, "rows": [3]}, {**JUDGE, "rows": [{"epoch": 1}]},
            {**JUDGE, "rows": [{"epoch": 1, "stage": "whole", "loss": "low"}]},
            {**JUDGE, "best": {"epoch": 1}}, {**JUDGE, "best": {**JUDGE["best"], "pr_auc": 3}},
            {**JUDGE, "patience": {**JUDGE["patience"], "epochs_since_best": -1}},
            {**JUDGE, "patience": None}, {**JUDGE, "stage": None},
        ]),
        ("settings", [3, "seed"]),
        ("records", [3]),
        ("streamed", ["no", 1]),
        ("rewinds", [None, [3], [{"what": 1, "learning_rate": 1, "back_to_step": 1}]]),
    ],
)  # fmt: skip
def test_every_field_is_checked_also_where_the_checksum_is_right(name, wrong):
    for value in wrong:
        with pytest.raises(ValueError, match=f"'{name}' is "):
            Progress.from_json({**WHOLE.to_json(), name: value})
    with pytest.raises(ValueError, match=f"'{name}' is missing or unknown"):
        Progress.from_json({k: v for k, v in WHOLE.to_json().items() if k != name})
    with pytest.raises(ValueError, match="'more' is missing or unknown"):
        Progress.from_json({**WHOLE.to_json(), "more": 1})
    with pytest.raises(ValueError, match="it is not a JSON object"):
        Progress.from_json([])
