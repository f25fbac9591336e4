"""The settings of `cloudtf doctor` and `cloudtf bench`: those of `train`, and some of their own."""

from __future__ import annotations

import dataclasses
from typing import Optional

from cloudtf.settings import setting
from cloudtf.training.config import TrainConfig


@dataclasses.dataclass(frozen=True)
class TrialConfig(TrainConfig):
    """The settings of a run that is not made; a flagfile of `cloudtf train` fits."""

    run_dir: Optional[str] = setting(  # type: ignore[assignment]
        None, "Folder of the run that is planned; nothing is written."
    )


@dataclasses.dataclass(frozen=True)
class DoctorConfig(TrialConfig):
    """The settings of `doctor`."""

    check_shards: Optional[int] = setting(
        None, "Shards whose every byte is checked, evenly chosen. Default: all.", minimum=0
    )
    timing: bool = setting(True, "Time each stage of the training and name the bottleneck.")
    seconds: float = setting(1.0, "About how long each stage is timed.", minimum=0.01, maximum=600)


@dataclasses.dataclass(frozen=True)
class BenchConfig(TrialConfig):
    """The settings of `bench`."""

    json: Optional[str] = setting(None, "Also write the numbers to this file.")
    images_dir: Optional[str] = setting(
        None, "Folder of photographs: also time their conversion to the records' size."
    )
    step: bool = setting(True, "Also time train steps of `model` (its weights are random).")
    rounds: int = setting(5, "Turns of each measurement.", minimum=1, maximum=1000)
    seconds: float = setting(0.5, "About how long a turn is.", minimum=0.01, maximum=600)
    max_images: int = setting(
        2000, "Images held in memory for the stages that are timed without reading.", minimum=1
    )
