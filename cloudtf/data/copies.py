"""Copies of photographs in a conversion: looked for when all are converted, kept in one split.

Which split an image goes to is decided before any is read. Only where copies then turn out to be in
two splits are the records dealt out again: they are copied, as they are, to the shards of another
plan.
"""

from __future__ import annotations

from typing import Iterator, Mapping, Optional, Sequence

import numpy as np

from cloudtf import bars, files
from cloudtf.data import likeness, near_duplicates, records, shards, stored, tfrecord
from cloudtf.errors import UserError

_NOTE = 1 + likeness.SIDE**2  # The bytes of a record's note in `shards.SKETCHES`.


def known(data_dir: str, names: Sequence[str]) -> Optional[list[list[int]]]:
    """The groups of copies that a set lists which is there already.

    Args:
      data_dir: the folder of the set.
      names: the files of the photographs.

    Returns:
      Indices of photographs; None where there is no manifest.
    """
    if not files.exists(files.join(data_dir, records.MANIFEST_NAME)):
        return None
    index_of = {name: index for index, name in enumerate(names)}
    groups = records.read_manifest(data_dir).near_duplicates
    there = ([index_of[name] for name in group if name in index_of] for group in groups)
    return [group for group in there if len(group) > 1]


def found(groups: Sequence[Sequence[str]]) -> str:
    """A sentence on the copies that were found; `groups`: the files of each photograph."""
    copies = sum(map(len, groups)) - len(groups)
    original, copy = groups[0][:2]
    which = f"{copy!r} of {original!r}"
    if copies == 1:
        return f"A photograph is a copy of another ({which}); {records.MANIFEST_NAME} says so too."
    return (
        f"{copies:,} photographs are copies of others, such as {which}; "
        f"{records.MANIFEST_NAME} lists them."
    )


def divided(groups: Sequence[Sequence[tuple[str, str]]], fix: str = "") -> list[str]:
    """A sentence on the copies that are in another split than their original, if there are any.

    Args:
      groups: for each photograph of a group of copies its file and its split.
      fix: a sentence that follows, in place of what is usual.
    """
    some = [group for group in groups if len({split for _, split in group}) > 1]
    if not some:
        return []
    file, split = some[0][0]
    other, other_split = next(one for one in some[0] if one[1] != split)
    many = "A photograph has a copy" if len(some) == 1 else f"{len(some):,} photographs have copies"
    return [
        f"{many} in another split: {file!r} in {split} and {other!r} in {other_split}"
        f"{', for one' * (len(some) > 1)}. "
        f"{fix or 'Scores there say less of new photographs than they seem to.'}"
    ]


def find(
    data_dir: str,
    plans: Sequence[shards.ShardPlan],
    written: Mapping[str, shards.Written],
    names: Sequence[str],
) -> list[list[int]]:
    """The groups of photographs that are copies of one, in shards that are all in place.

    Args:
      data_dir: the folder of the shards and of their sketches.
      plans: every shard of the set, with the indices of its examples.
      written: shard -> what is in place; `skipped` by file.
      names: the files of the photographs, which the indices in `plans` stand for.

    Returns:
      Indices of photographs, two or more in a group.
    """
    indices, notes, places = [], [], []
    for plan in plans:
        kept = _kept(plan, written, names)
        indices += kept
        notes.append(_notes(data_dir, written[plan.name].shard)[:, 1:])
        places += [files.join(data_dir, plan.name)] * len(kept)
    sketches = np.concatenate(notes).reshape(-1, likeness.SIDE, likeness.SIDE)
    # In the order of the table, so that the result does not depend on the plan.
    order = np.argsort(indices)
    paths = [places[number] for number in order]
    within = np.concatenate([np.arange(len(note)) for note in notes])[order]
    groups = near_duplicates.find(sketches[order], stored.reader(paths, within.tolist()))
    return [[indices[order[number]] for number in group] for group in groups]


