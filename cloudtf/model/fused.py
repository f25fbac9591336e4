"""Swish and squeeze-and-excite in training with fewer passes over memory.

Of a training step of EfficientNet on CPU 40% of the time goes into element-wise operations on its
largest tensors: swish x·s(x), where s is the sigmoid, its gradient, and the gradients of the
squeeze-and-excite that follows. Here each is one function with its own gradient, compiled by XLA:

    swish                       y = x·s(x)                dx = dy·s'(x)
    with squeeze-and-excite     y = x·s(x)·gate           dx = (dy·gate + dpooled / HW)·s'(x)

with s'(x) = s(x)·(1 + x·(1 - s(x))). The results are the same within rounding; tensors of half
precision are computed with in float32.

Only a call with `training=True` is changed, and only of the very objects that `speed_up` was given:
layers, config and files stay plain, and so does whatever is exported.
"""

from __future__ import annotations

import functools
from typing import Any, Callable, NamedTuple, Optional

import tensorflow as tf

# Elements of a tensor from which compiling for its shape is repaid within 50 steps.
_LEAST_ELEMENTS = 1 << 19
# Stands in for a batch size that is not known while tracing.
_USUAL_BATCH = 32


def speed_up(model: tf.keras.Model) -> None:
    """Lets the networks in a model compute as above in calls with `training=True`.

    Args:
      model: any; a network in it without swish is left as it is.
    """
    functional = tf.keras.Sequential.__base__
    for network in model._flatten_layers(include_self=True):
        if isinstance(network, functional) and not isinstance(network, tf.keras.Sequential):
            plan = _Plan(network)
            if plan.swishes:
                # Not by setattr, which would track it for checkpoints.
                vars(network)["call"] = plan.call


def plan_of(network: tf.keras.Model) -> Optional[_Plan]:
    """How a network that was given to `speed_up` computes in training; None: as any other."""
    return getattr(vars(network).get("call"), "__self__", None)


class _Gating(NamedTuple):
    """The nodes of a squeeze-and-excite, and the key of the tensor of its gate."""

    pool: Any
    product: Any
    gate: str


class _Plan:
    """A network's layers in their order, and which are computed in another way.

    Args:
      network: whose tensors have keys as Keras's own `Functional` has them.

    Attributes:
      swishes: the nodes that apply swish, each with the squeeze-and-excite that is all that
        follows, or None. Empty where the network is of a kind that is not known here.
    """

    def __init__(self, network: tf.keras.Model) -> None:
        self.swishes: dict[Any, Optional[_Gating]] = {}
        by_depth = network._nodes_by_depth
        nodes = [node for depth in sorted(by_depth, reverse=True) for node in by_depth[depth]]
        self._network, self._nodes = network, [node for node in nodes if not node.is_input]
        singles = [network.inputs, network.outputs, *(n.flat_output_ids for n in self._nodes)]
        if any(len(tensors) != 1 for tensors in singles):
            return
        self._input, self._output = str(id(network.inputs[0])), str(id(network.outputs[0]))
        readers: dict[str, list[Any]] = {}
        for node in self._nodes:
            for key in node.flat_input_ids:
                readers.setdefault(key, []).append(node)
        for node in self._nodes:
            if _is_swish(node.layer):
                key = node.flat_output_ids[0]
                following = [] if key == self._output else readers.get(key, [])
                self.swishes[node] = _gating(node, following)

    def call(self, inputs: Any, training: Any = None, mask: Any = None) -> Any:
        """In the place of the network's own."""
        if training is True and mask is None and tf.is_tensor(inputs):
            return self._run(inputs)
        return type(self._network).call(self._network, inputs, training=training, mask=mask)

    def _run(self, inputs: tf.Tensor) -> tf.Tensor:
        network = self._network
        known = {self._input: network._conform_to_reference_input(inputs, network.inputs[0])}
        links: dict[Any, tuple[str, str, tf.Tensor]] = {}
        for node in self._nodes:
            key = node.flat_output_ids[0]
            if key in known:
                continue
            if node in links:
                y, gate, link = links[node]
                known[key] = gated(known[y], known[gate], link)
            elif node in self.swishes and _pays(node.layer, known[node.flat_input_ids[0]]):
                x, gating = known[node.flat_input_ids[0]], self.swishes[node]
                if gating is None:
                    known[key] = swish(x)
                    continue
                known[key], pooled, link = swish_and_pool(x)
                shape = pooled.shape if gating.pool.layer.keepdims else [x.shape[0], x.shape[3]]
                known[gating.pool.flat_output_ids[0]] = tf.reshape(pooled, [-1, *shape[1:]])
                links[gating.product] = (key, gating.gate, link)
            else:
                # Keras takes each tensor from a list, as often as the layer reads it.
                keys = node.flat_input_ids
                args, kwargs = node.map_arguments({k: [known[k]] * keys.count(k) for k in keys})
                known[key] = node.layer(*args, **kwargs)
        return known[self._output]


def _is_swish(layer: tf.keras.layers.Layer) -> bool:
    name = getattr(getattr(layer, "activation", None), "__name__", "")
    is_one = isinstance(layer, tf.keras.layers.Activation) and name in ("swish", "silu")
    return is_one and layer.activity_regularizer is None


