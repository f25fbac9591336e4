"""Losses and the dice coefficient, for probabilities of independent labels.

A loss is called as `loss(y_true, y_pred)` with y_true and y_pred float32 [B, C] in [0, 1], and
returns float32 [B]: the mean over the classes whose label is known. A label of -1 is unknown; an
example without a known one has the loss 0. The loss of a global batch is the sum over its examples,
divided by their number; that is the same for one replica and for several.
"""

from __future__ import annotations

import functools
import warnings
from typing import Callable, Optional, Sequence

import tensorflow as tf

from cloudtf.errors import UserError
from cloudtf.model import choices
from cloudtf.model.choices import CROSS_ENTROPIES, LOSSES
from cloudtf.model.unknown_labels import keras_logits, known_mean

Loss = Callable[..., tf.Tensor]

# The original notebook's (docs/ORIGINAL.md): a batch without labels and predictions must not divide
# 0 by 0.
SMOOTH = 1.0
# Keras's: by how much probabilities are kept away from 0 and 1 before a logarithm.
_EPSILON = 1e-7


def get_loss(
    name: str,
    *,
    focal_gamma: float = choices.FOCAL_GAMMA,
    focal_alpha: float = choices.FOCAL_ALPHA,
    asymmetric_gamma_neg: float = choices.ASYMMETRIC_GAMMA_NEG,
    asymmetric_gamma_pos: float = choices.ASYMMETRIC_GAMMA_POS,
    asymmetric_clip: float = choices.ASYMMETRIC_CLIP,
    positive_weights: Optional[Sequence[float]] = None,
    label_smoothing: float = 0.0,
    unknown: bool = True,
) -> Loss:
    """The loss function of a name in `LOSSES`.

    - `bce` is binary cross-entropy.
    - `focal` multiplies its terms by (1 - p)^gamma where the class is present and p^gamma where it
      is absent, and by alpha and 1 - alpha (Lin et al. 2017, arXiv:1708.02002).
    - `asymmetric` does so with a gamma each, and takes `asymmetric_clip` from the probability of
      what is absent first (Ridnik et al. 2021, arXiv:2009.14119).
    - `dice` is 1 - dice coefficient of the whole batch; `bce_dice` is the sum of `bce` and it, as
      in the original notebook (docs/ORIGINAL.md).
    - `categorical_crossentropy` is what that one trained with; it is for classes that exclude one
      another, and a warning says so.

    The first three and the first part of `bce_dice` are computed from the logits where Keras still
    knows them, so that the gradient of a saturated output is neither lost nor infinite.

    Args:
      name: the loss, one of `LOSSES`.
      focal_gamma: the exponent of `focal`, 0 or more.
      focal_alpha: the weight of what is present in `focal`, 0 to 1.
      asymmetric_gamma_neg: the exponent of what is absent in `asymmetric`, 0 or more.
      asymmetric_gamma_pos: the exponent of what is present in `asymmetric`, 0 or more.
      asymmetric_clip: probability under which `asymmetric` leaves out what is absent, 0 to 1.
      positive_weights: [C], by what the term of each class is multiplied where it is present, such
        as `cloudtf.positive_weights` gives; None: 1. Only for `CROSS_ENTROPIES`.
      label_smoothing: labels y become y (1 - s) + s / 2, s from 0 to 1. Only for `CROSS_ENTROPIES`.
      unknown: whether labels may be -1; without that, as in a set in which all are known, the loss
        is quicker to compute.

    Returns:
      A function of labels float32 [B, C], 0 or 1 (or -1), and probabilities float32 [B, C] in
      [0, 1] that gives float32 [B], the loss of each example.

    Raises:
      UserError: there is no such loss, or it has no use for weights or smoothing.

    >>> bce = get_loss("bce")
    >>> bce(tf.constant([[1.0, 0.0]]), tf.constant([[0.5, 0.5]])).numpy().round(4)
    array([0.6931], dtype=float32)

    The second class of this example is unknown:

    >>> focal = cloudtf.get_loss("focal", focal_gamma=1.0, focal_alpha=0.5)
    >>> focal(tf.constant([[1.0, -1.0]]), tf.constant([[0.5, 0.9]])).numpy().round(4)
    array([0.1733], dtype=float32)
    """
    if name not in LOSSES:
        raise UserError(f"There is no loss {name!r}; the losses are {', '.join(LOSSES)}.")
    if name not in CROSS_ENTROPIES and (positive_weights is not None or label_smoothing):
        raise UserError(
            f"The loss {name} takes no positive weights and no label smoothing; those that do are "
            f"{', '.join(CROSS_ENTROPIES)}."
        )
    if name == "categorical_crossentropy":
        warnings.warn(
            "categorical_crossentropy divides each image's probabilities by their sum, as if "
            "exactly one class were present: it only sees their ratios, so the probabilities are "
            "not calibrated, and images without any class teach it nothing; bce is the loss for "
            "several labels an image.",
            stacklevel=2,
        )
    terms: Loss = functools.partial(
        _cross_entropy, weights=positive_weights, smoothing=label_smoothing, unknown=unknown
    )
    plain = not unknown and positive_weights is None and not label_smoothing
    bce = binary_crossentropy if plain else terms
    dice = _known_dice_loss if unknown else dice_loss
    categorical = _known_categorical_crossentropy if unknown else categorical_crossentropy
    functions: dict[str, Loss] = {
        "bce": bce,
        "focal": functools.partial(
            terms,
            gamma_pos=focal_gamma,
            gamma_neg=focal_gamma,
            scale_pos=focal_alpha,
            scale_neg=1 - focal_alpha,
        ),
        "asymmetric": functools.partial(
            terms,
            gamma_pos=asymmetric_gamma_pos,
            gamma_neg=asymmetric_gamma_neg,
            clip=asymmetric_clip,
        ),
        "dice": dice,
        "bce_dice": lambda y_true, y_pred: bce(y_true, y_pred) + dice(y_true, y_pred),
        "categorical_crossentropy": categorical,
    }
    return functions[name]


