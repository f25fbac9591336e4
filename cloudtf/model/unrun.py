"""Putting networks together without running their layers.

Keras learns the shape of a layer's output by running the layer on a placeholder, and runs all of a
network that is called as a layer of another once more. For an EfficientNet-B2 that is half of the
time to build it or to read it. Where the shape follows from the settings, a placeholder of that
shape stands for the output here while the network is put together; what the network computes when
it is called, and its weights, are the same.
"""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from cloudtf.model import keras2
from cloudtf.model.random_layers import FixedDropout

keras2.require()

# A network of layers, as Keras calls its class.
Functional: Any = tf.keras.Sequential.__base__

# Their output has the type that they compute in, and the shape that `compute_output_shape` says.
_KNOWN = (
    *(
        getattr(tf.keras.layers, name)
        for name in (
            "Activation", "Add", "BatchNormalization", "Conv2D", "DepthwiseConv2D",
            "GlobalAveragePooling2D", "LayerNormalization", "Multiply", "ReLU", "Reshape",
        )
    ),
    FixedDropout,
)  # fmt: skip


_NAMES = {kind.__name__ for kind in (*_KNOWN, Functional)}


def unrun(layer: tf.keras.layers.Layer) -> tf.keras.layers.Layer:
    """The layer itself, which is not run when it is called before `finish`, if it is of those kinds
    whose shapes are known."""
    # The efficientnet package derives a class of its own from FixedDropout.
    if type(layer) in _KNOWN or isinstance(layer, FixedDropout):
        _stand_in(layer, lambda shapes: (layer.compute_dtype, layer.compute_output_shape(shapes)))
    elif type(layer) is Functional and len(layer.inputs) == len(layer.outputs) == 1:
        known = layer.input.shape.as_list(), (layer.output.dtype, layer.output.shape)
        _stand_in(layer, lambda shape: known[1] if shape.as_list() == known[0] else None)
    return layer


def _stand_in(layer: tf.keras.layers.Layer, find: Any) -> None:
    run = layer.call

    @tf.autograph.experimental.do_not_convert
    def call(inputs: Any, *arguments: Any, **settings: Any) -> Any:
        found = find(tf.nest.map_structure(lambda tensor: tensor.shape, inputs))
        if found is None:
            return run(inputs, *arguments, **settings)
        return tf.compat.v1.placeholder(*found, name="output")

    vars(layer)["call"] = call  # Not by its setattr, which looks for what to track.


def finish(model: tf.keras.Model) -> tf.keras.Model:
    """The model itself, whose layers are run from now on."""
    for layer in model._flatten_layers():
        vars(layer).pop("call", None)
    return model


def classes() -> dict[str, Any]:
    """What Keras takes as `custom_objects` to read a network of which no layer is run, if its
    config is `named`."""
    return {kind.__name__: _Read(kind) for kind in (*_KNOWN, Functional)}


def named(config: dict[str, Any]) -> dict[str, Any]:
    """One object of a network's config, which Keras makes by `classes` if it is one of them."""
    # Keras has no registered name for its own classes.
    if config.get("class_name") in _NAMES and "registered_name" in config:
        config["registered_name"] = config["class_name"]
        # With it the layer would be built at once, and its weights would lack the layer's name.
        config.pop("build_config", None)
    return config


class _Read:
    """Stands for a class when a network is read: makes its layers from their settings."""

    def __init__(self, kind: Any) -> None:
        self._kind = kind

    def from_config(self, config: dict[str, Any]) -> tf.keras.layers.Layer:
        return unrun(self._kind.from_config(config))
