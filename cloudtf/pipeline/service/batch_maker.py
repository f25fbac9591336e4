"""Making a training batch from its index alone, on any machine, in any order.

The batches are those of a split that is kept in memory, to the bit. Instead of memory there is an
index of where in its shard each record begins, so that a batch costs as many small reads as it has
examples.
"""

from __future__ import annotations

import concurrent.futures
import dataclasses
import functools
import os

import numpy as np
import tensorflow as tf

from cloudtf import files
from cloudtf.data import records, tfrecord
from cloudtf.errors import UserError, param
from cloudtf.pipeline import damage, reading
from cloudtf.pipeline.batching import Batch
from cloudtf.pipeline.changes import Changes
from cloudtf.pipeline.order import Order, unpack


@dataclasses.dataclass(frozen=True)
class BatchMaker:
    """Makes any batch of one worker's stream.

    Attributes:
      data_dir: the folder of the records.
      order: the stream of examples that the batches are cut from.
      batch_size: images a batch, B.
      num_classes: C, the number of classes; 0 for an unlabelled set.
      image_shape: height and width of every image, in pixels.
      changes: how they are augmented.
      unknown: whether labels may be -1, for unknown.
    """

    data_dir: str
    order: Order
    batch_size: int
    num_classes: int
    image_shape: tuple[int, int]
    changes: Changes
    unknown: bool = False

    def dataset(self) -> tf.data.Dataset:
        """Endless (index of the batch, `Batch`), from batch 0 on, as graphs without Python.

        Indices come from a range, which tf.data can deal out to several machines; each makes the
        batches of the indices that it gets.

        Raises:
          UserError: a shard cannot be indexed.
        """
        records_by_row = self._records

        @reading.plain
        def batch(index: tf.Tensor, packed: tf.Tensor) -> tuple[tf.Tensor, Batch]:
            return index, self._batch(records_by_row, packed)

        options = tf.data.Options()
        # The machine that makes the batches is not this one: the number of threads is left to it.
        options.threading.max_intra_op_parallelism = 1
        options.autotune.ram_budget = 1 << 30
        dataset = self.order.indexed_batches(self.batch_size)
        return dataset.map(batch, num_parallel_calls=tf.data.AUTOTUNE).with_options(options)

    def function(self) -> tf.types.experimental.GenericFunction:
        """A function from the index of a batch (int64) to a `Batch`, made here and now.

        Raises:
          UserError: a shard cannot be indexed.
        """
        records_by_row = self._records

        @tf.function(input_signature=[tf.TensorSpec([], tf.int64)], autograph=False)
        def make(index: tf.Tensor) -> Batch:
            positions = self.order.positions(index, self.batch_size)
            _, packed = self.order.keys(self.order.nothing_shuffled(), positions)
            return self._batch(records_by_row, packed)

        return make

    def check_shared(self) -> None:
        """Asks for records that other machines can read too.

        Raises:
          UserError: they are in this process's memory, or a copy without damage is in use here.
        """
        if self.data_dir.startswith("ram://"):
            raise UserError(
                f"{param('data_service')}: the records in {self.data_dir} are in this process's "
                "memory; put them into a folder that all machines share."
            )
        if any(shard.is_copy for shard in self.order.part.shards.shards):
            raise UserError(
                f"{param('data_service')}: {self.data_dir} has damaged records, which "
                f"{param(on_bad_record='skip')} leaves out on this machine only; convert the "
                "photographs again."
            )

    def element_spec(self) -> Batch:
        """The specification of a batch."""
        batch = self.batch_size
        size = (self.changes.on_host and self.changes.size) or self.image_shape
        return Batch(
            tf.TensorSpec([batch, *size, 3], tf.uint8),
            tf.TensorSpec([batch, self.num_classes], tf.float32),
            tf.TensorSpec([batch], tf.float32),
            tf.TensorSpec([batch, 2], tf.int32),
        )

    @functools.cached_property
    def _records(self) -> _RecordsByRow:
        # It looks at every record of all shards.
        return _RecordsByRow(self.data_dir, self.order.part.shards)

    def _batch(self, records_by_row: _RecordsByRow, packed: tf.Tensor) -> Batch:
        keys = unpack(packed)
        rows = tf.cast(keys[:, 1], tf.int64) - self.order.part.offset
        serialized = tf.ensure_shape(records_by_row.read(rows), [self.batch_size])
        parsed = reading.parse(serialized, self.num_classes, unknown=self.unknown)
        images = reading.decode_batch(parsed["encoded"], *self.image_shape)
        images = self.changes.images(images, keys)
        labels = self.changes.labels(parsed["label"], keys, parsed["mask"], self.image_shape)
        return Batch(images, labels, tf.ones([self.batch_size]), keys)


