"""Numbers that are not finite: noticed before anything of them is kept, and what to do then."""

from __future__ import annotations

import math

import numpy as np
import tensorflow as tf

from cloudtf.errors import UserError, param
from cloudtf.training.config import TrainConfig

# Divergence sets in within a small factor of a rate that works, so that halving it, up to three
# times, gets below; a run that still fails has another trouble, which lower rates would only hide.
MAX_REWINDS = 3
RATE_FACTOR = 0.5


class NotFinite(UserError):
    """A loss, a weight or a score is not finite.

    Args:
      what: the beginning of a sentence, such as `The loss is nan`.
    """

    def __init__(self, what: str) -> None:
        super().__init__(f"{what}; lower the learning rate.")
        self.what = what


def check_losses(losses: np.ndarray, steps_before: int) -> None:
    """Looks at the losses, float32 [N], of the steps after `steps_before`.

    Raises:
      NotFinite: one is not finite.
    """
    for number, loss in enumerate(losses, start=1):
        if not math.isfinite(loss):
            raise NotFinite(f"The loss is {loss} at step {steps_before + number}")


def check_weights(model: tf.keras.Model, step: int) -> None:
    """Looks at all weights and the optimizer's variables, before anything is kept.

    The last update may have spoilt what no loss has shown yet.

    Raises:
      NotFinite: one is not finite.
    """
    for variable in [*model.variables, *model.optimizer.variables()]:
        if variable.dtype.is_floating and not np.isfinite(variable.numpy()).all():
            raise NotFinite(f"{variable.name} is not finite at step {step}")


def refusal(what: str, rate: float, config: TrainConfig, rewinds: int, lower: str) -> UserError:
    """The error that ends a run.

    Args:
      what: the beginning of the sentence, such as `The loss is nan at step 3`.
      rate: the learning rate in effect, which is named.
      config: the settings of the run.
      rewinds: how often the run has gone back already.
      lower: the setting of a lower rate for another run, as `param` writes it.
    """
    changes = lower
    if config.mixed_precision:
        changes += f" or without {param(mixed_precision=True)}"
    sentence = f"{what} (learning rate {rate:.3g}); nothing of it was saved; "
    if rewinds >= MAX_REWINDS:
        sentence += f"the rate was halved {rewinds} times already, so "
    else:
        sentence += (
            f"run the same command with {param(on_nan='rewind')} to go on at half the rate, or "
        )
    return UserError(f"{sentence}begin another {param('run_dir')} with {changes}.")
