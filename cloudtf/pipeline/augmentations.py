"""Which augmentations are applied, and how strongly."""

from __future__ import annotations

import dataclasses
from typing import Optional

from cloudtf.errors import UsageError, param
from cloudtf.settings import Settings, setting

NAMES = (
    "vertical_flip",
    "horizontal_flip",
    "rotation",
    "grid_distortion",
    "brightness",
    "contrast",
    "scale",
    "shift",
    "shear",
    "aspect",
    "crop",
    "grey",
    "channel_shuffle",
    "erase",
)
# The original notebook's (docs/ORIGINAL.md).
ORIGINAL = NAMES[:4]


@dataclasses.dataclass(frozen=True)
class Augmentations(Settings):
    """The augmentations of training images; the defaults are the original notebook's.

    docs/AUGMENT.md says what each does with a picture and its labels.
    """

    augmentations: tuple[str, ...] = setting(
        ORIGINAL,
        f"Which of {', '.join(NAMES)}; empty for none.",
        choices=NAMES,
        topic="augmentation",
    )
    augment_probability: float = setting(
        0.5,
        "Probability of each augmentation for each image.",
        minimum=0,
        maximum=1,
        topic="augmentation",
    )
    augment_ops: Optional[int] = setting(
        None,
        "Apply so many of `augmentations` to each image, drawn at random as in RandAugment, in "
        "place of each with `augment_probability`.",
        minimum=1,
        topic="augmentation",
    )
    augment_strength: float = setting(
        1.0,
        "Share of their limits to which all augmentations go.",
        minimum=0,
        maximum=1,
        topic="augmentation",
    )
    rotation_degrees: float = setting(
        20.0, "Largest turn either way.", minimum=0, maximum=180, topic="augmentation"
    )
    distortion_steps: int = setting(
        5,
        "Cells of the grid distortion along a side.",
        minimum=1,
        maximum=32,
        topic="augmentation",
    )
    distortion_limit: float = setting(
        0.3,
        "Cells are stretched by a factor in 1 ± this.",
        minimum=0,
        maximum=0.9,
        topic="augmentation",
    )
    brightness_limit: float = setting(
        0.1,
        "Largest shift either way, as a share of the range.",
        minimum=0,
        maximum=1,
        topic="augmentation",
    )
    contrast_limit: float = setting(
        0.2,
        "Contrast is scaled by a factor in 1 ± this.",
        minimum=0,
        maximum=1,
        topic="augmentation",
    )
    scale_limit: float = setting(
        0.2,
        "Images are enlarged or shrunk by a factor in 1 ± this.",
        minimum=0,
        maximum=0.9,
        topic="augmentation",
    )
    shift_limit: float = setting(
        0.1,
        "Largest shift either way, as a share of the height and of the width.",
        minimum=0,
        maximum=1,
        topic="augmentation",
    )
    shear_degrees: float = setting(
        10.0,
        "Largest shear either way, of rows and of columns.",
        minimum=0,
        maximum=30,
        topic="augmentation",
    )
    aspect_limit: float = setting(
        0.33,
        "The ratio of width to height, of images and of crops, changes by a factor of up to 1 + "
        "this, or its inverse.",
        minimum=0,
        maximum=3,
        topic="augmentation",
    )
    crop_scale: float = setting(
        0.5,
        "Least share of an image's area that a crop takes, which then fills the image.",
        minimum=0.01,
        maximum=1,
        topic="augmentation",
    )
    erase_limit: float = setting(
        0.2,
        "Largest share of an image's area that is erased.",
        minimum=0.01,
        maximum=1,
        topic="augmentation",
    )
    mixup: float = setting(
        0.0,
        "Mix pairs of images, and their labels, in shares of Beta(this, this) (Zhang et al. 2018); "
        "0: not at all.",
        minimum=0,
        maximum=100,
        topic="augmentation",
    )
    cutmix: float = setting(
        0.0,
        "Paste a box of another image over each, of an area of Beta(this, this) (Yun et al. 2019); "
        "0: not at all. With `mixup`, half of the images each.",
        minimum=0,
        maximum=100,
        topic="augmentation",
    )
    mix_probability: float = setting(
        1.0,
        "Probability that an image is mixed, where `mixup` or `cutmix` is on.",
        minimum=0,
        maximum=1,
        topic="augmentation",
    )

    label_share: float = setting(
        0.25,
        "Least share of its mask's area that must be left in an augmented picture for a label to "
        "stay; of records with masks only. 0: labels always stay.",
        minimum=0,
        maximum=1,
        topic="augmentation",
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if (self.augment_ops or 0) > len(self.augmentations):
            raise UsageError(
                f"{param(augment_ops=self.augment_ops)} is more than the "
                f"{len(self.augmentations)} of {param('augmentations')}."
            )

    @property
    def mixes(self) -> bool:
        """Whether images are mixed."""
        return (self.mixup > 0 or self.cutmix > 0) and self.mix_probability > 0

    @property
    def cutmixes(self) -> bool:
        """Whether parts of images are pasted over others."""
        return self.cutmix > 0 and self.mix_probability > 0

    @property
    def change_images(self) -> bool:
        """Whether there is anything to do to images."""
        return bool(self.augmentations) or self.mixes

    def limit(self, name: str) -> float:
        """A limit as the strength has it; of `crop_scale` what may be cut away."""
        value = getattr(self, name)
        return (1.0 - value if name == "crop_scale" else value) * self.augment_strength
