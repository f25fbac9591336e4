"""The files of an evaluation. They belong together: all are written or none, and they say of what.

Those of the split that a model was validated on have plain names, `thresholds.json` among them,
which `export` takes. Those of another split have its name in theirs, and stand beside.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import os
from typing import Any, Callable, Mapping, Optional, Sequence

import numpy as np

from cloudtf import files
from cloudtf.data.labels import UNKNOWN
from cloudtf.data.records import Manifest
from cloudtf.errors import UserError
from cloudtf.evaluation import (
    class_plots,
    examples,
    history,
    plots,
    suspects,
)
from cloudtf.evaluation.evidence import Evidence
from cloudtf.evaluation.report import page
from cloudtf.evaluation.report.material import Material
from cloudtf.locks import FolderLock
from cloudtf.model import calibration as model_calibration
from cloudtf.model import thresholds
from cloudtf.submission import predictions

# Of the split that the model was validated on alone: labels that it has learnt it believes.
_SUSPECTS, _SHEET = "suspects.csv", "suspects.png"


@dataclasses.dataclass(frozen=True)
class Background:
    """What a report says beside what was found; what is not known is left out of it.

    Attributes:
      title: the heading of the report.
      facts: name -> text, such as the paths of model and records.
      settings: name -> value of the settings of the run.
      history_path: the run's `history.csv`, drawn where there is one.
      fold_history_paths: fold -> the `history.csv` of its run, of a run of all folds.
      learning_curve_path: the run's `learning_curve.json`, told of where there is one.
      manifest: the content of the `dataset.json` of the records.
      maps: the activation maps of the model.
    """

    title: str
    facts: Mapping[str, str] = dataclasses.field(default_factory=dict)
    settings: Mapping[str, str] = dataclasses.field(default_factory=dict)
    history_path: Optional[str] = None
    fold_history_paths: Mapping[str, str] = dataclasses.field(default_factory=dict)
    learning_curve_path: Optional[str] = None
    manifest: Optional[Manifest] = None
    maps: Optional[examples.Maps] = None


@dataclasses.dataclass(frozen=True)
class Findings:
    """What was found about a model on a split of N examples and C classes.

    Attributes:
      split: the name of the split, such as `val`.
      other_split: whether the model was validated on another split.
      classes: the C class names, in label order.
      names: the N image names, in the order of the rows below.
      labels: float32 [N, C], 0, 1 or -1 (unknown).
      scores: float32 [N, C], probabilities.
      evidence: what was measured, and how sure it is.
      chosen: the thresholds of each class.
      source: what the files say of where they are from.
      more: further keys of `metrics.json`, such as the scores of each fold.
      suspects: the labels that look wrong, the least believable first; see `suspects.find`.
      images: names of images -> the images, uint8 [H, W, 3]; None where they are not at hand.
      masks: names of images -> their small masks, see `data.masks`; empty where there are none.
    """

    split: str
    other_split: bool
    classes: Sequence[str]
    names: Sequence[str]
    labels: np.ndarray
    scores: np.ndarray
    evidence: Evidence
    chosen: thresholds.ByClass
    source: Mapping[str, Any]
    more: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    suspects: Sequence[suspects.Suspect] = ()
    images: Optional[Callable[[Sequence[str]], Mapping[str, np.ndarray]]] = None
    masks: Mapping[str, bytes] = dataclasses.field(default_factory=dict)

    @property
    def metrics(self) -> dict[str, Any]:
        """The content of `metrics.json`."""
        resamples, groups = self.evidence.resamples, self.evidence.resamples.groups
        drawn = {"count": resamples.count, "seed": resamples.seed}
        if groups is not None:
            drawn["groups"] = len(set(groups))
        unknown = dict(zip(self.classes, (self.labels == UNKNOWN).sum(axis=0).tolist()))
        return {
            "split": self.split,
            "examples": len(self.labels),
            **{key: self.source[key] for key in ("model", "data") if key in self.source},
            **({"unknown": unknown} if any(unknown.values()) else {}),
            **self.evidence.measures,
            "intervals": self.evidence.intervals,
            "resamples": drawn,
            **self.more,
        }

    def file(self, stem: str, extension: str) -> str:
        """The name of one of the files."""
        return _name(self.split, self.other_split, stem, extension)

    def picture(self, kind: str, class_name: str) -> str:
        """The name of one of the pictures of a class: of its `pr_curve` or its `reliability`."""
        return _picture(self.split, self.other_split, kind, class_name)


def _name(split: str, other_split: bool, stem: str, extension: str) -> str:
    return f"{stem}_{split}{extension}" if other_split else f"{stem}{extension}"


def _picture(split: str, other_split: bool, kind: str, class_name: str) -> str:
    # No split has a dot in its name: so no two of these are the same.
    return f"{kind}{f'.{split}.' if other_split else '_'}{plots.slug(class_name)}.png"


_PICTURES = ("pr_curve", "reliability")


def check(folder: str, split: str, other_split: bool, classes: Sequence[str]) -> None:
    """Refuses a folder in which a file of another kind has the name of one that will be written.

    Args:
      folder: where the files will go.
      split: the name of the split, such as `val`.
      other_split: whether the model was validated on another split.
      classes: the C class names.

    Raises:
      UserError: naming the file.
    """
    name = functools.partial(_name, split, other_split)
    kinds: dict[str, Callable[[bytes], bool]] = {
        name("metrics", ".json"): lambda content: b'"average_precision"' in content,
        name("thresholds", ".json"): lambda content: b'"threshold"' in content,
        name("calibration", ".json"): lambda content: b'"method"' in content,
        f"predictions_{split}.csv": predictions.is_table,
        name("report", ".html"): lambda content: b"<title>cloudtf" in content,
        **({} if other_split else {_SUSPECTS: suspects.is_table, _SHEET: plots.is_picture}),
        **{
            _picture(split, other_split, kind, one): plots.is_picture
            for kind in _PICTURES
            for one in classes
        },
    }
    there = set(files.list_dir(folder)) if files.is_dir(folder) else set()
    for file in sorted(kinds.keys() & there):
        path = files.join(folder, file)
        files.check_output(path, "of an evaluation", kinds[file], setting="output_dir")


def write(folder: str, findings: Findings, background: Background) -> str:
    """Writes all files.

    Args:
      folder: where the files go; made if it is not there.
      findings: what the model scored on the split, and what follows from it.
      background: what the report says of the run and the records.

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
            _write(work, findings, background)
    return files.join(folder, findings.file("report", ".html"))


