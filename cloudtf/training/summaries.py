"""The history of a run for TensorBoard: each epoch and step once, also over several starts."""

from __future__ import annotations

import contextlib
import functools
from typing import Any, Callable, Iterator, Sequence

import numpy as np
import tensorflow as tf

from cloudtf import files
from cloudtf.errors import UserError, param, reason
from cloudtf.evaluation.history import Row
from cloudtf.evaluation.scoring import Scores

# The runs that TensorBoard shows, by their folders. Of the one above them are the settings alone:
# the HParams page takes what lies below for what came of them (not of a logdir's own folder).
TRAIN, VALIDATION, SETTINGS = "train", "validation", ""

# The columns of a history by what they begin with: the run that they belong to, and their tag.
_TAGS = {
    "loss": (TRAIN, "loss"),
    "val_loss": (VALIDATION, "loss"),
    "learning_rate": (TRAIN, "learning_rate"),
    "images_per_second": (TRAIN, "images_per_second"),
    "train_pr_auc_": (TRAIN, "pr_auc/"),
    "val_pr_auc_": (VALIDATION, "pr_auc/"),
    "train_average_precision_": (TRAIN, "average_precision/"),
    "val_average_precision_": (VALIDATION, "average_precision/"),
}
_STEP_LOSS = "step_loss"
_CURVE = "pr_curve/"
# One of them is in every row of a history.
_OF_EVERY_EPOCH = {"loss", "learning_rate", "pr_auc/mean"}
# Of more classes, those with the most positives: a curve is 5 kB an epoch.
_MOST_CURVES = 24


class Summaries:
    """Writes what a run comes to as TensorBoard's events, in the runs `train` and `validation`.

    What both have has one tag, so that it overlays: `loss`, `pr_auc/CLASS`, `pr_auc/mean`,
    `average_precision/CLASS`, and the curves, `pr_curve/CLASS`, all by epoch; `learning_rate`,
    `images_per_second` and, by step, `step_loss` are those of `train`.

    A run writes what it has kept just before the checkpoint that has it (`write_kept`), and the
    rows of its history just after (`write`). What is done again after a kill is there already, and
    is not written twice; what a run goes back behind, to try again at a lower rate, is not written.

    Args:
      run_dir: the run folder; its `tensorboard/` is written to.
      class_names: the names of the C classes, in label order.
    """

    def __init__(self, run_dir: str, class_names: Sequence[str]) -> None:
        self._folder, self._class_names = files.join(run_dir, "tensorboard"), tuple(class_names)
        self._runs: dict[str, _Events] = {}
        self._losses: list[tuple[int, np.ndarray]] = []
        self._curves: dict[int, dict[str, list[bytes]]] = {}

    def keep_losses(self, steps_before: int, losses: np.ndarray) -> None:
        """Keeps the losses, float32 [N], of the steps after the first `steps_before` of the run."""
        self._losses.append((steps_before, losses))

    def keep_curves(self, epoch: int, scored: dict[str, Scores]) -> None:
        """Keeps the precision-recall curves of an epoch, of 201 thresholds from 0 to 1.

        Args:
          epoch: its number in the history.
          scored: run -> what the model said of its examples.
        """
        self._curves[epoch] = {name: self._curves_of(scores) for name, scores in scored.items()}

    def forget_kept(self) -> None:
        """Drops what is not written: the run goes back to its last checkpoint."""
        self._losses.clear()
        self._curves.clear()

    def write_kept(self) -> None:
        """Writes the losses and curves that were kept, those that are not there yet.

        Raises:
          UserError: the file system refuses.
        """
        with self._naming_failures():
            if self._losses:
                self._events(TRAIN).write_losses(self._losses)
            for epoch, curves in self._curves.items():
                for name in curves:
                    self._events(name).write_curves(epoch, curves[name])
            self._flush()
        self.forget_kept()

    def write(self, rows: Sequence[Row]) -> None:
        """Writes what was kept, and the rows whose epochs are not there yet.

        Raises:
          UserError: the file system refuses.
        """
        self.write_kept()
        with self._naming_failures():
            for name in (TRAIN, VALIDATION):
                events = self._events(name)
                for row in rows:
                    if row["epoch"] not in events.epochs:
                        events.write_row(row["epoch"], _by_tag(name, row))
            self._flush()

    def write_once(self, run: str, tag: str, write: Callable[[], Any]) -> None:
        """Writes something that a run has one of, unless it is there.

        Args:
          run: `TRAIN`, `VALIDATION` or `SETTINGS`.
          tag: what TensorBoard calls it; `GRAPH` for a graph.
          write: calls what it needs of `tf.summary`, at step 0.

        Raises:
          UserError: the file system refuses.
        """
        with self._naming_failures():
            events = self._events(run)
            if tag not in events.tags:
                with events.writer.as_default(step=0):
                    write()
                events.writer.flush()
                events.tags.add(tag)

    def _flush(self) -> None:
        for events in self._runs.values():
            events.writer.flush()

    def _events(self, name: str) -> _Events:
        if name not in self._runs:
            self._runs[name] = _Events(files.join(self._folder, name) if name else self._folder)
        return self._runs[name]

    def _curves_of(self, scored: Scores) -> list[bytes]:
        from tensorboard.plugins.pr_curve import summary as pr_curve

        positives = (scored.labels > 0).sum(axis=0)
        shown = np.argsort(-positives, kind="stable")[:_MOST_CURVES]
        return [
            pr_curve.pb(
                f"{_CURVE}{self._class_names[i]}",
                labels=scored.labels[:, i] > 0,
                predictions=scored.scores[:, i],
                weights=(scored.labels[:, i] >= 0).astype(np.float32),  # 0: not known
                display_name=self._class_names[i],
            ).SerializeToString()
            for i in sorted(shown[positives[shown] > 0])
        ]

    @contextlib.contextmanager
    def _naming_failures(self) -> Iterator[None]:
        try:
            yield
        except tf.errors.OpError as error:
            raise UserError(
                f"The summaries in {self._folder} cannot be written ({reason(error)}); make room, "
                f"or train with {param(tensorboard=False)}."
            ) from error


