"""How one photograph becomes one record."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
from typing import Iterator, Optional

import cv2
import numpy as np

from cloudtf import files
from cloudtf.data import images, records, shards, tfrecord
from cloudtf.data import masks as small_masks
from cloudtf.data.aspect import ASPECTS, frame
from cloudtf.data.masks import Masks
from cloudtf.errors import UserError, param


@dataclasses.dataclass(frozen=True)
class Recipe:
    """How a conversion makes records; the same on every machine that takes part in it.

    Attributes:
      images_dir: the folder of the photographs.
      height: H, rows of the images in the records.
      width: W, columns of the images in the records.
      quality: JPEG quality of the images in the records, 1 to 100.
      skip: leave out photographs that cannot be used, in place of an error.
      aspect: how photographs get the ratio of sides of the records, one of `ASPECTS`.
      sketches: make a sketch of each photograph too, by which its copies are found.
      with_masks: whether the records have small masks; see `masks`.
    """

    images_dir: str
    height: int
    width: int
    quality: int
    skip: bool
    aspect: str = ASPECTS[0]
    sketches: bool = False
    with_masks: bool = False

    def outcome(self, name: str, label: Optional[np.ndarray], masks: Masks = ()) -> shards.Outcome:
        """The record of one photograph, or why it was left out.

        Args:
          name: the photograph's file, as a path inside `images_dir` with `/` between folders.
          label: 0, 1 or -1 (unknown), [C]; None for an unlabelled set.
          masks: the class and the runs of each of its masks.

        Raises:
          UserError: naming the photograph: it cannot be used and `skip` is False, or it could not
            be read for a reason that may pass (too many open files), whatever `skip` says.
        """
        path = files.join(self.images_dir, *name.split("/"))
        try:
            data = files.read_bytes(path)
            size = self.height, self.width
            kept = masks if self.with_masks else None
            return make_record(
                data, name, label, *size, self.quality, self.aspect, self.sketches, kept
            )
        except (ValueError, UserError) as error:
            if self.skip and (isinstance(error, ValueError) or files.is_lasting(error)):
                return shards.Outcome(None, str(error).rstrip("."))
            if isinstance(error, UserError):
                raise
            raise UserError(
                f"The image {path} cannot be used: {error}. Replace it, or leave such images out "
                f"with {param(on_error='skip')}."
            ) from error


@contextlib.contextmanager
def one_thread_an_image() -> Iterator[None]:
    """While entered, OpenCV uses one thread an image: faster where many are made at once."""
    threads = cv2.getNumThreads()
    cv2.setNumThreads(1)
    try:
        yield
    finally:
        cv2.setNumThreads(threads)


def make_record(
    data: bytes,
    name: str,
    label: Optional[np.ndarray],
    height: int,
    width: int,
    quality: int,
    aspect: str = ASPECTS[0],
    with_sketch: bool = False,
    masks: Optional[Masks] = None,
) -> shards.Outcome:
    """The record of one photograph: a serialised `tf.train.Example`, and what it was made from.

    Args:
      data: the bytes of the photograph's file.
      name: the name that the record keeps, by which later steps know the image.
      label: 0, 1 or -1 (unknown), [C]; None for an unlabelled set.
      height: H, rows of the image in the record.
      width: W, columns of the image in the record.
      quality: JPEG quality of the image in the record, 1 to 100.
      aspect: how the photograph gets the ratio of sides of the record, one of `ASPECTS`.
      with_sketch: whether to make a sketch too, by which copies of the photograph are found.
      masks: the class and the runs of each of its masks; None for a record without masks.

    Raises:
      ValueError: one phrase on what is wrong with `data`.
    """
    encoded, depth, sketch, size = images.convert_image(
        data, height, width, quality, aspect, with_sketch
    )
    features: dict[str, tfrecord.Feature] = {
        records.ENCODED: encoded,
        records.FORMAT: b"jpeg",
        records.FILENAME: name.encode(),
        records.HEIGHT: (height,),
        records.WIDTH: (width,),
        records.SHA256: hashlib.sha256(encoded).hexdigest().encode(),
    }
    if label is not None:
        features[records.LABEL] = label.tolist()
    if label is not None and masks is not None:
        features[records.MASK] = small_masks.encode(
            masks, label, size, frame(*size, height, width, aspect)
        )
    return shards.Outcome(tfrecord.encode_example(features), depth=depth, sketch=sketch)
