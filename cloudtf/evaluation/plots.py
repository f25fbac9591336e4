"""Pictures of a run: precision-recall curves, the PR-AUC history, and augmented examples."""

from __future__ import annotations

import dataclasses
import hashlib
import math
import re
import textwrap
from typing import Any, Mapping, Optional, Sequence

import numpy as np

from cloudtf.evaluation import fonts, pr_auc
from cloudtf.evaluation.drawing import (
    BLUE,
    DPI,
    GREEN,
    GREY,
    ORANGE,
    RED,
    dress,
    head,
    legend_below,
    plain,
    saved_figure,
    say,
)

# A curve is drawn 900 pixels wide: more points than this cannot be seen.
_MAX_POINTS = 3000


def slug(name: str) -> str:
    """A safe file name part for a class, distinct for distinct classes.

    Plain names stay as they are; others get a part of their hash behind what can be kept.

    >>> slug("Fish"), slug("No Finding")
    ('Fish', 'No_Finding-608277c3')
    """
    kept = re.sub(r"[^A-Za-z0-9._-]+", "_", name).strip("._-")[:60]
    # A name that merely looks as if it had been changed is hashed as well, to stay distinct.
    if name and kept == name and not re.search(r"-[0-9a-f]{8}$", name):
        return name
    return f"{kept or 'class'}-{hashlib.sha256(name.encode('utf-8')).hexdigest()[:8]}"


@dataclasses.dataclass(frozen=True)
class Band:
    """How sure a precision-recall curve is.

    Attributes:
      recalls: [G], rising.
      low: [G], the lower end of the 95% interval of the precision at each recall.
      high: [G], its upper end.
      average_precision: the ends of the 95% interval of the average precision.
    """

    recalls: np.ndarray
    low: np.ndarray
    high: np.ndarray
    average_precision: Sequence[float]


def is_picture(content: bytes) -> bool:
    """Whether a file is a picture of this module, and not a photograph that happens to be a PNG."""
    return content.startswith(b"\x89PNG\r\n\x1a\n") and b"matplotlib" in content[:4096]


def pr_curve(
    path: str,
    class_name: str,
    labels: np.ndarray,
    scores: np.ndarray,
    chosen_for_class: Mapping[str, Mapping[str, Any]],
    band: Optional[Band] = None,
) -> None:
    """Draws the precision-recall curve of one class with the thresholds for recall and precision.

    Args:
      path: the PNG file to write, local or remote.
      class_name: the class, which the title names.
      labels: [N], 0 or 1, or -1 where unknown.
      scores: [N], finite.
      chosen_for_class: the class's entry of `choose_thresholds`.
      band: how sure the curve is.
    """
    labels, scores = pr_auc.checked(
        np.asarray(labels)[:, None], np.asarray(scores)[:, None], [class_name]
    )
    result = pr_auc.score(labels, scores, [class_name])
    labels, scores = pr_auc.of_class(labels, scores, 0)
    positives = int(labels.sum())
    areas = "no PR-AUC without both positives and negatives"
    if not result.undefined:
        areas = (
            f"average precision {result.mean_average_precision:.3f} · "
            f"PR-AUC {result.mean_pr_auc:.3f}"
        )
    facts = f"{areas} · {positives:,} of {labels.size:,} examples positive"
    with saved_figure(path, 7.5, 7.2, f"Precision-recall curve: {class_name}") as figure:
        axes = figure.add_axes((0.1, 0.265, 0.86, 0.595))
        # What no font here can draw is left to the report's caption, and is inside the file.
        named = fonts.families(class_name) is not None
        title = f"Precision-recall curve: {class_name}" if named else "Precision-recall curve"
        head(axes, title, facts)
        dress(axes)
        axes.set(xlim=(0, 1.01), ylim=(0, 1.03), xlabel="Recall", ylabel="Precision")
        handles = []
        if positives:
            precision, recall = _drawable(*pr_auc.curve(labels, scores)[:2])
            if band is None:
                axes.fill_between(
                    recall, precision, step="post", color=BLUE, alpha=0.14, linewidth=0
                )
            else:
                handles.append(
                    axes.fill_between(
                        band.recalls, band.low, band.high, color=BLUE, alpha=0.2, linewidth=0
                    )
                )
                low, high = band.average_precision
                handles[-1].set_label(
                    f"where 95 of 100 samples lie; average precision {low:.3f} to {high:.3f}"
                )
            handles += axes.step(recall, precision, where="post", color=BLUE, linewidth=2)
            handles[-1].set_label("precision-recall curve")
            prevalence = positives / labels.size
            handles.append(axes.axhline(prevalence, color=GREY, linestyle=(0, (5, 3))))
            handles[-1].set_label(f"prevalence {prevalence:.3f}: what chance gives")
        else:
            say(axes, "no positive examples: there is no curve")
        handles.append(_mark(axes, "recall", chosen_for_class["recall"], RED, "o"))
        handles.append(_mark(axes, "precision", chosen_for_class["precision"], GREEN, "D"))
        legend_below(figure, handles, 0.187)


