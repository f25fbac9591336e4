"""Batches for training and evaluation: what comes, in which order, how often."""

import itertools
import os

import numpy as np
import pytest
import tensorflow as tf

import cloudtf
from cloudtf import machine
from cloudtf.data import records
from cloudtf.errors import UsageError, UserError
from cloudtf.pipeline import reading
from cloudtf.pipeline.augmentations import NAMES, Augmentations
from cloudtf.pipeline.cache import SHARE_OF_FREE_MEMORY
from cloudtf.pipeline.order import Share

N, N_VAL = 48, 12
CACHES = ("none", "encoded", "decoded")
each_cache = pytest.mark.parametrize("cache", CACHES)


@pytest.fixture(scope="module")
def opened(records_dir):
    """The data set opened with each cache."""
    return {cache: cloudtf.open_dataset(records_dir, cache) for cache in CACHES}


@pytest.fixture(scope="module")
def originals(records_dir, opened):
    """Straight from the shards: name -> (image, label)."""
    result = {}
    for split in opened["none"].splits.values():
        for shard in split.shards:
            for record in tf.data.TFRecordDataset(f"{records_dir}/{shard.name}"):
                feature = tf.train.Example.FromString(record.numpy()).features.feature
                image = tf.io.decode_jpeg(feature[records.ENCODED].bytes_list.value[0]).numpy()
                label = np.array(feature[records.LABEL].int64_list.value, np.float32)
                result[feature[records.FILENAME].bytes_list.value[0].decode()] = (image, label)
    return result


def training(data, count, batch_size=7, split="train", **options):
    """The first `count` training batches as arrays: images, labels, keys."""
    options = {"augment_on": "device", "augmentations": Augmentations(), "seed": 0, **options}
    batches = data.training_batches(split, batch_size, **options)
    found = []
    for batch in itertools.islice(batches, count):
        assert (batch.mask.numpy() == 1).all()
        found.append((batch.images.numpy(), batch.labels.numpy(), batch.keys.numpy()))
    return found


def keys_of(batches):
    return np.concatenate([batch[2] for batch in batches])


def assert_same(found, expected):
    assert len(found) == len(expected)
    for a, b in zip(found, expected):
        for x, y in zip(a, b):
            np.testing.assert_array_equal(x, y)


