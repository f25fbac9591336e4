"""Going on without damaged records: --on_bad_record=skip."""

import dataclasses
import functools
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

import cloudtf
from cloudtf.data import records, salvage, tfrecord, verify
from cloudtf.errors import UserError
from cloudtf.evaluation.evaluate import EvaluateConfig, evaluate
from cloudtf.pipeline.augmentations import Augmentations
from cloudtf.training.config import TrainConfig
from cloudtf.training.train import train

SHARD = "train-00002-of-00004.tfrecord"
VAL_SHARD = "val-00000-of-00004.tfrecord"
CACHES = ("none", "encoded", "decoded")


@pytest.fixture
def folder(tmp_path, records_dir):
    """A copy of the shared records: 48 in train, 12 in val, four shards each."""
    return Path(shutil.copytree(records_dir, tmp_path / "records"))


def frames(path):
    """Start and end of each record in a shard, its frame included."""
    data, start, found = path.read_bytes(), 0, []
    while start < len(data):
        end = start + 12 + int.from_bytes(data[start : start + 8], "little") + 4
        found.append((start, end))
        start = end
    return found


def flip(path, position, at):
    """Inverts the byte of a record at a share of its frame."""
    start, end = frames(path)[position]
    data = bytearray(path.read_bytes())
    data[start + round(at * (end - start - 1))] ^= 0xFF
    path.write_bytes(data)


def name_of(path, position):
    for number, record in enumerate(tf.data.TFRecordDataset(str(path))):
        if number == position:
            features = tf.train.Example.FromString(record.numpy()).features.feature
            return features[records.FILENAME].bytes_list.value[0].decode()
    raise AssertionError


def by_name(data, split):
    """Image and label of each example, as evaluation sees them."""
    batches = data.evaluation_batches(split, 5).as_numpy_iterator()
    images, labels, mask, keys = (np.concatenate(part) for part in zip(*batches))
    names = data.names(split)
    return {names[number]: (images[i], labels[i]) for i, number in enumerate(keys[:, 1]) if mask[i]}


def damage(kind, folder):
    """Spoils one record of SHARD; its position."""
    path, position = folder / SHARD, 5
    if kind == "a flipped byte in the image":
        flip(path, position, 0.5)
    elif kind == "a flipped byte in the checksum":
        flip(path, position, 1.0)
    elif kind == "the end cut off":
        position = len(frames(path)) - 1
        path.write_bytes(path.read_bytes()[:-7])
    else:
        start, end = frames(path)[position]
        data = path.read_bytes()
        example = tf.train.Example.FromString(data[start + 12 : end - 4])
        feature = example.features.feature
        if kind == "another class count":
            feature[records.LABEL].int64_list.value.append(1)
        elif kind == "another image size":
            small = tf.io.encode_jpeg(tf.zeros([32, 64, 3], tf.uint8)).numpy()
            feature[records.ENCODED].bytes_list.value[0] = small
        record = tfrecord.frame(example.SerializeToString())
        path.write_bytes(data[:start] + record + data[end:])
    return position


KINDS = (
    "a flipped byte in the image",
    "a flipped byte in the checksum",
    "the end cut off",
    "another class count",
    "another image size",
)


@pytest.mark.parametrize("kind", KINDS)
def test_the_damaged_record_is_left_out_counted_and_named(folder, records_dir, kind, capsys):
    lost = name_of(Path(records_dir) / SHARD, damage(kind, folder))
    clean = cloudtf.open_dataset(records_dir)
    expected = by_name(clean, "train")
    del expected[lost]
    for cache in CACHES:
        data = cloudtf.open_dataset(str(folder), cache, on_bad_record="skip")
        note = capsys.readouterr().out
        assert note.startswith(f"Left out 1 of the 48 records of train, which is bad: {SHARD} rec")
        assert data.num_examples("train") == 47 and data.num_examples("val") == 12
        found = by_name(data, "train")
        assert found.keys() == expected.keys()
        for name, (image, label) in found.items():
            np.testing.assert_array_equal(image, expected[name][0])
            np.testing.assert_array_equal(label, expected[name][1])
        counts = np.sum([label for _, label in found.values()], axis=0)
        assert list(data.splits["train"].class_counts.values()) == counts.tolist()


@pytest.mark.parametrize("cache", CACHES)
def test_training_sees_every_good_example_once_an_epoch_in_whole_batches(folder, cache):
    damage(KINDS[0], folder)
    data = cloudtf.open_dataset(str(folder), cache, on_bad_record="skip")
    batches = data.training_batches("train", 4, "device", Augmentations(), seed=0)
    keys = np.concatenate([keys for *_, keys in batches.take(47).as_numpy_iterator()])
    assert keys.shape == (4 * 47, 2)
    for epoch in range(4):
        assert sorted(keys[keys[:, 0] == epoch, 1]) == list(range(47))


