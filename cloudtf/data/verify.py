"""Re-reads a converted set with TensorFlow's own reader and compares it with `dataset.json`."""

from __future__ import annotations

import collections
import dataclasses
import hashlib
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Collection, Iterable, Iterator

from cloudtf import bars, files, machine
from cloudtf.data import images, masks, photograph_table, records, tfrecord
from cloudtf.data.labels import UNKNOWN, classes_with, combination
from cloudtf.errors import UserError, param, reason
from cloudtf.reporter import report


@dataclasses.dataclass(frozen=True)
class Problem:
    """Something that is not as it should be.

    Attributes:
      sentence: names the shard or split, what is wrong, and the fix.
      harmless: whether training works all the same.
    """

    sentence: str
    harmless: bool = False


def verify(data_dir: str, workers: int = 0) -> records.Manifest:
    """Checks every byte of a set: lengths, checksums, records, images, labels, names, counts.

    What `dataset.json` says of how the set was made (settings, seed, what was skipped) is not
    checked: it does not follow from the records.

    Args:
      data_dir: the folder of `dataset.json`.
      workers: the number of threads; 0: as many as cores.

    Returns:
      The manifest.

    Raises:
      UserError: naming the first shard that is not as it should be.
    """
    manifest = records.read_manifest(data_dir)
    records.check_shards(data_dir, manifest)
    for problem in problems(data_dir, manifest, workers):
        if not problem.harmless:
            raise UserError(problem.sentence)
        report(f"Warning: {problem.sentence}")
    total = sum(split.num_examples for split in manifest.splits.values())
    report(f"Verified {total:,} records in {data_dir}: all as {records.MANIFEST_NAME} says.")
    return manifest


def problems(
    data_dir: str,
    manifest: records.Manifest,
    workers: int = 0,
    leave_out: Collection[str] = (),
) -> Iterator[Problem]:
    """Reads every byte and gives all problems: at most one for each shard, then those of splits.

    Args:
      data_dir: the folder of `dataset.json`.
      manifest: the content of `dataset.json` in that folder.
      workers: the number of threads; 0: as many as cores.
      leave_out: names of shards that are not read. The counts of a split are not compared where
        one of its shards is left out or damaged.
    """
    seen: dict[str, str] = {}
    contents: dict[bytes, tuple[str, str]] = {}
    alike: list[tuple[str, str]] = []
    shards_read = [
        (split.name, shard)
        for split in manifest.splits.values()
        for shard in split.shards
        if shard.name not in leave_out
    ]
    total = sum(shard.num_examples for _, shard in shards_read)
    counts: dict[str, collections.Counter[str]] = collections.defaultdict(collections.Counter)
    unknown: dict[str, collections.Counter[str]] = collections.defaultdict(collections.Counter)
    combinations: dict[str, collections.Counter[str]] = collections.defaultdict(collections.Counter)
    unread = {s.name for split in manifest.splits.values() for s in split.shards}
    with bars.bar("verify", total, "images") as bar:
        for split_name, shard in shards_read:
            path = files.join(data_dir, shard.name)
            try:
                for name, label, digest in _read_shard(path, shard, manifest, workers):
                    if name in seen and not _may_share(seen[name], split_name):
                        raise UserError(
                            f"The shard {path} holds {name!r}, which is also in the split "
                            f"{seen[name]}; convert again with {param(overwrite=True)}."
                        )
                    seen[name] = split_name
                    other, other_split = contents.setdefault(digest, (name, split_name))
                    apart = other_split != split_name
                    if apart and not _may_share(other_split, split_name):
                        alike.append((other, name))
                    counts[split_name].update(classes_with(1, label, manifest.classes))
                    unknown[split_name].update(classes_with(UNKNOWN, label, manifest.classes))
                    combinations[split_name][combination(label, manifest.classes)] += 1
                    bar.update(1)
                unread.discard(shard.name)
            except UserError as error:
                yield Problem(str(error))
    try:
        known = photograph_table.read(data_dir, manifest)
        made = {name: s for name, s in seen.items() if not s.startswith(records.PSEUDO)}
        wrong_table = photograph_table.problem(data_dir, known, made)
    except UserError as error:
        wrong_table = str(error)
    if wrong_table is not None:
        yield Problem(wrong_table)
    for split in manifest.splits.values():
        counted = counts[split.name]
        whole = not any(shard.name in unread for shard in split.shards)
        if whole and any(counted[name] != count for name, count in split.class_counts.items()):
            yield Problem(
                f"{files.join(data_dir, records.MANIFEST_NAME)} counts the classes of "
                f"{split.name} as {split.class_counts}, its shards hold {dict(counted)}; "
                f"convert again with {param(overwrite=True)}."
            )
        if whole and dict(unknown[split.name]) != split.unknown_counts:
            yield Problem(
                f"{files.join(data_dir, records.MANIFEST_NAME)} counts the unknown labels of "
                f"{split.name} as {split.unknown_counts}, its shards hold "
                f"{dict(unknown[split.name])}; convert again with {param(overwrite=True)}."
            )
        stated, there = split.combination_counts, combinations[split.name]
        wrong = [key for key in {**stated, **there} if there[key] != stated.get(key, 0)]
        if whole and stated and wrong:
            yield Problem(
                f"{files.join(data_dir, records.MANIFEST_NAME)} counts {stated.get(wrong[0], 0)} "
                f"examples of {split.name} that show just {wrong[0]!r}, its shards hold "
                f"{there[wrong[0]]}; convert again with {param(overwrite=True)}."
            )
    if alike:
        yield Problem(
            f"{len(alike)} images are in two splits under two names, for example "
            f"{alike[0][0]!r} and {alike[0][1]!r}; {param('group_column')} can keep them together.",
            harmless=True,
        )


