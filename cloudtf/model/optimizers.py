"""RAdam and Adam with a linear warm-up and decay of the learning rate.

The rate of update t = 1, 2, ... is `learning_rate` x factor(t):

    factor rises from 0 to 1 over the first `warmup_proportion` of `total_steps`, then falls to
    `min_lr` / (the learning rate given at the start) at `total_steps`, and stays there.

With a learning rate that nobody changes this is what `tfa.optimizers.RectifiedAdam` does when its
`total_steps` is set. There, `min_lr` is absolute: a rate lowered by a plateau callback is ignored
after the end, and one below `min_lr` makes the rate rise. Here the whole schedule scales with
`learning_rate`, so that halving it halves every rate to come.

The schedule's numbers are not variables: restoring a checkpoint brings back `learning_rate`, the
number of updates and the moments, but never an old `total_steps`, `warmup_proportion` or `min_lr`.
"""

from __future__ import annotations

import functools
import math
import warnings
from typing import Any, Optional

import tensorflow as tf

from cloudtf.errors import UserError
from cloudtf.model.choices import OPTIMIZERS

# Makes sqrt(v) + epsilon equal epsilon in float32 for any gradient under 1e7, and stays far from
# overflow when multiplied by a learning rate.
_HUGE_EPSILON = 1e15


def make_optimizer(
    name: str,
    learning_rate: float,
    total_steps: int,
    *,
    warmup_proportion: float = 0.1,
    min_lr: Optional[float] = None,
) -> tf.keras.optimizers.legacy.Optimizer:
    """An optimizer for `total_steps` updates.

    For a constant rate give `warmup_proportion=0` and `min_lr=learning_rate`.

    Args:
      name: `radam` (tfa's RectifiedAdam; Liu et al. 2019, arXiv:1908.03265) or `adam`.
      learning_rate: the peak rate. `optimizer.learning_rate` is this one, not the rate in effect.
      total_steps: updates from the start to the end of the schedule, a Python int.
      warmup_proportion: share of the steps in which the rate rises, 0 to 1.
      min_lr: the rate at the end, at most `learning_rate`; a hundredth of it by default.

    Raises:
      UserError: a value out of range, or RAdam where tensorflow-addons is missing.
    """
    if name not in OPTIMIZERS:
        raise UserError(
            f"There is no optimizer {name!r}; the optimizers are {', '.join(OPTIMIZERS)}."
        )
    if isinstance(total_steps, bool) or not isinstance(total_steps, int) or total_steps < 1:
        raise UserError(f"total_steps must be a whole number of at least 1, not {total_steps!r}.")
    if not (math.isfinite(learning_rate) and learning_rate > 0):
        raise UserError(f"The learning rate {learning_rate} must be a number above 0.")
    if not 0 <= warmup_proportion <= 1:
        raise UserError(f"warmup_proportion {warmup_proportion} must be from 0 to 1.")
    if min_lr is None:
        min_lr = learning_rate / 100
    if not 0 <= min_lr <= learning_rate:
        raise UserError(f"min_lr {min_lr} must be from 0 to the learning rate, {learning_rate}.")
    make = _radam_class() if name == "radam" else _adam_class()
    optimizer = make(learning_rate=learning_rate)
    optimizer.set_schedule(total_steps, warmup_proportion, min_lr / learning_rate)
    return optimizer


def effective_learning_rate(optimizer: tf.keras.optimizers.Optimizer) -> float:
    """The rate that the next update will use: `learning_rate` x the schedule's factor.

    For an optimizer that was not made here it is the rate in force.
    """
    optimizer = getattr(optimizer, "inner_optimizer", optimizer)  # Under loss scaling.
    if hasattr(optimizer, "_decayed_lr"):
        return float(optimizer._decayed_lr(tf.float32))
    return float(optimizer.learning_rate)


class _Scheduled:
    """Multiplies a legacy Keras optimizer's learning rate by the schedule's factor."""

    def set_schedule(self, total_steps: int, warmup_proportion: float, last_factor: float) -> None:
        """Fixes the schedule; see the module's docstring."""
        self._warmup_steps = total_steps * warmup_proportion
        self._decay_steps = max(total_steps - self._warmup_steps, 1.0)
        self._last_factor = last_factor

    def _decayed_lr(self, var_dtype: tf.DType) -> tf.Tensor:
        step = tf.cast(self.iterations + 1, var_dtype)  # type: ignore[attr-defined]
        past = tf.clip_by_value((step - self._warmup_steps) / self._decay_steps, 0.0, 1.0)
        factor = 1.0 + (self._last_factor - 1.0) * past
        if self._warmup_steps:
            factor *= tf.minimum(step / self._warmup_steps, 1.0)
        return super()._decayed_lr(var_dtype) * factor  # type: ignore[misc]


