"""How much of what is labelled is still in an augmented picture, by the small masks of records.

A label stays where at least a share of its mask's area is in the picture: within the frame, not
erased, and not under what is pasted over it. What appears a second time, mirrored beyond the edge,
does not count. Of a cell of the mask that a border crosses the part inside counts; that is exact
where sides of the cells are parallel to the border (crops, zooms, shifts, flips, distortions,
erasing, cutmix), and within a cell where they are not (turns, shears).
"""

from __future__ import annotations

from typing import NamedTuple

import tensorflow as tf

from cloudtf.data.masks import NUM_BYTES, SIDE
from cloudtf.pipeline import affine, colour, distortion, mixing
from cloudtf.pipeline.augmentations import Augmentations
from cloudtf.pipeline.draws import Draws
from cloudtf.pipeline.mixing import Mix

# Augmentations that may take something out of the picture.
LOSING = affine.NAMES | {"rotation", "grid_distortion", "erase"}
# So that a share that is reached exactly is reached whatever the order of a sum.
_TOLERANCE = 1e-5


class Values(NamedTuple):
    """What is left of the labels of a batch, each float32 [B, C] from 0 to 1, or -1 for unknown.

    Attributes:
      whole: of the labels of each image, before it is mixed.
      own: of the labels of each image, around what is pasted over it.
      given: of the labels of each image, in the part that is pasted over its partner.
    """

    whole: tf.Tensor
    own: tf.Tensor
    given: tf.Tensor


class _Cells(NamedTuple):
    """Where the cells of a batch's masks are in the picture, before its grid distortion.

    Attributes:
      x: float32 [B, 28, 28], columns of the cells' centres, from the picture's centre.
      y: float32 [B, 28, 28], rows of them.
      width: float32 [B, 1, 1], how wide a cell is.
      height: float32 [B, 1, 1], how high a cell is.
    """

    x: tf.Tensor
    y: tf.Tensor
    width: tf.Tensor
    height: tf.Tensor


def dense(masks: tf.Tensor, labels: tf.Tensor) -> tf.Tensor:
    """The bytes of small masks, one row a class: uint8 [B, C, 98], zeros for classes that are not
    present.

    Args:
      masks: string [B], as `cloudtf.data.masks.encode` gives them.
      labels: float32 [B, C], 1 for the classes that are present.
    """
    present = tf.cast(tf.equal(labels, 1.0), tf.int32)
    classes = labels.shape[1]
    content = tf.io.decode_raw(masks, tf.uint8, fixed_length=classes * NUM_BYTES)
    content = tf.reshape(content, [-1, classes, NUM_BYTES])
    places = tf.maximum(tf.cumsum(present, axis=1) - 1, 0)
    return tf.gather(content, places, batch_dims=1) * tf.cast(present, tf.uint8)[:, :, None]


@tf.function(jit_compile=True, autograph=False)
def values(
    packed: tf.Tensor,
    labels: tf.Tensor,
    keys: tf.Tensor,
    mix: Mix,
    ops: Augmentations,
    seed: int,
    image_shape: tuple[int, int],
    size: tuple[int, int],
) -> Values:
    """What is left of a batch's labels.

    Args:
      packed: uint8 [B, C, 98], from `dense`.
      labels: float32 [B, C], 1, 0, or -1 for unknown.
      keys: int32 [B, 2], (epoch, example number in the split).
      mix: the weights and boxes of the batch, from `mixing.sample`.
      ops: the augmentations, and `label_share`.
      seed: keys the random draws, with `keys`.
      image_shape: (H, W) of the images in the records.
      size: (h, w) of the images as they are trained on.
    """
    bits = (
        tf.bitwise.right_shift(packed[..., None], tf.constant([7, 6, 5, 4, 3, 2, 1, 0], tf.uint8))
        & 1
    )
    bits = tf.cast(tf.reshape(bits, [-1, labels.shape[1], SIDE * SIDE]), tf.float32)
    total = tf.reduce_sum(bits, axis=2)
    draws = Draws(ops, seed, keys)
    cells = _cells(draws, ops, *image_shape)
    stretch = draws.cells(ops.limit("distortion_limit"))
    erased = colour.sample(draws, ops, *size)["erased"]

    def inside(rectangle: tf.Tensor) -> tf.Tensor:
        """Which part of each cell is inside int32 [B, 4] output pixels: float32 [B, 28, 28]."""
        steps = ops.distortion_steps
        y = _edges(rectangle[:, :2], stretch[:, steps:], size[0], image_shape[0])
        x = _edges(rectangle[:, 2:], stretch[:, :steps], size[1], image_shape[1])
        return _between(cells.y, cells.height, y) * _between(cells.x, cells.width, x)

    def seen(rectangle: tf.Tensor) -> tf.Tensor:
        """The same without what is erased."""
        part = inside(rectangle)
        return part if erased is None else part - inside(_common(rectangle, erased))

    def remaining(part: tf.Tensor, unmasked: tf.Tensor) -> tf.Tensor:
        area = tf.linalg.matvec(bits, tf.reshape(part, [-1, SIDE * SIDE]))
        enough = area >= (ops.label_share - _TOLERANCE) * total
        left = tf.where(total > 0, tf.cast(enough, tf.float32), unmasked[:, None])
        return tf.where(labels > 0, left, labels)

    frame = tf.zeros_like(mix.box) + tf.constant([0, size[0], 0, size[1]])
    share, all_of_it = mixing.own_share(mix, *size), tf.ones_like(total[:, 0])
    partners_box = mixing.partners(mix.box)
    whole = seen(frame)
    return Values(
        remaining(whole, all_of_it),
        remaining(whole - seen(mix.box), share),
        remaining(seen(partners_box), 1.0 - mixing.partners(share)),
    )


