"""`cloudtf bench`: what it measures, prints and writes."""

from __future__ import annotations

import dataclasses
import json
import shutil

import pytest

import cloudtf
from cloudtf.commands import app
from cloudtf.data import records
from cloudtf.diagnosis import bench, cases, scaling, timing
from cloudtf.diagnosis.config import BenchConfig
from cloudtf.errors import UserError


@pytest.fixture(scope="module")
def run(records_dir, photographs_dir, tmp_path_factory):
    """Status, text and JSON of a quick run."""
    import contextlib
    import io

    path = tmp_path_factory.mktemp("bench") / "bench.json"
    out = io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(io.StringIO()):
        status = app.main(
            [
                "bench",
                f"--data_dir={records_dir}",
                f"--images_dir={photographs_dir}/images",
                f"--json={path}",
                "--model=tiny",
                "--strategy=cpu",
                "--batch_size=8",
                "--rounds=1",
                "--seconds=0.01",
            ]
        )
    return status, out.getvalue(), json.loads(path.read_text()), str(path)


def test_every_part_is_measured(run):
    status, _, found, _ = run
    assert status == 0
    rows = {bench.HOST, bench.HOST_STREAMED, bench.HOST_DECODED, bench.DEVICE,
            bench.DEVICE_STREAMED, bench.DECODED, bench.EVALUATION, bench.EVALUATION_FLOAT,
            bench.DECODE_JPEG, bench.LIMIT, "read", "decode", "augment"}  # fmt: skip
    assert set(found["throughput"]) == rows
    for speed in found["throughput"].values():
        assert 0 < speed["low"] <= speed["median"] <= speed["high"]
        assert speed["turns"] == 1
    assert set(found["costs_ms"]) == {"read", "decode", "augment"}
    assert all(cost > 0 for cost in found["costs_ms"].values())


def test_the_data_and_the_machine_are_described(run):
    _, _, found, _ = run
    data = found["data"]
    assert (data["images"], data["image_height"], data["image_width"]) == (48, 64, 64)
    assert 0 < data["jpeg_bytes"] < data["record_bytes"]
    assert found["machine"]["cores"] >= 1 and found["machine"]["versions"]["numpy"]


def test_step_and_conversion_are_timed(run):
    _, _, found, _ = run
    assert found["step"]["model"] == "tiny" and found["step"]["images_per_second"] > 0
    assert found["conversion"]["images"] == 60
    assert found["conversion"]["images_per_second"] > 0


def test_the_table_is_40_columns_wide(run):
    _, text, found, _ = run
    lines = text.splitlines()
    start = next(i for i, line in enumerate(lines) if line.startswith("48 of 64x64"))
    table = [line for line in lines[start:] if "Written" not in line]
    assert max(map(len, table)) <= 40
    for name in found["throughput"]:
        assert any(line.startswith(name) for line in table)


def test_the_plan_reads_what_is_written(run):
    _, _, found, path = run
    costs = scaling.measured(path)
    assert costs.decode_ms == found["costs_ms"]["decode"]
    assert costs.image_bytes == 64 * 64 * 3


def test_a_split_that_is_not_there_is_named(records_dir, capsys):
    assert app.main(["bench", f"--data_dir={records_dir}", "--train_split=dev"]) == 1
    assert "There is no split 'dev'" in capsys.readouterr().err


def test_a_part_of_a_large_set_is_enough(records_dir):
    from cloudtf.diagnosis import samples

    manifest = records.read_manifest(records_dir)
    part, split = samples.part(manifest, ["train"], 13)
    assert split.num_examples == 24
    assert split.shards == manifest.split("train").shards[:2]
    assert list(part.splits.values()) == [split]
    # Of several, one after the other.
    _, both = samples.part(manifest, ["val", "train"], 13)
    assert both.shards == (*manifest.split("val").shards, manifest.split("train").shards[0])


def test_of_a_fold_the_others_are_measured(records_dir, tmp_path, monkeypatch):
    folds = shutil.copytree(records_dir, tmp_path / "folds")
    found = records.read_manifest(records_dir)
    splits = {
        f"fold{i}": dataclasses.replace(found.split(name), name=f"fold{i}")
        for i, name in enumerate(("train", "val"))
    }
    records.write_manifest(str(folds), dataclasses.replace(found, splits=splits))
    prepared = []

    def prepare(config, manifest, split, encoded):
        prepared.append(split.name)
        raise UserError("enough")

    monkeypatch.setattr(bench, "_cases", prepare)
    config = BenchConfig(data_dir=str(folds), fold=0, step=False)
    with pytest.raises(UserError, match="enough"):
        bench.bench(config)
    assert prepared == ["fold1"]


@pytest.mark.parametrize("place", ["length", "image"])
def test_damage_is_named(records_dir, tmp_path, capsys, place):
    folder = shutil.copytree(records_dir, tmp_path / "records")
    shard = folder / "train-00000-of-00004.tfrecord"
    content = bytearray(shard.read_bytes())
    content[3 if place == "length" else -1] ^= 1
    shard.write_bytes(content)
    assert app.main(["bench", f"--data_dir={folder}", "--nostep", "--rounds=1"]) == 1
    err = capsys.readouterr().err.splitlines()[-1]
    assert err.startswith(f"cloudtf bench: The shard {shard} is damaged (")


@pytest.mark.parametrize(
    ("flag", "sentence"),
    [
        ("--images_dir=/nonexistent", "/nonexistent"),
        ("--mixed_precision", "--mixed_precision is for GPUs and TPUs"),
    ],
)
def test_what_is_not_there_is_said_before_anything_is_measured(
    records_dir, monkeypatch, capsys, flag, sentence
):
    monkeypatch.setattr(timing, "alternate", lambda *_: pytest.fail("measured"))
    flags = [f"--data_dir={records_dir}", "--model=tiny", "--strategy=cpu", flag]
    assert app.main(["bench", *flags]) in (1, 2)
    assert sentence in capsys.readouterr().err


def test_of_several_workers_this_machine_is_measured(records_dir, monkeypatch):
    manifest = records.read_manifest(records_dir)
    config = BenchConfig(data_dir=records_dir, strategy="multi_worker", model="tiny", seconds=0.01)
    found = bench._step(config, manifest)
    assert found["images_per_second"] > 0 and "MultiWorker" not in found["device"]


def test_an_evaluation_counts_images_and_no_padding(records_dir):
    data = cloudtf.open_dataset(records_dir, "encoded")
    assert cases.evaluation(data, 64, False, 1).measure(1).items == 48
    batches = cases.evaluation(data, 20, False, 1).measure(1)
    assert batches.items == 20
