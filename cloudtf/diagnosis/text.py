"""Numbers and tables as text."""

from __future__ import annotations

from typing import Any, Iterable, Sequence


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


def number(value: float) -> str:
    """A rate with three or four significant digits."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"