@each_cache
def test_every_epoch_has_every_example_once_and_batches_straddle_epochs(opened, cache):
    # 28 batches of 7 are 4 epochs of 48 and 4 examples more; 48 is no multiple of 7.
    batches = training(opened[cache], 28)
    assert all(batch[0].shape == (7, 64, 64, 3) for batch in batches)
    keys = keys_of(batches)
    np.testing.assert_array_equal(keys[:, 0], np.arange(len(keys)) // N)
    orders = [keys[e * N : (e + 1) * N, 1] for e in range(4)]
    for order in orders:
        np.testing.assert_array_equal(np.sort(order), np.arange(N))
    assert len({tuple(order) for order in orders}) == 4
    assert tuple(range(N)) not in {tuple(order) for order in orders}


@each_cache
def test_the_order_is_the_seeds_alone(opened, cache):
    tf.random.set_seed(0)
    first = keys_of(training(opened[cache], 10, seed=5))
    tf.random.set_seed(2)
    np.testing.assert_array_equal(keys_of(training(opened[cache], 10, seed=5)), first)
    other = keys_of(training(opened[cache], 10, seed=6))
    assert (other[:N] != first[:N]).any()
    # Neither does the batch size change it, nor what else is done with the images.
    np.testing.assert_array_equal(keys_of(training(opened[cache], 7, 10, seed=5)), first)


@each_cache
def test_images_labels_and_names_belong_together(opened, originals, cache):
    data = opened[cache]
    names = data.names("train")
    assert sorted(names + data.names("val")) == sorted(originals)
    for images, labels, keys in training(data, 7):
        for image, label, (_, number) in zip(images, labels, keys):
            expected_image, expected_label = originals[names[number]]
            np.testing.assert_array_equal(image, expected_image)
            np.testing.assert_array_equal(label, expected_label)
    expected = [originals[name][1] for name in names]
    np.testing.assert_array_equal(data.labels("train"), expected)


@each_cache
@pytest.mark.parametrize("start", [1, 48, 70, 96 + 47])
def test_start_goes_on_exactly_where_another_run_left_off(opened, cache, start):
    ops = Augmentations(augmentations=NAMES, augment_probability=0.8)
    options = {"augment_on": "host", "augmentations": ops, "seed": 3}
    # One long run, image by image.
    whole = _long_run(opened[cache], options)
    resumed = training(opened[cache], 4, start=start, **options)
    for position, part in enumerate(whole):
        found = np.concatenate([batch[position] for batch in resumed])
        np.testing.assert_array_equal(found, part[start : start + 28])


def _long_run(data, options, _kept={}):  # noqa: B006 - kept for the other starts
    if id(data) not in _kept:
        batches = training(data, 25, **options)
        _kept[id(data)] = [np.concatenate(parts) for parts in zip(*batches)]
    return _kept[id(data)]


def test_memory_as_jpeg_as_pixels_and_disk_deliver_the_same_pixels(opened):
    ops = Augmentations(augmentations=NAMES)
    images = {}
    for cache, data in opened.items():
        for batch in training(data, 14, augment_on="host", augmentations=ops):
            for image, label, key in zip(*batch):
                images.setdefault(tuple(key), []).append((cache, image, label))
    # Disk has an order of its own: 98 keys of it are those of the first two epochs all the same.
    whole = [found for key, found in images.items() if key[0] < 2]
    assert len(whole) == 2 * N
    for found in whole:
        assert [cache for cache, *_ in found] == list(CACHES)
        for _, image, label in found[1:]:
            np.testing.assert_array_equal(image, found[0][1])
            np.testing.assert_array_equal(label, found[0][2])


def test_what_is_cached_is_not_augmented_and_labels_are_left_alone(opened, originals):
    data = opened["decoded"]
    names = data.names("train")
    versions = {}
    for images, labels, keys in training(data, 21, augment_on="host"):
        for image, label, (_, number) in zip(images, labels, keys):
            np.testing.assert_array_equal(label, originals[names[number]][1])
            versions.setdefault(number, []).append(image)
    fresh = [len(np.unique(np.stack(v), axis=0)) for v in versions.values()]
    assert np.mean(fresh) > 2.5  # of three epochs
    for (image, *_), name in zip(_evaluated(data, "train"), names):
        np.testing.assert_array_equal(image, originals[name][0])


def test_host_augmentation_is_what_the_device_would_do(opened):
    from cloudtf.pipeline import augment

    ops = Augmentations(augmentations=NAMES)
    plain = training(opened["decoded"], 2, seed=9)
    host = training(opened["decoded"], 2, seed=9, augment_on="host", augmentations=ops)
    compiled = tf.function(
        lambda images, keys: augment.augment(images, keys, ops=ops, seed=9, whole_batch=True),
        jit_compile=True,
    )
    for (images, labels, keys), (augmented, *rest) in zip(plain, host):
        np.testing.assert_array_equal(compiled(images, keys), augmented)
        assert_same([rest], [(labels, keys)])


@each_cache
def test_at_the_public_door_training_is_endless_images_and_labels(opened, cache):
    options = {"training": True, "augment_on": "device", "seed": 3, "start": 5}
    batches = opened[cache].batches("train", 8, **options)
    assert batches.element_spec == (
        tf.TensorSpec([8, 64, 64, 3], tf.uint8),
        tf.TensorSpec([8, 4], tf.float32),
    )
    assert batches.cardinality() == tf.data.INFINITE_CARDINALITY
    expected = training(opened[cache], 3, batch_size=8, seed=3, start=5)
    assert_same([tuple(map(np.asarray, b)) for b in batches.take(3)], [b[:2] for b in expected])
    with_keys = opened[cache].batches("train", 8, with_keys=True, **options)
    assert_same([tuple(map(np.asarray, b)) for b in with_keys.take(3)], expected)


@each_cache
@pytest.mark.parametrize("batch_size", [1, 5, 12, 50])
def test_at_the_public_door_evaluation_has_no_padding(opened, cache, batch_size):
    data = opened[cache]
    batches = data.batches("val", batch_size)
    assert batches.cardinality() == -(-N_VAL // batch_size)
    parts = [tuple(map(np.asarray, batch)) for batch in batches]
    sizes = [min(batch_size, N_VAL - first) for first in range(0, N_VAL, batch_size)]
    assert [tuple(map(len, part)) for part in parts] == [(size,) * 3 for size in sizes]
    images, labels, ones = (np.concatenate(column) for column in zip(*parts))
    expected = _evaluated(data, "val", batch_size)
    np.testing.assert_array_equal(images, [image for image, *_ in expected])
    np.testing.assert_array_equal(labels, [label for _, label, _ in expected])
    assert ones.dtype == np.float32 and (ones == 1).all()
    for *_, keys in data.batches("val", 12, with_keys=True):
        np.testing.assert_array_equal(keys, [[0, number] for number in range(N_VAL)])


@each_cache
def test_keras_evaluates_validates_and_predicts_on_the_examples_alone(opened, cache):
    """12 examples in batches of 100: padding would be 88 black images in every mean."""
    data = opened[cache]
    val = data.batches("val", 100)
    tf.keras.utils.set_random_seed(4)
    inputs = tf.keras.Input((64, 64, 3))
    pooled = tf.keras.layers.GlobalAveragePooling2D()(tf.cast(inputs, tf.float32) / 64.0)
    outputs = tf.keras.layers.Dense(4, activation="sigmoid")(pooled)
    model = tf.keras.Model(inputs, outputs)
    model.compile("sgd", "binary_crossentropy", metrics=["binary_accuracy"])
    images = np.stack([image for image, *_ in _evaluated(data, "val")])
    labels = data.labels("val").numpy()
    scores = model(images).numpy()
    assert model.predict(val, verbose=0).shape == (N_VAL, 4)
    np.testing.assert_allclose(model.predict(val, verbose=0), scores, atol=1e-6)
    entropy = -np.where(labels > 0, np.log(scores), np.log1p(-scores)).mean()
    accuracy = ((scores > 0.5) == (labels > 0)).mean()
    np.testing.assert_allclose(model.evaluate(val, verbose=0), [entropy, accuracy], rtol=1e-4)
    model.optimizer.learning_rate.assign(0.0)
    train = data.batches("train", 8, training=True)
    history = model.fit(
        train, steps_per_epoch=1, epochs=1, validation_data=val, validation_batch_size=None,
        verbose=0,
    ).history  # fmt: skip
    np.testing.assert_allclose(history["val_loss"], [entropy], rtol=1e-4)
    np.testing.assert_allclose(history["val_binary_accuracy"], [accuracy], rtol=1e-4)


def test_keras_asks_for_the_steps_of_an_epoch_without_end(opened):
    model = tf.keras.Sequential([tf.keras.Input((64, 64, 3)), tf.keras.layers.Flatten()])
    model.compile("sgd", "mse")
    with pytest.raises(ValueError, match="number of steps|steps_per_epoch"):
        model.fit(opened["none"].batches("train", 8, training=True), epochs=1, verbose=0)


@each_cache
def test_a_batch_may_be_larger_than_the_split(opened, cache):
    batches = training(opened[cache], 3, batch_size=31, split="val")
    keys = keys_of(batches)
    np.testing.assert_array_equal(keys[:, 0], np.arange(93) // N_VAL)
    for epoch in range(7):
        epoch_keys = keys[keys[:, 0] == epoch, 1]
        np.testing.assert_array_equal(np.sort(epoch_keys), np.arange(N_VAL))


@each_cache
@pytest.mark.parametrize("start", [0, 36])
def test_workers_without_shards_of_their_own_together_see_what_one_would(opened, cache, start):
    # Five workers, four shards; two replicas each, 3 images a replica: 30 a step.
    one = training(opened[cache], 30, batch_size=3, start=start)
    shares = [
        training(opened[cache], 6, batch_size=3, start=start, share=Share(worker, 5, 2))
        for worker in range(5)
    ]
    merged = []
    for step in range(3):
        for worker in range(5):
            merged += shares[worker][2 * step : 2 * step + 2]
    assert_same(merged, one)


def _evaluated(data, split, batch_size=5, **options):
    """Every example of an evaluation as (image, label, number), after checking the padding."""
    found = []
    for images, labels, mask, keys in data.evaluation_batches(split, batch_size, **options):
        assert images.shape == (batch_size, 64, 64, 3) and images.dtype == tf.uint8
        assert labels.shape == (batch_size, 4) and labels.dtype == tf.float32
        assert mask.shape == (batch_size,) and mask.dtype == tf.float32
        images, labels, mask, keys = (t.numpy() for t in (images, labels, mask, keys))
        real = int(mask.sum())
        np.testing.assert_array_equal(mask, np.arange(batch_size) < real)
        assert not images[real:].any() and not labels[real:].any()
        assert (keys[:, 0] == 0).all() and (keys[real:, 1] == -1).all()
        found += list(zip(images[:real], labels[:real], keys[:real, 1]))
    return found


@each_cache
@pytest.mark.parametrize("batch_size", [1, 5, 12, 50])
def test_evaluation_has_every_example_once_in_order(opened, originals, cache, batch_size):
    data = opened[cache]
    for split, count in (("train", N), ("val", N_VAL)):
        found = _evaluated(data, split, batch_size)
        assert [number for *_, number in found] == list(range(count))
        for (image, label, _), name in zip(found, data.names(split)):
            np.testing.assert_array_equal(image, originals[name][0])
            np.testing.assert_array_equal(label, originals[name][1])
    assert len(data.evaluation_batches("val", batch_size)) == -(-N_VAL // batch_size)


@each_cache
def test_evaluation_of_the_first_examples_only(opened, cache):
    found = _evaluated(opened[cache], "train", 4, max_examples=10)
    assert [number for *_, number in found] == list(range(10))
    assert len(_evaluated(opened[cache], "val", 5, max_examples=1000)) == N_VAL


@each_cache
def test_several_splits_are_read_as_one(opened, originals, cache):
    data, both = opened[cache], ("val", "train")
    assert data.num_examples(both) == N + N_VAL
    assert data.names(both) == data.names("val") + data.names("train")
    np.testing.assert_array_equal(
        data.labels(both), np.concatenate([data.labels("val"), data.labels("train")])
    )
    keys = keys_of(training(data, 10, batch_size=12, split=both))
    for epoch in range(2):
        numbers = keys[keys[:, 0] == epoch, 1]
        np.testing.assert_array_equal(np.sort(numbers), np.arange(N + N_VAL))
    for (image, *_), name in zip(_evaluated(data, both), data.names(both)):
        np.testing.assert_array_equal(image, originals[name][0])


def test_classes_and_sizes_are_the_manifests(opened):
    data = opened["none"]
    assert data.classes == ("Fish", "Flower", "Gravel", "Sugar")
    assert data.image_shape == (64, 64)
    assert data.num_examples("train") == N and data.num_examples("val") == N_VAL


def test_auto_shares_the_budget_among_the_splits_in_order_of_use(records_dir, monkeypatch):
    image = 64 * 64 * 3

    def chosen(budget):
        monkeypatch.setattr(machine, "free_bytes", lambda: int(budget / SHARE_OF_FREE_MEMORY) + 1)
        data = cloudtf.open_dataset(records_dir)
        for split in ("train", "val"):
            data.batches(split, 4, training=split == "train")
        return [data.cache.ways[split] for split in ("train", "val")], data.cache.describe()

    shards = cloudtf.open_dataset(records_dir, "none").splits["train"].shards
    encoded = sum(shard.num_bytes for shard in shards)
    assert chosen((N + N_VAL) * image)[0] == ["decoded", "decoded"]
    assert chosen(N * image)[0] == ["decoded", "none"]
    assert chosen(N * image - 100)[0] == ["encoded", "decoded"]
    choice, words = chosen(encoded)
    assert choice == ["encoded", "none"]
    assert words == "train kept in memory as JPEG; val read from disk each epoch"
    assert chosen(0)[0] == ["none", "none"]


def test_processes_that_share_a_machine_share_its_memory(records_dir, monkeypatch):
    decoded = N * 64 * 64 * 3
    monkeypatch.setattr(machine, "free_bytes", lambda: int(2 * decoded / SHARE_OF_FREE_MEMORY) + 1)
    for sharers, choice in ((1, "decoded"), (2, "decoded"), (3, "encoded")):
        data = cloudtf.open_dataset(records_dir, sharers=sharers)
        data.batches("train", 4)
        assert data.cache.ways == {"train": choice}


def test_as_many_threads_as_cores_that_this_process_may_use(records_dir, monkeypatch):
    told = []
    options = reading.options
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {3, 5, 8}, raising=False)
    monkeypatch.setattr(reading, "options", lambda cores: told.append(cores) or options(cores))
    cloudtf.open_dataset(records_dir, "none").batches("train", 4)
    assert set(told) == {3}


def test_decoded_images_are_held_once(opened):
    data = opened["decoded"]
    training(data, 1)
    table, first = data.cache.rows(data.splits["train"])
    assert first == 0
    assert table.decoded.shape == (N + 1, 64, 64, 3) and table.decoded.dtype == tf.uint8
    assert not table.decoded[N].numpy().any()  # The padding.
    assert table.encoded.shape == (0,)


def test_a_set_without_labels_is_read(tmp_path, photographs_dir):
    config = cloudtf.ConvertConfig(
        images_dir=f"{photographs_dir}/images",
        output_dir=str(tmp_path / "test"),
        image_height=24,
        image_width=40,
        max_examples=9,
    )
    cloudtf.convert(config)
    for cache in CACHES:
        data = cloudtf.open_dataset(config.output_dir, cache)
        images, labels, ones = next(iter(data.batches("test", 10)))
        assert images.shape == (9, 24, 40, 3) and labels.shape == (9, 0)
        assert ones.numpy().tolist() == [1] * 9
        assert len(set(data.names("test"))) == 9


@pytest.mark.parametrize("height, width", [(24, 40), (40, 24)])
def test_images_need_not_be_square(tmp_path, photographs_dir, height, width):
    config = cloudtf.ConvertConfig(
        labels_csv=f"{photographs_dir}/labels.csv",
        images_dir=f"{photographs_dir}/images",
        output_dir=str(tmp_path / "wide"),
        image_height=height,
        image_width=width,
        max_examples=12,
    )
    cloudtf.convert(config)
    data = cloudtf.open_dataset(config.output_dir)
    images, labels = next(iter(data.batches("train", 5, training=True)))
    assert images.shape == (5, height, width, 3) and labels.shape == (5, 4)


def test_wrong_arguments_are_named(opened, records_dir):
    data = opened["none"]
    with pytest.raises(UserError, match="no split 'fold0' in this data set; it has train, val"):
        data.batches("fold0", 4)
    with pytest.raises(UserError, match="no split 'x'"):
        data.names(("train", "x"))
    with pytest.raises(UsageError, match="^batch_size=0 must be at least 1"):
        data.batches("train", 0)
    with pytest.raises(UsageError, match="^start=-1 must be at least 0"):
        data.batches("train", 4, training=True, start=-1)
    with pytest.raises(UsageError, match="^augment_on='gpu' is not one of host, device"):
        data.batches("train", 4, training=True, augment_on="gpu")
    with pytest.raises(UsageError, match="^cache='disk' is not one of auto, none, enc"):
        cloudtf.open_dataset(records_dir, "disk")
    with pytest.raises(UsageError, match="^on_bad_record='stop' is not one of fail, skip"):
        cloudtf.open_dataset(records_dir, on_bad_record="stop")


@pytest.mark.parametrize("cache", CACHES)
@pytest.mark.parametrize("batch_size", [1, 5, 64])
def test_padding_is_zeros_with_mask_zero_and_without_a_key(opened, cache, batch_size):
    data = opened[cache]
    count = data.num_examples("val")
    batches = list(data.evaluation_batches("val", batch_size).as_numpy_iterator())
    assert len(batches) == -(-count // batch_size)
    images, labels, mask, keys = (np.concatenate(parts) for parts in zip(*batches))
    assert images.shape[0] == len(batches) * batch_size
    np.testing.assert_array_equal(mask, np.arange(len(mask)) < count)
    np.testing.assert_array_equal(keys[:count, 1], np.arange(count))
    assert (keys[count:, 1] == -1).all() and not keys[:count, 0].any()
    assert images[:count].any() and not images[count:].any() and not labels[count:].any()
