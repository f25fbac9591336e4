"""The page: its sections in their order, and the bounds that keep it small."""

from __future__ import annotations

import datetime
from html import escape
from typing import Callable

import cloudtf
from cloudtf import files
from cloudtf.evaluation.report import (
    advice,
    background,
    cards,
    cleaning,
    confusions,
    histograms,
    parts,
    pictures,
    scores,
    slices,
)
from cloudtf.evaluation.report.material import Limits, Material
from cloudtf.evaluation.report.style import STYLE

# A page of more bytes is made anew with less in it.
MOST_BYTES = 5_000_000

Section = Callable[[Material, Limits], str]

# Heading and content; what is empty is left out.
SECTIONS: tuple[tuple[str, Section], ...] = (
    ("Scores", scores.scores),
    ("How to go on", advice.advice),
    ("Thresholds", scores.thresholds),
    ("Precision and recall", pictures.curves),
    ("Calibration", scores.calibration),
    ("Scores of the images", histograms.histograms),
    ("Which classes are taken for which", confusions.confusions),
    ("Parts of the images", slices.slices),
    ("Images worth a look", cards.examples),
    ("Labels that look wrong", cards.suspects),
    ("What cleaning would do", cleaning.cleaning),
    ("Classes and splits", background.balance),
    ("History", background.history),
    ("Settings and facts", background.settings),
)

# From the largest page down: first thumbnails get smaller and fewer, then pictures, then rows.
_LIMITS = (
    Limits(side=224, cards=6, pictures=48, rows=1000),
    Limits(side=128, cards=6, pictures=48, rows=1000),
    Limits(side=128, cards=3, pictures=32, rows=1000),
    Limits(side=96, cards=3, pictures=16, rows=400),
    Limits(side=0, cards=3, pictures=4, rows=48),
)


def write(path: str, material: Material) -> None:
    """Writes the page.

    Args:
      path: the HTML file to write, local or remote.
      material: the scores, pictures and facts of which its sections are made.

    Raises:
      UserError: a picture cannot be read or is not a PNG, or the page cannot be written.
    """
    text = ""
    for limits in _LIMITS:
        text = _page(material, limits)
        if len(text.encode("utf-8")) < MOST_BYTES:
            break
    files.write_text(path, text)


def _page(material: Material, limits: Limits) -> str:
    metrics = material.metrics
    of = f" of {metrics['split']}" if "split" in metrics else ""
    bodies = [(heading, make(material, limits)) for heading, make in SECTIONS]
    made = f"cloudtf {cloudtf.__version__}, {_today()}"
    content = [
        f"<h1>{escape(material.title)}</h1>",
        f'<p class="soft">{metrics["examples"]:,} examples{escape(of)} · {made}</p>',
        *(parts.section(heading, body) for heading, body in bodies if body),
    ]
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(material.title)}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n"
        + "\n".join(content)
        + "\n</body>\n</html>\n"
    )


def _today() -> str:
    return datetime.datetime.now(datetime.timezone.utc).date().isoformat()
