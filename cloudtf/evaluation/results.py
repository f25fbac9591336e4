"""The files of an evaluation. They belong together: all are written or none, and they say of what.

Those of the split that a model was validated on have plain names, `thresholds.json` among them,
which `export` takes. Those of another split have its name in theirs, and stand beside.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import os
from typing import Any, Callable, Mapping, Sequence

import numpy as np

from cloudtf import files
from cloudtf.data.labels import UNKNOWN
from cloudtf.errors import UserError
from cloudtf.evaluation import history, plots, pr_auc, report
from cloudtf.locks import FolderLock
from cloudtf.model import thresholds
from cloudtf.submission import predictions
from cloudtf.text import extremes


@dataclasses.dataclass(frozen=True)
class Findings:
    """What was found about a model on a split of N examples and C classes.

    Attributes:
      split: the name of the split, such as `val`.
      apart: whether the model was validated on another split.
      classes: the C class names, in label order.
      names: the N image names, in the order of the rows below.
      labels: float32 [N, C], 0, 1 or -1 (unknown).
      scores: float32 [N, C], probabilities.
      figures: the areas of each class.
      chosen: the thresholds of each class.
      source: what `thresholds.json` says of where they are from.
      more: what `metrics.json` says besides.
    """

    split: str
    apart: bool
    classes: Sequence[str]
    names: Sequence[str]
    labels: np.ndarray
    scores: np.ndarray
    figures: pr_auc.PrAuc
    chosen: thresholds.ByClass
    source: Mapping[str, Any]
    more: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    @property
    def metrics(self) -> dict[str, Any]:
        """The content of `metrics.json`."""
        figures = self.figures
        unknown = dict(zip(self.classes, (self.labels == UNKNOWN).sum(axis=0).tolist()))
        return {
            "split": self.split,
            "examples": len(self.labels),
            **({"unknown": unknown} if any(unknown.values()) else {}),
            "pr_auc": {**figures.pr_auc, "mean": figures.mean_pr_auc},
            "average_precision": {
                **figures.average_precision,
                "mean": figures.mean_average_precision,
            },
            **self.more,
        }

    def file(self, stem: str, extension: str) -> str:
        """The name of one of the files."""
        return _name(self.split, self.apart, stem, extension)

    def picture(self, class_name: str) -> str:
        """The name of the picture of one class."""
        return _picture(self.split, self.apart, class_name)


def _name(split: str, apart: bool, stem: str, extension: str) -> str:
    return f"{stem}_{split}{extension}" if apart else f"{stem}{extension}"


def _picture(split: str, apart: bool, class_name: str) -> str:
    # No split has a dot in its name: so no two of these are the same.
    return f"pr_curve{f'.{split}.' if apart else '_'}{plots.slug(class_name)}.png"


def check(folder: str, split: str, apart: bool, classes: Sequence[str]) -> None:
    """Refuses a folder in which a file of another kind has the name of one that will be written.

    Args:
      folder: where the files will go.
      split: the name of the split, such as `val`.
      apart: whether the model was validated on another split.
      classes: the C class names.

    Raises:
      UserError: naming the file.
    """
    name = functools.partial(_name, split, apart)
    kinds: dict[str, Callable[[bytes], bool]] = {
        name("metrics", ".json"): lambda content: b'"average_precision"' in content,
        name("thresholds", ".json"): lambda content: b'"threshold"' in content,
        f"predictions_{split}.csv": predictions.is_table,
        name("report", ".html"): lambda content: b"<title>cloudtf" in content,
        **{_picture(split, apart, one): plots.is_picture for one in classes},
    }
    there = set(files.list_dir(folder)) if files.is_dir(folder) else set()
    for file in sorted(kinds.keys() & there):
        path = files.join(folder, file)
        files.check_output(path, "of an evaluation", kinds[file], setting="output_dir")


def write(
    folder: str, findings: Findings, title: str, facts: Mapping[str, str], history_path: str
) -> str:
    """Writes all files.

    Args:
      folder: where the files go; made if it is not there.
      findings: what the model scored on the split, and what follows from it.
      title: the heading of the report.
      facts: name -> text, shown at the end of the report, such as the settings of the run.
      history_path: the run's `history.csv`, drawn where there is one.

    Returns:
      The path of the report.

    Raises:
      UserError: the history is damaged, a file cannot be written, or another evaluation is at work
        in the folder.
    """
    files.make_dirs(folder)
    with FolderLock(folder, "evaluation", "output_dir", keep=False, name=".evaluate.lock"):
        former = _former(folder, findings)
        files.remove_leftovers(folder, former)
        with files.replacing_all(folder, former) as work:
            _write(work, findings, title, facts, history_path)
    return files.join(folder, findings.file("report", ".html"))


def _write(
    work: str, findings: Findings, title: str, facts: Mapping[str, str], history_path: str
) -> None:
    metrics, chosen = findings.metrics, findings.chosen
    files.write_json(os.path.join(work, findings.file("metrics", ".json")), metrics)
    path = os.path.join(work, findings.file("thresholds", ".json"))
    thresholds.write(path, chosen, findings.source)
    predictions.write(
        os.path.join(work, f"predictions_{findings.split}.csv"),
        findings.names,
        findings.scores,
        findings.classes,
        findings.labels,
    )
    pictures = {}
    rows: list[dict[str, Any]] = []
    if files.exists(history_path):
        rows = history.read(history_path)
        plot = os.path.join(work, "pr_auc_history.png")
        plots.pr_auc_history(plot, rows)
        pictures["PR-AUC over the epochs"] = plot
    worst, best = extremes(findings.figures.average_precision)
    for name in [*worst, *best]:
        index = findings.classes.index(name)
        plot = os.path.join(work, findings.picture(name))
        labels, scores = findings.labels[:, index], findings.scores[:, index]
        plots.pr_curve(plot, name, labels, scores, chosen[name])
        pictures[f"Precision and recall of {name}"] = plot
    path = os.path.join(work, findings.file("report", ".html"))
    report.write_report(path, title, metrics, chosen, rows, pictures, facts)


def _former(folder: str, findings: Findings) -> list[str]:
    """The names of what an earlier evaluation on this split has written, and this one will."""
    metrics = files.join(folder, findings.file("metrics", ".json"))
    classes = set(findings.classes)
    # There may be none, or one that cannot be read, and is written anew.
    with contextlib.suppress(UserError, KeyError, TypeError):
        classes |= set(files.read_json(metrics)["pr_auc"]) - {"mean"}
    return [
        findings.file("metrics", ".json"),
        findings.file("thresholds", ".json"),
        f"predictions_{findings.split}.csv",
        findings.file("report", ".html"),
        *(findings.picture(name) for name in classes),
    ]
