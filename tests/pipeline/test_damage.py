"""Records that are missing, damaged or not what the manifest promises: one sentence each."""

import dataclasses
import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

import cloudtf
from cloudtf import files
from cloudtf.data import records, tfrecord, verify
from cloudtf.diagnosis.config import DoctorConfig
from cloudtf.diagnosis.doctor import doctor
from cloudtf.errors import UserError
from cloudtf.pipeline import damage
from cloudtf.training.config import TrainConfig
from cloudtf.training.step import TrainStep
from cloudtf.training.train import train

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
    """Puts a changed list of examples into SHARD, as if the set had been converted so."""
    write(folder / SHARD, change(examples(folder / SHARD)))
    change_shard(folder, **checksums(folder / SHARD))


def write(path, found):
    path.write_bytes(b"".join(tfrecord.frame(e.SerializeToString()) for e in found))


def checksums(path):
    """What the manifest says of a file's bytes."""
    with open(path, "rb") as file:
        crcs = tfrecord.edge_crcs(file, path.stat().st_size)
    return {
        "num_bytes": path.stat().st_size,
        "sha256": files.sha256(str(path)),
        "edge_crcs": crcs,
    }


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


def test_records_are_not_searched_when_another_worker_is_gone(folder, monkeypatch):
    (folder / SHARD).write_bytes(b"x" * (folder / SHARD).stat().st_size)
    data = cloudtf.open_dataset(str(folder), "none")
    gone = tf.errors.FailedPreconditionError(None, None, "worker 1 has stopped")
    with pytest.raises(tf.errors.FailedPreconditionError), data.naming_damage("train"):
        raise gone


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
@pytest.mark.parametrize("value", [7, -1, 2**40])
def test_a_label_that_is_neither_0_nor_1_is_named(folder, cache, training, value):
    def change(found):
        for example in found[1:]:  # The first record of each shard is looked at before all else.
            example.features.feature[records.LABEL].int64_list.value[2] = value
        return found

    rewrite(folder, change)
    expected = f"The shard .*{SHARD} has a label that is neither 0 nor 1 in record 1 .*, {value}, "
    with pytest.raises(UserError, match=expected):
        use(folder, cache, training)
    if value == 7 and training:
        with pytest.raises(UserError, match=expected):
            train(config_of(TrainConfig, folder, cache=cache))


def relabel(folder, numbers=range(12)):
    """Inverts labels of records of SHARD; its length, and dataset.json, stay as they were."""
    before, found = (folder / SHARD).read_bytes(), examples(folder / SHARD)
    for number in numbers:
        values = found[number].features.feature[records.LABEL].int64_list.value
        values[:] = [1 - value for value in values]
    canonical = [
        tfrecord.encode_example({name: value_of(f) for name, f in e.features.feature.items()})
        for e in found
    ]
    content = b"".join(map(tfrecord.frame, canonical))
    assert len(content) == len(before) and content != before
    (folder / SHARD).write_bytes(content)


def value_of(feature):
    return feature.bytes_list.value[0] if feature.bytes_list.value else feature.int64_list.value


def forget_edges(folder):
    """Leaves a dataset.json as it was written before the first and last records were noted."""
    path = folder / "dataset.json"
    raw = json.loads(path.read_text())
    for split in raw["splits"].values():
        for shard in split["shards"]:
            assert len(shard.pop("edge_crcs")) == 2
    path.write_text(json.dumps(raw))


OTHERS = f"The shard .*{SHARD} holds other records than those that dataset.json was written for"


@each_cache
@pytest.mark.parametrize("numbers", [(0,), (11,), range(12)], ids=["first", "last", "all"])
def test_records_of_another_set_are_noticed_on_opening(folder, cache, numbers, monkeypatch):
    monkeypatch.setattr(damage, "SECONDS_FOR_WHOLE_SHARDS", -1)  # As in a large set.
    relabel(folder, numbers)
    for options in ({}, {"on_bad_record": "skip"}):
        with pytest.raises(UserError, match=OTHERS):
            cloudtf.open_dataset(str(folder), cache, **options)


