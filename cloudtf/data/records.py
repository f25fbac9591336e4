"""What a converted data set is: the record schema and `dataset.json`, its manifest.

A record is a `tf.train.Example` in an uncompressed TFRecord shard with the features named below.
`dataset.json` is the source of the class order and of what each shard must hold.
"""

from __future__ import annotations

import builtins
import collections
import concurrent.futures
import dataclasses
import re
from typing import Any, Iterable, Iterator, Optional, Sequence, Union

from cloudtf import files
from cloudtf.data import tfrecord
from cloudtf.data.aspect import ASPECTS
from cloudtf.data.labels import check_class, check_distinct, check_name
from cloudtf.data.masks import SIDE
from cloudtf.errors import UserError, reason
from cloudtf.text import listed

FORMAT_VERSION = 1
MANIFEST_NAME = "dataset.json"
# The names of splits begin with it whose photographs a model has labelled; those for the runs of
# different folds hold the same photographs.
PSEUDO = "pseudo"
# What a reader does about a damaged record; the first is the default.
ON_BAD_RECORD = ("fail", "skip")
# A JPEG cannot be larger.
_MAX_SIDE = 65_535

ENCODED = "image/encoded"
FORMAT = "image/format"
FILENAME = "image/filename"
HEIGHT = "image/height"
WIDTH = "image/width"
LABEL = "image/class/label"
MASK = "image/mask"
SHA256 = "image/sha256"


@dataclasses.dataclass(frozen=True)
class Shard:
    """One TFRecord file.

    Attributes:
      name: the file's name inside the data folder, e.g. `train-00000-of-00008.tfrecord`.
      num_examples: the number of records in it.
      num_bytes: the file's length in bytes.
      sha256: the file's SHA-256, 64 hexadecimal digits.
      edge_crcs: the masked CRC-32C of its first and its last record, as they stand in the file, by
        which records of another set are noticed without reading all; empty where none is known.
      depths: bits of a value in the photographs that its records were made from -> how many had
        them, as in `Split`.
    """

    name: str
    num_examples: int
    num_bytes: int
    sha256: str
    edge_crcs: tuple[int, ...] = ()
    # Not hashed: shards are keys, and a dict cannot be.
    depths: dict[str, int] = dataclasses.field(default_factory=dict, hash=False)

    @property
    def is_copy(self) -> bool:
        """Whether it stands in for a damaged shard, with fewer records than have its SHA-256."""
        return "/" in self.name


@dataclasses.dataclass(frozen=True)
class Split:
    """One split (`train`, `val`, `fold0`, `test`, ...).

    Attributes:
      name: letters, digits and `_`, at most 51; shards begin with it.
      num_examples: the number of records over all shards.
      class_counts: class name -> examples that show it; empty for an unlabelled split.
      combination_counts: label combination -> examples with it; the classes of a combination are
        joined by `|`, unknown ones behind a `?`; none at all is the empty text.
      shards: the split's files, in the order of their numbers.
      depths: bits of a value in the photographs that its records were made from, `"8"`, `"12"` and
        the like -> how many had them. Of more than 8 bits the upper 8 of those in use are in the
        records (`pixels.to_bytes`). Empty where that is not known.
      unknown_counts: class name -> examples of which it is not known whether they show it, for the
        classes that have such; the file has no such key where none has.
    """

    name: str
    num_examples: int
    class_counts: dict[str, int]
    combination_counts: dict[str, int]
    shards: tuple[Shard, ...]
    depths: dict[str, int] = dataclasses.field(default_factory=dict)
    unknown_counts: dict[str, int] = dataclasses.field(default_factory=dict)

    def num_known(self, class_name: str) -> int:
        """Examples of which it is known whether they show a class."""
        return self.num_examples - self.unknown_counts.get(class_name, 0)


