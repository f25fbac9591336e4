"""The reliability diagram of a class: what was said against what is true."""

from __future__ import annotations

from typing import Any, Sequence

import numpy as np

from cloudtf.evaluation import fonts, intervals
from cloudtf.evaluation.calibration import Reliability
from cloudtf.evaluation.drawing import (
    BLUE,
    GREY,
    ORANGE,
    dress,
    head,
    legend_below,
    saved_figure,
    say,
)

HEADING = "Reliability"


def reliability(
    path: str,
    class_name: str,
    before: Reliability,
    after: Reliability,
    ece: Sequence[float],
    brier: Sequence[float],
    method: str,
) -> None:
    """Draws how often a class is there by its score, as it is and calibrated, with 95% intervals.

    Args:
      path: the PNG file to write, local or remote.
      class_name: the class, which the title names.
      before: the bins of the scores as they are.
      after: the bins of the calibrated scores.
      ece: the calibration error before and after.
      brier: the Brier score before and after.
      method: how it is calibrated, one of `cloudtf.model.calibration.METHODS`.
    """
    named = fonts.families(class_name) is not None
    title = f"{HEADING}: {class_name}"
    fact = f"calibration error {ece[0]:.3f}, Brier score {brier[0]:.4f}"
    if method != "none":
        fact = (
            f"calibration error {ece[0]:.3f} \u2192 {ece[1]:.3f} · "
            f"Brier score {brier[0]:.4f} \u2192 {brier[1]:.4f}"
        )
    with saved_figure(path, 7.5, 7.2, title) as figure:
        axes = figure.add_axes((0.1, 0.2, 0.86, 0.66))
        head(axes, title if named else HEADING, fact)
        dress(axes)
        axes.set(xlim=(0, 1), ylim=(0, 1), xlabel="Score", ylabel="Share that shows the class")
        (ideal,) = axes.plot([0, 1], [0, 1], color=GREY, linestyle=(0, (5, 3)))
        ideal.set_label("what is said is what is true")
        handles: list[Any] = [ideal]
        if not before.images.size:
            say(axes, "no examples")
        else:
            handles.append(_points(axes, before, ORANGE, "s", "scores as they are"))
            if method != "none":
                label = f"calibrated ({method}), each by what the others gave"
                handles.append(_points(axes, after, BLUE, "o", label))
        legend_below(figure, handles, 0.123)


def _points(axes: Any, table: Reliability, color: str, marker: str, label: str) -> Any:
    ends = [intervals.of_proportion(int(r), int(n)) for r, n in zip(table.right, table.images)]
    low, high = np.array(ends).T
    axes.vlines(table.said, low, high, color=color, linewidth=1.5, alpha=0.7)
    return axes.plot(
        table.said,
        table.true,
        color=color,
        marker=marker,
        markersize=7,
        markeredgecolor="white",
        linewidth=1.5,
        label=label,
        clip_on=False,
        zorder=3,
    )[0]
