"""Random numbers as pure functions of integers: the same on host and device, in any order.

`tf.random.stateless_uniform` takes one seed for a whole tensor, so its values depend on how
examples are batched. Here every example has numbers of its own, keyed by (seed, epoch, example):
they do not change with the batch size, the number of replicas or the place in the batch, which is
what makes a resumed or redistributed run see the same images.
"""

from __future__ import annotations

import tensorflow as tf


def _mix(x: tf.Tensor) -> tf.Tensor:
    """A 32-bit integer finaliser of the xorshift-multiply family.

    Constants: Chris Wellons, "Prospecting for hash functions" (2018), the low-bias pair for two
    rounds; bias 0.17 bits, a bijection of uint32.
    """
    x = tf.bitwise.bitwise_xor(x, tf.bitwise.right_shift(x, tf.constant(16, tf.uint32)))
    x *= tf.constant(0x7FEB352D, tf.uint32)
    x = tf.bitwise.bitwise_xor(x, tf.bitwise.right_shift(x, tf.constant(15, tf.uint32)))
    x *= tf.constant(0x846CA68B, tf.uint32)
    return tf.bitwise.bitwise_xor(x, tf.bitwise.right_shift(x, tf.constant(16, tf.uint32)))


def uniforms(seed: int, keys: tf.Tensor, count: int, first: int = 0) -> tf.Tensor:
    """Independent uniform numbers for each example.

    Args:
      seed: keys the numbers, with `keys`; the lowest 32 bits count.
      keys: int32 [B, 2], (epoch, example number in the split).
      count: how many numbers an example needs; the first ones do not depend on it.
      first: how many of an example's numbers to pass over.

    Returns:
      float32 [B, count] in [0, 1), multiples of 2**-24.
    """
    keys = tf.cast(keys, tf.uint32)
    golden = tf.constant(0x9E3779B9, tf.uint32)
    state = _mix(tf.constant(seed & 0xFFFFFFFF, tf.uint32) + golden)
    state = _mix(tf.bitwise.bitwise_xor(state, keys[:, 0]) * golden + golden)
    state = _mix(tf.bitwise.bitwise_xor(state, keys[:, 1]) + golden)
    lanes = tf.range(first + 1, first + count + 1, dtype=tf.int32)
    lanes = tf.cast(lanes, tf.uint32) * golden
    bits = _mix(_mix(state[:, None] + lanes[None, :]))
    # 24 bits fill the float32 mantissa, so that 1.0 cannot come out by rounding.
    bits = tf.bitwise.right_shift(bits, tf.constant(8, tf.uint32))
    return tf.cast(tf.cast(bits, tf.int32), tf.float32) * (1.0 / (1 << 24))
