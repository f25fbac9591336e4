"""A folder is one process's while that process lives, and nobody's afterwards."""

from __future__ import annotations

import errno
import fcntl
import os

import pytest

from cloudtf.errors import UserError
from cloudtf.locks import FolderLock


def lock(folder, keep=True):
    return FolderLock(str(folder), "run", "run_dir", keep)


@pytest.mark.parametrize("keep", [True, False])
def test_a_lock_is_held_by_one_and_left_over_ones_are_not_in_the_way(tmp_path, keep):
    # From before a reboot, or of another machine: whatever process has that number now.
    (tmp_path / ".lock").write_text(f"{os.getpid()} other-machine 1970-01-01\n")
    first, second = lock(tmp_path, keep), lock(tmp_path, keep)
    with first, pytest.raises(UserError, match="Another run is at work in .* another run_dir"):
        second.__enter__()
    with second:
        pass
    assert os.listdir(tmp_path) == ([".lock"] if keep else [])


def test_a_file_that_was_removed_before_it_was_locked_is_no_lock(tmp_path, monkeypatch):
    flock, opened = fcntl.flock, []

    def late(descriptor, operation):
        flock(descriptor, operation)
        if not opened:  # The holder before ends between our opening and our locking.
            os.remove(tmp_path / ".lock")
        opened.append(descriptor)

    monkeypatch.setattr(fcntl, "flock", late)
    with lock(tmp_path, keep=False):
        assert len(opened) == 2
        with pytest.raises(UserError, match="Another run is at work"):
            lock(tmp_path, keep=False).__enter__()
        assert os.listdir(tmp_path) == [".lock"]


def test_a_file_system_without_locks_is_told_of_and_used(tmp_path, monkeypatch, capsys):
    def none_here(*_):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", none_here)
    with lock(tmp_path):
        assert "cannot be locked; start no second run in it." in capsys.readouterr().out


def test_a_folder_that_cannot_be_locked_is_one_sentence(tmp_path):
    with pytest.raises(
        UserError,
        match="The lock .* cannot be taken .No such file.* run_dir that can be written to",
    ):
        lock(tmp_path / "nowhere").__enter__()
