"""Photographs in folders that say their classes."""

import collections
import dataclasses

import cv2
import numpy as np
import pytest

from cloudtf.data import folders, label_csv, sources
from cloudtf.data.convert import ConvertConfig, convert
from cloudtf.data.labels import combination
from cloudtf.data.layouts.facts import Options
from cloudtf.errors import UserError


def photograph(number):
    return np.random.default_rng(number).integers(0, 256, (40, 60, 3), np.uint8)


def write(folder, names):
    """Photographs of these names; `name=other` is a copy of that one."""
    for number, name in enumerate(names):
        name, _, other = name.partition("=")
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if other:
            path.write_bytes((folder / other).read_bytes())
        elif name.endswith(".txt"):
            path.write_text("about them")
        else:
            cv2.imwrite(str(path), photograph(number))
    return str(folder)


def read(folder, names, **options):
    images = write(folder, names)
    found = sources.image_names(images)
    options = Options("rows", label_separator="none", **options)
    table = label_csv.read_labels(folders.table(images, found), options, found)
    table = sources.labelled(images, table, found).table
    assert not table.problems
    classes = (combination(row, table.classes) for row in table.labels)
    return dict(zip(table.names, classes)), table


@pytest.mark.parametrize(
    "names, right",
    [
        (["cat/1.jpg", "dog/1.jpg"], {"cat/1.jpg": "cat", "dog/1.jpg": "dog"}),
        (
            ["Open Water/1.jpg", "dog/2.png", ".hidden/3.jpg", "dog/.4.jpg", "dog/note.txt"],
            {"Open Water/1.jpg": "Open Water", "dog/2.png": "dog"},
        ),
        (
            ["cat/1.jpg", "cat/more/2.jpg", "dog/3.jpg"],
            {"cat/1.jpg": "cat", "cat/more/2.jpg": "cat", "dog/3.jpg": "dog"},
        ),
        (["train/cat/1.jpg", "val/dog/2.jpg"], {"train/cat/1.jpg": "cat", "val/dog/2.jpg": "dog"}),
        (["0/1.jpg", "1/2.jpg"], {"0/1.jpg": "0", "1/2.jpg": "1"}),
        (
            ["pets/all/cat/1.jpg", "pets/all/dog/2.jpg"],
            {"pets/all/cat/1.jpg": "cat", "pets/all/dog/2.jpg": "dog"},
        ),
        (
            ["set/train/all/cat/1.jpg", "set/test/all/cat/2.jpg"],
            {"set/test/all/cat/2.jpg": "cat", "set/train/all/cat/1.jpg": "cat"},
        ),
        (
            ["cat/images/1.jpg", "dog/images/2.jpg"],
            {"cat/images/1.jpg": "cat", "dog/images/2.jpg": "dog"},
        ),
        (["yes/1.jpg", "no/2.jpg"], {"no/2.jpg": "no", "yes/1.jpg": "yes"}),
        *[
            ([f"{name}/1.jpg", "cat/2.jpg"], {f"{name}/1.jpg": name, "cat/2.jpg": "cat"})
            for name in ("none", "NA", "nan", "null", "None", "-", "0", "1", "-1", "background")
        ],
        (["nan/1.jpg", "null/2.jpg"], {"nan/1.jpg": "nan", "null/2.jpg": "null"}),
        (["No_Finding/1.jpg", "cat/2.jpg"], {"No_Finding/1.jpg": "", "cat/2.jpg": "cat"}),
        (
            ["train/NA/1.jpg", "train/cat/2.jpg", "val/NA/3.jpg"],
            {"train/NA/1.jpg": "NA", "train/cat/2.jpg": "cat", "val/NA/3.jpg": "NA"},
        ),
        (
            ["cat/1.jpg", "dog/7.jpg=cat/1.jpg", "dog/2.jpg", "dog/3.jpg=dog/2.jpg"],
            {"cat/1.jpg": "cat|dog", "dog/2.jpg": "dog", "dog/3.jpg": "dog"},
        ),
    ],
)
def test_the_folder_of_a_photograph_is_its_class(tmp_path, names, right):
    found, _ = read(tmp_path, names)
    assert found == right


def test_folders_of_which_either_level_may_be_the_class_are_refused(tmp_path):
    names = ["pets/cat/1.jpg", "pets/dog/2.jpg", "wild/fox/3.jpg"]
    with pytest.raises(UserError, match=r"\(pets, wild\), folder2 \(cat, dog, fox\); name it, .*"):
        read(tmp_path, names)
    found, _ = read(tmp_path, names, label_columns=("folder2",))
    assert list(found.values()) == ["cat", "dog", "fox"]
    found, _ = read(tmp_path, names, label_columns=("folder1", "folder2"))
    assert list(found.values()) == ["cat|pets", "dog|pets", "fox|wild"]


def test_the_upper_folders_may_be_the_splits(tmp_path):
    _, table = read(tmp_path, ["train/cat/1.jpg", "val/cat/2.jpg"], columns=("split",))
    assert table.columns == {"split": ("train", "val")}
    _, table = read(tmp_path / "in", ["x/test/a/1.jpg", "x/train/a/2.jpg"], columns=("split",))
    assert table.columns == {"split": ("test", "train")}