@dataclasses.dataclass(frozen=True)
class Manifest:
    """The content of `dataset.json`.

    Attributes:
      classes: class names in label order; empty for an unlabelled set.
      image_height: H, rows of every image in the records.
      image_width: W, columns of every image in the records.
      jpeg_quality: the quality at which the images were encoded, 1 to 100.
      seed: keyed the division into splits and the order of examples in them.
      splits: split name -> what it holds.
      near_duplicates: the files of each group of photographs that are copies of one (encoded anew,
        resized, cropped, flipped or turned), as far as they were looked for; in `dataset.json`
        only where there are any.
      skipped: one `{"file": ..., "reason": ...}` for each row and image left out, with `"shard"`
        where it was an image that could not be used.
      settings: the settings of the conversion and digests of its input; another run of the
        converter goes on from this set only if its own are equal.
      aspect: how photographs got the ratio of sides of the records, one of `ASPECTS`.
      mask_side: 28 where records have small masks (see `masks`), else 0.
      format_version: the layout of records and manifest, `FORMAT_VERSION`.
    """

    classes: tuple[str, ...]
    image_height: int
    image_width: int
    jpeg_quality: int
    seed: int
    splits: dict[str, Split]
    skipped: tuple[dict[str, str], ...] = ()
    settings: Optional[dict[str, Any]] = None
    aspect: str = ASPECTS[0]
    mask_side: int = 0
    format_version: int = FORMAT_VERSION
    near_duplicates: tuple[tuple[str, ...], ...] = ()

    @property
    def has_unknown(self) -> bool:
        """Whether some labels of the set are unknown (-1)."""
        return any(split.unknown_counts for split in self.splits.values())

    def split(self, name: str) -> Split:
        """One split by name.

        Raises:
          UserError: there is no such split; the sentence lists those there are.
        """
        if name not in self.splits:
            raise UserError(
                f"There is no split {name!r} in this data set; it has {listed(self.splits)}."
            )
        return self.splits[name]

    def joined(self, names: Union[str, Sequence[str]]) -> Split:
        """One split by name, or several as if they were one, in the order of `names`.

        Its name is theirs with `+` between them; its shards and counts are theirs together, and
        label combinations are counted where all of them are.

        Raises:
          UserError: there is no such split, or no name.
        """
        splits = [self.split(name) for name in ([names] if isinstance(names, str) else names)]
        if len(splits) == 1:
            return splits[0]
        if not splits:
            raise UserError("No split is named.")
        combination_counts: collections.Counter[str] = collections.Counter()
        unknown_counts: collections.Counter[str] = collections.Counter()
        for split in splits:
            combination_counts.update(split.combination_counts)
            unknown_counts.update(split.unknown_counts)
        num_examples = sum(split.num_examples for split in splits)
        counted = sum(combination_counts.values()) == num_examples
        return Split(
            name="+".join(split.name for split in splits),
            num_examples=num_examples,
            class_counts={c: sum(s.class_counts.get(c, 0) for s in splits) for c in self.classes},
            combination_counts=dict(combination_counts) if counted else {},
            shards=tuple(shard for split in splits for shard in split.shards),
            depths=added(split.depths for split in splits),
            unknown_counts=dict(unknown_counts),
        )


def read_manifest(data_dir: str) -> Manifest:
    """Reads and checks `dataset.json`.

    Raises:
      UserError: it is missing, of another format version, or lacks a key.
    """
    path = files.join(data_dir, MANIFEST_NAME)
    if not files.exists(path):
        raise UserError(
            f"There is no {MANIFEST_NAME} in {data_dir}; make the records with "
            "`cloudtf convert` (tools/make_tfrecords.py) first."
        )
    raw = files.read_json(path)
    try:
        if raw["format_version"] != FORMAT_VERSION:
            raise UserError(
                f"{path} has format version {str(raw['format_version'])[:40]}, this cloudtf reads "
                f"{FORMAT_VERSION}; convert the photographs again."
            )
        return _manifest(raw)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        why = f"it has no {error}" if isinstance(error, KeyError) else reason(error, 200)
        raise UserError(f"{path} is damaged ({why}); convert the photographs again.") from error


