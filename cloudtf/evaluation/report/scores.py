"""The sections of scores, of thresholds and of calibration."""

from __future__ import annotations

from html import escape
from typing import Any, Mapping

from cloudtf.evaluation.report import parts, pictures
from cloudtf.evaluation.report.material import Limits, Material
from cloudtf.model.thresholds import Thresholds
from cloudtf.text import MOST_SHOWN, extremes


def scores(material: Material, limits: Limits) -> str:
    """What each class scores, and how sure that is."""
    metrics = material.metrics
    averages = metrics["average_precision"]
    sure = metrics["intervals"]["average_precision"]
    names, left_out = shown(material, limits.rows // 2)
    rows = [
        (
            name,
            parts.decimal(averages[name], 4),
            parts.interval(sure[name]),
            _sure(metrics, "pr_auc", name),
        )
        for name in [*names, "mean"]
    ]
    headings = ("Class", "Average precision", "95% interval", "PR-AUC")
    body = parts.table(headings, rows, last="total", kind="loose")
    if len(rows) > 2 * MOST_SHOWN:
        body = parts.folded(f"{len(rows) - 1} classes", body)
    undefined = [row[0] for row in rows if row[1] == parts.DASH and row[0] != "mean"]
    if undefined:
        body += (
            "<p>Without a score, since all or no examples show the class, and left out of "
            f"the mean: {escape(', '.join(undefined))}.</p>"
        )
    unknown = {name: count for name, count in metrics.get("unknown", {}).items() if count}
    if unknown:
        listed = ", ".join(f"{name} {count:,}" for name, count in unknown.items())
        body += (
            f"<p>Examples left out of a class, since its label is unknown: {escape(listed)}.</p>"
        )
    return (
        body
        + left_out
        + parts.note(
            "PR-AUC is the trapezoid under the curve; average precision, its step function, does "
            "not flatter. Other images of the same kind would give another score: the interval "
            "holds the true one in 95 of 100 such samples."
        )
    )


def shown(material: Material, most: int = MOST_SHOWN) -> tuple[list[str], str]:
    """The classes that are worth a row, and a note on those that are left out."""
    averages = material.metrics["average_precision"]
    values = {name: averages[name] for name in material.classes}
    least, greatest = extremes(values, most)
    names = [*least, *greatest]
    if len(names) == len(values):
        return names, ""
    return names, parts.note(
        f"Of {len(values):,} classes those with the {len(least)} lowest and the {len(greatest)} "
        "highest scores are shown; metrics.json and thresholds.json have all."
    )


def calibration(material: Material, limits: Limits) -> str:
    """Whether a score means what it says, before and after calibration."""
    names, left_out = shown(material)
    columns = ("ece", "ece_calibrated", "brier", "brier_calibrated")
    rows = [
        (name, *(_sure(material.metrics, key, name) for key in columns))
        for name in [*names, "mean"]
    ]
    headings = ("Class", "Error", "calibrated", "Brier score", "calibrated")
    return (
        parts.table(headings, rows, last="total", kind="loose")
        + left_out
        + parts.note(
            "The expected calibration error is the mean distance between a score and the share of "
            "images with such scores that show the class; the Brier score is the mean squared "
            "error of a score; 95% intervals are in brackets. Each image was calibrated by what "
            "the others gave."
        )
        + pictures.sheet(material, "reliability", limits)
    )


def _sure(metrics: Mapping[str, Any], measure: str, name: str) -> str:
    """A score with its interval."""
    score = parts.decimal(metrics[measure][name], 4)
    ends = metrics["intervals"][measure][name]
    return score if score == parts.DASH else f"{score} ({parts.interval(ends)})"


def thresholds(material: Material, limits: Limits) -> str:
    """From which score on a class is present, what that promises, and on what it rests."""
    names, left_out = shown(material)
    rows = []
    for name in names:
        for kind, entry in material.chosen[name].items():
            threshold = entry["threshold"]
            rows.append(
                (
                    name,
                    _wanted(kind, entry),
                    _missing(entry) if threshold is None else f"{threshold:.4g}",
                    _with_interval(entry, "precision"),
                    _with_interval(entry, "recall"),
                    parts.percent(entry.get("confidence")),
                )
            )
    headings = ("Class", "Wanted", "Threshold", "Precision", "Recall", "Sure")
    source = material.source
    found = str(Thresholds(material.chosen, source)) if source else "of the examples judged"
    sure = source.get("confidence")
    promise = f" For guaranteed ones that is {100 * sure:g}% or more." if sure else ""
    groups = material.metrics.get("resamples", {}).get("groups")
    if groups is not None:
        promise += (
            f" The examples are of {groups:,} groups that belong together: so intervals and "
            "promises are those for new groups, and take a group for as little as one example."
        )
    return (
        parts.note(
            f"A class is present where its score is at least the threshold. Precision and recall "
            f"are those {found}, with 95% intervals; the last column says how surely the target "
            f"holds on new images of the same kind.{promise}"
        )
        + parts.table(headings, rows, text=2, kind="loose cards")
        + left_out
    )


def _wanted(kind: str, entry: Mapping[str, Any]) -> str:
    if kind == "f_beta":
        return f"best F-beta, beta {entry['beta']:g}"
    if kind == "cost":
        return f"least cost, {entry['miss']:g}:{entry['false_alarm']:g}"
    what, _, guaranteed = kind.partition("_")
    return f"{what} ≥ {entry['target']:g}{', guaranteed' if guaranteed else ''}"


def _with_interval(entry: Mapping[str, Any], what: str) -> str:
    sure = entry.get("intervals")
    interval = f" ({parts.interval(sure[what], 2)})" if sure else ""
    return parts.decimal(entry[what], 3) + interval


def _missing(entry: Mapping[str, Any]) -> str:
    return f"needs {entry['needs']:,} positives" if entry.get("needs") else "not reachable"
