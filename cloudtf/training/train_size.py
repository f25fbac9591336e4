"""The size at which images are trained on: that of the records, or smaller ones that grow.

Small images take less time, and are enough at the start (progressive learning: Tan & Le 2021,
arXiv:2104.00298, section 4). Which epoch has which size follows from the settings alone.
"""

from __future__ import annotations

from typing import Optional

import numpy as np
import tensorflow as tf

from cloudtf.errors import UserError, param, reason
from cloudtf.training.config import TrainConfig
from cloudtf.training.stages import Stage

# Sizes between the first and the last are multiples of this: each one is traced anew.
STEP = 32


def side(sizes: tuple[int, int], epoch: int, epochs: int) -> int:
    """The shorter side of the images of an epoch, in pixels.

    Each size has as many epochs as the others; the last epoch always has the last size.

    Args:
      sizes: that of the first epoch, and of the last.
      epoch: the epoch, from 0.
      epochs: the number of epochs in which the images grow.

    >>> [side((128, 224), epoch, 7) for epoch in range(7)]
    [128, 128, 160, 160, 192, 192, 224]
    """
    first, last = sizes
    if epoch >= epochs - 1:
        return last
    between = range(first // STEP * STEP + STEP, last, STEP)
    grown = sorted({first, *between, last})
    return grown[epoch * len(grown) // epochs]


def train_size(
    config: TrainConfig, stage: Stage, epoch: int, image_shape: tuple[int, int]
) -> Optional[tuple[int, int]]:
    """Height and width of the images of an epoch; None where they are those of the records.

    The head alone is trained at the first size.

    Args:
      config: the settings of the run.
      stage: the stage under way.
      epoch: the epoch of the stage, from 0.
      image_shape: (height, width) of the images in the records.
    """
    sizes = config.train_sizes
    if sizes is None:
        return None
    shorter = side(sizes, epoch, stage.epochs) if stage.whole_network else sizes[0]
    height, width = (round(length * shorter / min(image_shape)) for length in image_shape)
    return None if (height, width) == image_shape else (height, width)


def prepare(config: TrainConfig, model: tf.keras.Model, image_shape: tuple[int, int]) -> None:
    """Lets a network take images of any size, if the settings ask for that.

    Args:
      config: the settings of the run.
      model: the network, made for the size of the records.
      image_shape: (height, width) of the images in the records.

    Raises:
      UserError: the sizes are larger than the records, or the network takes only one size.
    """
    if config.train_sizes is None:
        return
    first, last = config.train_sizes
    if last > min(image_shape):
        raise UserError(
            f"{param(train_size=config.train_size)} is larger than the records, which have "
            f"{image_shape[0]} x {image_shape[1]} pixels; give sizes up to {min(image_shape)}, or "
            "convert the photographs at a larger size."
        )
    functional = tf.keras.Sequential.__base__
    for part in (model, *model.submodules):
        if isinstance(part, functional):
            # Keras holds a network to the size that it was built with; its layers do not mind.
            part.input_spec = None
    small = [round(length * first / min(image_shape)) for length in image_shape]
    try:
        model(np.zeros([1, *small, 3], np.uint8), training=False)
    except (ValueError, tf.errors.InvalidArgumentError) as error:
        raise UserError(
            f"{param(train_size=config.train_size)} needs a network that takes images of any size, "
            f"and {model.name!r} takes one ({reason(error)}); leave it out, or average over all "
            "places before the head."
        ) from error
