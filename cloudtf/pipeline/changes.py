"""What a training pipeline does to batches that were read: to images and to labels.

Labels are always changed here, on the host; images here or, by the same function, in the step.
"""

from __future__ import annotations

import dataclasses
from typing import Optional

import tensorflow as tf

from cloudtf.pipeline import areas, augment, mixing
from cloudtf.pipeline.augmentations import Augmentations


@dataclasses.dataclass(frozen=True)
class Changes:
    """How batches are augmented.

    Attributes:
      ops: the augmentations to apply, their probability and strengths.
      seed: keys them; any int64.
      on_host: whether images are changed in the pipeline; else it is left to who takes them.
      has_masks: whether the records have small masks.
      size: (height, width) of the images as they are trained on; None: as they were read.
    """

    ops: Augmentations
    seed: int
    on_host: bool
    has_masks: bool = False
    size: Optional[tuple[int, int]] = None

    @property
    def changes_images(self) -> bool:
        """Whether images are changed here."""
        return self.on_host and (self.ops.change_images or self.size is not None)

    def images(self, images: tf.Tensor, keys: tf.Tensor) -> tf.Tensor:
        """The images of a batch as they are trained on: uint8 [B, h, w, 3].

        Args:
          images: uint8 [B, H, W, 3], as they were read.
          keys: int32 [B, 2], epoch and number of each example.
        """
        if not self.changes_images:
            return images
        return augment.augment(images, keys, ops=self.ops, seed=self.seed, size=self.size)

    @property
    def needs_masks(self) -> bool:
        """Whether labels depend on where in the picture they are."""
        loses = bool(areas.LOSING & set(self.ops.augmentations))
        return self.has_masks and (self.ops.cutmixes or (loses and self.ops.label_share > 0))

    def labels(
        self,
        labels: tf.Tensor,
        keys: tf.Tensor,
        masks: Optional[tf.Tensor],
        image_shape: tuple[int, int],
    ) -> tf.Tensor:
        """The labels of a batch as its changed images show them: float32 [B, C].

        Args:
          labels: float32 [B, C], 0 or 1, or -1 where unknown.
          keys: int32 [B, 2], epoch and number of each example.
          masks: string [B], the small masks; needed where `needs_masks`.
          image_shape: (height, width) of the images.
        """
        if not (self.ops.mixes or self.needs_masks):
            return labels
        size = self.size or image_shape
        mix = mixing.compiled_sample(self.ops, self.seed, keys, *size)
        share = mixing.own_share(mix, *size)
        if not self.needs_masks:
            return mixing.labels(labels, mixing.partners(labels), share)
        left = areas.values(
            areas.dense(masks, labels), labels, keys, mix, self.ops, self.seed, image_shape, size
        )
        return areas.mixed(left, mix, share) if self.ops.mixes else left.whole
