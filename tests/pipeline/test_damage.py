"""Records that are missing, damaged or not what the manifest promises: one sentence each."""

import dataclasses
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

import cloudtf
from cloudtf.data import records, tfrecord
from cloudtf.errors import UserError

CACHES = ("none", "encoded", "decoded")
each_cache = pytest.mark.parametrize("cache", CACHES)
# What is cached is checked when it is loaded, for training and evaluation alike.
each_way = pytest.mark.parametrize(
    "cache, training", [("none", False), ("none", True), ("encoded", False), ("decoded", True)]
)
SHARD = "train-00002-of-00004.tfrecord"


@pytest.fixture
def folder(tmp_path, records_dir):
    """A copy of the shared records."""
    return Path(shutil.copytree(records_dir, tmp_path / "records"))


def examples(path):
    return [tf.train.Example.FromString(r.numpy()) for r in tf.data.TFRecordDataset(str(path))]


def rewrite(folder, change):
    """Puts a changed list of examples into SHARD, with a manifest that knows its new length."""
    found = change(examples(folder / SHARD))
    content = b"".join(tfrecord.frame(example.SerializeToString()) for example in found)
    (folder / SHARD).write_bytes(content)
    change_shard(folder, num_bytes=len(content))


def change_shard(folder, **changes):
    manifest = records.read_manifest(str(folder))
    split = manifest.splits["train"]
    shards = tuple(
        dataclasses.replace(s, **changes) if s.name == SHARD else s for s in split.shards
    )
    count = sum(shard.num_examples for shard in shards)
    split = dataclasses.replace(split, shards=shards, num_examples=count)
    splits = {**manifest.splits, "train": split}
    records.write_manifest(str(folder), dataclasses.replace(manifest, splits=splits))


def set_image(number, content):
    def change(found):
        feature = found[number].features.feature
        feature[records.ENCODED].bytes_list.value[:] = [content]
        return found

    return change


def use(folder, cache, training, data=None):
    """Goes through the split as a run does, with its guard."""
    data = data or cloudtf.open_dataset(str(folder), cache)
    batches = data.batches("train", 4, training=training)
    with data.naming_damage("train"):
        for _ in batches.take(14):
            pass


@each_way
def test_whole_records_raise_nothing(folder, cache, training):
    use(folder, cache, training)


@each_cache
def test_a_missing_shard_is_named_on_opening(folder, cache):
    (folder / SHARD).unlink()
    with pytest.raises(UserError, match=f"The shard .*{SHARD} is missing; run `cloudtf convert`"):
        cloudtf.open_dataset(str(folder), cache)


@each_cache
def test_a_truncated_shard_is_named_on_opening(folder, cache):
    content = (folder / SHARD).read_bytes()
    (folder / SHARD).write_bytes(content[:-100])
    with pytest.raises(UserError, match=f"The shard .*{SHARD} has .* bytes, dataset.json says"):
        cloudtf.open_dataset(str(folder), cache)


def test_a_folder_without_records_says_how_to_make_them(tmp_path):
    with pytest.raises(UserError, match="There is no dataset.json in .*`cloudtf convert`"):
        cloudtf.open_dataset(str(tmp_path))


@each_way
@pytest.mark.parametrize("place", [3, 700, -1], ids=["length", "early", "last"])
def test_a_flipped_byte_is_named(folder, cache, training, place):
    content = bytearray((folder / SHARD).read_bytes())
    content[place] ^= 0x10
    (folder / SHARD).write_bytes(bytes(content))
    with pytest.raises(UserError, match=f"The shard .*{SHARD} is damaged .*--verify"):
        use(folder, cache, training)


@each_way
@pytest.mark.parametrize("stated, missing", [(11, 1), (13, -1)])
def test_a_shard_with_another_count_is_named(folder, cache, training, stated, missing):
    change_shard(folder, num_examples=stated)
    expected = f"The shard .*{SHARD} holds 12 records where the manifest says {stated}; convert"
    with pytest.raises(UserError, match=expected):
        use(folder, cache, training)


@each_way
def test_an_image_of_another_size_is_named(folder, cache, training):
    content = tf.io.encode_jpeg(np.zeros((64, 65, 3), np.uint8)).numpy()
    rewrite(folder, set_image(5, content))
    name = examples(folder / SHARD)[5].features.feature[records.FILENAME].bytes_list.value[0]
    expected = f"The record of {name.decode()} cannot be decoded as a 64x64 JPEG.*--verify"
    with pytest.raises(UserError, match=expected):
        use(folder, cache, training)


@each_way
@pytest.mark.parametrize("content", [b"", b"\xff\xd8\xff\xe0\x00\x10JFIF"])
def test_an_image_that_is_none_is_named(folder, cache, training, content):
    rewrite(folder, set_image(11, content))
    name = examples(folder / SHARD)[11].features.feature[records.FILENAME].bytes_list.value[0]
    with pytest.raises(UserError, match=f"The record of {name.decode()} cannot be decoded"):
        use(folder, cache, training)


@each_way
def test_a_jpeg_that_breaks_off_is_named(folder, cache, training):
    def halve(found):
        value = found[2].features.feature[records.ENCODED].bytes_list.value
        value[:] = [value[0][: len(value[0]) // 2]]
        return found

    rewrite(folder, halve)
    name = examples(folder / SHARD)[2].features.feature[records.FILENAME].bytes_list.value[0]
    with pytest.raises(UserError, match=f"The record of {name.decode()} cannot be decoded"):
        use(folder, cache, training)


@each_way
def test_labels_of_another_length_name_the_shard(folder, cache, training):
    def shorten(found):
        del found[4].features.feature[records.LABEL].int64_list.value[0]
        return found

    rewrite(folder, shorten)
    expected = f"The shard .*{SHARD} is damaged .Key: image/class/label.*Values size: 3"
    with pytest.raises(UserError, match=expected):
        use(folder, cache, training)


@each_way
def test_a_shard_that_goes_away_after_opening_is_named(folder, cache, training):
    data = cloudtf.open_dataset(str(folder), cache)
    (folder / SHARD).unlink()
    with pytest.raises(
        UserError, match=f"The shard .*{SHARD} is damaged .No such file or directory."
    ):
        use(folder, cache, training, data)


@each_way
def test_an_empty_split_is_named(folder, cache, training):
    manifest = records.read_manifest(str(folder))
    empty = records.Split("rest", 0, dict.fromkeys(manifest.classes, 0), {}, ())
    splits = {**manifest.splits, "rest": empty}
    records.write_manifest(str(folder), dataclasses.replace(manifest, splits=splits))
    data = cloudtf.open_dataset(str(folder), cache)
    expected = f"The split 'rest' in {re.escape(str(folder))} has no examples"
    with pytest.raises(UserError, match=expected):
        data.batches("rest", 4, training=training)


def test_damaged_names_and_labels_name_the_shard(folder):
    content = bytearray((folder / SHARD).read_bytes())
    content[700] ^= 1
    (folder / SHARD).write_bytes(bytes(content))
    data = cloudtf.open_dataset(str(folder), "none")
    for read in (data.names, data.labels):
        with pytest.raises(UserError, match=f"The shard .*{SHARD} is damaged"):
            read("train")


def test_an_error_with_another_cause_is_left_as_it_is(records_dir):
    data = cloudtf.open_dataset(records_dir, "none")
    with pytest.raises(tf.errors.InvalidArgumentError, match="mine"), data.naming_damage("train"):
        raise tf.errors.InvalidArgumentError(None, None, "mine")
    with pytest.raises(ValueError, match="other"), data.naming_damage("train"):
        raise ValueError("other")
