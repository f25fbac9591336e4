"""The stages of a run: the head alone, then the whole network."""

from __future__ import annotations

import dataclasses

from cloudtf.training.config import TrainConfig

NUM_STAGES = 2


@dataclasses.dataclass(frozen=True)
class Stage:
    """A part of a run, with an optimizer and a learning-rate schedule of its own.

    Attributes:
      index: its position among the stages of the run, from 0.
      name: the word for it in `history.csv`.
      epochs: the most epochs that it takes; 0 leaves it out.
      learning_rate: the peak of its schedule.
      rate_setting: the setting that gives the peak.
      whole_network: whether all layers are trained, or the head alone.
    """

    index: int
    name: str
    epochs: int
    learning_rate: float
    rate_setting: str
    whole_network: bool


def stages(config: TrainConfig, stage_epochs: tuple[int, int]) -> tuple[Stage, ...]:
    """The stages in order; one may have no epochs.

    Args:
      config: gives the rates of the stages.
      stage_epochs: the epochs of each stage.
    """
    head_epochs, epochs = stage_epochs
    return (
        Stage(0, "head", head_epochs, config.head_learning_rate, "head_learning_rate", False),
        Stage(1, "whole", epochs, config.learning_rate, "learning_rate", True),
    )
