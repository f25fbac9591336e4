"""The sections of what lies behind a score: the records, the run and its settings."""

from __future__ import annotations

import dataclasses
import math
from html import escape
from typing import Any, Mapping, Optional

from cloudtf.data import records
from cloudtf.errors import param
from cloudtf.evaluation.report import parts, pictures
from cloudtf.evaluation.report.material import Limits, Material
from cloudtf.text import duration, extremes

# Column of history.csv -> heading and number format. The columns a class are left to the CSV.
_HISTORY_COLUMNS = {
    "epoch": ("Epoch", "g"),
    "stage": ("Stage", ""),
    "loss": ("Loss", ".4f"),
    "val_loss": ("Val. loss", ".4f"),
    "train_pr_auc_mean": ("PR-AUC, train", ".4f"),
    "val_pr_auc_mean": ("PR-AUC, val.", ".4f"),
    "learning_rate": ("Learning rate", ".3g"),
    "images_per_second": ("Images/s", ".1f"),
}
# Splits that are a column each.
_MOST_SPLITS = 6


def balance(material: Material, limits: Limits) -> str:
    """How many images of each split show each class."""
    manifest = material.manifest
    splits = [] if manifest is None else [s for s in manifest.splits.values() if s.class_counts]
    if manifest is None or not splits:
        return ""
    of_all = manifest.joined([split.name for split in splits])
    least, greatest = extremes({name: of_all.class_counts[name] for name in manifest.classes})
    columns = splits[:_MOST_SPLITS] if len(splits) > 1 else splits
    rows: list[tuple[str, ...]] = [("images", *(f"{s.num_examples:,}" for s in columns))]
    for name in [*least, *greatest]:
        rows.append((name, *(_share(split, name) for split in columns)))
    notes = []
    if len(least) + len(greatest) < len(manifest.classes):
        notes.append(
            f"Of {len(manifest.classes):,} classes the {len(least)} rarest and the "
            f"{len(greatest)} most frequent are shown."
        )
    if len(splits) > len(columns):
        notes.append(f"{len(splits) - len(columns)} more splits are in {records.MANIFEST_NAME}.")
    lacking = [
        f"{name} in {split.name}"
        for split in splits
        for name in manifest.classes
        if not split.class_counts.get(name)
    ]
    if lacking:
        more = f" and {len(lacking) - 12:,} more" if len(lacking) > 12 else ""
        notes.append(f"There is no image of {', '.join(lacking[:12])}{more}.")
    if manifest.near_duplicates:
        copies = sum(map(len, manifest.near_duplicates))
        notes.append(
            f"{copies:,} images are copies of others, in {len(manifest.near_duplicates):,} groups."
        )
    if manifest.skipped:
        notes.append(f"{len(manifest.skipped):,} rows or images were left out at conversion.")
    size = f"{manifest.image_height} x {manifest.image_width} pixels, JPEG {manifest.jpeg_quality}"
    return parts.table(("Class", *(s.name for s in columns)), rows) + parts.note(
        " ".join([f"Images of {size}.", *notes])
    )


def _share(split: records.Split, name: str) -> str:
    count, known = split.class_counts.get(name, 0), split.num_known(name)
    return f"{count:,} ({parts.percent(count / known if known else None)})"


def history(material: Material, limits: Limits) -> str:
    """The scores over the epochs, and how long each stage took."""
    if not material.history:
        return _stages(material)
    columns = [key for key in _HISTORY_COLUMNS if any(key in row for row in material.history)]
    rows = [
        [parts.cell(row.get(key), _HISTORY_COLUMNS[key][1]) for key in columns]
        for row in material.history
    ]
    headings = [_HISTORY_COLUMNS[key][0] for key in columns]
    body = parts.table(headings, rows, text=2 if "stage" in columns else 1, kind="tight")
    epochs = f"{len(rows)} epoch{'' if len(rows) == 1 else 's'}"
    return (
        pictures.sheet(material, "history", limits) + _stages(material) + parts.folded(epochs, body)
    )


