"""Checks of a data set: its manifest, its shards, and whether it fits into memory."""

from __future__ import annotations

import re
from typing import Collection, Iterator, Optional, Sequence

from cloudtf import files, machine
from cloudtf.data import copies, records, shards, verify
from cloudtf.diagnosis.findings import Sheet
from cloudtf.errors import param
from cloudtf.pipeline.cache import WORDS, Cache, room_for
from cloudtf.text import listed, number


def check_manifest(sheet: Sheet, data_dir: str) -> Optional[records.Manifest]:
    """Reads `dataset.json` and looks for what contradicts itself; None if it cannot be read."""
    manifest = sheet.attempt(lambda: records.read_manifest(data_dir))
    if manifest is None:
        return None
    total = sum(split.num_examples for split in manifest.splits.values())
    parts = ", ".join(f"{name} {s.num_examples:,}" for name, s in manifest.splits.items())
    sheet.ok(
        f"{total:,} examples of {manifest.image_width}x{manifest.image_height} ({parts}), "
        f"{len(manifest.classes)} classes"
    )
    for contradiction in _contradictions(data_dir, manifest):
        sheet.wrong(contradiction)
    return manifest


def _contradictions(data_dir: str, manifest: records.Manifest) -> Iterator[str]:
    path = files.join(data_dir, records.MANIFEST_NAME)
    again = f"convert again with {param(overwrite=True)}"
    for split in manifest.splits.values():
        uncounted = [name for name in manifest.classes if name not in split.class_counts]
        if split.class_counts and uncounted:
            yield f"{path} does not count {listed(uncounted)} in {split.name}; {again}."
        for name, count in split.class_counts.items():
            if count > split.num_known(name):
                labelled = " with a known label" if name in split.unknown_counts else ""
                yield (
                    f"{path} counts {count} of {name} in the {split.num_known(name)} examples of "
                    f"{split.name}{labelled}; {again}."
                )
        combinations = sum(split.combination_counts.values())
        if split.combination_counts and combinations != split.num_examples:
            yield (
                f"{path} counts {combinations} examples by their label combination in "
                f"{split.name}, which has {split.num_examples}; {again}."
            )


def check_shards(
    sheet: Sheet, data_dir: str, manifest: records.Manifest, how_many: Optional[int], deep: bool
) -> None:
    """Checks the shards: all for length, and every byte and record of all or some.

    Args:
      sheet: the report, to which all findings are added.
      data_dir: the folder of the records.
      manifest: the content of `dataset.json` in that folder.
      how_many: the number of shards that are read whole; None: all.
      deep: whether records are read, for which TensorFlow must be installed.
    """
    all_shards = [shard for split in manifest.splits.values() for shard in split.shards]
    bad = set()
    before = sheet.wrong_count
    for name, problem in records.shard_problems(data_dir, manifest):
        bad.add(name)
        sheet.wrong(problem)
    if sheet.wrong_count == before:
        size = sum(shard.num_bytes for shard in all_shards)
        sheet.ok(
            f"{len(all_shards)} shards are there, {number(size / 1e6)} MB, as long as they say"
        )
    _check_strays(sheet, data_dir, {shard.name for shard in all_shards})
    chosen = {shard.name for shard in evenly(all_shards, how_many)}
    if len(chosen) < len(all_shards):
        unread = len(all_shards) - len(chosen)
        sheet.note(f"{unread} shards were not read ({param('check_shards')}).")
    if not deep or not chosen:
        return
    left_out = bad | {shard.name for shard in all_shards if shard.name not in chosen}
    before = sheet.wrong_count
    for damage in verify.problems(data_dir, manifest, leave_out=left_out):
        (sheet.note if damage.harmless else sheet.wrong)(damage.sentence)
    read = sum(shard.num_examples for shard in all_shards if shard.name not in left_out)
    if sheet.wrong_count == before and read:
        sheet.ok(f"{read:,} records agree with their checksums, labels and sizes")


def evenly(all_shards: Sequence[records.Shard], how_many: Optional[int]) -> list[records.Shard]:
    """So many shards from first to last, at equal distances; all for None."""
    if how_many is None or how_many >= len(all_shards):
        return list(all_shards)
    return [all_shards[i * len(all_shards) // how_many] for i in range(how_many)]


def check_copies(
    sheet: Sheet, data_dir: str, manifest: records.Manifest, how_many: Optional[int]
) -> None:
    """Whether photographs have copies (turned, cropped, encoded anew) in another split.

    Args:
      sheet: the report, to which the findings are added.
      data_dir: the folder of the records.
      manifest: the content of `dataset.json` in that folder.
      how_many: the number of shards that are read; None: all.
    """
    if len(manifest.splits) < 2:
        return
    chosen = evenly(
        [shard for split in manifest.splits.values() for shard in split.shards], how_many
    )
    names = {shard.name for shard in chosen}
    groups = sheet.attempt(
        lambda: copies.find_in_records(
            data_dir,
            {
                split.name: [shard for shard in split.shards if shard.name in names]
                for split in manifest.splits.values()
            },
        )
    )
    if groups is None:
        return
    fix = (
        f"Convert again with {param(near_duplicates='together')}, which keeps copies in one split."
    )
    told = copies.divided(groups, fix)
    for sentence in told:
        sheet.note(sentence)
    if chosen and not told:
        sheet.ok("No photograph that was read has a copy in another split")


def _check_strays(sheet: Sheet, data_dir: str, known: Collection[str]) -> None:
    strays = [
        name
        for name in files.list_dir(data_dir)
        if re.fullmatch(shards.NAME_PATTERN, name) and name not in known
    ]
    if strays:
        sheet.note(
            f"{len(strays)} shards in {data_dir} are not in {records.MANIFEST_NAME} and are not "
            f"used, such as {strays[0]}; remove them if they are old."
        )


def check_cache(
    sheet: Sheet, manifest: records.Manifest, splits: Sequence[records.Split], wanted: str
) -> dict[str, str]:
    """Whether what is to be kept in memory fits there.

    Args:
      sheet: the report, to which the findings are added.
      manifest: the content of `dataset.json`.
      splits: the splits that are kept, in the order in which they are loaded.
      wanted: the setting `cache`: `auto`, `none`, `encoded` or `decoded`.

    Returns:
      Split name -> `none`, `encoded` or `decoded`.
    """
    free = machine.free_bytes()
    cache, needed = Cache("", manifest, wanted, room_for(free)), 0.0
    for split in splits:
        way, before = cache.way(split), needed
        needed = cache.num_bytes
        sheet.ok(f"{split.name}: {WORDS[way]}, {number((needed - before) / 1e6)} MB")
    if needed > free:
        sheet.wrong(
            f"{param(cache=wanted)} needs {needed / 1e9:.1f} GB, and {free / 1e9:.1f} GB are free; "
            f"use {param(cache='auto')}, which takes what fits."
        )
    return cache.ways
