"""Numbers, lists and tables as text, within bounds."""

from __future__ import annotations

import math
from typing import Any, Iterable, Mapping, Optional, Sequence

# Of more than twice as many classes, the least and the greatest so many are shown.
MOST_SHOWN = 24


def table(header: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    """A Markdown table; columns after the first are aligned to the right."""
    cells = [[str(cell) for cell in row] for row in (header, *rows)]
    widths = [max(len(row[i]) for row in cells) for i in range(len(header))]
    aligned = [
        "| "
        + " | ".join(c.ljust(w) if not i else c.rjust(w) for i, (c, w) in enumerate(row))
        + " |"
        for row in ([*zip(row, widths)] for row in cells)
    ]
    rule = "|" + "|".join(
        "-" * (w + 2) if not i else "-" * (w + 1) + ":" for i, w in enumerate(widths)
    )
    return "\n".join([aligned[0], rule + "|", *aligned[1:]])


def listed(words: Iterable[str], most: int = 12) -> str:
    """Words joined by commas, so many at most, each cut to a line, for a sentence.

    >>> listed(["Fish", "Flower"])
    'Fish, Flower'
    >>> listed((str(number) for number in range(1000)), most=3)
    '0, 1, 2 and 997 more'
    """
    words = [word if len(word) <= 80 else f"{word[:77]}..." for word in words]
    more = f" and {len(words) - most:,} more" if len(words) > most else ""
    return ", ".join(words[:most]) + more


def extremes(
    values: Mapping[str, Optional[float]], most: int = MOST_SHOWN
) -> tuple[list[str], list[str]]:
    """The names that are worth a line or a picture: all, or the least and the greatest of many.

    Args:
      values: a number by name. Where there are many, a name without one (None or NaN) is left out.
      most: names of each kind.

    Returns:
      All names in their order, and none; of more than `2 * most` the `most` with the least values
      and the `most` with the greatest, from the least to the greatest.

    >>> extremes({"a": 0.5, "b": 0.1, "c": 0.9}, most=1)
    (['b'], ['c'])
    """
    if len(values) <= 2 * most:
        return list(values), []
    known = sorted((v, name) for name, v in values.items() if v is not None and math.isfinite(v))
    names = [name for _, name in known]
    return (names, []) if len(names) <= 2 * most else (names[:most], names[-most:])


def number(value: float) -> str:
    """A rate with three or four significant digits."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def duration(seconds: float) -> str:
    """A length of time, roughly, in at most 7 characters up to a hundred days.

    >>> duration(45), duration(300), duration(6000), duration(300_000)
    ('45 s', '5.0 min', '1.7 h', '3.5 d')
    """
    for size, unit, most in ((1, "s", 99.5), (60, "min", 99.5), (3600, "h", 48)):
        if seconds < most * size:
            decimals = 1 if unit != "s" and seconds < 9.95 * size else 0
            return f"{seconds / size:.{decimals}f} {unit}"
    return f"{seconds / 86_400:.{1 if seconds < 9.95 * 86_400 else 0}f} d"
