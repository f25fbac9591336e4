"""Learning rates that differ by layer: lower in the body than in the head, and lower with depth.

    factor of the head            1
    factor of the body's block k  `body_rate` x `layer_decay` ** (number of blocks - k), k = 0 first

What comes first in a body is the most general and needs the least change (Howard & Ruder 2018,
arXiv:1801.06146; the decay by depth as in Clark et al. 2020, arXiv:2003.10555).
"""

from __future__ import annotations

import re
from typing import Any, Mapping, Optional

import tensorflow as tf

from cloudtf.errors import UserError, param
from cloudtf.model.weights import BODY

# Networks of Keras and of the efficientnet package name layers by their block: `block2b_dwconv`,
# `block_3_expand`, `conv2_block1_1_bn`, `convnext_tiny_stage_0_block_2_depthwise_conv`.
_BLOCK = re.compile(r".*block_?\d+[a-z]?(?=_|$)")


def rate_factors(
    model: tf.keras.Model, body_rate: float = 1.0, layer_decay: float = 1.0
) -> dict[Any, float]:
    """What the learning rate of each weight of the body is multiplied by.

    Args:
      model: with a layer `body`; all others are its head.
      body_rate: the rate of the whole body, as a share of the head's.
      layer_decay: the rate of a block, as a share of the next one's.

    Returns:
      `variable.ref()` -> factor, for the weights of the body; nothing where both are 1.

    Raises:
      UserError: the model has no body.

    >>> model = cloudtf.build_model("tiny", num_classes=4, image_shape=(64, 64))
    >>> factors = rate_factors(model, layer_decay=0.5)
    >>> kernel = model.get_layer("body").get_layer("block_conv").kernel
    >>> factors[kernel.ref()]
    0.5
    """
    if body_rate == layer_decay == 1:
        return {}
    if not any(layer.name == BODY for layer in model.layers):
        changed = {"body_rate": body_rate} if body_rate != 1 else {"layer_decay": layer_decay}
        raise UserError(
            f"{param(**changed)} needs a model with a layer called {BODY!r}, whose rate is lower; "
            "leave it out."
        )
    found = blocks(model.get_layer(BODY))
    return {
        weight.ref(): body_rate * layer_decay ** (len(found) - index)
        for index, layers in enumerate(found)
        for layer in layers
        for weight in layer.weights
    }


def blocks(body: tf.keras.Model) -> list[list[tf.keras.layers.Layer]]:
    """The layers with weights, block by block, from the input on.

    A block is what its layers' names say. Elsewhere each layer with a kernel begins one, and those
    with vectors only, such as normalisation, belong to the block before them.
    """
    found: dict[str, list[tf.keras.layers.Layer]] = {}
    last = ""
    for layer in getattr(body, "layers", None) or [body]:
        if not layer.weights:
            continue
        named = _BLOCK.match(layer.name)
        if named:
            last = named[0]
        elif not found or any(weight.shape.rank > 1 for weight in layer.weights):
            last = f"{layer.name}:"  # No block is called so.
        found.setdefault(last, []).append(layer)
    return list(found.values())


class LayerRates:
    """Mixed in before an optimizer of one fused op an update, it scales the rate of variables.

    What `self` has besides comes from the legacy Keras optimizer that this is mixed into.
    """

    _rate_factors: dict[str, float] = {}

    def set_rate_factors(self, factors: Mapping[Any, float]) -> None:
        """Gives variables rates of their own, before the first update is traced.

        Args:
          factors: `variable.ref()` -> what its rate is multiplied by.
        """
        self._rate_factors = {
            _key(reference.deref()): factor for reference, factor in factors.items() if factor != 1
        }

    def _resource_apply_dense(
        self, grad: tf.Tensor, var: tf.Variable, apply_state: Optional[dict] = None
    ) -> tf.Operation:
        return super()._resource_apply_dense(  # type: ignore[misc]
            grad, var, self._for_variable(var, apply_state)
        )

    def _resource_apply_sparse(
        self,
        grad: tf.Tensor,
        var: tf.Variable,
        indices: tf.Tensor,
        apply_state: Optional[dict] = None,
    ) -> tf.Operation:
        return super()._resource_apply_sparse(  # type: ignore[misc]
            grad, var, indices, self._for_variable(var, apply_state)
        )

    def _state_of(self: Any, var: tf.Variable, apply_state: Optional[dict]) -> dict[str, Any]:
        """What updates of this variable are computed with, its rate (`lr_t`) among it."""
        key = (var.device, var.dtype.base_dtype)
        return (apply_state or {}).get(key) or self._fallback_apply_state(*key)

    def _for_variable(self, var: tf.Variable, apply_state: Optional[dict]) -> Optional[dict]:
        factor = self._rate_factors.get(_key(var))
        if factor is None:
            return apply_state
        state = self._state_of(var, apply_state)
        scaled = {
            name: state[name] * tf.cast(factor, var.dtype.base_dtype)
            for name in ("lr", "lr_t", "fused_rate")
            if name in state
        }
        return {(var.device, var.dtype.base_dtype): {**state, **scaled}}


def _key(variable: Any) -> str:
    """The same for a variable and each replica's copy of it."""
    if not isinstance(variable, tf.distribute.DistributedValues):
        container = getattr(variable.handle, "_distributed_container", None)
        variable = container() if container else variable
    return variable._unique_id
