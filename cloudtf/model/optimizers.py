"""RAdam and Adam with a linear warm-up and decay of the learning rate (`schedule`)."""

from __future__ import annotations

import math
from typing import Any, Optional

import tensorflow as tf

from cloudtf.errors import UserError, param
from cloudtf.model.choices import OPTIMIZERS, WARMUP_PROPORTION
from cloudtf.model.schedule import Scheduled


def make_optimizer(
    name: str,
    learning_rate: float,
    total_steps: int,
    *,
    warmup_proportion: float = WARMUP_PROPORTION,
    min_lr: Optional[float] = None,
) -> tf.keras.optimizers.legacy.Optimizer:
    """An optimizer for `total_steps` updates.

    For a constant rate give `warmup_proportion=0` and `min_lr=learning_rate`.

    Args:
      name: `radam` (see `rectified_adam`) or `adam`.
      learning_rate: the peak rate. `optimizer.learning_rate` is this one, not the rate in effect.
      total_steps: updates from the start to the end of the schedule, a Python int.
      warmup_proportion: share of the steps in which the rate rises, 0 to 1.
      min_lr: the rate at the end, at most `learning_rate`; a hundredth of it by default.

    Raises:
      UserError: a value out of range.

    >>> optimizer = make_optimizer("radam", 0.002, total_steps=1000)
    >>> round(effective_learning_rate(optimizer), 8)  # The first of 100 steps of warm-up.
    2e-05
    """
    if name not in OPTIMIZERS:
        raise UserError(
            f"There is no optimizer {name!r}; the optimizers are {', '.join(OPTIMIZERS)}."
        )
    if isinstance(total_steps, bool) or not isinstance(total_steps, int) or total_steps < 1:
        raise UserError(f"{param(total_steps=total_steps)} must be an integer of at least 1.")
    if not (math.isfinite(learning_rate) and learning_rate > 0):
        raise UserError(f"{param(learning_rate=learning_rate)} must be a number above 0.")
    if not 0 <= warmup_proportion <= 1:
        raise UserError(f"{param(warmup_proportion=warmup_proportion)} must be from 0 to 1.")
    if min_lr is None:
        min_lr = learning_rate / 100
    if not 0 <= min_lr <= learning_rate:
        raise UserError(
            f"{param(min_lr=min_lr)} must be from 0 to {param(learning_rate=learning_rate)}."
        )
    if name == "radam":
        # Late, since it imports tensorflow-addons.
        from cloudtf.model.rectified_adam import RectifiedAdam

        kind: type = RectifiedAdam
    else:
        kind = Adam
    schedule = {
        "total_steps": total_steps,
        "warmup_proportion": warmup_proportion,
        "last_factor": min_lr / learning_rate,
    }
    return kind(learning_rate=learning_rate, schedule=schedule)


def effective_learning_rate(optimizer: tf.keras.optimizers.Optimizer) -> float:
    """The rate that the next update will use: `learning_rate` x the schedule's factor.

    For an optimizer that was not made here it is the rate in force.
    """
    optimizer = getattr(optimizer, "inner_optimizer", optimizer)  # Under loss scaling.
    if hasattr(optimizer, "_decayed_lr"):
        return float(optimizer._decayed_lr(tf.float32))
    return float(tf.keras.backend.get_value(optimizer.learning_rate))


def lower_learning_rate(optimizer: tf.keras.optimizers.Optimizer, factor: float) -> None:
    """Multiplies the learning rate, which must be a number and not a schedule of Keras."""
    rate: Any = optimizer.learning_rate
    rate.assign(rate * factor)


@tf.keras.utils.register_keras_serializable(package="cloudtf")
class Adam(Scheduled, tf.keras.optimizers.legacy.Adam):
    """Keras's legacy Adam: its update is one fused op, which the newer one's is not."""
