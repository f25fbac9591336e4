"""What a conversion says in the end of the set that it made."""

from __future__ import annotations

from typing import Callable, Iterator

from cloudtf.data import records, selection
from cloudtf.text import extremes, listed


def tables(manifest: records.Manifest) -> Iterator[str]:
    """Lines of tables, narrow enough for 40 columns: the splits, their classes, what is unknown.

    Args:
      manifest: the content of `dataset.json`.
    """
    yield f"{'split':<10}{'examples':>10}{'shards':>8}{'MB':>9}"
    for split in manifest.splits.values():
        megabytes = sum(shard.num_bytes for shard in split.shards) / 1e6
        yield (
            f"{split.name:<10}{split.num_examples:>10,}{len(split.shards):>8,}{megabytes:>9,.1f}"
        )
    if manifest.classes:
        yield from _class_table(manifest, "class", lambda split: split.class_counts)
    if manifest.has_unknown:
        yield from _class_table(manifest, "unknown", lambda split: split.unknown_counts)
    yield from depths(manifest)
    unreadable = [entry for entry in manifest.skipped if "shard" in entry]
    if unreadable:
        shown = "; ".join(f"{e['file']!r}: {e['reason']}" for e in unreadable[: selection.SHOWN])
        more = len(unreadable) - selection.SHOWN
        yield (
            f"Skipped {len(unreadable)} images that cannot be used: {shown}"
            f"{f'; and {more} more' if more > 0 else ''}."
        )
    if manifest.skipped:
        yield f"{records.MANIFEST_NAME} lists all {len(manifest.skipped)} that were skipped."


def depths(manifest: records.Manifest) -> Iterator[str]:
    """Sentences on the photographs whose values have more bits than the records keep.

    Args:
      manifest: the content of `dataset.json`.
    """
    found = records.added(split.depths for split in manifest.splits.values())
    for bits, count in sorted(found.items(), key=lambda item: int(item[0])):
        if bits != "8":
            yield (
                f"{count:,} photograph{'s have' if count > 1 else ' has'} values of {bits} bits, "
                "of which the records have the upper 8."
            )


def classes_missing(manifest: records.Manifest) -> Iterator[str]:
    """Sentences on the splits without any image of a class that another split has.

    Args:
      manifest: the content of `dataset.json`.
    """
    number_of = 0
    for split in manifest.splits.values():
        missing = {
            name: sum(other.class_counts[name] for other in manifest.splits.values())
            for name in manifest.classes
            if not split.class_counts[name]
        }
        missing = {name: count for name, count in missing.items() if count}
        number_of += bool(missing)
        if missing and number_of <= selection.SHOWN:
            each = listed(f"{name} ({count:,} in all)" for name, count in missing.items())
            yield f"No image of {split.name} shows {each}: nothing can be said of it there."
    if number_of > selection.SHOWN:
        yield f"{number_of - selection.SHOWN} more splits have no image of some class."


def _class_table(
    manifest: records.Manifest, heading: str, counts_of: Callable[[records.Split], dict[str, int]]
) -> Iterator[str]:
    counts = {
        name: [counts_of(split).get(name, 0) for split in manifest.splits.values()]
        for name in manifest.classes
    }
    rarest, commonest = extremes({name: sum(each) for name, each in counts.items()})
    width = max(10, *(len(name) + 1 for name in [*rarest, *commonest]))
    yield f"{heading:<{width}}" + "".join(f"{name:>9}" for name in manifest.splits)
    for names in (rarest, commonest):
        for name in names:
            yield f"{name:<{width}}" + "".join(f"{count:>9,}" for count in counts[name])
        if names is rarest and commonest:
            more = len(counts) - len(rarest) - len(commonest)
            yield f"... {more:,} more classes, all of them in {records.MANIFEST_NAME} ..."
