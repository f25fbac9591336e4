import contextlib
import dataclasses
import io
import json
import os
import resource
import subprocess
import sys

import cv2
import numpy as np
import pytest
import simplejpeg

from cloudtf import files
from cloudtf.data import records, tfrecord
from cloudtf.data.convert import ConvertConfig, convert
from cloudtf.data.recipe import make_record
from cloudtf.errors import UsageError, UserError
from tests import programs

CLASSES = ("Fish", "Flower", "Gravel", "Sugar")
COUNT = 60


def photograph(seed, height=90, width=120):
    coarse = np.random.default_rng(seed).integers(0, 256, (5, 7, 3), np.uint8)
    image = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)
    return simplejpeg.encode_jpeg(image, quality=90)


def label(index):
    return np.random.default_rng(index + 1000).random(4) < (0.5, 0.4, 0.5, 0.7)


def make_set(folder, count=COUNT):
    """A Kaggle-shaped set: `images/` and `train.csv` in `folder`, which may be remote."""
    files.make_dirs(files.join(folder, "images"))
    lines = ["Image_Label,EncodedPixels"]
    for i in range(count):
        files.write_bytes(files.join(folder, "images", f"img_{i:03d}.jpg"), photograph(i))
        for name, present in zip(CLASSES, label(i)):
            lines.append(f"img_{i:03d}.jpg_{name},{'1 5 20 7' if present else ''}")
    files.write_text(files.join(folder, "train.csv"), "\n".join(lines) + "\n")


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    folder = tmp_path_factory.mktemp("source")
    make_set(str(folder))
    return folder


@pytest.fixture
def own(tmp_path):
    """A small set that a test may spoil."""
    make_set(str(tmp_path), 12)
    return tmp_path


def run(folder, output, **options):
    given = {"image_height": 32, "image_width": 40, "labels_csv": f"{folder}/train.csv"}
    return convert(
        ConvertConfig(images_dir=f"{folder}/images", output_dir=str(output), **{**given, **options})
    )


