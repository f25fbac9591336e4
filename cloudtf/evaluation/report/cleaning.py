"""The section of what cleaning a submission by each threshold would do."""

from __future__ import annotations

import numpy as np

from cloudtf.evaluation import bootstrap, intervals
from cloudtf.evaluation.report import parts
from cloudtf.evaluation.report.material import Limits, Material
from cloudtf.submission import expected_dice

# The Dice of a mask where its class is there, where nothing else is known of it.
_DICE = 0.55
_SEED, _RESAMPLES = 0, 200


def cleaning(material: Material, limits: Limits) -> str:
    """How many (image, class) pairs each rule would empty, rightly and wrongly; of records with
    masks also what that does to the contest's score."""
    if material.labels is None or material.scores is None:
        return ""
    labels, scores = material.labels, material.scores
    with_masks = material.manifest is not None and material.manifest.mask_side > 0
    known = labels >= 0
    if not known.any():
        return ""
    kinds = list(dict.fromkeys(kind for by_kind in material.chosen.values() for kind in by_kind))
    rules = {}
    for kind in kinds:
        at = [by_kind.get(kind, {}).get("threshold") for by_kind in material.chosen.values()]
        # A class without a threshold keeps all its masks.
        below = scores < np.array([-np.inf if one is None else one for one in at])
        rules[kind.replace("_", " ")] = below & known
    if with_masks and material.calibrated is not None:
        dice = np.full(len(material.classes), _DICE)
        rules[f"expected Dice, of masks of {_DICE:g}"] = (
            _disbelieved(material.calibrated, dice) & known
        )
    resamples = bootstrap.Resamples(len(labels), _SEED, _RESAMPLES, material.groups)
    rows = []
    for name, emptied in rules.items():
        right, wrong = int((emptied & (labels == 0)).sum()), int((emptied & (labels > 0)).sum())
        row = [name, f"{right + wrong:,}", f"{right:,}", f"{wrong:,}"]
        rows.append([*row, _gain(labels, emptied, resamples)] if with_masks else row)
    headings = ["Present at", "Emptied", "Not there", "There"]
    text = (
        f"Of {int(known.sum()):,} pairs of an image and a class, cloudtf postprocess would empty "
        "those under the threshold: rightly where the class is not there, wrongly where it is."
    )
    if with_masks:
        headings.append("Contest's score")
        text += (
            f" The last column is what that adds to the mean score of a pair, if each had a mask, "
            f"of Dice {_DICE:g} where the class is there, with its 95% interval."
        )
    return parts.note(text) + parts.table(headings, rows, kind="loose cards")


def _disbelieved(scores: np.ndarray, dice: np.ndarray) -> np.ndarray:
    """Which masks cost more than they bring: bool [N, C]."""
    count, number = scores.shape
    classes = np.tile(np.arange(number), count)
    belief = expected_dice.assumed(dice)
    return expected_dice.margins(belief, scores.reshape(-1), classes).reshape(scores.shape) < 0


def _gain(labels: np.ndarray, emptied: np.ndarray, resamples: bootstrap.Resamples) -> str:
    """What emptying masks adds to the score of a pair, by the labels."""
    added = np.where(emptied, np.where(labels > 0, -_DICE, 1.0), 0.0).sum(axis=1)
    each = added / (labels >= 0).sum(axis=1).mean()
    draws = bootstrap.means(each[:, None], resamples)
    mean = float(each.mean())
    low, high = intervals.of_mean(mean, draws[:, 0])
    return f"{mean:+.3f} ({low:+.3f} to {high:+.3f})"
