"""What a run gets is, to the bit, what it got when the digests here were recorded.

They are whole numbers, the same on every processor and version of TensorFlow. None of them may ever
change, or a run that was interrupted goes on with other examples, and a published one cannot be
repeated:

- the order of the examples for training: a function of (seed, position in the endless stream,
  worker's share), one for splits kept in memory, and one for those streamed from disk;
- the keys (epoch, example number) that come with the examples, which key their augmentation;
- the same batches, each made from its number alone, as for a data service;
- the order of evaluation, its division among workers and its padding;
- the random numbers of an example, and what an augmentation with them does to its bytes;
- the shards of a conversion, bytes and all, for every way to split, and dataset.json;
- the lines of flags.txt.

A setting that is added on purpose may come between these lines, and a key of dataset.json is named
in `ADDED`; a digest that differs is a fault. The digests of a rotation or distortion are of
examples whose positions are well away from where float32 rounds: on others, processors differ by a
grey level.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import os
import struct
import zlib

import numpy as np
import pytest
import tensorflow as tf

import cloudtf
from cloudtf import settings
from cloudtf.pipeline import augment, randomness
from cloudtf.pipeline.augmentations import Augmentations
from cloudtf.pipeline.order import Share, permutation

# How the tests below reach what they record; the only part to follow a name that changes.


def training_batches(data, seed=0, start=0, share=(0, 1, 1), augmentations=(), batch_size=4):
    """Endless (images, labels, keys)."""
    augmentations = Augmentations(augmentations=augmentations, augment_probability=0.75)
    for batch in data.training_batches(
        "train", batch_size, "host", augmentations, seed, start, Share(*share)
    ):
        yield batch.images, batch.labels, batch.keys


def batch_by_number(data, seed=0, start=0, share=(0, 1, 1), augmentations=(), batch_size=4):
    """A function from a number to (images, labels, keys)."""
    augmentations = Augmentations(augmentations=augmentations, augment_probability=0.75)
    make = data.batch_maker(
        "train", batch_size, "host", augmentations, seed, start, Share(*share)
    ).function()

    def three(number):
        batch = make(number)
        return batch.images, batch.labels, batch.keys

    return three


def evaluation_batches(data, split, batch_size, share=(0, 1, 1), max_examples=None):
    """(images, labels, mask, keys), each with `batch_size` rows."""
    return data.evaluation_batches(split, batch_size, max_examples, Share(*share))


# What they have in common.

NUM_IMAGES = 41
CLASSES = ("Fish", "Flower", "Gravel")


def digest(*parts):
    """16 hexadecimal digits of bytes, text or little-endian arrays."""
    found = hashlib.sha256()
    for part in parts:
        if isinstance(part, str):
            part = part.encode("utf-8")
        elif not isinstance(part, bytes):
            part = np.asarray(part)
            part = np.ascontiguousarray(part.astype(part.dtype.newbyteorder("<"))).tobytes()
        found.update(part)
    return found.hexdigest()[:16]


def drawn(number, height=16, width=16):
    """A picture with edges and gradients, uint8 [height, width, 3], without any random number."""
    row, column, channel = np.ogrid[:height, :width, :3]
    gradient = 13 * row * (channel + 1) + 7 * column * (3 - channel) + 29 * number
    return ((gradient + 90 * ((row * column + number) % 5 == 0)) % 256).astype(np.uint8)


def png(pixels):
    """A PNG file of uint8 [height, width, 3], not compressed: the same bytes from any zlib."""
    height, width = pixels.shape[:2]
    rows = b"".join(b"\0" + row.tobytes() for row in pixels)

    def chunk(kind, content):
        check = zlib.crc32(kind + content)
        return struct.pack(">I4s", len(content), kind) + content + struct.pack(">I", check)

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    content = chunk(b"IDAT", zlib.compress(rows, 0))
    return b"\x89PNG\r\n\x1a\n" + header + content + chunk(b"IEND", b"")


@pytest.fixture(scope="module")
def photographs(tmp_path_factory):
    """`images`, `labels.csv`, and `grouped.csv` whose column `scene` groups up to three of them."""
    folder = tmp_path_factory.mktemp("drawn")
    (folder / "images").mkdir()
    rows = [["Image", *CLASSES, "scene"]]
    for number in range(NUM_IMAGES):
        (folder / "images" / f"{number:02}.png").write_bytes(png(drawn(number)))
        label = [str(number >> bit & 1) for bit in range(len(CLASSES))]
        rows.append([f"{number:02}.png", *label, f"scene{number * number % 19}"])
    for name, columns in (("labels.csv", -1), ("grouped.csv", None)):
        (folder / name).write_text("".join(",".join(row[:columns]) + "\n" for row in rows))
    return folder


@pytest.fixture(scope="module")
def converted(photographs, tmp_path_factory):
    """Converts with the settings that are given; returns the folder."""

    def convert(**options):
        folder = tmp_path_factory.mktemp("records") / "set"
        labels = "grouped.csv" if "group_column" in options else "labels.csv"
        cloudtf.convert(
            cloudtf.ConvertConfig(
                labels_csv=str(photographs / labels),
                images_dir=str(photographs / "images"),
                output_dir=str(folder),
                image_height=16,
                image_width=16,
                workers=2,
                **options,
            )
        )
        return folder

    return convert


@pytest.fixture(scope="module")
def folder(converted):
    """33 examples to train on in four shards, and 8 to validate on."""
    return converted(num_shards=4)


def opened(folder, cache):
    return cloudtf.open_dataset(str(folder), cache)


# The order of training.

# (seed, start, share): digests of the keys of 20 batches of 4 examples, of a split that is kept in
# memory and of one that is streamed.
ORDERS = {
    (0, 0, (0, 1, 1)): ("0b5b90573ceb9cb6", "df314a70785e4bf1"),
    (7, 0, (0, 1, 1)): ("3425889060044e28", "37d2e0c74403cad8"),
    (2**32 - 1, 0, (0, 1, 1)): ("6a831b1a98cd2b94", "d9f43b7f752dbc8c"),
    # Resumed: within the first epoch, one example before the second and at its start, far on.
    (0, 12, (0, 1, 1)): ("851ce3887d1316df", "03775b8d768ffb29"),
    (7, 32, (0, 1, 1)): ("1de7b62d406f29e8", "9ada72d384c7a0f5"),
    (7, 33, (0, 1, 1)): ("e20dc776161e86df", "2b7eea9f63aeb3e4"),
    (7, 4000, (0, 1, 1)): ("72e6cca4d3fe70c8", "388260fd9a6a5d34"),
    # Workers with shards of their own.
    (0, 0, (0, 2, 1)): ("e0f57be92b042b43", "a6ebd7fa33a0b9ae"),
    (0, 0, (1, 2, 1)): ("8f4ba7a18945116d", "0a1db7c73fa87bc1"),
    (7, 0, (2, 3, 1)): ("e4300fec5fe26852", "8837007231377edf"),
    (7, 96, (1, 2, 1)): ("cc18a55137cd3160", "448b9d4d83921e59"),
    (7, 96, (3, 4, 2)): ("54337067ca29ba7c", "944b5287052f6fcc"),
    # More workers than shards: each takes batches of one order.
    (0, 0, (0, 5, 1)): ("fc536ac514813fbf", "3aaa74ce43979510"),
    (0, 0, (4, 5, 1)): ("ff3dac9ca404807b", "9506871e03eab349"),
    (7, 0, (1, 5, 2)): ("127f949a24095bcc", "773840d3b5e6968d"),
    (7, 240, (4, 5, 3)): ("63e64f824377785b", "583880d1a45a3a2b"),
}
# Of images, labels and keys of five batches with seed 7: as they are, and flipped.
FLIPS = ("vertical_flip", "horizontal_flip")
EXAMPLES = ("3f925e0f84c77da6", "ab329a8afc3c7c09")
AUGMENTED = ("410dfc71904767fd", "42c2ed23ee13769c")
# (split, batch size, share, the first so many examples): of images, labels, mask and keys.
EVALUATION = {
    ("val", 5, (0, 1, 1), None): "e36aecf83ab42160",
    ("val", 12, (0, 1, 1), None): "d3d045a0f91eb369",
    ("train", 4, (0, 1, 1), 10): "a261f9a3aac939e9",
    ("train", 4, (0, 3, 1), None): "568118b59f8e804d",
    ("train", 4, (1, 3, 1), None): "8c31ff8ff358af0a",
    ("train", 4, (2, 3, 1), None): "954abaf73607eaba",
    ("train", 4, (1, 2, 1), 13): "148e70ee2754da8d",
    # The first of 13 workers for 8 examples has none.
    ("val", 4, (0, 13, 1), None): "e3b0c44298fc1c14",
}


def keys_of(batches, count=20):
    return np.concatenate([keys for *_, keys in itertools.islice(batches, count)])


def content_of(batches, count=5):
    return [part for batch in itertools.islice(batches, count) for part in batch]


@pytest.mark.parametrize("cache", ["none", "encoded", "decoded"])
def test_the_order_of_training(folder, cache):
    data = opened(folder, cache)
    streamed = cache == "none"
    found = {case: digest(keys_of(training_batches(data, *case))) for case in ORDERS}
    assert found == {case: digests[streamed] for case, digests in ORDERS.items()}


def test_the_order_of_batches_by_number(folder):
    data = opened(folder, "none")
    found = {}
    for case in ORDERS:
        make = batch_by_number(data, *case)
        found[case] = digest(keys_of(make(tf.constant(n, tf.int64)) for n in range(20)))
    assert found == {case: in_memory for case, (in_memory, _) in ORDERS.items()}


@pytest.mark.parametrize("cache", ["none", "encoded", "decoded"])
def test_the_images_and_labels_that_come_with_the_keys(folder, cache):
    data = opened(folder, cache)
    streamed = cache == "none"
    assert digest(*content_of(training_batches(data, 7))) == EXAMPLES[streamed]
    flipped = training_batches(data, 7, augmentations=FLIPS)
    assert digest(*content_of(flipped)) == AUGMENTED[streamed]


def test_the_images_and_labels_of_batches_by_number(folder):
    make = batch_by_number(opened(folder, "none"), 7, augmentations=FLIPS)
    batches = (make(tf.constant(number, tf.int64)) for number in range(5))
    assert digest(*content_of(batches)) == AUGMENTED[False]


@pytest.mark.parametrize("cache", ["none", "encoded", "decoded"])
def test_evaluation(folder, cache):
    data = opened(folder, cache)
    found = {}
    for split, batch_size, share, max_examples in EVALUATION:
        batches = evaluation_batches(data, split, batch_size, share, max_examples)
        parts = [part for batch in batches for part in batch]
        found[split, batch_size, share, max_examples] = digest(*parts)
    assert found == EVALUATION


# Randomness and augmentation.

# (seed, epoch, example): its first numbers, in units of 2**-24.
UNIFORMS = {
    (0, 0, 0): [13716299, 306963, 3722908, 3273295],
    (0, 0, 1): [13577236, 5920718, 168536, 8673673],
    (0, 1, 0): [15163056, 15285201, 14714131, 14525800],
    (1, 0, 0): [6709811, 9040517, 1042205, 9226135],
    (2**32 - 1, 2**31 - 1, 2**31 - 1): [1127963, 6381105, 1334668, 11948568],
}
# Of 40 numbers for each of 300 examples, for three seeds.
MORE_UNIFORMS = "17faee6bd7028b43"
# (seed, epoch, examples).
PERMUTATIONS = {
    (0, 0, 1): "af5570f5a1810b7a",
    (0, 0, 1000): "05c96602ed555658",
    (0, 1, 1000): "4675632b2750b118",
    (1, 0, 1000): "205e3375435e5aad",
    (7 + (5000 << 32), 3, 1000): "2b762778a8bde19e",
    (2**32 - 1, 2**31, 4437): "e27e6bbbef13f3da",
}
# Of 32 pictures of 11 x 9, on the host and on a device.
AUGMENTATIONS = {
    "vertical_flip": "df6efbaad2a1206e",
    "rotation": "d0b29c65c6fda01c",
    "grid_distortion": "889bc472c906472c",
    "brightness,contrast": "ac102afde274c412",
    "vertical_flip,horizontal_flip,rotation,grid_distortion": "cf33541d6eebc04a",
    "vertical_flip,horizontal_flip,rotation,grid_distortion,brightness,contrast": (
        "3af94068e9f7b221"
    ),
}
# Example numbers in epochs 0 and 1 whose positions are at least 1/250 of a 1/256 pixel away from
# where they would be rounded to another one, with seed 5 and any of the above.
STEADY = {
    0: (0, 3, 4, 5, 6, 10, 11, 12, 13, 14, 15, 16, 17, 19, 21, 22, 23, 24, 26, 27, 28, 32, 33, 34),
    1: (0, 1, 2, 4, 6, 7, 8, 9),
}


def test_the_random_numbers_of_an_example():
    for (seed, epoch, number), expected in UNIFORMS.items():
        numbers = randomness.uniforms(seed, tf.constant([[epoch, number]], tf.int32), 4)
        assert (numbers.numpy()[0] * 2**24).astype(int).tolist() == expected, (seed, epoch, number)
    every = tf.constant(list(itertools.product(range(6), range(50))), tf.int32)
    numbers = [randomness.uniforms(seed, every, 40) for seed in (0, 1, 2**32 - 1)]
    assert digest(*numbers) == MORE_UNIFORMS


def test_the_permutation_of_an_epoch():
    found = {}
    for seed, epoch, count in PERMUTATIONS:
        order = permutation(seed, tf.constant(epoch, tf.int64), count)
        found[seed, epoch, count] = digest(order)
    assert found == PERMUTATIONS


@pytest.mark.parametrize("whole_batch", [False, True], ids=["host", "device"])
def test_augmented_bytes(whole_batch):
    keys = [(epoch, number) for epoch, numbers in STEADY.items() for number in numbers]
    images = np.stack([drawn(number, 11, 9) for _, number in keys])
    found = {}
    for names in AUGMENTATIONS:
        ops = Augmentations(augmentations=tuple(names.split(",")), augment_probability=0.75)
        augmented = augment.augment(
            tf.constant(images), tf.constant(keys, tf.int32), ops=ops, seed=5,
            whole_batch=whole_batch,
        )  # fmt: skip
        found[names] = digest(augmented)
    assert found == AUGMENTATIONS


# A conversion.

# The shards in order, and dataset.json without what has been added to it since.
ADDED = {"aspect", "depths", "mask_side"}
CONVERSIONS: dict[str, tuple[dict, str, str]] = {
    "train and val": ({"num_shards": 4}, "1cac3cfb4cbeedd4", "fac93a6c517af418"),
    "groups": (
        {"group_column": "scene", "val_fraction": 0.3, "seed": 3},
        "b5cdd0681b743533",
        "c61a447f56a76c47",
    ),
    "folds": (
        {"folds": 3, "num_shards": 2, "jpeg_quality": 80},
        "d0f42bc7932c422b",
        "02ed3baf997043f0",
    ),
    "folds of groups": (
        {"folds": 4, "group_column": "scene", "num_shards": 1},
        "3be406bb3858bd78",
        "b95a4cd6106654b1",
    ),
    "a sample": (
        {"max_examples": 17, "num_shards": 3, "classes": ("Gravel", "Fish", "Flower")},
        "7c231aa1b66412c5",
        "461d25568bb2e2ed",
    ),
}


@pytest.mark.parametrize("name", CONVERSIONS)
def test_a_conversion(converted, name):
    options, shards, manifest = CONVERSIONS[name]
    folder = converted(**options)
    written = json.loads((folder / "dataset.json").read_text())
    names = [shard["name"] for split in written["splits"].values() for shard in split["shards"]]
    assert sorted(names) == sorted(n for n in os.listdir(folder) if n.endswith(".tfrecord"))
    assert digest(*((folder / name).read_bytes() for name in names)) == shards
    assert digest((json.dumps(without(written, ADDED), indent=2) + "\n").encode()) == manifest


def without(value, keys):
    if isinstance(value, dict):
        return {key: without(part, keys) for key, part in value.items() if key not in keys}
    return [without(part, keys) for part in value] if isinstance(value, list) else value


# flags.txt.

FLAGS = """
--augmentations=horizontal_flip,rotation
--augment_probability=0.5
--rotation_degrees=20.0
--distortion_steps=5
--distortion_limit=0.3
--brightness_limit=0.1
--contrast_limit=0.2
--data_dir=records
--run_dir=runs/a
--train_split=train
--val_split=val
--fold=2
--model=efficientnetb2
--weights=none
--dropout=0.0
--sync_batch_norm=false
--batch_size=32
--epochs=20
--learning_rate=0.002
--head_learning_rate=0.001
--optimizer=radam
--warmup_proportion=0.1
--final_rate=0.01
--loss=bce
--on_nan=stop
--early_stopping_patience=5
--plateau_patience=3
--plateau_factor=0.5
--augment_on=auto
--cache=auto
--on_bad_record=fail
--train_metric_examples=1000
--strategy=auto
--tpu=local
--mixed_precision=false
--jit_compile=true
--steps_per_execution=1
--seed=0
--deterministic=false
--resume=auto
--checkpoint_every=10m
--max_minutes=1.5
--tensorboard=true
"""


def test_flags_txt():
    config = cloudtf.TrainConfig(
        data_dir="records",
        run_dir="runs/a",
        weights="none",
        learning_rate=0.002,
        augmentations=("horizontal_flip", "rotation"),
        fold=2,
        jit_compile=True,
        max_minutes=1.5,
        checkpoint_every="10m",
    )
    lines = iter(settings.to_flagfile(config).splitlines())
    # In this order; what is new comes between them.
    assert [line for line in FLAGS.split() if line not in lines] == []
