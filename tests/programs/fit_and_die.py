"""Fits a model with the PR-AUC callback and BackupAndRestore, and may be killed between the two.

Arguments: the records, a run folder, the epoch in which to die (from 0; -1 to end well).
"""

from __future__ import annotations

import os
import signal
import sys
from typing import Any

import tensorflow as tf

import cloudtf

records_dir, run_dir, dies_in = sys.argv[1], sys.argv[2], int(sys.argv[3])


class Dies(tf.keras.callbacks.Callback):
    """Kills the process at the end of an epoch."""

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        """After the PR-AUC callback, before the backup."""
        if epoch == dies_in:
            os.kill(os.getpid(), signal.SIGKILL)


data = cloudtf.open_dataset(records_dir)
tf.keras.utils.set_random_seed(1)
model = cloudtf.build_model("tiny", len(data.classes), data.image_shape)
model.compile(tf.keras.optimizers.Adam(1e-3), "binary_crossentropy")
judge = cloudtf.PrAucCallback(data.batches("val", 12), data.classes, run_dir=run_dir)
backup = tf.keras.callbacks.BackupAndRestore(f"{run_dir}-backup")
model.fit(
    data.batches("train", 8, training=True),
    steps_per_epoch=2,
    epochs=4,
    verbose=0,
    callbacks=[judge, Dies(), backup],
)
