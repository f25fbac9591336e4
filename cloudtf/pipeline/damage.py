"""Names the shard or image where TensorFlow could not read records."""

from __future__ import annotations

import time
from typing import Optional, Sequence

import tensorflow as tf

from cloudtf import files
from cloudtf.data import records
from cloudtf.data.labels import UNKNOWN
from cloudtf.errors import UserError, reason
from cloudtf.pipeline import reading

# What TensorFlow raises for a record that is damaged or not what was promised.
ERRORS_OF_DATA = (
    tf.errors.DataLossError,
    tf.errors.FailedPreconditionError,
    tf.errors.InvalidArgumentError,
    tf.errors.NotFoundError,
    tf.errors.OutOfRangeError,
)

# How long whole shards are compared with their checksums when streaming begins.
SECONDS_FOR_WHOLE_SHARDS = 0.5

# What `assert_cardinality` says, with the same error as another worker's end.
_CARDINALITY = "expected to contain"


def may_be_damage(error: Exception) -> bool:
    """Whether an error of `ERRORS_OF_DATA` is worth reading all records again.

    Not if another worker is gone: the search would keep this one from reporting that.
    """
    if isinstance(error, tf.errors.FailedPreconditionError):
        return _CARDINALITY in str(error)
    return True


def shard_error(path: str, error: Exception) -> UserError:
    """The sentence for a shard that TensorFlow could not read."""
    why = reason(error, 160 + len(path)).replace(f"{path}; ", "")
    return UserError(
        f"The shard {path} is damaged ({why}); find what is wrong with "
        "`cloudtf convert --verify`, or convert the photographs again."
    )


def count_error(path: str, count: int, expected: int) -> UserError:
    """The sentence for a shard with more or fewer records than the manifest says."""
    return UserError(
        f"The shard {path} holds {count} records where the manifest says {expected}; convert the "
        "photographs again."
    )


def text(path: str, number: int, name: bytes) -> str:
    """The name of an image as it stands in a record.

    Args:
      path: the shard, for the sentence.
      number: the number of the record in its shard, from 0.
      name: the bytes of the name.

    Raises:
      UserError: it is not UTF-8.
    """
    try:
        return name.decode("utf-8")
    except UnicodeDecodeError as error:
        raise UserError(
            f"Record {number} of the shard {path} has a name that is not UTF-8 ({name[:60]!r}); "
            "rename the photograph and convert again."
        ) from error


def image_error(name: str, height: int, width: int) -> UserError:
    """The sentence for a record whose image is damaged or of another size."""
    return UserError(
        f"The record of {name} cannot be decoded as a {height}x{width} JPEG; find what is wrong "
        "with `cloudtf convert --verify`."
    )


def label_error(path: str, number: int, label: Sequence[int], unknown: bool) -> UserError:
    """The sentence for a record whose label is not 0 or 1, or unknown, for each class."""
    shown = ", ".join(str(value) for value in label[:20])
    return UserError(
        f"The shard {path} has a label that is neither 0 nor 1{', nor -1,' if unknown else ''} in "
        f"record {number} ({shown}); "
        "convert the photographs again."
    )


def find_damage(
    data_dir: str,
    split: records.Split,
    num_classes: int,
    height: int,
    width: int,
    cause: Exception,
    unknown: bool = False,
) -> None:
    """Reads a split record by record, after an error of TensorFlow's.

    Args:
      data_dir: the folder of the records.
      split: the split to read.
      num_classes: C, the number of classes; 0 for an unlabelled set.
      height: H, rows that every image must have.
      width: W, columns that every image must have.
      cause: the error of TensorFlow's.
      unknown: whether labels may be -1, for unknown.

    Raises:
      UserError: naming the first shard or image that is damaged. If none is, nothing is raised.
    """
    for shard in split.shards:
        path = files.join(data_dir, shard.name)
        find_in_shard(path, shard, num_classes, (height, width), cause, unknown)


def find_in_shard(
    path: str,
    shard: records.Shard,
    num_classes: int,
    image_shape: Optional[tuple[int, int]],
    cause: Optional[Exception] = None,
    unknown: bool = False,
) -> None:
    """Reads a shard record by record.

    Args:
      path: the file of the shard.
      shard: the manifest's entry for it, with its count of records.
      num_classes: the number of classes, C; 0 for an unlabelled set.
      image_shape: (height, width) that every image must have; None leaves images alone.
      cause: the error that is explained.
      unknown: whether labels may be -1, for unknown.

    Raises:
      UserError: naming the first record that is damaged, or the shard. If none is, nothing is
        raised.
    """
    count = 0
    try:
        for record in tf.data.TFRecordDataset(path, buffer_size=reading.BUFFER_BYTES):
            try:
                parsed = reading.parse(record[None], num_classes, unknown=unknown)
            except tf.errors.InvalidArgumentError:
                _check_label(path, count, record.numpy(), num_classes, unknown)
                raise
            name = text(path, count, parsed["name"][0].numpy())
            if image_shape is not None:
                try:
                    reading.decode(parsed["encoded"][0], *image_shape)
                except (tf.errors.OpError, ValueError):
                    raise image_error(name, *image_shape) from cause
            count += 1
    except tf.errors.OpError as error:
        raise shard_error(path, error) from cause
    if count != shard.num_examples:
        raise count_error(path, count, shard.num_examples) from cause


def check_whole_shards(
    data_dir: str,
    split: records.Split,
    num_classes: int,
    image_shape: tuple[int, int],
    unknown: bool = False,
) -> None:
    """Compares shards that will be streamed with their checksums, for a short time.

    That is all of them in a small set. In a large one, or a remote one, the first and last record
    of each shard, which are compared when a set is opened, must do.

    Args:
      data_dir: the folder of the records.
      split: the shards that will be streamed.
      num_classes: the number of classes, C; 0 for an unlabelled set.
      image_shape: (height, width) that every image must have.
      unknown: whether labels may be -1, for unknown.

    Raises:
      UserError: naming the shard or record that is damaged, or not the one that was converted.
    """
    if files.is_remote(data_dir):
        return
    end = time.monotonic() + SECONDS_FOR_WHOLE_SHARDS
    for shard in split.shards:
        path = files.join(data_dir, shard.name)
        if not shard.is_copy and files.sha256(path) != shard.sha256:
            find_in_shard(path, shard, num_classes, image_shape, unknown=unknown)
            raise UserError(records.replaced(path))
        if time.monotonic() > end:
            return


def _check_label(path: str, number: int, record: bytes, num_classes: int, unknown: bool) -> None:
    features = tf.train.Example.FromString(record).features.feature
    label = features[records.LABEL].int64_list.value
    allowed = {0, 1, UNKNOWN} if unknown else {0, 1}
    if len(label) == num_classes and not set(label) <= allowed:
        raise label_error(path, number, label, unknown)
