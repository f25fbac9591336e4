"""Gradients of a large batch, computed in parts that fit into memory."""

from __future__ import annotations

from typing import Any, Callable, Sequence

import tensorflow as tf


def summed(
    compute: Callable[..., tuple[tf.Tensor, list[Any]]],
    batch: Sequence[tf.Tensor],
    step: tf.Tensor,
    parts: int,
    variables: Sequence[tf.Variable],
) -> tuple[tf.Tensor, list[tf.Tensor]]:
    """Loss and gradients of a batch, part after part.

    The sums are those of the whole batch, within rounding, where no example's loss depends on the
    others of its batch: batch norm takes its statistics from each part, and dice is of each part.

    Args:
      compute: (a part of each tensor of the batch ..., number of the part since training began) ->
        its share of the loss, a scalar, and of the gradients, None for variables without one.
      batch: tensors [N, ...] with the same static N, a multiple of `parts`.
      step: number of the batch since training began, an integer scalar.
      parts: of how many examples N / parts each.
      variables: the weights that `compute` gives a gradient for each of, in that order.

    Returns:
      The loss, float32 scalar, and a gradient for each variable; zeros where there is none.
    """
    stacked = [
        tf.reshape(tensor, [parts, tensor.shape[0] // parts, *tensor.shape[1:]]) for tensor in batch
    ]
    first = tf.cast(step, tf.int32) * parts

    def add(part: tf.Tensor, value: tf.Tensor, sums: list[tf.Tensor]) -> tuple:
        one, found = compute(*(tensor[part] for tensor in stacked), first + part)
        sums = [
            total if gradient is None else total + tf.convert_to_tensor(gradient)
            for total, gradient in zip(sums, found)
        ]
        return part + 1, value + one, sums

    zeros = [tf.zeros(variable.shape, variable.dtype) for variable in variables]
    _, value, sums = tf.while_loop(
        lambda part, *_: part < parts,
        add,
        [0, 0.0, zeros],
        parallel_iterations=1,
    )
    return value, sums
