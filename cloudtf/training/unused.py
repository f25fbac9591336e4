"""Settings that say something and mean nothing beside the others, told before the first step."""

from __future__ import annotations

import dataclasses
from typing import Iterable

import tensorflow as tf

from cloudtf.errors import param
from cloudtf.model.choices import WITHOUT_BATCH_NORM
from cloudtf.training import building
from cloudtf.training.config import TrainConfig
from cloudtf.training.own_parts import has_body
from cloudtf.training.run import Run

# What is of steps, of which a run that ends with a head fitted on features has none.
_OF_STEPS = (
    "accumulate_steps", "steps_per_epoch", "optimizer", "weight_decay", "schedule", "body_rate",
    "layer_decay", "clip_norm", "warmup_proportion", "final_rate", "ema", "soup", "train_size",
    "freeze_batch_norm",
)  # fmt: skip
_OF_BATCH_NORM = ("batch_norm_momentum", "sync_batch_norm")


def unused_settings(run: Run, model: tf.keras.Model) -> list[str]:
    """A phrase for each reason why settings that were given are not used.

    Args:
      run: the run with its settings and stages.
      model: the network, which may have no layer `body`.

    Returns:
      Such as `dropout=0.5: not used, since model_fn or loss_fn stands for it.`
    """
    config, (head, whole) = run.config, run.stages
    found = {"since model_fn or loss_fn stands for it": run.own.unused(config)}
    if not head.epochs or head.fits_head:
        found["since no epochs train the head alone"] = _given(config, ["head_learning_rate"])
    if head.fits_head and not whole.epochs:
        found["since no epochs follow the fitted head"] = _given(config, _OF_STEPS)
    elif not has_body(model):
        found[f"since {model.name} has no layer called 'body'"] = _given(
            config, ["freeze_batch_norm"]
        )
    if run.own.model_fn is None:
        names = _given(config, _OF_BATCH_NORM)
        if config.model in WITHOUT_BATCH_NORM:
            names += _given(config, ["freeze_batch_norm"])
            found[f"since {config.model} has no batch norm"] = names
        elif building.freezes_batch_norm(run):
            found["since the batch norm of the body stays as it is"] = names
    return [f"{', '.join(names)}: not used, {why}." for why, names in found.items() if names]


def _given(config: TrainConfig, names: Iterable[str]) -> list[str]:
    """Those that are not at their defaults, with their values."""
    return [
        param(**{field.name: getattr(config, field.name)})
        for field in dataclasses.fields(config)
        if field.name in names and getattr(config, field.name) != field.default
    ]
