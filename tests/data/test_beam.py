"""The converter as an Apache Beam job; `make test-beam` runs these in Beam's own environment."""

import importlib.util
import json
import os
import shutil
import signal
import subprocess
import time

import pytest

from cloudtf import files
from cloudtf.data import tasks
from cloudtf.data.convert import ConvertConfig, convert
from cloudtf.errors import UsageError, UserError
from tests import programs

pytest.importorskip("apache_beam", reason="Apache Beam is not installed; make test-beam has it")

from apache_beam.io.filesystem import FileMetadata  # noqa: E402
from apache_beam.io.localfilesystem import LocalFileSystem  # noqa: E402

THREADS = "--direct_num_workers=2 --direct_running_mode=multi_threading"
PROCESSES = "--direct_num_workers=2 --direct_running_mode=multi_processing"


@pytest.fixture
def source(photographs_dir, tmp_path):
    """A copy that a test may spoil."""
    return shutil.copytree(photographs_dir, tmp_path / "source")


def run(source, output, **options):
    given = {"image_height": 32, "image_width": 40, "num_shards": 3}
    given["labels_csv"] = f"{source}/labels.csv"
    return convert(
        ConvertConfig(images_dir=f"{source}/images", output_dir=str(output), **{**given, **options})
    )


def content(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.mark.parametrize("beam_options", ["", THREADS, PROCESSES], ids=["one", "2t", "2p"])
def test_any_number_of_workers_gives_the_bytes_of_the_local_engine(source, tmp_path, beam_options):
    here = run(source, tmp_path / "local")
    there = run(source, tmp_path / "beam", engine="beam", beam_options=beam_options)
    assert here == there
    assert content(tmp_path / "local") == content(tmp_path / "beam")


@pytest.mark.parametrize(
    "options",
    [{"folds": 5}, {"labels_csv": None}, {"max_examples": 20, "workers": 3}],
    ids=["folds", "unlabelled", "subset"],
)
def test_all_kinds_of_sets_have_the_bytes_of_the_local_engine(source, tmp_path, options):
    run(source, tmp_path / "local", **options)
    run(source, tmp_path / "beam", engine="beam", **options)
    assert content(tmp_path / "local") == content(tmp_path / "beam")


def test_groups_and_columns_are_kept_as_by_the_local_engine(source, tmp_path):
    header, *rows = (source / "labels.csv").read_text().splitlines()
    rows = [f"{row},{'north' if number % 3 else 'south'}" for number, row in enumerate(rows)]
    rows = [f"{row},scene {number // 2}" for number, row in enumerate(rows)]
    (source / "labels.csv").write_text("\n".join([f"{header},site,scene", *rows]) + "\n")
    options = {"group_column": "scene", "keep_columns": ("site",)}
    run(source, tmp_path / "local", **options)
    run(source, tmp_path / "beam", engine="beam", **options)
    assert "photographs.csv" in content(tmp_path / "beam")
    assert content(tmp_path / "local") == content(tmp_path / "beam")


def test_photographs_are_skipped_as_by_the_local_engine(source, tmp_path, capsys):
    (source / "images" / "photo_05.jpg").write_bytes(b"I am a text")
    (source / "images" / "photo_17.jpg").unlink()
    given = {"on_error": "skip"}
    manifest = run(source, tmp_path / "beam", engine="beam", beam_options=THREADS, **given)
    assert [entry["file"] for entry in manifest.skipped] == ["photo_17.jpg", "photo_05.jpg"]
    assert "Skipped 1 images that cannot be used: 'photo_05.jpg'" in capsys.readouterr().out
    run(source, tmp_path / "local", **given)
    assert content(tmp_path / "local") == content(tmp_path / "beam")


@pytest.mark.parametrize("beam_options", ["", PROCESSES], ids=["one", "2p"])
def test_a_bad_photograph_is_named_and_only_its_shard_is_made_again(source, tmp_path, beam_options):
    given, out = {"engine": "beam", "beam_options": beam_options}, tmp_path / "out"
    path = source / "images" / "photo_05.jpg"
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(UserError, match="photo_05.jpg cannot be used: the JPEG is truncated"):
        run(source, out, **given)
    assert not (out / "dataset.json").exists()
    before = {p.name: p.stat().st_ino for p in out.glob("*.tfrecord")}
    assert len(before) == 5
    path.write_bytes(whole)
    run(source, out, **given)
    assert before.items() <= {p.name: p.stat().st_ino for p in out.glob("*.tfrecord")}.items()
    run(source, tmp_path / "local")
    assert content(out) == content(tmp_path / "local")


@pytest.mark.timeout(600)
@pytest.mark.parametrize("engine", ["beam", "local"])
def test_a_killed_job_goes_on_by_either_engine(source, tmp_path, engine):
    out = tmp_path / "out"
    words = [f"--labels_csv={source}/labels.csv", f"--images_dir={source}/images", "--folds=10"]
    words += [f"--output_dir={out}", "--image_height=32", "--image_width=40", "--num_shards=3"]
    command = programs.command("convert_slowly", 0, 0.05, "--engine=beam", *words)
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while process.poll() is None and len(list(out.glob("*.tfrecord"))) < 5:
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    assert not (out / "dataset.json").exists()
    before = {
        name: (out / name).stat().st_ino
        for name in (p.name for p in out.glob("*.tfrecord"))
        if tasks.in_place(str(out), name)
    }
    assert 4 <= len(before) < 30
    run(source, out, engine=engine, folds=10)
    assert before.items() <= {p.name: p.stat().st_ino for p in out.glob("*.tfrecord")}.items()
    run(source, tmp_path / "local", folds=10)
    assert content(out) == content(tmp_path / "local")


def test_a_finished_set_is_left_as_it_is(source, tmp_path, capsys):
    run(source, tmp_path / "out")
    before = {p.name: p.stat().st_mtime_ns for p in (tmp_path / "out").iterdir()}
    run(source, tmp_path / "out", engine="beam")
    assert "is complete already" in capsys.readouterr().out
    assert {p.name: p.stat().st_mtime_ns for p in (tmp_path / "out").iterdir()} == before


def test_a_job_that_breaks_is_one_sentence(source, tmp_path, monkeypatch):
    def carry_out(*given):
        raise UserError("The file x cannot be written: No space left on device.")

    monkeypatch.setattr(tasks, "carry_out", carry_out)
    with pytest.raises(UserError, match="The Beam job failed: .*x cannot be written: .* again goe"):
        run(source, tmp_path / "out", engine="beam")


@pytest.mark.parametrize(
    "beam_options, message",
    [
        ("--runer=FlinkRunner", "DirectRunner has no option 'runer'"),
        ("--direct_num_workers=many", "direct_num_workers: invalid int value: 'many'"),
        ("--runner='Flink", "cannot be used: No closing quotation"),
    ],
)
def test_options_that_beam_does_not_take_are_refused_first(tmp_path, beam_options, message):
    with pytest.raises(UsageError, match=message):
        run("nowhere", tmp_path / "out", engine="beam", beam_options=beam_options)
    assert not (tmp_path / "out").exists()


def test_a_runner_that_is_not_there_is_one_sentence(source, tmp_path):
    with pytest.raises(UserError, match="The Beam job failed: .*NoSuchRunner"):
        run(source, tmp_path / "out", engine="beam", beam_options="--runner=NoSuchRunner")


class Elsewhere(LocalFileSystem):
    """A remote file system: `elsewhere://tmp/x` is /tmp/x, with folders or as an object store."""

    folders = True

    @classmethod
    def scheme(cls):
        return "elsewhere"

    def has_dirs(self):
        return self.folders

    def _here(self, path):
        return path.replace("elsewhere://", "/")

    def _list(self, dir_or_prefix):
        # An object store knows names that begin alike.
        for folder, _, names in os.walk(self._here(dir_or_prefix).rpartition("/")[0]):
            for path in (os.path.join(folder, name) for name in names):
                yield FileMetadata(f"elsewhere:/{path}", os.path.getsize(path))

    def mkdirs(self, path):
        if self.folders:
            super().mkdirs(self._here(path))

    def create(self, path, *given, **named):
        if not self.folders:
            os.makedirs(os.path.dirname(self._here(path)), exist_ok=True)
        return super().create(self._here(path), *given, **named)

    def open(self, path, *given, **named):
        return super().open(self._here(path), *given, **named)

    def rename(self, sources, targets):
        super().rename([self._here(p) for p in sources], [self._here(p) for p in targets])

    def exists(self, path):
        here = self._here(path)
        return os.path.exists(here) if self.folders else os.path.isfile(here)

    def size(self, path):
        return super().size(self._here(path))

    def delete(self, paths):
        super().delete([self._here(p) for p in paths])


@pytest.mark.skipif(
    importlib.util.find_spec("tensorflow") is not None, reason="files go through TensorFlow"
)
@pytest.mark.parametrize("folders", [True, False], ids=["folders", "objects"])
@pytest.mark.parametrize("engine", ["local", "beam"])
def test_remote_files_go_through_beam_where_there_is_no_tensorflow(
    source, tmp_path, monkeypatch, engine, folders
):
    monkeypatch.setattr(Elsewhere, "folders", folders)
    odd = source.rename(tmp_path / "a [b] c")
    there = f"elsewhere:/{tmp_path}/far/set"
    run(f"elsewhere:/{odd}", there, engine=engine)
    run(odd, tmp_path / "local")
    held = {p.name: p.read_bytes() for p in (tmp_path / "far" / "set").iterdir() if p.is_file()}
    here = content(tmp_path / "local")
    manifest, other = (json.loads(each.pop("dataset.json")) for each in (held, here))
    # Only of local photographs is it noted how long they are.
    assert manifest["settings"].pop("photographs_sha256") is None
    assert other["settings"].pop("photographs_sha256")
    assert (held, manifest) == (here, other)
    assert not list((tmp_path / "far" / "set" / tasks.FOLDER).glob("*"))
    again = run(f"elsewhere:/{odd}", there, engine=engine, overwrite=True, seed=1, labels_csv=None)
    assert list(again.splits) == ["test"]
    assert sorted(files.list_dir(there)) == [
        "dataset.json",
        *(f"test-0000{i}-of-00003.tfrecord" for i in range(3)),
    ]
    with pytest.raises(UserError, match="There is no photograph|cannot be listed: No such folder"):
        run("elsewhere://nowhere", there, labels_csv=None)
