import dataclasses
import hashlib
import shutil

import numpy as np
import pytest
import simplejpeg

from cloudtf import files
from cloudtf.data import records, tfrecord
from cloudtf.data.convert import ConvertConfig, convert
from cloudtf.data.verify import verify
from cloudtf.errors import UserError


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    folder = tmp_path_factory.mktemp("source")
    (folder / "images").mkdir()
    lines = ["image,A,B"]
    for i in range(30):
        pixels = np.random.default_rng(i).integers(0, 256, (40, 60, 3), np.uint8)
        (folder / "images" / f"{i}.jpg").write_bytes(simplejpeg.encode_jpeg(pixels))
        lines.append(f"{i}.jpg,{i % 2},{i % 3 // 2}")
    (folder / "labels.csv").write_text("\n".join(lines))
    convert(
        ConvertConfig(
            labels_csv=str(folder / "labels.csv"),
            images_dir=str(folder / "images"),
            output_dir=str(folder / "out"),
            image_height=32,
            image_width=32,
            num_shards=3,
        )
    )
    return folder


@pytest.fixture
def made(source, tmp_path):
    return shutil.copytree(source / "out", tmp_path / "out")


NAME = "train-00001-of-00003.tfrecord"
SMALL = simplejpeg.encode_jpeg(np.zeros((16, 16, 3), np.uint8))
DIGEST = hashlib.sha256(SMALL).hexdigest().encode()


def consistent(folder, name=NAME):
    """Makes the manifest agree with the bytes of a shard, so that only deeper checks remain."""
    manifest = records.read_manifest(str(folder))
    path = str(folder / name)
    splits = {}
    for key, split in manifest.splits.items():
        shards = tuple(
            dataclasses.replace(
                s, num_bytes=files.size(path), sha256=files.sha256(path), edge_crcs=()
            )
            if s.name == name
            else s
            for s in split.shards
        )
        splits[key] = dataclasses.replace(split, shards=shards)
    records.write_manifest(str(folder), dataclasses.replace(manifest, splits=splits))


def test_a_sound_set_passes_without_its_images(made, capsys):
    manifest = convert(ConvertConfig(output_dir=str(made), verify=True))
    assert manifest == records.read_manifest(str(made))
    assert f"Verified 30 records in {made}" in capsys.readouterr().out


@pytest.mark.parametrize("place", [0, 9, 13, 700, -1])
def test_a_flipped_byte_anywhere_in_a_shard_is_found(made, place):
    data = bytearray((made / NAME).read_bytes())
    data[place] ^= 1
    (made / NAME).write_bytes(data)
    with pytest.raises(UserError, match=f"{NAME} does not have the checksum .* \\(record "):
        verify(str(made))
    consistent(made)
    with pytest.raises(UserError, match=f"{NAME} has a bad record: record \\d+: [^{{]*$"):
        verify(str(made))


def test_a_truncated_shard_is_named(made):
    data = (made / NAME).read_bytes()
    (made / NAME).write_bytes(data[:-10])
    with pytest.raises(UserError, match=f"{NAME} has .* bytes, dataset.json says {len(data):,}"):
        verify(str(made))
    consistent(made)
    with pytest.raises(UserError, match=f"{NAME} has a bad record: record 7: [^{{]*$"):
        verify(str(made))


def test_a_missing_shard_is_named(made):
    (made / NAME).unlink()
    with pytest.raises(UserError, match=f"The shard .*{NAME} is missing"):
        verify(str(made))


def example(made, **changes):
    encoded = simplejpeg.encode_jpeg(np.zeros((32, 32, 3), np.uint8))
    features = {
        records.ENCODED: encoded,
        records.FORMAT: b"jpeg",
        records.FILENAME: b"new.jpg",
        records.HEIGHT: (32,),
        records.WIDTH: (32,),
        records.LABEL: (0, 1),
        records.SHA256: hashlib.sha256(encoded).hexdigest().encode(),
    }
    features.update({getattr(records, name): value for name, value in changes.items()})
    record = tfrecord.encode_example({k: v for k, v in features.items() if v is not None})
    with open(made / NAME, "ab") as file:
        file.write(tfrecord.frame(record))
    consistent(made)


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"ENCODED": b"no image"}, "bad record: record 8: its image does not have the checksum"),
        ({"SHA256": None}, "bad record: record 8: it has no feature image/sha256"),
        (
            {"HEIGHT": (31,)},
            "bad record: record 8: its image has 32 x 32 pixels and says 31 x 32, dat",
        ),
        (
            {"ENCODED": SMALL, "SHA256": DIGEST, "HEIGHT": (16,), "WIDTH": (16,)},
            "image has 16 x 16 pixels and says 16 x 16, dataset.json says 32 x 32",
        ),
        (
            {"LABEL": (0, 1, 1)},
            r"bad record: record 8: its label \[0, 1, 1\] is not 2 times 0 or 1",
        ),
        ({"LABEL": None}, r"bad record: record 8: its label \[\] is not 2 times 0 or 1"),
        ({"LABEL": (0, 2)}, r"bad record: record 8: its label \[0, 2\]"),
        ({}, "has 9 records, dataset.json says 8"),
    ],
)
def test_a_record_that_does_not_fit_the_manifest_is_named(made, changes, message):
    example(made, **changes)
    with pytest.raises(UserError, match=f"{NAME} .*{message}"):
        verify(str(made))


