"""The history of a run for TensorBoard: each epoch once, also over several starts."""

from __future__ import annotations

from typing import Any, Optional, Sequence

import tensorflow as tf

from cloudtf import files
from cloudtf.errors import UserError, param, reason


class Summaries:
    """Writes rows of a history as scalars of TensorBoard.

    Args:
      run_dir: the run folder; its `tensorboard/` is written to.
    """

    def __init__(self, run_dir: str) -> None:
        self._folder = files.join(run_dir, "tensorboard")
        self._writer: Optional[tf.summary.SummaryWriter] = None
        self._written: set[int] = set()

    def write(self, rows: Sequence[dict[str, Any]]) -> None:
        """Writes the rows whose epochs are not in the folder yet.

        Raises:
          UserError: the file system refuses.
        """
        try:
            if self._writer is None:
                self._written = _epochs_in(self._folder)
                self._writer = tf.summary.create_file_writer(self._folder)
            for row in rows:
                if row["epoch"] in self._written:
                    continue
                with self._writer.as_default(step=row["epoch"]):
                    for name, value in row.items():
                        if isinstance(value, float):
                            tf.summary.scalar(name, value)
                self._written.add(row["epoch"])
            self._writer.flush()
        except tf.errors.OpError as error:
            raise UserError(
                f"The summaries in {self._folder} cannot be written ({reason(error)}); make room, "
                f"or train with {param(tensorboard=False)}."
            ) from error


def _epochs_in(folder: str) -> set[int]:
    """The steps at which a folder has the loss, which every row of a history has."""
    found: set[int] = set()
    if not files.exists(folder):
        return found
    for name in files.list_dir(folder):
        if "tfevents" not in name:
            continue
        try:
            for record in tf.data.TFRecordDataset(files.join(folder, name)):
                event = tf.compat.v1.Event.FromString(record.numpy())
                if any(value.tag == "loss" for value in event.summary.value):
                    found.add(event.step)
        except tf.errors.DataLossError:
            pass  # A killed process has left half a record at the end.
    return found
