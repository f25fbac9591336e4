"""What can be timed between records and batches: whole pipelines, single stages, and the limits.

A function here prepares a case (loads, builds) and returns it; the case takes turns. Images are
JPEGs in memory or records on a disk whose pages have been read before, unless it says otherwise.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Callable, Sequence

import numpy as np
import tensorflow as tf

from cloudtf import files
from cloudtf.data import records
from cloudtf.data.shards import READERS
from cloudtf.diagnosis.timing import Case, Turn, timed, timed_batches
from cloudtf.pipeline import augment, reading
from cloudtf.pipeline.augmentations import Augmentations
from cloudtf.pipeline.dataset import ImageDataset

# Records parsed at once.
_READ_BATCH = 64
# Images of an epoch that is short enough for a turn to be a whole one.
_SHORT_EPOCH = 20_000


def training(
    data: ImageDataset,
    batch_size: int,
    augment_on: str,
    split: str = "train",
    augmentations: Augmentations = Augmentations(),  # noqa: B008 - frozen
) -> Case:
    """The training pipeline; batches as the train step takes them."""
    batches = data.training_batches(split, batch_size, augment_on, augmentations, seed=0)
    # Each epoch of a streamed set begins with filling the shuffle buffer: whole epochs, if short.
    count = data.num_examples(split)
    streamed = data.cache.way(data.manifest.joined(split)) == "none"
    whole = streamed and count <= _SHORT_EPOCH
    return _batches(lambda: iter(batches), batch_size, count if whole else batch_size)


def evaluation(
    data: ImageDataset, batch_size: int, as_float: bool, threads: int, split: str = "train"
) -> Case:
    """The evaluation pipeline, pass after pass; as float32 in [0, 1] for comparison with others.

    cloudtf itself ships uint8 and normalises in the model's first layers.
    """
    # Whole batches only: padding is not an image.
    count = data.num_examples(split)
    batch_size = min(batch_size, count)
    whole = count - count % batch_size
    batches = data.evaluation_batches(split, batch_size, max_examples=whole).repeat()
    if as_float:
        batches = batches.map(
            lambda batch: batch._replace(images=tf.cast(batch.images, tf.float32) * (1 / 255)),
            num_parallel_calls=threads,
        ).prefetch(2)
    return _batches(lambda: iter(batches), batch_size)


def read(data_dir: str, split: records.Split, num_classes: int, threads: int) -> Case:
    """Stage one: from the shards' bytes to parsed records, in batches; no image is decoded."""
    paths = [files.join(data_dir, shard.name) for shard in split.shards]
    dataset = tf.data.Dataset.from_tensor_slices(paths).repeat()
    dataset = dataset.interleave(
        lambda path: tf.data.TFRecordDataset(path, buffer_size=4 << 20),
        cycle_length=min(len(paths), READERS),
        num_parallel_calls=min(len(paths), READERS),
    )
    dataset = dataset.batch(_READ_BATCH, drop_remainder=True)
    dataset = dataset.map(
        lambda s: reading.parse(s, num_classes, unknown=True), num_parallel_calls=threads
    )
    dataset = dataset.prefetch(2).with_options(reading.options(threads))
    return _batches(lambda: iter(dataset), _READ_BATCH)


def decode(
    encoded: Sequence[bytes], height: int, width: int, batch_size: int, threads: int
) -> Case:
    """Stage two: JPEGs in memory to uint8 batches, as cloudtf decodes them."""
    dataset = tf.data.Dataset.from_tensor_slices(list(encoded)).repeat()
    dataset = dataset.batch(batch_size, drop_remainder=True)
    dataset = dataset.map(
        lambda contents: reading.decode_batch(contents, height, width),
        num_parallel_calls=reading.calls(threads, batch_size, height * width * 3),
    )
    dataset = dataset.prefetch(2).with_options(reading.options(threads))
    return _batches(lambda: iter(dataset), batch_size)


def decode_jpeg(
    encoded: Sequence[bytes], height: int, width: int, batch_size: int, threads: int
) -> Case:
    """`tf.io.decode_jpeg` an image at a time to uint8 batches, and nothing else.

    The usual way, with cloudtf's tf.data options: what others are measured against.
    """
    dataset = tf.data.Dataset.from_tensor_slices(list(encoded)).repeat()
    dataset = dataset.map(
        lambda content: reading.decode(content, height, width), num_parallel_calls=threads
    )
    dataset = dataset.batch(batch_size, drop_remainder=True).prefetch(2)
    dataset = dataset.with_options(reading.options(threads))
    return _batches(lambda: iter(dataset), batch_size)


def augmentation(
    height: int, width: int, batch_size: int, threads: int, augmentations: Augmentations
) -> Case:
    """Stage three: the augmentation of uint8 batches on the host."""
    images = np.random.default_rng(0).integers(0, 256, (batch_size, height, width, 3), np.uint8)
    batch = tf.constant(images)
    numbers = tf.range(batch_size)

    def augmented(count: tf.Tensor) -> tf.Tensor:
        keys = tf.stack([tf.fill([batch_size], tf.cast(count, tf.int32)), numbers], axis=1)
        return augment.augment(batch, keys, ops=augmentations, seed=0)

    calls = reading.calls(threads, batch_size, height * width * 3, one_core_each=True)
    dataset = tf.data.Dataset.range(1 << 30).map(augmented, num_parallel_calls=calls)
    dataset = dataset.prefetch(2).with_options(reading.options(threads))
    return _batches(lambda: iter(dataset), batch_size)


def bare_decode(
    encoded: Sequence[bytes], height: int, width: int, batch_size: int, threads: int
) -> Case:
    """libjpeg-turbo alone, into arrays that are used again: the limit."""
    import simplejpeg

    pool = ThreadPoolExecutor(threads)

    def work(thread: int, count: int) -> None:
        buffer = np.empty((batch_size, height, width, 3), np.uint8)
        for i in range(count):
            content = encoded[(thread * count + i) % len(encoded)]
            simplejpeg.decode_jpeg(content, buffer=buffer[i % batch_size])

    def measure(images: int) -> Turn:
        each = max(1, images // threads)
        return timed(lambda: list(pool.map(work, range(threads), [each] * threads)), each * threads)

    return Case(measure, batch_size)


def _batches(make: Callable, batch_size: int, multiple: int = 0) -> Case:
    return Case(lambda images: timed_batches(make, batch_size, images), multiple or batch_size)
