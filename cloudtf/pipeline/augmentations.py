"""Which augmentations are applied, and how strongly."""

from __future__ import annotations

import dataclasses

from cloudtf.settings import Settings, setting

NAMES = (
    "vertical_flip",
    "horizontal_flip",
    "rotation",
    "grid_distortion",
    "brightness",
    "contrast",
)
# The original notebook's (docs/ORIGINAL.md).
ORIGINAL = NAMES[:4]


@dataclasses.dataclass(frozen=True)
class Augmentations(Settings):
    """The augmentations of training images; the defaults are the original notebook's."""

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
