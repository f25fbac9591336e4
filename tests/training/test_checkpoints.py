"""Checkpoint folders: whole at every moment, in order, and given back when the disk is full."""

from __future__ import annotations

import errno
import os

import pytest
import tensorflow as tf

from cloudtf import files
from cloudtf.errors import UserError
from cloudtf.training.checkpoints import CheckpointFolder, Progress


class Killed(BaseException):
    """Stands for SIGKILL: nothing after it is run but what a `finally` holds."""


def saved(folder, value, **progress):
    variable = tf.Variable(float(value))
    folder.save(tf.train.Checkpoint(value=variable), Progress(loss_sum=float(value), **progress))


def value_of(folder):
    """The value of the last whole checkpoint, which its weights and its state must agree on."""
    prefix, progress = folder.latest()
    variable = tf.Variable(-1.0)
    tf.train.Checkpoint(value=variable).read(prefix).assert_consumed()
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
