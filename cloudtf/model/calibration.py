"""`calibration.json`: what a score becomes, so that of those near 0.7 seven in ten are right.

    {
      "from": {"split": "val", "examples": 1109, "model": "runs/a/best.keras", ...},
      "classes": {
        "Fish": {"method": "isotonic", "from": [0.0, 0.31, ..., 1.0], "to": [0.02, ..., 0.99]},
        "Sugar": {"method": "temperature", "temperature": 1.4},
        "Gravel": {"method": "none"}
      }
    }

Every method keeps the order of the scores, so no decision and no area under a curve changes: a
calibrated score is at least the calibrated threshold where the score is at least the threshold.
`isotonic` is piecewise linear through the points that it lists, strictly rising; `temperature`
divides the logit. A hundredth of the score itself is in both, so that no two scores become one.
`cloudtf.evaluation.calibration` fits them.
"""

from __future__ import annotations

import dataclasses
import math
from typing import TYPE_CHECKING, Any, Mapping, Optional, Sequence

import numpy as np

from cloudtf import files
from cloudtf.errors import UserError, param
from cloudtf.reporter import report
from cloudtf.text import listed

if TYPE_CHECKING:
    import tensorflow as tf

METHODS = ("none", "temperature", "isotonic")
FILE = "calibration.json"
# So much of the score itself is in a calibrated one: the order is kept where the rest is flat.
OWN_SHARE = 0.01
# What float32 has next to 0 and 1, and what has a logit in it.
_LEAST, _GREATEST = 1e-30, 1 - 2.0**-24
_MOST = 1e6  # No number of a file is greater, nor a temperature less than one by so much.
_AGAIN = "make it again with `cloudtf evaluate`."

ByClass = Mapping[str, Mapping[str, Any]]


@dataclasses.dataclass(frozen=True)
class Calibration:
    """What `calibration.json` holds.

    Attributes:
      classes: class -> `method`, and what it needs, as in the file.
      source: what it was fitted on, as in `thresholds.json`; empty where the file does not say.
    """

    classes: ByClass
    source: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    def apply(self, scores: np.ndarray, class_names: Sequence[str]) -> np.ndarray:
        """Calibrated probabilities, float64 [N, C].

        Args:
          scores: [N, C], probabilities of the model.
          class_names: the C classes, in the order of the columns.
        """
        columns = [apply(self.classes[name], scores[:, i]) for i, name in enumerate(class_names)]
        return np.stack(columns, axis=1) if columns else np.zeros(np.shape(scores))


def apply(entry: Mapping[str, Any], scores: np.ndarray) -> np.ndarray:
    """The calibrated scores of one class: float64, of the same shape.

    Args:
      entry: the class's entry of the file.
      scores: probabilities of the model, any shape.

    >>> apply({"method": "temperature", "temperature": 2.0}, np.array([0.5, 0.9])).round(2)
    array([0.5 , 0.75])
    """
    scores = np.asarray(scores, np.float64)
    if entry["method"] == "isotonic":
        return np.interp(scores, entry["from"], entry["to"])
    if entry["method"] == "temperature":
        from scipy.special import expit

        return (1 - OWN_SHARE) * expit(logits(scores) / entry["temperature"]) + OWN_SHARE * scores
    return scores


def logits(scores: np.ndarray) -> np.ndarray:
    """The logits of probabilities, those that are 0 or 1 in float32 being as far as it goes."""
    kept = np.clip(scores, _LEAST, _GREATEST)
    return np.log(kept) - np.log1p(-kept)


def in_graph(probabilities: tf.Tensor, entries: Sequence[Mapping[str, Any]]) -> tf.Tensor:
    """The same as a part of a network, of ops that TFLite and ONNX have too.

    Args:
      probabilities: float32 [B, C].
      entries: the C entries of the file, in the order of the classes.

    Returns:
      float32 [B, C], within rounding of `apply`.
    """
    import tensorflow as tf

    by_method = {
        method: np.array([entry["method"] == method for entry in entries]) for method in METHODS
    }
    found = probabilities
    if by_method["temperature"].any():
        inverse = np.array([1 / entry.get("temperature", 1.0) for entry in entries], np.float32)
        kept = tf.clip_by_value(found, _LEAST, _GREATEST)
        scaled = tf.sigmoid((tf.math.log(kept) - tf.math.log(1 - kept)) * inverse)
        mixed = (1 - OWN_SHARE) * scaled + OWN_SHARE * found
        found = tf.where(by_method["temperature"], mixed, found)
    if by_method["isotonic"].any():
        # A sum of ramps, each from 0 to the rise of its piece: no piece, however steep, cancels
        # another one.
        most = max(len(entry.get("from", ())) for entry in entries)
        begins, width, rise = (np.zeros((len(entries), most - 1)) for _ in range(3))
        lowest = np.zeros(len(entries))
        width += 1
        for index in np.flatnonzero(by_method["isotonic"]):
            x, y = np.array(entries[index]["from"]), np.array(entries[index]["to"])
            begins[index, : len(x) - 1], lowest[index] = x[:-1], y[0]
            width[index, : len(x) - 1], rise[index, : len(x) - 1] = np.diff(x), np.diff(y)
        part = (probabilities[:, :, None] - begins.astype(np.float32)) * (1 / width).astype(
            np.float32
        )
        ramps = tf.clip_by_value(part, 0, 1) * rise.astype(np.float32)
        mapped = tf.reduce_sum(ramps, axis=2) + lowest.astype(np.float32)
        found = tf.where(by_method["isotonic"], mapped, found)
    return found