def pr_auc_history(path: str, history_rows: Sequence[Mapping[str, Any]]) -> None:
    """Draws mean PR-AUC by epoch for training and validation data, with the stages marked.

    Args:
      path: the PNG file to write, local or remote.
      history_rows: one mapping an epoch with the columns of `history.csv`; `epoch`, `stage`,
        `train_pr_auc_mean` and `val_pr_auc_mean` are used. Numbers may be text, as read from the
        CSV; what is missing, empty or NaN leaves a gap.
    """
    epochs = np.array([_number(row.get("epoch")) for row in history_rows])
    if not (np.isfinite(epochs).all() and (np.diff(epochs) > 0).all()):
        epochs = np.arange(1.0, len(history_rows) + 1)  # Epochs that begin anew in each stage.
    val = np.array([_number(row.get("val_pr_auc_mean")) for row in history_rows])
    train = np.array([_number(row.get("train_pr_auc_mean")) for row in history_rows])
    with saved_figure(path, 8.5, 5.2, "Mean PR-AUC by epoch") as figure:
        axes = figure.add_axes((0.09, 0.12, 0.875, 0.7))
        best = np.nanargmax(val) if np.isfinite(val).any() else None
        fact = "no validation score yet"
        if best is not None:
            fact = f"best validation {val[best]:.4f} at epoch {epochs[best]:g}"
        head(axes, "Mean PR-AUC by epoch", fact, lift=26)
        dress(axes)
        axes.set(xlabel="Epoch", ylabel="Mean PR-AUC")
        for values, label, color, marker in (
            (train, "training", ORANGE, "s"),
            (val, "validation", BLUE, "o"),
        ):
            marker_size = 5 if len(epochs) <= 60 else 1.5
            axes.plot(
                epochs,
                values,
                color=color,
                marker=marker,
                markersize=marker_size,
                linewidth=2,
                label=label,
                clip_on=False,
            )
        if best is not None:
            axes.plot(
                epochs[best],
                val[best],
                linestyle="",
                marker="*",
                markersize=17,
                color=RED,
                markeredgecolor="white",
                label="best validation",
                clip_on=False,
                zorder=5,
            )
        _limits(axes, epochs, np.concatenate([train, val]))
        _mark_stages(axes, epochs, [str(row.get("stage") or "") for row in history_rows])
        axes.legend(loc="lower right", fontsize=11, framealpha=0.9)


def preview(
    path: str, originals: np.ndarray, augmented: np.ndarray, titles: Sequence[str]
) -> list[str]:
    """Draws a contact sheet: each original beside its augmented versions, its labels above.

    Args:
      path: the PNG file to write, local or remote.
      originals: [N, H, W, 3] uint8.
      augmented: [N, K, H, W, 3] uint8.
      titles: N texts, such as the labels; an empty one reads "no class".

    Returns:
      A line for each title that no font here can draw, such as `Row 2: ...`: what goes under the
      picture.
    """
    count, versions, height, width = augmented.shape[:4]
    if originals.shape != (count, height, width, 3) or len(titles) != count:
        raise ValueError(
            f"Originals {originals.shape}, augmented {augmented.shape} and {len(titles)} titles "
            "do not belong together."
        )
    cell_width = min(max(width, 140), 280) / DPI
    cell_height = cell_width * height / width
    gap, margin, text_height = 0.07, 0.2, 0.2
    sheet_width = 2 * margin + (versions + 1) * cell_width + versions * gap
    characters = max(12, int((sheet_width - 2 * margin) / 0.085))
    captions, wrapped = [], []
    for number, title in enumerate(titles, 1):
        if fonts.families(title) is None:
            captions.append(f"Row {number}: {title}")
            title = f"row {number}, see the caption"
        wrapped.append(textwrap.wrap(title or "no class", characters, max_lines=4))
    row_heights = [cell_height + 0.16 + text_height * len(lines) for lines in wrapped]
    sheet_height = 2 * margin + 0.14 + sum(row_heights)
    with saved_figure(path, sheet_width, sheet_height, "Augmented images", True) as figure:
        top = sheet_height - margin
        for column in range(min(versions + 1, 2)):
            left = margin + column * (cell_width + gap)
            heading = "augmented" if column else "original"
            figure.text(
                left / sheet_width,
                top / sheet_height,
                heading,
                fontsize=10,
                color=GREY,
                va="top",
                weight="bold",
            )
        top -= 0.3
        for row, lines in enumerate(wrapped):
            figure.text(
                margin / sheet_width,
                top / sheet_height,
                plain("\n".join(lines)),
                fontsize=10,
                family=fonts.families(titles[row]),
                va="top",
                linespacing=1.2,
            )
            bottom = top - row_heights[row] + 0.16
            for column, image in enumerate([originals[row], *augmented[row]]):
                left = margin + column * (cell_width + gap)
                axes = figure.add_axes(
                    (
                        left / sheet_width,
                        bottom / sheet_height,
                        cell_width / sheet_width,
                        cell_height / sheet_height,
                    )
                )
                axes.imshow(image, aspect="auto", interpolation="antialiased")
                axes.set_axis_off()
            top -= row_heights[row]
    return captions