def content(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def examples(folder, manifest, split):
    import tensorflow as tf

    result = {}
    for shard in manifest.split(split).shards:
        for raw in tf.data.TFRecordDataset(files.join(str(folder), shard.name)):
            features = tf.train.Example.FromString(raw.numpy()).features.feature
            name = features[records.FILENAME].bytes_list.value[0].decode()
            assert name not in result
            result[name] = features
    return result


def test_records_hold_every_image_once_with_its_label(source, tmp_path):
    manifest = run(source, tmp_path / "out")
    found = {s: examples(tmp_path / "out", manifest, s) for s in ("train", "val")}
    assert (len(found["train"]), len(found["val"])) == (48, 12)
    assert sorted([*found["train"], *found["val"]]) == sorted(os.listdir(source / "images"))
    for name, features in {**found["train"], **found["val"]}.items():
        index = int(name[4:7])
        assert list(features[records.LABEL].int64_list.value) == label(index).tolist()
        encoded = features[records.ENCODED].bytes_list.value[0]
        assert simplejpeg.decode_jpeg(encoded).shape == (32, 40, 3)
        assert features[records.HEIGHT].int64_list.value[0] == 32
        assert features[records.WIDTH].int64_list.value[0] == 40
        assert features[records.FORMAT].bytes_list.value[0] == b"jpeg"
        full = simplejpeg.decode_jpeg(photograph(index))
        area = cv2.resize(full, (40, 32), interpolation=cv2.INTER_AREA).astype(float)
        assert np.abs(simplejpeg.decode_jpeg(encoded) - area).mean() < 6


def test_the_manifest_counts_what_the_shards_hold(source, tmp_path):
    manifest = run(source, tmp_path / "out")
    assert manifest == records.read_manifest(str(tmp_path / "out"))
    raw = json.loads((tmp_path / "out" / "dataset.json").read_text())
    assert raw["classes"] == list(CLASSES)
    assert (raw["image_height"], raw["image_width"], raw["skipped"]) == (32, 40, [])
    for name in ("train", "val"):
        found = examples(tmp_path / "out", manifest, name)
        total = np.array([label(int(image[4:7])) for image in found]).sum(axis=0)
        split = raw["splits"][name]
        assert split["num_examples"] == len(found) == sum(split["combination_counts"].values())
        assert split["class_counts"] == dict(zip(CLASSES, total.tolist()))
        lengths = [shard["num_examples"] for shard in split["shards"]]
        assert sum(lengths) == len(found) and max(lengths) - min(lengths) <= 1
        for shard in split["shards"]:
            path = str(tmp_path / "out" / shard["name"])
            assert (files.size(path), files.sha256(path)) == (shard["num_bytes"], shard["sha256"])
            content = files.read_bytes(path)
            frames = [content[a:b] for a, b in tfrecord.spans(io.BytesIO(content), len(content))]
            edges = [int.from_bytes(frame[-4:], "little") for frame in (frames[0], frames[-1])]
            assert shard["edge_crcs"] == edges


def test_names_say_the_number_of_shards_and_nothing_else_is_left(source, tmp_path):
    run(source, tmp_path / "out", num_shards=3)
    shards = [f"{s}-0000{i}-of-00003.tfrecord" for s in ("train", "val") for i in range(3)]
    assert sorted(os.listdir(tmp_path / "out")) == ["dataset.json", *shards]


def test_the_manifest_says_how_deep_the_photographs_were(own, tmp_path, capsys):
    names = sorted(os.listdir(own / "images"))
    for number, bits in enumerate((12, 16, 12)):
        deep = np.full((30, 40, 3), (1 << bits) - 1, np.uint16)
        (own / "images" / names[number]).write_bytes(cv2.imencode(".png", deep)[1].tobytes())
    run(own, tmp_path / "out")
    splits = json.loads((tmp_path / "out" / "dataset.json").read_text())["splits"].values()
    total = {"8": len(names) - 3, "12": 2, "16": 1}
    for bits, count in total.items():
        assert sum(split["depths"].get(bits, 0) for split in splits) == count
        shards = [shard for split in splits for shard in split["shards"]]
        assert sum(shard["depths"].get(bits, 0) for shard in shards) == count
    printed = capsys.readouterr().out
    assert "2 photographs have values of 12 bits, of which the records have the upper 8." in printed
    assert "1 photograph has values of 16 bits" in printed
    assert records.read_manifest(str(tmp_path / "out")).joined(["train", "val"]).depths == total


def test_the_same_seed_gives_the_same_bytes_for_any_number_of_threads(source, tmp_path):
    for workers in (1, 2, 7):
        run(source, tmp_path / str(workers), workers=workers)
    assert content(tmp_path / "1") == content(tmp_path / "2") == content(tmp_path / "7")
    run(source, tmp_path / "other", seed=1)
    assert content(tmp_path / "1") != content(tmp_path / "other")


def test_a_record_is_a_pure_function_of_the_image_bytes():
    args = (photograph(0), "a.jpg", np.array([1, 0, 1, 1]), 32, 40, 95)
    assert make_record(*args) == make_record(*args)


def test_the_converter_does_not_load_tensorflow(source, tmp_path):
    modules = programs.answer(
        "convert_and_list_modules", source / "train.csv", source / "images", tmp_path / "out"
    )
    assert not {"tensorflow", "pandas"} & set(modules)


def test_folds_take_the_place_of_train_and_val(source, tmp_path):
    manifest = run(source, tmp_path / "out", folds=5)
    assert list(manifest.splits) == [f"fold{i}" for i in range(5)]
    assert [split.num_examples for split in manifest.splits.values()] == [12] * 5
    names = [n for s in manifest.splits for n in examples(tmp_path / "out", manifest, s)]
    assert sorted(names) == sorted(os.listdir(source / "images"))


def with_column(source, target, name, value):
    lines = (source / "train.csv").read_text().splitlines()
    rows = [f"{line},{value(int(line[4:7]))}" for line in lines[1:]]
    target.write_text("\n".join([f"{lines[0]},{name}", *rows]))
    return str(target)


def test_a_column_may_name_the_splits(source, tmp_path):
    path = with_column(source, tmp_path / "l.csv", "part", lambda i: "dev" if i % 3 else "held_out")
    manifest = run(source, tmp_path / "out", labels_csv=path, split_column="part")
    assert {s: v.num_examples for s, v in manifest.splits.items()} == {"dev": 40, "held_out": 20}
    for name in examples(tmp_path / "out", manifest, "dev"):
        assert int(name[4:7]) % 3


@pytest.mark.parametrize("folds", [0, 3])
def test_groups_are_never_divided(source, tmp_path, folds):
    path = with_column(source, tmp_path / "l.csv", "scene", lambda i: f"s{i // 4}")
    manifest = run(source, tmp_path / "out", labels_csv=path, group_column="scene", folds=folds)
    scenes = [
        {int(name[4:7]) // 4 for name in examples(tmp_path / "out", manifest, split)}
        for split in manifest.splits
    ]
    assert sum(map(len, scenes)) == len(set().union(*scenes)) == 15
    assert all(scenes)


def test_images_without_labels_go_to_a_test_split_in_the_order_of_their_names(source, tmp_path):
    manifest = run(source, tmp_path / "out", labels_csv=None)
    assert (list(manifest.splits), manifest.classes) == (["test"], ())
    found = examples(tmp_path / "out", manifest, "test")
    assert list(found) == sorted(os.listdir(source / "images"))
    assert records.LABEL not in found["img_000.jpg"]
    assert manifest.split("test").class_counts == {}


def test_max_examples_takes_a_seeded_random_subset(source, tmp_path):
    subsets = []
    for out, seed in (("a", 0), ("b", 0), ("c", 1)):
        manifest = run(source, tmp_path / out, max_examples=20, seed=seed)
        subsets.append({n for s in manifest.splits for n in examples(tmp_path / out, manifest, s)})
    assert len(subsets[0]) == 20 and subsets[0] == subsets[1] != subsets[2]


def test_a_split_need_not_have_validation_data(source, tmp_path):
    assert list(run(source, tmp_path / "out", val_fraction=0.0).splits) == ["train"]


def test_names_without_extension_find_their_file(own, tmp_path):
    text = (own / "train.csv").read_text().replace(".jpg_", "_")
    (own / "train.csv").write_text(text)
    manifest = run(own, tmp_path / "out")
    assert "img_000.jpg" in {
        n for s in manifest.splits for n in examples(tmp_path / "out", manifest, s)
    }


def test_images_in_folders_below_are_found(own, tmp_path):
    (own / "images" / "deep").mkdir()
    for path in (own / "images").glob("*.jpg"):
        path.rename(own / "images" / "deep" / path.name)
    text = (own / "train.csv").read_text().replace("img_", "deep/img_")
    (own / "train.csv").write_text(text)
    assert sum(s.num_examples for s in run(own, tmp_path / "out").splits.values()) == 12


def test_images_that_the_csv_does_not_name_are_counted_and_left_out(own, tmp_path, capsys):
    for name in ("other.jpg", "more.png", "notes.txt", ".hidden.jpg"):
        (own / "images" / name).write_bytes(b"anything")
    manifest = run(own, tmp_path / "out")
    assert sum(split.num_examples for split in manifest.splits.values()) == 12
    assert "Left out 2 images" in capsys.readouterr().out


# What is done to a set, and what is said of it (before anything is converted).
def link_out(folder):
    (folder / "secret.jpg").write_bytes(photograph(0))
    (folder / "images" / "img_003.jpg").unlink()
    (folder / "images" / "img_003.jpg").symlink_to(folder / "secret.jpg")


def dangle(folder):
    (folder / "images" / "img_003.jpg").unlink()
    (folder / "images" / "img_003.jpg").symlink_to(folder / "nowhere.jpg")


def pipe(folder):
    (folder / "images" / "img_003.jpg").unlink()
    os.mkfifo(folder / "images" / "img_003.jpg")


def append(text):
    def spoil(folder):
        with open(folder / "train.csv", "a") as file:
            file.write(text)

    return spoil


# How, what is said, and how many of the 12 images can still be used.
FOUND_AT_ONCE = [
    (lambda f: (f / "images/img_003.jpg").unlink(), "row 14: the image is not in .*images", 11),
    (lambda f: (f / "images/img_003.jpg").write_bytes(b""), "row 14: the image is empty", 11),
    (link_out, "row 14: the image is a link that leads out of the folder", 11),
    (dangle, "row 14: the image is a link that leads out of the folder", 11),
    (pipe, "row 14: the image is not a file", 11),
    (append("../x.jpg_Fish,\n"), "'../x.jpg': row 50 names an image outside the folder", 12),
    (append("/etc/x_Fish,\n"), "'/etc/x': row 50 names an image by an absolute path", 12),
    (append("img_003.jpg_Fish,1 1\n"), "row 50 .Fish. contradicts row 14", 11),
    (append("img_003.jpg_Sponge,1 1 1\n"), "row 50 .Sponge. has a malformed mask: 3 num", 11),
    (append("img_003_Fish,1 1\n"), "row 50: the image is the same file as 'img_003.jpg'", 12),
]


@pytest.mark.parametrize("spoil, message, usable", FOUND_AT_ONCE)
def test_a_bad_row_or_image_is_refused_before_anything_is_written(own, spoil, message, usable):
    spoil(own)
    with pytest.raises(UserError, match=message) as raised:
        run(own, own / "out")
    assert "train.csv has 1 problem: " in str(raised.value)
    assert "on_error=" in str(raised.value)
    assert not (own / "out").exists()


@pytest.mark.parametrize("spoil, message, usable", FOUND_AT_ONCE)
def test_with_skip_it_is_left_out_counted_and_listed(own, spoil, message, usable, capsys):
    spoil(own)
    manifest = run(own, own / "out", on_error="skip")
    assert "Skipped 1 problem of" in capsys.readouterr().out
    assert len(manifest.skipped) == 1
    names = {n for s in manifest.splits for n in examples(own / "out", manifest, s)}
    assert len(names) == usable
    assert manifest.classes == CLASSES


DAMAGED = [
    (lambda data: data[: len(data) // 2], "the JPEG is truncated: image data is missing after"),
    (lambda data: b"I am a text", "the file is text, not a JPEG, PNG"),
    (lambda data: b"\x89PNG\r\n\x1a\n" + data, "the PNG is damaged|truncated"),
]


@pytest.mark.parametrize("damage, message", DAMAGED)
def test_an_unreadable_image_is_named_and_the_run_goes_on_once_it_is_replaced(own, damage, message):
    path = own / "images" / "img_005.jpg"
    whole = path.read_bytes()
    path.write_bytes(damage(whole))
    with pytest.raises(UserError, match=f"img_005.jpg cannot be used: .*({message})"):
        run(own, own / "out")
    assert not (own / "out" / "dataset.json").exists()
    path.write_bytes(whole)
    run(own, own / "out")
    run(own, own / "fresh")
    assert content(own / "out") == content(own / "fresh")


@pytest.mark.parametrize("damage, message", DAMAGED)
def test_an_unreadable_image_may_be_skipped(own, damage, message, capsys):
    path = own / "images" / "img_005.jpg"
    path.write_bytes(damage(path.read_bytes()))
    manifest = run(own, own / "out", on_error="skip", verify=True)
    assert sum(split.num_examples for split in manifest.splits.values()) == 11
    assert [entry["file"] for entry in manifest.skipped] == ["img_005.jpg"]
    assert "Skipped 1 images that cannot be used: 'img_005.jpg'" in capsys.readouterr().out
    assert sum(split.class_counts["Fish"] for split in manifest.splits.values()) == sum(
        label(i)[0] for i in range(12) if i != 5
    )


def test_many_problems_are_told_in_one_sentence_with_their_count(own):
    for path in (own / "images").iterdir():
        path.unlink()
    with pytest.raises(
        UserError, match="has 12 problems: 'img_000.jpg': .*; and 7 more. Correct"
    ) as e:
        run(own, own / "out")
    assert "\n" not in str(e.value)
    with pytest.raises(UserError, match="No image of .*train.csv can be used"):
        run(own, own / "out", on_error="skip")


@pytest.mark.parametrize(
    "options, message",
    [
        ({"images_dir": None}, "images_dir is required"),
        ({"images_dir": None, "verify": True, "labels_csv": "x"}, "images_dir is required"),
        ({"folds": 1}, "folds=1 leaves nothing"),
        (
            {"folds": 2, "split_column": "x"},
            "split_column decides the splits alone: leave out folds",
        ),
        ({"val_fraction": 1.0}, "val_fraction=1.0 must be at most 0.9"),
        ({"image_height": 0}, "image_height=0 must be at least 1"),
        ({"on_error": "ignore"}, "on_error='ignore' is not one of fail, skip"),
    ],
)
def test_flags_that_cannot_be_are_refused(options, message):
    given = {"labels_csv": "l.csv", "images_dir": "i", "output_dir": "o"}
    with pytest.raises(UsageError, match=message):
        ConvertConfig(**{**given, **options})


def test_missing_inputs_are_named(source, tmp_path):
    with pytest.raises(UserError, match="The file .*nowhere.csv cannot be read: No such file"):
        run(source, tmp_path / "out", labels_csv=str(tmp_path / "nowhere.csv"))
    with pytest.raises(UserError, match="The folder .*nowhere/images cannot be listed"):
        run(tmp_path / "nowhere", tmp_path / "out", labels_csv=str(source / "train.csv"))
    (tmp_path / "images").mkdir()
    with pytest.raises(UserError, match="There is no photograph .* in"):
        run(tmp_path, tmp_path / "out", labels_csv=None)


def test_a_full_disk_is_one_sentence_and_leaves_nothing_half_made(source, tmp_path):
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, before[1]))
    try:
        with pytest.raises(UserError, match="train-00000-of-00002.tfrecord cannot be written: "):
            run(source, tmp_path / "out", num_shards=2)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert os.listdir(tmp_path / "out") == [".convert_progress.json"]
    run(source, tmp_path / "out", num_shards=2)
    run(source, tmp_path / "fresh", num_shards=2)
    assert content(tmp_path / "out") == content(tmp_path / "fresh")


def test_everything_may_be_on_a_remote_file_system(source, tmp_path):
    make_set("ram://convert", 20)
    given = {"labels_csv": "ram://convert/train.csv", "verify": True}
    there = run("ram://convert", "ram://convert/out", **given)
    make_set(str(tmp_path), 20)
    here = run(tmp_path, tmp_path / "out")
    # Only of local photographs is it noted how long they are.
    assert here.settings["photographs_sha256"]
    settings = {**here.settings, "photographs_sha256": None}
    assert there == dataclasses.replace(here, settings=settings)
    names = files.list_dir("ram://convert/out")
    assert names == sorted(os.listdir(tmp_path / "out"))
    for name in names:
        if name != records.MANIFEST_NAME:
            made = files.read_bytes(f"ram://convert/out/{name}")
            assert made == (tmp_path / "out" / name).read_bytes()


def test_the_tables_at_the_end_fit_40_columns(source, tmp_path, capsys):
    run(source, tmp_path / "out")
    lines = capsys.readouterr().out.splitlines()
    lines = lines[next(i for i, line in enumerate(lines) if line.startswith("split ")) :]
    assert max(map(len, lines)) <= 40
    assert lines[0].split() == ["split", "examples", "shards", "MB"]
    assert lines[1].split()[:3] == ["train", "48", "6"]
    assert [line.split()[0] for line in lines[4:]] == list(CLASSES)


def test_the_command_ends_with_one_sentence_and_a_status(source, tmp_path):
    command = [sys.executable, "tools/make_tfrecords.py", f"--images_dir={source / 'images'}"]
    root = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    for flags, status, message in [
        ([f"--output_dir={tmp_path}/out", "--labels_csv=nowhere.csv"], 1, "nowhere.csv cannot be"),
        ([], 2, "--output_dir is required"),
        ([f"--output_dir={tmp_path}/out", "--image_height=abc"], 2, "image_height"),
        ([f"--output_dir={tmp_path}/out", f"--labels_csv={source / 'train.csv'}"], 0, ""),
    ]:
        ended = subprocess.run([*command, *flags], cwd=root, capture_output=True, text=True)
        assert ended.returncode == status
        assert message in ended.stderr and "Traceback" not in ended.stderr
        if status:
            assert len(ended.stderr.splitlines()) == 1
    with contextlib.suppress(FileNotFoundError):
        assert (tmp_path / "out" / "dataset.json").exists()
