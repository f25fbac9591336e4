"""`thresholds.json`: from which score on a model says that a class is present.

    {
      "from": {"split": "val", "examples": 1109, "model": "runs/a/best.keras", ...},
      "classes": {
        "Fish": {
          "recall": {"target": 0.94, "threshold": 0.21, "precision": 0.62, "recall": 0.942,
                     "confidence": 0.44},
          "recall_guaranteed": {"target": 0.94, "threshold": 0.17, ..., "confidence": 0.96},
          "precision": {"target": 0.9, "threshold": 0.83, ..., "confidence": 0.47},
          "precision_guaranteed": {"target": 0.9, "threshold": null, "precision": null,
                                   "recall": null, "confidence": null, "needs": 731}
        }
      }
    }

Files of the first version had the classes alone, without `from`, and older ones have `recall` and
`precision` alone, without `confidence`; they are still read.
"""

from __future__ import annotations

import dataclasses
from typing import Any, Mapping, Optional

from cloudtf import files
from cloudtf.errors import UserError, param
from cloudtf.text import listed

# Which threshold says that a class is present; the last two are chosen on request.
KINDS = ("recall", "recall_guaranteed", "precision", "precision_guaranteed", "f_beta", "cost")
_ALWAYS = ("recall", "precision")
_FOUND = ("threshold", "precision", "recall")
_KEYS = {kind: _FOUND if kind in ("f_beta", "cost") else ("target", *_FOUND) for kind in KINDS}

ByClass = Mapping[str, Mapping[str, Mapping[str, Any]]]


@dataclasses.dataclass(frozen=True)
class Thresholds:
    """What `thresholds.json` holds.

    Attributes:
      classes: what `cloudtf.choose_thresholds` gives: class -> kind of threshold -> what is known
        of it.
      source: what they were chosen from: `split`, `examples`, `model` (its path),
        `weights_sha256` (see `saving.weights_sha256`), `data` (the folder of the records),
        `folds` (a map of them, where each example was scored by the model of the fold that it was
        not trained on), `confidence`, `groups` (how many there are, where examples belong together;
        what is promised then holds for new groups) and `tta`; empty where the file does not say.
    """

    classes: ByClass
    source: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    def __str__(self) -> str:
        """What they were chosen from, as a phrase."""
        split, examples = self.source.get("split"), self.source.get("examples")
        if not isinstance(split, str) or not isinstance(examples, int):
            return "of examples that the file does not name"
        views = ", averaged over four flips" if self.source.get("tta") else ""
        folds = self.source.get("folds")
        if isinstance(folds, dict) and folds:
            return f"of {examples:,} examples out of {len(folds)} folds{views}"
        return f"of {examples:,} examples of {split[:100]}{views}"

    def at(self, kind: str, path: str) -> dict[str, Optional[float]]:
        """The thresholds of one kind: class -> threshold, None where none reaches the target.

        Args:
          kind: one of `KINDS`, such as `recall_guaranteed`.
          path: the file that they are from, which the refusal names.

        Raises:
          UserError: the file has none of that kind.
        """
        lacking = [name for name, by_kind in self.classes.items() if kind not in by_kind]
        if lacking:
            asked = {"f_beta": param(beta=1), "cost": param(costs="5:1")}.get(kind)
            again = f"`cloudtf evaluate` and {asked}" if asked else "`cloudtf evaluate`"
            raise UserError(
                f"{path} has no {kind!r} thresholds for {listed(lacking)}; make it again with "
                f"{again}."
            )
        return {name: by_kind[kind]["threshold"] for name, by_kind in self.classes.items()}


def write(path: str, classes: ByClass, source: Optional[Mapping[str, Any]] = None) -> None:
    """Writes `thresholds.json`; floats read back exactly.

    Args:
      path: the file to write, usually `thresholds.json` beside the model.
      classes: class -> kind -> what is known, as in `Thresholds`.
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
    for name, by_kind in classes.items():
        for kind, keys in _KEYS.items():
            entry = by_kind.get(kind) if isinstance(by_kind, dict) else None
            if not isinstance(entry, dict):
                if kind not in _ALWAYS and kind not in by_kind:
                    continue
                raise UserError(f"{path} has no {kind!r} entry for class {name}; {_AGAIN}")
            for key in keys:
                if key not in entry or not _allowed(entry[key], null=key != "target"):
                    raise UserError(
                        f"{path} has {repr(entry.get(key))[:40]} as the {key} of {kind!r} for "
                        f"class {name}, which is not a number from 0 to 1; {_AGAIN}"
                    )


def _allowed(value: Any, null: bool) -> bool:
    if value is None:
        return null
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    return number and 0 <= value <= 1  # NaN is neither.
