"""Some of a set, for timing."""

from __future__ import annotations

import dataclasses
from typing import Sequence

import tensorflow as tf

from cloudtf import files
from cloudtf.data import records
from cloudtf.pipeline import damage, reading


def encoded(data_dir: str, split: records.Split, num_classes: int, count: int) -> list[bytes]:
    """The JPEGs of the first records, at most `count`.

    Raises:
      UserError: naming a shard that is damaged.
    """
    contents: list[bytes] = []
    for shard in split.shards:
        if len(contents) == count:
            break
        path = files.join(data_dir, shard.name)
        dataset = tf.data.TFRecordDataset(path).take(count - len(contents)).batch(64)
        dataset = dataset.map(lambda s: reading.parse(s, num_classes, unknown=True)["encoded"])
        try:
            contents += [content for batch in dataset.as_numpy_iterator() for content in batch]
        except tf.errors.OpError as error:
            raise damage.shard_error(path, error) from error
    return contents


def part(
    manifest: records.Manifest, splits: Sequence[str], max_images: int
) -> tuple[records.Manifest, records.Split]:
    """The first shards of some splits that hold `max_images`; at least one.

    Returns:
      A manifest with no other split than that of these shards, and that split.
    """
    whole = manifest.joined(splits)
    shards, count = [], 0
    for shard in whole.shards:
        if count >= max_images:
            break
        shards.append(shard)
        count += shard.num_examples
    small = dataclasses.replace(whole, shards=tuple(shards), num_examples=count)
    return dataclasses.replace(manifest, splits={small.name: small}), small
