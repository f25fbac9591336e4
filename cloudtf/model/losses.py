"""Losses and the dice coefficient, for probabilities of independent labels.

A loss is called as `loss(y_true, y_pred)` with y_true and y_pred float32 [B, C] in [0, 1], and
returns float32 [B]. The loss of a global batch is the sum over its examples, divided by their
number; that is the same for one replica and for several.
"""

from __future__ import annotations

import warnings
from typing import Callable

import tensorflow as tf

from cloudtf.errors import UserError
from cloudtf.model.choices import LOSSES

Loss = Callable[..., tf.Tensor]

# The original notebook's (docs/ORIGINAL.md): a batch without labels and predictions must not divide
# 0 by 0.
SMOOTH = 1.0


def get_loss(name: str) -> Loss:
    """The loss function of a name in `LOSSES`.

    `bce` is binary cross-entropy; `dice` is 1 - dice coefficient of the whole batch; `bce_dice` is
    their sum, as in the original notebook (docs/ORIGINAL.md). `categorical_crossentropy` is what
    that one trained with; it is for classes that exclude one another, and a warning says so.

    Args:
      name: the loss, one of `LOSSES`.

    Returns:
      A function of labels float32 [B, C], 0 or 1, and probabilities float32 [B, C] in [0, 1] that
      gives float32 [B], the loss of each example.

    Raises:
      UserError: there is no such loss.

    >>> bce = get_loss("bce")
    >>> bce(tf.constant([[1.0, 0.0]]), tf.constant([[0.5, 0.5]])).numpy().round(4)
    array([0.6931], dtype=float32)
    """
    functions = {
        "bce": binary_crossentropy,
        "dice": dice_loss,
        "bce_dice": bce_dice_loss,
        "categorical_crossentropy": categorical_crossentropy,
    }
    if name not in functions:
        raise UserError(f"There is no loss {name!r}; the losses are {', '.join(LOSSES)}.")
    if name == "categorical_crossentropy":
        warnings.warn(
            "categorical_crossentropy divides each image's probabilities by their sum, as if "
            "exactly one class were present: it only sees their ratios, so the probabilities are "
            "not calibrated, and images without any class teach it nothing; bce is the loss for "
            "several labels an image.",
            stacklevel=2,
        )
    return functions[name]


def binary_crossentropy(y_true: tf.Tensor, y_pred: tf.Tensor) -> tf.Tensor:
    """Keras's binary cross-entropy, averaged over the classes: [B, C], [B, C] -> [B].

    Probabilities are clipped to [1e-7, 1 - 1e-7], or, where Keras still knows the logits they came
    from, the logits are used, which keeps the gradient of a saturated output.
    """
    return tf.keras.losses.binary_crossentropy(y_true, y_pred)


def categorical_crossentropy(y_true: tf.Tensor, y_pred: tf.Tensor) -> tf.Tensor:
    """Keras's categorical cross-entropy, which divides y_pred by its sum: [B, C], [B, C] -> [B]."""
    return tf.keras.losses.categorical_crossentropy(y_true, y_pred)


def dice_coef(y_true: tf.Tensor, y_pred: tf.Tensor, smooth: float = SMOOTH) -> tf.Tensor:
    """The dice coefficient over all examples and classes together: a scalar in [0, 1].

    (2 sum(t p) + smooth) / (sum(t) + sum(p) + smooth), as in the original notebook
    (docs/ORIGINAL.md). Called in a replica, the sums run over the batches of all replicas, so that
    the value and its gradient are those of the global batch.
    """
    y_true = tf.cast(y_true, y_pred.dtype)
    sums = tf.stack([tf.reduce_sum(y_true * y_pred), tf.reduce_sum(y_true) + tf.reduce_sum(y_pred)])
    replicas = tf.distribute.get_replica_context()
    if replicas is not None and replicas.num_replicas_in_sync > 1:
        sums = replicas.all_reduce(tf.distribute.ReduceOp.SUM, sums)
    return (2.0 * sums[0] + smooth) / (sums[1] + smooth)


def dice_loss(y_true: tf.Tensor, y_pred: tf.Tensor) -> tf.Tensor:
    """1 - `dice_coef` of the global batch, the same value for each example: -> [B]."""
    loss = 1.0 - dice_coef(y_true, y_pred)
    return tf.fill(tf.shape(y_pred)[:1], loss)


def bce_dice_loss(y_true: tf.Tensor, y_pred: tf.Tensor) -> tf.Tensor:
    """`binary_crossentropy` + `dice_loss`: -> [B]."""
    return binary_crossentropy(y_true, y_pred) + dice_loss(y_true, y_pred)
