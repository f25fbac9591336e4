"""The history of a run: a row an epoch, as `history.csv` and for TensorBoard."""

from __future__ import annotations

import csv
import io
import math
from typing import Any, Optional, Sequence

from cloudtf import files
from cloudtf.errors import UserError, param, reason

Row = dict[str, Any]


def columns(class_names: Sequence[str]) -> list[str]:
    """The columns of `history.csv`, in order.

    Those with `second` in their names differ between runs that are alike to the bit otherwise.
    """
    words = [*class_names, "mean"]
    names = ["epoch", "stage", "loss", "val_loss"]
    for split in ("train", "val"):
        for metric in ("pr_auc", "average_precision"):
            names += [f"{split}_{metric}_{word}" for word in words]
    return [*names, "learning_rate", "images_per_second", "judging_seconds", "saving_seconds"]


def write(path: str, rows: Sequence[Row], class_names: Sequence[str]) -> None:
    """Writes `history.csv` whole.

    Floats are written so that they read back exactly; one that does not exist (NaN) is left empty.
    """
    text = io.StringIO()
    writer = csv.DictWriter(text, columns(class_names), restval="", lineterminator="\n")
    writer.writeheader()
    for row in rows:
        writer.writerow({name: _cell(value) for name, value in row.items()})
    files.write_text(path, text.getvalue())


def read(path: str, class_names: Optional[Sequence[str]] = None) -> list[Row]:
    """Reads `history.csv`: numbers as floats (`epoch` as int), empty cells left out.

    Args:
      path: the file, local or remote.
      class_names: the classes that it must be of; None: any.

    Raises:
      UserError: the file is missing, is not a history, or is one of other classes.
    """
    rows = []
    try:
        reader = csv.DictReader(io.StringIO(files.read_text(path)))
        if class_names is not None:
            scored = {n for n in reader.fieldnames or () if n.startswith("val_pr_auc_")}
            if scored != {f"val_pr_auc_{name}" for name in (*class_names, "mean")}:
                raise UserError(
                    f"{path} is not a history of the classes {', '.join(class_names)}; remove it, "
                    f"or give another {param('run_dir')}."
                )
        for raw in reader:
            row: Row = {"epoch": int(raw.pop("epoch")), "stage": raw.pop("stage")}
            row.update({name: float(value) for name, value in raw.items() if value})
            rows.append(row)
    except (KeyError, TypeError, ValueError, csv.Error) as error:
        raise UserError(
            f"Row {len(rows) + 1} of {path} is damaged ({type(error).__name__}: {reason(error)}); "
            "remove the file, or train again."
        ) from error
    return rows


def from_json(state: dict[str, Any]) -> dict[str, Any]:
    """The callback's state from a checkpoint: null, which JSON has for NaN, is NaN again.

    Args:
      state: with `rows` (a list of rows) and `best` (the content of `best.json`, or None).
    """

    def numbers(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: numbers(item) for key, item in value.items()}
        if isinstance(value, list):
            return [numbers(item) for item in value]
        return math.nan if value is None else value

    restored = dict(state)
    restored["rows"] = [numbers(row) for row in state.get("rows", [])]
    restored["best"] = numbers(state["best"]) if state.get("best") else None
    return restored


def _cell(value: Any) -> Any:
    if isinstance(value, float):
        return "" if math.isnan(value) else repr(value)
    return value
