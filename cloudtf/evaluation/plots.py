"""Pictures of a run: precision-recall curves, the PR-AUC history, and augmented examples.

They are drawn on matplotlib's `Figure` objects, without pyplot: no window, no global state, and
no trace of a style that a notebook may have set. Colours are those of Okabe and Ito, which
colour-blind readers can tell apart; every mark differs in shape as well.
"""

from __future__ import annotations

import contextlib
import hashlib
import math
import re
import textwrap
from typing import Any, Iterator, Mapping, Optional, Sequence

import numpy as np

from cloudtf import files
from cloudtf.evaluation import fonts, pr_auc

BLUE, ORANGE, GREEN, RED, GREY = "#0072B2", "#E69F00", "#009E73", "#D55E00", "#5F6368"
_DPI = 120
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


def is_picture(content: bytes) -> bool:
    """Whether a file is a picture of this module, and not a photograph that happens to be a PNG."""
    return content.startswith(b"\x89PNG\r\n\x1a\n") and b"matplotlib" in content[:4096]


def pr_curve(
    path: str,
    class_name: str,
    labels: np.ndarray,
    scores: np.ndarray,
    chosen_for_class: Mapping[str, Mapping[str, Optional[float]]],
) -> None:
    """Draws the precision-recall curve of one class with both chosen thresholds.

    Args:
      path: the PNG file to write, local or remote.
      class_name: the class, which the title names.
      labels: [N], 0 or 1, or -1 where unknown.
      scores: [N], finite.
      chosen_for_class: the class's entry of `choose_thresholds`.
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
    with _saved_figure(path, 7.5, 7.2, f"Precision-recall curve: {class_name}") as figure:
        axes = figure.add_axes((0.1, 0.25, 0.86, 0.61))
        # What no font here can draw is left to the report's caption, and is inside the file.
        named = fonts.families(class_name) is not None
        head = f"Precision-recall curve: {class_name}" if named else "Precision-recall curve"
        _head(axes, head, facts)
        _dress(axes)
        axes.set(xlim=(0, 1.01), ylim=(0, 1.03), xlabel="Recall", ylabel="Precision")
        handles = []
        if positives:
            precision, recall = _drawable(*pr_auc.curve(labels, scores)[:2])
            axes.fill_between(recall, precision, step="post", color=BLUE, alpha=0.14, linewidth=0)
            handles += axes.step(recall, precision, where="post", color=BLUE, linewidth=2)
            handles[-1].set_label("precision-recall curve")
            prevalence = positives / labels.size
            handles.append(axes.axhline(prevalence, color=GREY, linestyle=(0, (5, 3))))
            handles[-1].set_label(f"prevalence {prevalence:.3f}: what chance gives")
        else:
            _say(axes, "no positive examples: there is no curve")
        handles.append(_mark(axes, "recall", chosen_for_class["recall"], RED, "o"))
        handles.append(_mark(axes, "precision", chosen_for_class["precision"], GREEN, "D"))
        figure.legend(
            handles=handles,
            loc="upper left",
            bbox_to_anchor=(0.085, 0.173),
            frameon=False,
            fontsize=11,
            labelspacing=0.55,
            borderaxespad=0,
            handlelength=2.4,
        )


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
    with _saved_figure(path, 8.5, 5.2, "Mean PR-AUC by epoch") as figure:
        axes = figure.add_axes((0.09, 0.12, 0.875, 0.7))
        best = np.nanargmax(val) if np.isfinite(val).any() else None
        fact = "no validation score yet"
        if best is not None:
            fact = f"best validation {val[best]:.4f} at epoch {epochs[best]:g}"
        _head(axes, "Mean PR-AUC by epoch", fact, lift=26)
        _dress(axes)
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
    cell_width = min(max(width, 140), 280) / _DPI
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
    with _saved_figure(path, sheet_width, sheet_height, "Augmented images") as figure:
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
                _plain("\n".join(lines)),
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


@contextlib.contextmanager
def _saved_figure(path: str, width: float, height: float, title: str) -> Iterator[Any]:
    """A figure of so many inches in matplotlib's default style, written to `path` as PNG.

    The title is kept in the file's metadata, as what a viewer can show.
    """
    # Here and not above: matplotlib takes half a second to import, and `--help` needs none of it.
    from matplotlib import style
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    with style.context("default"):
        figure = Figure(figsize=(width, height), dpi=_DPI, facecolor="white")
        FigureCanvasAgg(figure)
        yield figure
        with files.replacing(path) as temporary:
            # Text of a PNG is Latin-1.
            metadata = {"Title": title.encode("latin-1", "backslashreplace").decode("latin-1")}
            figure.savefig(temporary, format="png", dpi=_DPI, metadata=metadata)


def _head(axes: Any, title: str, fact: str, lift: int = 9) -> None:
    """Title and fact above the axes, `lift` points up to leave room for what else is there."""
    lines = textwrap.wrap(title, 56, max_lines=2, placeholder=" …")
    axes.annotate(
        _plain(fact),
        (0, 1),
        (0, lift),
        xycoords="axes fraction",
        textcoords="offset points",
        fontsize=11,
        color=GREY,
    )
    axes.annotate(
        _plain("\n".join(lines)),
        (0, 1),
        (0, lift + 19),
        family=fonts.families(title),
        xycoords="axes fraction",
        textcoords="offset points",
        fontsize=14,
        weight="bold",
        linespacing=1.15,
    )


def _dress(axes: Any) -> None:
    axes.grid(color="#DADCE0", linewidth=0.8)
    axes.set_axisbelow(True)
    axes.tick_params(labelsize=11, color=GREY)
    for name, spine in axes.spines.items():
        spine.set_visible(name in ("left", "bottom"))
        spine.set_color(GREY)
    axes.xaxis.label.set_size(12)
    axes.yaxis.label.set_size(12)


def _say(axes: Any, text: str) -> None:
    axes.text(
        0.5, 0.5, text, transform=axes.transAxes, ha="center", va="center", fontsize=13, color=GREY
    )


def _plain(text: str) -> str:
    """Keeps a dollar sign in a class name from starting a formula."""
    return text.replace("$", r"\$")


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


def _mark(
    axes: Any, kind: str, entry: Mapping[str, Optional[float]], color: str, marker: str
) -> Any:
    """Marks a chosen threshold on the curve; returns the mark for the legend."""
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
    return axes.plot(entry["recall"], entry["precision"], label=text, **style)[0]


def _limits(axes: Any, epochs: np.ndarray, values: np.ndarray) -> None:
    from matplotlib.ticker import MaxNLocator

    finite = values[np.isfinite(values)]
    low, high = (finite.min(), finite.max()) if finite.size else (0.0, 1.0)
    margin = max(0.05 * (high - low), 0.02)
    axes.set_ylim(max(0.0, low - margin), min(1.0, high + margin))
    if not finite.size:
        _say(axes, "no score to draw")
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
                _plain(name),
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
