"""Which fonts draw a text: matplotlib's own has Latin, Greek and Cyrillic, but not every script."""

from __future__ import annotations

import functools
from typing import Any, Optional

_DEFAULT = "DejaVu Sans"


def families(text: str) -> Optional[list[str]]:
    """The font families that have every character of a text between them.

    Args:
      text: what will be drawn; spaces and line breaks are in every font.

    Returns:
      matplotlib's own font, and after it as many of those installed as it takes; None where a
      character is in none of them.
    """
    missing = frozenset(ord(c) for c in text if not c.isspace()) - _characters(_default_path())
    return [_DEFAULT, *found] if (found := _others(missing)) is not None else None


@functools.lru_cache(maxsize=256)
def _others(missing: frozenset[int]) -> Optional[tuple[str, ...]]:
    if not missing:
        return ()
    from matplotlib import font_manager

    found = []
    for entry in sorted(font_manager.fontManager.ttflist, key=lambda entry: entry.fname):
        if entry.name.startswith("Last Resort"):
            continue  # It has a box for every character there is.
        here = missing & _characters(entry.fname)
        if here:
            found.append(entry.name)
            missing -= here
        if not missing:
            return tuple(found)
    return None


def _default_path() -> str:
    from matplotlib import font_manager

    return font_manager.findfont(_DEFAULT)


@functools.cache
def _characters(path: str) -> frozenset[int]:
    """The code points of a font; none of one that cannot be drawn (bitmaps, as emoji are)."""
    from matplotlib import ft2font

    try:
        font: Any = ft2font.FT2Font(path)
        font.set_size(12, 100)
        found = font.get_charmap()
        font.load_char(next(iter(found)))
    except (RuntimeError, OSError, ValueError, StopIteration):
        return frozenset()
    return frozenset(found)
