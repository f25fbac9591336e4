"""What a manifest contradicts itself in, what is not read, and what does not fit into memory."""

from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path

import pytest

from cloudtf import machine
from cloudtf.data import records
from cloudtf.diagnosis import data as checks
from cloudtf.diagnosis.findings import Sheet
from cloudtf.training.label_notes import label_notes


def split(name="train", **changes):
    settings = {
        "num_examples": 20,
        "class_counts": {"A": 5, "B": 6},
        "combination_counts": {"A": 5, "B": 6, "": 9},
        "shards": (records.Shard(f"{name}-00000-of-00001.tfrecord", 20, 1000, "0" * 64),),
    }
    return records.Split(name, **{**settings, **changes})


def manifest(*splits, classes=("A", "B")):
    return records.Manifest(classes, 32, 32, 95, 0, {s.name: s for s in splits})


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"class_counts": {"A": 21, "B": 1}}, "counts 21 of A in the 20 examples of train"),
        ({"class_counts": {"A": 1}}, "does not count B in train"),
        ({"combination_counts": {"": 19}}, "counts 19 examples by their label combination in"),
    ],
)
def test_a_manifest_that_contradicts_itself(changes, sentence, tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "100")
    records.write_manifest(str(tmp_path), manifest(split(**changes)))
    sheet = Sheet()
    assert checks.check_manifest(sheet, str(tmp_path)) is not None
    assert sheet.wrong_count == 1
    assert sentence in " ".join(capsys.readouterr().out.split())


def test_a_manifest_that_agrees_with_itself(tmp_path, capsys):
    records.write_manifest(str(tmp_path), manifest(split(), split("val")))
    sheet = Sheet()
    checks.check_manifest(sheet, str(tmp_path))
    assert sheet.wrong_count == 0
    assert "40 examples of 32x32 (train 20, val 20), 2 classes" in capsys.readouterr().out


def test_shards_that_the_manifest_does_not_name_are_noted(records_dir, tmp_path, capsys):
    folder = Path(shutil.copytree(records_dir, tmp_path / "records"))
    shutil.copy(folder / "val-00000-of-00004.tfrecord", folder / "val-00000-of-00009.tfrecord")
    sheet = Sheet()
    checks.check_shards(sheet, str(folder), records.read_manifest(str(folder)), 0, False)
    text = " ".join(capsys.readouterr().out.split())
    assert (sheet.wrong_count, sheet.note_count) == (0, 2)
    assert "1 shards in" in text and "val-00000-of-00009.tfrecord; remove" in text
    assert "8 shards were not read" in text


def test_only_so_many_shards_are_read(records_dir, capsys):
    sheet = Sheet()
    checks.check_shards(sheet, records_dir, records.read_manifest(records_dir), 2, True)
    text = " ".join(capsys.readouterr().out.split())
    assert "note 6 shards were not read" in text
    # 12 of train's first shard, 3 of val's.
    assert "15 records agree" in text


def test_shards_are_chosen_evenly():
    shards = [records.Shard(str(i), 1, 1, "") for i in range(10)]
    assert [s.name for s in checks.evenly(shards, 4)] == ["0", "2", "5", "7"]
    assert checks.evenly(shards, 99) == shards
    assert checks.evenly(shards, None) == shards
    assert checks.evenly(shards, 0) == []


@pytest.mark.parametrize(
    ("free", "wanted", "choice", "wrong"),
    [
        # Decoded: 20 images of 3,072 bytes; encoded: 1,000 bytes.
        (1_000_000, "auto", "decoded", 0),
        (10_000, "auto", "encoded", 0),
        (1_000, "auto", "none", 0),
        (1_000_000, "decoded", "decoded", 0),
        (10_000, "decoded", "decoded", 1),
        (500, "encoded", "encoded", 1),
        (0, "none", "none", 0),
    ],
)
def test_a_cache_that_does_not_fit_is_wrong(free, wanted, choice, wrong, monkeypatch):
    monkeypatch.setattr(machine, "free_bytes", lambda: free)
    sheet = Sheet()
    made = manifest(split())
    found = checks.check_cache(sheet, made, [made.split("train")], wanted)
    assert found == {"train": choice}
    assert sheet.wrong_count == wrong


def test_notes_on_labels():
    train = split(class_counts={"A": 0, "B": 20})
    val = split("val", num_examples=12, class_counts={"A": 12, "B": 3})
    notes = label_notes(manifest(train, val), ["train"], "val", 32)
    assert [n.split(":")[0] if "batch" in n else n for n in notes] == [
        "20 training examples are fewer than a batch of 32",
        "In training no example shows A: nothing can be learnt about it.",
        "In training every example shows B: nothing can be learnt about it.",
        "In val every example shows A: PR-AUC is undefined and left out of the mean for it.",
        "B: fewer than 10 positives in val, so that PR-AUC is coarse.",
    ]
    plenty = {"num_examples": 50, "class_counts": {"A": 20, "B": 30}}
    sound = manifest(split(**plenty), split("val", **plenty))
    assert label_notes(sound, ["train"], "val", 32) == []
    assert label_notes(sound, ["train"], "val", 25, accumulate_steps=3) == [
        "50 training examples are fewer than 3 batches of 25: a step sees some of them more than "
        "once; a smaller accumulate_steps would not."
    ]


def test_folds_are_counted_together():
    folds = [split(f"fold{i}", class_counts={"A": 4 * i, "B": 6}) for i in range(3)]
    made = manifest(*[dataclasses.replace(f) for f in folds])
    notes = label_notes(made, ["fold0", "fold1"], "fold2", 8)
    assert not [n for n in notes if "training" in n]
