"""Augmentation of a whole uint8 batch by one compiled resampling along its maps (`maps`).

Outside the frame the image is reflected without repeating its edge (OpenCV's BORDER_REFLECT_101).
The same code runs in the input pipeline and inside the train step on an accelerator.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import NamedTuple, Optional

import tensorflow as tf

from cloudtf.pipeline import affine, mixing, resampling
from cloudtf.pipeline.augmentations import Augmentations
from cloudtf.pipeline.distortion import sample_maps
from cloudtf.pipeline.maps import Maps

# Pixels of the blocks of rows in which an image is resampled: what is found out about a block stays
# in the core's first caches. Any number from 6,000 to 25,000 is as good, but an image is not one
# block: of a loop of one turn XLA makes none, and fuses what is to stay apart.
_BLOCK_PIXELS = 12_288
# From TensorFlow 2.20 on XLA for CPUs looks up anew, for each pixel that it packs, which image is
# being read. In a copy of the image it need not: 0.87 of the time. Up to 2.19 the copy costs 0.3 of
# it.
COPIES_IMAGE = tuple(map(int, tf.__version__.split(".")[:2])) >= (2, 20)


def apply_maps(
    images: tf.Tensor, maps: Maps, whole_batch: bool = False, reach: float = 1.0
) -> tf.Tensor:
    """Resamples a batch bilinearly along `maps`.

    In three stages: RGB pixels become one 32-bit word each, words are gathered and mixed, and words
    become bytes again. Where XLA fuses them for a CPU it locates and mixes each pixel once for each
    channel, which was measured to take four times as long. So they are kept apart: in an input
    pipeline by a loop over blocks of an image, which keeps what each stage makes (see `_Memory`);
    for a whole batch at once by compiling each stage by itself.

    Args:
      images: uint8 [B, H, W, 3] with static H and W; B is at least 1 unless `whole_batch`.
      maps: where each pixel comes from, as made by `make_maps` or `sample_maps`.
      whole_batch: resample all images at once, as accelerators do best, and which uses all cores
        for one batch; else one image after the other.
      reach: how many times farther away sources may be than by a turn and a distortion.

    Returns:
      uint8 [B, h, w, 3], the size of the maps, within one grey level of exact arithmetic; a
      whole-pixel move is exact. Both ways give the same bytes.
    """
    height, width = images.shape[1:3]
    rows, columns = maps.bx.shape[1], maps.ax.shape[1]
    pixels = tf.reshape(images, [-1, height * width, 3])
    if whole_batch:
        maps = _padded(maps, rows)
        packed = _compiled_resample(_compiled_pack(pixels), maps, height, width, reach)
        words = _compiled_unpack(packed)
    else:
        blocks = max(2, round(rows * columns / _BLOCK_PIXELS))
        block = -(-rows // blocks)
        maps = _padded(maps, blocks * block)
        words = _resample_in_turn(pixels, maps, height, width, reach, block, COPIES_IMAGE)
    batch = -1 if images.shape[0] is None else images.shape[0]
    shape = [batch, maps.bx.shape[1], maps.ax.shape[1], 3]
    return tf.reshape(tf.bitcast(words, tf.uint8), shape)[:, :rows, :columns]


def _padded(maps: Maps, rows: int) -> Maps:
    """Maps of so many rows, and of a multiple of 4 columns."""

    def pad(values: tf.Tensor, size: int) -> tf.Tensor:
        return tf.pad(values, [[0, 0], [0, size - values.shape[1]]])

    columns = -(-maps.ax.shape[1] // 4) * 4
    return maps._replace(
        ax=pad(maps.ax, columns),
        bx=pad(maps.bx, rows),
        ay=pad(maps.ay, columns),
        by=pad(maps.by, rows),
    )


class _Memory(NamedTuple):
    """Where the stages of one block are kept, each a tf.TensorArray whose first element is in use.

    What is written into an array that a loop carries, XLA for CPUs neither fuses with what reads
    it, nor shares among threads, nor copies. (It shares among all threads what takes more than
    100 us, which takes longer than doing it, in a pipeline whose threads are all busy.) An array of
    one element would be replaced by the element.

    Attributes:
      image: uint8 [1, H * W, 3], where images are copied; else the array is never written.
      corner: int32 [1, block, w], as in `resampling.Corners`.
      right: uint32 [1, block, w], as in `resampling.Corners`.
      below: uint32 [1, block, w], as in `resampling.Corners`.
      mixed: uint32 [1, block, w], packed pixels.
    """

    image: tf.TensorArray
    corner: tf.TensorArray
    right: tf.TensorArray
    below: tf.TensorArray
    mixed: tf.TensorArray

    def keep(self, **values: tf.Tensor) -> tuple[_Memory, list[tf.Tensor]]:
        """The memory with these values written, and the values as they are read from it."""
        written = {name: getattr(self, name).write(0, value) for name, value in values.items()}
        return self._replace(**written), [array.read(0) for array in written.values()]


@tf.function(jit_compile=True, autograph=False)
def _resample_in_turn(
    pixels: tf.Tensor,
    maps: Maps,
    height: int,
    width: int,
    reach: float,
    block: int,
    copies_image: bool,
) -> tf.Tensor:
    """All three stages, image by image and block by block.

    Args:
      pixels: uint8 [B, H * W, 3].
      maps: the maps of the batch, for h x w pixels; w is a multiple of 4.
      height: H, rows of the images.
      width: W, columns of the images.
      reach: how many times farther away sources may be than by a turn and a distortion.
      block: rows that are resampled at once; h is a multiple.
      copies_image: whether an image is copied before it is packed.

    Returns:
      uint32 [B * h / block, block, w / 4, 3], the words that hold the bytes.
    """
    images, columns = tf.shape(pixels)[0], maps.ax.shape[1]
    blocks = maps.bx.shape[1] // block

    def one(
        i: tf.Tensor, memory: _Memory, results: tf.TensorArray
    ) -> tuple[tf.Tensor, _Memory, tf.TensorArray]:
        own = Maps(*(None if values is None else _row(values, i) for values in maps))
        image = _row(pixels, i)
        if copies_image:
            memory, [image] = memory.keep(image=image)
        packed = resampling.pack(image)

        def resample(
            stage: Callable[..., tf.Tensor],
            k: tf.Tensor,
            memory: _Memory,
            results: tf.TensorArray,
        ) -> tuple[tf.Tensor, _Memory, tf.TensorArray]:
            part = _rows_of(own, k * block, block)
            corners = resampling.find_corners(part, height, width, reach)
            memory, kept = memory.keep(**corners._asdict())
            mixed = stage(packed, resampling.Corners(*kept), part, height, width)
            memory, [mixed] = memory.keep(mixed=mixed)
            return k + 1, memory, results.write(i * blocks + k, resampling.unpack(mixed)[0])

        # One of the two has no turn. A condition would copy what it is to change in place.
        moved = tf.where(resampling.whole_pixels(own), blocks, 0)
        for begin, end, stage in ((0, moved, resampling.move), (moved, blocks, resampling.mix)):
            _, memory, results = tf.while_loop(
                lambda k, *_, end=end: k < end,
                functools.partial(resample, stage),
                (begin, memory, results),
            )
        return i + 1, memory, results

    def kept(dtype: tf.DType, shape: list[int]) -> tf.TensorArray:
        return tf.TensorArray(dtype, 2, element_shape=shape, clear_after_read=False)

    memory = _Memory(
        kept(pixels.dtype, [1, height * width, 3]),
        kept(tf.int32, [1, block, columns]),
        *(kept(tf.uint32, [1, block, columns]) for _ in range(3)),
    )
    results = tf.TensorArray(tf.uint32, images * blocks, element_shape=[block, columns // 4, 3])
    *_, results = tf.while_loop(lambda i, *_: i < images, one, (tf.constant(0), memory, results))
    return results.stack()


def _rows_of(maps: Maps, first: tf.Tensor, count: int) -> Maps:
    """Maps of [1, ...] for some of the rows."""
    bx, by = (tf.slice(values, [0, first], [1, count]) for values in (maps.bx, maps.by))
    erased = None if maps.erased is None else maps.erased - first * tf.constant([1, 1, 0, 0])
    return maps._replace(bx=bx, by=by, erased=erased)


def _row(values: tf.Tensor, i: tf.Tensor) -> tf.Tensor:
    """[1, ...]: the i-th of [B, ...]. (Of `values[i]` XLA makes a padded copy of all of them.)"""
    rest = values.shape[1:]
    return tf.slice(values, [i, *(0 for _ in rest)], [1, *rest])


def augment(
    images: tf.Tensor,
    keys: tf.Tensor,
    *,
    ops: Augmentations,
    seed: int,
    whole_batch: bool = False,
    size: Optional[tuple[int, int]] = None,
) -> tf.Tensor:
    """Augments a batch; each example's change depends on (seed, its key) alone, but for what it is
    mixed with: the one beside it in the batch (see `mixing`).

    Args:
      images: uint8 [B, H, W, 3], static H and W.
      keys: int32 [B, 2], (epoch, example number in the split).
      ops: the augmentations to apply, their probability and strengths.
      seed: keys the random draws, with `keys`; the lowest 32 bits count.
      whole_batch: whether images are resampled all at once (see `apply_maps`).
      size: (h, w) of the result, made by the same resampling; None: as the images are.

    Returns:
      uint8 [B, h, w, 3].
    """
    height, width = images.shape[1:3]
    size = size or (height, width)
    if ops.augmentations or size != (height, width):
        maps = _compiled_sample_maps(ops, seed, keys, height, width, not whole_batch, size)
        images = apply_maps(images, maps, whole_batch, affine.reach(ops))
    if ops.mixes:
        images = mixing.apply(images, mixing.compiled_sample(ops, seed, keys, *size))
    return images


# Each stage is compiled by itself, so that a coordinate is rounded once for all uses, and a pixel
# is located once for all its channels.
_compiled_sample_maps, _compiled_pack, _compiled_resample, _compiled_unpack = (
    tf.function(stage, jit_compile=True, autograph=False)
    for stage in (sample_maps, resampling.pack, resampling.resample, resampling.unpack)
)
