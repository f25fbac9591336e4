"""The section of which classes are taken for which."""

from __future__ import annotations

from typing import Any

import numpy as np

from cloudtf.evaluation import confusions as counted
from cloudtf.evaluation.report import parts
from cloudtf.evaluation.report.material import Limits, Material

# Of more classes only the pairs that are confused most are shown.
_MOST_IN_A_TABLE = 12
_MOST_PAIRS = 20


def confusions(material: Material, limits: Limits) -> str:
    """Of few classes all pairs, of many those that are confused most, at the recall thresholds."""
    if material.labels is None or material.scores is None or len(material.classes) < 2:
        return ""
    columns = counted.most_frequent(material.labels)
    names = [material.classes[column] for column in columns]
    at = [material.chosen[name]["recall"]["threshold"] for name in names]
    found = counted.Confusions(
        material.labels[:, columns], counted.called(material.scores[:, columns], at)
    )
    if len(names) <= _MOST_IN_A_TABLE:
        return _tables(found, names)
    return _pairs(found, names)


def _tables(found: counted.Confusions, names: list[str]) -> str:
    of, false = found.falsely()
    with np.errstate(invalid="ignore"):
        shares = false / of
    rows = {
        name: _without_itself(row, index) for index, (name, row) in enumerate(zip(names, shares))
    }
    usual = [float(share) if np.isfinite(share) else None for share in found.usual()]
    in_labels, in_calls = (
        {name: _without_itself(row, index) for index, (name, row) in enumerate(zip(names, part))}
        for part in found.together()
    )
    return (
        parts.note(
            "A class is called present at its recall threshold. Of images that show the class of a "
            "row and not that of a column: the percentage in which the latter is called present. "
            "The last row has that of all images without it; what lies far over it is confused."
        )
        + parts.shaded({**rows, "all without it": usual}, names)
        + '<div class="sheet">\n<div class="keep"><h3>Together in the labels</h3>'
        + parts.note(
            "Of images with the class of a row: the percentage that show the column's too."
        )
        + parts.shaded(in_labels, names)
        + '</div>\n<div class="keep"><h3>Together in what is called present</h3>'
        + parts.note("The same of what the model says: more than in the labels is a confusion.")
        + parts.shaded(in_calls, names)
        + "</div>\n</div>"
    )


def _without_itself(row: np.ndarray, index: int) -> list[Any]:
    return [
        None if column == index or not np.isfinite(share) else float(share)
        for column, share in enumerate(row)
    ]


def _pairs(found: counted.Confusions, names: list[str]) -> str:
    rows = [
        (
            names[one.shown],
            f"called {names[one.called]}",
            f"{one.images:,} of {one.of:,}",
            parts.percent(one.images / one.of),
            parts.percent(one.usual),
            parts.percent(one.in_labels),
            parts.percent(one.in_calls),
        )
        for one in found.worst(_MOST_PAIRS)
    ]
    if not rows:
        return parts.note("No class is called present more often where another is there.")
    headings = ("Shown", "Not there", "Images", "Share", "Usual", "Labels", "Calls")
    return parts.note(
        f"The {len(rows)} pairs of classes that are confused most. A class is called present at "
        "its recall threshold. Images and share: of those that show the one class and not the "
        "other, in how many the other is called. Usual: the share of all images without the other "
        "in which it is called. Labels and calls: of images with the one, the share that have the "
        "other too, by the labels and by what is called."
    ) + parts.table(headings, rows, text=2, kind="loose cards")