def _manifest(raw: dict[str, Any]) -> Manifest:
    """The manifest in a JSON value; ValueError or its like if it is none."""
    classes = tuple(_text(name, "a class name") for name in raw["classes"])
    for name in classes:
        check_class(name)
    check_distinct(classes)
    if len(set(classes)) < len(classes):
        raise ValueError("it names a class twice")
    skipped = tuple(
        {_text(key, "a key"): _text(value, "an entry of skipped") for key, value in entry.items()}
        for entry in raw["skipped"]
    )
    if not all({"file", "reason"} <= entry.keys() for entry in skipped):
        raise ValueError("an entry of skipped has no file or reason")
    splits = {name: _split(name, split, classes) for name, split in raw["splits"].items()}
    names = [shard.name for split in splits.values() for shard in split.shards]
    if len(set(names)) < len(names):
        # Twice in one split, or in two, where it would be trained and validated on.
        raise ValueError("it names a shard twice")
    return Manifest(
        classes=classes,
        image_height=_whole(raw["image_height"], 1, _MAX_SIDE),
        image_width=_whole(raw["image_width"], 1, _MAX_SIDE),
        jpeg_quality=_whole(raw["jpeg_quality"], 1, 100),
        seed=_whole(raw["seed"]),
        splits=splits,
        skipped=skipped,
        settings=None if raw.get("settings") is None else dict(raw["settings"]),
        aspect=_aspect(raw.get("aspect", ASPECTS[0])),
        near_duplicates=_groups(raw.get("near_duplicates", [])),
        mask_side=_whole(raw.get("mask_side", 0), 0, SIDE),
    )


def _groups(raw: Any) -> tuple[tuple[str, ...], ...]:
    if not isinstance(raw, list) or not all(isinstance(group, list) for group in raw):
        raise ValueError("near_duplicates is no list of lists")
    groups = tuple(
        tuple(_text(name, "a file of near_duplicates") for name in group) for group in raw
    )
    names = [name for group in groups for name in group]
    if any(len(group) < 2 for group in groups) or len(set(names)) < len(names):
        raise ValueError("near_duplicates has a group of one file, or a file twice")
    return groups


def _split(name: str, raw: dict[str, Any], classes: tuple[str, ...]) -> Split:
    # The name becomes a part of file names.
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_]{0,50}", name):
        raise ValueError(f"{name[:60]!r} cannot be the name of a split")
    class_counts = {key: _whole(value) for key, value in raw["class_counts"].items()}
    unknown_counts = {key: _whole(value, 1) for key, value in raw.get("unknown_counts", {}).items()}
    strange = sorted((class_counts.keys() | unknown_counts.keys()) - set(classes))
    if strange:
        raise ValueError(f"the split {name} counts the unknown class {strange[0][:60]!r}")
    combinations = raw.get("combination_counts", {})
    return Split(
        name=name,
        num_examples=_whole(raw["num_examples"]),
        class_counts=class_counts,
        combination_counts={key: _whole(value) for key, value in combinations.items()},
        shards=tuple(shard_from(shard) for shard in raw["shards"]),
        depths=_depths(raw),
        unknown_counts=unknown_counts,
    )


def shard_from(raw: dict[str, Any]) -> Shard:
    """The shard in a JSON value.

    Raises:
      ValueError: a name that is no plain file name, a count under 0, a checksum that is none.
      KeyError, TypeError: it lacks something or has another structure.
    """
    name = _text(raw["name"], "the name of a shard")
    check_name(name)
    if "/" in name:
        raise ValueError(f"the shard {name[:60]!r} is not in the folder itself")
    digest = _text(raw["sha256"], "a checksum")
    if not re.fullmatch(r"[0-9a-f]{64}", digest):
        raise ValueError(f"the shard {name[:60]!r} has no SHA-256")
    # A dataset.json of before them has none.
    crcs = tuple(_whole(crc, 0, 2**32 - 1) for crc in raw.get("edge_crcs", ()))
    if len(crcs) not in (0, 2):
        raise ValueError(f"the shard {name[:60]!r} has {len(crcs)} edge_crcs, not 2")
    return Shard(
        name, _whole(raw["num_examples"]), _whole(raw["num_bytes"]), digest, crcs, _depths(raw)
    )


def _depths(raw: dict[str, Any]) -> dict[str, int]:
    # A dataset.json of before them has none.
    depths = {key: _whole(value) for key, value in raw.get("depths", {}).items()}
    if not all(key.isdecimal() and key.isascii() and 8 <= int(key) <= 16 for key in depths):
        raise ValueError(f"{str(depths)[:60]} are no depths of images")
    return depths


def added(counts: Iterable[dict[str, int]]) -> dict[str, int]:
    """Counts added up by name: `{"8": 3}` and `{"8": 1, "12": 2}` are `{"8": 4, "12": 2}`."""
    total: collections.Counter[str] = collections.Counter()
    for each in counts:
        total.update(each)
    return dict(total)


