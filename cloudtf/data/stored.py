"""Records and their images read back from shards, some of many, without TensorFlow."""

from __future__ import annotations

from typing import Callable, Iterable, Iterator, NamedTuple, Sequence

import numpy as np
import simplejpeg

from cloudtf import files
from cloudtf.data import records, tfrecord
from cloudtf.errors import UserError


class Place(NamedTuple):
    """Where a record stands.

    Attributes:
      path: the file of its shard.
      start: offset of the first byte of its frame.
      end: offset of the byte after the last.
    """

    path: str
    start: int
    end: int


def places(path: str) -> list[Place]:
    """Where the records of a shard stand, in their order."""
    with files.open_bytes(path) as file:
        return [Place(path, *span) for span in tfrecord.spans(file, files.size(path))]


def frame(place: Place) -> bytes:
    """A record with its length and checksums around it."""
    with files.open_bytes(place.path) as file:
        file.seek(place.start)
        return file.read(place.end - place.start)


def contents(path: str) -> Iterator[bytes]:
    """The records of a shard, serialised `tf.train.Example`s, one after the other."""
    with files.open_bytes(path) as file:
        for start, end in tfrecord.spans(file, files.size(path)):
            file.seek(start)
            yield tfrecord.unchecked_content(file.read(end - start))


def reader(
    paths: Sequence[str], within: Sequence[int]
) -> Callable[[Sequence[int]], list[np.ndarray]]:
    """A function from numbers of records to their images, uint8 [H, W, 3] each.

    Args:
      paths: for each number the file of its shard.
      within: for each number which of the shard's records it is, from 0.
    """
    known: dict[str, list[Place]] = {}

    def read(numbers: Sequence[int]) -> list[np.ndarray]:
        images = []
        for number in numbers:
            path = paths[number]
            if path not in known:
                known[path] = places(path)
            place = known[path][within[number]]
            images.append(image(tfrecord.unchecked_content(frame(place))))
        return images

    return read


def image(record: bytes) -> np.ndarray:
    """The image of a record, uint8 [H, W, 3].

    Raises:
      ValueError: it has none, or a damaged one.
    """
    return simplejpeg.decode_jpeg(tfrecord.bytes_of(record, records.ENCODED))


def by_name(
    data_dir: str, shards: Iterable[records.Shard], names: Sequence[str]
) -> Callable[[Sequence[str]], dict[str, np.ndarray]]:
    """A function from the names of some images to the images, uint8 [H, W, 3].

    Args:
      data_dir: the folder of the records.
      shards: those in which the images are.
      names: the name of each record, one shard after the other.

    Returns:
      A function that raises UserError where a record is damaged.
    """
    within = [
        (files.join(data_dir, shard.name), number)
        for shard in shards
        for number in range(shard.num_examples)
    ]
    number_of = {name: number for number, name in enumerate(names)}

    def read(wanted: Sequence[str]) -> dict[str, np.ndarray]:
        paths, places_in = zip(*within)
        one = reader(paths, places_in)
        found = {}
        for name in wanted:
            try:
                (found[name],) = one([number_of[name]])
            except ValueError as error:
                path = paths[number_of[name]]
                raise UserError(f"A record of {path} is damaged: {error}.") from error
        return found

    return read
