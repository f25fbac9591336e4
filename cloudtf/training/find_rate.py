"""A search for the learning rate: one short training at rising rates, of which nothing is kept."""

from __future__ import annotations

import csv
import dataclasses
import io
import math
from typing import Callable, Optional, Union

import numpy as np
import tensorflow as tf
from scipy import ndimage

from cloudtf import files
from cloudtf.errors import UserError
from cloudtf.evaluation import rate_plot
from cloudtf.reporter import report
from cloudtf.training import building, hardware, inputs, train_size
from cloudtf.training.config import TrainConfig
from cloudtf.training.own_parts import ModelFn, OwnParts
from cloudtf.training.progress import Progress
from cloudtf.training.run import Run, open_run
from cloudtf.training.step import TrainStep

# Rates rise by the same factor a step, from one at which nothing moves to one at which all diverge.
LEAST, MOST, STEPS = 1e-6, 3.0, 120
# The deviation, in steps, of the Gaussian that smooths the curve; it moves its minimum nowhere.
_SMOOTHING = 4.0
# The loss has diverged where the mean of so many steps is so many times the least before.
_WINDOW, _DIVERGED = 5, 3.0
# Of the rate with the least loss: there the loss still falls fast, and a longer training, which
# stays at its peak for many steps, does not diverge.
_SHARE = 1 / 3


@dataclasses.dataclass(frozen=True)
class RateSearch:
    """What came of a search.

    Attributes:
      suggested: the peak learning rate to try.
      rates: [N], the rate of each step, rising.
      losses: [N], the loss of each step, before its update.
      smoothed: [N], the losses under a Gaussian of some steps.
    """

    suggested: float
    rates: np.ndarray
    losses: np.ndarray
    smoothed: np.ndarray


def find_rate(
    config: TrainConfig,
    *,
    model_fn: Optional[ModelFn] = None,
    loss_fn: Union[str, Callable, None] = None,
) -> RateSearch:
    """Draws the loss against the learning rate and suggests one (Smith 2017, arXiv:1506.01186).

    The whole network of a run, as its last checkpoint has it or as it would begin, takes some
    hundred steps at rates that rise from 1e-6 until the loss diverges, on images of the size of its
    first epoch. Then `find_rate.png` and
    `find_rate.csv` are in the run folder, and nothing else of it has changed. What is suggested is
    a third of the rate with the least loss. RAdam, which holds its first hundred steps back, is
    searched as Adam.

    Args:
      config: the settings of the run; its rates and schedules have no part.
      model_fn: (num_classes, image_shape) -> a network of one's own, as `cloudtf.train` takes it.
      loss_fn: a loss of one's own in place of that of the settings, as `cloudtf.train` takes it.

    Raises:
      UserError: bad input, or a run folder in use.
      Interrupted: SIGTERM, Ctrl-C or `max_minutes`.

    >>> config = cloudtf.TrainConfig(
    ...     data_dir="records", run_dir="runs/c", model="tiny", weights="none", batch_size=8
    ... )
    >>> found = find_rate(config)
    Loss and rate of ... steps are in runs/c/find_rate.png...
    >>> 1e-6 < found.suggested < 1
    True
    """
    with open_run(config, OwnParts(model_fn, loss_fn)) as run:
        inputs.settle_order(run, Progress())
        with inputs.naming_faults(run):
            found = _suggest(*_search(run, _network(run)))
        _write(run, found)
        return found


def _network(run: Run) -> tf.keras.Model:
    """The network as the last checkpoint has it, or as a new run begins."""
    latest = run.folder.latest()
    model = building.run_model(run, restored=latest is not None)
    if latest is not None:
        run.folder.restore(tf.train.Checkpoint(model=model), latest[0])
    train_size.prepare(run.config, model, run.data.image_shape)
    building.set_trainable(run, model, whole_network=True)
    return model


def _search(run: Run, model: tf.keras.Model) -> tuple[np.ndarray, np.ndarray]:
    """Rates and losses of the steps until the loss diverges."""
    plain = dataclasses.replace(
        run.config,
        optimizer="adam" if run.config.optimizer == "radam" else run.config.optimizer,
        warmup_proportion=0.0,
        final_rate=1.0,
    )
    optimizer = building.make_optimizer(plain, run.strategy, model, LEAST, STEPS)
    loss = building.make_loss(run)
    building.try_out(run, model, loss)
    size = train_size.train_size(run.config, run.stages[-1], 0, run.data.image_shape)
    step = TrainStep(
        model,
        optimizer,
        loss,
        run.strategy,
        plain.images_per_step,
        seed=2 * plain.seed,
        device_augmentations=plain if run.augment_on == "device" else None,
        augment_seed=plain.seed,
        jit_compile=hardware.jit_compiles(plain, run.strategy),
        accumulate_steps=plain.accumulate_steps,
        size=size,
    )
    batches = inputs.training_batches(run, Progress(), size)
    rates, losses = np.geomspace(LEAST, MOST, STEPS), []
    for rate in rates:
        optimizer.learning_rate.assign(rate)
        value = float(step(batches, 1)[0])
        run.requests.check(None)
        if not math.isfinite(value):
            break
        losses.append(value)
        if len(losses) > 2 * _WINDOW:
            means = np.convolve(losses, np.full(_WINDOW, 1 / _WINDOW), "valid")
            if means[-1] > _DIVERGED * means.min():
                break
    if not losses:
        raise UserError(f"The loss is {value} before a step is taken: {model.name} is damaged.")
    return rates[: len(losses)], np.array(losses)


def _suggest(rates: np.ndarray, losses: np.ndarray) -> RateSearch:
    smoothed = ndimage.gaussian_filter1d(losses, _SMOOTHING, mode="nearest")
    suggested = _SHARE * float(rates[np.argmin(smoothed)])
    return RateSearch(float(f"{suggested:.2g}"), rates, losses, smoothed)


def _write(run: Run, found: RateSearch) -> None:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(("learning_rate", "loss", "smoothed"))
    rows = zip(found.rates.tolist(), found.losses.tolist(), found.smoothed.tolist())
    writer.writerows([[repr(value) for value in row] for row in rows])
    files.write_text(files.join(run.output_dir, "find_rate.csv"), text.getvalue())
    path = files.join(run.output_dir, "find_rate.png")
    rate_plot.rate_search(path, found.rates, found.losses, found.smoothed, found.suggested)
    report(f"Loss and rate of {len(found.rates)} steps are in {path}, and in find_rate.csv.")