# In place of a tag: graphs have none.
GRAPH = "<graph>"


class _Events:
    """The events of one of TensorBoard's runs; those that were there when it was opened stay.

    Attributes:
      writer: appends events to the files of the folder.
      tags: all that there are.
      epochs: the numbers of those whose row is there.
    """

    def __init__(self, folder: str) -> None:
        self.tags: set[str] = set()
        self.epochs: set[int] = set()
        self._curve_epochs: set[int] = set()
        self._last_step = 0
        for event in _events_in(folder):
            if event.HasField("graph_def"):
                self.tags.add(GRAPH)
            for value in event.summary.value:
                self.tags.add(value.tag)
                if value.tag in _OF_EVERY_EPOCH:
                    self.epochs.add(event.step)
                elif value.tag.startswith(_CURVE):
                    self._curve_epochs.add(event.step)
                elif value.tag == _STEP_LOSS:
                    self._last_step = max(self._last_step, event.step)
        self.writer = tf.summary.create_file_writer(folder)

    def write_row(self, epoch: int, values: dict[str, float]) -> None:
        """Writes the numbers of an epoch, by their tags."""
        with self.writer.as_default(step=epoch):
            for tag, value in values.items():
                tf.summary.scalar(tag, value)
        self.epochs.add(epoch)

    def write_curves(self, epoch: int, curves: Sequence[bytes]) -> None:
        """Writes the curves of an epoch, as serialised summaries."""
        if epoch in self._curve_epochs:
            return
        with self.writer.as_default(step=epoch):
            for curve in curves:
                tf.summary.experimental.write_raw_pb(curve)
        self._curve_epochs.add(epoch)

    def write_losses(self, kept: Sequence[tuple[int, np.ndarray]]) -> None:
        """Writes the losses, as `Summaries.keep_losses` takes them, of steps after the last."""
        losses = np.concatenate([some for _, some in kept])
        steps = np.concatenate([before + 1 + np.arange(len(some)) for before, some in kept])
        new = steps > self._last_step
        if new.any():
            with self.writer.as_default():
                self._write_steps(tf.constant(steps[new], tf.int64), tf.constant(losses[new]))
            self._last_step = int(steps.max())

    @functools.cached_property
    def _write_steps(self) -> Callable[[tf.Tensor, tf.Tensor], None]:
        """Writes losses [N] at steps [N]; a loop in TensorFlow takes a tenth of one in Python."""

        @tf.function(
            autograph=False,
            input_signature=[tf.TensorSpec([None], tf.int64), tf.TensorSpec([None], tf.float32)],
        )
        def write(steps: tf.Tensor, losses: tf.Tensor) -> None:
            def one(index: tf.Tensor) -> tf.Tensor:
                with tf.name_scope(""):  # Or the loop's name would be part of the tag.
                    tf.summary.scalar(_STEP_LOSS, losses[index], step=steps[index])
                return index + 1

            tf.while_loop(lambda index: index < tf.size(steps), one, [0], parallel_iterations=1)

        return write


def _by_tag(run: str, row: Row) -> dict[str, float]:
    """What a row of the history has for one of TensorBoard's runs: tag -> number."""
    found = {}
    for column, value in row.items():
        for start, (of_run, tag) in _TAGS.items():
            if column == start or (start.endswith("_") and column.startswith(start)):
                if of_run == run:
                    found[tag + column[len(start) :]] = value
                break
    return found


def _events_in(folder: str) -> Iterator[Any]:
    """All events in the files of a folder; half of one, after a kill, is left out."""
    names = files.list_dir(folder) if files.exists(folder) else []
    paths = [files.join(folder, name) for name in sorted(names) if "tfevents" in name]
    if not paths:
        return
    for batch in tf.data.TFRecordDataset(paths).ignore_errors().batch(1024):
        for record in batch.numpy():
            yield tf.compat.v1.Event.FromString(record)
