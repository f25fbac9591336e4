"""Workers with shards of their own: who reads what, and that together they read everything once."""

from __future__ import annotations

import itertools
import os
import shutil

import numpy as np
import pytest

import cloudtf
from cloudtf.data import records
from cloudtf.pipeline import sharing

# As `records_dir` has them: four shards of 12 and of 3.
N, N_VAL, SHARDS = 48, 12, 4
each_cache = pytest.mark.parametrize("cache", ("none", "encoded", "decoded"))


@pytest.fixture(scope="module")
def opened(records_dir):
    """Opens the data set anew, as each worker does for itself."""

    def open_one(cache, folder=records_dir):
        return cloudtf.open_dataset(folder, cache)

    return open_one


def trained_on(data, share, count, batch_size=4, **options):
    """(epoch, number, image, label) of the first `count` examples."""
    batches = data.batches(
        "train", batch_size, training=True, augment_on="device", with_keys=True, share=share,
        **options,
    )  # fmt: skip
    found = []
    for images, labels, keys in itertools.islice(batches, -(-count // batch_size)):
        for image, label, (epoch, number) in zip(images.numpy(), labels.numpy(), keys.numpy()):
            found.append((epoch, number, image, label))
    return found[:count]


def scored(data, split, share, batch_size=5, **options):
    """(number, image, label) of all examples of an evaluation."""
    found = []
    batches = data.batches(split, batch_size, with_keys=True, share=share, **options)
    for images, labels, mask, keys in batches:
        assert images.shape[0] == batch_size
        for i in np.flatnonzero(mask.numpy()):
            found.append((keys.numpy()[i, 1], images.numpy()[i], labels.numpy()[i]))
    return found


@each_cache
@pytest.mark.parametrize("workers", [2, 3])
def test_each_example_comes_once_an_epoch_over_the_workers(opened, cache, workers):
    whole = {number: rest for number, *rest in scored(opened(cache), "train", (0, 1, 1))}
    epochs, orders = {}, []
    for worker in range(workers):
        found = trained_on(opened(cache), (worker, workers, 1), 3 * N // workers)
        for epoch, number, image, label in found:
            epochs.setdefault(epoch, []).append(number)
            np.testing.assert_array_equal(image, whole[number][0])
            np.testing.assert_array_equal(label, whole[number][1])
        orders.append([number - worker * N // workers for _, number, *_ in found])
    assert {epoch: sorted(numbers) for epoch, numbers in epochs.items()} == {
        epoch: list(range(N)) for epoch in range(3)
    }
    for one, other in itertools.combinations(orders, 2):
        assert one != other, "the same examples would meet in every epoch"
        assert one[: N // workers] != one[N // workers : 2 * (N // workers)]


@each_cache
def test_a_worker_goes_on_in_its_own_stream(opened, cache):
    # 21 steps of 2 x 4 examples, beyond the first of its epochs of 24.
    all_of_it = trained_on(opened(cache), (1, 2, 1), 100)
    rest = trained_on(opened(cache), (1, 2, 1), 100 - 84, start=21 * 8)
    assert [key[:2] for key in rest] == [key[:2] for key in all_of_it[84:]]


@each_cache
@pytest.mark.parametrize(("worker", "workers", "read"), [(1, 2, {2, 3}), (1, 3, {1, 2})])
def test_a_worker_reads_its_own_shards_only(
    opened, records_dir, tmp_path, cache, worker, workers, read
):
    folder = shutil.copytree(records_dir, tmp_path / "records")
    for split in ("train", "val"):
        for number in set(range(SHARDS)) - read:
            path = folder / f"{split}-{number:05d}-of-{SHARDS:05d}.tfrecord"
            path.write_bytes(bytes(os.path.getsize(path)))
    data = opened(cache, str(folder))
    share = (worker, workers, 1)
    assert len(trained_on(data, share, 2 * N // workers)) == 2 * N // workers
    assert len(scored(data, "val", share)) == N_VAL // workers


@each_cache
@pytest.mark.parametrize("workers", [3, 13])
def test_evaluation_is_divided_without_loss_and_in_order(opened, cache, workers):
    for split, options in (("val", {}), ("train", {"max_examples": 10})):
        whole = scored(opened(cache), split, (0, 1, 1), **options)
        parts = [
            scored(opened(cache), split, (worker, workers, 1), **options)
            for worker in range(workers)
        ]
        sizes = [len(part) for part in parts]
        assert max(sizes) - min(sizes) <= 1
        together = [example for part in parts for example in part]
        assert [number for number, *_ in together] == [number for number, *_ in whole]
        for mine, its in zip(together, whole):
            np.testing.assert_array_equal(mine[1], its[1])
            np.testing.assert_array_equal(mine[2], its[2])


def split_of(*counts):
    shards = tuple(records.Shard(f"{i}", count, 100 * count, "") for i, count in enumerate(counts))
    return records.Split("s", sum(counts), {}, {}, shards)


@pytest.mark.parametrize("counts", [(5, 5, 5, 5), (1, 9, 2), (4, 3, 3, 3), (0, 7, 0, 2), (100, 1)])
@pytest.mark.parametrize("workers", [2, 3, 4])
def test_parts_are_even_whatever_the_shards(counts, workers):
    spec = split_of(*counts)
    parts = [
        sharing.own_part(spec, worker, workers, spec.num_examples) for worker in range(workers)
    ]
    sizes = [part.count for part in parts]
    assert sum(sizes) == sum(counts) and max(sizes) - min(sizes) <= 1
    assert [part.start for part in parts[1:]] == [part.stop for part in parts[:-1]]
    for part in parts:
        assert part.first <= part.start <= part.stop <= part.first + part.shards.num_examples
        assert part.shards.num_examples == sum(shard.num_examples for shard in part.shards.shards)


def test_a_border_near_that_of_a_shard_is_moved_there():
    # As the converter makes them of 4437 examples; the first four hold two more than half.
    spec = split_of(555, 555, 555, 555, 555, 554, 554, 554)
    parts = [sharing.own_part(spec, worker, 2, 4437) for worker in range(2)]
    assert [(part.start, part.stop) for part in parts] == [(0, 2220), (2220, 4437)]
    assert [len(part.shards.shards) for part in parts] == [4, 4]
    # Of the first 1000, whose half is far from any border, both need one shard or two.
    parts = [sharing.own_part(spec, worker, 2, 1000) for worker in range(2)]
    assert [(part.start, part.stop) for part in parts] == [(0, 500), (500, 1000)]


def test_where_there_are_fewer_shards_or_examples_than_workers_they_are_not_divided():
    assert sharing.by_shards(split_of(5, 5), 2)
    assert not sharing.by_shards(split_of(5, 5), 3)
    assert not sharing.by_shards(split_of(1, 0, 1), 3)
    assert not sharing.by_shards(split_of(5, 5), 1)


def test_each_worker_says_what_it_reads(opened):
    data = opened("none")
    assert data.describe_share("train", 1, 2) == "Worker 1 of 2 reads its own 2 of the 4 shards"
    assert data.describe_share("train", 4, 5) == (
        "Worker 4 of 5 takes its share of all records: 4 shards are too few to divide"
    )


@pytest.mark.parametrize("workers", [1, 2, 5])
def test_workers_keep_what_they_train_on_alike(opened, workers):
    for worker in range(workers):
        data = opened("decoded")
        data.settle_cache("train", worker, workers, lambda mine: min(mine, 1))
        assert data.streams("train", worker, workers)
        assert list(data.caches.values()) == ["none"]
        data = opened("decoded")
        data.settle_cache("train", worker, workers, lambda mine: min(mine, 3))
        assert not data.streams("train", worker, workers)
        batches = data.batches("train", 2, training=True, share=(worker, workers, 1))
        assert len(next(iter(batches))) == 2
        assert list(data.caches.values()) == ["decoded"]
