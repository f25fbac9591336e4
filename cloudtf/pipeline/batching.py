"""From an order of examples to batches: for training and for evaluation, a chain of steps each."""

from __future__ import annotations

import dataclasses
from typing import Callable, NamedTuple, Optional

import tensorflow as tf

from cloudtf import machine
from cloudtf.pipeline import order, reading
from cloudtf.pipeline.cache import Cache
from cloudtf.pipeline.changes import Changes


class Batch(NamedTuple):
    """A batch as it is everywhere inside the library: always of B examples.

    Attributes:
      images: uint8 [B, H, W, 3]; zeros where the batch is padded.
      labels: float32 [B, C], 0 or 1, and in between where images are mixed, -1 where unknown; zeros
        where it is padded.
      mask: float32 [B], 1 for an example and 0 for padding, which only the last batch of an
        evaluation has.
      keys: int32 [B, 2], epoch and number of each example; (0, -1) where it is padded.
    """

    images: tf.Tensor
    labels: tf.Tensor
    mask: tf.Tensor
    keys: tf.Tensor


@dataclasses.dataclass(frozen=True)
class Source:
    """Where batches come from.

    Attributes:
      data_dir: the folder of the records.
      num_classes: the number of classes, C; 0 for an unlabelled set.
      image_shape: (height, width) of every image.
      cache: what of the records is kept in memory.
      unknown: whether labels may be -1, for unknown.
    """

    data_dir: str
    num_classes: int
    image_shape: tuple[int, int]
    cache: Cache
    unknown: bool = False


def training(
    source: Source,
    stream: order.Order,
    batch_size: int,
    changes: Changes,
    cores: Optional[int],
) -> tf.data.Dataset:
    """The batches of a stream from its start on: a dataset of `Batch` of infinite cardinality.

    Args:
      source: where the examples come from.
      stream: the examples and their order.
      batch_size: images a batch, B.
      changes: how they are augmented.
      cores: the number of cores to keep busy; None: all.
    """
    part = stream.part
    fetch: Callable[..., Batch]
    if source.cache.way(part.shards) == "none":
        source.cache.check_streamed(part.shards)
        dataset = stream.streamed_batches(source.data_dir, batch_size)
        fetch = _from_records(source, part, changes)
    else:
        fetch, dataset = _from_memory(source, part, changes), stream.batches(batch_size)
    dataset = dataset.map(fetch, num_parallel_calls=_calls(source, batch_size, cores))
    if changes.changes_images:

        @reading.plain
        def augmented(batch: Batch) -> Batch:
            return batch._replace(images=changes.images(batch.images, batch.keys))

        calls = _calls(source, batch_size, cores, one_core_each=True)
        dataset = dataset.map(augmented, num_parallel_calls=calls)
    # Else several workers ask one another before each step whether all have a batch, and Keras
    # does not know that there is no last one.
    return dataset.apply(tf.data.experimental.assert_cardinality(tf.data.INFINITE_CARDINALITY))


