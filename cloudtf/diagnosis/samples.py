"""Some of a set, for timing."""

from __future__ import annotations

import dataclasses

import tensorflow as tf

from cloudtf import files
from cloudtf.data import records
from cloudtf.pipeline import reading


def encoded(data_dir: str, split: records.Split, num_classes: int, count: int) -> list[bytes]:
    """The JPEGs of the first records, at most `count`."""
    paths = [files.join(data_dir, shard.name) for shard in split.shards if shard.num_examples]
    dataset = tf.data.TFRecordDataset(paths).take(count).batch(64)
    dataset = dataset.map(lambda s: reading.parse(s, num_classes)["encoded"])
    return [content for batch in dataset.as_numpy_iterator() for content in batch]


def part(manifest: records.Manifest, split: str, max_images: int) -> records.Manifest:
    """A manifest with one split, of the first shards that hold `max_images`; at least one."""
    whole = manifest.split(split)
    shards, count = [], 0
    for shard in whole.shards:
        if count >= max_images:
            break
        shards.append(shard)
        count += shard.num_examples
    small = dataclasses.replace(whole, shards=tuple(shards), num_examples=count)
    return dataclasses.replace(manifest, splits={split: small})
