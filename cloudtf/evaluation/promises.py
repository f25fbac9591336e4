"""What thresholds promise, as a table for the terminal; `thresholds.json` has more."""

from __future__ import annotations

import textwrap
from typing import Any, Mapping, Optional

from cloudtf.model.thresholds import KINDS, Thresholds
from cloudtf.text import extremes

_HEADS = {
    "recall": "recall",
    "recall_guaranteed": "guaranteed",
    "precision": "precision",
    "precision_guaranteed": "guaranteed",
    "f_beta": "best F-beta",
    "cost": "least cost",
}
# So much of a name is beside its thresholds; a longer one gets a line of its own.
_NAME = 8


def table(found: Thresholds, averages: Mapping[str, Optional[float]], width: int = 80) -> str:
    """The thresholds of each class with how surely they keep their target on new images.

    Args:
      found: the thresholds, and what they were chosen from.
      averages: the average precision of each class; of many classes the worst and the best are
        shown.
      width: the columns of the terminal. Where they are too few for a column a threshold, each has
        a line.
    """
    worst, best = extremes({name: averages[name] for name in found.classes})
    shown = [*worst, *best]
    if not shown:
        return "No class has a threshold."
    kinds = [kind for kind in KINDS if kind in found.classes[shown[0]]]
    cells = {name: [_cell(found.classes[name][kind]) for kind in kinds] for name in shown}
    tops = [_HEADS[kind] for kind in kinds]
    aims = [_aim(kind, found.classes[shown[0]][kind]) for kind in kinds]
    widths = [max(map(len, column)) for column in zip(tops, aims, *cells.values())]
    room = width - sum(widths) - 2 * len(widths)
    if room < _NAME:
        lines = []
        for name in shown:
            lines.append(name)
            for kind, aim, cell in zip(kinds, aims, cells[name]):
                lines.append(f"  {kind:<20}  {aim:<7}  {cell}".rstrip())
    else:
        room = min(max(map(len, shown)), room)

        def line(name: str, words: list[str]) -> str:
            columns = "".join(f"  {word:<{size}}" for word, size in zip(words, widths))
            above = f"{name}\n" if len(name) > room else ""
            return above + f"{'' if above else name:<{room}}{columns}".rstrip()

        lines = [line("", tops), line("", aims), *(line(name, cells[name]) for name in shown)]
    left_out = len(found.classes) - len(shown)
    if left_out:
        lines.append(f"... {left_out:,} more classes, all of them in the files ...")
    new = "images of new groups" if found.source.get("groups") else "new images"
    notes = [f"Thresholds {found}, and how surely each keeps its target on {new}:"]
    said = {cell.partition(" ")[0] for of_class in cells.values() for cell in of_class}
    more = []
    if "needs" in said:
        more.append("needs: how many positives would do.")
    if "none" in said:
        more.append("none: no threshold reaches the target.")
    notes, more = (textwrap.wrap(" ".join(text), width) for text in (notes, more))
    return "\n".join([*notes, *lines, *more])


def _aim(kind: str, entry: Mapping[str, Any]) -> str:
    if kind == "f_beta":
        return f"beta {entry['beta']:g}"
    if kind == "cost":
        return f"{entry['miss']:g}:{entry['false_alarm']:g}"
    return f">= {entry['target']:g}"


def _cell(entry: Mapping[str, Any]) -> str:
    if entry["threshold"] is None:
        return f"needs {entry['needs']:,}" if entry.get("needs") else "none"
    sure = entry.get("confidence")
    # Rounded down: no more is promised than was found.
    return f"{entry['threshold']:<8.3g}" + ("" if sure is None else f" {int(100 * sure):>3}%")