@functools.cache
def _adam_class() -> type:
    # The legacy one: its update is one fused op, which the newer one's is not.
    class Adam(_Scheduled, tf.keras.optimizers.legacy.Adam):
        pass

    return Adam


@functools.cache
def _radam_class() -> type:
    rectified_adam = _import_rectified_adam()

    class RectifiedAdam(_Scheduled, rectified_adam):
        """tfa's RectifiedAdam with one fused op an update in place of about twenty.

        `ResourceApplyAdam` computes, with q = sqrt(1 - beta2^t),

            var -= lr q / (1 - beta1^t) m / (sqrt(v) + epsilon)

        which is tfa's rectified update for lr = rate r_t and epsilon q in place of epsilon, and
        plain momentum (the update before the rectification begins) for a huge epsilon E and
        lr = rate E / q.
        """

        def _prepare_local(
            self, var_device: str, var_dtype: tf.DType, apply_state: dict[Any, Any]
        ) -> None:
            # Not tfa's own, whose square root of a negative number (masked later) stops
            # `tf.debugging.enable_check_numerics`. Its names, for its sparse update.
            super(rectified_adam, self)._prepare_local(var_device, var_dtype, apply_state)
            one = tf.ones([], var_dtype)
            step = tf.cast(self.iterations + 1, var_dtype)
            beta_1 = tf.identity(self._get_hyper("beta_1", var_dtype))
            beta_2 = tf.identity(self._get_hyper("beta_2", var_dtype))
            beta_1_power, beta_2_power = tf.pow(beta_1, step), tf.pow(beta_2, step)
            sma_inf = 2.0 / (1.0 - beta_2) - 1.0
            sma = sma_inf - 2.0 * step * beta_2_power / (1.0 - beta_2_power)
            rectified = sma >= self._get_hyper("sma_threshold", var_dtype)
            known = tf.where(rectified, sma, sma_inf)
            r = tf.sqrt(
                (known - 4.0) / (sma_inf - 4.0) * (known - 2.0) / (sma_inf - 2.0) * sma_inf / known
            )
            rate = apply_state[(var_device, var_dtype)]["lr_t"]
            epsilon = tf.convert_to_tensor(self.epsilon, var_dtype)
            q = tf.sqrt(1.0 - beta_2_power)
            apply_state[(var_device, var_dtype)].update(
                wd_t=self._decayed_wd(var_dtype),
                beta_1_t=beta_1,
                beta_2_t=beta_2,
                one_minus_beta_1_t=one - beta_1,
                one_minus_beta_2_t=one - beta_2,
                recip_one_minus_beta_1_power=1.0 / (1.0 - beta_1_power),
                recip_one_minus_beta_2_power=1.0 / (1.0 - beta_2_power),
                sma_t_ge_sma_threshold=rectified,
                r_t=r,
                epsilon_t=epsilon,
                beta_1_power=beta_1_power,
                beta_2_power=beta_2_power,
                fused_rate=rate * tf.where(rectified, r, _HUGE_EPSILON / q),
                fused_epsilon=tf.where(rectified, epsilon * q, _HUGE_EPSILON * one),
            )

        def _resource_apply_dense(
            self, grad: tf.Tensor, var: tf.Variable, apply_state: Optional[dict] = None
        ) -> tf.Operation:
            key = (var.device, var.dtype.base_dtype)
            # In half precision the huge epsilon is infinite; variables are float32 in practice.
            if self.amsgrad or self._has_weight_decay or key[1] not in (tf.float32, tf.float64):
                return super()._resource_apply_dense(grad, var, apply_state)
            state = (apply_state or {}).get(key) or self._fallback_apply_state(*key)
            return tf.raw_ops.ResourceApplyAdam(
                var=var.handle,
                m=self.get_slot(var, "m").handle,
                v=self.get_slot(var, "v").handle,
                beta1_power=state["beta_1_power"],
                beta2_power=state["beta_2_power"],
                lr=state["fused_rate"],
                beta1=state["beta_1_t"],
                beta2=state["beta_2_t"],
                epsilon=state["fused_epsilon"],
                grad=grad,
                use_locking=self._use_locking,
            )

    return RectifiedAdam


def _import_rectified_adam() -> type:
    try:
        with warnings.catch_warnings():
            # Each import announces that the project has ended.
            warnings.simplefilter("ignore")
            from tensorflow_addons.optimizers import RectifiedAdam
    except ImportError as error:
        raise UserError(
            "RAdam needs tensorflow-addons, which ends at TensorFlow 2.15 and is not installed "
            'here; use --optimizer=adam, or install it with: pip install "cloudtf[classic]".'
        ) from error
    return RectifiedAdam