@each_way
@pytest.mark.parametrize("how", ["middle", "old"])
def test_records_of_another_set_are_noticed_where_a_shard_is_read_whole(
    folder, cache, training, how
):
    """Those between the first and the last, and all where dataset.json knows no such sums."""
    if how == "old":
        forget_edges(folder)
        use(folder, cache, training)
    relabel(folder, range(1, 11) if how == "middle" else range(12))
    with pytest.raises(UserError, match=OTHERS):
        use(folder, cache, training)
    with pytest.raises(UserError, match=OTHERS):
        cloudtf.open_dataset(str(folder), cache).labels("train")
    with pytest.raises(UserError, match=OTHERS):
        cloudtf.open_dataset(str(folder), cache, on_bad_record="skip")


def test_records_of_another_set_beside_a_damaged_one_are_noticed(folder):
    relabel(folder)
    flip(folder, 700)
    with pytest.raises(UserError, match=OTHERS):
        cloudtf.open_dataset(str(folder), on_bad_record="skip")


@pytest.mark.parametrize("cache", ["none", "auto"])
def test_records_of_another_set_are_noticed_between_two_parts_of_a_run(folder, cache, monkeypatch):
    train(config_of(TrainConfig, folder, cache=cache))
    relabel(folder)
    monkeypatch.setattr(TrainStep, "__call__", None)
    with pytest.raises(UserError, match=OTHERS):
        train(config_of(TrainConfig, folder, cache=cache, epochs=2))


@each_way
def test_a_shard_that_goes_away_after_opening_is_named(folder, cache, training):
    data = cloudtf.open_dataset(str(folder), cache)
    (folder / SHARD).unlink()
    with pytest.raises(UserError, match=f"The file .*{SHARD} cannot be read: No such file"):
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


# What `cloudtf train` and `cloudtf doctor` make of it. For each: what is done to the set, what a
# run says before its first step (None: it trains, and `notes` says with which note), and what the
# doctor says.


def flip(folder, place=-1):
    content = bytearray((folder / SHARD).read_bytes())
    content[place] ^= 0x10
    (folder / SHARD).write_bytes(bytes(content))


def truncate(folder):
    (folder / SHARD).write_bytes((folder / SHARD).read_bytes()[:-100])


def remove(folder):
    (folder / SHARD).unlink()


def count_wrongly(folder):
    change_shard(folder, num_examples=11)


def contradict(folder):
    manifest = records.read_manifest(str(folder))
    change_split(folder, "train", num_examples=manifest.splits["train"].num_examples + 1)


def another_class(folder):
    manifest = records.read_manifest(str(folder))
    splits = {
        name: dataclasses.replace(split, class_counts={**split.class_counts, "Fifth": 0})
        for name, split in manifest.splits.items()
    }
    manifest = dataclasses.replace(manifest, classes=(*manifest.classes, "Fifth"), splits=splits)
    records.write_manifest(str(folder), manifest)


def another_size(folder):
    manifest = dataclasses.replace(records.read_manifest(str(folder)), image_width=96)
    records.write_manifest(str(folder), manifest)


def one_image_of_another_size(folder):
    rewrite(folder, set_image(5, tf.io.encode_jpeg(np.zeros((64, 65, 3), np.uint8)).numpy()))