def evaluation(source: Source, part: order.Part, batch_size: int) -> tf.data.Dataset:
    """Every example of a part once, in order: a dataset of `Batch`, the last one padded.

    Args:
      source: where the examples come from.
      part: the examples, consecutive ones of a split.
      batch_size: images a batch, B.
    """
    # The first number beyond the part stands for no example.
    padding: tuple[tf.Tensor, ...] = (tf.constant(part.end, tf.int64),)
    fetch: Callable[..., Batch]
    if source.cache.way(part.shards) == "none":
        source.cache.check_streamed(part.shards)
        dataset = reading.stream(source.data_dir, part.shards, None, 1, part.offset)
        dataset = dataset.skip(part.first - part.offset).take(part.count)
        record = reading.black_record(*source.image_shape, source.num_classes)
        padding, fetch = (*padding, tf.constant(record)), _from_records(source, part)
    else:
        dataset = tf.data.Dataset.range(part.first, part.end)
        fetch = _from_memory(source, part)

    @reading.plain
    def padded(*columns: tf.Tensor) -> tuple[tf.Tensor, ...]:
        missing = batch_size - tf.shape(columns[0])[0]
        return tuple(
            tf.ensure_shape(tf.concat([c, tf.fill([missing], p)], axis=0), [batch_size])
            for c, p in zip(columns, padding)
        )

    dataset = dataset.batch(batch_size).map(padded)
    dataset = dataset.map(fetch, num_parallel_calls=_calls(source, batch_size, None))
    return dataset.apply(tf.data.experimental.assert_cardinality(-(-part.count // batch_size)))


def narrowed(dataset: tf.data.Dataset, endless: bool, with_keys: bool) -> tf.data.Dataset:
    """Batches as Keras takes them: (images, labels) for training, else (images, labels, ones).

    Args:
      dataset: the batches of `training` or `evaluation`.
      endless: whether it is for training.
      with_keys: whether the keys are added as a last element.
    """

    @reading.plain
    def narrow(batch: Batch) -> tuple[tf.Tensor, ...]:
        keys = (batch.keys,) if with_keys else ()
        if endless:
            return (batch.images, batch.labels, *keys)
        count = tf.reduce_sum(tf.cast(batch.mask, tf.int64))
        return tuple(part[:count] for part in (batch.images, batch.labels, batch.mask, *keys))

    return dataset.map(narrow)


def finished(dataset: tf.data.Dataset, cores: Optional[int] = None) -> tf.data.Dataset:
    """The last step of every pipeline: batches ahead of their use, and tf.data's options.

    Args:
      dataset: all steps that come before.
      cores: the number of cores to keep busy; None: all.
    """
    return dataset.prefetch(2).with_options(reading.options(cores or machine.usable_cores()))


def _from_memory(
    source: Source, part: order.Part, changes: Optional[Changes] = None
) -> Callable[[tf.Tensor], Batch]:
    """From packed keys [B], B static, to a batch whose labels are changed."""
    table, first = source.cache.rows(part.shards)
    padding_row = len(table.names)

    @reading.plain
    def fetch(packed: tf.Tensor) -> Batch:
        mask, keys = _mask_and_keys(part, packed)
        rows = tf.where(mask > 0, keys[:, 1] + (first - part.offset), padding_row)
        if table.decoded is not None:
            images = tf.gather(table.decoded, rows)
        else:
            encoded = tf.gather(table.encoded, rows)
            images = reading.decode_batch(encoded, *source.image_shape)
        labels = tf.gather(table.labels, rows)
        if changes is not None:
            masks = tf.gather(table.masks, rows) if changes.needs_masks else None
            labels = changes.labels(labels, keys, masks, source.image_shape)
        return Batch(images, labels, mask, keys)

    return fetch


def _from_records(
    source: Source, part: order.Part, changes: Optional[Changes] = None
) -> Callable[[tf.Tensor, tf.Tensor], Batch]:
    """From packed keys [B] and records [B], B static, to a batch whose labels are changed."""

    @reading.plain
    def fetch(packed: tf.Tensor, serialized: tf.Tensor) -> Batch:
        parsed = reading.parse(serialized, source.num_classes, unknown=source.unknown)
        images = reading.decode_batch(parsed["encoded"], *source.image_shape)
        mask, keys = _mask_and_keys(part, packed)
        labels = parsed["label"]
        if changes is not None:
            labels = changes.labels(labels, keys, parsed["mask"], source.image_shape)
        return Batch(images, labels, mask, keys)

    return fetch


def _mask_and_keys(part: order.Part, packed: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """The last two of a batch, from packed keys; what is beyond the part's end is padding."""
    keys = order.unpack(packed)
    present = keys[:, 1] < part.end
    return tf.cast(present, tf.float32), tf.where(present[:, None], keys, [0, -1])


def _calls(
    source: Source, batch_size: int, cores: Optional[int], one_core_each: bool = False
) -> int:
    height, width = source.image_shape
    cores = cores or machine.usable_cores()
    return reading.calls(cores, batch_size, height * width * 3, one_core_each)
