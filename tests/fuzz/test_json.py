"""JSON files of records and runs: what is read is what stands there, or it is refused."""

import contextlib
import dataclasses
import json
import math
import posixpath

import numpy as np
import pytest
from hypothesis import example, given

from cloudtf.data import records
from cloudtf.errors import UserError
from cloudtf.model import calibration, thresholds
from tests.fuzz.inputs import damaged_json, fuzz

SHA256 = "ab" * 32


def shard(name, examples):
    return {"name": name, "num_examples": examples, "num_bytes": 99, "sha256": SHA256}


MANIFEST = {
    "classes": ["Fish", "Zucker ü"],
    "image_height": 64,
    "image_width": 48,
    "jpeg_quality": 95,
    "seed": 2019,
    "splits": {
        "train": {
            "num_examples": 5,
            "class_counts": {"Fish": 3, "Zucker ü": 0},
            "combination_counts": {"": 2, "Fish": 3},
            "shards": [
                shard("train-00000-of-00002.tfrecord", 3),
                shard("train-00001-of-00002.tfrecord", 2),
            ],
        },
        "val": {
            "num_examples": 1,
            "class_counts": {},
            "combination_counts": {},
            "shards": [shard("val-00000-of-00001.tfrecord", 1)],
        },
    },
    "skipped": [{"file": "a.jpg", "reason": "row 2", "shard": "val-00000-of-00001.tfrecord"}],
    "settings": {"seed": 2019, "split_column": None},
    "format_version": 1,
}


def changed(*path, to):
    """The manifest with another value somewhere, as text."""
    value = json.loads(json.dumps(MANIFEST))
    inner = value
    for key in path[:-1]:
        inner = inner[key]
    inner[path[-1]] = to
    return json.dumps(value).encode()


FIRST = ("splits", "train", "shards", 0)


@pytest.mark.parser("dataset.json")
def test_a_manifest_is_as_it_stands_and_within_its_folder_or_refused(trial, tmp_path):
    path = tmp_path / "dataset.json"

    @fuzz(300)
    @given(damaged_json(MANIFEST))
    @example(json.dumps(MANIFEST).encode())
    @example(b"")
    @example(b"[" * 100_000)
    @example(changed("image_height", to=float("inf")))
    @example(changed("image_height", to=3.7))
    @example(changed("image_height", to=True))
    @example(changed("image_height", to="64"))
    @example(changed("seed", to=-1))
    @example(changed("classes", to="Fish"))
    @example(changed("classes", to=["Fish", "fish"]))
    @example(changed("classes", to=["Fish", "Fish"]))
    @example(changed("classes", to=["mean"]))
    @example(changed("classes", to=["../Fish"]))
    @example(changed("classes", to=["\ud800"]))
    @example(changed("splits", to=[]))
    @example(changed("skipped", to=[{"file": 1, "reason": ""}]))
    @example(changed("skipped", to=[{}]))
    @example(changed("settings", to=[1]))
    @example(changed("splits", "train", "class_counts", "Bird", to=1))
    @example(changed("splits", "../x", to=MANIFEST["splits"]["val"]))
    @example(changed(*FIRST, "name", to="../train.tfrecord"))
    @example(changed(*FIRST, "name", to="/etc/passwd"))
    @example(changed(*FIRST, "name", to="gs://x/y"))
    @example(changed(*FIRST, "name", to="val-00000-of-00001.tfrecord"))
    @example(changed(*FIRST, "num_examples", to=-3))
    @example(changed(*FIRST, "num_bytes", to=1e300))
    @example(changed(*FIRST, "sha256", to=""))
    def property(content):
        path.write_bytes(content)
        manifest = trial.run(records.read_manifest, str(tmp_path))
        if manifest is None:
            return
        raw = json.loads(content)
        assert list(manifest.classes) == raw["classes"]
        assert len({name.casefold() for name in manifest.classes}) == len(manifest.classes)
        for name in ("image_height", "image_width", "jpeg_quality", "seed"):
            value = getattr(manifest, name)
            assert value == raw[name] and type(value) is type(raw[name]) is int and value >= 0
        names = set()
        for key, split in raw["splits"].items():
            read = manifest.splits[key]
            assert "/" not in read.name == key and read.num_examples == split["num_examples"] >= 0
            assert read.class_counts == split["class_counts"]
            assert read.class_counts.keys() <= set(manifest.classes)
            assert len(read.shards) == len(split["shards"])
            for one, stated in zip(read.shards, split["shards"]):
                assert one.num_examples == stated["num_examples"] >= 0
                assert one.num_bytes == stated["num_bytes"] >= 0
                assert one.sha256 == stated["sha256"] and len(one.sha256) == 64
                assert posixpath.dirname(posixpath.normpath(f"/data/{one.name}")) == "/data"
                assert one.name not in names
                names.add(one.name)
        with contextlib.suppress(UserError):
            records.check_shards(str(tmp_path), manifest)
        manifest = dataclasses.replace(manifest, settings=None)  # They may hold NaN.
        records.write_manifest(str(tmp_path), manifest)
        assert records.read_manifest(str(tmp_path)) == manifest

    property()


