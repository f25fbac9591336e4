"""Which augmentations are applied, and how strongly."""

from __future__ import annotations

import dataclasses

NAMES = (
    "vertical_flip",
    "horizontal_flip",
    "rotation",
    "grid_distortion",
    "brightness",
    "contrast",
)
NOTEBOOK = NAMES[:4]


@dataclasses.dataclass(frozen=True)
class Augmentations:
    """The augmentations of a training run; the defaults are the notebook's.

    Attributes:
      names: those in use, from `NAMES`.
      probability: of each, for each example, independently.
      rotation_degrees: the largest turn either way.
      distortion_steps: grid cells along each side.
      distortion_limit: each cell is stretched by a factor in 1 ± this.
      brightness_limit: the largest shift either way, as a share of the full range.
      contrast_limit: contrast is scaled by a factor in 1 ± this.
    """

    names: tuple[str, ...] = NOTEBOOK
    probability: float = 0.5
    rotation_degrees: float = 20.0
    distortion_steps: int = 5
    distortion_limit: float = 0.3
    brightness_limit: float = 0.1
    contrast_limit: float = 0.2