def find_in_records(
    data_dir: str, splits: Mapping[str, Sequence[records.Shard]]
) -> list[list[tuple[str, str]]]:
    """The same in a set that is there, from its records.

    Args:
      data_dir: the folder of the records.
      splits: split -> those of its shards that are read.

    Returns:
      For each photograph of a group its file and its split.

    Raises:
      UserError: a shard cannot be read.
    """
    known, sketches, places = [], [], []
    shard_list = [(split, shard) for split, some in splits.items() for shard in some]
    total = sum(shard.num_examples for _, shard in shard_list)
    with bars.bar("copies", total, "images") as bar:
        for split, shard in shard_list:
            path = files.join(data_dir, shard.name)
            for number, record in enumerate(stored.contents(path)):
                try:
                    name = tfrecord.bytes_of(record, records.FILENAME).decode()
                    image = stored.image(record)
                except ValueError as error:
                    raise UserError(f"A record of {path} is damaged: {error}.") from error
                known.append((name, split))
                sketches.append(likeness.sketch(image))
                places.append((path, number))
                bar.update(1)
    if not sketches:
        return []
    paths, within = zip(*places)
    groups = near_duplicates.find(np.stack(sketches), stored.reader(paths, within))
    return [[known[number] for number in group] for group in groups]


def deal_again(
    data_dir: str,
    before: Sequence[shards.ShardPlan],
    after: Sequence[shards.ShardPlan],
    written: Mapping[str, shards.Written],
    names: Sequence[str],
) -> list[shards.Written]:
    """Puts the records of one plan into the shards of another; nothing is converted anew.

    Killed half-way, it leaves shards of which a journal says that they are not its own, and which
    are then made anew.

    Args:
      data_dir: the folder of the shards.
      before: the plan of the shards that are in place.
      after: the plan of those to be, with the same examples.
      written: shard -> what is in place; `skipped` by file.
      names: the files of the photographs, which the indices stand for.

    Returns:
      The shards of `after`, all in place; `skipped` by file.
    """
    place_of: dict[int, tuple[stored.Place, int]] = {}
    reasons: dict[str, str] = {}
    for plan in before:
        path = files.join(data_dir, plan.name)
        kept = _kept(plan, written, names)
        depths = _notes(data_dir, written[plan.name].shard)[:, 0].tolist()
        places = stored.places(path)
        place_of.update(zip(kept, zip(places, depths)))
        reasons.update(written[plan.name].skipped)

    def outcomes(plan: shards.ShardPlan) -> Iterator[shards.Outcome]:
        for index in plan.examples:
            if index not in place_of:
                yield shards.Outcome(None, reasons[names[index]])
                continue
            place, depth = place_of[index]
            yield shards.Outcome(stored.frame(place), depth=depth)

    folder = files.join(data_dir, shards.DEALT_AGAIN)
    if files.is_dir(folder):
        files.remove_tree(folder)
    files.make_dirs(folder)
    result = []
    total = sum(len(plan.examples) for plan in after)
    with bars.bar("deal", total, "images") as bar:
        for plan in after:
            made = shards.write_one(folder, plan, outcomes(plan), bar.update)
            skipped = {names[index]: reason for index, reason in made.skipped.items()}
            result.append(shards.Written(made.shard, skipped))
    for plan in before:
        files.remove(files.join(data_dir, plan.name))
    for plan in after:
        files.move(files.join(folder, plan.name), files.join(data_dir, plan.name))
    return result


def _kept(
    plan: shards.ShardPlan, written: Mapping[str, shards.Written], names: Sequence[str]
) -> list[int]:
    """The examples of a shard that are in it, in their order."""
    return [i for i in plan.examples if names[i] not in written[plan.name].skipped]


def _notes(data_dir: str, shard: records.Shard) -> np.ndarray:
    """What is noted of each record of a shard: uint8 [records, 1 + 32 * 32]."""
    path = files.join(data_dir, shards.SKETCHES, shard.name)
    if files.exists(path):
        noted = files.read_bytes(path)
        if len(noted) == _NOTE * shard.num_examples:
            notes = np.frombuffer(noted, np.uint8).reshape(-1, _NOTE)
            if (notes[:, 0] >= 8).all():  # Not zeros in place of what a crash has lost.
                return notes
    # Written by a version that noted nothing.
    depths = [int(depth) for depth, count in shard.depths.items() for _ in range(count)]
    notes = np.full((shard.num_examples, _NOTE), 8, np.uint8)
    notes[: len(depths), 0] = depths
    for note, record in zip(notes, stored.contents(files.join(data_dir, shard.name))):
        note[1:] = likeness.sketch(stored.image(record)).ravel()
    return notes
