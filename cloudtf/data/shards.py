"""Shards: how examples are dealt out to files, and writing the files whole and in parallel."""

from __future__ import annotations

import collections
import dataclasses
import hashlib
import itertools
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Callable, Iterable, Iterator, Optional

from cloudtf import files, machine
from cloudtf.data import records, tfrecord

MAX_SHARD_BYTES = 100_000_000
# The folder, beside the shards while a conversion runs, of a file a shard: for each of its records
# the depth of the photograph, a byte, and its sketch. It is there where sketches are made.
SKETCHES = ".convert_sketches"
# The folder for shards that are dealt out again, until all of them are whole.
DEALT_AGAIN = ".convert_dealt_again"
# Eight readers or workers find a shard each, if that leaves a shard as many examples.
USUAL_SHARDS = 8
# Shards that a training pipeline reads at once, where there are so many.
READERS = 16
# The names of shards: split, number, count.
NAME_PATTERN = r"[\w-]+-\d{5}-of-\d{5}\.tfrecord"

# Images that a thread makes at once, fewer towards the end so that no thread waits for long. Their
# checksums come together, at the end: the tables of `tfrecord.crc32c_by_tables` fall out of
# the cache with each photograph, and then it takes 4 times as long.
_CHUNK = 8


@dataclasses.dataclass(frozen=True)
class ShardPlan:
    """A shard before it is written: its name and the indices of its examples, in order."""

    name: str
    split: str
    examples: tuple[int, ...]


@dataclasses.dataclass(frozen=True)
class Outcome:
    """What came of one example.

    Attributes:
      record: the serialised example; None if it was left out.
      reason: one phrase why it was.
      depth: bits of a value in the photograph, at least 8; None where that is not known.
      sketch: the photograph in 32 x 32 grey bytes, where its copies are looked for.
    """

    record: Optional[bytes]
    reason: str = ""
    depth: Optional[int] = None
    sketch: bytes = b""


@dataclasses.dataclass(frozen=True)
class Written:
    """A shard that is in place.

    Attributes:
      shard: its entry in the manifest.
      skipped: index (in a journal the file) of each example left out -> the reason.
    """

    shard: records.Shard
    skipped: dict[Any, str]


def plan(split: str, examples: Iterable[int], num_shards: int, bytes_each: int) -> list[ShardPlan]:
    """Deals examples out in order to shards whose lengths differ by one at most.

    Args:
      split: the split's name, the first part of the file names.
      examples: their indices in the order in which they are stored.
      num_shards: 0 for as many as keep a shard under 100 MB, but 8 where there are at least 8
        examples for each; never more than there are examples.
      bytes_each: about how long a record is.
    """
    examples = tuple(int(i) for i in examples)
    if num_shards == 0:
        needed = -(-len(examples) * bytes_each // MAX_SHARD_BYTES)
        num_shards = max(needed, min(USUAL_SHARDS, len(examples) // USUAL_SHARDS), 1)
    num_shards = max(1, min(num_shards, len(examples)))
    edges = [len(examples) * i // num_shards for i in range(num_shards + 1)]
    return [
        ShardPlan(f"{split}-{i:05d}-of-{num_shards:05d}.tfrecord", split, examples[a:b])
        for i, (a, b) in enumerate(zip(edges, edges[1:]))
    ]


def write(
    data_dir: str,
    plans: Iterable[ShardPlan],
    make: Callable[[int], Outcome],
    workers: int,
    progress: Callable[[int], object],
) -> Iterator[Written]:
    """Writes shards one after the other, while `workers` threads make the examples ahead.

    A shard is written under a temporary name and moved into place when it is whole. Only some
    examples for each worker are held in memory.

    Args:
      data_dir: the folder of the shards.
      plans: the shards to write.
      make: index of an example -> its record. Called from many threads.
      workers: the number of threads, at least 1.
      progress: called with 1 after each example.

    Yields:
      Each shard when it is in place, in order.

    Raises:
      UserError: from `make`, or a file cannot be written.
    """
    plans = list(plans)
    with ThreadPoolExecutor(workers, thread_name_prefix="convert") as pool:
        indices = list(itertools.chain.from_iterable(p.examples for p in plans))
        chunks = _chunks(indices, workers)

        def make_chunk(chunk: list[int]) -> list[Outcome]:
            outcomes = [make(index) for index in chunk]
            return [
                o if o.record is None else dataclasses.replace(o, record=tfrecord.frame(o.record))
                for o in outcomes
            ]

        made = machine.map_ahead(pool, make_chunk, chunks, 4 * workers)
        outcomes = itertools.chain.from_iterable(made)
        try:
            for shard_plan in plans:
                yield write_one(data_dir, shard_plan, outcomes, progress)
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


def _chunks(indices: list[int], workers: int) -> Iterator[list[int]]:
    done = 0
    while done < len(indices):
        length = max(1, min(_CHUNK, (len(indices) - done) // (4 * workers)))
        yield indices[done : done + length]
        done += length


def write_one(
    data_dir: str,
    shard_plan: ShardPlan,
    outcomes: Iterator[Outcome],
    progress: Callable[[int], object],
) -> Written:
    """Writes one shard, whole, from the outcomes of its examples, whose records are framed.

    Args:
      data_dir: the folder of the shard.
      shard_plan: its name and its examples.
      outcomes: what came of each of them, in order; may go on with others'.
      progress: called with 1 after each example.
    """
    digest, length, skipped = hashlib.sha256(), 0, {}
    depths: collections.Counter[str] = collections.Counter()
    notes = []
    target = files.join(data_dir, shard_plan.name)
    with files.replacing(target) as temporary, open(temporary, "w+b") as file:
        for index in shard_plan.examples:
            outcome = next(outcomes)
            progress(1)
            if outcome.record is None:
                skipped[index] = outcome.reason
                continue
            file.write(outcome.record)
            digest.update(outcome.record)
            length += len(outcome.record)
            if outcome.depth is not None:
                depths[str(outcome.depth)] += 1
            if outcome.sketch:
                notes.append(bytes([outcome.depth or 8]) + outcome.sketch)
        if notes:
            # Before the shard is in place, so that none is there without its sketches; one that a
            # crash of the machine has cut is made anew from the records.
            files.make_dirs(files.join(data_dir, SKETCHES))
            notes_path = files.join(data_dir, SKETCHES, shard_plan.name)
            files.write_bytes(notes_path, b"".join(notes), lasting=False)
        crcs = tfrecord.edge_crcs(file, length)
    kept = len(shard_plan.examples) - len(skipped)
    shard = records.Shard(shard_plan.name, kept, length, digest.hexdigest(), crcs, dict(depths))
    return Written(shard, skipped)
