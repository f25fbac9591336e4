"""The picture of a comparison: each difference with its interval."""

from __future__ import annotations

import math
from typing import Any, Mapping

from cloudtf.evaluation import fonts
from cloudtf.evaluation.drawing import (
    BLUE,
    GREEN,
    GREY,
    ORANGE,
    RED,
    dress,
    head,
    plain,
    saved_figure,
)
from cloudtf.text import extremes

_MOST = 10


def draw(path: str, result: Mapping[str, Any]) -> None:
    """Draws the difference of each class, and of their mean, with its 95% interval.

    Args:
      path: the PNG file to write, local or remote.
      result: scores and differences, as `compare.compare` returns them.
    """
    others = result["others"]
    by_value = {
        name: one["value"]
        for name, one in others[0]["differences"].items()
        if name != "mean" and math.isfinite(one["value"])
    }
    names = [name for some in extremes(by_value, _MOST) for name in some][::-1]
    rows = ["mean", *names]
    measure = result["measure"].replace("_", " ")
    title = f"Difference in {measure}"
    colours = (BLUE, ORANGE, GREEN, RED)
    below = 0.75 + (0.25 * len(others) + 0.1 if len(others) > 1 else 0)
    height = 1.2 + below + 0.34 * len(rows) * max(1, len(others) / 2)
    with saved_figure(path, 7.5, height, title) as figure:
        axes = figure.add_axes((0.24, below / height, 0.72, 1 - (below + 0.85) / height))
        head(axes, title, f"beside {result['first']['name']}, {result['images']:,} images")
        dress(axes)
        axes.axvline(0, color=GREY, linewidth=1.2)
        for number, other in enumerate(others):
            shift = (number - (len(others) - 1) / 2) * 0.6 / len(others)
            places, values, widths = [], [], []
            for place, name in enumerate(rows):
                one = other["differences"][name]
                if math.isfinite(one["value"]):
                    places.append(place + shift)
                    values.append(one["value"])
                    widths.append(one["high"] - one["value"])
            axes.errorbar(
                values,
                places,
                xerr=widths,
                fmt="osD^v"[number % 5],
                color=colours[number % len(colours)],
                capsize=3,
                markersize=5,
                label=plain(other["name"]),
            )
        axes.set_ylim(-0.6, len(rows) - 0.4)
        axes.set_yticks(range(len(rows)))
        axes.set_yticklabels([plain(name) for name in rows])
        for label, name in zip(axes.get_yticklabels(), rows):
            label.set_family(fonts.families(name))
            label.set_weight("bold" if name == "mean" else "normal")
        axes.set_xlabel("higher is better")
        if len(others) > 1:
            figure.legend(fontsize=9, loc="lower center", ncols=1, frameon=False)
