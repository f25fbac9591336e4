"""`thresholds.json`: from which score on a model says that a class is present.

    {
      "from": {"split": "val", "examples": 1109, "model": "runs/a/best.keras", ...},
      "classes": {
        "Fish": {
          "recall": {"target": 0.94, "threshold": 0.21, "precision": 0.62, "recall": 0.94},
          "precision": {"target": 0.9, "threshold": null, "precision": null, "recall": null}
        }
      }
    }

Files of the first version had the classes alone, without `from`; they are still read.
"""

from __future__ import annotations

import dataclasses
from typing import Any, Mapping, Optional

from cloudtf import files
from cloudtf.errors import UserError

TARGETS = ("recall", "precision")
_KEYS = ("target", "threshold", "precision", "recall")

ByClass = Mapping[str, Mapping[str, Mapping[str, Optional[float]]]]


@dataclasses.dataclass(frozen=True)
class Thresholds:
    """What `thresholds.json` holds.

    Attributes:
      classes: what `cloudtf.evaluation.thresholds.choose` gives: class -> `recall` and
        `precision`, each with `target`, `threshold`, `precision` and `recall`.
      source: what they were chosen from: `split`, `examples`, `model` (its path),
        `weights_sha256` (see `saving.weights_sha256`), `data` (the folder of the records) and
        `tta`; empty where the file does not say.
    """

    classes: ByClass
    source: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    def __str__(self) -> str:
        """What they were chosen from, as a phrase."""
        split, examples = self.source.get("split"), self.source.get("examples")
        if not isinstance(split, str) or not isinstance(examples, int):
            return "of examples that the file does not name"
        views = ", averaged over four flips" if self.source.get("tta") else ""
        return f"of {examples:,} examples of {split[:100]}{views}"


def write(path: str, classes: ByClass, source: Optional[Mapping[str, Any]] = None) -> None:
    """Writes `thresholds.json`; floats read back exactly.

    Args:
      path: the file to write, usually `thresholds.json` beside the model.
      classes: class -> `recall` and `precision`, as in `Thresholds`.
      source: what they were chosen from, as in `Thresholds`; None where that is not known.

    Raises:
      UserError: a value could not be read back (see `read`).
    """
    _check(path, classes)
    files.write_json(path, {"from": source or {}, "classes": classes})


def read(path: str) -> Thresholds:
    """Reads `thresholds.json`.

    Raises:
      UserError: the file is missing or is not JSON; there is no class in it; a class lacks an
        entry or has one that is not a number from 0 to 1, or null where that is allowed.
    """
    raw = files.read_json(path)
    source, classes = {}, raw
    if isinstance(raw, dict) and set(raw) <= {"from", "classes"} and not _is_flat(raw):
        source, classes = raw.get("from", {}), raw.get("classes")
        if not isinstance(source, dict):
            raise UserError(f"{path} does not say what it is from; {_AGAIN}")
    _check(path, classes)
    return Thresholds(classes, source)


_AGAIN = "make it again with `cloudtf evaluate`."


def _is_flat(raw: dict[str, Any]) -> bool:
    """Whether `from` and `classes` are classes themselves, in a file of the first version."""
    classes = raw.get("classes")
    entry = classes.get("recall") if isinstance(classes, dict) else None
    return isinstance(entry, dict) and "target" in entry


def _check(path: str, classes: Any) -> None:
    if not isinstance(classes, dict) or not classes:
        raise UserError(f"{path} holds no thresholds by class; {_AGAIN}")
    for name, by_target in classes.items():
        for target in TARGETS:
            entry = by_target.get(target) if isinstance(by_target, dict) else None
            if not isinstance(entry, dict):
                raise UserError(f"{path} has no {target!r} entry for class {name}; {_AGAIN}")
            for key in _KEYS:
                if key not in entry or not _allowed(entry[key], null=key != "target"):
                    raise UserError(
                        f"{path} has {repr(entry.get(key))[:40]} as the {key} of {target!r} for "
                        f"class {name}, which is not a number from 0 to 1; {_AGAIN}"
                    )


def _allowed(value: Any, null: bool) -> bool:
    if value is None:
        return null
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    return number and 0 <= value <= 1  # NaN is neither.