@dataclasses.dataclass
class _Stage:
    """What the epochs of a stage came to; NaN where an epoch does not say."""

    epochs: int = 0
    images: int = 0
    training: float = 0.0
    judging: float = 0.0
    saving: float = 0.0


def _stages(material: Material) -> str:
    """Epochs, images, time and speed of each stage, over all folds."""
    own = f"fold{material.settings.get('fold')}"
    found: dict[str, _Stage] = {}
    for fold, rows in (material.fold_histories or {own: material.history}).items():
        for row in rows:
            name = str(row.get("stage") or "")
            images = _images_an_epoch(material, name, fold)
            speed = _number(row.get("images_per_second"))
            if images is None or not speed:
                return ""
            stage = found.setdefault(name, _Stage())
            stage.epochs += 1
            stage.images += images
            stage.training += images / speed
            stage.judging += row.get("judging_seconds", math.nan)
            stage.saving += row.get("saving_seconds", math.nan)
    if not found:
        return ""
    table = [
        (
            name,
            f"{stage.epochs:,}",
            f"{stage.images:,}",
            *(_duration(of) for of in (stage.training, stage.judging, stage.saving)),
            f"{stage.images / stage.training:.1f}",
        )
        for name, stage in found.items()
    ]
    training, judging, saving = (
        sum(getattr(stage, what) for stage in found.values())
        for what in ("training", "judging", "saving")
    )
    folds = len(material.fold_histories)
    of = f" of {folds} folds" if folds else ""
    if math.isfinite(judging + saving):
        total = training + judging + saving
        text = (
            f"The run{of} took {duration(total)}, without its start and its last checkpoint. So "
            "many hours of the machine are its cost."
        )
    else:
        text = (
            f"Training{of} took {duration(training)}, without what judges and saves after each "
            "epoch, of which this history does not say how long it took."
        )
    headings = ("Stage", "Epochs", "Images", "Training", "Judging", "Saving", "Images/s")
    return parts.table(headings, table) + parts.note(
        f"{text} An image counts as often as it was trained on."
    )


def _duration(seconds: float) -> str:
    return duration(seconds) if math.isfinite(seconds) else parts.DASH


def _images_an_epoch(material: Material, stage: str, fold: str) -> Optional[int]:
    """How many images an epoch of a stage has; None where that is not known."""
    settings, manifest = material.settings, material.manifest
    if manifest is None or "train_split" not in settings:
        return None
    names = [settings["train_split"]]
    if settings.get("fold"):
        names = [name for name in manifest.splits if name.startswith("fold") and name != fold]
    pseudo = any(name.startswith(records.PSEUDO) for name in manifest.splits)
    if pseudo or not names or not all(name in manifest.splits for name in names):
        return None  # Which labels by a model a run has learnt from is not in its settings.
    steps = _number(settings.get("steps_per_epoch"))
    if steps and stage != "features":
        each = _number(settings.get("batch_size")) or 0
        return round(steps * each * (_number(settings.get("accumulate_steps")) or 1)) or None
    return sum(manifest.splits[name].num_examples for name in names) or None


def _number(value: Any) -> Optional[float]:
    try:
        return float(value)
    except (TypeError, ValueError):
        return None


def settings(material: Material, limits: Limits) -> str:
    """Paths, and the settings of the run."""
    named = {param(name): value for name, value in material.settings.items()}
    return facts_table({**material.facts, **named})


def facts_table(facts: Mapping[str, str]) -> str:
    """A table of names and texts; nothing where there are none."""
    if not facts:
        return ""
    rows = "\n".join(
        f'<tr><th scope="row">{escape(name)}</th><td class="fact">{escape(str(text))}</td></tr>'
        for name, text in facts.items()
    )
    return f'<div class="wide"><table class="facts"><tbody>\n{rows}\n</tbody></table></div>'
