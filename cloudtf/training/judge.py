"""Judges a model after each epoch by its exact PR-AUC, keeps the best, and decides what follows."""

from __future__ import annotations

import math
import time
from typing import Any, Callable, Iterable, Optional, Sequence

import numpy as np
import tensorflow as tf

from cloudtf.errors import UserError
from cloudtf.evaluation import evidence, history, pr_auc, scoring
from cloudtf.model.optimizers import effective_learning_rate
from cloudtf.reporter import report
from cloudtf.training.patience import Decision, Patience
from cloudtf.training.results import ResultFolder
from cloudtf.training.sanity import NotFinite
from cloudtf.training.summaries import TRAIN, VALIDATION

LossFunction = Callable[[tf.Tensor, tf.Tensor], tf.Tensor]


class Judge:
    """PR-AUC and average precision a class on whole splits, and what follows from them.

    After each epoch every example is scored once (padding is masked out), so the figures do not
    depend on the batch size or on replicas. The mean PR-AUC over the validation data decides,
    always against the best so far.

    Args:
      model: from uint8 images [B, H, W, 3] to probabilities [B, C]; with an optimizer.
      validation: batches of (images uint8 [B, H, W, 3], labels [B, C][, mask [B][, ...]]).
      class_names: the names of the C classes, in label order.
      patience: decides on the scores.
      training: batches of training examples to measure too, always the same ones; or None.
      results: where the best model and the history are written; None writes nothing.
      loss: (labels [N, C], probabilities [N, C]) -> [N], for the validation loss; or None.
      scorer: runs the model under a strategy; None runs it where it is.
      info: JSON values kept inside `best.keras`, for the commands that use it.
      groups: the group of each validation example by its number, where some belong together: the
        intervals of the best model's figures are drawn by whole groups.
      stage: the name of this part of the run in the history.
      best_waits: leave a new best under another name, until `publish` is called. A run that
        checkpoints does this only once a checkpoint has the epoch: after a kill in between, the
        epoch is done again, and perhaps not to the same bits.

    Attributes:
      rows: the history so far, a row of `history.csv` an epoch.
      best: the content of `best.json`: epoch, stage and figures; None before there is one.
    """

    def __init__(
        self,
        model: tf.keras.Model,
        validation: Iterable,
        class_names: Sequence[str],
        patience: Patience,
        *,
        training: Optional[Iterable] = None,
        results: Optional[ResultFolder] = None,
        loss: Optional[LossFunction] = None,
        scorer: Optional[scoring.Scorer] = None,
        info: Optional[dict[str, Any]] = None,
        groups: Optional[Sequence[str]] = None,
        stage: str = "fit",
        best_waits: bool = False,
    ) -> None:
        self.rows: list[history.Row] = []
        self.best: Optional[dict[str, Any]] = None
        self.patience, self.stage = patience, stage
        self._model, self._class_names = model, tuple(class_names)
        self._validation, self._training = validation, training
        self._results, self._loss = results, loss
        self._scorer = scorer or scoring.Scorer(model)
        self._info, self._best_waits = dict(info or {}), best_waits
        self._groups, self._warned = groups, False

    def judge(
        self, number: int, logs: dict[str, float], learning_rate: Optional[float] = None
    ) -> Decision:
        """Scores, records, keeps the model if it is the best, and decides.

        Args:
          number: the number of the epoch, from 1 over all stages.
          logs: the epoch's `loss`; `images_per_second`, `saving_seconds` and, without a loss
            function, `val_loss` where they are known.
          learning_rate: the rate in effect; None: that of the model's optimizer.

        Raises:
          NotFinite: the validation loss or a score is not; nothing has been recorded.
        """
        began = time.perf_counter()
        row: history.Row = {"epoch": number, "stage": self.stage}
        row["loss"] = float(logs.get("loss", math.nan))
        scored, figures = self.measure(self._validation)
        if self._loss is not None:
            row["val_loss"] = scoring.mean_loss(self._loss, scored)
            if not math.isfinite(row["val_loss"]):
                raise NotFinite(f"The validation loss is {row['val_loss']}")
        else:
            row["val_loss"] = float(logs.get("val_loss", math.nan))
        curves = {VALIDATION: scored}
        if self._training is not None:
            curves[TRAIN], of_training = self.measure(self._training)
            row.update(_columns("train", of_training))
        row.update(_columns("val", figures))
        if learning_rate is None:
            learning_rate = effective_learning_rate(self._model.optimizer)
        row["learning_rate"] = learning_rate
        for name in ("images_per_second", "saving_seconds"):
            if name in logs:
                row[name] = float(logs[name])
        if figures.undefined and not self._warned:
            report(figures.warning("validation examples"))
            self._warned = True
        self.rows.append(row)
        decision = self.patience.update(figures.mean_pr_auc)
        # Where the best model has been lost, the next one takes its place.
        if decision.is_best or self.best is None:
            self.keep_if_better(number, self.stage, scored, figures)
        row["judging_seconds"] = time.perf_counter() - began
        if self._results is not None:
            self._results.write_history(self.rows)
            if self._results.summaries is not None:
                self._results.summaries.keep_curves(number, curves)
        if not self._best_waits:
            self.publish()
        return decision

    def keep_if_better(
        self, number: int, stage: str, scored: scoring.Scores, figures: pr_auc.PrAuc
    ) -> bool:
        """Keeps the model as it is as the best one, unless the best so far is as good.

        Args:
          number: the number of the epoch that it is of.
          stage: a stage of the history, or `soup` for an average of epochs; for `best.json`.
          scored: what the model said of the validation split.
          figures: PR-AUC and average precision of that.
        """
        to_beat = -math.inf if self.best is None else self.best["pr_auc"]["mean"]
        if not figures.mean_pr_auc > to_beat:
            return False
        self.best = {
            "epoch": number,
            "stage": stage,
            "pr_auc": {**figures.pr_auc, "mean": figures.mean_pr_auc},
            "average_precision": {
                **figures.average_precision,
                "mean": figures.mean_average_precision,
            },
        }
        groups = self._groups and [self._groups[number] for number in scored.numbers]
        intervals = evidence.of_areas(scored.labels, scored.scores, figures, groups)
        if intervals is not None:
            self.best["intervals"] = intervals
        self.keep_best()
        return True

    def validated(self) -> tuple[scoring.Scores, pr_auc.PrAuc]:
        """What the model says of the validation split, and the areas; nothing is recorded.

        Raises:
          NotFinite: a probability is not.
        """
        return self.measure(self._validation)

    def measure(self, batches: Iterable) -> tuple[scoring.Scores, pr_auc.PrAuc]:
        """Scores every example of some batches with the model as it is.

        Raises:
          NotFinite: a probability is not.
          UserError: there are no examples.
        """
        scored = self._scorer.dataset(batches)
        if not len(scored.labels):
            raise UserError(
                "There are no examples to measure; batches must give the same ones each time that "
                "they are gone through."
            )
        if not np.isfinite(scored.scores).all():
            raise NotFinite("A probability that the model gives is not finite")
        return scored, pr_auc.score(scored.labels, scored.scores, self._class_names)

    def begin_stage(self, stage: str) -> None:
        """Starts counting anew; the best score over all stages stays the one to beat."""
        self.stage = stage
        self.patience.restart()

    def forget_best(self) -> None:
        """Lets the next model be kept as the best: the file of the one so far has been lost."""
        assert self._results is not None and self.best is not None
        report(
            f"{self._results.path('best.keras')}, the model of epoch {self.best['epoch']}, is gone "
            "or damaged; the next epoch's model takes its place."
        )
        self.best = None

    def keep_best(self) -> None:
        """Writes the model as the best one; it waits for `publish`."""
        if self._results is not None and self.best is not None:
            self._results.keep(self._model, self.best, self._info)

    def publish(self) -> None:
        """Puts a best model that waits into its place, and gives the history to TensorBoard."""
        if self._results is not None:
            self._results.place_best(self.best)
            if self._results.summaries is not None:
                self._results.summaries.write(self.rows)

    def state(self) -> dict[str, Any]:
        """All that the next epoch depends on, as JSON values, for a checkpoint."""
        return {
            "stage": self.stage,
            "rows": self.rows,
            "best": self.best,
            "patience": self.patience.state(),
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Takes back what `state` gave, also after a way through JSON."""
        state = history.from_json(state)
        self.stage = state["stage"]
        self.rows = [dict(row) for row in state["rows"]]
        self.best = state["best"]
        self.patience.restore(state["patience"])


def _columns(split: str, figures: pr_auc.PrAuc) -> history.Row:
    row = {f"{split}_pr_auc_{name}": value for name, value in figures.pr_auc.items()}
    row[f"{split}_pr_auc_mean"] = figures.mean_pr_auc
    for name, value in figures.average_precision.items():
        row[f"{split}_average_precision_{name}"] = value
    row[f"{split}_average_precision_mean"] = figures.mean_average_precision
    return row