@pytest.mark.parametrize("more", ["half of a record", "a whole record"])
def test_what_comes_after_the_last_record_is_left_out(folder, records_dir, more, capsys):
    path = folder / SHARD
    start, end = frames(path)[0]
    beyond = path.read_bytes()[start : end if more == "a whole record" else (start + end) // 2]
    path.write_bytes(path.read_bytes() + beyond)
    expected = by_name(cloudtf.open_dataset(records_dir), "train")
    for cache in CACHES:
        data = cloudtf.open_dataset(str(folder), cache, on_bad_record="skip")
        note = f"Left out {len(beyond):,} bytes after the last record of {SHARD}.\n"
        assert capsys.readouterr().out == note
        found = by_name(data, "train")
        assert data.num_examples("train") == 48 and found.keys() == expected.keys()
        for name, (image, label) in found.items():
            np.testing.assert_array_equal(image, expected[name][0])
            np.testing.assert_array_equal(label, expected[name][1])


def test_more_than_one_in_a_hundred_is_refused(folder):
    flip(folder / SHARD, 1, 0.5)
    flip(folder / SHARD, 2, 0.5)
    with pytest.raises(UserError) as error:
        cloudtf.open_dataset(str(folder), on_bad_record="skip")
    sentence = str(error.value)
    assert sentence.startswith(f"2 of the 48 records of train in {folder} are bad, more than")
    assert f"{SHARD} record 1 (it does not have its checksum)" in sentence


def test_a_length_that_cannot_be_trusted_ends_its_shard(folder):
    flip(folder / SHARD, 3, 0.0)
    missing = len(frames(folder.parent / "records" / SHARD.replace("2-of", "1-of"))) - 3
    with pytest.raises(UserError, match=rf"^{missing} of .*record 3 \(it cannot be found\)"):
        cloudtf.open_dataset(str(folder), on_bad_record="skip")


def test_a_missing_shard_is_not_made_good(folder):
    (folder / SHARD).unlink()
    with pytest.raises(UserError, match=f"{SHARD} is missing, and on_bad_record='skip'"):
        cloudtf.open_dataset(str(folder), on_bad_record="skip")


def test_a_whole_set_is_left_as_it_is(records_dir, tmp_path, capsys):
    manifest = records.read_manifest(records_dir)
    found, notes = salvage.without_bad_records(records_dir, manifest, str(tmp_path))
    assert found == manifest and not notes and not list(tmp_path.iterdir())


def test_the_copies_go_with_the_data_set(folder):
    damage(KINDS[0], folder)
    data = cloudtf.open_dataset(str(folder), on_bad_record="skip")
    copies = [Path(s.name) for s in data.splits["train"].shards if s.name != Path(s.name).name]
    assert len(copies) == 1 and copies[0].exists()
    del data
    assert not copies[0].exists()


def test_a_run_whose_data_were_damaged_goes_on_without_the_bad_record(
    folder, tmp_path, capsys, monkeypatch
):
    # All first records are looked at, however slow the disk is.
    patient = functools.partial(verify.check_first_records, seconds=60)
    monkeypatch.setattr(verify, "check_first_records", patient)
    config = TrainConfig(
        data_dir=str(folder),
        run_dir=str(tmp_path / "run"),
        model="tiny",
        weights="none",
        epochs=1,
        batch_size=8,
        cache="none",
        tensorboard=False,
    )
    train(config)
    flip(folder / SHARD, 2, 0.5)
    flip(folder / VAL_SHARD, 0, 0.5)
    more = dataclasses.replace(config, epochs=2)
    with pytest.raises(
        UserError, match=rf"shard .*{re.escape(VAL_SHARD)} does not fit dataset.json: record 0"
    ):
        train(more)
    capsys.readouterr()
    result = train(dataclasses.replace(more, on_bad_record="skip"))
    assert [row["epoch"] for row in result.history] == [1, 2]
    printed = capsys.readouterr().out
    assert "Left out 1 of the 48 records of train" in printed
    assert "Left out 1 of the 12 records of val" in printed
    arguments = {"run_dir": config.run_dir, "data_dir": str(folder)}
    with pytest.raises(UserError, match="damaged"):
        evaluate(EvaluateConfig(**arguments))
    assert evaluate(EvaluateConfig(**arguments, on_bad_record="skip"))["examples"] == 11
