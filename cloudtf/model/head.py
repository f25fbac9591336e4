"""The head of a network, its last layer, apart from the rest: the features it sees, its weights."""

from __future__ import annotations

import tensorflow as tf

from cloudtf.errors import UserError, param
from cloudtf.model.logistic import LinearHead


def feature_model(model: tf.keras.Model) -> tf.keras.Model:
    """The network up to its head: uint8 images [B, H, W, 3] to the features [B, F] of the head.

    Raises:
      UserError: the network does not end in a dense layer with a sigmoid and a bias.

    >>> model = cloudtf.build_model("tiny", 4, (64, 64))
    >>> feature_model(model).output_shape
    (None, 24)
    """
    head = _head(model)
    return tf.keras.Model(model.inputs, head.input, name="features")


def set_head(model: tf.keras.Model, head: LinearHead) -> None:
    """Puts a linear head into the last layer of a network that `feature_model` takes."""
    _head(model).set_weights([head.kernel, head.bias])


def _head(model: tf.keras.Model) -> tf.keras.layers.Dense:
    layer = model.layers[-1]
    if (
        isinstance(layer, tf.keras.layers.Dense)
        and layer.activation is tf.keras.activations.sigmoid
        and layer.use_bias
        and len(layer.input.shape) == 2
    ):
        return layer
    raise UserError(
        f"{param(head='features')} needs a network that ends in a dense layer of features [B, F] "
        f"with a sigmoid and a bias, not in {layer.name!r}; give {param(head='epochs')}."
    )
