"""From TFRecord shards to encoded examples: parsing, loading a split into memory, streaming it."""

from __future__ import annotations

import concurrent.futures
import dataclasses
import re
from typing import Optional

import numpy as np
import tensorflow as tf

from cloudtf import files
from cloudtf.data import records
from cloudtf.errors import UserError

# Reads of this size keep remote storage busy; local files do not mind.
_BUFFER_BYTES = 4 << 20

# What TensorFlow raises for a record that is damaged or not what was promised.
ERRORS_OF_DATA = (
    tf.errors.DataLossError,
    tf.errors.FailedPreconditionError,
    tf.errors.InvalidArgumentError,
    tf.errors.NotFoundError,
    tf.errors.OutOfRangeError,
)

# In TensorFlow's messages: nodes and ops, the place in the pipeline, the place in a batch.
_NOT_FOR_PEOPLE = re.compile(
    r"\{\{.*?\}\}|\[Op:.*|Error in user-defined .*? iterator: \S+: |Name: <unknown>, |, Index: \d+"
)


@dataclasses.dataclass(frozen=True)
class Table:
    """A split in memory.

    Attributes:
      encoded: string [N], the JPEG bytes; empty where only names and labels were asked for, and
        where the images are decoded.
      labels: float32 [N, C].
      names: the N image names.
      decoded: uint8 [N, H, W, 3], or None where images are decoded as they are needed.
    """

    encoded: tf.Tensor
    labels: tf.Tensor
    names: tuple[str, ...]
    decoded: Optional[tf.Tensor] = None


def parse(serialized: tf.Tensor, num_classes: int, images: bool = True) -> dict[str, tf.Tensor]:
    """Parses a batch of records.

    Args:
      serialized: string [B].
      num_classes: C; 0 for an unlabelled set.
      images: whether the encoded images are wanted.

    Returns:
      `name` string [B], `label` float32 [B, C] and, where wanted, `encoded` string [B].
    """
    features = {records.FILENAME: tf.io.FixedLenFeature([], tf.string)}
    if images:
        features[records.ENCODED] = tf.io.FixedLenFeature([], tf.string)
    if num_classes:
        features[records.LABEL] = tf.io.FixedLenFeature([num_classes], tf.int64)
    parsed = tf.io.parse_example(serialized, features)
    count = tf.shape(serialized)[0]
    label = parsed[records.LABEL] if num_classes else tf.zeros([count, 0], tf.int64)
    result = {"name": parsed[records.FILENAME], "label": tf.cast(label, tf.float32)}
    if images:
        result["encoded"] = parsed[records.ENCODED]
    return result


def decode(encoded: tf.Tensor, height: int, width: int) -> tf.Tensor:
    """JPEG bytes (string scalar) to uint8 [height, width, 3]."""
    image = tf.io.decode_jpeg(encoded, channels=3)
    # Fails with both shapes where a record disagrees with the manifest.
    return tf.ensure_shape(image, [height, width, 3])


def options(threads: int, deterministic: bool = True) -> tf.data.Options:
    """The tf.data options of every pipeline here.

    A private pool of as many threads as cores, one thread an op, and explicit parallelism in each
    map were measured to be faster than autotuning; whatever still is tuned (buffer sizes) stays
    within a stated memory budget.
    """
    result = tf.data.Options()
    result.threading.private_threadpool_size = threads
    result.threading.max_intra_op_parallelism = 1
    result.deterministic = deterministic
    result.autotune.ram_budget = 1 << 30
    result.experimental_distribute.auto_shard_policy = tf.data.experimental.AutoShardPolicy.OFF
    return result


def load_table(
    data_dir: str, split: records.Split, num_classes: int, threads: int, images: bool = True
) -> Table:
    """Reads all examples of a split, several shards at once.

    Args:
      data_dir: the folder of the records.
      split: the split.
      num_classes: C.
      threads: shards read at once.
      images: False leaves `encoded` empty, for names and labels alone.

    Raises:
      UserError: naming the shard that is damaged or holds another number of records.
    """

    def load(shard: records.Shard) -> dict[str, tf.Tensor]:
        path = files.join(data_dir, shard.name)
        try:
            dataset = tf.data.TFRecordDataset(path, buffer_size=_BUFFER_BYTES)
            batches = list(dataset.batch(512).map(lambda s: parse(s, num_classes, images)))
        except tf.errors.OpError as error:
            raise shard_error(path, error) from error
        keys = ("encoded", "name", "label") if images else ("name", "label")
        whole = {k: tf.concat([b[k] for b in batches], axis=0) for k in keys} if batches else {}
        count = int(whole["name"].shape[0]) if whole else 0
        if count != shard.num_examples:
            raise _count_error(path, count, shard.num_examples)
        return whole

    with concurrent.futures.ThreadPoolExecutor(max(threads, 2)) as pool:
        parts = [part for part in pool.map(load, split.shards) if part]
    if not parts:
        raise UserError(f"The split {split.name!r} in {data_dir} has no examples.")
    names = np.concatenate([part["name"].numpy() for part in parts])
    nothing = tf.constant([], tf.string)
    return Table(
        encoded=tf.concat([part.get("encoded", nothing) for part in parts], axis=0),
        labels=tf.concat([part["label"] for part in parts], axis=0),
        names=tuple(name.decode("utf-8") for name in names),
    )


def shard_error(path: str, error: Exception) -> UserError:
    """The sentence for a shard that TensorFlow could not read."""
    reason = str(getattr(error, "message", error)).splitlines()[0]
    reason = _NOT_FOR_PEOPLE.sub("", reason)
    reason = reason.replace(f"{path}; ", "").strip(" .")[:160]
    return UserError(
        f"The shard {path} is damaged ({reason}); find what is wrong with "
        "`cloudtf convert --verify`, or convert the photographs again."
    )


