"""Training batches by number: each made from its number alone, on any machine, in any order.

Those of a split that is kept in memory, to the bit. Instead of memory there is an index of where in
its shard each record begins, so that a batch costs as many small reads as it has examples.
"""

from __future__ import annotations

import concurrent.futures
import dataclasses
import functools
import os
from typing import Optional

import numpy as np
import tensorflow as tf

from cloudtf import files
from cloudtf.data import records, tfrecord
from cloudtf.errors import UserError
from cloudtf.pipeline import augment, damage, reading
from cloudtf.pipeline.augmentations import Augmentations
from cloudtf.pipeline.order import Order, unpack


@dataclasses.dataclass(frozen=True)
class NumberedBatches:
    """How to make the batch of a number.

    Attributes:
      data_dir: the folder of the records.
      order: which examples in which order.
      batch_size: images a batch, B.
      num_classes: C.
      image_shape: (height, width).
      augmentations: what is done to the images; None leaves them as they are.
      augment_seed: of that.
    """

    data_dir: str
    order: Order
    batch_size: int
    num_classes: int
    image_shape: tuple[int, int]
    augmentations: Optional[Augmentations]
    augment_seed: int

    @functools.cached_property
    def _maker(self) -> _Maker:
        return _Maker(self)  # It looks at every record of all shards.

    def dataset(self) -> tf.data.Dataset:
        """Endless (number, images, labels, keys), from batch 0 on, as graphs without Python.

        Numbers come from a range, which tf.data can deal out to several machines; each makes the
        batches of the numbers that it gets.

        Raises:
          UserError: a shard cannot be indexed.
        """
        make = self._maker

        @reading.plain
        def batch(index: tf.Tensor, packed: tf.Tensor) -> tuple[tf.Tensor, ...]:
            return (index, *make(packed))

        options = tf.data.Options()
        # The machine that makes the batches is not this one: the number of threads is left to it.
        options.threading.max_intra_op_parallelism = 1
        options.autotune.ram_budget = 1 << 30
        dataset = self.order.batches(self.batch_size)
        return dataset.map(batch, num_parallel_calls=tf.data.AUTOTUNE).with_options(options)

    def make_one(self) -> tf.types.experimental.GenericFunction:
        """A function from a number (int64) to (images, labels, keys), made here and now.

        Raises:
          UserError: a shard cannot be indexed.
        """
        make = self._maker

        @tf.function(input_signature=[tf.TensorSpec([], tf.int64)], autograph=False)
        def one(number: tf.Tensor) -> tuple[tf.Tensor, ...]:
            return make(self.order.batch(self.order.nothing_shuffled(), number, self.batch_size)[1])

        return one

    def check_shared(self) -> None:
        """Asks for records that other machines can read too.

        Raises:
          UserError: they are in this process's memory, or a copy without damage is in use here.
        """
        names = [shard.name for shard in self.order.part.shards.shards]
        if self.data_dir.startswith("ram://"):
            raise UserError(
                f"--data_service: the records in {self.data_dir} are in this process's memory; put "
                "them into a folder that all machines share."
            )
        if any(files.basename(name) != name for name in names):
            raise UserError(
                f"--data_service: {self.data_dir} has damaged records, which "
                "--on_bad_record=skip leaves out on this machine only; convert the photographs "
                "again."
            )

    def element_spec(self) -> tuple[tf.TensorSpec, ...]:
        """Of images uint8 [B, H, W, 3], labels float32 [B, C] and keys int32 [B, 2]."""
        batch = self.batch_size
        return (
            tf.TensorSpec([batch, *self.image_shape, 3], tf.uint8),
            tf.TensorSpec([batch, self.num_classes], tf.float32),
            tf.TensorSpec([batch, 2], tf.int32),
        )


class _Maker:
    """From packed keys int64 [B] to images, labels and keys."""

    def __init__(self, batches: NumberedBatches) -> None:
        self._batches = batches
        shards = [shard for shard in batches.order.part.shards.shards if shard.num_examples]
        paths = [files.join(batches.data_dir, shard.name) for shard in shards]
        with concurrent.futures.ThreadPoolExecutor(16) as pool:
            offsets = list(pool.map(index_shard, paths, shards))
        # A worker elsewhere has another working directory.
        paths = [path if files.is_remote(path) else os.path.abspath(path) for path in paths]
        self._paths = tf.constant(paths)
        self._firsts = tf.constant(
            np.cumsum([0] + [shard.num_examples for shard in shards])[:-1], tf.int64
        )
        self._offsets = tf.constant(np.concatenate(offsets), tf.int64)
        # One read a record, its length and checksums included.
        ends = [[*o[1:], shard.num_bytes] for o, shard in zip(offsets, shards)]
        longest = max(int(np.max(end - o)) for end, o in zip(ends, offsets))
        self._buffer_bytes = tf.constant(longest, tf.int64)

    def __call__(self, packed: tf.Tensor) -> tuple[tf.Tensor, ...]:
        batches = self._batches
        keys = unpack(packed)
        rows = tf.cast(keys[:, 1], tf.int64) - batches.order.part.offset
        parsed = reading.parse(self._read(rows), batches.num_classes)
        images = reading.decode_batch(parsed["encoded"], *batches.image_shape)
        if batches.augmentations is not None and batches.augmentations.augmentations:
            images = augment.augment(
                images, keys, ops=batches.augmentations, seed=batches.augment_seed
            )
        return images, parsed["label"], keys

    def _read(self, rows: tf.Tensor) -> tf.Tensor:
        """The records string [B] in rows int64 [B] of the shards."""
        shards = tf.searchsorted(self._firsts, rows, side="right") - 1
        places = tf.data.Dataset.from_tensor_slices(
            (tf.gather(self._paths, shards), tf.gather(self._offsets, rows))
        )

        @reading.plain
        def one(path: tf.Tensor, offset: tf.Tensor) -> tf.data.Dataset:
            # `tf.data.TFRecordDataset` has everything but the place to begin at.
            records_from = tf.raw_ops.TFRecordDatasetV2(
                filenames=path[None],
                compression_type="",
                buffer_size=self._buffer_bytes,
                byte_offsets=offset[None],
            )
            spec = tf.TensorSpec([], tf.string)
            return tf.data.experimental.from_variant(records_from, spec).take(1)

        size = self._batches.batch_size
        found = places.flat_map(one).batch(size).get_single_element()
        return tf.ensure_shape(found, [size])


def index_shard(path: str, shard: records.Shard) -> np.ndarray:
    """Where each record of a shard begins, int64 [N]; only the lengths are read.

    Raises:
      UserError: the shard holds another number of records than the manifest says, or is damaged.
    """
    with files.open_bytes(path) as file:
        spans = list(tfrecord.spans(file, shard.num_bytes))
    offsets, ends = [start for start, _ in spans], [0, *(end for _, end in spans)]
    if ends[-1] != shard.num_bytes:
        cause = tf.errors.DataLossError(None, None, f"a record at byte {ends[-1]} does not end")
        raise damage.shard_error(path, cause)
    if len(offsets) != shard.num_examples:
        raise damage.count_error(path, len(offsets), shard.num_examples)
    return np.array(offsets, np.int64)
