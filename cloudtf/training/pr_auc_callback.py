"""A Keras callback that judges a model by its exact PR-AUC after each epoch."""

from __future__ import annotations

import math
from typing import Any, Callable, Iterable, Optional, Sequence

import numpy as np
import tensorflow as tf

from cloudtf import files
from cloudtf.errors import UserError, param, reason
from cloudtf.evaluation import history, plots, pr_auc, scoring
from cloudtf.model import saving
from cloudtf.model.optimizers import effective_learning_rate
from cloudtf.reporter import report
from cloudtf.training.config import TrainConfig
from cloudtf.training.patience import Patience
from cloudtf.training.sanity import NotFinite

# A best model that waits for its epoch's checkpoint.
_WAITING = "best.waiting.keras"

LossFunction = Callable[[tf.Tensor, tf.Tensor], tf.Tensor]


class PrAucCallback(tf.keras.callbacks.Callback):
    """PR-AUC and average precision a class on whole splits; best model, plateau, early stopping.

    Works in `model.fit` and in cloudtf's own loop. After each epoch every example is scored once
    (padding is masked out), so the figures do not depend on the batch size or on replicas. The
    mean PR-AUC over the validation data decides, always against the best so far:

    - a new best is kept as `best.keras`, with its figures in `best.json` (after `place_best`, if
      `best_waits`);
    - after `plateau_patience` epochs without one, the learning rate is multiplied by
      `plateau_factor`;
    - after `early_stopping_patience` epochs without one, training stops.

    Args:
      validation: batches of (images uint8 [B, H, W, 3], labels [B, C][, mask [B][, ...]]).
      class_names: C names.
      training: batches of training examples to measure too, always the same ones; or None.
      run_dir: folder for `best.keras`, `best.json`, `history.csv`, `pr_auc_history.png` and
        `tensorboard/`, made if it is not there; None writes nothing.
      stage: the name of this part of the run in the history.
      early_stopping_patience: epochs.
      plateau_patience: epochs.
      plateau_factor: in (0, 1].
      min_delta: by how much the score must beat the best.
      loss: (labels [N, C], probabilities [N, C]) -> [N], for the validation loss; or None.
      scorer: runs the model under a strategy; None runs it where it is.
      info: kept inside `best.keras`, read by `cloudtf evaluate` and `cloudtf predict`.
      tensorboard: whether to write TensorBoard summaries too.
      best_waits: write a new best under another name, for `place_best` to put in its place. A run
        that checkpoints does this only once a checkpoint has the epoch: after a kill in between,
        the epoch is done again, and perhaps not to the same bits.

    Raises:
      UserError: `run_dir` cannot be made.
    """

    def __init__(
        self,
        validation: Iterable,
        class_names: Sequence[str],
        *,
        training: Optional[Iterable] = None,
        run_dir: Optional[str] = None,
        stage: str = "fit",
        early_stopping_patience: int = TrainConfig.early_stopping_patience,
        plateau_patience: int = TrainConfig.plateau_patience,
        plateau_factor: float = TrainConfig.plateau_factor,
        min_delta: float = 0.0,
        loss: Optional[LossFunction] = None,
        scorer: Optional[scoring.Scorer] = None,
        info: Optional[dict[str, Any]] = None,
        tensorboard: bool = True,
        best_waits: bool = False,
    ) -> None:
        super().__init__()
        self.class_names = tuple(class_names)
        self.stage = stage
        self.rows: list[history.Row] = []
        self.best: Optional[dict[str, Any]] = None
        self.patience = Patience(early_stopping_patience, plateau_patience, min_delta)
        self.plateau_factor = plateau_factor
        self._validation = validation
        self._training = training
        self._run_dir = run_dir
        self._loss = loss
        self._scorer = scorer
        self._info = dict(info or {})
        self._writer: Optional[tf.summary.SummaryWriter] = None
        self._tensorboard = tensorboard and run_dir is not None
        self._warned = False
        self._best_waits = best_waits
        if run_dir is not None:
            # Now, and not after an epoch that would be lost.
            files.make_dirs(run_dir)

    def on_epoch_end(self, epoch: int, logs: Optional[dict[str, float]] = None) -> None:
        """Scores, records, and decides. `epoch` counts from 0, the history from 1.

        Raises:
          NotFinite: the validation loss or a score is not; nothing has been recorded.
        """
        logs = logs or {}
        row: history.Row = {"epoch": epoch + 1, "stage": self.stage}
        row["loss"] = float(logs.get("loss", float("nan")))
        scored, figures = self.measure(self._validation)
        if self._loss is not None:
            row["val_loss"] = scoring.mean_loss(self._loss, scored)
            if not math.isfinite(row["val_loss"]):
                raise NotFinite(f"The validation loss is {row['val_loss']}")
        else:
            row["val_loss"] = float(logs.get("val_loss", float("nan")))
        if self._training is not None:
            row.update(_columns("train", self.measure(self._training)[1]))
        row.update(_columns("val", figures))
        row["learning_rate"] = effective_learning_rate(self.model.optimizer)
        if "images_per_second" in logs:
            row["images_per_second"] = float(logs["images_per_second"])
        if figures.undefined and not self._warned:
            report(figures.warning("validation examples"))
            self._warned = True
        self.rows.append(row)
        decision = self.patience.update(figures.mean_pr_auc)
        if decision.is_best:
            self._keep(epoch, figures)
        self._write(row)
        if decision.stop:
            self.model.stop_training = True
        elif decision.lower_rate:
            rate = self.model.optimizer.learning_rate
            rate.assign(rate * self.plateau_factor)

    def measure(self, batches: Iterable) -> tuple[scoring.Scores, pr_auc.PrAuc]:
        """Scores every example of some batches with the model as it is."""
        if self._scorer is None:
            self._scorer = scoring.Scorer(self.model)
        scored = self._scorer.dataset(batches)
        if not np.isfinite(scored.scores).all():
            raise NotFinite("A probability that the model gives is not finite")
        return scored, pr_auc.score(scored.labels, scored.scores, self.class_names)

    def begin_stage(self, stage: str) -> None:
        """Starts counting anew; the best score over all stages stays the one to beat."""
        self.stage = stage
        self.patience.restart()

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

    def place_best(self) -> None:
        """Puts a best model that waits into its place, and what is known of it beside it."""
        if self._run_dir is None:
            return
        waiting = files.join(self._run_dir, _WAITING)
        if files.exists(waiting):
            files.move(waiting, files.join(self._run_dir, "best.keras"))
            self._write_best()

    def settle(self) -> None:
        """After `restore`: completes what a killed process was about to do with its best model.

        One that waits is put in its place if the restored state knows of it, and dropped if not.
        """
        if self._run_dir is None:
            return
        waiting = files.join(self._run_dir, _WAITING)
        if files.exists(waiting):
            epoch = saving.read_info(waiting)["best"]["epoch"]
            if self.best is None or self.best["epoch"] != epoch:
                files.remove(waiting)
        self.place_best()
        if self.best is not None:
            self._write_best()

    def _write_best(self) -> None:
        files.write_json(files.join(self._run_dir or "", "best.json"), self.best)

    def _keep(self, epoch: int, figures: pr_auc.PrAuc) -> None:
        self.best = {
            "epoch": epoch + 1,
            "stage": self.stage,
            "pr_auc": {**figures.pr_auc, "mean": figures.mean_pr_auc},
            "average_precision": {
                **figures.average_precision,
                "mean": figures.mean_average_precision,
            },
        }
        if self._run_dir is None:
            return
        # The model file says the same inside, so the two cannot disagree for good.
        saving.save_model(
            self.model,
            files.join(self._run_dir, _WAITING),
            {**self._info, "classes": list(self.class_names), "best": self.best},
        )
        if not self._best_waits:
            self.place_best()

    def _write(self, row: history.Row) -> None:
        if self._run_dir is None:
            return
        history.write(files.join(self._run_dir, "history.csv"), self.rows, self.class_names)
        plots.pr_auc_history(files.join(self._run_dir, "pr_auc_history.png"), self.rows)
        if self._tensorboard:
            self._write_summaries(row)

    def _write_summaries(self, row: history.Row) -> None:
        folder = files.join(self._run_dir or "", "tensorboard")
        try:
            if self._writer is None:
                self._writer = tf.summary.create_file_writer(folder)
            with self._writer.as_default(step=row["epoch"]):
                for name, value in row.items():
                    if isinstance(value, float):
                        tf.summary.scalar(name, value)
            self._writer.flush()
        except tf.errors.OpError as error:
            raise UserError(
                f"The summaries in {folder} cannot be written "
                f"({reason(error)}); make room, or train with {param(tensorboard=False)}."
            ) from error


def _columns(split: str, figures: pr_auc.PrAuc) -> history.Row:
    row = {f"{split}_pr_auc_{name}": value for name, value in figures.pr_auc.items()}
    row[f"{split}_pr_auc_mean"] = figures.mean_pr_auc
    for name, value in figures.average_precision.items():
        row[f"{split}_average_precision_{name}"] = value
    row[f"{split}_average_precision_mean"] = figures.mean_average_precision
    return row
