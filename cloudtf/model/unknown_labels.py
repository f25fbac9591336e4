"""Losses that leave out labels of which nothing is known: those of -1."""

from __future__ import annotations

from typing import Callable, Optional, Union

import tensorflow as tf

from cloudtf.data.labels import UNKNOWN
from cloudtf.errors import UserError

Loss = Callable[..., tf.Tensor]


def masked(loss: Union[str, Loss, tf.keras.losses.Loss]) -> Loss:
    """One of Keras's losses, or of one's own, without the labels that are unknown (-1).

    The loss of an example is the mean over the classes whose label is known, 0 if there is none.
    cloudtf's own losses (`cloudtf.get_loss`) leave unknown labels out by themselves.

    Args:
      loss: what `model.compile` takes: a name, a function of (labels, probabilities), or a
        tf.keras.losses.Loss. It must judge each class by itself, as binary cross-entropy does.

    Returns:
      A function of labels float32 [B, C], 0, 1 or -1, and probabilities float32 [B, C] that gives
      float32 [B].

    Raises:
      UserError: Keras has no such loss; when it is called: it does not judge each class by itself.

    >>> loss = cloudtf.masked(tf.keras.losses.BinaryFocalCrossentropy(gamma=1.0))
    >>> loss(tf.constant([[1.0, -1.0]]), tf.constant([[0.5, 0.9]])).numpy().round(4)
    array([0.3466], dtype=float32)
    """
    try:
        found = tf.keras.losses.get(loss)
    except (ValueError, TypeError) as error:
        raise UserError(f"{loss!r} is not a loss of Keras.") from error
    each = found.call if isinstance(found, tf.keras.losses.Loss) else found

    def masked_loss(y_true: tf.Tensor, y_pred: tf.Tensor) -> tf.Tensor:
        y_pred = tf.convert_to_tensor(y_pred)
        y_true = tf.cast(y_true, y_pred.dtype)
        known = y_true >= 0
        # Keras takes the mean over the last axis: with one of length 1, of each pair alone.
        single = tf.expand_dims(y_pred, -1)
        logits = keras_logits(y_pred)
        if logits is not None:
            single._keras_logits = tf.expand_dims(logits, -1)
        pairs = each(tf.expand_dims(tf.where(known, y_true, 0), -1), single)
        if pairs.shape.rank != 2:
            raise UserError(
                "masked takes a loss that judges each class by itself, as binary cross-entropy "
                f"does; {_name(loss)} gives {pairs.shape.rank} dimensions in place of 2."
            )
        return known_mean(tf.cast(pairs, tf.float32), known)

    return masked_loss


def known_mean(pairs: tf.Tensor, known: Optional[tf.Tensor]) -> tf.Tensor:
    """The mean over the known classes, 0 where none is: float32 [B, C], bool [B, C] -> [B].

    Args:
      pairs: a value for each example and class.
      known: bool [B, C], the values that count; None: all.
    """
    if known is None:
        return tf.reduce_mean(pairs, axis=-1)
    counted = tf.reduce_sum(tf.cast(known, pairs.dtype), axis=-1)
    return tf.reduce_sum(tf.where(known, pairs, 0), axis=-1) / tf.maximum(counted, 1)


def keras_logits(probabilities: tf.Tensor) -> Optional[tf.Tensor]:
    """The logits that probabilities were made from by a sigmoid, if Keras or the graph knows."""
    logits = getattr(probabilities, "_keras_logits", None)
    if logits is not None:
        return logits
    in_graph = isinstance(probabilities, tf.Tensor) and not hasattr(probabilities, "numpy")
    if in_graph and probabilities.op.type == "Sigmoid":
        return probabilities.op.inputs[0]
    return None


def counts_unknown(loss: Loss, num_classes: int) -> bool:
    """Whether the value of a loss depends on the probability of a class whose label is -1."""
    labels = tf.constant([[UNKNOWN] + [1] * (num_classes - 1)], tf.float32)
    rest = [0.5] * (num_classes - 1)
    low, high = (loss(labels, tf.constant([[p, *rest]])) for p in (0.2, 0.8))
    return not bool(tf.reduce_all(tf.equal(low, high)))


def _name(loss: object) -> str:
    return loss if isinstance(loss, str) else getattr(loss, "__name__", type(loss).__name__)
