"""A picture of what training sees: originals beside their augmented versions."""

from __future__ import annotations

import dataclasses

from cloudtf import files
from cloudtf.data.labels import combination
from cloudtf.pipeline.augmentations import Augmentations
from cloudtf.reporter import report
from cloudtf.settings import REQUIRED, setting


@dataclasses.dataclass(frozen=True)
class PreviewConfig(Augmentations):
    """Which examples to draw, how they are augmented, and where the picture goes.

    >>> PreviewConfig(data_dir="records", output="preview.png", split="val").versions
    4
    """

    data_dir: str = setting(REQUIRED, "Folder of the records.")
    output: str = setting(REQUIRED, "PNG to write.")
    split: str = setting("train", "Split to show.")
    num_images: int = setting(6, "Images to show.", minimum=1, maximum=64)
    versions: int = setting(4, "Augmented versions of each.", minimum=1, maximum=16)
    seed: int = setting(0, "Keys the random augmentation, as in training.", minimum=0)


def preview(config: PreviewConfig) -> None:
    """Draws the first images of a split, each with its versions in the first epochs.

    Raises:
      UserError: the records are missing or damaged.

    >>> preview(PreviewConfig(data_dir="records", output="preview.png", num_images=2, versions=2))
    """
    import numpy as np

    from cloudtf.evaluation import plots
    from cloudtf.pipeline import augment
    from cloudtf.pipeline.dataset import open_dataset

    files.check_output(config.output, "a picture made by cloudtf", plots.is_picture)
    data = open_dataset(config.data_dir, cache="none")
    count = min(config.num_images, data.num_examples(config.split))
    with data.naming_damage(config.split):
        images, labels, *_ = next(iter(data.batches(config.split, count, max_examples=count)))
    versions = []
    for epoch in range(config.versions):
        keys = np.stack([np.full(count, epoch), np.arange(count)], axis=1).astype(np.int32)
        versions.append(augment.augment(images, keys, ops=config, seed=config.seed).numpy())
    titles = [combination(row, data.classes).replace("|", ", ") for row in labels.numpy()]
    for caption in plots.preview(config.output, images.numpy(), np.stack(versions, axis=1), titles):
        report(caption)
