"""The section of how to go on: the three things that are most likely to help.

Each rule looks at one figure of the run and says nothing where it is as it should be. First come
those of what makes scores say less than they seem to, as `cloudtf doctor` finds it in the records;
the others stand in the order of what was worth most in measurements (docs/RECIPE.md): trained
weights, all layers, larger images; then what the run itself shows.
"""

from __future__ import annotations

import math
import re
from html import escape
from typing import Any, Callable, Mapping, Optional

from cloudtf.errors import param
from cloudtf.evaluation.report.material import Limits, Material
from cloudtf.text import listed

MOST = 3
# Images smaller than this are worth making larger.
_SMALL = 128
# A class with fewer positives to learn from, or a score surer than this, is worth more images.
_FEW_POSITIVES, _WIDE = 100, 0.05
# The mean average precision that twice as many images must be worth.
_GAIN = 0.005
# So much better on what was learnt than on what was not.
_GAP = 0.08
_CALIBRATION_ERROR = 0.03
_SUSPECTS = 0.02
# More of all rows or photographs, left out at conversion, are worth a look.
_LEFT_OUT = 0.01
# A score over this leaves little to gain.
_ALL_BUT_RIGHT = 0.98
# The best epoch lies in this last part of all: the curve has not levelled off.
_LATE = 0.1

Rule = Callable[[Material], Optional[str]]


def advice(material: Material, limits: Limits) -> str:
    """What to do next, each with the figure that it rests on."""
    found = [text for text in (rule(material) for rule in RULES) if text is not None][:MOST]
    if not found:
        return ""
    lines = [re.sub(r"--\w[\w=]*", r"<code>\g<0></code>", escape(text)) for text in found]
    return "<ol>\n" + "\n".join(f"<li>{line}</li>" for line in lines) + "\n</ol>"


def _copies(material: Material) -> Optional[str]:
    manifest = material.manifest
    if manifest is None or not manifest.near_duplicates:
        return None
    if (manifest.settings or {}).get("near_duplicates") != "report":
        return None
    groups = manifest.near_duplicates
    count = sum(map(len, groups)) - len(groups)
    return (
        f"Convert again with {param(near_duplicates='together')}: {count:,} copies of "
        "other photographs were only reported, so that a model may be judged on what it has "
        "learnt (cloudtf doctor says which are in two splits)."
    )


def _lacking(material: Material) -> Optional[str]:
    averages = material.metrics["average_precision"]
    lacking = [name for name in material.classes if math.isnan(_number(averages[name]))]
    if not lacking:
        return None
    return (
        f"Label images of {listed(lacking, 4)}, some with and some without: the ones judged are "
        "all alike in that, so no score says whether the model knows it."
    )


def _left_out(material: Material) -> Optional[str]:
    manifest = material.manifest
    if manifest is None or not manifest.skipped:
        return None
    count, kept = len(manifest.skipped), sum(s.num_examples for s in manifest.splits.values())
    if count < _LEFT_OUT * (kept + count):
        return None
    first = manifest.skipped[0]
    return (
        f"Look at what was left out at conversion (skipped in dataset.json): {count:,} rows or "
        f"images beside {kept:,} that were kept, such as {first.get('file', '')[:80]}: "
        f"{first.get('reason', '')[:120]}."
    )


def _weights(material: Material) -> Optional[str]:
    if material.settings.get("weights") != "none":
        return None
    return (
        f"Begin with trained weights, {param(weights='imagenet')}: this network began with random "
        "ones. On three sets a fitted head on frozen ImageNet features scored 0.754, 0.824 and "
        "0.600 after 9 s, eight epochs from random weights 0.550, 0.822 and 0.575 after 114 s "
        "(docs/RECIPE.md)."
    )


