"""From TFRecord shards to examples: parsing, decoding and streaming records, as graphs."""

from __future__ import annotations

from typing import Optional, Union

import numpy as np
import tensorflow as tf

from cloudtf import files
from cloudtf.data import records, tfrecord

# For functions without Python branches on tensors: AutoGraph would only take time to find that out.
plain = tf.autograph.experimental.do_not_convert

# Reads of this size keep remote storage busy; local files do not mind.
BUFFER_BYTES = 4 << 20
# What batches that are being made may take, beside those that are ready.
_IN_FLIGHT_BYTES = 2 << 30


def parse(
    serialized: tf.Tensor, num_classes: int, images: bool = True, unknown: bool = False
) -> dict[str, tf.Tensor]:
    """Parses a batch of records.

    Args:
      serialized: string [B].
      num_classes: C; 0 for an unlabelled set.
      images: whether the encoded images are wanted.
      unknown: whether labels may be -1, for unknown.

    Returns:
      `name` string [B], `label` float32 [B, C], `mask` string [B] (small masks, empty where there
      are none) and, where wanted, `encoded` string [B].

    Raises:
      InvalidArgumentError: a record lacks something, or a label is another number.
    """
    features = {
        records.FILENAME: tf.io.FixedLenFeature([], tf.string),
        records.MASK: tf.io.FixedLenFeature([], tf.string, default_value=""),
    }
    if images:
        features[records.ENCODED] = tf.io.FixedLenFeature([], tf.string)
    if num_classes:
        features[records.LABEL] = tf.io.FixedLenFeature([num_classes], tf.int64)
    parsed = tf.io.parse_example(serialized, features)
    count = tf.shape(serialized)[0]
    label = parsed[records.LABEL] if num_classes else tf.zeros([count, 0], tf.int64)
    least = -1 if unknown else 0
    in_range = tf.reduce_all((label >= least) & (label <= 1))
    checked = tf.debugging.Assert(in_range, ["a label is neither 0 nor 1"])
    with tf.control_dependencies([checked] if checked is not None else []):
        label = tf.cast(label, tf.float32)
    result = {
        "name": parsed[records.FILENAME],
        "label": label,
        "mask": parsed[records.MASK],
    }
    if images:
        result["encoded"] = parsed[records.ENCODED]
    return result


def decode(encoded: tf.Tensor, height: int, width: int) -> tf.Tensor:
    """JPEG bytes (string scalar) to uint8 [height, width, 3]."""
    image = tf.io.decode_jpeg(encoded, channels=3)
    # Fails with both shapes where a record disagrees with the manifest.
    return tf.ensure_shape(image, [height, width, 3])


def decode_batch(encoded: tf.Tensor, height: int, width: int) -> tf.Tensor:
    """JPEG bytes (string [B], B static) to uint8 [B, height, width, 3].

    One operation an image in one graph: TensorFlow runs them side by side on the pipeline's
    threads, and the pipeline handles a batch where it would handle B examples, which was measured
    to be a fifth faster than decoding in a map over single examples.
    """
    images = tf.unstack(encoded, num=encoded.shape[0])
    return tf.stack([decode(image, height, width) for image in images])


def black_jpeg(height: int, width: int) -> bytes:
    """A JPEG that decodes to zeros: what a batch is padded with before it is decoded."""
    return tf.io.encode_jpeg(tf.zeros([height, width, 3], tf.uint8)).numpy()


def black_record(height: int, width: int, num_classes: int) -> bytes:
    """The record of such an image, without a name or any class."""
    features: dict[str, tfrecord.Feature] = {
        records.FILENAME: b"",
        records.ENCODED: black_jpeg(height, width),
        records.LABEL: [0] * num_classes,
    }
    return tfrecord.encode_example(features)


def options(cores: int) -> tf.data.Options:
    """The tf.data options of every pipeline here.

    A private pool with a thread more than cores (the maps' own bookkeeping takes part of one; with
    a single core, which a model shares, it would be in the way), one thread an op, and explicit
    parallelism in each map were measured to be faster than autotuning; whatever still is tuned
    (buffer sizes) stays within a stated memory budget.
    """
    result = tf.data.Options()
    result.threading.private_threadpool_size = cores + 1 if cores > 1 else 1
    result.threading.max_intra_op_parallelism = 1
    result.deterministic = True
    result.autotune.ram_budget = 1 << 30
    result.experimental_distribute.auto_shard_policy = tf.data.experimental.AutoShardPolicy.OFF
    return result


def calls(cores: int, batch_size: int, image_bytes: int, one_core_each: bool = False) -> int:
    """How many batches a map makes at once.

    Args:
      cores: the number of cores to keep busy.
      batch_size: the number of images in a batch.
      image_bytes: the bytes of one decoded image, height x width x 3.
      one_core_each: whether a batch keeps only one core busy; decoding spreads over many.
    """
    wanted = cores if one_core_each else min(cores, 2 + -(-2 * cores // batch_size))
    return max(2, min(wanted, _IN_FLIGHT_BYTES // (batch_size * image_bytes)))


def stream(
    data_dir: str,
    split: records.Split,
    order: Optional[tf.Tensor],
    readers: int,
    first: Union[int, tf.Tensor] = 0,
) -> tf.data.Dataset:
    """Serialised records with their example numbers, read from several shards at once.

    Args:
      data_dir: the folder of the records.
      split: the split, or part of one, to read.
      order: int64 [shards], which shard is opened when; None for the order of the manifest.
      readers: shards read at once; 1 keeps the order of the records.
      first: added to the numbers.

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
        dataset = tf.data.TFRecordDataset(paths[shard], buffer_size=BUFFER_BYTES)
        # Fewer or more would silently shift every later number and epoch.
        dataset = dataset.apply(tf.data.experimental.assert_cardinality(counts[shard]))
        return dataset.enumerate(start=first + firsts[shard])

    shards = tf.data.Dataset.from_tensor_slices(order)
    if readers == 1:
        return shards.flat_map(read)
    return shards.interleave(
        read, cycle_length=readers, num_parallel_calls=readers, deterministic=True
    )