def write(path: str, classes: ByClass, source: Mapping[str, Any]) -> None:
    """Writes `calibration.json`; floats read back exactly.

    Args:
      path: the file to write, usually `calibration.json` beside the model.
      classes: class -> method, as in `Calibration`.
      source: what they were fitted on, as in `Calibration`.
    """
    _check(path, classes)
    files.write_json(path, {"from": source, "classes": classes})


def read(path: str) -> Calibration:
    """Reads `calibration.json`.

    Raises:
      UserError: the file is missing or is not JSON; there is no class in it, or a class has a
        method that is not known, or lacks what it needs.
    """
    raw = files.read_json(path)
    source = raw.get("from") if isinstance(raw, dict) else None
    if not isinstance(raw, dict) or not isinstance(source, dict):
        raise UserError(f"{path} does not say what it is from; {_AGAIN}")
    _check(path, raw.get("classes"))
    return Calibration(raw["classes"], source)


def of_model(
    path: str, class_names: Sequence[str], weights_sha256: str, flips: bool
) -> Calibration:
    """The calibration that lies beside a model, and belongs to it.

    Args:
      path: the .keras file that the scores are of.
      class_names: the C classes of the model, in any order.
      weights_sha256: its weights, see `saving.weights_sha256`.
      flips: whether scores are means over four flips (test-time augmentation).

    Raises:
      UserError: there is none, or it is of other classes or weights.
    """
    source = files.join(files.dirname(path), FILE)
    if not files.exists(source):
        raise UserError(
            f"{param(calibrated=True)} needs {source}, which is not there; make it with `cloudtf "
            "evaluate`."
        )
    found = read(source)
    if set(found.classes) != set(class_names):
        raise UserError(
            f"The classes of {path} ({listed(class_names)}) and of {source} "
            f"({listed(found.classes)}) differ; {_AGAIN}"
        )
    if found.source.get("weights_sha256", weights_sha256) != weights_sha256:
        raise UserError(f"{source} was made for other weights than those in {path}; {_AGAIN}")
    if bool(found.source.get("tta")) != flips:
        views = ("one view of each image", "the mean over four flips")
        report(f"Note: {source} is for {views[not flips]}, and these scores are {views[flips]}.")
    return found


def _check(path: str, classes: Any) -> None:
    if not isinstance(classes, dict) or not classes:
        raise UserError(f"{path} holds no calibration by class; {_AGAIN}")
    for name, entry in classes.items():
        problem = _problem(entry)
        if problem:
            raise UserError(f"{path} has for class {name} {problem}; {_AGAIN}")


def _problem(entry: Any) -> str:
    method = entry.get("method") if isinstance(entry, dict) else None
    if method not in METHODS:
        return f"a method that is not one of {', '.join(METHODS)}"
    if method == "temperature" and not _number(entry.get("temperature")) > 1 / _MOST:
        return "a temperature that is not a number over 0"
    if method == "isotonic":
        points = [_numbers(entry.get(key)) for key in ("from", "to")]
        x, y = points
        if x is None or y is None or len(x) != len(y) or len(x) < 2:
            return "points that are not two lists of as many numbers"
        if x[0] != 0 or x[-1] != 1 or y[0] < 0 or y[-1] > 1:
            return "points that do not go from 0 to 1"
        if not all(a < b for v in points if v for a, b in zip(v, v[1:])):
            return "points that do not rise"
    return ""


def _numbers(values: Any) -> Optional[list[float]]:
    if not isinstance(values, list) or any(math.isnan(_number(value)) for value in values):
        return None
    return values


def _number(value: Any) -> float:
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    return value if number and -_MOST < value < _MOST else math.nan