def _gating(node: Any, readers: list[Any]) -> Optional[_Gating]:
    """The squeeze-and-excite that begins and ends with two readers of the tensor of a node."""
    layers, y = tf.keras.layers, node.outputs
    for pool, product in (readers, readers[::-1]) if len(readers) == 2 else ():
        gates = [gate for gate in product.keras_inputs if gate is not y]
        if (
            isinstance(pool.layer, layers.GlobalAveragePooling2D)
            and isinstance(product.layer, layers.Multiply)
            # A gate that Keras would cast, or spread over channels, is left to Keras.
            and [gate.shape[1:].as_list() for gate in gates] == [[1, 1, y.shape[-1]]]
            and {gates[0].dtype.name, pool.layer.compute_dtype, product.layer.compute_dtype}
            == {node.layer.compute_dtype}
            and pool.layer.data_format == "channels_last"
            and pool.layer.activity_regularizer is product.layer.activity_regularizer is None
        ):
            return _Gating(pool, product, str(id(gates[0])))
    return None


def _pays(layer: tf.keras.layers.Layer, x: tf.Tensor) -> bool:
    """Whether x, which a layer would take as it is, is large enough to compile for."""
    if None in x.shape[1:] or x.dtype.name != layer.compute_dtype:
        return False
    return (x.shape[0] or _USUAL_BATCH) * x.shape[1:].num_elements() >= _LEAST_ELEMENTS


@tf.custom_gradient
def swish(x: tf.Tensor) -> tuple[tf.Tensor, Callable[[tf.Tensor], tf.Tensor]]:
    """x·s(x) (Ramachandran et al. 2017, arXiv:1710.05941), of any shape."""

    def gradient(dy: tf.Tensor) -> tf.Tensor:
        return _compiled(_swish_gradient, [-1], x, dy)

    return _swish(x), gradient


@tf.custom_gradient
def swish_and_pool(x: tf.Tensor) -> tuple[Any, Callable[..., tf.Tensor]]:
    """Swish y of images [B, H, W, C], its mean over them [B, 1, 1, C], and a link for `gated`.

    The gradient of `y` has still to be multiplied by that of the link.
    """
    y = _swish(x)
    pooled = tf.reduce_mean(y, [1, 2], keepdims=True)

    def gradient(dy: tf.Tensor, dpooled: tf.Tensor, gate: tf.Tensor) -> tf.Tensor:
        batch, height, width, channels = x.shape
        shares = tf.reshape(dpooled / tf.cast(height * width, dpooled.dtype), [-1, 1, channels])
        gates = tf.reshape(gate, [-1, 1, channels])
        flat = [-1, height * width, channels]
        return _compiled(_gated_gradient, flat, x, dy, gates, shares)

    return (y, pooled, tf.zeros_like(pooled)), gradient


@tf.custom_gradient
def gated(
    y: tf.Tensor, gate: tf.Tensor, link: tf.Tensor
) -> tuple[tf.Tensor, Callable[[tf.Tensor], Any]]:
    """y·gate, where y [B, H, W, C] and `link` come from `swish_and_pool`; gate [B, 1, 1, C]."""
    del link

    def gradient(dy: tf.Tensor) -> tuple[tf.Tensor, ...]:
        return dy, tf.reduce_sum(dy * y, [1, 2], keepdims=True), gate

    return y * gate, gradient


def _swish(x: tf.Tensor) -> tf.Tensor:
    return _compiled(_product_with_sigmoid, [-1], x)


def _product_with_sigmoid(x: tf.Tensor) -> tf.Tensor:
    return x * tf.sigmoid(x)


def _swish_gradient(x: tf.Tensor, dy: tf.Tensor) -> tf.Tensor:
    s = tf.sigmoid(x)
    return dy * (s * (1 + x * (1 - s)))


def _gated_gradient(x: tf.Tensor, dy: tf.Tensor, gate: tf.Tensor, share: tf.Tensor) -> tf.Tensor:
    return _swish_gradient(x, dy * gate + share)


def _compiled(function: Callable[..., tf.Tensor], flat: list[Any], *args: tf.Tensor) -> tf.Tensor:
    """A function of tensors, the first two of which are reshaped to `flat` for it.

    Tensors of one size share what is compiled for them, and all share what is traced.
    """
    shaped = [tf.reshape(arg, flat) for arg in args[:2]]
    found = _kernel(function, args[0].dtype, len(flat), len(args))(*shaped, *args[2:])
    found = tf.reshape(found, tf.shape(args[0]))
    found.set_shape(args[0].shape)
    return found


@functools.cache
def _kernel(function: Callable[..., tf.Tensor], dtype: tf.DType, rank: int, count: int) -> Any:
    def in_float32(*args: tf.Tensor) -> tf.Tensor:
        return tf.cast(function(*(tf.cast(arg, tf.float32) for arg in args)), dtype)

    signature = [tf.TensorSpec([None] * rank, dtype)] * count
    return tf.function(in_float32, signature, jit_compile=True, autograph=False)
