"""photographs.csv: what a conversion keeps of photographs beside their labels."""

import json

import cv2
import numpy as np
import pandas as pd
import pytest
import simplejpeg

import cloudtf
from cloudtf import csv_files, files
from cloudtf.data import convert as converting
from cloudtf.data import photograph_table, relabel
from cloudtf.data.convert import ConvertConfig, convert
from cloudtf.data.photograph_table import Photographs
from cloudtf.errors import UsageError, UserError

NAMES = [f"p{number:02}.jpg" for number in range(24)]
SCENE = {name: f"scene {number // 3}" if number < 18 else "" for number, name in enumerate(NAMES)}
SITE = {name: ("Barbados", "Kourou, east", "")[number % 3] for number, name in enumerate(NAMES)}


def frame():
    return pd.DataFrame(
        {
            "image": NAMES,
            "Fish": [number % 2 for number in range(24)],
            "Sugar": [number % 3 % 2 for number in range(24)],
            "scene": [SCENE[name] for name in NAMES],
            "site": [SITE[name] for name in NAMES],
            "day": [f"2019-05-{number + 1:02}" for number in range(24)],
        }
    )


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    """24 photographs, the last of which is the first again, turned; and their labels."""
    folder = tmp_path_factory.mktemp("photographs")
    (folder / "images").mkdir()
    for number, name in enumerate(NAMES):
        coarse = np.random.default_rng(number % 23).integers(0, 256, (6, 6, 3), np.uint8)
        image = cv2.resize(coarse, (64, 64), interpolation=cv2.INTER_CUBIC)
        image = np.ascontiguousarray(image[::-1]) if number == 23 else image
        (folder / "images" / name).write_bytes(simplejpeg.encode_jpeg(image, quality=90))
    frame().to_csv(folder / "labels.csv", index=False)
    return folder


def run(source, output, labels=None, **options):
    given = {} if labels is not None else {"labels_csv": f"{source}/labels.csv"}
    given.update(images_dir=f"{source}/images", output_dir=str(output), seed=4)
    sizes = {"image_height": 32, "image_width": 32, "num_shards": 2}
    return convert(ConvertConfig(**{**given, **sizes, **options}), labels)


