"""What a training pipeline does to batches that were read: to images and to labels.

Labels are always changed here, on the host; images here or, by the same function, in the step.
"""

from __future__ import annotations

import dataclasses

import tensorflow as tf

from cloudtf.pipeline import augment, mixing
from cloudtf.pipeline.augmentations import Augmentations


@dataclasses.dataclass(frozen=True)
class Changes:
    """How batches are augmented.

    Attributes:
      ops: the augmentations to apply, their probability and strengths.
      seed: keys them; any int64.
      on_host: whether images are changed in the pipeline; else it is left to who takes them.
    """

    ops: Augmentations
    seed: int
    on_host: bool

    @property
    def of_images(self) -> bool:
        """Whether images are changed here."""
        return self.on_host and self.ops.change_images

    def images(self, images: tf.Tensor, keys: tf.Tensor) -> tf.Tensor:
        """The images of a batch as they are trained on: uint8 [B, H, W, 3].

        Args:
          images: uint8 [B, H, W, 3], as they were read.
          keys: int32 [B, 2], epoch and number of each example.
        """
        if not self.of_images:
            return images
        return augment.augment(images, keys, ops=self.ops, seed=self.seed)

    def labels(self, labels: tf.Tensor, keys: tf.Tensor, image_shape: tuple[int, int]) -> tf.Tensor:
        """The labels of a batch as its changed images show them: float32 [B, C].

        Args:
          labels: float32 [B, C], 0 or 1, or -1 where unknown.
          keys: int32 [B, 2], epoch and number of each example.
          image_shape: (height, width) of the images.
        """
        if not self.ops.mixes:
            return labels
        mix = mixing.compiled_sample(self.ops, self.seed, keys, *image_shape)
        return mixed_labels(labels, mixing.partners(labels), mixing.own_share(mix, *image_shape))


def mixed_labels(labels: tf.Tensor, others: tf.Tensor, share: tf.Tensor) -> tf.Tensor:
    """Labels of mixtures: each image's by its share; unknown where a part of it is.

    Args:
      labels: float32 [B, C], 0 or 1, or -1 where unknown.
      others: those of the partners, likewise.
      share: float32 [B], how much of each mixture is the image's own.

    Returns:
      float32 [B, C], from 0 to 1, or -1 where unknown.
    """
    own = share[:, None]
    unknown = ((labels < 0) & (own > 0)) | ((others < 0) & (own < 1))
    mixed = own * labels + (1.0 - own) * others
    return tf.where(unknown, tf.constant(-1.0), mixed)
