"""The head fitted on features: the stage of a run that comes before all steps."""

from __future__ import annotations

import time
from typing import Optional

import numpy as np
import tensorflow as tf

from cloudtf.data import splits
from cloudtf.evaluation import scoring
from cloudtf.model import head, logistic
from cloudtf.model.losses import Loss
from cloudtf.reporter import report
from cloudtf.training import features, learning_curve
from cloudtf.training.run import Run

_FOLDS = 4


def fit_head(run: Run, model: tf.keras.Model, loss: Loss) -> dict[str, float]:
    """Puts a logistic regression a class on the features of the training examples into the head.

    The strength of a class's ridge is chosen by cross-validation on these examples.

    Args:
      run: the run, all of whose workers take part.
      model: the network, of which only the head changes.
      loss: (labels [N, C], probabilities [N, C]) -> [N], which is only measured.

    Returns:
      The mean `loss` over all views, and `images_per_second` of computing features.

    Raises:
      LeftEarly: a stop is requested; what has been computed of the features is kept.
      UserError: the network has no head of the right kind.
    """
    began, count = time.perf_counter(), features.num_examples(run, model)
    if count < run.num_examples:
        report(f"Its features are of the first {count} training examples, as many as fit.")
    computed = features.compute(run, model)
    seconds = time.perf_counter() - began
    width, num_classes = computed.scores.shape[-1], computed.labels.shape[-1]
    # The kernel, the bias, and a row for the loss.
    fitted = np.zeros([width + 2, num_classes])
    if run.workers.is_chief:
        found = _fit(run, computed)
        fitted[:width], fitted[width] = found
        fitted[width + 1] = _mean_loss(loss, computed, found)
    fitted = run.workers.chief_gives(fitted)
    head.set_head(model, logistic.LinearHead(fitted[:width], fitted[width]))
    return {"loss": float(fitted[width + 1, 0]), "images_per_second": count / seconds}


def _folds(run: Run, computed: scoring.Scores) -> Optional[np.ndarray]:
    """The fold of each example, int [N], each group of photographs in one; None for too few."""
    labels, seed = computed.labels, run.config.seed
    if len(labels) < 2 * _FOLDS:
        return None
    if not run.data.photographs.are_grouped:
        return splits.stratified_folds(labels, _FOLDS, seed)
    group_of = run.data.groups(run.train_splits)
    groups = [group_of[number] for number in computed.numbers]
    if len(set(groups)) < 2 * _FOLDS:
        return None
    return splits.grouped(np.maximum(labels, 0), groups, [1 / _FOLDS] * _FOLDS, seed)


def _fit(run: Run, computed: scoring.Scores) -> logistic.LinearHead:
    regressions = logistic.RidgeLogistic(computed.scores, computed.labels)
    folds = _folds(run, computed)
    if folds is None:
        return regressions.fit(np.full(computed.labels.shape[1], logistic.USUAL_STRENGTH))
    strengths = regressions.choose(folds)
    found = regressions.fit(strengths)
    low, high = strengths.min(), strengths.max()
    report(f"Ridge by cross-validation: {low:.3g}{f' to {high:.3g}' if high > low else ''}.")
    config = run.config
    learning_curve.write(
        config.run_dir, regressions, computed.labels, folds, strengths, config.seed
    )
    return found


def _mean_loss(loss: Loss, computed: scoring.Scores, found: logistic.LinearHead) -> float:
    """The loss over all views of all examples."""
    views = computed.scores.shape[1]
    rows = computed.scores.reshape(-1, computed.scores.shape[-1])
    odds = rows @ found.kernel.astype(np.float32) + found.bias.astype(np.float32)
    probabilities = tf.sigmoid(odds).numpy()
    labels, numbers = (np.repeat(a, views, axis=0) for a in (computed.labels, computed.numbers))
    return scoring.mean_loss(loss, scoring.Scores(numbers, labels, probabilities))