class _RecordsByRow:
    """Reads records from anywhere in some shards.

    Args:
      data_dir: the folder of the shards.
      split: the shards; row 0 is the first record of the first one.

    Raises:
      UserError: a shard cannot be indexed.
    """

    def __init__(self, data_dir: str, split: records.Split) -> None:
        shards = [shard for shard in split.shards if shard.num_examples]
        paths = [files.join(data_dir, shard.name) for shard in shards]
        with concurrent.futures.ThreadPoolExecutor(16) as pool:
            offsets = list(pool.map(index_shard, paths, shards))
        # A worker elsewhere has another working directory.
        paths = [path if files.is_remote(path) else os.path.abspath(path) for path in paths]
        self._paths = tf.constant(paths)
        first_rows = np.cumsum([0] + [shard.num_examples for shard in shards])[:-1]
        self._first_rows = tf.constant(first_rows, tf.int64)
        self._offsets = tf.constant(np.concatenate(offsets), tf.int64)
        # One read a record, its length and checksums included.
        ends = [[*o[1:], shard.num_bytes] for o, shard in zip(offsets, shards)]
        longest = max(int(np.max(end - o)) for end, o in zip(ends, offsets))
        self._buffer_bytes = tf.constant(longest, tf.int64)

    def read(self, rows: tf.Tensor) -> tf.Tensor:
        """The records string [B] in rows int64 [B]."""
        shards = tf.searchsorted(self._first_rows, rows, side="right") - 1
        starts = tf.data.Dataset.from_tensor_slices(
            (tf.gather(self._paths, shards), tf.gather(self._offsets, rows))
        )

        @reading.plain
        def one(path: tf.Tensor, offset: tf.Tensor) -> tf.data.Dataset:
            # `tf.data.TFRecordDataset` has everything but the byte to begin at.
            records_from = tf.raw_ops.TFRecordDatasetV2(
                filenames=path[None],
                compression_type="",
                buffer_size=self._buffer_bytes,
                byte_offsets=offset[None],
            )
            spec = tf.TensorSpec([], tf.string)
            return tf.data.experimental.from_variant(records_from, spec).take(1)

        count = tf.cast(tf.shape(rows)[0], tf.int64)
        return starts.flat_map(one).batch(count).get_single_element()


def index_shard(path: str, shard: records.Shard) -> np.ndarray:
    """Where each record of a shard begins, int64 [N]; only the lengths are read.

    Raises:
      UserError: the shard holds another number of records than the manifest says, or is damaged.
    """
    with files.open_bytes(path) as file:
        spans = list(tfrecord.spans(file, shard.num_bytes))
    offsets, ends = [first for first, _ in spans], [0, *(end for _, end in spans)]
    if ends[-1] != shard.num_bytes:
        cause = tf.errors.DataLossError(None, None, f"a record at byte {ends[-1]} does not end")
        raise damage.shard_error(path, cause)
    if len(offsets) != shard.num_examples:
        raise damage.count_error(path, len(offsets), shard.num_examples)
    return np.array(offsets, np.int64)
