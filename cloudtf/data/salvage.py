"""A set without its damaged records, for `on_bad_record="skip"`.

What is left out must be known before the first step: every batch keeps its shape, and the order of
examples stays a pure function of their numbers. So each shard that is not what the manifest says is
read record by record once, at the start, and its good records are copied to a folder of this
process; later steps see a set without damage.
"""

from __future__ import annotations

import collections
import dataclasses
import hashlib
import io
import itertools
from concurrent.futures import ThreadPoolExecutor
from typing import Iterator, Sequence

from cloudtf import files, machine
from cloudtf.data import records, tfrecord, verify
from cloudtf.data.labels import UNKNOWN, classes_with
from cloudtf.errors import UserError, param

# The largest share of a split's records to leave out (one record always may be): with more, the
# class rates would be others.
MOST_BAD = 0.01
_SHOWN = 3


@dataclasses.dataclass(frozen=True)
class _Salvaged:
    """A shard's good records.

    Attributes:
      shard: the manifest's entry for the good records; unchanged where the file is undamaged.
      labels: the labels of the good records, [C] each; empty where the file is undamaged.
      bad: a phrase for each record that was left out, naming it.
      beyond: the number of bytes left out after the last record that the manifest counts.
    """

    shard: records.Shard
    labels: tuple[tuple[int, ...], ...] = ()
    bad: tuple[str, ...] = ()
    beyond: int = 0


def without_bad_records(
    data_dir: str, manifest: records.Manifest, folder: str
) -> tuple[records.Manifest, list[str]]:
    """The set without its damaged records.

    Args:
      data_dir: the folder of the shards.
      manifest: the content of `dataset.json` in that folder.
      folder: an existing folder for copies of the damaged shards, good records only.

    Returns:
      A manifest in which a copy replaces each damaged shard (named by its whole path, which joined
      to `data_dir` is itself), and a sentence for each split from which records were left out and
      for each shard that is longer than it should be.

    Raises:
      UserError: a shard is missing or holds the records of another set, or more than 1% of the
        records of a split (and more than one) are bad.
    """
    notes, splits = [], {}
    with ThreadPoolExecutor(machine.usable_cores()) as pool:
        for name, split in manifest.splits.items():
            parts = list(pool.map(lambda s: _salvage(data_dir, s, manifest, folder), split.shards))
            bad = [phrase for part in parts for phrase in part.bad]
            if len(bad) > max(1, int(MOST_BAD * split.num_examples)):
                raise UserError(
                    f"{len(bad)} of the {split.num_examples:,} records of {name} in {data_dir} are "
                    f"bad, more than {param(on_bad_record='skip')} leaves out (1%): "
                    f"{_listed(bad)}; convert the photographs again."
                )
            if bad:
                notes.append(
                    f"Left out {len(bad)} of the {split.num_examples:,} records of {name}, which "
                    f"{'are' if len(bad) > 1 else 'is'} bad: {_listed(bad)}."
                )
            notes += [
                f"Left out {part.beyond:,} bytes after the last record of {shard.name}."
                for part, shard in zip(parts, split.shards)
                if part.beyond
            ]
            if any(part.shard is not shard for part, shard in zip(parts, split.shards)):
                split = _recounted(data_dir, manifest, split, parts)
            splits[name] = split
    return dataclasses.replace(manifest, splits=splits), notes


def _listed(phrases: list[str]) -> str:
    more = len(phrases) - _SHOWN
    return "; ".join(phrases[:_SHOWN]) + (f"; and {more} more" if more > 0 else "")


def _salvage(
    data_dir: str, shard: records.Shard, manifest: records.Manifest, folder: str
) -> _Salvaged:
    path = files.join(data_dir, shard.name)
    if not files.exists(path):
        raise UserError(
            f"The shard {path} is missing, and {param(on_bad_record='skip')} leaves out records, "
            "not shards; run `cloudtf convert` again."
        )
    if files.sha256(path) == shard.sha256:
        return _Salvaged(shard)
    good: dict[int, bytes] = {}
    labels, bad = [], []
    data, read, position = files.read_bytes(path), 0, -1
    for position, frame in enumerate(itertools.islice(_frames(data), shard.num_examples)):
        read += len(frame)
        try:
            _, label, _ = verify.check_record(position, tfrecord.content(frame), manifest)
        except ValueError as error:
            reason = str(error).split(f"record {position}: ", 1)[-1]
            bad.append(f"{shard.name} record {position} ({reason})")
        else:
            good[position] = frame
            labels.append(tuple(label))
    missing = shard.num_examples - (position + 1)
    bad += [f"{shard.name} record {position + 1 + i} (it cannot be found)" for i in range(missing)]
    # Where records are missing, the rest of the file is what is left of them.
    beyond = 0 if missing else len(data) - read
    if _is_replaced(shard, good):
        raise UserError(records.replaced(path))
    if not good:
        return _Salvaged(dataclasses.replace(shard, num_examples=0), (), tuple(bad), beyond)
    content = b"".join(good.values())
    copy = files.join(folder, shard.name)
    files.write_bytes(copy, content)
    # With the checksum of the damaged file: by that a resumed run recognises its records.
    replacement = records.Shard(copy, len(good), len(content), shard.sha256)
    return _Salvaged(replacement, tuple(labels), tuple(bad), beyond)


def _is_replaced(shard: records.Shard, good: dict[int, bytes]) -> bool:
    """Whether sound records, by their number, are not those that were converted."""
    if len(good) == shard.num_examples:
        return hashlib.sha256(b"".join(good.values())).hexdigest() != shard.sha256
    edges = zip((0, shard.num_examples - 1), shard.edge_crcs)
    return any(n in good and good[n][-4:] != crc.to_bytes(4, "little") for n, crc in edges)


def _frames(data: bytes) -> Iterator[bytes]:
    """The records of a shard with their frames, up to the first whose length is damaged."""
    return (data[start:end] for start, end in tfrecord.spans(io.BytesIO(data), len(data)))


def _labels(path: str) -> Iterator[Sequence[int]]:
    """The label of each record of a shard that is as it was converted."""
    import tensorflow as tf

    for frame in _frames(files.read_bytes(path)):
        example = tf.train.Example.FromString(tfrecord.content(frame))
        yield example.features.feature[records.LABEL].int64_list.value


def _recounted(
    data_dir: str,
    manifest: records.Manifest,
    split: records.Split,
    parts: list[_Salvaged],
) -> records.Split:
    """The split with its good shards, examples and classes counted again."""
    kept = [part.shard for part in parts if part.shard.num_examples]
    counts: collections.Counter[str] = collections.Counter()
    unknown: collections.Counter[str] = collections.Counter()
    for part, shard in zip(parts, split.shards):
        whole = part.shard is shard
        for label in _labels(files.join(data_dir, shard.name)) if whole else part.labels:
            counts.update(classes_with(1, label, manifest.classes))
            unknown.update(classes_with(UNKNOWN, label, manifest.classes))
    return dataclasses.replace(
        split,
        num_examples=sum(shard.num_examples for shard in kept),
        class_counts={name: counts[name] for name in manifest.classes},
        combination_counts={},
        shards=tuple(kept),
        unknown_counts=dict(unknown),
    )
