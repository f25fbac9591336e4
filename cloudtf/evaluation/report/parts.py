"""What the sections of a report are made of: tables, figures and numbers, all escaped."""

from __future__ import annotations

import base64
import io
import math
import struct
from html import escape
from typing import Any, Mapping, Optional, Sequence

import numpy as np

from cloudtf import files
from cloudtf.errors import UserError

DASH = "–"
# Columns whose names fit above a column, on wide screens.
_MOST_NAMED = 6


def section(heading: str, body: str) -> str:
    """A part of the page under a heading."""
    return f"<section>\n<h2>{escape(heading)}</h2>\n{body}\n</section>"


def note(text: str) -> str:
    """A paragraph that explains what stands beside it."""
    return f'<p class="soft">{escape(text)}</p>'


def folded(summary: str, body: str) -> str:
    """What a reader may fold away; it is open, since paper has nothing to click on."""
    return f"<details open>\n<summary>{escape(summary)}</summary>\n{body}\n</details>"


def table(
    headings: Sequence[str],
    rows: Sequence[Sequence[Any]],
    text: int = 1,
    last: str = "",
    kind: str = "",
) -> str:
    """A table whose first `text` columns are words and the others numbers.

    Args:
      headings: the name of each column.
      rows: the cells of each row, which are escaped here.
      text: how many columns are words.
      last: the class (of the style sheet) of the last row.
      kind: classes of the table: `loose` wraps, `cards` is a card a row on narrow screens, with the
        heading beside each cell, `tight` is for many columns.
    """
    shape = ["" if index < text else ' class="number"' for index in range(len(headings))]
    head = "".join(f'<th scope="col"{s}>{escape(h)}</th>' for s, h in zip(shape, headings))
    cards = "cards" in kind.split()
    body = []
    for index, row in enumerate(rows):
        mark = f' class="{last}"' if last and index == len(rows) - 1 else ""
        cells = "".join(
            f"<td{_card_cell(heading, one) if cards and number >= text else s}>"
            f"{escape(str(one))}</td>"
            for number, (s, heading, one) in enumerate(zip(shape[1:], headings[1:], row[1:]), 1)
        )
        body.append(f'<tr{mark}><th scope="row">{escape(str(row[0]))}</th>{cells}</tr>')
    of_kind = f' class="{kind}"' if kind else ""
    return (
        f'<div class="wide"><table{of_kind}>\n<thead><tr>{head}</tr></thead>\n<tbody>\n'
        + "\n".join(body)
        + "\n</tbody></table></div>"
    )


def _card_cell(heading: str, content: Any) -> str:
    """The attributes of a cell that is a line of a card on narrow screens, or of none if empty."""
    kind = "number none" if content == DASH else "number"
    return f' class="{kind}" data-label="{escape(heading)}"'


def shaded(rows: Mapping[str, Sequence[Optional[float]]], columns: Sequence[str]) -> str:
    """A table of percentages with numbered columns, the darker the more.

    Args:
      rows: name -> shares from 0 to 1, one a column; None is a blank.
      columns: what each column is; the rows of these names are numbered alike.
    """
    number = {name: index for index, name in enumerate(columns, 1)}
    head = "".join(
        f'<th scope="col" class="number"><abbr title="{escape(name)}">{index}</abbr>'
        + (f'<span class="name"> {escape(name)}</span>' if len(columns) <= _MOST_NAMED else "")
        + "</th>"
        for name, index in number.items()
    )
    body = []
    for name, shares in rows.items():
        cells = "".join(
            "<td></td>"
            if share is None
            else f'<td class="number" style="background:rgba(0,114,178,{0.5 * share:.2f})">'
            f"{100 * share:.0f}</td>"
            for share in shares
        )
        heading = f"{number[name]} {name}" if name in number else name
        body.append(f'<tr><th scope="row">{escape(heading)}</th>{cells}</tr>')
    return (
        f'<div class="wide"><table class="shaded">\n<thead><tr><th scope="col">%</th>{head}</tr>'
        "</thead>\n<tbody>\n" + "\n".join(body) + "\n</tbody></table></div>"
    )


def picture(caption: str, path: str) -> str:
    """A figure of a PNG file.

    Raises:
      UserError: it cannot be read or is of another kind.
    """
    content = files.read_bytes(path)
    if content[:8] != b"\x89PNG\r\n\x1a\n":
        raise UserError(f"The picture {path} is not a PNG file; make it again.")
    width, height = struct.unpack(">II", content[16:24])
    shape = ' class="broad"' if width > 1.3 * height else ""
    return (
        f"<figure{shape}><figcaption>{escape(caption)}</figcaption>"
        f"{_image(caption, width, height, 'png', content)}</figure>"
    )


def thumbnail(pixels: np.ndarray, side: int, text: str) -> str:
    """An image of some pixels, made smaller where it is larger.

    Args:
      pixels: uint8 [H, W, 3].
      side: the most pixels of a side.
      text: what it shows, for those who cannot see it.
    """
    from PIL import Image

    image: Any = Image.fromarray(pixels)
    image.thumbnail((side, side))
    content = io.BytesIO()
    image.save(content, "JPEG", quality=85)
    return _image(text, image.width, image.height, "jpeg", content.getvalue())


def _image(text: str, width: int, height: int, kind: str, content: bytes) -> str:
    data = base64.b64encode(content).decode("ascii")
    return (
        f'<img alt="{escape(text)}" width="{width}" height="{height}" '
        f'src="data:image/{kind};base64,{data}">'
    )


def decimal(value: Optional[float], digits: int) -> str:
    """A number, or a dash where there is none."""
    return DASH if value is None or not math.isfinite(value) else f"{value:.{digits}f}"


def percent(share: Optional[float]) -> str:
    """A share as a percentage, `100%` for all alone, or a dash where there is none."""
    if share is None or not math.isfinite(share):
        return DASH
    return ">99%" if 0.995 <= share < 1 else f"{100 * share:.0f}%"


def interval(ends: Sequence[Optional[float]], digits: int = 3) -> str:
    """The ends of an interval, or a dash where there is none."""
    low, high = (decimal(end, digits) for end in ends)
    # Word joiners keep it on one line.
    return DASH if low == DASH else f"{low}\u2060–\u2060{high}"


def cell(value: Any, form: str) -> str:
    """A cell of history.csv for people; a number that is missing or not finite is a dash."""
    try:
        number = float(value)
    except (TypeError, ValueError):
        return str(value) if value else DASH
    return format(number, form) if math.isfinite(number) else DASH