def _rising(material: Material) -> Optional[str]:
    rows, best = _epochs(material)
    if best is None or len(rows) < 3 or best < len(rows) - 1 - _LATE * len(rows):
        return None
    before = _score(rows[max(0, best - max(1, len(rows) // 5))])
    gained = _score(rows[best]) - before
    if not gained > 0.002:
        return None
    return (
        f"Train longer ({param('epochs')}): the best epoch is number {best + 1} of {len(rows)}, "
        f"and the score rose by {gained:.3f} over the last fifth of them."
    )


def _whole(material: Material) -> Optional[str]:
    stages = {row.get("stage") for row in material.history}
    if not stages or "whole" in stages:
        return None
    return (
        "Train all layers (flags/finetune.flags): only the head was trained. On three sets "
        "that gained 0.042, 0.025 and 0.062 (docs/RECIPE.md)."
    )


def _size(material: Material) -> Optional[str]:
    manifest = material.manifest
    if manifest is None or max(manifest.image_height, manifest.image_width) >= _SMALL:
        return None
    return (
        f"Convert larger images ({param('image_height')}, {param('image_width')}): these are "
        f"{manifest.image_height} x {manifest.image_width}. From 64 to 128 pixels three sets went "
        "by -0.017, +0.013 and +0.049, in 1.5 times the time (docs/RECIPE.md)."
    )


def _gap(material: Material) -> Optional[str]:
    rows, best = _epochs(material)
    if best is None:
        return None
    train = _number(rows[best].get("train_pr_auc_mean"))
    gap = train - _score(rows[best])
    if not gap > _GAP:
        return None
    return (
        "Give it more images, or make it harder to learn those that there are by heart "
        f"(docs/AUGMENT.md, {param('dropout')}): in its best epoch the PR-AUC is {train:.3f} on "
        f"images that it was trained on and {train - gap:.3f} on others."
    )


def _positives(material: Material) -> Optional[str]:
    manifest, split = material.manifest, material.settings.get("train_split")
    if manifest is None or split not in manifest.splits:
        return None
    counts = manifest.splits[split].class_counts
    averages = material.metrics["average_precision"]
    rare = [
        name
        for name in material.classes
        if counts.get(name, 0) < _FEW_POSITIVES
        and _number(averages[name]) < _number(averages["mean"])
    ]
    if not rare:
        return None
    name = min(rare, key=lambda one: (_number(averages[one]), one))
    more = f", and {len(rare) - 1} more classes are like it" if len(rare) > 1 else ""
    return (
        f"Label more images of {name}: it has {counts.get(name, 0):,} to learn from and an average "
        f"precision of {averages[name]:.3f}, where the mean is {averages['mean']:.3f}{more}."
    )


def _more_images(material: Material) -> Optional[str]:
    curve = material.learning_curve
    try:
        images, scores = curve["images"], [float(value) for value in curve["average_precision"]]
        gain, low = float(curve["gain"]), float(curve["gain_interval"][0])
        said = ", ".join(f"{score:.3f} of {count:,}" for count, score in zip(images, scores))
    except (KeyError, TypeError, ValueError, IndexError):
        return None
    if not (gain > _GAIN and low > 0):
        return None
    return (
        f"Label more images: a head that was fitted on features scored, on others, {said}. "
        f"Twice as many may add up to {gain:.3f}, as the last doubling did."
    )


def _suspects(material: Material) -> Optional[str]:
    count = len(material.suspects)
    pairs = material.metrics["examples"] * len(material.classes)
    if not pairs or count / pairs < _SUSPECTS:
        return None
    return (
        f"Look through the labels that seem wrong (suspects.csv): {count:,} of {pairs:,}, "
        f"{100 * count / pairs:.1f}%."
    )


def _calibration(material: Material) -> Optional[str]:
    before, after = (_number(material.metrics[key]["mean"]) for key in ("ece", "ece_calibrated"))
    if not (before > _CALIBRATION_ERROR and after < before / 2):
        return None
    return (
        f"Use calibrated probabilities ({param(calibrated=True)} of predict and export): the "
        f"calibration error falls from {before:.3f} to {after:.3f}."
    )


def _more_to_judge_on(material: Material) -> Optional[str]:
    low, high = material.metrics["intervals"]["average_precision"]["mean"]
    if not _number(high) - _number(low) > _WIDE:
        return None
    return (
        f"Judge on more images (cloudtf train, {param(fold='all')}, judges on all): on "
        f"{material.metrics['examples']:,} the mean average precision is anything from {low:.3f} "
        f"to {high:.3f}, so that smaller gains cannot be seen."
    )


def _guarantees(material: Material) -> Optional[str]:
    needs = {
        name: by_kind["recall_guaranteed"]["needs"]
        for name, by_kind in material.chosen.items()
        if by_kind.get("recall_guaranteed", {}).get("needs")
    }
    if not needs:
        return None
    name = next(iter(needs))
    target = material.chosen[name]["recall_guaranteed"]["target"]
    return (
        f"Judge on more images if a recall of {target:g} must be sure: that takes {needs[name]:,} "
        f"positives, of which {len(needs):,} of {len(material.classes):,} classes have fewer."
    )


def _folds(material: Material) -> Optional[str]:
    alone = not material.settings.get("fold") and "folds" not in material.metrics
    score = _number(material.metrics["average_precision"]["mean"])
    if not alone or not material.history or not score < _ALL_BUT_RIGHT:
        return None
    return (
        f"Average the models of five folds ({param(fold='all')}, then cloudtf ensemble): it was "
        "worth 0.004, 0.013 and 0.008 on three sets, in five times the time (docs/RECIPE.md)."
    )


# The order of their worth; see above.
RULES: tuple[Rule, ...] = (
    _copies,
    _lacking,
    _left_out,
    _weights,
    _rising,
    _whole,
    _size,
    _positives,
    _more_images,
    _suspects,
    _gap,
    _more_to_judge_on,
    _calibration,
    _guarantees,
    _folds,
)


def _epochs(material: Material) -> tuple[list[Mapping[str, Any]], Optional[int]]:
    """The epochs with a validation score of the last stage, and which of them is the best."""
    rows = [row for row in material.history if math.isfinite(_score(row))]
    rows = [row for row in rows if row.get("stage") == rows[-1].get("stage")]
    best = max(range(len(rows)), key=lambda index: _score(rows[index]), default=None)
    return rows, best


def _score(row: Mapping[str, Any]) -> float:
    return _number(row.get("val_pr_auc_mean"))


def _number(value: Any) -> float:
    try:
        return float(value)
    except (TypeError, ValueError):
        return math.nan
