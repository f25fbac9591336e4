"""What is kept in memory: what fits, by which shards it is known, and how it is left on disk."""

import itertools

import numpy as np
import pytest

import cloudtf
from cloudtf.data import records
from cloudtf.pipeline import cache, tables
from cloudtf.pipeline.augmentations import Augmentations
from cloudtf.pipeline.cache import Cache
from cloudtf.pipeline.order import ALONE, Share, own_part

N = 48  # Of `records_dir`, in four shards.


@pytest.mark.parametrize(
    "room, ways",
    [
        (30_000, ["decoded", "encoded", "none"]),
        (29_999, ["encoded", "none"]),
        (5_000, ["encoded", "none"]),
        (4_999, ["none"]),
        (0, ["none"]),
    ],
)
def test_what_fits_the_fastest_first_and_what_it_takes(room, ways):
    found = cache.fitting(10, 5_000, 3_000, room)
    assert list(found) == ways
    costs = {"decoded": 30_000, "encoded": 5_000, "none": 0}
    assert found == {way: costs[way] for way in ways}


def made(wanted="auto", room=0, **splits):
    """A cache of images of 10 x 10 pixels, and its splits: name to bytes of each shard of ten."""
    found = {}
    for name, lengths in splits.items():
        shards = tuple(records.Shard(f"{name}{i}", 10, n, "") for i, n in enumerate(lengths))
        found[name] = records.Split(name, 10 * len(shards), {}, {}, shards)
    manifest = records.Manifest(("A",), 10, 10, 95, 0, found)
    return Cache("", manifest, wanted, room), manifest


@pytest.mark.parametrize("wanted, num_bytes", [("decoded", 6_000), ("encoded", 50), ("none", 0)])
def test_a_choice_is_kept_whether_it_fits_or_not(wanted, num_bytes):
    kept, manifest = made(wanted, room=1, train=[20, 30])
    assert kept.way(manifest.splits["train"]) == wanted
    assert kept.num_bytes == num_bytes


def test_splits_share_the_room_in_the_order_in_which_they_are_asked_for():
    for first, second in (("train", "val"), ("val", "train")):
        kept, manifest = made(room=3_100, train=[90], val=[90])
        ways = [kept.way(manifest.splits[name]) for name in (first, second)]
        assert ways == ["decoded", "encoded"]
        assert kept.num_bytes == 3_090
        assert list(kept.ways) == [first, second]


def test_a_part_of_what_is_kept_takes_no_room_and_is_kept_alike():
    kept, manifest = made(room=9_000, train=[90, 90, 90])
    train = manifest.splits["train"]
    assert kept.way(train) == "decoded"
    for worker in range(3):
        assert kept.way(own_part(train, Share(worker, 3), 30).shards) == "decoded"
    assert kept.num_bytes == 9_000 and kept.ways == {"train": "decoded"}


def test_the_same_shards_are_the_same_whatever_they_are_called():
    kept, manifest = made(room=6_000, a=[90], b=[90])
    joined = manifest.joined(("a", "b"))
    assert kept.way(joined) == "decoded"
    assert kept.way(manifest.splits["b"]) == "decoded"
    assert kept.num_bytes == 6_000


def test_what_is_put_on_disk_late_is_on_disk_and_gives_its_room_to_others():
    kept, manifest = made(room=3_000, train=[90], val=[90])
    train, val = manifest.splits["train"], manifest.splits["val"]
    assert [kept.way(train), kept.way(val)] == ["decoded", "none"]
    kept.keep_on_disk(train)
    assert kept.way(train) == "none" and kept.num_bytes == 0
    kept, manifest = made(room=3_000, train=[90], val=[90])
    assert kept.way(train) == "decoded"
    kept.keep_on_disk(train)
    assert kept.way(val) == "decoded"
    assert kept.describe() == "val kept in memory as pixels"


def test_what_is_wanted_on_disk_is_there_whatever_the_choice():
    kept, manifest = made("decoded", train=[90, 90], val=[90])
    kept.keep_on_disk(manifest.splits["train"])
    part = own_part(manifest.splits["train"], Share(1, 2), 20).shards
    assert kept.way(manifest.splits["train"]) == kept.way(part) == "none"
    assert kept.way(manifest.splits["val"]) == "decoded"


