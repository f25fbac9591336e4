"""Records that are there already, written anew with labels that their photographs were given."""

from __future__ import annotations

import collections
import os
from typing import Mapping, Optional, Sequence

import numpy as np

from cloudtf import files, machine
from cloudtf.data import masks, photograph_table, records, shards, tfrecord
from cloudtf.data.labels import UNKNOWN, classes_with, combination
from cloudtf.errors import UserError

_BYTES = (records.ENCODED, records.FORMAT, records.FILENAME, records.SHA256)


def write_split(
    source_dir: str,
    source: records.Split,
    labels: Mapping[str, np.ndarray],
    target_dir: str,
    name: str,
    manifest: records.Manifest,
) -> records.Split:
    """Writes the records of a split whose photographs have labels, as a split of another set.

    Args:
      source_dir: the folder of the records that are read.
      source: the split of theirs.
      labels: image name -> int64 [C], 1, 0 or -1 (unknown); photographs without are left out.
      target_dir: the folder of the shards that are written.
      name: the name of the new split; its shards begin with it.
      manifest: of the set that it is for: its classes, its image size, whether it has small masks.

    Returns:
      The entry of the new split in the manifest. Where the set has small masks, these classes have
      one that says that the class is somewhere.

    Raises:
      UserError: a shard is damaged, or a file cannot be written.
    """
    places, found = [], []
    depths: list[Optional[int]] = []
    for shard in source.shards:
        # Records do not say the depth of their photographs; a shard does where all had the same.
        depth = int(next(iter(shard.depths))) if len(shard.depths) == 1 else None
        path = files.join(source_dir, shard.name)
        with files.open_bytes(path) as file:
            for start, end in tfrecord.spans(file, shard.num_bytes):
                file.seek(start)
                image = _name(path, file.read(end - start))
                if image in labels:
                    places.append((path, start, end))
                    found.append(labels[image])
                    depths.append(depth)
    if None in depths:  # Of some only, the counts would be wrong.
        depths = [None] * len(depths)

    def make(index: int) -> shards.Outcome:
        path, start, end = places[index]
        with files.open_bytes(path) as file:
            file.seek(start)
            record = _record(path, file.read(end - start))
        label = found[index]
        features: dict[str, tfrecord.Feature] = {
            key: tfrecord.bytes_of(record, key) for key in _BYTES
        }
        features[records.HEIGHT] = [manifest.image_height]
        features[records.WIDTH] = [manifest.image_width]
        features[records.LABEL] = label.tolist()
        if manifest.mask_side:
            features[records.MASK] = bytes(masks.NUM_BYTES * int((label == 1).sum()))
        return shards.Outcome(tfrecord.encode_example(features), depth=depths[index])

    bytes_each = max((end - start for _, start, end in places), default=1)
    plans = shards.plan(name, range(len(places)), 0, bytes_each)
    workers = machine.usable_cores()
    written = tuple(
        one.shard for one in shards.write(target_dir, plans, make, workers, lambda count: None)
    )
    return _entry(name, found, manifest.classes, written)


def copy_shards(source_dir: str, manifest: records.Manifest, target_dir: str) -> None:
    """Puts the shards of a set into another folder too, with what is known of its photographs.

    On one disk the shards take no room there.

    Raises:
      UserError: a shard cannot be read or written.
    """
    for split in manifest.splits.values():
        for shard in split.shards:
            source, target = (files.join(at, shard.name) for at in (source_dir, target_dir))
            try:
                if files.is_remote(source) or files.is_remote(target):
                    raise OSError
                os.link(source, target)  # Shards are replaced, never changed.
            except OSError:
                files.write_bytes(target, files.read_bytes(source))
    if photograph_table.is_there(source_dir):
        source, target = (files.join(at, photograph_table.NAME) for at in (source_dir, target_dir))
        files.write_bytes(target, files.read_bytes(source))


def _record(path: str, framed: bytes) -> bytes:
    try:
        return tfrecord.content(framed)
    except ValueError as error:
        raise UserError(f"The shard {path} is damaged: {error}; convert again.") from error


def _name(path: str, framed: bytes) -> str:
    return tfrecord.bytes_of(_record(path, framed), records.FILENAME).decode()


def _entry(
    name: str,
    labels: Sequence[np.ndarray],
    classes: Sequence[str],
    written: tuple[records.Shard, ...],
) -> records.Split:
    counts: collections.Counter[str] = collections.Counter()
    unknown: collections.Counter[str] = collections.Counter()
    for label in labels:
        counts.update(classes_with(1, label, classes))
        unknown.update(classes_with(UNKNOWN, label, classes))
    combinations = collections.Counter(combination(label, classes) for label in labels)
    return records.Split(
        name=name,
        num_examples=len(labels),
        class_counts={one: counts[one] for one in classes},
        combination_counts=dict(sorted(combinations.items())),
        shards=written,
        depths=records.added(shard.depths for shard in written),
        unknown_counts=dict(unknown),
    )
