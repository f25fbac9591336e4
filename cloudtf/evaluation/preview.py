"""A picture of what training sees: originals beside their augmented versions, or where it looks."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Optional

from cloudtf import files
from cloudtf.data.labels import combination
from cloudtf.errors import UsageError, param
from cloudtf.pipeline.augmentations import Augmentations
from cloudtf.reporter import report
from cloudtf.settings import REQUIRED, setting

if TYPE_CHECKING:
    import numpy as np


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
    model: Optional[str] = setting(
        None,
        "A .keras file or a run folder: draw where it looks (activation maps of the classes with "
        "the highest probabilities) in place of augmented versions.",
    )
    images: tuple[str, ...] = setting(
        (), "Of `model`: the images to show, by their names in the records. Default: the first."
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.images and self.model is None:
            raise UsageError(f"{param('images')} needs {param('model')}.")


def preview(config: PreviewConfig) -> None:
    """Draws the first images of a split, each with its versions in the first epochs.

    Above them are the labels, and those of the versions that have others: where images are mixed,
    or a class is no longer in the picture (docs/AUGMENT.md).

    With `config.model`: beside each image the activation maps of the classes that the model gives
    the highest probabilities (see `activation_maps`), and for a class whose mask is in the records
    how much of its map lies inside the mask.

    Raises:
      UserError: the records are missing or damaged, or are not for the model, or have no image of
        a name.

    >>> preview(PreviewConfig(data_dir="records", output="preview.png", num_images=2, versions=2))
    >>> preview(PreviewConfig(data_dir="records", output="maps.png", model="runs/a", num_images=2))
    """
    import numpy as np

    from cloudtf.evaluation import plots
    from cloudtf.pipeline.changes import Changes
    from cloudtf.pipeline.dataset import open_dataset

    files.check_output(config.output, "a picture made by cloudtf", plots.is_picture)
    data = open_dataset(config.data_dir, cache="none")
    if config.model is not None:
        from cloudtf.evaluation import where  # Keras, which augmentation does without.

        where.draw(
            config.output, config.model, data, config.split, config.images or config.num_images,
            config.versions,
        )  # fmt: skip
        return
    count = min(config.num_images, data.num_examples(config.split))
    with data.naming_damage(config.split):
        images, labels, *_ = next(iter(data.batches(config.split, count, max_examples=count)))
    # Without images: their labels and masks by number.
    columns, first = data.cache.columns(data.manifest.split(config.split))
    masks = columns.masks[first : first + count]
    changes = Changes(config, config.seed, on_host=True, has_masks=data.manifest.mask_side > 0)
    titles = [combination(row, data.classes).replace("|", ", ") for row in labels.numpy()]
    versions, others = [], [""] * count
    for epoch in range(config.versions):
        keys = np.stack([np.full(count, epoch), np.arange(count)], axis=1).astype(np.int32)
        versions.append(changes.images(images, keys).numpy())
        changed = changes.labels(labels, keys, masks, data.image_shape).numpy()
        for row in np.flatnonzero((changed != labels.numpy()).any(axis=1)):
            others[row] += f"; {epoch + 1}: {_shares(changed[row], data.classes)}"
    titles = [
        f"{title or 'no class'}; in version {other[2:]}" if other else title
        for title, other in zip(titles, others)
    ]
    for caption in plots.preview(config.output, images.numpy(), np.stack(versions, axis=1), titles):
        report(caption)


def _shares(label: np.ndarray, classes: tuple[str, ...]) -> str:
    """Classes with the shares that a mixture has of them, such as `Fish 0.6, Sugar`."""
    said = [
        f"?{name}" if value < 0 else name if value == 1 else f"{name} {value:.2g}"
        for name, value in zip(classes, label.tolist())
        if value
    ]
    return ", ".join(said) or "no class"