@pytest.fixture
def loads(monkeypatch):
    """The names of the shards of each load."""
    found, load = [], tables.load_table

    def noted(data_dir, split, *rest):
        found.append([shard.name for shard in split.shards])
        return load(data_dir, split, *rest)

    monkeypatch.setattr(tables, "load_table", noted)
    return found


@pytest.mark.parametrize("way", ["encoded", "decoded"])
def test_shards_are_loaded_once_for_workers_parts_and_the_first_examples(records_dir, loads, way):
    data = cloudtf.open_dataset(records_dir, way)
    whole = [batch.images.numpy() for batch in data.evaluation_batches("train", 12)]
    for worker in range(4):
        (batch,) = data.evaluation_batches("train", 12, share=Share(worker, 4))
        np.testing.assert_array_equal(batch.images, whole[worker])
        np.testing.assert_array_equal(batch.keys[:, 1], range(12 * worker, 12 * worker + 12))
    *_, last = data.evaluation_batches("train", 8, max_examples=20)
    np.testing.assert_array_equal(last.images[:4], whole[1][4:8])
    assert not last.images[4:].numpy().any() and not last.labels[4:].numpy().any()
    assert data.names("train") and len(data.labels("train")) == N
    assert loads == [[shard.name for shard in data.splits["train"].shards]]


def training(data, count=6, share=ALONE):
    batches = data.training_batches("train", 8, "device", Augmentations(), 3, share=share)
    return [batch.keys.numpy() for batch in itertools.islice(batches, count)]


def test_batches_made_before_a_split_went_to_disk_stay_and_later_ones_are_streamed(records_dir):
    data, streamed = cloudtf.open_dataset(records_dir), cloudtf.open_dataset(records_dir, "none")
    before = data.training_batches("train", 8, "device", Augmentations(), 3)
    in_memory = training(data)
    data.cache.keep_on_disk(data.splits["train"])
    np.testing.assert_array_equal(training(data), training(streamed))
    assert not np.array_equal(training(data), in_memory)
    found = [batch.keys.numpy() for batch in itertools.islice(before, 6)]
    np.testing.assert_array_equal(found, in_memory)


def test_a_split_that_is_kept_on_disk_is_not_loaded(records_dir, loads):
    data = cloudtf.open_dataset(records_dir, "decoded")
    data.cache.keep_on_disk(data.splits["train"])
    assert len(list(data.batches("train", 4))) == N // 4
    assert loads == []


@pytest.mark.parametrize("workers", [1, 2, 5])
def test_workers_keep_what_they_train_on_alike(records_dir, workers):
    for worker in range(workers):
        share = Share(worker, workers)
        for least, way in ((1, "none"), (2, "encoded"), (3, "decoded")):
            data = cloudtf.open_dataset(records_dir, "decoded")
            part = data.training_part("train", share)
            data.cache.settle(part, lambda mine, least=least: min(mine, least))
            assert data.cache.way(part) == way
            assert len(training(data, 1, share)) == 1
            assert list(data.cache.ways.values()) == [way]


def test_several_splits_are_joined_with_all_that_is_counted():
    splits = {
        name: records.Split(name, count, {"A": count, "B": 1}, {"A": count - 1, "A|B": 1}, shards)
        for name, count, shards in (
            ("fold1", 3, (records.Shard("x", 3, 1, ""),)),
            ("fold0", 2, (records.Shard("y", 2, 1, ""),)),
        )
    }
    manifest = records.Manifest(("A", "B"), 8, 8, 95, 0, splits)
    joined = manifest.joined(("fold0", "fold1"))
    assert joined == records.Split(
        "fold0+fold1",
        5,
        {"A": 5, "B": 2},
        {"A": 3, "A|B": 2},
        (*splits["fold0"].shards, *splits["fold1"].shards),
    )
    assert manifest.joined("fold0") == manifest.joined(["fold0"]) == splits["fold0"]
    with pytest.raises(cloudtf.errors.UserError, match="no split 'fold2'"):
        manifest.joined(["fold0", "fold2"])
