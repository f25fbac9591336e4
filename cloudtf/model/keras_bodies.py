"""Bodies out of Keras's own collection, `tf.keras.applications`: EfficientNetV2 and ConvNeXt.

Keras makes the network; some of its layers are exchanged for ones that compute the same, and that
cloudtf can train, save and export on both stacks:

- dropout and drop-connect for `FixedDropout`, whose masks follow from the step, at the rates of the
  other networks (Keras has ConvNeXt without drop-connect, and raises it too far in deep V2s);
- batch norm for one with the momentum and the replicas that were asked for;
- ConvNeXt's additions, which are bare operations, for `Add`, and its grouped convolutions, which
  Keras compiles by XLA wherever they are called, for `DepthwiseConv2D`.

EfficientNetV2: Tan & Le 2021, arXiv:2104.00298. ConvNeXt: Liu et al. 2022, arXiv:2201.03545.
"""

from __future__ import annotations

import re
import sys
from types import ModuleType
from typing import Any

import tensorflow as tf

from cloudtf.model import keras2, unrun
from cloudtf.model.choices import KERAS_MODELS
from cloudtf.model.random_layers import FixedDropout

keras2.require()

# What the names of a residual block's layers begin with.
_BLOCK = re.compile(r"block\d+[a-z]_|.*_stage_\d+_block_\d+_")
# Layers that Keras leaves without a name of their own -> the one they have here in any program.
_NAMES = {"global_average_pooling2d": "avg_pool", "layer_normalization": "head_layernorm"}


def home(name: str) -> ModuleType:
    """The module of Keras that makes a network; it holds the address and hashes of the weights."""
    return sys.modules[getattr(tf.keras.applications, KERAS_MODELS[name]).__module__]


# A factor a channel on what a block of ConvNeXt adds (Touvron et al. 2021, arXiv:2103.17239); Keras
# gives its class no public name.
LayerScale: type = home("convnexttiny").LayerScale


def make_body(
    name: str,
    shape: tuple[int, int, int],
    body_name: str,
    drop_connect_rate: float,
    batch_norm: dict[str, Any],
) -> tf.keras.Model:
    """A network without its top, with random weights: images [B, H, W, channels] to [B, features].

    Args:
      name: the network, one of `KERAS_MODELS`.
      shape: height, width and channels of the images, which are normalised already.
      body_name: the name that the layer `body` has in the classifier.
      drop_connect_rate: of the block after the last; it rises linearly from 0.
      batch_norm: the settings of batch norm that are not to be the network's own.
    """
    original = _original(name, shape)
    matches = [_BLOCK.match(layer.name) for layer in original.layers]
    blocks = list(dict.fromkeys(match[0] for match in matches if match))
    image = tf.keras.Input(shape)
    made = {id(original.input): image}  # By the original tensor's id: it has no hash.
    block = blocks[0]
    for layer, match in zip(original.layers[1:], matches[1:]):
        block = match[0] if match else block
        rate = drop_connect_rate * blocks.index(block) / len(blocks)
        node = layer.inbound_nodes[-1]
        inputs = [made[id(tensor)] for tensor in node.keras_inputs]
        exchanged = _exchanged(layer, block, rate, batch_norm)
        output = unrun.unrun(exchanged)(inputs if len(inputs) > 1 else inputs[0])
        made[id(node.outputs)] = output
    return tf.keras.Model(image, made[id(original.output)], name=body_name)


def load_published(body: tf.keras.Model, name: str, path: str) -> None:
    """Fills a body with a weights file of the network as Keras has it, without its top.

    Args:
      body: a network that `make_body` has made.
      name: the network that it was made as.
      path: the `.h5` file, on this machine.

    Raises:
      Exception: of any kind, if the file is damaged or of another network.
    """
    original = _original(name, body.input_shape[1:])
    original.load_weights(path)
    # A depthwise kernel is [7, 7, C, 1], the one of a convolution in C groups [7, 7, 1, C].
    body.set_weights(
        [value.reshape(weight.shape) for value, weight in zip(original.get_weights(), body.weights)]
    )


def source(name: str) -> tuple[str, str]:
    """The address of a network's ImageNet weights without the top, and their hash as hex."""
    module, called = home(name), _original_name(name)
    hashes = module.WEIGHTS_HASHES
    # EfficientNetV2's are known by the last two letters.
    found = hashes[called] if called in hashes else hashes[called[-2:]]
    return f"{module.BASE_WEIGHTS_PATH}{called}_notop.h5", found[1]


def _original_name(name: str) -> str:
    """What Keras calls a network in names of files."""
    for family, separator in (("efficientnetv2", "-"), ("convnext", "_")):
        if name.startswith(family):
            return family + separator + name[len(family) :]
    raise AssertionError(name)


def _original(name: str, shape: tuple[int, int, int]) -> tf.keras.Model:
    make = getattr(tf.keras.applications, KERAS_MODELS[name])
    return make(
        include_top=False,
        include_preprocessing=False,
        weights=None,
        input_shape=shape,
        pooling="avg",
    )


def _exchanged(
    layer: tf.keras.layers.Layer, block: str, rate: float, batch_norm: dict[str, Any]
) -> tf.keras.layers.Layer:
    """A layer for the place of one of Keras's network.

    Args:
      layer: a layer of Keras's network that has been called once.
      block: what the names of the layers of its block begin with.
      rate: the probability that the block is dropped.
      batch_norm: the settings of batch norm that are not to be the network's own.
    """
    layers = tf.keras.layers
    if isinstance(layer, layers.Dropout) or layer.name.endswith("_identity"):
        return FixedDropout(rate, noise_shape=(None, 1, 1, 1), name=f"{block}drop")
    if type(layer).__name__ == "TFOpLambda":
        return layers.Add(name=f"{block}add")
    config = layer.get_config()
    config["name"] = _NAMES.get(re.sub(r"_\d+$", "", layer.name), layer.name)
    if isinstance(layer, layers.BatchNormalization):
        return layers.BatchNormalization.from_config({**config, **batch_norm})
    if isinstance(layer, layers.Conv2D) and layer.groups > 1:
        return layers.DepthwiseConv2D(layer.kernel_size, padding=layer.padding, name=layer.name)
    return type(layer).from_config(config)
