"""Shards made as tasks for other machines, without a cluster's program."""

import importlib.util
import json
import os
import shutil

import pytest

from cloudtf.data import selection, shards, tasks
from cloudtf.data.convert import ConvertConfig, convert
from cloudtf.data.recipe import Recipe
from cloudtf.errors import UsageError, UserError

SHARDS = 3


@pytest.fixture
def source(photographs_dir, tmp_path):
    """A copy that a test may spoil."""
    return shutil.copytree(photographs_dir, tmp_path / "source")


def config(source, output, **options):
    given = {"image_height": 32, "image_width": 40, "num_shards": SHARDS, "max_examples": 24}
    return ConvertConfig(
        labels_csv=f"{source}/labels.csv",
        images_dir=f"{source}/images",
        output_dir=str(output),
        **{**given, **options},
    )


def content(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}


def hand_out(settings):
    table = selection.examples(settings)
    plans = [
        plan
        for split, rows in selection.divide(settings, table).items()
        for plan in shards.plan(split, rows, SHARDS, 1000)
    ]
    os.makedirs(settings.output_dir, exist_ok=True)
    tasks.prepare(settings.output_dir)
    for plan in plans:
        tasks.hand_out(settings.output_dir, plan, table)
    recipe = Recipe(settings.images_dir, 32, 40, 95, skip=settings.on_error == "skip")
    return [plan.name for plan in plans], recipe


def test_a_task_gives_the_bytes_that_the_converter_writes(source, tmp_path):
    manifest = convert(config(source, tmp_path / "local"))
    names, recipe = hand_out(config(source, tmp_path / "tasks"))
    done = []
    for name in reversed(names):
        tasks.carry_out(str(tmp_path / "tasks"), name, recipe, 2, done.append)
    assert sum(done) == 24
    whole = content(tmp_path / "local")
    whole.pop("dataset.json")
    assert content(tmp_path / "tasks") == whole
    found = [tasks.result(str(tmp_path / "tasks"), name) for name in names]
    assert [w.shard for w in found] == [s for v in manifest.splits.values() for s in v.shards]


def test_a_shard_in_place_is_kept_and_a_spoilt_one_made_again(source, tmp_path):
    names, recipe = hand_out(config(source, tmp_path))
    folder, made = str(tmp_path), []
    for name in names[:2]:
        tasks.carry_out(folder, name, recipe, 1, made.append)
    before = [(tmp_path / name).stat().st_ino for name in names[:2]]
    whole = (tmp_path / names[1]).read_bytes()
    (tmp_path / names[1]).write_bytes(whole[:-1] + b"x")
    assert tasks.in_place(folder, names[0]) == tasks.result(folder, names[0])
    assert tasks.in_place(folder, names[1]) is None
    for name in names[:2]:
        tasks.carry_out(folder, name, recipe, 1, made.append)
    after = [(tmp_path / name).stat().st_ino for name in names[:2]]
    assert before[0] == after[0] and before[1] != after[1]
    assert (tmp_path / names[1]).read_bytes() == whole


def test_a_bad_photograph_is_reported_and_does_not_stop_the_worker(source, tmp_path):
    names, recipe = hand_out(config(source, tmp_path / "out"))
    for path in (source / "images").iterdir():
        path.write_bytes(b"I am a text")
    tasks.carry_out(str(tmp_path / "out"), names[0], recipe, 1, lambda n: None)
    with pytest.raises(UserError, match=r"photo_\d\d.jpg cannot be used: the file is text"):
        tasks.result(str(tmp_path / "out"), names[0])
    assert tasks.in_place(str(tmp_path / "out"), names[0]) is None
    assert not (tmp_path / "out" / names[0]).exists()


def test_the_local_engine_goes_on_from_the_tasks_of_an_interrupted_job(source, tmp_path):
    convert(config(source, tmp_path / "fresh"))
    out = tmp_path / "out"
    bad = source / "images" / "photo_05.jpg"
    whole = bad.read_bytes()
    bad.write_bytes(b"I am a text")
    with pytest.raises(UserError, match="cannot be used"):
        convert(config(source, out, max_examples=None))  # Leaves the journal with its settings.
    bad.write_bytes(whole)
    for name in content(out):
        if name.endswith("tfrecord"):
            (out / name).unlink()
    settings = config(source, out, max_examples=None)
    names, recipe = hand_out(settings)
    tasks.carry_out(str(out), names[4], recipe, 1, lambda n: None)
    before = (out / names[4]).stat().st_ino
    convert(settings)
    assert (out / names[4]).stat().st_ino == before
    assert not (out / tasks.FOLDER).exists()
    convert(config(source, tmp_path / "all", max_examples=None))
    assert content(out) == content(tmp_path / "all")


def test_tasks_that_nothing_says_the_settings_of_are_not_trusted(source, tmp_path):
    out = tmp_path / "out"
    names, recipe = hand_out(config(source, out, seed=7))
    for name in names:
        tasks.carry_out(str(out), name, recipe, 1, lambda n: None)
    with pytest.raises(UserError, match="holds shards that nothing describes, such as train-00000"):
        convert(config(source, out))
    for name in names:
        (out / name).unlink()
    convert(config(source, out))
    convert(config(source, tmp_path / "fresh"))
    assert content(out) == content(tmp_path / "fresh")
    assert not (out / tasks.FOLDER).exists()


def test_a_reported_shard_of_other_photographs_is_refused(source, tmp_path):
    settings, out = config(source, tmp_path / "out"), tmp_path / "out"
    convert(settings)
    made = json.loads((out / "dataset.json").read_text())["settings"]
    for path in out.iterdir():
        path.unlink()
    (out / ".convert_progress.json").write_text(json.dumps({"settings": made, "shards": {}}))
    names, recipe = hand_out(settings)
    tasks.carry_out(str(out), names[0], recipe, 1, lambda n: None)
    for path in (source / "images").iterdir():
        path.write_bytes(path.read_bytes() + b"\0")
    with pytest.raises(UserError, match=f"other photographs .*files for {names[0]} had"):
        convert(settings)
    convert(config(source, out, overwrite=True))


@pytest.mark.parametrize(
    "options, message",
    [
        ({"engine": "beam", "verify": True}, "verify reads .* engine='beam', and run `cloudtf"),
        ({"beam_options": "--runner=X"}, "beam_options needs engine='beam'"),
        ({"engine": "spark"}, "engine='spark' is not one of local, beam"),
    ],
)
def test_what_an_engine_cannot_do_is_refused(options, message):
    with pytest.raises(UsageError, match=message):
        config("source", "out", **options)


@pytest.mark.skipif(importlib.util.find_spec("apache_beam") is not None, reason="Beam is here")
def test_without_beam_the_extra_is_named_before_anything_is_read(tmp_path):
    with pytest.raises(UserError, match=r'not installed; .*: pip install "cloudtf\[beam\]"'):
        convert(config("nowhere", tmp_path / "out", engine="beam"))
