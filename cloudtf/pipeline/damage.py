"""Names the shard or image where TensorFlow could not read records."""

from __future__ import annotations

import tensorflow as tf

from cloudtf import files
from cloudtf.data import records
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
      number: the position of the record in its shard, from 0.
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


def find_damage(
    data_dir: str,
    split: records.Split,
    num_classes: int,
    height: int,
    width: int,
    cause: Exception,
) -> None:
    """Reads a split record by record, after an error of TensorFlow's.

    Args:
      data_dir: the folder of the records.
      split: the split to read.
      num_classes: C, the number of classes; 0 for an unlabelled set.
      height: H, rows that every image must have.
      width: W, columns that every image must have.
      cause: the error of TensorFlow's.

    Raises:
      UserError: naming the first shard or image that is damaged. If none is, nothing is raised.
    """
    for shard in split.shards:
        path = files.join(data_dir, shard.name)
        count = 0
        try:
            for record in tf.data.TFRecordDataset(path, buffer_size=reading.BUFFER_BYTES):
                parsed = reading.parse(record[None], num_classes)
                try:
                    reading.decode(parsed["encoded"][0], height, width)
                except (tf.errors.OpError, ValueError):
                    name = text(path, count, parsed["name"][0].numpy())
                    raise image_error(name, height, width) from cause
                count += 1
        except tf.errors.OpError as error:
            raise shard_error(path, error) from cause
        if count != shard.num_examples:
            raise count_error(path, count, shard.num_examples) from cause