def _cross_entropy(
    y_true: tf.Tensor,
    y_pred: tf.Tensor,
    *,
    weights: Optional[Sequence[float]],
    smoothing: float,
    unknown: bool,
    gamma_pos: float = 0.0,
    gamma_neg: float = 0.0,
    scale_pos: float = 1.0,
    scale_neg: float = 1.0,
    clip: float = 0.0,
) -> tf.Tensor:
    """-[w a y (1 - p)^g log p + b (1 - y) q^h log(1 - q)] with q = max(p - clip, 0): -> [B].

    All powers are of exp(log p), whose derivative has no power of 0 in it.
    """
    y_true = tf.cast(y_true, tf.float32)
    known = y_true >= 0 if unknown else None
    y_true = tf.maximum(y_true, 0.0) if unknown else y_true
    if smoothing:
        y_true = y_true * (1 - smoothing) + smoothing / 2
    log_p, log_not_p = _logarithms(y_pred)
    positive = -scale_pos * y_true * log_p
    if weights is not None:
        positive *= tf.constant(weights, tf.float32)
    if gamma_pos:
        positive *= tf.exp(gamma_pos * log_not_p)
    if clip:
        log_q, log_not_q = _clipped(log_p, log_not_p, clip)
    else:
        log_q, log_not_q = log_p, log_not_p
    negative = -scale_neg * (1 - y_true) * log_not_q
    if gamma_neg:
        negative *= tf.exp(gamma_neg * log_q)
    return known_mean(positive + negative, known)


def _logarithms(probabilities: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """log p and log(1 - p), float32, of probabilities [B, C]; of their logits if Keras has them."""
    logits = keras_logits(probabilities)
    if logits is None:
        p = tf.cast(probabilities, tf.float32)
        return tf.math.log(tf.maximum(p, _EPSILON)), tf.math.log(tf.maximum(1 - p, _EPSILON))
    logits = tf.cast(logits, tf.float32)
    return -tf.nn.softplus(-logits), -tf.nn.softplus(logits)


def _clipped(log_p: tf.Tensor, log_not_p: tf.Tensor, clip: float) -> tuple[tf.Tensor, tf.Tensor]:
    """log q and log(1 - q) of q = max(p - clip, 0), where clip is over 0; log q is finite."""
    q = tf.exp(log_p) - clip
    above = q > _EPSILON
    # In both branches the logarithms are of numbers over 0: else their derivative would be NaN.
    log_q = tf.math.log(tf.where(above, q, _EPSILON))
    log_not_q = tf.where(above, tf.math.log(tf.exp(log_not_p) + clip), 0.0)
    return log_q, log_not_q


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


def _known_dice_loss(y_true: tf.Tensor, y_pred: tf.Tensor) -> tf.Tensor:
    """`dice_loss` over the pairs of example and class that are known: -> [B]."""
    known = tf.cast(y_true >= 0, y_pred.dtype)
    return dice_loss(tf.maximum(y_true, 0), y_pred * known)


def _known_categorical_crossentropy(y_true: tf.Tensor, y_pred: tf.Tensor) -> tf.Tensor:
    """`categorical_crossentropy` among the classes that are known, 0 if there is none: -> [B]."""
    known = y_true >= 0
    some = tf.reduce_any(known, axis=-1, keepdims=True)
    # Never all of them 0: they are divided by their sum.
    shares = tf.where(some, tf.where(known, y_pred, 0), 1)
    return categorical_crossentropy(tf.maximum(y_true, 0), shares)
