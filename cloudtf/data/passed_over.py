"""What of a folder of photographs is passed over, so that nothing is in silence."""

from __future__ import annotations

import collections
import os

from cloudtf.data import sources
from cloudtf.errors import param
from cloudtf.text import listed

# Names that a sentence lists; the others are counted.
_SHOWN = 10


def phrase(found: sources.Listing, recursive: bool = True, are_classes: bool = False) -> str:
    """Counts the files that are no photographs by their names and the folders not looked into.

    Args:
      found: what is in the folder; hidden files are not mentioned.
      recursive: whether the folders inside it were to be looked into.
      are_classes: whether folders are classes, so that one without photographs is mentioned.

    >>> phrase(sources.Listing(["cat", "cat/a.jpg", "cat/b.ppm"], [], [], ["cat"]))
    '1 file of other kinds (1 .ppm)'
    """
    folders = {*found.closed, *found.entered}
    kinds: collections.Counter[str] = collections.Counter()
    for name in found.names:
        last = name.rpartition("/")[2]
        if name not in folders and not sources.is_image_name(name) and not sources.is_hidden(last):
            kind = os.path.splitext(last)[1].lower() or "without extension"
            kinds[kind if kind.isprintable() else ascii(kind)] += 1
    phrases = []
    if kinds:
        each = listed((f"{count:,} {kind}" for kind, count in kinds.most_common()), _SHOWN)
        phrases.append(f"{_count(sum(kinds.values()), 'file')} of other kinds ({each})")
    filled = {""}
    for name in filter(sources.is_image_name, found.names):
        while "/" in name:
            name = name.rpartition("/")[0]
            filled.add(name)
    empty = [
        folder
        for folder in (found.entered if are_classes else ())
        if folder not in filled and folder.rpartition("/")[0] in filled
    ]
    if empty:
        names = listed(map(repr, empty), _SHOWN)
        phrases.append(f"{_count(len(empty), 'folder')} without a photograph ({names})")
    links = found.links if recursive else []
    others = [name for name in found.closed if name not in links]
    for folders_of, why in (
        (others, "too deep" if recursive else f"{param(recursive=True)} takes what is in"),
        (links, f"{param(follow_links=True)} takes what is in"),
    ):
        if folders_of:
            names = listed(map(repr, folders_of), _SHOWN)
            them = "" if why == "too deep" else " it" if len(folders_of) == 1 else " them"
            phrases.append(f"{_count(len(folders_of), 'folder')} ({names}; {why}{them})")
    return " and ".join(phrases)


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"
