"""File access: whole writes, remote paths, and sentences in place of tracebacks."""

from __future__ import annotations

import hashlib
import json
import math
import os
import shutil

import pytest

from cloudtf import files
from cloudtf.errors import UserError


@pytest.fixture(params=["local", "ram"])
def folder(request, tmp_path):
    """A folder of this test's own, on the disk and in TensorFlow's memory."""
    path = str(tmp_path) if request.param == "local" else f"ram://{tmp_path.name}"
    files.make_dirs(path)
    return path


def test_what_is_written_is_read_back(folder):
    path = files.join(folder, "deep", "a.txt")
    files.make_dirs(files.dirname(path))
    files.write_text(path, "naïve ☁\r\n")
    assert files.read_text(path) == "naïve ☁\r\n"
    assert files.read_bytes(path) == "naïve ☁\r\n".encode()
    assert files.size(path) == len("naïve ☁\r\n".encode())
    assert files.basename(path) == "a.txt"
    assert files.exists(path) and files.is_dir(files.dirname(path)) and not files.is_dir(path)
    assert files.list_dir(files.dirname(path)) == ["a.txt"]
    assert files.sha256(path) == hashlib.sha256("naïve ☁\r\n".encode()).hexdigest()


def test_a_write_that_fails_leaves_the_old_content_and_no_temporary_file(folder):
    path = files.join(folder, "model.keras")
    files.write_bytes(path, b"old")
    with pytest.raises(RuntimeError, match="in the middle"), files.replacing(path) as temporary:
        # Writers choose their format by the extension.
        assert temporary.endswith(".keras")
        with open(temporary, "wb") as file:
            file.write(b"half of the new")
        raise RuntimeError("in the middle")
    assert files.read_bytes(path) == b"old"
    assert files.list_dir(folder) == ["model.keras"]
    files.write_bytes(path, b"new")
    assert files.read_bytes(path) == b"new"
    assert files.list_dir(folder) == ["model.keras"]


def test_a_file_appears_only_when_it_is_whole(tmp_path):
    path = str(tmp_path / "a.csv")
    with files.replacing(path) as temporary:
        assert os.path.dirname(temporary) == str(tmp_path), "a rename cannot cross file systems"
        with open(temporary, "w") as file:
            file.write("x")
        assert not os.path.exists(path)
    assert os.listdir(tmp_path) == ["a.csv"]


def test_a_file_is_flushed_before_it_is_moved(tmp_path, monkeypatch):
    calls = []
    flush, replace = os.fsync, os.replace
    monkeypatch.setattr(os, "fsync", lambda fd: (calls.append("flush"), flush(fd)))
    monkeypatch.setattr(os, "replace", lambda *names: (calls.append("move"), replace(*names)))
    files.write_text(str(tmp_path / "a"), "x")
    # The file, its new name, and the folder that holds the name.
    assert calls == ["flush", "move", "flush"]


class Died(BaseException):
    """As if the process had been killed: nothing after it has an effect."""


@pytest.mark.parametrize("step", range(1, 40))
def test_files_that_belong_together_are_never_new_beside_old(folder, monkeypatch, step):
    results = files.join(folder, "results")
    files.make_dirs(results)
    for name in ("a.json", "b.csv", "former.png", "mine.txt"):
        files.write_text(files.join(results, name), "old")
    done = 0

    def dying(function):
        def call(*arguments, **options):
            nonlocal done
            done += 1
            if done >= step:
                raise Died
            return function(*arguments, **options)

        return call

    with monkeypatch.context() as patch:
        for owner, name in ((files, "remove"), (files, "move"), (shutil, "copyfile")):
            patch.setattr(owner, name, dying(getattr(owner, name)))
        try:
            with files.replacing_all(results, ["former.png", "never.png"]) as work:
                for name in ("a.json", "b.csv", "c.html"):
                    with open(f"{work}/{name}", "w") as file:
                        file.write("new")
        except Died:
            pass
    there = {
        name: files.read_text(files.join(results, name))
        for name in files.list_dir(results)
        if ".tmp" not in name
    }
    assert there.pop("mine.txt") == "old"
    assert set(there.values()) <= {"new"} or set(there.values()) == {"old"}
    if done < step:
        assert there == {"a.json": "new", "b.csv": "new", "c.html": "new"}
    files.remove_leftovers(results, ["a.json", "b.csv"])
    left = [name for name in files.list_dir(results) if ".tmp" in name]
    assert not left or files.is_remote(folder) or all("c.html" in name for name in left)