def _count_error(path: str, found: int, expected: int) -> UserError:
    return UserError(
        f"The shard {path} holds {found} records where the manifest says {expected}; convert the "
        "photographs again."
    )


def _image_error(name: str, height: int, width: int) -> UserError:
    return UserError(
        f"The record of {name} cannot be decoded as a {height}x{width} JPEG; find what is wrong "
        "with `cloudtf convert --verify`."
    )


def check_sizes(table: Table, height: int, width: int, threads: int) -> Table:
    """Looks at the head of each JPEG, which is quick, before they are used.

    Returns:
      The table.

    Raises:
      UserError: naming the first image that is no JPEG or has another size.
    """
    dataset = tf.data.Dataset.from_tensor_slices(table.encoded)
    dataset = dataset.map(tf.io.extract_jpeg_shape, num_parallel_calls=threads)
    dataset = dataset.batch(512).with_options(options(threads))
    checked = 0
    try:
        for shapes in dataset.as_numpy_iterator():
            wrong = np.flatnonzero((shapes[:, :2] != (height, width)).any(axis=1))
            if len(wrong):
                raise _image_error(table.names[checked + wrong[0]], height, width)
            checked += len(shapes)
    except tf.errors.OpError as error:
        name = _first_undecodable(table, height, width, checked)
        raise _image_error(name, height, width) from error
    return table


def decode_table(table: Table, height: int, width: int, threads: int) -> Table:
    """Replaces the JPEG bytes of a table by the images, one copy of each in memory.

    Raises:
      UserError: naming the image that cannot be decoded or has another size.
    """
    count = len(table.names)
    images = _aligned_array((count, height, width, 3))
    dataset = tf.data.Dataset.from_tensor_slices(table.encoded)
    dataset = dataset.map(lambda e: decode(e, height, width), num_parallel_calls=threads)
    dataset = dataset.batch(64).prefetch(2).with_options(options(threads))
    filled = 0
    try:
        for batch in dataset.as_numpy_iterator():
            images[filled : filled + len(batch)] = batch
            filled += len(batch)
    except tf.errors.OpError as error:
        name = _first_undecodable(table, height, width, filled)
        raise _image_error(name, height, width) from error
    # tf.convert_to_tensor would copy, and on a machine with a GPU would move it there.
    decoded = tf.experimental.dlpack.from_dlpack(images.__dlpack__())
    return dataclasses.replace(table, encoded=tf.constant([], tf.string), decoded=decoded)


def _aligned_array(shape: tuple[int, ...]) -> np.ndarray:
    """An uninitialised uint8 array that TensorFlow can adopt without a copy (64-byte aligned)."""
    size = int(np.prod(shape, dtype=np.int64))
    raw = np.empty(size + 64, np.uint8)
    start = -raw.ctypes.data % 64
    return raw[start : start + size].reshape(shape)


def _first_undecodable(table: Table, height: int, width: int, start: int) -> str:
    for i in range(start, len(table.names)):
        try:
            decode(table.encoded[i], height, width)
        except (tf.errors.OpError, ValueError):
            return table.names[i]
    return table.names[start]


def stream(
    data_dir: str,
    split: records.Split,
    order: Optional[tf.Tensor],
    readers: int,
) -> tf.data.Dataset:
    """Serialised records with their example numbers, read from several shards at once.

    Args:
      data_dir: the folder of the records.
      split: the split.
      order: int64 [shards], which shard is opened when; None for the order of the manifest.
      readers: shards read at once; 1 keeps the order of the records.

    Returns:
      A dataset of (number int64, serialised record string).
    """
    paths = tf.constant([files.join(data_dir, shard.name) for shard in split.shards])
    firsts = np.cumsum([0] + [shard.num_examples for shard in split.shards])[:-1]
    firsts = tf.constant(firsts, tf.int64)
    counts = tf.constant([shard.num_examples for shard in split.shards], tf.int64)
    if order is None:
        order = tf.range(len(split.shards), dtype=tf.int64)

    def read(shard: tf.Tensor) -> tf.data.Dataset:
        dataset = tf.data.TFRecordDataset(paths[shard], buffer_size=_BUFFER_BYTES)
        # Fewer or more would silently shift every later number and epoch.
        dataset = dataset.apply(tf.data.experimental.assert_cardinality(counts[shard]))
        return dataset.enumerate(start=firsts[shard])

    shards = tf.data.Dataset.from_tensor_slices(order)
    if readers == 1:
        return shards.flat_map(read)
    return shards.interleave(
        read, cycle_length=readers, num_parallel_calls=readers, deterministic=True
    )


def find_damage(
    data_dir: str,
    split: records.Split,
    num_classes: int,
    height: int,
    width: int,
    cause: Exception,
) -> None:
    """Reads a split record by record, after TensorFlow met an error on the way.

    Args:
      data_dir: the folder of the records.
      split: the split.
      num_classes: C.
      height: rows that every image must have.
      width: columns.
      cause: the error that was met.

    Raises:
      UserError: naming the first shard or image that is damaged. If none is, nothing is raised.
    """
    for shard in split.shards:
        path = files.join(data_dir, shard.name)
        count = 0
        try:
            for record in tf.data.TFRecordDataset(path, buffer_size=_BUFFER_BYTES):
                parsed = parse(record[None], num_classes)
                try:
                    decode(parsed["encoded"][0], height, width)
                except (tf.errors.OpError, ValueError):
                    name = parsed["name"][0].numpy().decode("utf-8")
                    raise _image_error(name, height, width) from cause
                count += 1
        except tf.errors.OpError as error:
            raise shard_error(path, error) from cause
        if count != shard.num_examples:
            raise _count_error(path, count, shard.num_examples) from cause
