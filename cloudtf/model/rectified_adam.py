"""RAdam (Liu et al. 2019, arXiv:1908.03265) with one fused op an update, for both stacks.

Where tensorflow-addons is installed `RectifiedAdam` is a `tfa.optimizers.RectifiedAdam`; elsewhere
its base is `PlainRectifiedAdam`, which has the same settings, slots and variables, so that a
checkpoint of one is a checkpoint of the other.
"""

from __future__ import annotations

import warnings
from typing import Any, Optional

import tensorflow as tf

from cloudtf.model.choices import WARMUP_PROPORTION
from cloudtf.model.layer_rates import LayerRates
from cloudtf.model.schedule import Scheduled

# Makes sqrt(v) + epsilon equal epsilon in float32 for any gradient under 1e7, and stays far from
# overflow when multiplied by a learning rate.
_HUGE_EPSILON = 1e15


class PlainRectifiedAdam(tf.keras.optimizers.legacy.Optimizer):
    """tfa's RectifiedAdam without AMSGrad and weight decay; needs `FusedUpdate` before it.

    The update t of a variable with gradient g:

        m = beta_1 m + (1 - beta_1) g,  v = beta_2 v + (1 - beta_2) g^2
        m' = m / (1 - beta_1^t),        v' = v / (1 - beta_2^t)
        var -= rate r_t m' / (sqrt(v') + epsilon)   where the variance of v' is known well enough,
        var -= rate m'                              in the first updates

    Raises:
      ValueError: AMSGrad or weight decay is asked for.
    """

    def __init__(
        self,
        learning_rate: float = 0.001,
        beta_1: float = 0.9,
        beta_2: float = 0.999,
        epsilon: float = 1e-7,
        weight_decay: float = 0.0,
        amsgrad: bool = False,
        sma_threshold: float = 5.0,
        total_steps: int = 0,
        warmup_proportion: float = WARMUP_PROPORTION,
        min_lr: float = 0.0,
        name: str = "RectifiedAdam",
        **kwargs: Any,
    ) -> None:
        if amsgrad or weight_decay:
            raise ValueError("RectifiedAdam has amsgrad and weight_decay in tensorflow-addons only")
        super().__init__(name, **kwargs)
        # Those without a use here are variables in tfa's checkpoints.
        self._hypers = {
            "learning_rate": learning_rate,
            "beta_1": beta_1,
            "beta_2": beta_2,
            "decay": self._initial_decay,
            "weight_decay": weight_decay,
            "sma_threshold": sma_threshold,
            "total_steps": float(total_steps),
            "warmup_proportion": warmup_proportion,
            "min_lr": min_lr,
        }
        for key, value in self._hypers.items():
            self._set_hyper(key, value)
        self.epsilon = epsilon
        self.amsgrad = False
        self._has_weight_decay = False

    def get_config(self) -> dict[str, Any]:
        """The settings, as tfa has them."""
        config = {key: self._serialize_hyperparameter(key) for key in self._hypers}
        config.update(epsilon=self.epsilon, amsgrad=False, total_steps=int(config["total_steps"]))
        return {**super().get_config(), **config}

    def _create_slots(self, var_list: list[tf.Variable]) -> None:
        for slot in ("m", "v"):
            for var in var_list:
                self.add_slot(var, slot)

    def _resource_apply_sparse(
        self,
        grad: tf.Tensor,
        var: tf.Variable,
        indices: tf.Tensor,
        apply_state: dict[Any, Any],
    ) -> tf.Operation:
        # As in tfa all moments decay, but only the rows with a gradient move.
        state = apply_state[(var.device, var.dtype.base_dtype)]
        m, v = self.get_slot(var, "m"), self.get_slot(var, "v")
        with tf.control_dependencies([m.assign(state["beta_1_t"] * m)]):
            m_t = self._resource_scatter_add(m, indices, state["one_minus_beta_1_t"] * grad)
        with tf.control_dependencies([v.assign(state["beta_2_t"] * v)]):
            v_t = self._resource_scatter_add(
                v, indices, state["one_minus_beta_2_t"] * tf.square(grad)
            )
        rows = tf.gather(self._step(m_t, v_t, state), indices)
        return self._resource_scatter_add(var, indices, -rows)

    def _step(self, m: tf.Tensor, v: tf.Tensor, state: dict[str, tf.Tensor]) -> tf.Tensor:
        m = m * state["recip_one_minus_beta_1_power"]
        deviation = tf.sqrt(v * state["recip_one_minus_beta_2_power"])
        rectified = state["r_t"] * m / (deviation + state["epsilon_t"])
        return state["lr_t"] * tf.where(state["sma_t_ge_sma_threshold"], rectified, m)


class FusedUpdate(Scheduled):
    """Mixed in before a RectifiedAdam: one fused op an update in place of about twenty.

    `ResourceApplyAdam` computes, with q = sqrt(1 - beta_2^t),

        var -= lr q / (1 - beta_1^t) m / (sqrt(v) + epsilon)

    which is the rectified update for lr = rate r_t and epsilon q in place of epsilon, and plain
    momentum (the update before the rectification begins) for a huge epsilon E and lr = rate E / q.

    tfa's `total_steps`, `warmup_proportion` and `min_lr` have no effect; `schedule` has.
    """

    # What `self` has besides comes from the optimizer that this is mixed into.
    def _prepare_local(
        self: Any, var_device: str, var_dtype: tf.DType, apply_state: dict[Any, Any]
    ) -> None:
        if var_dtype not in (tf.float32, tf.float64):
            # beta_2 would be 1 in bfloat16. Under mixed precision variables are float32.
            raise TypeError(f"RectifiedAdam updates float32 and float64, not {var_dtype.name}")
        # Not tfa's own, whose square root of a negative number (masked later) stops
        # `tf.debugging.enable_check_numerics`. Its names, for its sparse update.
        tf.keras.optimizers.legacy.Optimizer._prepare_local(
            self, var_device, var_dtype, apply_state
        )
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
            wd_t=self._decayed_wd(var_dtype) if self._has_weight_decay else None,
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
        self: Any, grad: tf.Tensor, var: tf.Variable, apply_state: Optional[dict] = None
    ) -> tf.Operation:
        key = (var.device, var.dtype.base_dtype)
        if self.amsgrad or self._has_weight_decay:
            return super()._resource_apply_dense(grad, var, apply_state)  # type: ignore[misc]
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


def _base() -> type:
    try:
        with warnings.catch_warnings():
            # Each import announces that the project has ended.
            warnings.simplefilter("ignore")
            from tensorflow_addons.optimizers import RectifiedAdam
    except ImportError:
        return PlainRectifiedAdam
    return RectifiedAdam


@tf.keras.utils.register_keras_serializable(package="cloudtf")
class RectifiedAdam(LayerRates, FusedUpdate, _base()):  # type: ignore[misc]
    """RAdam with a schedule, as `make_optimizer` makes it."""
