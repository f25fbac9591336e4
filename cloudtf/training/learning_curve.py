"""What more images would bring, from what fewer would have: the fitted head of parts of them.

A head is fitted on a quarter, half and all of the images that cross-validation leaves, with the
strengths that were chosen for all, and judged on the others. What the last doubling was worth is
about what the next would be at most: such curves flatten.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from cloudtf import files
from cloudtf.evaluation import bootstrap, intervals
from cloudtf.model.logistic import RidgeLogistic

NAME = "learning_curve.json"
SHARES = (0.25, 0.5, 1.0)
# Of fewer, a quarter is too few to learn from.
_LEAST = 400
# As in the choice of strengths, only the first so many take part.
_MOST = 20_000


def write(
    run_dir: str,
    regressions: RidgeLogistic,
    labels: np.ndarray,
    folds: np.ndarray,
    strengths: np.ndarray,
    seed: int,
) -> None:
    """Writes `learning_curve.json` into a run folder, if there are images enough for one.

    Args:
      run_dir: the folder of the run, which has its history and best model.
      regressions: those of N images and C classes.
      labels: [N, C], 0, 1 or -1 (unknown).
      folds: int [N], the fold of each image.
      strengths: [C], of the ridge of each class.
      seed: keys which images are in a quarter and in half.
    """
    labels, folds = labels[:_MOST], folds[:_MOST]
    if len(labels) < _LEAST:
        return
    files.write_json(
        files.join(run_dir, NAME), measured(regressions, labels, folds, strengths, seed)
    )


def measured(
    regressions: RidgeLogistic,
    labels: np.ndarray,
    folds: np.ndarray,
    strengths: np.ndarray,
    seed: int,
) -> dict[str, Any]:
    """The learning curve of the fitted head.

    Args:
      regressions: those of N images or more, of which the first N count, and C classes.
      labels: [N, C], 0, 1 or -1 (unknown).
      folds: int [N], the fold of each image.
      strengths: [C], of the ridge of each class.
      seed: keys which images are in a quarter and in half.

    Returns:
      `images`, how many the heads were fitted on; `average_precision`, their mean over the classes
      that have one, of images that they were not fitted on; `gain`, what the last doubling was
      worth, and `gain_interval`, in which it lies for 95% of sets to judge it on (null where the
      labels are too many to draw resamples of in a second).
    """
    order = np.random.default_rng(seed).permutation(len(labels)) / len(labels)
    odds = [regressions.held_out(folds, strengths, order < share) for share in SHARES]
    averages = [bootstrap.areas(labels, of, None).average_precision[0] for of in odds]
    known = np.isfinite(averages).all(axis=0)
    means = [float(of[known].mean()) if known.any() else float("nan") for of in averages]
    kept = 1 - 1 / (int(folds.max()) + 1)
    result = {
        "images": [round(share * kept * len(labels)) for share in SHARES],
        "average_precision": means,
        "gain": means[-1] - means[-2],
        "gain_interval": None,
    }
    count = bootstrap.affordable_beside_training(labels)
    if count and known.any():
        resamples = bootstrap.Resamples(len(labels), seed, count)
        less, more = (
            bootstrap.mean_of_classes(bootstrap.areas(labels, of, resamples).average_precision)
            for of in odds[-2:]
        )
        result["gain_interval"] = list(intervals.of_mean(means[-1] - means[-2], more - less))
    return result
