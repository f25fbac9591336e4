"""The converter killed, started again, and started beside a set that is there already."""

import json
import os
import shutil
import signal
import subprocess
import time

import pytest
import simplejpeg
from numpy.random import default_rng

from cloudtf.data.convert import ConvertConfig, convert
from cloudtf.errors import UserError
from cloudtf.locks import FolderLock
from tests import programs

COUNT, SHARDS = 240, 12


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    folder = tmp_path_factory.mktemp("source")
    (folder / "images").mkdir()
    lines = ["image,classes"]
    for i in range(COUNT):
        pixels = default_rng(i).integers(0, 256, (300, 400, 3), "uint8")
        (folder / "images" / f"{i}.jpg").write_bytes(simplejpeg.encode_jpeg(pixels))
        lines.append(f"{i}.jpg,{'A' if i % 3 else 'B'}")
    (folder / "labels.csv").write_text("\n".join(lines))
    return folder


def config(source, output, **options):
    given = {"image_height": 64, "image_width": 64, "num_shards": SHARDS, "val_fraction": 0.0}
    return ConvertConfig(
        labels_csv=str(source / "labels.csv"),
        images_dir=str(source / "images"),
        output_dir=str(output),
        **{**given, **options},
    )


def content(folder):
    """The files, and nothing for a folder, which a whole set has none of."""
    return {p.name: p.read_bytes() if p.is_file() else None for p in folder.iterdir()}


@pytest.fixture(scope="module")
def finished(source, tmp_path_factory):
    folder = tmp_path_factory.mktemp("finished")
    convert(config(source, folder))
    return folder


@pytest.fixture
def made(finished, tmp_path):
    """A finished set that a test may spoil."""
    return shutil.copytree(finished, tmp_path / "made")


