"""Which example comes when: permutations, starts, and what each of several workers reads."""

from __future__ import annotations

import dataclasses
import itertools
import os
import shutil

import numpy as np
import pytest
import tensorflow as tf

import cloudtf
from cloudtf.data import records
from cloudtf.pipeline import order
from cloudtf.pipeline.augmentations import Augmentations
from cloudtf.pipeline.order import ALONE, Share

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
    batches = data.training_batches(
        "train", batch_size, "device", Augmentations(), seed=0, share=share, **options
    )
    found = []
    for images, labels, _, keys in itertools.islice(batches, -(-count // batch_size)):
        for image, label, (epoch, number) in zip(images.numpy(), labels.numpy(), keys.numpy()):
            found.append((epoch, number, image, label))
    return found[:count]


def scored(data, split, share, batch_size=5, **options):
    """(number, image, label) of all examples of an evaluation."""
    found = []
    batches = data.evaluation_batches(split, batch_size, share=share, **options)
    for images, labels, mask, keys in batches:
        assert images.shape[0] == batch_size
        for i in np.flatnonzero(mask.numpy()):
            found.append((keys.numpy()[i, 1], images.numpy()[i], labels.numpy()[i]))
    return found


@each_cache
@pytest.mark.parametrize("workers", [2, 3])
def test_each_example_comes_once_an_epoch_over_the_workers(opened, cache, workers):
    whole = {number: rest for number, *rest in scored(opened(cache), "train", ALONE)}
    epochs, orders = {}, []
    for worker in range(workers):
        found = trained_on(opened(cache), Share(worker, workers), 3 * N // workers)
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
    all_of_it = trained_on(opened(cache), Share(1, 2), 100)
    rest = trained_on(opened(cache), Share(1, 2), 100 - 84, start=21 * 8)
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
    share = Share(worker, workers)
    assert len(trained_on(data, share, 2 * N // workers)) == 2 * N // workers
    assert len(scored(data, "val", share)) == N_VAL // workers


@each_cache
@pytest.mark.parametrize("workers", [3, 13])
def test_evaluation_is_divided_without_loss_and_in_order(opened, cache, workers):
    for split, options in (("val", {}), ("train", {"max_examples": 10})):
        whole = scored(opened(cache), split, ALONE, **options)
        parts = [
            scored(opened(cache), split, Share(worker, workers), **options)
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
        order.own_part(spec, Share(worker, workers), spec.num_examples) for worker in range(workers)
    ]
    sizes = [part.count for part in parts]
    assert sum(sizes) == sum(counts) and max(sizes) - min(sizes) <= 1
    assert [part.first for part in parts[1:]] == [part.end for part in parts[:-1]]
    for part in parts:
        assert part.offset <= part.first <= part.end <= part.offset + part.shards.num_examples
        assert part.shards.num_examples == sum(shard.num_examples for shard in part.shards.shards)


def test_a_border_near_that_of_a_shard_is_moved_there():
    # As the converter makes them of 4437 examples; the first four hold two more than half.
    spec = split_of(555, 555, 555, 555, 555, 554, 554, 554)
    parts = [order.own_part(spec, Share(worker, 2), 4437) for worker in range(2)]
    assert [(part.first, part.end) for part in parts] == [(0, 2220), (2220, 4437)]
    assert [len(part.shards.shards) for part in parts] == [4, 4]
    # Of the first 1000, whose half is far from any border, both need one shard or two.
    parts = [order.own_part(spec, Share(worker, 2), 1000) for worker in range(2)]
    assert [(part.first, part.end) for part in parts] == [(0, 500), (500, 1000)]


def test_where_there_are_fewer_shards_or_examples_than_workers_they_are_not_divided():
    assert order.has_own_shards(split_of(5, 5), 2)
    assert not order.has_own_shards(split_of(5, 5), 3)
    assert not order.has_own_shards(split_of(1, 0, 1), 3)
    assert not order.has_own_shards(split_of(5, 5), 1)


def test_each_worker_says_what_it_reads(opened):
    data = opened("none")
    assert (
        data.describe_share("train", Share(1, 2)) == "Worker 1 of 2 reads its own 2 of the 4 shards"
    )
    assert data.describe_share("train", Share(4, 5)) == (
        "Worker 4 of 5 takes its share of all records: 4 shards are too few to divide"
    )


def test_permutation_holds_every_example_once_and_changes_with_epoch_and_seed():
    orders = {}
    for seed in (0, 1, 2**40):
        for epoch in (0, 1, 2, 1_000_000):
            found = order.permutation(seed, tf.constant(epoch, tf.int64), 100).numpy()
            assert found.dtype == np.int64
            assert sorted(found) == list(range(100))
            orders[seed, epoch] = tuple(found)
    assert len(set(orders.values())) == len(orders)


def test_permutation_is_pure():
    epoch = tf.constant(3, tf.int64)
    expected = order.permutation(5, epoch, 50).numpy()
    tf.random.set_seed(1234)
    np.testing.assert_array_equal(order.permutation(5, epoch, 50), expected)
    in_pipeline = tf.data.Dataset.range(3, 4).map(lambda e: order.permutation(5, e, 50))
    np.testing.assert_array_equal(next(iter(in_pipeline)), expected)


def test_permutation_favours_no_position():
    counts = np.zeros((8, 8))
    for epoch in range(800):
        found = order.permutation(1, tf.constant(epoch, tf.int64), 8).numpy()
        counts[np.arange(8), found] += 1
    chi_square = ((counts - 100) ** 2 / 100).sum()
    assert 15 < chi_square < 105  # 49 degrees of freedom


def test_a_packed_key_is_unpacked_again():
    epochs = tf.constant([0, 0, 5, 2**31 - 1], tf.int64)
    numbers = tf.constant([0, 7, 2**31 - 1, 1], tf.int64)
    keys = order.unpack(order.pack(epochs, numbers))
    assert keys.dtype == tf.int32
    np.testing.assert_array_equal(keys, np.stack([epochs, numbers], axis=1))


@pytest.mark.parametrize(("start", "first_epoch", "skipped"), [(0, 0, 0), (9, 0, 9), (25, 2, 5)])
def test_what_comes_before_the_start_is_skipped_in_its_epoch_only(start, first_epoch, skipped):
    stream = order.training_order(split_of(4, 6), seed=0, start=start, share=ALONE)
    assert stream.first_epoch == first_epoch
    found = [
        int(stream.num_skipped(tf.constant(epoch, tf.int64)))
        for epoch in range(first_epoch, first_epoch + 3)
    ]
    assert found == [skipped, 0, 0]


@pytest.mark.parametrize("batch_size", [1, 4, 10, 23])
@pytest.mark.parametrize("share", [ALONE, Share(1, 3, 2)])
def test_any_batch_can_be_had_by_its_index_with_whatever_was_carried(batch_size, share):
    stream = order.training_order(split_of(14, 26), seed=3, start=7, share=ALONE)
    stream = dataclasses.replace(stream, share=share)
    batches = [b.numpy() for b in stream.batches(batch_size).take(40)]
    indexed = list(stream.indexed_batches(batch_size).take(40).as_numpy_iterator())
    assert [index for index, _ in indexed] == list(range(40))
    np.testing.assert_array_equal([packed for _, packed in indexed], batches)
    carried = stream.nothing_shuffled()
    for index in (5, 0, 39, 38):
        positions = stream.positions(tf.constant(index, tf.int64), batch_size)
        carried, packed = stream.keys(carried, positions)
        np.testing.assert_array_equal(packed, batches[index])


def test_the_example_at_a_position_is_that_of_its_epochs_permutation():
    stream = order.training_order(split_of(4, 6), seed=3, start=7, share=ALONE)
    packed = np.concatenate([b.numpy() for b in stream.batches(4).take(20)])
    keys, positions = order.unpack(packed).numpy(), 7 + np.arange(80)
    np.testing.assert_array_equal(keys[:, 0], positions // 10)
    expected = [order.permutation(3, tf.constant(p // 10, tf.int64), 10)[p % 10] for p in positions]
    np.testing.assert_array_equal(keys[:, 1], expected)
