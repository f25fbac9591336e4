"""The pictures of an evaluation: PR-AUC over the epochs, curves and reliability of each class."""

from __future__ import annotations

import dataclasses
import os
from typing import TYPE_CHECKING, Any, Mapping, Sequence

import numpy as np

from cloudtf.evaluation import bootstrap, calibration, plots, reliability_plot
from cloudtf.evaluation.report import parts
from cloudtf.text import extremes

if TYPE_CHECKING:
    from cloudtf.evaluation.results import Findings

# Of more classes than have all their pictures, so many are drawn whose calibration is worst.
_MOST_RELIABILITY = 6
# Where a curve's band is looked at, and by how many resamples: more cannot be seen.
_RECALLS = np.linspace(0.01, 1, 100)
_BAND_RESAMPLES = 200


def draw(
    work: str, findings: Findings, rows: Sequence[Mapping[str, Any]]
) -> dict[str, dict[str, str]]:
    """Draws them as PNG files.

    Args:
      work: the local folder for the files, which the findings name.
      findings: what was found; of many classes the worst and the best are drawn.
      rows: those of `history.csv`; may be none.

    Returns:
      Kind (`history`, `curves`, `reliability`) -> caption -> path.
    """
    pictures: dict[str, dict[str, str]] = {"history": {}, "curves": {}, "reliability": {}}
    if rows:
        plot = os.path.join(work, "pr_auc_history.png")
        plots.pr_auc_history(plot, rows)
        pictures["history"]["PR-AUC over the epochs"] = plot
    for name in _shown(findings, "average_precision"):
        plot = os.path.join(work, findings.picture("pr_curve", name))
        _draw_curve(plot, findings, name)
        sure = parts.interval(findings.evidence.intervals["average_precision"][name])
        pictures["curves"][
            f"{name}: average precision {_measured(findings, 'average_precision', name)} ({sure})"
        ] = plot
    by_error = _shown(findings, "ece")
    if len(findings.classes) > len(by_error):
        by_error = by_error[: -_MOST_RELIABILITY - 1 : -1]
    for name in by_error:
        plot = os.path.join(work, findings.picture("reliability", name))
        _draw_reliability(plot, findings, name)
        before, after = (_measured(findings, key, name) for key in ("ece", "ece_calibrated"))
        pictures["reliability"][
            f"{name}: calibration error {before}, {after} after calibration"
        ] = plot
    return pictures


def _measured(findings: Findings, measure: str, name: str) -> str:
    return parts.decimal(findings.evidence.measures[measure][name], 3)


def _shown(findings: Findings, measure: str) -> list[str]:
    """The classes that are worth a picture: all, or the least and the greatest of many."""
    values = findings.evidence.measures[measure]
    least, greatest = extremes({name: values[name] for name in findings.classes})
    return [*least, *greatest]


def _draw_curve(path: str, findings: Findings, name: str) -> None:
    index, evidence = findings.classes.index(name), findings.evidence
    labels, scores = findings.labels[:, index], findings.scores[:, index]
    resamples = dataclasses.replace(
        evidence.resamples, count=min(_BAND_RESAMPLES, evidence.resamples.count)
    )
    drawn = bootstrap.precisions(labels, scores, _RECALLS, resamples)
    drawn = drawn[np.isfinite(drawn).all(axis=1)]
    band = None
    if len(drawn) > 1:
        low, high = np.quantile(drawn, (0.025, 0.975), axis=0)
        band = plots.Band(_RECALLS, low, high, evidence.intervals["average_precision"][name])
    plots.pr_curve(path, name, labels, scores, findings.chosen[name], band)


def _draw_reliability(path: str, findings: Findings, name: str) -> None:
    index, evidence = findings.classes.index(name), findings.evidence
    labels = findings.labels[:, index]
    reliability_plot.reliability(
        path,
        name,
        calibration.reliability(labels, findings.scores[:, index]),
        calibration.reliability(labels, evidence.calibrated.scores[:, index]),
        [evidence.measures[key][name] for key in ("ece", "ece_calibrated")],
        [evidence.measures[key][name] for key in ("brier", "brier_calibrated")],
        evidence.calibrated.classes[name]["method"],
    )