def _whole(value: Any, low: int = 0, high: int = 2**63 - 1) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
        raise ValueError(f"{str(value)[:40]!r} is not a whole number from {low} to {high}")
    return value


def _aspect(value: Any) -> str:
    if value not in ASPECTS:
        raise ValueError(f"the aspect {str(value)[:40]!r} is not one of {', '.join(ASPECTS)}")
    return value


def _text(value: Any, what: str) -> str:
    if not isinstance(value, str):
        raise ValueError(f"{what} is {str(value)[:40]!r}, which is not text")
    return value


def write_manifest(data_dir: str, manifest: Manifest) -> None:
    """Writes `dataset.json` whole or not at all."""
    raw = dataclasses.asdict(manifest)
    for split in raw["splits"].values():
        del split["name"]
        if not split["unknown_counts"]:
            del split["unknown_counts"]
    if not manifest.near_duplicates:
        del raw["near_duplicates"]
    files.write_json(files.join(data_dir, MANIFEST_NAME), raw)


def check_shards(
    data_dir: str, manifest: Manifest, split_names: Optional[Iterable[str]] = None
) -> None:
    """Checks, in little time, that all shards are there, and are those that were converted.

    Of each its length is compared, and its first and last record.

    Args:
      data_dir: the folder of the shards.
      manifest: the content of `dataset.json` in that folder.
      split_names: the splits that will be read; all if None.

    Raises:
      UserError: naming the first split, shard or count that is wrong.
    """
    for _, problem in shard_problems(data_dir, manifest, split_names):
        raise UserError(problem)


def shard_problems(
    data_dir: str, manifest: Manifest, split_names: Optional[Iterable[str]] = None
) -> Iterator[tuple[str, str]]:
    """All that `check_shards` would find: the name of a shard (or split), and a sentence.

    Raises:
      UserError: there is no split of such a name.
    """
    names = manifest.splits if split_names is None else split_names
    splits = [manifest.split(name) for name in names]
    for split in splits:
        counted = sum(shard.num_examples for shard in split.shards)
        if counted != split.num_examples:
            yield (
                split.name,
                f"{files.join(data_dir, MANIFEST_NAME)} disagrees with itself: the shards of "
                f"{split.name} hold {counted} examples, not {split.num_examples}; convert again.",
            )
    shards = [shard for split in splits for shard in split.shards]
    paths = [files.join(data_dir, shard.name) for shard in shards]
    # A remote file system answers each question late, but many at once.
    with concurrent.futures.ThreadPoolExecutor(32) as pool:
        problems = (pool if files.is_remote(data_dir) else builtins).map(_problem, paths, shards)
        for shard, problem in zip(shards, problems):
            if problem is not None:
                yield shard.name, problem


def replaced(path: str) -> str:
    """The sentence for a shard whose records are sound, but not those that were converted."""
    return (
        f"The shard {path} holds other records than those that {MANIFEST_NAME} was written for; "
        "put the two together that belong together, or convert the photographs again."
    )


def _problem(path: str, shard: Shard) -> Optional[str]:
    """What is seen to be wrong with a shard without reading it; None if nothing is."""
    size = _length(path)
    if size is None:
        return f"The shard {path} is missing; run `cloudtf convert` again."
    if size != shard.num_bytes:
        return (
            f"The shard {path} has {size:,} bytes, {MANIFEST_NAME} says {shard.num_bytes:,}; run "
            "`cloudtf convert` again."
        )
    if not shard.edge_crcs or _edges_are(path, shard):
        return None
    # A record that does not have the checksum beside it is damaged, which reading says better.
    return replaced(path) if _edges_are_sound(path, size) else None


def _length(path: str) -> Optional[int]:
    """The length of a file, in one request; None if there is none."""
    try:
        return files.size(path)
    except UserError:
        if files.exists(path):
            raise
        return None


def _edges_are(path: str, shard: Shard) -> bool:
    with files.open_bytes(path) as file:
        return tfrecord.edge_crcs(file, shard.num_bytes) == shard.edge_crcs


def _edges_are_sound(path: str, size: int) -> bool:
    with files.open_bytes(path) as file:
        spans = list(tfrecord.spans(file, size))
        if not spans or spans[-1][1] != size:
            return False
        for start, end in (spans[0], spans[-1]):
            file.seek(start)
            try:
                tfrecord.content(file.read(end - start))
            except ValueError:
                return False
    return True
