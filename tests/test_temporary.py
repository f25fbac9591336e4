"""What a killed process has left is taken over by the next, and nobody else's is touched."""

from __future__ import annotations

import concurrent.futures
import contextlib
import errno
import fcntl
import os

import pytest

from cloudtf import files, temporary
from cloudtf.errors import UserError
from tests import programs


@pytest.fixture
def killed(tmp_path):
    """A folder in which a process was killed while it wrote `a.csv` and the folder `b`."""
    folder = tmp_path / "killed"
    folder.mkdir()
    programs.kill_when_ready("hold_temporaries", folder / "a.csv", folder / "b")
    assert sorted(os.listdir(folder)) == [".a.csv.0.tmp.csv", ".b.0.tmp"]
    return folder


def test_writing_again_leaves_nothing_of_a_killed_writer(killed):
    files.write_text(str(killed / "a.csv"), "whole")
    with files.new_folder(str(killed / "b")) as folder:
        assert os.listdir(folder) == []
        files.write_text(os.path.join(folder, "part"), "whole")
    assert sorted(os.listdir(killed)) == ["a.csv", "b"]
    assert (killed / "a.csv").read_text() == (killed / "b" / "part").read_text() == "whole"
    assert os.listdir(killed / "b") == ["part"]


def test_a_folder_is_rid_of_what_killed_writers_left_and_of_nothing_that_is_written(killed):
    with files.replacing(str(killed / "c.csv")) as name, files.new_folder(str(killed / "d")) as new:
        files.remove_leftovers(str(killed))
        assert sorted(os.listdir(killed)) == [".c.csv.0.tmp.csv", ".d.0.tmp"]
        for path in (name, os.path.join(new, "part")):
            with open(path, "w") as file:
                file.write("x")
    assert sorted(os.listdir(killed)) == ["c.csv", "d"]


def test_writers_of_one_path_do_not_meet(tmp_path):
    path, scratch = str(tmp_path / "a.csv"), str(tmp_path / "b")

    def write(number):
        for _ in range(50):
            text = f"{number}" * 1000
            files.write_text(path, text)
            with temporary.folder_beside(scratch) as folder:
                files.write_text(os.path.join(folder, "part"), text)
                assert os.listdir(folder) == ["part"]
                assert files.read_text(os.path.join(folder, "part")) == text
            files.remove_leftovers(str(tmp_path))

    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        list(pool.map(write, range(8)))
    text = files.read_text(path)
    assert text == text[0] * 1000
    files.remove_leftovers(str(tmp_path))
    assert os.listdir(tmp_path) == ["a.csv"]


def test_a_write_that_fails_leaves_what_was_there(tmp_path):
    path = str(tmp_path / "a.csv")
    files.write_text(path, "old")
    with pytest.raises(ValueError), files.replacing(path) as name:
        with open(name, "w") as file:
            file.write("new")
        raise ValueError
    with pytest.raises(ValueError), files.new_folder(str(tmp_path / "b")):
        raise ValueError
    assert os.listdir(tmp_path) == ["a.csv"] and files.read_text(path) == "old"


def test_new_files_and_folders_have_the_usual_permissions(tmp_path):
    before = os.umask(0o027)
    try:
        files.write_text(str(tmp_path / "a"), "x")
        with files.new_folder(str(tmp_path / "b")):
            pass
    finally:
        os.umask(before)
    assert [os.stat(tmp_path / name).st_mode & 0o777 for name in ("a", "b")] == [0o640, 0o750]


@pytest.mark.parametrize("number", [errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOLCK, errno.EBADF])
def test_without_locks_what_is_there_is_passed_over(tmp_path, monkeypatch, number):
    """It may be in use."""

    def no_locks(*_):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(fcntl, "flock", no_locks)
    (tmp_path / ".a.csv.0.tmp.csv").write_text("somebody's")
    (tmp_path / ".b.0.tmp").mkdir()
    (tmp_path / ".b.0.tmp" / ".lock").touch()
    files.write_text(str(tmp_path / "a.csv"), "x")
    with files.new_folder(str(tmp_path / "b")):
        pass
    assert sorted(os.listdir(tmp_path)) == [".a.csv.0.tmp.csv", ".b.0.tmp", "a.csv", "b"]
    assert (tmp_path / ".a.csv.0.tmp.csv").read_text() == "somebody's"
    # In a folder that is one's own they are old.
    files.remove_leftovers(str(tmp_path))
    assert sorted(os.listdir(tmp_path)) == ["a.csv", "b"]


def test_when_all_numbers_are_taken_one_is_drawn(tmp_path, monkeypatch):
    with contextlib.ExitStack() as stack:
        names = [
            stack.enter_context(temporary.file_beside(str(tmp_path / "a"))) for _ in range(103)
        ]
    assert len(set(names)) == 103 and names[99].endswith(".a.99.tmp")
    assert os.listdir(tmp_path) == []


def test_links_that_somebody_has_put_there_are_not_followed(tmp_path):
    """As may happen in a folder that all may write to."""
    mine = tmp_path / "mine"
    (mine / "content").mkdir(parents=True)
    (mine / "precious").write_text("x")
    shared = tmp_path / "shared"
    shared.mkdir()
    (shared / ".a.0.tmp").symlink_to(mine / "precious")
    (shared / ".b.0.tmp").symlink_to(mine)
    files.write_text(str(shared / "a"), "new")
    with files.new_folder(str(shared / "b")):
        pass
    files.remove_leftovers(str(shared))
    assert sorted(os.listdir(mine)) == ["content", "precious"]
    assert (mine / "precious").read_text() == "x"


def test_what_cannot_be_written_is_one_sentence(tmp_path):
    (tmp_path / "file").write_text("x")
    for path in (tmp_path / "no" / "a.csv", tmp_path / "file" / "a.csv"):
        with pytest.raises(UserError, match=r"a\.csv cannot be written: "):
            files.write_text(str(path), "x")
    with (
        pytest.raises(UserError, match="The folder .*file cannot be made: "),
        files.new_folder(str(tmp_path / "file" / "b")),
    ):
        pass


def test_scratch_folders_are_private_and_gone_afterwards():
    with temporary.scratch_folder() as one, temporary.scratch_folder() as other:
        assert one != other
        assert os.stat(os.path.dirname(one)).st_mode & 0o077 == 0
    assert not os.path.exists(os.path.dirname(one))