def mixed(left: Values, mix: Mix, share: tf.Tensor) -> tf.Tensor:
    """The labels of mixtures: float32 [B, C], from 0 to 1, or -1 where unknown.

    Args:
      left: what is left of the labels of each image.
      mix: the weights and boxes of the batch, from `mixing.sample`.
      share: float32 [B], how much of each mixture is the image's own.
    """
    others = mixing.partners(left.given)
    # What a mask says is present or not; what has none is present by its share.
    pasted = tf.minimum(tf.maximum(left.own, 0.0) + tf.maximum(others, 0.0), 1.0)
    own = share[:, None]
    unknown = ((left.own < 0) & (own > 0)) | ((others < 0) & (own < 1))
    pasted = tf.where(unknown & (pasted < 1), tf.constant(-1.0), pasted)
    averaged = mixing.labels(left.whole, mixing.partners(left.whole), share)
    is_pasted = (mix.box[:, 1] > mix.box[:, 0]) & (mix.box[:, 3] > mix.box[:, 2])
    return tf.where(is_pasted[:, None], pasted, averaged)


def _cells(draws: Draws, ops: Augmentations, height: int, width: int) -> _Cells:
    linear = affine.sample(draws, ops, height, width)
    middles = (tf.range(SIDE, dtype=tf.float32)[None] + 0.5) / SIDE - 0.5
    x = tf.where(draws.chosen("horizontal_flip")[:, None], -middles, middles) * width
    y = tf.where(draws.chosen("vertical_flip")[:, None], -middles, middles) * height
    x, y = x - linear.x[:, None], y - linear.y[:, None]
    size = linear.xx * linear.yy - linear.xy * linear.yx
    xx, xy, yx, yy = (
        (value / size)[:, None, None] for value in (linear.yy, -linear.xy, -linear.yx, linear.xx)
    )
    x, y = x[:, None, :], y[:, :, None]
    wide, high = width / SIDE, height / SIDE
    return _Cells(
        xx * x + xy * y,
        yx * x + yy * y,
        tf.abs(xx) * wide + tf.abs(xy) * high,
        tf.abs(yx) * wide + tf.abs(yy) * high,
    )


def _edges(pixels: tf.Tensor, stretch: tf.Tensor, count: int, length: int) -> tf.Tensor:
    """Where the edges before output pixels int32 [B, 2] lie before the distortion: float32 [B, 2],
    from the picture's centre."""
    position = tf.cast(pixels, tf.float32) * (length / count) - 0.5
    return distortion.stretched(stretch, position, length) - (length - 1) / 2.0


def _between(middle: tf.Tensor, side: tf.Tensor, edges: tf.Tensor) -> tf.Tensor:
    """Which part of a cell lies between two edges, along one axis: float32 [B, 28, 28]."""
    low, high = edges[:, 0, None, None], edges[:, 1, None, None]
    before_low = tf.clip_by_value((low - middle) / side + 0.5, 0.0, 1.0)
    return tf.clip_by_value((high - middle) / side + 0.5, 0.0, 1.0) - before_low


def _common(one: tf.Tensor, other: tf.Tensor) -> tf.Tensor:
    """The rectangle that two have in common: int32 [B, 4], perhaps empty."""
    low = tf.maximum(one[:, ::2], other[:, ::2])
    high = tf.maximum(tf.minimum(one[:, 1::2], other[:, 1::2]), low)
    return tf.stack([low[:, 0], high[:, 0], low[:, 1], high[:, 1]], axis=1)