def kill_after(source, output, shards):
    """Starts a conversion and kills it (SIGKILL) when so many shards are in place.

    It waits two shards later, or a test that is held up for a moment would find it finished.
    """
    quick = (shards + 2) * COUNT // SHARDS
    flags = [f"--labels_csv={source}/labels.csv", f"--images_dir={source}/images"]
    flags += [f"--output_dir={output}", "--image_height=64", "--image_width=64"]
    flags += [f"--num_shards={SHARDS}", "--val_fraction=0", "--workers=1"]
    process = subprocess.Popen(
        programs.command("convert_slowly", quick, 60, *flags),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    while process.poll() is None:
        if output.exists() and sum(n.endswith("12.tfrecord") for n in os.listdir(output)) >= shards:
            process.send_signal(signal.SIGKILL)
            break
        time.sleep(0.001)
    return process.wait()


@pytest.mark.parametrize("shards", [0, 1, 4, 9])
def test_a_killed_run_goes_on_and_ends_with_the_same_bytes(source, finished, tmp_path, shards):
    output = tmp_path / "out"
    if shards == 0:
        output.mkdir()
    assert kill_after(source, output, shards) == -signal.SIGKILL
    assert not (output / "dataset.json").exists()
    whole = content(finished)
    for name, data in content(output).items():
        if name.endswith("12.tfrecord"):
            assert data == whole[name]
    convert(config(source, output))
    assert content(output) == whole


def test_shards_that_are_in_place_are_kept_and_leftovers_removed(source, finished, tmp_path):
    output = tmp_path / "out"
    shutil.copytree(finished, output)
    manifest = json.loads((output / "dataset.json").read_text())
    done = manifest["splits"]["train"]["shards"][:5]
    journal = {
        "settings": manifest["settings"],
        "shards": {shard["name"]: {"shard": shard, "skipped": {}} for shard in done},
    }
    (output / "dataset.json").unlink()
    (output / ".convert_progress.json").write_text(json.dumps(journal))
    for name in (
        ".train-00007-of-00012.tfrecord.123.tmp.tfrecord",
        "train-00007-of-00012.tfrecord.123.tmp",
        ".dataset.json.123.tmp.json",
        "..convert_progress.json.123.tmp.json",
    ):
        (output / name).write_bytes(b"half")
    # In the journal, but not what it says: must be made again.
    (output / done[2]["name"]).write_bytes(b"spoilt")
    before = {shard["name"]: (output / shard["name"]).stat().st_ino for shard in done}
    convert(config(source, output))
    assert content(output) == content(finished)
    after = {shard["name"]: (output / shard["name"]).stat().st_ino for shard in done}
    assert [n for n in before if before[n] != after[n]] == [done[2]["name"]]


def test_a_finished_set_is_left_as_it_is(source, made, capsys):
    before = {p.name: p.stat().st_mtime_ns for p in made.iterdir()}
    convert(config(source, made))
    assert "is complete already" in capsys.readouterr().out
    assert {p.name: p.stat().st_mtime_ns for p in made.iterdir()} == before


def test_a_run_killed_at_its_very_end_leaves_nothing_behind(source, made, finished):
    (made / ".convert_progress.json").write_text('{"settings": {}, "shards": {}}')
    (made / ".dataset.json.123.tmp.json").write_text("{")
    convert(config(source, made))
    assert content(made) == content(finished)


def test_a_shard_that_went_missing_or_was_cut_is_made_again(source, made, finished, capsys):
    (made / "train-00003-of-00012.tfrecord").unlink()
    with open(made / "train-00004-of-00012.tfrecord", "ab") as file:
        file.truncate(100)
    convert(config(source, made))
    assert "2 of 12 shards are gone or cut" in capsys.readouterr().out
    assert content(made) == content(finished)


@pytest.mark.parametrize(
    "options, difference",
    [
        ({"image_height": 48}, "image_height=64, not 48"),
        ({"jpeg_quality": 80}, "jpeg_quality=95, not 80"),
        ({"seed": 1}, "seed=2019, not 1"),
        ({"folds": 3}, "folds=0, not 3"),
        ({"classes": ("B", "A")}, "other labels or images"),
    ],
)
@pytest.mark.parametrize("state", ["finished", "killed"])
def test_a_set_made_with_other_settings_is_not_touched(source, made, options, difference, state):
    if state == "killed":
        journal = {"settings": json.loads((made / "dataset.json").read_text())["settings"]}
        (made / ".convert_progress.json").write_text(json.dumps({**journal, "shards": {}}))
        (made / "dataset.json").unlink()
    before = content(made)
    with pytest.raises(UserError, match=f"holds a set made with {difference}; .*overwrite=True"):
        convert(config(source, made, **options))
    assert content(made) == before


def test_overwrite_replaces_the_set_and_nothing_else(source, made, tmp_path):
    (made / "notes.txt").write_text("mine")
    options = {"num_shards": 5, "seed": 1}
    convert(config(source, made, overwrite=True, **options))
    assert (made / "notes.txt").read_text() == "mine"
    (made / "notes.txt").unlink()
    convert(config(source, tmp_path / "fresh", **options))
    assert content(made) == content(tmp_path / "fresh")


def test_overwrite_begins_anew_even_where_the_manifest_is_damaged(source, made, finished):
    (made / "dataset.json").write_text("{")
    with pytest.raises(UserError, match="is not JSON"):
        convert(config(source, made))
    convert(config(source, made, overwrite=True))
    assert content(made) == content(finished)


def test_a_set_made_before_a_setting_existed_was_made_with_its_default(source, made):
    path = made / "dataset.json"
    manifest = json.loads(path.read_text())
    del manifest["settings"]["folds"]
    path.write_text(json.dumps(manifest))
    convert(config(source, made))
    with pytest.raises(UserError, match="holds a set made with folds=0, not 3; "):
        convert(config(source, made, folds=3))


def test_other_labels_for_the_same_images_are_noticed(source, made, tmp_path):
    text = (source / "labels.csv").read_text()
    other = tmp_path / "labels.csv"
    other.write_text(text.replace("\n5.jpg,A", "\n5.jpg,B"))
    changed = ConvertConfig(**{**vars(config(source, made)), "labels_csv": str(other)})
    with pytest.raises(UserError, match="other labels or images"):
        convert(changed)


def test_two_conversions_do_not_share_a_folder(source, made, finished):
    (made / "dataset.json").unlink()
    with (
        FolderLock(str(made), "conversion", "output_dir"),
        pytest.raises(UserError, match="Another conversion is at work in .* another output_dir"),
    ):
        convert(config(source, made, overwrite=True))
    assert (made / ".lock").exists(), "as a killed conversion leaves it"
    assert len(content(made)) == SHARDS + 1
    convert(config(source, made, overwrite=True))
    assert content(made) == content(finished)


def test_shards_that_nothing_describes_are_not_replaced_in_silence(source, made, finished):
    (made / "dataset.json").unlink()
    before = content(made)
    with pytest.raises(UserError, match="such as train-00000-of-00012.tfrecord; .* overwrite=True"):
        convert(config(source, made))
    assert content(made) == before
    convert(config(source, made, overwrite=True))
    assert content(made) == content(finished)


@pytest.fixture
def other(source, tmp_path):
    """The same names in a folder of the same name, with other photographs."""
    (tmp_path / "other" / "images").mkdir(parents=True)
    shutil.copy(source / "labels.csv", tmp_path / "other")
    for i in range(COUNT):
        pixels = default_rng(COUNT + i).integers(0, 256, (60, 80, 3), "uint8")
        jpeg = simplejpeg.encode_jpeg(pixels)
        (tmp_path / "other" / "images" / f"{i}.jpg").write_bytes(jpeg)
    return tmp_path / "other"


@pytest.mark.parametrize("state", ["finished", "a shard is gone", "killed"])
def test_a_set_does_not_go_on_with_other_photographs(other, made, state):
    manifest = json.loads((made / "dataset.json").read_text())
    first, *rest = manifest["splits"]["train"]["shards"]
    if state != "finished":
        (made / first["name"]).unlink()
    if state == "killed":
        in_place = {shard["name"]: {"shard": shard, "skipped": {}} for shard in rest}
        journal = {"settings": manifest["settings"], "shards": in_place}
        (made / ".convert_progress.json").write_text(json.dumps(journal))
        (made / "dataset.json").unlink()
    before = content(made)
    with pytest.raises(
        UserError, match="made of other photographs than .*images_dir now .*overwrite="
    ):
        convert(config(other, made))
    assert content(made) == before
    convert(config(other, made, overwrite=True))


def test_photographs_may_be_moved_and_their_folder_spelt_in_any_way(
    source, made, tmp_path, monkeypatch, capsys
):
    moved = tmp_path / "elsewhere" / "images"
    shutil.copytree(source / "images", moved)
    monkeypatch.chdir(moved)
    for images_dir in (str(moved), ".", "../images", f"{moved}/"):
        spelt = {**vars(config(source, made)), "images_dir": images_dir}
        convert(ConvertConfig(**spelt))
        assert "is complete already" in capsys.readouterr().out
