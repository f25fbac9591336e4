"""What will happen to the photographs, said before it does, by a look at some of them."""

from __future__ import annotations

import collections
from typing import NamedTuple, Optional, Sequence

from cloudtf import files
from cloudtf.data import images
from cloudtf.data.aspect import resized
from cloudtf.errors import UserError, param

# Photographs that are looked at.
_SAMPLE = 12
# A change of the ratio of sides that nobody sees.
_UNSEEN = 1.03


class Look(NamedTuple):
    """A photograph as its file describes it.

    Attributes:
      height: rows, once it is upright.
      width: columns, once it is upright.
      is_grey: whether it has one band.
    """

    height: int
    width: int
    is_grey: bool


def notes(images_dir: str, names: Sequence[str], height: int, width: int, aspect: str) -> list[str]:
    """Sentences on what changes beside the size: the shape, and single bands.

    Args:
      images_dir: the folder of the photographs.
      names: their names in it, with `/` between folders; some of them are looked at.
      height: rows of the images in the records.
      width: columns of the images in the records.
      aspect: `stretch`, `pad` or `crop`.
    """
    chosen = [names[i * len(names) // _SAMPLE] for i in range(_SAMPLE)] if names else []
    seen = [look(files.join(images_dir, *name.split("/"))) for name in dict.fromkeys(chosen)]
    return of_looks([one for one in seen if one is not None], height, width, aspect)


def look(path: str) -> Optional[Look]:
    """Looks at one file; None for what cannot be read, which the conversion will say."""
    try:
        data = files.read_bytes(path)
        return Look(*images.upright_size(data), images.is_grey(data))
    except (ValueError, UserError):
        return None


def of_looks(seen: Sequence[Look], height: int, width: int, aspect: str) -> list[str]:
    """The same of photographs that were looked at.

    >>> of_looks([Look(466, 700, False)], 224, 224, "stretch")[0]
    "Photographs of 700 x 466 pixels become 224 x 224, which squeezes them to 0.67 of their width; \
aspect='pad' and aspect='crop' keep their shape."
    """
    found = []
    sizes = collections.Counter((one.height, one.width) for one in seen)
    if sizes:
        (rows, columns), count = sizes.most_common(1)[0]
        change = _change(rows, columns, height, width, aspect)
        if change:
            others = " (others have other sizes)" if count < len(seen) else ""
            found.append(
                f"Photographs of {columns} x {rows} pixels{others} become {width} x {height}, "
                f"{change}."
            )
    grey = sum(one.is_grey for one in seen)
    if grey:
        found.append(
            f"{grey} of {len(seen)} photographs that were looked at are grey: the one band stands "
            "for red, green and blue."
        )
    return found


def _change(rows: int, columns: int, height: int, width: int, aspect: str) -> str:
    """What a change of shape does; empty where there is none to be seen."""
    ratio = (width * rows) / (columns * height)
    if max(ratio, 1 / ratio) < _UNSEEN:
        return ""
    if aspect == "stretch":
        side, share = ("width", ratio) if ratio < 1 else ("height", 1 / ratio)
        keep = f"{param(aspect='pad')} and {param(aspect='crop')} keep their shape"
        return f"which squeezes them to {share:.2f} of their {side}; {keep}"
    whole = resized(rows, columns, height, width, aspect)
    inner, outer = sorted((whole[0] * whole[1], height * width))
    share = 1 - inner / outer
    return (
        f"of which {share:.0%} are borders" if aspect == "pad" else f"without {share:.0%} of each"
    )