def test_what_fails_on_the_way_leaves_all_that_was_there(folder):
    results = files.join(folder, "results")
    with pytest.raises(RuntimeError), files.replacing_all(results):
        raise RuntimeError
    assert not files.exists(results)
    files.make_dirs(results)
    files.write_text(files.join(results, "a"), "old")
    with pytest.raises(RuntimeError), files.replacing_all(results) as work:
        files.write_text(f"{work}/a", "new")
        raise RuntimeError
    assert files.list_dir(results) == ["a"]
    assert files.read_text(files.join(results, "a")) == "old"


def test_a_full_disk_is_one_sentence(tmp_path, monkeypatch):
    path = str(tmp_path / "a.json")
    files.write_json(path, {"a": 1})

    def full(descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(UserError, match=r"a\.json cannot be written: No space left on device\."):
        files.write_json(path, {"a": 2})
    assert files.read_json(path) == {"a": 1}
    assert os.listdir(tmp_path) == ["a.json"]


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_a_number_that_does_not_exist_is_null_in_json(folder, value):
    path = files.join(folder, "a.json")
    files.write_json(path, {"mean": value, "list": [1.5, (value,)], "Ä": {"deep": value}})
    assert files.read_json(path) == {"mean": None, "list": [1.5, [None]], "Ä": {"deep": None}}
    text = files.read_text(path)
    assert "NaN" not in text and "Infinity" not in text and "Ä" in text
    assert json.loads(text, parse_constant=pytest.fail)


def test_floats_read_back_exactly(folder):
    values = [0.1, 1 / 3, 5e-324, 0.30000000000000004]
    files.write_json(files.join(folder, "a.json"), values)
    assert files.read_json(files.join(folder, "a.json")) == values


def test_what_is_missing_or_not_what_it_should_be_is_one_sentence(folder):
    missing = files.join(folder, "nothing.json")
    for read in (files.read_bytes, files.read_text, files.read_json):
        with pytest.raises(UserError, match=r"nothing\.json cannot be read"):
            read(missing)
    with pytest.raises(UserError, match=r"The folder .*nothing\.json cannot be listed"):
        files.list_dir(missing)
    files.write_bytes(files.join(folder, "latin"), b"caf\xe9")
    with pytest.raises(UserError, match=r"latin is not UTF-8 text \(byte 3\)"):
        files.read_text(files.join(folder, "latin"))
    files.write_text(files.join(folder, "half.json"), '{"a": ')
    with pytest.raises(UserError, match=r"half\.json is not JSON"):
        files.read_json(files.join(folder, "half.json"))


def test_half_a_surrogate_pair_in_json_is_one_sentence(folder):
    path = files.join(folder, "a.json")
    files.write_text(path, r'{"a": "\uD83D\uDC1F", "b": "\u00e9"}')
    assert files.read_json(path) == {"a": "\N{FISH}", "b": "é"}
    for text, half in ((r'["\ud83d"]', r"\ud83d"), (r'{"\uDC1F": 1}', r"\udc1f")):
        files.write_text(path, text)
        with pytest.raises(UserError) as error:
            files.read_json(path)
        assert f"a.json is not JSON ({half} is half of a surrogate pair);" in str(error.value)
        assert str(error.value).isprintable()


def test_a_name_that_comes_twice_in_json_is_one_sentence(folder):
    """Programs differ in which of the two they take."""
    path = files.join(folder, "a.json")
    files.write_text(path, '[{"a": 1}, {"a": 2, "b": {"a": 3}}]')
    assert files.read_json(path) == [{"a": 1}, {"a": 2, "b": {"a": 3}}]
    files.write_text(path, '[{"b": 1}, {"a": 2, "b": 2, "a": 2}]')
    with pytest.raises(UserError, match=r"a\.json is not JSON \(it has 'a' twice\); make it again"):
        files.read_json(path)


def test_a_path_that_cannot_be_written_to_is_one_sentence(tmp_path):
    files.write_text(str(tmp_path / "file"), "x")
    for path in (tmp_path / "file" / "a.json", tmp_path / "missing" / "a.json"):
        with pytest.raises(UserError, match=r"a\.json cannot be written"):
            files.write_json(str(path), {})
    with pytest.raises(UserError, match=r"The folder .*file/sub cannot be made"):
        files.make_dirs(str(tmp_path / "file" / "sub"))
    with pytest.raises(UserError, match=r"nosuch://x/a\.json cannot be written"):
        files.write_json("nosuch://x/a.json", {})


def test_a_byte_order_mark_is_not_part_of_the_text(folder):
    files.write_bytes(files.join(folder, "a.csv"), b"\xef\xbb\xbfImage")
    assert files.read_text(files.join(folder, "a.csv")) == "Image"


def test_removing_what_is_not_there_is_fine(folder):
    files.remove(files.join(folder, "nothing"))
    files.remove_tree(files.join(folder, "nothing"))
    files.make_dirs(files.join(folder, "a", "b"))
    files.write_text(files.join(folder, "a", "b", "c"), "x")
    files.remove_tree(files.join(folder, "a"))
    assert not files.exists(files.join(folder, "a", "b", "c"))


def test_only_the_leftovers_of_killed_writers_are_removed(tmp_path):
    kept = ["best.keras", ".lock", "notes.12.tmp", ".hidden.tmp", "a.tmp.keras"]
    left = [".best.keras.4711.tmp.keras", ".history.csv.12.tmp.csv", ".flags.12.tmp"]
    for name in kept + left:
        (tmp_path / name).write_text("x")
    files.remove_leftovers(str(tmp_path))
    assert sorted(os.listdir(tmp_path)) == sorted(kept)


def test_paths_with_a_scheme_are_joined_with_slashes():
    assert files.join("gs://bucket/a", "b", "c.txt") == "gs://bucket/a/b/c.txt"
    assert files.dirname("gs://bucket/a/b.txt") == "gs://bucket/a"
    assert files.dirname("b.txt") == "."
    assert files.basename("gs://bucket/a/") == "a"
    assert files.is_remote("gs://bucket") and not files.is_remote("/local:/x")


def read_a_piece(path):
    with files.open_bytes(path) as file:
        return file.read(1)


@pytest.mark.parametrize(
    "ask",
    [files.exists, files.size, files.sha256, files.remove, files.remove_tree, files.list_dir]
    + [files.make_dirs, files.read_bytes, read_a_piece],
)
def test_a_file_system_that_is_not_there_is_one_sentence(ask):
    with pytest.raises(UserError, match=r"^The (file|folder) nosuch://x/a cannot be \w+.*: .+\.$"):
        ask("nosuch://x/a")


@pytest.mark.parametrize("ask", [files.size, files.sha256, read_a_piece])
def test_what_is_not_there_is_one_sentence_whatever_is_asked_of_it(folder, ask):
    with pytest.raises(UserError, match="The file .*nothing cannot be read: "):
        ask(files.join(folder, "nothing"))


def test_what_cannot_be_read_or_removed_is_one_sentence(tmp_path):
    for ask, verb in ((files.sha256, "read"), (read_a_piece, "read"), (files.remove, "removed")):
        with pytest.raises(UserError, match=f"The file {tmp_path} cannot be {verb}: Is a dir"):
            ask(str(tmp_path))


def test_a_lack_of_memory_is_not_taken_for_a_file_that_cannot_be_read(tmp_path, monkeypatch):
    def full(*_):
        raise MemoryError

    monkeypatch.setattr(files, "open", full, raising=False)
    with pytest.raises(MemoryError):
        files.read_bytes(str(tmp_path / "photograph.jpg"))