ENTRY = {"target": 0.94, "threshold": 0.25, "precision": 0.5, "recall": 1}
NOTHING = {"target": 0.9, "threshold": None, "precision": None, "recall": None}
THRESHOLDS = {
    "Fish": {"recall": ENTRY, "precision": NOTHING},
    "Zucker ü": {"recall": ENTRY, "precision": ENTRY},
}


SOURCE = {"split": "val", "examples": 12, "model": "a/best.keras", "tta": False}


@pytest.mark.parser("thresholds.json")
def test_thresholds_are_numbers_from_0_to_1_or_null_or_refused(trial, tmp_path):
    path = tmp_path / "thresholds.json"

    @fuzz(300)
    @given(damaged_json(THRESHOLDS) | damaged_json({"from": SOURCE, "classes": THRESHOLDS}))
    @example(b"")
    @example(b'{"a":' * 50_000)
    @example(b"9" * 5000)
    @example(json.dumps(THRESHOLDS).replace("0.25", "NaN").encode())
    @example(json.dumps(THRESHOLDS).replace("0.25", "1e999").encode())
    @example(json.dumps(THRESHOLDS).replace("0.25", "true").encode())
    @example(json.dumps(THRESHOLDS).replace("0.25", "1" + "0" * 400).encode())
    def property(content):
        path.write_bytes(content)
        chosen = trial.run(thresholds.read, str(path))
        if chosen is None:
            return
        raw = json.loads(content)
        classes = raw.get("classes", raw) if not set(raw) - {"from", "classes"} else raw
        assert chosen.classes == classes and classes
        for by_target in classes.values():
            for target in ("recall", "precision"):
                for key in ("target", "threshold", "precision", "recall"):
                    value = by_target[target][key]
                    if value is None:
                        assert key != "target"
                    else:
                        assert math.isfinite(value) and 0 <= value <= 1
                        assert type(value) in (int, float)

    property()


CALIBRATION = {
    "Fish": {"method": "isotonic", "from": [0, 0.25, 1.0], "to": [0.1, 0.5, 1]},
    "Zucker ü": {"method": "temperature", "temperature": 1.5},
    "Sand": {"method": "none"},
}


@pytest.mark.parser("calibration.json")
def test_a_calibration_gives_probabilities_in_the_order_of_the_scores_or_is_refused(
    trial, tmp_path
):
    path = tmp_path / "calibration.json"
    scores = np.linspace(0, 1, 101)

    @fuzz(300)
    @given(damaged_json({"from": SOURCE, "classes": CALIBRATION}))
    @example(b"")
    @example(b'{"from": {}, "classes": {"a": {"method": "temperature", "temperature": 1e-320}}}')
    @example(json.dumps({"from": {}, "classes": CALIBRATION}).replace("1.5", "1" * 400).encode())
    @example(json.dumps({"from": {}, "classes": CALIBRATION}).replace("0.5", "NaN").encode())
    def property(content):
        path.write_bytes(content)
        found = trial.run(calibration.read, str(path))
        if found is None:
            return
        assert found.classes == json.loads(content)["classes"] and found.classes
        for entry in found.classes.values():
            after = calibration.apply(entry, scores)
            assert (after >= 0).all() and (after <= 1).all() and (np.diff(after) >= 0).all()

    property()
