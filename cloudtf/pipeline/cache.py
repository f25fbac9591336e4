"""What is kept in memory of a data set (pixels, JPEG or nothing), how much fits, and its checks.

What is kept is known by its shards, so that nothing is decided or loaded twice: not for a worker's
part of a split, and not for some of that part. (TensorFlow is imported with the first table only:
settings name the choices here, and `--help` must be quick.)
"""

from __future__ import annotations

import dataclasses
import math
from typing import TYPE_CHECKING, Callable, NamedTuple, Optional

from cloudtf import machine
from cloudtf.data import records

if TYPE_CHECKING:
    from cloudtf.pipeline.tables import Table

CACHES = ("auto", "none", "encoded", "decoded")
WORDS = {
    "none": "read from disk each epoch",
    "encoded": "kept in memory as JPEG",
    "decoded": "kept in memory as pixels",
}
# Share of the memory free at the start that may be taken; the rest is for the model, its gradients
# and the batches under way.
SHARE_OF_FREE_MEMORY = 0.4


def room_for(free_bytes: float, processes: int = 1) -> int:
    """Bytes that one of several processes on a machine may keep records in.

    Args:
      free_bytes: free memory of the machine, before any of them keeps something.
      processes: the number of processes that share the memory.
    """
    return int(free_bytes * SHARE_OF_FREE_MEMORY) // processes


def fitting(
    num_examples: int, record_bytes: float, image_bytes: int, room: float
) -> dict[str, float]:
    """The ways to keep examples that fit, the fastest first.

    Args:
      num_examples: the number of examples to keep.
      record_bytes: the length of all their records together.
      image_bytes: the bytes of one decoded image, height x width x 3.
      room: the bytes that may be taken.

    Returns:
      The bytes that each way takes: of `decoded`, `encoded` and `none` those that fit.

    >>> fitting(num_examples=10, record_bytes=5_000, image_bytes=3_000, room=29_999)
    {'encoded': 5000, 'none': 0}
    """
    every = {"decoded": num_examples * image_bytes, "encoded": record_bytes, "none": 0}
    return {way: needed for way, needed in every.items() if needed <= room}


class Rows(NamedTuple):
    """Examples that are in memory.

    Attributes:
      table: the table that holds them, perhaps among others.
      first: the table's row with the first of them; the others follow.
    """

    table: Table
    first: int


@dataclasses.dataclass(eq=False)
class _Kept:
    """How some shards are kept.

    Attributes:
      split: the shards, as a split or a part of one.
      way: `none`, `encoded` or `decoded`.
      num_bytes: the bytes of memory that they take, once loaded.
      table: their examples in memory; None until they are needed.
    """

    split: records.Split
    way: str
    num_bytes: float
    table: Optional[Table] = None