@pytest.mark.parametrize(
    "names, part",
    [
        (["JPEGImages/1.jpg", "SegmentationClass/1.png"], "called JPEGImages, SegmentationClass"),
        (["train/images/1.jpg", "valid/images/2.jpg"], "called images, which are the parts"),
        (["images/train/1.jpg", "images/val/2.jpg"], "called images, which are the parts of a set"),
        (["train_images/1.jpg", "test_images/2.jpg"], "called test_images, train_images, which"),
        (["images_001/1.png", "images_002/2.png"], "called images_001, images_002, which are"),
        (
            ["train/cat/images/1.jpg", "val/images/2.jpg"],
            "image val/images/2.jpg .* leave its folder out with images_dir='.*train'",
        ),
        (["train/cat/1.jpg", "test/2.jpg"], "leave its folder out with images_dir='.*train'"),
    ],
)
def test_folders_that_are_no_classes_are_named_with_what_to_give(tmp_path, names, part):
    with pytest.raises(UserError, match=part):
        read(tmp_path, names)


@pytest.mark.parametrize(
    "names, part",
    [
        (
            ["cat/1.jpg", "dog/2.jpg", "logo.png"],
            "'logo.png': move these away, or into the folders",
        ),
        (["holiday/1.jpg", "holiday/2.jpg"], "are in one folder of a class, holiday"),
        (
            ["cat/1.jpg", "dog/2.jpg", "masks/3.jpg"],
            "has a folder 'masks' beside those of classes: .* with classes",
        ),
    ],
)
def test_folders_of_which_nothing_can_be_learnt_are_refused(tmp_path, names, part):
    images = write(tmp_path / "images", names)
    with pytest.raises(UserError, match=part):
        convert(ConvertConfig(images_dir=images, output_dir=str(tmp_path / "out")))


def test_an_image_beside_the_folders_is_named(tmp_path):
    with pytest.raises(UserError, match="x.jpg of .* is in no folder of a class; move it"):
        read(tmp_path, ["x.jpg", "cat/1.jpg"])
    with pytest.raises(UserError, match="There is no folder with images in"):
        read(tmp_path / "flat", ["x.jpg"])


def test_folders_are_converted_without_a_flag_and_say_so(tmp_path, capsys):
    names = [f"{kind}/{i}.jpg" for kind in ("cat", "dog") for i in range(5)]
    images = write(tmp_path / "images", [*names, "dog/copy.jpg=cat/0.jpg"])
    config = ConvertConfig(
        images_dir=images, output_dir=str(tmp_path / "out"), image_height=32, image_width=32
    )
    manifest = convert(config)
    assert manifest.classes == ("cat", "dog")
    counts = collections.Counter()
    for split in manifest.splits.values():
        counts.update(split.combination_counts)
    assert counts == {"cat": 4, "dog": 5, "cat|dog": 1}
    said = capsys.readouterr().out
    assert "The folder " in said and "1 copy of a photograph adds its folder's class" in said
    again = dataclasses.replace(config, unlisted="absent", output_dir=str(tmp_path / "again"))
    assert sum(split.num_examples for split in convert(again).splits.values()) == 10


def test_what_of_the_folders_is_passed_over_is_said(tmp_path, capsys):
    names = [f"{kind}/{i}.jpg" for kind in ("cat", "dog") for i in range(5)]
    images = write(tmp_path / "images", [*names, "dog/note.txt"])
    (tmp_path / "images" / "yak" / "old").mkdir(parents=True)
    write(tmp_path / "elsewhere", ["1.jpg"])
    (tmp_path / "images" / "fox").symlink_to(tmp_path / "elsewhere")
    config = {"images_dir": images, "output_dir": str(tmp_path / "out"), "image_height": 32}
    convert(ConvertConfig(**config, image_width=32))
    said = capsys.readouterr().out
    assert "1 file of other kinds (1 .txt) and 1 folder without a photograph ('yak') and" in said
    assert "and 1 folder ('fox'; follow_links=True takes what is in it)." in said
    assert "such as   cat/0.jpg: cat\n  such as   dog/0.jpg: dog\n" in said and "row" not in said
    found = convert(ConvertConfig(**config, image_width=32, follow_links=True, overwrite=True))
    assert found.classes == ("cat", "dog", "fox")


def test_the_level_of_the_classes_is_a_setting_of_the_converter(tmp_path):
    names = [f"{i}/{kind}/{i}.jpg" for kind in ("cat", "dog") for i in range(3)]
    config = {"images_dir": write(tmp_path / "images", names), "image_height": 32}
    config.update(image_width=32, output_dir=str(tmp_path / "out"))
    with pytest.raises(
        UserError, match="any level may be .*; name it, such as label_columns='folder2'"
    ):
        convert(ConvertConfig(**config))
    manifest = convert(ConvertConfig(**config, label_columns=("folder2",)))
    assert manifest.classes == ("cat", "dog")


def test_the_splits_of_folders_are_kept_without_naming_the_kind(tmp_path):
    names = [f"{part}/{kind}/{part}.jpg" for part in ("train", "val") for kind in ("cat", "dog")]
    images = write(tmp_path / "images", names)
    config = {"images_dir": images, "output_dir": str(tmp_path / "out"), "image_height": 32}
    manifest = convert(ConvertConfig(**config, image_width=32, split_column="split"))
    assert {name: split.num_examples for name, split in manifest.splits.items()} == {
        "train": 2,
        "val": 2,
    }


def test_photographs_that_are_not_in_folders_stay_unlabelled(tmp_path):
    images = write(tmp_path / "images", ["1.jpg", "more/2.jpg"])
    config = ConvertConfig(
        images_dir=images, output_dir=str(tmp_path / "out"), image_height=32, image_width=32
    )
    assert convert(config).split("test").num_examples == 1