def spoil_manifest(folder):
    text = (folder / "dataset.json").read_text()
    (folder / "dataset.json").write_text(text[: len(text) // 2])


def change_split(folder, name, **changes):
    manifest = records.read_manifest(str(folder))
    split = dataclasses.replace(manifest.splits[name], **changes)
    splits = {**manifest.splits, name: split}
    records.write_manifest(str(folder), dataclasses.replace(manifest, splits=splits))


def keep(folder, split, wanted):
    """Leaves only the examples of a split that `wanted(number, label)`, in one sound shard."""
    manifest = records.read_manifest(str(folder))
    found = [e for s in manifest.splits[split].shards for e in examples(folder / s.name)]
    labels = [list(e.features.feature[records.LABEL].int64_list.value) for e in found]
    kept = [i for i, label in enumerate(labels) if wanted(i, label)]
    name = f"{split}-00000-of-00001.tfrecord"
    for shard in manifest.splits[split].shards:
        (folder / shard.name).unlink()
    write(folder / name, [found[i] for i in kept])
    shard = records.Shard(name=name, num_examples=len(kept), **checksums(folder / name))
    counts = np.sum([labels[i] for i in kept] or [[0] * 4], axis=0).tolist()
    change_split(
        folder,
        split,
        num_examples=len(kept),
        shards=(shard,),
        class_counts=dict(zip(manifest.classes, counts)),
        combination_counts={},
    )


def nothing_to_train_on(folder):
    keep(folder, "train", lambda number, label: False)


def nothing_to_validate_on(folder):
    keep(folder, "val", lambda number, label: False)


def one_to_train_on(folder):
    keep(folder, "train", lambda number, label: number == 0)


def one_to_validate_on(folder):
    keep(folder, "val", lambda number, label: number == 0)


def fewer_than_a_batch(folder):
    keep(folder, "train", lambda number, label: number < 5)


def no_positives(folder):
    for split in ("train", "val"):
        keep(folder, split, lambda number, label: not label[0])


def all_positive(folder):
    for split in ("train", "val"):
        keep(folder, split, lambda number, label: label[1])


HERE = f"The shard .*{SHARD}"
NO_EXAMPLES = "The split '{}' in .* has no examples"
UNNOTED_DEFAULTS = "PR-AUC is undefined and left out of the mean for it"
CASES = {
    "a missing shard": (remove, f"{HERE} is missing", [f"{HERE} is missing"]),
    "a truncated shard": (truncate, f"{HERE} has .* bytes", [f"{HERE} has .* bytes"]),
    "a flipped byte": (flip, f"{HERE} is damaged", [f"{HERE} does not .* checksum .*record 11"]),
    "a manifest cut short": (spoil_manifest, "dataset.json is not JSON", ["is not JSON"]),
    "a sum that is wrong": (contradict, "hold 48 examples, not 49", ["hold 48 examples, not 49"]),
    "a shard's count that is wrong": (
        count_wrongly, f"{HERE} holds 12 records where .* 11",
        [f"{HERE} has 12 records, .* says 11"],
    ),
    "another class count": (
        another_class, "train-00000.* does not fit dataset.json: record 0: its label .* not 5 t",
        ["train-00000.*not 5 times", f"{SHARD}.*not 5 times", "val-00003.*not 5 times"],
    ),
    "another image size": (
        another_size, "train-00000.* does not fit dataset.json: .* 64 x 64 pixels",
        ["train-00000.* 64 x 64 pixels", f"{SHARD}.* 64 x 64 pixels", "val-00003.* 64 x 64"],
    ),
    "one image of another size": (
        one_image_of_another_size, "The record of photo_.* cannot be decoded as a 64x64 JPEG",
        [f"{HERE} has a bad record: record 5: its image"],
    ),
    "nothing to train on": (
        nothing_to_train_on, NO_EXAMPLES.format("train"), [NO_EXAMPLES.format("train")],
    ),
    "nothing to validate on": (
        nothing_to_validate_on, NO_EXAMPLES.format("val"), [NO_EXAMPLES.format("val")],
    ),
    "one example to validate on": (
        one_to_validate_on, "No class has both positives and negatives in the split 'val'",
        ["No class has both positives and negatives"],
    ),
}  # fmt: skip
NOTES = {
    "one example to train on": (one_to_train_on, "1 training examples are fewer than a batch of 8"),
    "fewer examples than a batch": (fewer_than_a_batch, "5 training examples are fewer than"),
    "a class without positives": (
        no_positives,
        f"In val no example shows Fish: {UNNOTED_DEFAULTS}",
    ),
    "an all-positive class": (
        all_positive,
        f"In val every example shows Flower: {UNNOTED_DEFAULTS}",
    ),
}


def config_of(kind, folder, **changes):
    settings = {
        "data_dir": str(folder),
        "run_dir": f"{folder}-run",
        "model": "tiny",
        "weights": "none",
        "epochs": 1,
        "batch_size": 8,
        "tensorboard": False,
        "train_metric_examples": 0,
        "strategy": "cpu",
    }
    return kind(**{**settings, **changes})


def doctor_says(folder, capsys):
    """How many things are wrong, and the text without line breaks."""
    capsys.readouterr()
    found = doctor(config_of(DoctorConfig, folder, timing=False), {})
    return found.wrong, " ".join(capsys.readouterr().out.split())


@pytest.mark.parametrize("case", CASES)
def test_a_run_refuses_it_before_the_first_step(case, folder, monkeypatch):
    def step(self, *arguments):
        raise AssertionError("a step was taken")

    monkeypatch.setattr(TrainStep, "__call__", step)
    spoil, sentence, _ = CASES[case]
    spoil(folder)
    with pytest.raises(UserError, match=sentence):
        train(config_of(TrainConfig, folder))


@pytest.mark.parametrize("case", CASES)
def test_the_doctor_finds_it(case, folder, capsys):
    spoil, _, sentences = CASES[case]
    spoil(folder)
    wrong, text = doctor_says(folder, capsys)
    assert wrong >= len(sentences)
    for sentence in sentences:
        assert re.search(f"wrong .*{sentence}", text), text


@pytest.mark.parametrize("case", NOTES)
def test_a_run_and_the_doctor_say_it_and_it_trains(case, folder, capsys):
    change, sentence = NOTES[case]
    change(folder)
    wrong, text = doctor_says(folder, capsys)
    assert wrong == 0
    assert re.search(f"note .*{sentence}", text), text
    result = train(config_of(TrainConfig, folder))
    assert re.search(f"Note: .*{sentence}", capsys.readouterr().out)
    judged = {name for name, value in result.best["pr_auc"].items() if np.isfinite(value)}
    undefined = {"a class without positives": {"Fish"}, "an all-positive class": {"Flower"}}
    assert set(result.best["pr_auc"]) - judged == undefined.get(case, set())


def test_damage_in_a_streamed_set_stops_the_run_where_it_is_met_and_names_the_shard(folder):
    flip(folder)
    with pytest.raises(UserError, match=f"{HERE} is damaged .*--verify"):
        train(config_of(TrainConfig, folder, cache="none"))


def test_the_doctor_lists_all_that_is_wrong(folder, capsys):
    flip(folder)
    remove_other = "train-00001-of-00004.tfrecord"
    (folder / remove_other).unlink()
    change_split(folder, "val", class_counts={"Fish": 99, "Flower": 3, "Gravel": 3, "Sugar": 3})
    wrong, text = doctor_says(folder, capsys)
    assert wrong >= 4
    assert f"{remove_other} is missing" in text
    assert re.search(f"{HERE} does not have the checksum", text)
    assert "counts 99 of Fish in the 12 examples of val" in text
    assert "counts the classes of val as {'Fish': 99" in text


def test_the_doctor_tells_of_images_in_two_splits(folder, capsys):
    # The first shard of val becomes a copy of one of train: same names, sound otherwise.
    content = (folder / SHARD).read_bytes()
    (folder / "val-00000-of-00004.tfrecord").write_bytes(content)
    manifest = records.read_manifest(str(folder))
    train_shard = next(s for s in manifest.splits["train"].shards if s.name == SHARD)
    first, *rest = manifest.splits["val"].shards
    shards = (dataclasses.replace(train_shard, name=first.name), *rest)
    change_split(folder, "val", shards=shards, num_examples=sum(s.num_examples for s in shards))
    wrong, text = doctor_says(folder, capsys)
    assert wrong and re.search("val-00000.* holds '.*', which is also in the split train", text)


def test_the_look_at_first_records_keeps_to_its_time(folder, monkeypatch):
    another_class(folder)
    manifest = records.read_manifest(str(folder))
    verify.check_first_records(str(folder), manifest, ["train"], seconds=-1)
    with pytest.raises(UserError, match="does not fit"):
        verify.check_first_records(str(folder), manifest, ["train"], seconds=60)


@pytest.mark.parametrize("cache", ["none", "encoded", "decoded"])
def test_a_name_that_is_not_utf8_is_one_sentence(folder, cache):
    def rename(found):
        found[3].features.feature[records.FILENAME].bytes_list.value[0] = b"caf\xe9.jpg"
        return found

    rewrite(folder, rename)
    data = cloudtf.open_dataset(str(folder), cache=cache)
    with pytest.raises(UserError, match=r"Record 3 of the shard .*not UTF-8 \(b'caf.xe9.jpg'\)"):
        data.names("train")
