"""The pictures of a report that are files of the evaluation too."""

from __future__ import annotations

from cloudtf.evaluation.report import parts
from cloudtf.evaluation.report.material import Limits, Material


def sheet(material: Material, kind: str, limits: Limits) -> str:
    """The pictures of a kind; nothing where there are none.

    Raises:
      UserError: a picture cannot be read or is not a PNG.
    """
    captions = list(material.pictures.get(kind, {}).items())
    if len(captions) > limits.pictures:  # The first and the last are the worst and the best.
        half = limits.pictures // 2
        captions = captions[: limits.pictures - half] + captions[len(captions) - half :]
    figures = [parts.picture(caption, path) for caption, path in captions]
    return '<div class="sheet">\n' + "\n".join(figures) + "\n</div>" if figures else ""


def curves(material: Material, limits: Limits) -> str:
    """The precision-recall curves, with the band in which they lie."""
    return sheet(material, "curves", limits)
