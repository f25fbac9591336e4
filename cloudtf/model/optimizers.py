"""RAdam, Adam and AdamW with a warm-up and decay of the learning rate (`schedule`)."""

from __future__ import annotations

import math
from typing import Any, Mapping, Optional

import tensorflow as tf

from cloudtf.errors import UserError, param
from cloudtf.model.choices import OPTIMIZERS, SCHEDULES, WARMUP_PROPORTION, WEIGHT_DECAY
from cloudtf.model.layer_rates import LayerRates
from cloudtf.model.schedule import Scheduled


def make_optimizer(
    name: str,
    learning_rate: float,
    total_steps: int,
    *,
    warmup_proportion: float = WARMUP_PROPORTION,
    min_lr: Optional[float] = None,
    schedule: str = SCHEDULES[0],
    weight_decay: Optional[float] = None,
    clip_norm: Optional[float] = None,
    rate_factors: Optional[Mapping[Any, float]] = None,
) -> tf.keras.optimizers.legacy.Optimizer:
    """An optimizer for `total_steps` updates.

    For a constant rate give `warmup_proportion=0` and `min_lr=learning_rate`.

    Args:
      name: `radam` (see `rectified_adam`), `adam` or `adamw`.
      learning_rate: the peak rate. `optimizer.learning_rate` is this one, not the rate in effect.
      total_steps: updates from the start to the end of the schedule, a Python int.
      warmup_proportion: share of the steps in which the rate rises, 0 to 1.
      min_lr: the rate at the end, at most `learning_rate`; a hundredth of it by default.
      schedule: how the rate falls from its peak, `linear` or `cosine`.
      weight_decay: of `adamw`, 0.05 by default (see `AdamW`); the others have none.
      clip_norm: the largest norm of all gradients taken together, over all replicas: longer ones
        are scaled down to it; None leaves them as they are.
      rate_factors: what the rate of a variable is multiplied by, keyed by `variable.ref()`; 1 for
        those that are not named (see `layer_rates.rate_factors`).

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
    if schedule not in SCHEDULES:
        raise UserError(f"{param(schedule=schedule)} is not one of {', '.join(SCHEDULES)}.")
    if weight_decay is not None and name != "adamw":
        raise UserError(f"{param(weight_decay=weight_decay)} is for {param(optimizer='adamw')}.")
    settings: dict[str, Any] = {}
    if clip_norm is not None:
        settings["global_clipnorm"] = clip_norm
    if name == "radam":
        # Late, since it imports tensorflow-addons.
        from cloudtf.model.rectified_adam import RectifiedAdam

        kind: type = RectifiedAdam
    elif name == "adamw":
        kind = AdamW
        settings["weight_decay"] = WEIGHT_DECAY if weight_decay is None else weight_decay
    else:
        kind = Adam
    settings["schedule"] = {
        "total_steps": total_steps,
        "warmup_proportion": warmup_proportion,
        "last_factor": min_lr / learning_rate,
        "shape": schedule,
    }
    optimizer = kind(learning_rate=learning_rate, **settings)
    optimizer.set_rate_factors(rate_factors or {})
    return optimizer


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
class Adam(LayerRates, Scheduled, tf.keras.optimizers.legacy.Adam):
    """Keras's legacy Adam: its update is one fused op, which the newer one's is not."""


class _DecoupledDecay:
    """Mixed in between `LayerRates` and an optimizer; see `AdamW`."""

    def __init__(self, *args: Any, weight_decay: float = WEIGHT_DECAY, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._weight_decay = weight_decay

    def get_config(self) -> dict[str, Any]:
        """The optimizer's settings, for `from_config`."""
        return {**super().get_config(), "weight_decay": self._weight_decay}  # type: ignore[misc]

    def _resource_apply_dense(
        self, grad: tf.Tensor, var: tf.Variable, apply_state: Optional[dict] = None
    ) -> tf.Operation:
        with tf.control_dependencies(self._decayed(var, apply_state)):
            return super()._resource_apply_dense(grad, var, apply_state)  # type: ignore[misc]

    def _resource_apply_sparse(
        self,
        grad: tf.Tensor,
        var: tf.Variable,
        indices: tf.Tensor,
        apply_state: Optional[dict] = None,
    ) -> tf.Operation:
        with tf.control_dependencies(self._decayed(var, apply_state)):
            return super()._resource_apply_sparse(  # type: ignore[misc]
                grad, var, indices, apply_state
            )

    def _decayed(self: Any, var: tf.Variable, apply_state: Optional[dict]) -> list[tf.Operation]:
        if not self._weight_decay or var.shape.rank < 2:
            return []
        rate = self._state_of(var, apply_state)["lr_t"]
        return [var.assign_sub(rate * self._weight_decay * var, read_value=False)]


@tf.keras.utils.register_keras_serializable(package="cloudtf")
class AdamW(LayerRates, _DecoupledDecay, Scheduled, tf.keras.optimizers.legacy.Adam):
    """Adam with decoupled weight decay (Loshchilov & Hutter 2019, arXiv:1711.05101).

    An update first takes the share rate x `weight_decay` off each weight, with the rate in effect,
    so that decay follows warm-up, schedule and a lowered rate, as in PyTorch; then it is Adam's.
    Vectors and scalars (biases, scales and offsets of normalisation) do not decay.
    """