def test_an_image_in_two_splits_is_named(made):
    shutil.copy(made / "val-00000-of-00003.tfrecord", made / NAME)
    manifest = records.read_manifest(str(made))
    train, val = manifest.split("train"), manifest.split("val")
    shards = list(train.shards)
    shards[1] = dataclasses.replace(val.shards[0], name=NAME)
    count = sum(shard.num_examples for shard in shards)
    # The counts agree; only the names give it away.
    train = dataclasses.replace(train, shards=tuple(shards), num_examples=count, class_counts={})
    records.write_manifest(
        str(made), dataclasses.replace(manifest, splits={**manifest.splits, "train": train})
    )
    with pytest.raises(UserError, match="holds '.*.jpg', which is also in the split"):
        verify(str(made))


def test_class_counts_that_disagree_are_told(made):
    text = (made / "dataset.json").read_text()
    manifest = records.read_manifest(str(made))
    count = manifest.split("train").class_counts["A"]
    (made / "dataset.json").write_text(text.replace(f'"A": {count}', f'"A": {count + 1}', 1))
    with pytest.raises(UserError, match="counts the classes of train as"):
        verify(str(made))


def test_combination_counts_that_disagree_are_told(made):
    manifest = records.read_manifest(str(made))
    train = manifest.split("train")
    count = train.combination_counts["A"]
    counts = {**train.combination_counts, "A": count + 1}
    train = dataclasses.replace(train, combination_counts=counts)
    splits = {**manifest.splits, "train": train}
    records.write_manifest(str(made), dataclasses.replace(manifest, splits=splits))
    with pytest.raises(
        UserError, match=f"{count + 1} examples of train that show just .A., .* hold {count};"
    ):
        verify(str(made))
    # A manifest need not count them.
    splits["train"] = dataclasses.replace(train, combination_counts={})
    records.write_manifest(str(made), dataclasses.replace(manifest, splits=splits))
    verify(str(made))


def test_the_same_photograph_under_two_names_in_two_splits_is_warned_of(tmp_path, capsys):
    (tmp_path / "images").mkdir()
    data = simplejpeg.encode_jpeg(np.zeros((40, 60, 3), np.uint8))
    for i in range(10):
        (tmp_path / "images" / f"{i}.jpg").write_bytes(data)
    rows = "".join(f"{i}.jpg,1\n" for i in range(10))
    (tmp_path / "l.csv").write_text(f"image,A\n{rows}")
    convert(
        ConvertConfig(
            labels_csv=str(tmp_path / "l.csv"),
            images_dir=str(tmp_path / "images"),
            output_dir=str(tmp_path / "out"),
            verify=True,
        )
    )
    assert "Warning: 2 images are in two splits under two names" in capsys.readouterr().out


def test_a_quick_check_looks_at_names_lengths_and_counts(made):
    manifest = records.read_manifest(str(made))
    records.check_shards(str(made), manifest, ["train"])
    (made / "val-00000-of-00003.tfrecord").write_bytes(b"")
    records.check_shards(str(made), manifest, ["train"])
    with pytest.raises(UserError, match="val-00000-of-00003.tfrecord has 0 bytes"):
        records.check_shards(str(made), manifest)
    with pytest.raises(UserError, match="There is no split 'dev' in this data set; it has train"):
        records.check_shards(str(made), manifest, ["dev"])
    train = dataclasses.replace(manifest.split("train"), num_examples=99)
    wrong = dataclasses.replace(manifest, splits={"train": train})
    with pytest.raises(UserError, match="the shards of train hold 24 examples, not 99"):
        records.check_shards(str(made), wrong)


@pytest.mark.parametrize(
    "text, message", [("[1]", "is damaged"), ('{"format_version": 9}', "version 9")]
)
def test_a_damaged_manifest_is_one_sentence(made, text, message):
    (made / "dataset.json").write_text(text)
    with pytest.raises(UserError, match=message):
        verify(str(made))
