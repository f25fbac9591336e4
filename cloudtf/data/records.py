"""What a converted data set is: the record schema and `dataset.json`, its manifest.

A record is a `tf.train.Example` in an uncompressed TFRecord shard with the features named below.
`dataset.json` is the source of the class order and of what each shard must hold.
"""

from __future__ import annotations

import builtins
import concurrent.futures
import dataclasses
from typing import Any, Iterable, Iterator, Optional

from cloudtf import files
from cloudtf.errors import UserError

FORMAT_VERSION = 1
MANIFEST_NAME = "dataset.json"

ENCODED = "image/encoded"
FORMAT = "image/format"
FILENAME = "image/filename"
HEIGHT = "image/height"
WIDTH = "image/width"
LABEL = "image/class/label"
SHA256 = "image/sha256"


@dataclasses.dataclass(frozen=True)
class Shard:
    """One TFRecord file.

    Attributes:
      name: the file's name inside the data folder, e.g. `train-00000-of-00008.tfrecord`.
      num_examples: records in it.
      num_bytes: its length.
      sha256: its checksum as hex.
    """

    name: str
    num_examples: int
    num_bytes: int
    sha256: str


@dataclasses.dataclass(frozen=True)
class Split:
    """One split (`train`, `val`, `fold0`, `test`, ...).

    Attributes:
      name: the split's name.
      num_examples: records over all shards.
      class_counts: examples showing each class; empty for an unlabelled split.
      combination_counts: examples of each label combination, classes joined by `|` (`` for none).
      shards: in order.
    """

    name: str
    num_examples: int
    class_counts: dict[str, int]
    combination_counts: dict[str, int]
    shards: tuple[Shard, ...]


@dataclasses.dataclass(frozen=True)
class Manifest:
    """The content of `dataset.json`.

    Attributes:
      classes: class names in label order; empty for an unlabelled set.
      image_height: rows of every image in the records.
      image_width: columns.
      jpeg_quality: of the encoded images.
      seed: of the split.
      splits: by name.
      skipped: one `{"file": ..., "reason": ...}` for each image left out.
      settings: what a second run of the converter must agree with to go on from this set.
    """

    classes: tuple[str, ...]
    image_height: int
    image_width: int
    jpeg_quality: int
    seed: int
    splits: dict[str, Split]
    skipped: tuple[dict[str, str], ...] = ()
    settings: Optional[dict[str, Any]] = None
    format_version: int = FORMAT_VERSION

    def split(self, name: str) -> Split:
        """One split by name.

        Raises:
          UserError: there is no such split; the sentence lists those there are.
        """
        if name not in self.splits:
            raise UserError(
                f"There is no split {name!r} in this data set; it has {', '.join(self.splits)}."
            )
        return self.splits[name]


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
                f"{path} has format version {raw['format_version']}, this cloudtf reads "
                f"{FORMAT_VERSION}; convert the photographs again."
            )
        splits = {
            name: Split(
                name=name,
                num_examples=int(split["num_examples"]),
                class_counts=dict(split["class_counts"]),
                combination_counts=dict(split.get("combination_counts", {})),
                shards=tuple(
                    Shard(s["name"], int(s["num_examples"]), int(s["num_bytes"]), s["sha256"])
                    for s in split["shards"]
                ),
            )
            for name, split in raw["splits"].items()
        }
        return Manifest(
            classes=tuple(raw["classes"]),
            image_height=int(raw["image_height"]),
            image_width=int(raw["image_width"]),
            jpeg_quality=int(raw["jpeg_quality"]),
            seed=int(raw["seed"]),
            splits=splits,
            skipped=tuple(raw["skipped"]),
            settings=raw.get("settings"),
        )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise UserError(
            f"{path} is damaged ({type(error).__name__}: {error}); convert the photographs again."
        ) from error


def write_manifest(data_dir: str, manifest: Manifest) -> None:
    """Writes `dataset.json` whole or not at all."""
    raw = dataclasses.asdict(manifest)
    for split in raw["splits"].values():
        del split["name"]
    files.write_json(files.join(data_dir, MANIFEST_NAME), raw)


def check_shards(
    data_dir: str, manifest: Manifest, split_names: Optional[Iterable[str]] = None
) -> None:
    """A quick look, for the start of a run, whether all shards are there and of the right length.

    Args:
      data_dir: the folder of the shards.
      manifest: of that folder.
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
        lengths = (pool if files.is_remote(data_dir) else builtins).map(_length, paths)
        for shard, path, found in zip(shards, paths, lengths):
            if found is None:
                yield shard.name, f"The shard {path} is missing; run `cloudtf convert` again."
            elif found != shard.num_bytes:
                yield (
                    shard.name,
                    f"The shard {path} has {found:,} bytes, {MANIFEST_NAME} says "
                    f"{shard.num_bytes:,}; run `cloudtf convert` again.",
                )


def _length(path: str) -> Optional[int]:
    """The length of a file; None if there is none."""
    return files.size(path) if files.exists(path) else None