def content(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


KEPT = {"group_column": "scene", "keep_columns": ("site", "day")}


@pytest.mark.parametrize("folds", [0, 3])
def test_groups_and_columns_are_kept_by_the_name_of_the_image(source, tmp_path, folds):
    run(source, tmp_path / "out", folds=folds, **KEPT)
    header, rows = csv_files.read(str(tmp_path / "out" / "photographs.csv"))
    assert header == ["Image", "split", "group", "site", "day"]
    assert [row[0] for _, row in rows] == NAMES
    data = cloudtf.open_dataset(str(tmp_path / "out"))
    for _, (name, split, *cells) in rows:
        assert name in data.names(split)
        assert cells == [SCENE[name], SITE[name], f"2019-05-{NAMES.index(name) + 1:02}"]
    for split in data.splits:
        names, groups = data.names(split), data.groups(split)
        assert data.columns(split)["site"] == tuple(SITE[name] for name in names)
        for one, its in zip(names, groups):
            for other, others in zip(names, groups):
                # The last photograph is a copy of the first, and so in its group.
                scenes = {SCENE[one] or one, SCENE[other] or other}
                assert (its == others) == (len(scenes) == 1 or scenes == {"scene 0", "p23.jpg"})


def test_nothing_is_written_unasked_and_dataset_json_does_not_change(source, tmp_path):
    run(source, tmp_path / "plain")
    run(source, tmp_path / "kept", keep_columns=("site", "day"))
    plain, kept = content(tmp_path / "plain"), content(tmp_path / "kept")
    assert set(kept) - set(plain) == {"photographs.csv"}
    assert {name: kept[name] for name in plain} == plain
    assert cloudtf.open_dataset(str(tmp_path / "plain")).columns("val") == {}


def test_columns_are_kept_later_without_converting_again(source, tmp_path, capsys):
    run(source, tmp_path / "out", keep_columns=("site",))
    before = content(tmp_path / "out")
    run(source, tmp_path / "out", keep_columns=("day", "site"))
    assert "is complete already" in capsys.readouterr().out
    after = content(tmp_path / "out")
    header, _ = csv_files.read(str(tmp_path / "out" / "photographs.csv"))
    assert header == ["Image", "split", "day", "site"]
    assert {name for name in before if before[name] != after[name]} == {"photographs.csv"}
    run(source, tmp_path / "out", overwrite=True)
    assert "photographs.csv" not in content(tmp_path / "out")


def test_a_set_of_before_gets_its_groups_by_the_same_command(source, tmp_path, capsys):
    run(source, tmp_path / "out", **KEPT)
    whole = content(tmp_path / "out")
    (tmp_path / "out" / "photographs.csv").unlink()
    data = cloudtf.open_dataset(str(tmp_path / "out"))
    assert len(set(data.groups("train"))) >= len(data.names("train")) - 1
    assert "has no photographs.csv, so its groups are not known" in capsys.readouterr().out
    run(source, tmp_path / "out", **KEPT)
    assert content(tmp_path / "out") == whole


def test_a_killed_conversion_a_frame_and_a_remote_folder_give_the_same(
    source, tmp_path, monkeypatch
):
    run(source, tmp_path / "whole", **KEPT)
    whole = content(tmp_path / "whole")

    def killed(*args):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(converting, "_keep_columns", killed)
        run(source, tmp_path / "killed", **KEPT)
    assert not (tmp_path / "killed" / "photographs.csv").exists()
    run(source, tmp_path / "killed", **KEPT)
    assert content(tmp_path / "killed") == whole
    run(source, tmp_path / "frame", labels=frame(), **KEPT)
    assert content(tmp_path / "frame") == whole
    run(source, "ram://kept", **KEPT)
    assert files.read_bytes("ram://kept/photographs.csv") == whole["photographs.csv"]
    assert cloudtf.open_dataset("ram://kept").columns("val").keys() == {"site", "day"}


def test_photographs_that_are_left_out_are_not_in_it(source, tmp_path):
    (tmp_path / "images").mkdir()
    for path in (source / "images").iterdir():
        bad = path.name == "p05.jpg"
        (tmp_path / "images" / path.name).write_bytes(
            b"no photograph" if bad else path.read_bytes()
        )
    run(source, tmp_path / "out", images_dir=f"{tmp_path}/images", on_error="skip", **KEPT)
    _, rows = csv_files.read(str(tmp_path / "out" / "photographs.csv"))
    assert [row[0] for _, row in rows] == [name for name in NAMES if name != "p05.jpg"]


def test_verify_finds_a_table_that_is_not_of_the_records(source, tmp_path, capsys):
    run(source, tmp_path / "out", verify=True, **KEPT)
    path = tmp_path / "out" / "photographs.csv"
    text = path.read_text()
    changes = {
        "'p07.jpg' not at all": ("p07.jpg", "other.jpg"),
        "an image twice": ("p07.jpg", "p08.jpg"),
        "two columns of one name": ("site,", "day,"),
        "cells where the header has": ("p07.jpg,", ""),
    }
    for message, change in changes.items():
        path.write_text(text.replace(*change))
        with pytest.raises(UserError, match=message):
            convert(ConvertConfig(output_dir=str(tmp_path / "out"), verify=True))
    run(source, tmp_path / "out", **KEPT)
    assert path.read_text() == text


def test_labels_by_a_model_keep_what_is_known_of_the_others(source, tmp_path):
    manifest = run(source, tmp_path / "out", **KEPT)
    (tmp_path / "more").mkdir()
    relabel.copy_shards(str(tmp_path / "out"), manifest, str(tmp_path / "more"))
    found = photograph_table.read(str(tmp_path / "more"), manifest)
    assert found == photograph_table.read(str(tmp_path / "out"), manifest)
    assert found.groups_of(["new.jpg"]) == ("new.jpg",)
    assert found.columns_of(["new.jpg"]) == {"site": ("",), "day": ("",)}


def test_groups_are_kept_beside_splits_that_the_table_decides(source, tmp_path, capsys):
    labels = frame().assign(part=["train"] * 16 + ["val"] * 8)
    options = {"split_column": "part", "near_duplicates": "ignore", "group_column": "scene"}
    manifest = run(source, tmp_path / "out", labels=labels, **options)
    assert {name: split.num_examples for name, split in manifest.splits.items()} == {
        "train": 16, "val": 8,
    }  # fmt: skip
    said = capsys.readouterr().out
    assert "A group is in several splits: 'scene 5' in train and val. Scores there" in said
    data = cloudtf.open_dataset(str(tmp_path / "out"))
    assert len(set(data.groups("val"))) == 1 + 6 and len(set(data.groups("train"))) == 6


def test_groups_that_share_a_copy_are_one():
    known = Photographs(
        groups={"a": "1", "b": "1", "c": "2", "d": "2", "e": "3"},
        near_duplicates=(("b", "c"), ("x", "y")),
    )
    a, b, c, d, e, x, z = known.groups_of("abcdexz")
    assert a == b == c == d and len({a, e, x, z}) == 4
    assert known.shared_groups("aexz") is None and known.shared_groups("ad") == (a, a)


def test_what_cannot_be_kept_is_named(source, tmp_path):
    def refused(kind, message, **options):
        with pytest.raises(kind, match=message):
            run(source, tmp_path / "out", **options)

    refused(UsageError, "keep_columns='split' would be a second column", keep_columns=("split",))
    refused(
        UsageError, "'site' is in keep_columns and in label_columns",
        keep_columns=("site",), label_columns=("site",),
    )  # fmt: skip
    refused(UsageError, r"has no column 'place' \(keep_columns\)", keep_columns=("place",))
    refused(UsageError, "keep_columns needs labels_csv", keep_columns=("a",), labels_csv=None)
    rows = pd.concat([frame(), frame().assign(site="elsewhere")])
    with pytest.raises(UserError, match="row 24 gives p00.jpg another site than row 0"):
        run(source, tmp_path / "rows", labels=rows.reset_index(drop=True), keep_columns=("site",))
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "photographs.csv").write_text("mine\n")
    refused(UserError, "is there already and is not written by a conversion", **KEPT)
    run(source, tmp_path / "out", overwrite=True)
    assert (tmp_path / "out" / "photographs.csv").read_text() == "mine\n"
    assert cloudtf.open_dataset(str(tmp_path / "out")).columns("train") == {}
    manifest = json.loads((tmp_path / "out" / "dataset.json").read_text())
    assert "keep_columns" not in manifest["settings"]