class Cache:
    """What is kept in memory of one data set.

    Splits, and parts of them, share the room in the order in which they are first asked for. What
    is a part of something that is kept takes none.

    Args:
      data_dir: the folder of the records.
      manifest: the content of `dataset.json` in that folder.
      wanted: `auto`, or how to keep everything: `none`, `encoded` or `decoded`.
      room: bytes that `auto` may take; see `room_for`.
    """

    def __init__(self, data_dir: str, manifest: records.Manifest, wanted: str, room: int) -> None:
        self._data_dir, self._manifest = data_dir, manifest
        self._wanted, self._room = wanted, float(room)
        self._kept: list[_Kept] = []
        self._columns: dict[tuple[records.Shard, ...], Table] = {}
        self._on_disk: set[records.Shard] = set()
        self._compared: set[tuple[records.Shard, ...]] = set()

    @property
    def ways(self) -> dict[str, str]:
        """How each split or part asked for so far is kept: `none`, `encoded` or `decoded`."""
        return {kept.split.name: kept.way for kept in self._kept}

    @property
    def num_bytes(self) -> float:
        """Bytes of memory that all splits and parts asked for so far take, once loaded."""
        return sum(kept.num_bytes for kept in self._kept)

    def describe(self) -> str:
        """What is kept in memory, in one line."""
        return "; ".join(f"{name} {WORDS[way]}" for name, way in self.ways.items())

    def way(self, split: records.Split) -> str:
        """How some shards are kept: `none`, `encoded` or `decoded`; decided at the first call."""
        return self._keep(split).way

    def settle(self, split: records.Split, least: Callable[[int], int]) -> None:
        """Makes all workers keep what they train on alike: it decides on the order of examples.

        Args:
          split: what this worker trains on; all workers must call this.
          least: gives the least of a number over all workers.
        """
        kept = self._keep(split)
        way = CACHES[least(CACHES.index(kept.way))]
        if way != kept.way:
            self._forget([kept] if kept.split.shards == split.shards else [])
            self._decide(split, way)

    def keep_on_disk(self, split: records.Split) -> None:
        """Keeps shards out of memory from now on, also those that are there already.

        Batches that were made before stay as they are, and hold what they need.
        """
        self._on_disk.update(split.shards)
        self._forget([k for k in self._kept if self._on_disk.issuperset(k.split.shards)])

    def rows(self, split: records.Split) -> Rows:
        """The examples of shards that are kept in memory, loaded at the first call.

        Raises:
          UserError: naming the shard or image that is damaged.
        """
        kept = self._keep(split)
        if kept.table is None:
            kept.table = self._load(kept.split, kept.way)
        return Rows(kept.table, _rows_before(kept.split, split))

    def columns(self, split: records.Split) -> Rows:
        """The names and labels of shards, without images where they are not in memory anyway.

        Raises:
          UserError: naming the shard that is damaged.
        """
        for kept in self._kept:
            if kept.table is not None and _holds(kept.split, split):
                return Rows(kept.table, _rows_before(kept.split, split))
        if split.shards not in self._columns:
            self._columns[split.shards] = self._load(split, "none")
        return Rows(self._columns[split.shards], 0)

    def check_streamed(self, split: records.Split) -> None:
        """Compares shards that stay on disk with their checksums, once and for a short time.

        Raises:
          UserError: naming the shard or record that is damaged, or not the one that was converted.
        """
        from cloudtf.pipeline import damage

        if split.shards not in self._compared:
            manifest = self._manifest
            shape = (manifest.image_height, manifest.image_width)
            damage.check_whole_shards(
                self._data_dir, split, len(manifest.classes), shape, manifest.has_unknown
            )
            self._compared.add(split.shards)

    def _keep(self, split: records.Split) -> _Kept:
        for kept in self._kept:
            if kept.split.shards == split.shards:
                return kept
        if self._on_disk.issuperset(split.shards):
            return self._decide(split, "none")
        for kept in self._kept:
            if kept.way != "none" and _holds(kept.split, split):
                return kept
        if self._wanted != "auto":
            return self._decide(split, self._wanted)
        return self._decide(split, next(iter(self._fitting(split, self._room))))

    def _decide(self, split: records.Split, way: str) -> _Kept:
        kept = _Kept(split, way, self._fitting(split, math.inf)[way])
        self._room -= kept.num_bytes
        self._kept.append(kept)
        return kept

    def _forget(self, forgotten: list[_Kept]) -> None:
        for kept in forgotten:
            self._room += kept.num_bytes
            self._kept.remove(kept)

    def _fitting(self, split: records.Split, room: float) -> dict[str, float]:
        record_bytes = sum(shard.num_bytes for shard in split.shards)
        image_bytes = self._manifest.image_height * self._manifest.image_width * 3
        return fitting(split.num_examples, record_bytes, image_bytes, max(room, 0))

    def _load(self, split: records.Split, way: str) -> Table:
        from cloudtf.pipeline import tables

        manifest, threads = self._manifest, machine.usable_cores()
        shape = None if way == "none" else (manifest.image_height, manifest.image_width)
        table = tables.load_table(
            self._data_dir, split, len(manifest.classes), threads, shape, manifest.has_unknown
        )
        if shape is None:
            return table
        finish = tables.decode_table if way == "decoded" else tables.check_sizes
        return finish(table, *shape, threads)


def _holds(whole: records.Split, part: records.Split) -> bool:
    """Whether the shards of `part` follow one another in `whole`."""
    if not part.shards or part.shards[0] not in whole.shards:
        return False
    first = whole.shards.index(part.shards[0])
    return whole.shards[first : first + len(part.shards)] == part.shards


def _rows_before(whole: records.Split, part: records.Split) -> int:
    """How many examples of `whole` come before those of `part`."""
    first = whole.shards.index(part.shards[0])
    return sum(shard.num_examples for shard in whole.shards[:first])