def _drawable(precision: np.ndarray, recall: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The points of a curve that can be seen, and its last one without the jump to precision 1."""
    # scikit-learn ends every curve at (recall 0, precision 1), where nothing was predicted.
    precision = np.append(precision[:-1], precision[-2])
    # Among points of one recall, precision only rises: the first and the last say it all.
    changes = np.flatnonzero(np.diff(recall))
    keep = np.unique(np.concatenate([[0], changes, changes + 1, [recall.size - 1]]))
    if keep.size > _MAX_POINTS:
        keep = keep[np.linspace(0, keep.size - 1, _MAX_POINTS).round().astype(int)]
    return precision[keep], recall[keep]


def _mark(axes: Any, kind: str, entry: Mapping[str, Any], color: str, marker: str) -> Any:
    """Marks a chosen threshold and its intervals; returns the mark for the legend."""
    target, threshold = entry["target"], entry["threshold"]
    name = f"{kind} at least {target:g}"
    guide = axes.axvline if kind == "recall" else axes.axhline
    guide(target, color=color, linewidth=1, linestyle=":")
    # In front of the frame, since recall 1 and precision 1 lie on it.
    style = {
        "linestyle": "",
        "marker": marker,
        "markersize": 10,
        "color": color,
        "markeredgecolor": "white",
        "clip_on": False,
        "zorder": 5,
    }
    if threshold is None:
        return axes.plot([], [], label=f"{name}: not reachable", **style)[0]
    text = (
        f"{name}: threshold {threshold:.4g} "
        f"(precision {entry['precision']:.3f}, recall {entry['recall']:.3f})"
    )
    sure = entry.get("intervals")
    if sure:
        line = {"color": color, "linewidth": 1.5, "alpha": 0.8, "clip_on": False, "zorder": 4}
        axes.plot(sure["recall"], [entry["precision"]] * 2, **line)
        axes.plot([entry["recall"]] * 2, sure["precision"], **line)
    return axes.plot(entry["recall"], entry["precision"], label=text, **style)[0]


def _limits(axes: Any, epochs: np.ndarray, values: np.ndarray) -> None:
    from matplotlib.ticker import MaxNLocator

    finite = values[np.isfinite(values)]
    low, high = (finite.min(), finite.max()) if finite.size else (0.0, 1.0)
    margin = max(0.05 * (high - low), 0.02)
    axes.set_ylim(max(0.0, low - margin), min(1.0, high + margin))
    if not finite.size:
        say(axes, "no score to draw")
    if len(epochs):
        pad = max(0.5, 0.02 * (epochs[-1] - epochs[0]))
        axes.set_xlim(epochs[0] - pad, epochs[-1] + pad)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=12, min_n_ticks=1))
    else:
        axes.set_xticks([])


def _mark_stages(axes: Any, epochs: np.ndarray, stages: Sequence[str]) -> None:
    """A line where the stage changes, and the stages' names above the axes on either side."""
    for index in range(1, len(stages)):
        before, after = stages[index - 1], stages[index]
        if before == after:
            continue
        place = (epochs[index - 1] + epochs[index]) / 2
        axes.axvline(place, color=GREY, linewidth=1.2, linestyle=(0, (5, 3)))
        for name, side, offset in ((f"← {before}", "right", -5), (f"{after} →", "left", 5)):
            axes.annotate(
                plain(name),
                (place, 1),
                (offset, 8),
                ha=side,
                fontsize=11,
                color=GREY,
                xycoords=("data", "axes fraction"),
                textcoords="offset points",
            )


def _number(value: Any) -> float:
    try:
        return float(value)
    except (TypeError, ValueError):
        return math.nan
