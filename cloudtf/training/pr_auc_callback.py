"""A Keras callback that judges a model by its exact PR-AUC after each epoch of `model.fit`."""

from __future__ import annotations

import math
from typing import Any, Iterable, Optional, Sequence

import tensorflow as tf

from cloudtf import files
from cloudtf.evaluation import history
from cloudtf.model.optimizers import lower_learning_rate
from cloudtf.reporter import report
from cloudtf.training import fit_checks
from cloudtf.training.config import TrainConfig
from cloudtf.training.judge import Judge, LossFunction
from cloudtf.training.patience import Patience
from cloudtf.training.results import ResultFolder


class PrAucCallback(tf.keras.callbacks.Callback):
    """PR-AUC and average precision a class on whole splits; best model, plateau, early stopping.

    After each epoch of `model.fit` every example is scored once (padding is masked out), so the
    figures do not depend on the batch size or on replicas. They go into the logs of the epoch as
    `val_pr_auc_CLASS`, `val_pr_auc_mean`, `val_average_precision_CLASS` and so on, for callbacks
    that come later in the list. The mean PR-AUC over the validation data decides, always against
    the best so far:

    - a new best is kept as `best.keras`, with its figures in `best.json`;
    - after `plateau_patience` epochs without one, the learning rate is multiplied by
      `plateau_factor`;
    - after `early_stopping_patience` epochs without one, training stops.

    Each fit begins anew: its best score is its own, and so is its patience. What an earlier fit has
    left in `run_dir` stays: its rows of `history.csv`, after which the epochs are numbered on, and
    its `best.keras`, unless this fit comes to a better one. A fit that begins after epoch 0, by
    `initial_epoch` or tf.keras.callbacks.BackupAndRestore, goes on with the earlier one, and so
    does any fit with `resume`.

    Args:
      validation: batches of (images uint8 [B, H, W, 3], labels [B, C][, mask [B][, ...]]), such as
        a tf.data.Dataset; gone through after each epoch.
      class_names: the names of the C classes, in label order.
      training: batches of training examples to measure too, always the same ones; or None.
      run_dir: folder for `best.keras`, `best.json`, `history.csv`, `pr_auc_history.png` and
        `tensorboard/`, made if it is not there; None writes nothing.
      stage: the name of this part of the run in the history.
      early_stopping_patience: epochs without a better score after which training stops.
      plateau_patience: epochs without a better score after which the rate is lowered.
      plateau_factor: by what the rate is multiplied then, in (0, 1]; 1.0 leaves it alone.
      min_delta: by how much the score must beat the best.
      loss: (labels [N, C], probabilities [N, C]) -> [N], for the validation loss; or None.
      info: JSON values kept inside `best.keras`; with `{"aspect": data.manifest.aspect}` it tells
        `predict` to pad or cut photographs as the records were.
      tensorboard: whether to write TensorBoard summaries too.
      resume: go on with the earlier fit: its best score and its patience count.

    Raises:
      UserError: `run_dir` cannot be made, or the batches can be gone through only once; as the fit
        begins, also for a model that `best.keras` could not hold, examples that do not fit the
        classes, a learning-rate schedule that a plateau could not lower, several workers, and a
        `run_dir` with other classes.

    >>> data = cloudtf.open_dataset("records")
    >>> model = cloudtf.build_model("tiny", len(data.classes), data.image_shape)
    >>> model.compile("adam", "binary_crossentropy")
    >>> judge = PrAucCallback(data.batches("val", 12), data.classes, run_dir="runs/b")
    >>> stop = tf.keras.callbacks.EarlyStopping("val_pr_auc_Fish", mode="max", patience=3)
    >>> train = data.batches("train", 8, training=True)
    >>> fit = model.fit(train, steps_per_epoch=6, epochs=2, callbacks=[judge, stop], verbose=0)
    >>> fit.history["val_pr_auc_mean"] == [row["val_pr_auc_mean"] for row in judge.rows]
    True
    >>> cloudtf.load_model("runs/b/best.keras").output_shape == (None, len(data.classes))
    True
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
        info: Optional[dict[str, Any]] = None,
        tensorboard: bool = True,
        resume: bool = False,
    ) -> None:
        super().__init__()
        fit_checks.check_repeats(validation, "validation")
        if training is not None:
            fit_checks.check_repeats(training, "training")
        self.class_names = tuple(class_names)
        self._validation, self._training = validation, training
        self._run_dir, self._tensorboard = run_dir, tensorboard
        self._patience = (early_stopping_patience, plateau_patience, min_delta)
        self._plateau_factor, self._resume = plateau_factor, resume
        self.stage, self._loss, self._info = stage, loss, dict(info or {})
        self._judge: Optional[Judge] = None
        self._results: Optional[ResultFolder] = None
        self._earlier: tuple[list[history.Row], Optional[dict[str, Any]]] = [], None
        self._size: dict[str, int] = {}
        self._in_fit, self._offset = False, 0
        if run_dir is not None:
            files.make_dirs(run_dir)  # Now, and not after an epoch that would be lost.

    @property
    def rows(self) -> list[history.Row]:
        """The rows of `history.csv` of the last fit, and of the one that it went on with."""
        return [] if self._judge is None else self._judge.rows

    @property
    def best(self) -> Optional[dict[str, Any]]:
        """Epoch and figures of the best model of the last fit; None before there is one."""
        return None if self._judge is None else self._judge.best

    def on_train_begin(self, logs: Optional[dict[str, float]] = None) -> None:
        """Refuses what cannot be; the fit begins with its first epoch, whose number says more."""
        self._in_fit = False
        num_classes, keeps_best = len(self.class_names), self._run_dir is not None
        fit_checks.check_strategy(self.model.distribute_strategy)
        fit_checks.check_rate(self.model.optimizer, self._plateau_factor)
        if keeps_best:
            fit_checks.check_model(self.model, num_classes)
        batch = fit_checks.check_batch(self._validation, "validation", num_classes, keeps_best)
        fit_checks.check_loss(self.model.loss, batch, "validation")
        self._size = fit_checks.image_size(self.model, batch) if keeps_best else {}
        if self._training is not None:
            fit_checks.check_batch(self._training, "training", num_classes, keeps_best)
        self._results, self._earlier = None, (self.rows, self.best)
        if self._run_dir is not None:
            self._results = ResultFolder(self._run_dir, self.class_names, self._tensorboard)
            self._earlier = self._results.earlier_fit()

    def on_epoch_begin(self, epoch: int, logs: Optional[dict[str, float]] = None) -> None:
        """Begins the fit with its first epoch."""
        if not self._in_fit:
            self._begin(epoch)

    def on_epoch_end(self, epoch: int, logs: Optional[dict[str, float]] = None) -> None:
        """Scores, records, and decides. `epoch` counts from 0, the history from 1.

        Raises:
          NotFinite: the validation loss or a score is not; nothing has been recorded.
        """
        if not self._in_fit:  # Called by a loop that does not say more.
            self.on_train_begin()
            self._begin(epoch)
        assert self._judge is not None
        logs = {} if logs is None else logs
        if self._results is not None and self._results.has_lost_best():
            self._judge.forget_best()
        decision = self._judge.judge(epoch + 1 + self._offset, logs)
        for name, value in self._judge.rows[-1].items():
            if "_pr_auc_" in name or "_average_precision_" in name or name == "val_loss":
                logs.setdefault(name, value)
        if decision.stop:
            self.model.stop_training = True
        elif decision.lower_rate and self._plateau_factor < 1:
            lower_learning_rate(self.model.optimizer, self._plateau_factor)

    def on_train_end(self, logs: Optional[dict[str, float]] = None) -> None:
        """The next fit begins anew."""
        self._in_fit = False

    def _begin(self, epoch: int) -> None:
        goes_on = self._resume or epoch > 0
        rows, best = self._earlier
        numbers_on = rows and epoch == 0 and (goes_on or self._results is not None)
        self._offset = rows[-1]["epoch"] if numbers_on else 0
        judge = Judge(
            self.model,
            self._validation,
            self.class_names,
            Patience(*self._patience),
            training=self._training,
            results=self._results,
            loss=self._loss,
            info={**self._size, **self._info},
            stage=self.stage,
        )
        if goes_on:
            judge.rows = [row for row in rows if row["epoch"] <= epoch + self._offset]
            judge.best = best
            for row in judge.rows:
                judge.patience.update(row.get("val_pr_auc_mean", math.nan))
            if best is not None:
                # Of an epoch that is done again, perhaps.
                judge.patience.best = max(judge.patience.best, best["pr_auc"]["mean"])
        elif self._results is not None and rows:
            report(
                f"{self._run_dir} has epochs 1 to {rows[-1]['epoch']} of an earlier fit: the "
                "epochs are numbered on, and best.keras is replaced by a better model only."
            )
        self._judge, self._in_fit = judge, True
