"""The stages of a run: the head alone, fitted or trained, then the whole network."""

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
      fits_head: the head is fitted on features of the body, in one epoch without steps.
    """

    index: int
    name: str
    epochs: int
    learning_rate: float
    rate_setting: str
    whole_network: bool
    fits_head: bool = False

    @property
    def epochs_setting(self) -> str:
        """The setting that gives the epochs."""
        return "epochs" if self.whole_network else "head_epochs"


def stages(
    config: TrainConfig, stage_epochs: tuple[int, int], fits_features: bool
) -> tuple[Stage, ...]:
    """The stages in order; one may have no epochs.

    Args:
      config: gives the rates of the stages.
      stage_epochs: the epochs of each stage.
      fits_features: whether the head is fitted on features in its one epoch.
    """
    head_epochs, epochs = stage_epochs
    name, rate = ("features" if fits_features else "head"), "head_learning_rate"
    return (
        Stage(0, name, head_epochs, config.head_learning_rate, rate, False, fits_features),
        Stage(1, "whole", epochs, config.learning_rate, "learning_rate", True),
    )
