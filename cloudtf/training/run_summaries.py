"""What TensorBoard is shown of a run once: its settings, its network, and what it is trained on."""

from __future__ import annotations

from typing import Any

import numpy as np
import tensorflow as tf

from cloudtf import settings
from cloudtf.data.labels import combination
from cloudtf.model.layer_graph import layer_graph
from cloudtf.pipeline.changes import Changes
from cloudtf.training.config import TrainConfig
from cloudtf.training.run import Run
from cloudtf.training.summaries import GRAPH, SETTINGS, TRAIN, VALIDATION, Summaries

# Images of each run, and their longer side: some hundred kilobytes.
_IMAGES, _LONGEST = 8, 256


def write(run: Run, summaries: Summaries, model: tf.keras.Model) -> None:
    """Writes the settings, the graph of the layers, and images, unless they are there.

    The images are the first that the run is trained on, augmented as in its first epoch, and the
    first of the validation split. Both have the tag `images`, and their labels as a description.

    Args:
      run: the run with its records.
      summaries: those of its folder.
      model: the network, whose layers are drawn.

    Raises:
      UserError: a record is damaged, or the file system refuses.
    """
    from tensorboard.plugins.hparams import api

    config = run.config
    summaries.write_once(
        SETTINGS, "_hparams_/session_start_info", lambda: api.hparams(hyperparameters(config))
    )
    summaries.write_once(TRAIN, GRAPH, lambda: tf.summary.graph(layer_graph(model)))
    with run.data.naming_damage(run.train_splits):
        summaries.write_once(TRAIN, "images", lambda: _write_images(run, training=True))
    with run.data.naming_damage(run.val_split):
        summaries.write_once(VALIDATION, "images", lambda: _write_images(run, training=False))


def hyperparameters(config: TrainConfig) -> dict[str, Any]:
    """The settings that a run has from its start to its end, and `epochs`; without those unset.

    >>> config = TrainConfig(data_dir="records", run_dir="runs/c", model="tiny", weights="none")
    >>> found = hyperparameters(config)
    >>> found["model"], found["learning_rate"], "ema" in found, "run_dir" in found
    ('tiny', 0.004, False, False)
    """
    found = {**settings.lasting(config), "epochs": config.epochs}
    return {
        name: ",".join(value) if isinstance(value, tuple) else value
        for name, value in found.items()
        if value is not None
    }


def _write_images(run: Run, training: bool) -> None:
    data, splits = run.data, run.train_splits if training else run.val_split
    # Of as many as the host augments together: XLA compiles that for each number of images.
    as_trained = training and run.augment_on == "host" and run.service is None
    count = run.replica_batch if as_trained else _IMAGES
    batch = next(iter(data.evaluation_batches(splits, count, max_examples=count)))
    images = batch.images
    if training:
        # From inside a graph, as the input calls it: XLA would compile another call anew.
        changed = tf.function(
            Changes(run.config, run.config.seed, on_host=True).images, autograph=False
        )
        images = changed(images, batch.keys)
    shown = np.flatnonzero(batch.mask)[:_IMAGES]
    images, labels = tf.gather(images, shown), batch.labels.numpy()[shown]
    height, width = images.shape[1:3]
    if max(height, width) > _LONGEST:
        size = [max(1, round(side * _LONGEST / max(height, width))) for side in (height, width)]
        images = tf.cast(tf.round(tf.image.resize(images, size, "area")), tf.uint8)
    names = [combination(row, data.classes).replace("|", ", ") for row in labels]
    description = "\n".join(f"{i}. {text or 'no class'}" for i, text in enumerate(names, 1))
    tf.summary.image("images", images, max_outputs=_IMAGES, description=description)
