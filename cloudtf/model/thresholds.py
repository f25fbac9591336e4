"""`thresholds.json`: from which score on a model says that a class is present."""

from __future__ import annotations

from typing import Any, Optional

from cloudtf import files
from cloudtf.errors import UserError

TARGETS = ("recall", "precision")


def write(path: str, chosen: dict[str, dict[str, dict[str, Optional[float]]]]) -> None:
    """Writes `thresholds.json`; floats read back exactly.

    Raises:
      UserError: a value in `chosen` could not be read back (see `read`).
    """
    _check(path, chosen)
    files.write_json(path, chosen)


def read(path: str) -> dict[str, dict[str, dict[str, Optional[float]]]]:
    """Reads `thresholds.json`.

    Raises:
      UserError: the file is missing or is not JSON; there is no class in it; a class lacks an
        entry or has one that is not a number from 0 to 1, or null where that is allowed.
    """
    chosen = files.read_json(path)
    _check(path, chosen)
    return chosen


def _check(path: str, chosen: Any) -> None:
    again = "make it again with `cloudtf evaluate`."
    if not isinstance(chosen, dict) or not chosen:
        raise UserError(f"{path} holds no thresholds by class; {again}")
    for name, by_target in chosen.items():
        for target in TARGETS:
            entry = by_target.get(target) if isinstance(by_target, dict) else None
            if not isinstance(entry, dict):
                raise UserError(f"{path} has no {target!r} entry for class {name}; {again}")
            for key in ("target", "threshold", "precision", "recall"):
                if key not in entry or not _allowed(entry[key], null=key != "target"):
                    raise UserError(
                        f"{path} has {entry.get(key)!r} as the {key} of {target!r} for class "
                        f"{name}, which is not a number from 0 to 1; {again}"
                    )


def _allowed(value: Any, null: bool) -> bool:
    if value is None:
        return null
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    return number and 0 <= value <= 1  # NaN is neither.
