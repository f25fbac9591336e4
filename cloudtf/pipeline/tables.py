"""A split in memory: its names and labels, and its images as JPEG or as pixels."""

from __future__ import annotations

import concurrent.futures
import dataclasses
import hashlib
import io
from typing import Optional

import numpy as np
import tensorflow as tf

from cloudtf import files
from cloudtf.data import records, tfrecord
from cloudtf.errors import UserError
from cloudtf.pipeline import damage, reading

# Records parsed at once: of a shard there are never more than two copies in memory.
_PARSED_AT_ONCE = 512


@dataclasses.dataclass(frozen=True)
class Table:
    """A split in memory.

    Attributes:
      encoded: string [N + 1], the JPEG bytes; empty where only names and labels were asked for, and
        where the images are decoded.
      labels: float32 [N + 1, C].
      names: the N image names.
      masks: string [N + 1], the small masks of the images; empty texts where there are none.
      decoded: uint8 [N + 1, H, W, 3], or None where images are decoded as they are needed.

    Row N is what a batch is padded with: a black image without any class.
    """

    encoded: tf.Tensor
    labels: tf.Tensor
    names: tuple[str, ...]
    masks: tf.Tensor
    decoded: Optional[tf.Tensor] = None


def load_table(
    data_dir: str,
    split: records.Split,
    num_classes: int,
    threads: int,
    image_shape: Optional[tuple[int, int]] = None,
    unknown: bool = False,
) -> Table:
    """Reads all examples of a split, several shards at once, and checks all that it reads.

    Each shard is read once, whole, and compared with its SHA-256. So neither the
    checksums of its records nor a dataset to read them are needed: a quarter of the time.

    Args:
      data_dir: the folder of the records.
      split: the split to read.
      num_classes: C, the number of classes; 0 for an unlabelled set.
      threads: the number of shards that are read at once.
      image_shape: (height, width) of the padding; None leaves `encoded` empty, for names and labels
        alone.
      unknown: whether labels may be -1, for unknown.

    Raises:
      UserError: naming the shard or record that is damaged, or not the one that was converted.
    """

    images = image_shape is not None

    def load(shard: records.Shard) -> dict[str, tf.Tensor]:
        path = files.join(data_dir, shard.name)
        content = files.read_bytes(path)
        spans = list(tfrecord.spans(io.BytesIO(content), len(content)))
        # A copy without damaged records has just been made, and has no checksum of its own.
        sound = shard.is_copy or hashlib.sha256(content).hexdigest() == shard.sha256
        if not sound or len(spans) != shard.num_examples:
            damage.find_in_shard(path, shard, num_classes, image_shape, unknown=unknown)
            raise UserError(records.replaced(path))
        batches = []
        try:
            for begin in range(0, len(spans), _PARSED_AT_ONCE):
                some = spans[begin : begin + _PARSED_AT_ONCE]
                serialized = [tfrecord.unchecked_content(content[i:j]) for i, j in some]
                content_of = tf.constant(serialized)
                batches.append(reading.parse(content_of, num_classes, images, unknown))
        except tf.errors.OpError as error:
            damage.find_in_shard(path, shard, num_classes, image_shape, error, unknown)
            raise damage.shard_error(path, error) from error
        keys = ("name", "label", "mask", *(("encoded",) if images else ()))
        if not batches:
            return {}
        whole = {k: tf.concat([b[k] for b in batches], axis=0) for k in keys}
        for number, name in enumerate(whole["name"].numpy()):
            damage.text(path, number, name)
        return whole

    with concurrent.futures.ThreadPoolExecutor(max(threads, 2)) as pool:
        parts = [part for part in pool.map(load, split.shards) if part]
    if not parts:
        raise UserError(f"The split {split.name!r} in {data_dir} has no examples.")
    names = np.concatenate([part["name"].numpy() for part in parts])
    encoded = [part["encoded"] for part in parts] if images else []
    padding = [reading.black_jpeg(*image_shape)] if image_shape else []
    labels = [part["label"] for part in parts]
    return Table(
        encoded=tf.concat([*encoded, tf.constant(padding, tf.string)], axis=0),
        labels=tf.concat([*labels, tf.zeros([1, num_classes])], axis=0),
        names=tuple(name.decode("utf-8") for name in names),
        masks=tf.concat([*(part["mask"] for part in parts), [""]], axis=0),
    )


def check_sizes(table: Table, height: int, width: int, threads: int) -> Table:
    """Checks the header of each JPEG, which is quick, before they are used.

    Returns:
      The table.

    Raises:
      UserError: naming the first image that is no JPEG or has another size.
    """
    dataset = tf.data.Dataset.from_tensor_slices(table.encoded)
    dataset = dataset.map(tf.io.extract_jpeg_shape, num_parallel_calls=threads)
    dataset = dataset.batch(512).with_options(reading.options(threads))
    checked = 0
    try:
        for shapes in dataset.as_numpy_iterator():
            wrong = np.flatnonzero((shapes[:, :2] != (height, width)).any(axis=1))
            if len(wrong):
                raise damage.image_error(table.names[checked + wrong[0]], height, width)
            checked += len(shapes)
    except tf.errors.OpError as error:
        name = _first_undecodable(table, height, width, checked)
        raise damage.image_error(name, height, width) from error
    return table


def decode_table(table: Table, height: int, width: int, threads: int) -> Table:
    """Replaces the JPEG bytes of a table by the images, one copy of each in memory.

    Raises:
      UserError: naming the image that cannot be decoded or has another size.
    """
    count = len(table.encoded)
    images = _aligned_array((count, height, width, 3))
    dataset = tf.data.Dataset.from_tensor_slices(table.encoded)
    decode = reading.plain(lambda encoded: reading.decode(encoded, height, width))
    dataset = dataset.map(decode, num_parallel_calls=threads)
    dataset = dataset.batch(64).prefetch(2).with_options(reading.options(threads))
    filled = 0
    try:
        for batch in dataset.as_numpy_iterator():
            images[filled : filled + len(batch)] = batch
            filled += len(batch)
    except tf.errors.OpError as error:
        name = _first_undecodable(table, height, width, filled)
        raise damage.image_error(name, height, width) from error
    # tf.convert_to_tensor would copy, and on a machine with a GPU would move it there.
    decoded = tf.experimental.dlpack.from_dlpack(images.__dlpack__())
    return dataclasses.replace(table, encoded=tf.constant([], tf.string), decoded=decoded)


def _aligned_array(shape: tuple[int, ...]) -> np.ndarray:
    """An uninitialised uint8 array that TensorFlow can adopt without a copy (64-byte aligned)."""
    size = int(np.prod(shape, dtype=np.int64))
    raw = np.empty(size + 64, np.uint8)
    offset = -raw.ctypes.data % 64
    return raw[offset : offset + size].reshape(shape)


def _first_undecodable(table: Table, height: int, width: int, first: int) -> str:
    for i in range(first, len(table.names)):
        try:
            reading.decode(table.encoded[i], height, width)
        except (tf.errors.OpError, ValueError):
            return table.names[i]
    return table.names[first]