def _may_share(one: str, other: str) -> bool:
    """Whether two splits may hold the same photographs: they are for runs of different folds."""
    return one != other and all(name.startswith(records.PSEUDO) for name in (one, other))


def check_first_records(
    data_dir: str, manifest: records.Manifest, split_names: Iterable[str], seconds: float = 0.5
) -> None:
    """Checks the first record of each shard, at the start of a run on local files.

    So records that fit another manifest (more classes, another image size) are reported before
    the first step, whatever the cache.

    Args:
      data_dir: the folder of the shards; a remote one is not read, where each access takes long.
      manifest: the content of `dataset.json` in that folder.
      split_names: the splits that will be read.
      seconds: the time after which the shards that are left are not checked.

    Raises:
      UserError: naming the shard.
    """
    if files.is_remote(data_dir):
        return
    end = time.monotonic() + seconds
    paths = [
        files.join(data_dir, shard.name)
        for name in split_names
        for shard in manifest.split(name).shards
        if shard.num_examples
    ]
    first_records = _first_records(paths)
    for path in paths:
        if time.monotonic() > end:
            return
        try:
            check_record(0, next(first_records), manifest)
        except ValueError as error:
            raise UserError(
                f"The shard {path} does not fit {records.MANIFEST_NAME}: {error}; list all that "
                f"is wrong with `cloudtf doctor --data_dir={data_dir}`."
            ) from error


def _first_records(paths: list[str]) -> Iterator[bytes]:
    """The first record of each file, in order, empty where there is none; ValueError if damaged."""
    import tensorflow as tf

    @tf.autograph.experimental.do_not_convert
    def first(path: tf.Tensor) -> tf.data.Dataset:
        none = tf.data.Dataset.from_tensors("")
        return tf.data.TFRecordDataset(path, buffer_size=1 << 16).concatenate(none).take(1)

    # One dataset for all: opening one costs more than reading a record.
    dataset = tf.data.Dataset.from_tensor_slices(paths).flat_map(first) if paths else ()
    try:
        for record in dataset:
            yield record.numpy()
    except tf.errors.OpError as error:
        raise ValueError(f"record 0: {reason(error)}") from error


