"""Numbers that are not finite: found before anything of them is kept."""

from __future__ import annotations

import math

import numpy as np
import tensorflow as tf

from cloudtf.errors import UserError
from cloudtf.model import optimizers


def check_losses(
    losses: np.ndarray, steps_before: int, optimizer: tf.keras.optimizers.Optimizer
) -> None:
    """Looks at the losses, float32 [N], of the steps after `steps_before`.

    Raises:
      UserError: one is not finite.
    """
    for number, loss in enumerate(losses, start=1):
        if not math.isfinite(loss):
            _refuse(f"The loss is {loss}", steps_before + number, optimizer)


def check_weights(model: tf.keras.Model, step: int) -> None:
    """Looks at all weights and the optimizer's variables, before anything is kept.

    The last update may have spoilt what no loss has shown yet.

    Raises:
      UserError: one is not finite.
    """
    for variable in [*model.variables, *model.optimizer.variables()]:
        if variable.dtype.is_floating and not np.isfinite(variable.numpy()).all():
            _refuse(f"{variable.name} is not finite", step, model.optimizer)


def _refuse(what: str, step: int, optimizer: tf.keras.optimizers.Optimizer) -> None:
    rate = optimizers.effective_learning_rate(optimizer)
    raise UserError(
        f"{what} at step {step} (learning rate {rate:.3g}); nothing of it was saved. Try a "
        "learning rate ten times smaller, or train without --mixed_precision."
    )
