"""How workers share a split: by shards where there are enough of them, else by examples."""

from __future__ import annotations

import dataclasses
import itertools

import tensorflow as tf

from cloudtf.data import records


@dataclasses.dataclass(frozen=True)
class Part:
    """Consecutive examples of a split, and the shards that hold them.

    Attributes:
      shards: those shards, as a split.
      first: the number in the whole split of their first example.
      start: the number of the part's first example.
      stop: the number after its last one.
    """

    shards: records.Split
    first: int
    start: int
    stop: int

    @property
    def count(self) -> int:
        """Examples."""
        return self.stop - self.start


@dataclasses.dataclass(frozen=True)
class Plan:
    """Which examples one worker trains on, in which order.

    Attributes:
      part: its examples.
      seed: of their order.
      start: how many examples of the stream are passed over.
      share: (this worker, workers, batches a step each takes) of those who share that stream.
    """

    part: Part
    seed: int
    start: int
    share: tuple[int, int, int]


def plan(spec: records.Split, seed: int, start: int, share: tuple[int, int, int]) -> Plan:
    """One worker's plan.

    Args:
      spec: the split.
      seed: of the run.
      start: how many examples all workers together have passed.
      share: (this worker, workers, batches a step each takes).
    """
    worker, workers, _ = share
    if by_shards(spec, workers):
        part = own_part(spec, worker, workers, spec.num_examples)
        # Or the same examples of all workers would meet in every epoch.
        return Plan(part, seed + (part.start << 32), start // workers, (0, 1, 1))
    return Plan(Part(spec, 0, 0, spec.num_examples), seed, start, share)


def by_shards(spec: records.Split, workers: int) -> bool:
    """Whether each worker reads shards of its own.

    Then the order is each worker's own too; what one worker would see comes in other batches.
    Otherwise each reads everything, and takes its share of the batches that one worker would make.
    """
    return 1 < workers <= min(len(spec.shards), spec.num_examples)


def own_part(spec: records.Split, worker: int, workers: int, count: int) -> Part:
    """One worker's part of the first `count` examples: as many for each, to within one.

    Where a border is not that of a shard, two workers read that shard, and each leaves out what is
    the other's. A shard's border that is nearer than 1% of a part is taken instead: the converter's
    shards differ by one example, and for a few none need be read twice. A split that is not shared
    by shards is there as a whole anyway.
    """
    divided = by_shards(spec, workers)
    firsts = _firsts(spec)

    def border(index: int) -> int:
        even = count * index // workers
        nearest = min(firsts, key=lambda first: abs(first - even))
        near = abs(nearest - even) * workers * 100 <= count
        return nearest if divided and near and 0 < index < workers else even

    start, stop = border(worker), border(worker + 1)
    return _part(spec, start, stop) if divided else Part(spec, 0, start, stop)


def own_examples(
    dataset: tf.data.Dataset, batch_size: int, share: tuple[int, int, int]
) -> tf.data.Dataset:
    """One worker's part of a stream of single examples.

    Of each `workers * batches` consecutive batches a worker gets its own `batches`.
    """
    worker, workers, batches = share
    if workers == 1:
        return dataset
    groups = dataset.batch(batch_size * batches, drop_remainder=True)
    return groups.shard(workers, worker).unbatch()


def describe(spec: records.Split, worker: int, workers: int) -> str:
    """What one worker reads, in one line."""
    name, total = f"Worker {worker} of {workers}", len(spec.shards)
    if by_shards(spec, workers):
        own = len(own_part(spec, worker, workers, spec.num_examples).shards.shards)
        return f"{name} reads its own {own} of the {total} shards"
    shards = f"{total} shards are" if total > 1 else "one shard is"
    return f"{name} takes its share of all records: {shards} too few to divide"


def _part(spec: records.Split, start: int, stop: int) -> Part:
    """The examples `start` to `stop`, which may be none, and their shards."""
    firsts = _firsts(spec)
    # Of an empty part too there is a shard, since a table must have rows.
    used = [
        i
        for i in range(len(spec.shards))
        if firsts[i] < max(stop, start + 1) and firsts[i + 1] > start
    ]
    low, high = used[0], used[-1] + 1
    if high - low < len(spec.shards):
        spec = dataclasses.replace(
            spec,
            name=f"{spec.name} (shards {low + 1} to {high} of {len(spec.shards)})",
            num_examples=firsts[high] - firsts[low],
            class_counts={},
            combination_counts={},
            shards=spec.shards[low:high],
        )
    return Part(spec, firsts[low], start, stop)


def _firsts(spec: records.Split) -> list[int]:
    """The number of each shard's first example, and of one more after the last."""
    return [0, *itertools.accumulate(shard.num_examples for shard in spec.shards)]