def _read_shard(
    path: str, shard: records.Shard, manifest: records.Manifest, workers: int
) -> Iterator[tuple[str, list[int], bytes]]:
    """Name, label and image digest of each record of a shard in which nothing is wrong."""

    def wrong(reason: str) -> UserError:
        return UserError(f"The shard {path} {reason}; remove it and run the same conversion again.")

    if files.sha256(path) != shard.sha256:
        damage = _first_damage(path)
        raise wrong(
            f"does not have the checksum in {records.MANIFEST_NAME}"
            + (f" ({damage})" if damage else "")
        )
    count = 0
    with ThreadPoolExecutor(workers or machine.usable_cores()) as pool:
        try:
            for outcome in machine.map_ahead(
                pool, lambda item: check_record(*item, manifest), enumerate(_records(path)), 64
            ):
                yield outcome
                count += 1
        except ValueError as error:
            raise wrong(f"has a bad record: {error}") from error
    if count != shard.num_examples:
        raise wrong(f"has {count} records, {records.MANIFEST_NAME} says {shard.num_examples}")


def check_record(
    position: int, record: bytes, manifest: records.Manifest
) -> tuple[str, list[int], bytes]:
    """Checks a record and its image.

    Args:
      position: the record's number in its shard, from 0.
      record: the record's bytes, a serialised `tf.train.Example`.
      manifest: the content of `dataset.json`, with which the record must agree.

    Returns:
      The image's name, its label (0, 1 or -1, [C]) and the SHA-256 of the encoded image, 32 bytes.

    Raises:
      ValueError: one phrase on what is wrong, beginning with the position.
    """
    import tensorflow as tf
    from google.protobuf.message import DecodeError

    try:
        features = _features(tf.train.Example.FromString(record))
        return _check_features(features, manifest)
    except (ValueError, TypeError, AttributeError, DecodeError) as error:
        raise ValueError(f"record {position}: {error}") from error


def _check_features(
    features: dict[str, Any], manifest: records.Manifest
) -> tuple[str, list[int], bytes]:
    encoded = features[records.ENCODED][0]
    digest = hashlib.sha256(encoded)
    if digest.hexdigest().encode() != features[records.SHA256][0]:
        raise ValueError("its image does not have the checksum beside it")
    size = (manifest.image_height, manifest.image_width)
    stated = (features[records.HEIGHT][0], features[records.WIDTH][0])
    decoded = images.decode(encoded).shape[:2]
    if not size == stated == decoded:
        raise ValueError(
            f"its image has {decoded[0]} x {decoded[1]} pixels and says {stated[0]} x {stated[1]}, "
            f"{records.MANIFEST_NAME} says {size[0]} x {size[1]}"
        )
    label = list(features[records.LABEL]) if manifest.classes else []
    allowed = {0, 1, UNKNOWN} if manifest.has_unknown else {0, 1}
    if len(label) != len(manifest.classes) or not set(label) <= allowed:
        values = "0, 1 or -1" if manifest.has_unknown else "0 or 1"
        raise ValueError(f"its label {label[:20]} is not {len(manifest.classes)} times {values}")
    if manifest.mask_side:
        masks.decode(b"".join(features[records.MASK]), label)
    return features[records.FILENAME][0].decode(), label, digest.digest()


def _features(example: Any) -> dict[str, Any]:
    features = {}
    for name, feature in example.features.feature.items():
        kind = feature.WhichOneof("kind")
        features[name] = getattr(feature, kind).value if kind else ()
    wanted = (records.ENCODED, records.SHA256, records.HEIGHT, records.WIDTH, records.FILENAME)
    for name in wanted:
        if len(features.get(name, ())) != 1:
            raise ValueError(f"it has no feature {name}")
    features.setdefault(records.LABEL, ())
    features.setdefault(records.MASK, ())
    return features


def _records(path: str) -> Iterator[bytes]:
    import tensorflow as tf

    position = 0
    try:
        for record in tf.data.TFRecordDataset(path):
            yield record.numpy()
            position += 1
    except tf.errors.OpError as error:
        raise ValueError(f"record {position}: {reason(error)}") from error
    # TensorFlow takes the first bytes of a record, without the rest, for the end of the file.
    size = files.size(path)
    with files.open_bytes(path) as file:
        ends = [0, *(end for _, end in tfrecord.spans(file, size))]
    if ends[-1] != size:
        raise ValueError(f"record {position}: it is cut off")


def _first_damage(path: str) -> str:
    """Where reading stops; empty if every record agrees with its own checksum."""
    try:
        for _ in _records(path):
            pass
    except ValueError as error:
        return str(error)
    return ""
