"""How a batch changes: where each output pixel comes from, and what becomes of its colour."""

from __future__ import annotations

from typing import NamedTuple, Optional

import tensorflow as tf

FRACTION_BITS = 8
ONE = 1 << FRACTION_BITS


class Maps(NamedTuple):
    """Where each output pixel comes from, in 1/256 pixels, and what becomes of its colour.

    For output images of h x w. What is None leaves all pixels of the batch alone; otherwise colours
    change in the order in which they stand here.

    Attributes:
      ax: int32 [B, w]; with bx the source column of output (row, column).
      bx: int32 [B, h].
      ay: int32 [B, w]; with by the source row.
      by: int32 [B, h]; see `ay`.
      gain: int32 [B], 256 for unchanged contrast.
      offset: int32 [B], in 1/256 grey levels, added after the gain; None with it.
      grey: bool [B], whether all channels become the luma.
      order: uint32 [B, 3], the bit of the packed pixel at which each of red, green and blue goes.
      erased: int32 [B, 4], a rectangle of output pixels that gets the mean colour of photographs:
        the first row and the one after the last, the first column and the one after the last.
    """

    ax: tf.Tensor
    bx: tf.Tensor
    ay: tf.Tensor
    by: tf.Tensor
    gain: Optional[tf.Tensor] = None
    offset: Optional[tf.Tensor] = None
    grey: Optional[tf.Tensor] = None
    order: Optional[tf.Tensor] = None
    erased: Optional[tf.Tensor] = None


def fixed(value: tf.Tensor) -> tf.Tensor:
    """float32 in pixels or grey levels to int32 in 1/256 of them."""
    return tf.cast(tf.round(value * ONE), tf.int32)
