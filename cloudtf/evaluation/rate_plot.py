"""The picture of a search for the learning rate."""

from __future__ import annotations

import numpy as np

from cloudtf.evaluation.drawing import BLUE, GREY, RED, dress, head, saved_figure


def rate_search(
    path: str, rates: np.ndarray, losses: np.ndarray, smoothed: np.ndarray, suggested: float
) -> None:
    """Draws the loss of each step of a search against its learning rate, on a logarithmic axis.

    Args:
      path: the PNG file to write, local or remote.
      rates: [N], rising.
      losses: [N], the loss before the update at that rate.
      smoothed: [N], the same without most of its noise.
      suggested: the rate to mark.
    """
    with saved_figure(path, 8.5, 5.2, "Loss by learning rate") as figure:
        axes = figure.add_axes((0.09, 0.12, 0.875, 0.73))
        head(axes, "Loss by learning rate", f"suggested peak rate {suggested:.2g}")
        dress(axes)
        limits = (rates[0], rates[-1])
        axes.set(xlabel="Learning rate", ylabel="Loss", xscale="log", xlim=limits)
        axes.plot(rates, losses, color=GREY, linewidth=0.8, alpha=0.6, label="each step")
        axes.plot(rates, smoothed, color=BLUE, linewidth=2, label="smoothed")
        axes.axvline(suggested, color=RED, linewidth=1.5, linestyle="--", label="suggested")
        # Beyond the start a diverging loss would leave the rest of the curve no room.
        top = 1.3 * max(smoothed[0], np.min(smoothed))
        axes.set_ylim(min(np.min(losses), np.min(smoothed)) * 0.9, top)
        axes.legend(loc="lower left", fontsize=11, framealpha=0.9)
