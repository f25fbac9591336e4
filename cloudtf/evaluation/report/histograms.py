"""The section of score histograms: what a class scores where it is there, and where it is not."""

from __future__ import annotations

from html import escape
from typing import Any, Mapping

import numpy as np

from cloudtf.evaluation.report import parts
from cloudtf.evaluation.report.material import Limits, Material
from cloudtf.evaluation.report.scores import shown

_BINS = 20
_WIDTH, _HEIGHT = 360, 76  # Of the bars of one kind, in units of the drawing.
_TOP = 15  # A line of text.
# How the thresholds are told apart without colour: dashes of the line.
_DASHES = {
    "recall": "",
    "precision": "6 3",
    "recall_guaranteed": "2 2",
    "precision_guaranteed": "9 2 2 2",
    "f_beta": "4 4",
    "cost": "1 3",
}


def histograms(material: Material, limits: Limits) -> str:
    """A drawing a class, with the thresholds."""
    if material.labels is None or material.scores is None:
        return ""
    names, left_out = shown(material, max(1, limits.pictures // 2))
    drawings = []
    for name in names:
        column = material.classes.index(name)
        labels, scores = material.labels[:, column], material.scores[:, column]
        drawings.append(_drawing(name, labels, scores, material.chosen[name]))
    return (
        parts.note(
            "Up are the images that show the class, down those that do not, by their score from 0 "
            "to 1. The length of a bar is the square root of its share, so that single images can "
            "be seen too. Lines are thresholds: a class is present to the right of them."
        )
        + '<div class="sheet small">\n'
        + "\n".join(drawings)
        + "\n</div>"
        + left_out
    )


def _drawing(
    name: str, labels: np.ndarray, scores: np.ndarray, chosen: Mapping[str, Mapping[str, Any]]
) -> str:
    lines = {kind: e["threshold"] for kind, e in chosen.items() if e["threshold"] is not None}
    top = _TOP * max(1, len(lines))
    middle, bottom = top + _HEIGHT, top + 2 * _HEIGHT
    counts = {
        kind: np.histogram(scores[labels == label], _BINS, (0, 1))[0]
        for kind, label in (("present", 1), ("absent", 0))
    }
    shapes = []
    step = _WIDTH / _BINS
    for kind, of_kind in counts.items():
        shares = np.sqrt(of_kind / max(1, of_kind.max()))
        for index in np.flatnonzero(of_kind).tolist():
            height = float(_HEIGHT - 6) * float(shares[index])
            y = middle - height if kind == "present" else middle
            shapes.append(
                f'<rect class="{kind}" x="{index * step + 1:.1f}" y="{y:.1f}" '
                f'width="{step - 2:.1f}" height="{height:.1f}"/>'
            )
    shapes.append(f'<line class="axis" x1="0" x2="{_WIDTH}" y1="{middle}" y2="{middle}"/>')
    for row, (kind, threshold) in enumerate(lines.items()):
        x, y = threshold * _WIDTH, _TOP * row + 11
        end = threshold > 0.5
        shapes.append(
            f'<line x1="{x:.1f}" x2="{x:.1f}" y1="{y - 9}" y2="{bottom}" '
            f'stroke-dasharray="{_DASHES[kind]}"/>'
            f'<text x="{x + (-4 if end else 4):.1f}" y="{y}" '
            f'text-anchor="{"end" if end else "start"}">'
            f"{kind.replace('_', ' ')} {threshold:.4g}</text>"
        )
    present, absent = (int(of_kind.sum()) for of_kind in counts.values())
    for x, anchor, text in ((0, "start", "0"), (_WIDTH / 2, "middle", "0.5"), (_WIDTH, "end", "1")):
        shapes.append(
            f'<text class="soft" x="{x:g}" y="{bottom + 13}" text-anchor="{anchor}">{text}</text>'
        )
    caption = f"{name}: there in {present:,}, not there in {absent:,}"
    return (
        f"<figure><figcaption>{escape(caption)}</figcaption>"
        f'<svg viewBox="0 0 {_WIDTH} {bottom + 18}" role="img" aria-label="{escape(caption)}">'
        + "".join(shapes)
        + "</svg></figure>"
    )