def _write(work: str, findings: Findings, background: Background) -> None:
    metrics, chosen = findings.metrics, findings.chosen
    files.write_json(os.path.join(work, findings.file("metrics", ".json")), metrics)
    path = os.path.join(work, findings.file("thresholds", ".json"))
    thresholds.write(path, chosen, findings.source)
    path = os.path.join(work, findings.file("calibration", ".json"))
    calibrated = findings.evidence.calibrated
    model_calibration.write(path, calibrated.classes, findings.source)
    predictions.write(
        os.path.join(work, f"predictions_{findings.split}.csv"),
        findings.names,
        findings.scores,
        findings.classes,
        findings.labels,
    )
    if not findings.other_split:
        text = suspects.table(findings.suspects)
        files.write_text(os.path.join(work, _SUSPECTS), text)
    thumbnails: Mapping[str, np.ndarray] = {}
    worth: Mapping[str, Sequence[examples.Example]] = {}
    if findings.images is not None:
        worth = examples.gather(
            findings.labels,
            findings.scores,
            findings.names,
            findings.classes,
            findings.images,
            background.maps,
            findings.masks,
        )
        first = findings.suspects[: suspects.MOST_DRAWN]
        if first:
            thumbnails = findings.images(sorted({one.image for one in first}))
            suspects.draw(os.path.join(work, _SHEET), findings.suspects, thumbnails)
    rows: list[dict[str, Any]] = []
    if background.history_path is not None and files.exists(background.history_path):
        rows = history.read(background.history_path)
    page.write(
        os.path.join(work, findings.file("report", ".html")),
        Material(
            title=background.title,
            metrics=metrics,
            chosen=chosen,
            source=findings.source,
            history=rows,
            fold_histories={
                fold: history.read(path)
                for fold, path in background.fold_history_paths.items()
                if files.exists(path)
            },
            learning_curve=_learning_curve(background.learning_curve_path),
            pictures=class_plots.draw(work, findings, rows),
            facts=background.facts,
            settings=background.settings,
            manifest=background.manifest,
            labels=findings.labels,
            scores=findings.scores,
            calibrated=calibrated.scores,
            groups=findings.evidence.resamples.groups,
            examples=worth,
            suspects=findings.suspects,
            thumbnails=thumbnails,
        ),
    )


def _learning_curve(path: Optional[str]) -> Mapping[str, Any]:
    """Its content; nothing where it is not there, or is damaged, since it is advice alone."""
    if path is None or not files.exists(path):
        return {}
    with contextlib.suppress(UserError):
        content = files.read_json(path)
        return content if isinstance(content, dict) else {}
    return {}


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
        findings.file("calibration", ".json"),
        f"predictions_{findings.split}.csv",
        findings.file("report", ".html"),
        *(() if findings.other_split else (_SUSPECTS, _SHEET)),
        *(findings.picture(kind, name) for kind in _PICTURES for name in classes),
    ]
