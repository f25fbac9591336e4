"""What the PR-AUC callback cannot work with, said as a fit begins and not after an epoch of it."""

from __future__ import annotations

from typing import Any, Iterable, Sequence

import numpy as np
import tensorflow as tf

from cloudtf.data.labels import UNKNOWN
from cloudtf.errors import UserError
from cloudtf.model import saving, unknown_labels


def check_repeats(batches: Iterable, name: str) -> None:
    """Refuses what can be gone through only once, or never ends.

    Args:
      batches: examples to measure after each epoch.
      name: the parameter that gives them.

    Raises:
      UserError: they are an iterator, such as a generator, or an endless dataset.
    """
    if iter(batches) is batches:
        raise UserError(
            f"{name} is a {type(batches).__name__}, which ends after one epoch; give a "
            "tf.data.Dataset, a keras.utils.Sequence or a list of batches."
        )
    if (
        isinstance(batches, tf.data.Dataset)
        and batches.cardinality() == tf.data.INFINITE_CARDINALITY
    ):
        raise UserError(f"{name} never ends; give batches that hold each example once.")


def check_model(model: tf.keras.Model, num_classes: int) -> None:
    """Refuses a model that `best.keras` could not hold for cloudtf's commands.

    Raises:
      UserError: it could not be read back, or is not from one image to C probabilities.
    """
    saving.check_keepable(model)
    inputs, outputs = (
        [tuple(t.shape) for t in model.inputs],
        [tuple(t.shape) for t in model.outputs],
    )
    if len(inputs) != 1 or len(inputs[0]) != 4 or inputs[0][-1] != 3:
        raise UserError(
            f"The model {model.name!r} takes {_shapes(inputs)}; cloudtf's models take images "
            "[B, H, W, 3]."
        )
    if len(outputs) != 1 or outputs[0][1:] != (num_classes,):
        raise UserError(
            f"The model {model.name!r} gives {_shapes(outputs)}; for {num_classes} classes it must "
            f"give [B, {num_classes}]."
        )


def image_size(model: tf.keras.Model, batch: Sequence[Any]) -> dict[str, int]:
    """What later commands need to know of a model's images: as its input says, else as they came.

    Args:
      model: one that `check_model` has let pass.
      batch: (images, labels), as they are measured.
    """
    said = model.inputs[0].shape[1:3]
    came = np.shape(batch[0])[1:3]
    height, width = (int(a or b) for a, b in zip(said, came))
    return {"image_height": height, "image_width": width}


def check_batch(batches: Iterable, name: str, num_classes: int, keeps_best: bool) -> Sequence[Any]:
    """Looks at the first batch of what is measured.

    Args:
      batches: of images [B, H, W, 3], labels [B, C] and perhaps a mask.
      name: the parameter that gives them.
      num_classes: C, which the labels must have too.
      keeps_best: whether the model goes into a file from which others use it, on uint8 images.

    Returns:
      The batch.

    Raises:
      UserError: there is none, or it is not as it must be.
    """
    batch = next(iter(batches), None)
    if batch is None:
        raise UserError(f"{name} has no examples to measure.")
    if not isinstance(batch, (tuple, list)) or len(batch) < 2:
        raise UserError(
            f"{name} must give batches of (images, labels), not {type(batch).__name__}."
        )
    images, labels = np.asarray(batch[0]), np.asarray(batch[1])
    if labels.ndim != 2 or labels.shape[1] != num_classes or len(images) != len(labels):
        raise UserError(
            f"{name} gives images {list(images.shape)} with labels {list(labels.shape)}; for "
            f"{num_classes} classes a batch of B images has labels [B, {num_classes}] of 0 and 1."
        )
    wrong = labels[(labels != 0) & (labels != 1) & (labels != UNKNOWN)]
    if wrong.size:
        raise UserError(
            f"{name} gives labels other than 0 and 1, such as {wrong[0]}; -1 stands for unknown."
        )
    if keeps_best and (images.min(initial=0) < 0 or (images != np.floor(images)).any()):
        raise UserError(
            f"{name} gives images that are scaled (from {images.min():.3g} to {images.max():.3g}), "
            "but best.keras is used on uint8 images as they are; scale within the model, by a "
            "Rescaling layer."
        )
    return batch


def check_loss(loss: Any, batch: Sequence[Any], name: str) -> None:
    """Refuses a loss that would learn from labels that are unknown, where the batch has such.

    Args:
      loss: the loss with which the model is compiled, as Keras takes it.
      batch: (images, labels), as they are measured.
      name: the parameter that gives them.

    Raises:
      UserError: the value of the loss depends on what is predicted for them.
    """
    labels = np.asarray(batch[1])
    if loss is None or isinstance(loss, (list, dict)) or not (labels == UNKNOWN).any():
        return
    found = tf.keras.losses.get(loss)
    found = found.call if isinstance(found, tf.keras.losses.Loss) else found
    if unknown_labels.counts_unknown(found, labels.shape[1]):
        raise UserError(
            f"{name} has labels that are unknown (-1), which the loss of the model would learn "
            "from; compile it with cloudtf.masked(loss) or cloudtf.get_loss(name)."
        )


def check_rate(optimizer: tf.keras.optimizers.Optimizer, factor: float) -> None:
    """Refuses to lower a learning rate that is given by a schedule.

    Args:
      optimizer: the one that the model is compiled with.
      factor: by what a plateau multiplies the rate; 1 leaves it alone.

    Raises:
      UserError: the rate is no number that could be lowered.
    """
    if optimizer is None:
        raise UserError("The model has no optimizer; compile it before it is trained.")
    if factor == 1.0:
        return
    optimizer = getattr(optimizer, "inner_optimizer", optimizer)  # Under loss scaling.
    # Keras's legacy optimizers give the schedule itself; the others a copy of its last value.
    rate = getattr(optimizer, "_learning_rate", optimizer.learning_rate)
    if not hasattr(rate, "assign"):
        raise UserError(
            f"The learning rate follows a schedule ({type(rate).__name__}), which cannot be "
            "lowered on a plateau; give the callback plateau_factor=1.0 to leave it alone, or the "
            "optimizer a number."
        )


def check_strategy(strategy: tf.distribute.Strategy) -> None:
    """Refuses several workers, which would all write the same files.

    Raises:
      UserError: the model is trained by a MultiWorkerMirroredStrategy.
    """
    if strategy.extended._in_multi_worker_mode():
        raise UserError(
            "PrAucCallback does not work among several workers; cloudtf.train does, with "
            "strategy='multi_worker'."
        )


def _shapes(shapes: Sequence[tuple]) -> str:
    return " and ".join(str(["B", *shape[1:]]).replace("'", "") for shape in shapes)
