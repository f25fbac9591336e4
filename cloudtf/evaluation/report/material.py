"""What a report is made of."""

from __future__ import annotations

import dataclasses
from typing import Any, Mapping, Optional, Sequence

import numpy as np

from cloudtf.data import records
from cloudtf.evaluation.examples import Example
from cloudtf.evaluation.suspects import Suspect
from cloudtf.model.thresholds import ByClass


@dataclasses.dataclass(frozen=True)
class Material:
    """What a report is made of; a section whose part is not there is left out.

    Attributes:
      title: the heading of the page, and of its window.
      metrics: what `metrics.json` holds: `examples`, `split`, `unknown` where labels are, and
        `pr_auc`, `average_precision`, `brier`, `ece` and the latter two `_calibrated`, each by
        class and with `mean`, and `intervals` of the same keys; a value that does not exist is None
        or NaN.
      chosen: the thresholds of each class (see `choose_thresholds`).
      source: where the thresholds come from, the key `from` of `thresholds.json`.
      history: one mapping an epoch with the columns of `history.csv`.
      fold_histories: fold -> the same of its run, of a run of all folds.
      learning_curve: what heads that were fitted on parts of the images score, as in
        `learning_curve.json`; empty where there is none.
      pictures: kind (`history`, `curves` or `reliability`) -> caption -> path of a PNG file.
      facts: name -> text, such as the paths of model and records.
      settings: name -> value of the settings of the run.
      manifest: the content of the `dataset.json` of the records.
      labels: [N, C], 0, 1 or -1 (unknown).
      scores: [N, C], probabilities.
      calibrated: [N, C], the same after calibration.
      groups: the group of each image, [N], where some belong together; else None.
      examples: heading -> images that are worth a look.
      suspects: the labels that look wrong, the least believable first.
      thumbnails: names of images -> uint8 [H, W, 3], of the first suspects.
    """

    title: str
    metrics: Mapping[str, Any]
    chosen: ByClass
    source: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    history: Sequence[Mapping[str, Any]] = ()
    fold_histories: Mapping[str, Sequence[Mapping[str, Any]]] = dataclasses.field(
        default_factory=dict
    )
    learning_curve: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    pictures: Mapping[str, Mapping[str, str]] = dataclasses.field(default_factory=dict)
    facts: Mapping[str, str] = dataclasses.field(default_factory=dict)
    settings: Mapping[str, str] = dataclasses.field(default_factory=dict)
    manifest: Optional[records.Manifest] = None
    labels: Optional[np.ndarray] = None
    scores: Optional[np.ndarray] = None
    calibrated: Optional[np.ndarray] = None
    groups: Optional[Sequence] = None
    examples: Mapping[str, Sequence[Example]] = dataclasses.field(default_factory=dict)
    suspects: Sequence[Suspect] = ()
    thumbnails: Mapping[str, np.ndarray] = dataclasses.field(default_factory=dict)

    @property
    def classes(self) -> list[str]:
        """The C class names, in label order."""
        return list(self.chosen)


@dataclasses.dataclass(frozen=True)
class Limits:
    """How much a page may show, so that it stays small.

    Attributes:
      side: the longer side of a thumbnail, in pixels; 0: no thumbnails.
      cards: images in a group of thumbnails.
      pictures: pictures of a kind.
      rows: rows of the table of scores.
    """

    side: int
    cards: int
    pictures: int
    rows: int
