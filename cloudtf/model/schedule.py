"""A linear warm-up and then a decay, linear or by a cosine, of an optimizer's learning rate.

The rate of update t = 1, 2, ... is `learning_rate` x factor(t):

    factor rises from 0 to 1 over the first `warmup_proportion` of `total_steps`, then falls to
    `last_factor` at `total_steps`, and stays there. It falls in a line, or by half a cosine
    (Loshchilov & Hutter 2017, arXiv:1608.03983, without restarts), which stays longer near the peak
    and near the end.

In a line, with a learning rate that nobody changes, this is what `tfa.optimizers.RectifiedAdam`
does when its `total_steps` is set. There, `min_lr` is absolute: a rate lowered by a plateau
callback is ignored after the end, and one below `min_lr` makes the rate rise. Here the whole
schedule scales with `learning_rate`, so that halving it halves every rate to come.

The schedule's numbers are not variables: restoring a checkpoint brings back `learning_rate`, the
number of updates and the moments, but never an old schedule.
"""

from __future__ import annotations

import math
from typing import Any, Optional

import tensorflow as tf

from cloudtf.model import keras2

# Classes of Keras 3 cannot be derived from as those of Keras 2.
keras2.require()


class Scheduled:
    """Mixed in before a legacy Keras optimizer, it multiplies the learning rate by the factor.

    Args:
      *args: positional arguments of the optimizer.
      schedule: `total_steps`, `warmup_proportion`, `last_factor` and `shape`, which is one of
        `choices.SCHEDULES`; None is a constant rate.
      **kwargs: keyword arguments of the optimizer.
    """

    def __init__(
        self, *args: Any, schedule: Optional[dict[str, Any]] = None, **kwargs: Any
    ) -> None:
        super().__init__(*args, **kwargs)
        self._schedule = schedule

    def get_config(self) -> dict[str, Any]:
        """The optimizer's settings and the schedule, for `from_config`."""
        return {**super().get_config(), "schedule": self._schedule}  # type: ignore[misc]

    def _decayed_lr(self, var_dtype: tf.DType) -> tf.Tensor:
        rate = super()._decayed_lr(var_dtype)  # type: ignore[misc]
        if self._schedule is None:
            return rate
        warmup_steps = self._schedule["total_steps"] * self._schedule["warmup_proportion"]
        decay_steps = max(self._schedule["total_steps"] - warmup_steps, 1.0)
        step = tf.cast(self.iterations + 1, var_dtype)  # type: ignore[attr-defined]
        past = tf.clip_by_value((step - warmup_steps) / decay_steps, 0.0, 1.0)
        if self._schedule["shape"] == "cosine":
            past = 0.5 - 0.5 * tf.cos(math.pi * past)
        factor = 1.0 + (self._schedule["last_factor"] - 1.0) * past
        if warmup_steps:
            factor *= tf.minimum(step / warmup_steps, 1.0)
        return rate * factor
