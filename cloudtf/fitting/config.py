"""The settings of `cloudtf fit`: its own, and all of `convert` and `train`."""

from __future__ import annotations

import dataclasses
import typing
from typing import Any, Optional, TypeVar

from cloudtf.data.convert_config import ConvertConfig
from cloudtf.settings import REQUIRED, Settings, setting
from cloudtf.training.config import TrainConfig

# What `fit` says itself.
_DECIDED = frozenset(
    ("images_dir", "labels_csv", "output_dir", "data_dir", "run_dir", "resume", "max_minutes")
)
_COMMANDS: dict[str, type[Settings]] = {"convert": ConvertConfig, "train": TrainConfig}
# What is said of settings whose default here is another than that of the command.
_HELP = {
    "optimizer": "Rectified Adam, Adam, or Adam with decoupled weight decay. Default: adamw, with "
    "a `schedule` and `learning_rate` for it (docs/RECIPE.md).",
    "schedule": "How the rate falls after its warm-up. Default: cosine, or linear where "
    "`optimizer` is given.",
    "learning_rate": "Peak learning rate of the whole network. Not scaled by replicas. Default: "
    "1e-4, or 3e-3 from random weights; where `optimizer` is given, as `cloudtf train` has it.",
}

Config = TypeVar("Config", bound=Settings)


@dataclasses.dataclass(frozen=True)
class _Own(Settings):
    output_dir: str = setting(
        REQUIRED,
        "Folder for all that is made: records, run, report, exported model. The same command goes "
        "on in it.",
    )
    minutes: float = setting(
        20.0,
        "Time for everything, over all starts. A finished job goes on with more.",
        minimum=0.5,
        maximum=1_000_000,
    )


def _fields() -> list[tuple[str, Any, Any]]:
    """The settings of the other commands, whose default, None, is that they were not given."""
    found: dict[str, tuple[str, Any, Any]] = {}
    for command, owner in _COMMANDS.items():
        hints = typing.get_type_hints(owner)
        for field in dataclasses.fields(owner):  # type: ignore[arg-type]
            if "help" in field.metadata and field.name not in _DECIDED | found.keys():
                metadata = {
                    **field.metadata,
                    "help": _HELP.get(field.name, field.metadata["help"]),
                    "required": False,
                    "topic": f"of {command}: {field.metadata['topic']}",
                }
                default = dataclasses.field(default=None, metadata=metadata)
                found[field.name] = (field.name, Optional[hints[field.name]], default)
    return list(found.values())


# `seed` is of both, for the splits and for all else.
FitConfig: Any = dataclasses.make_dataclass("FitConfig", _fields(), bases=(_Own,), frozen=True)
FitConfig.__doc__ = """The settings of `fit`: `output_dir`, `minutes`, and all of convert and train.

One that is None was not given: it is chosen by the machine and the photographs, or it has the
default of its own command.

>>> FitConfig(output_dir="clouds", val_fraction=0.3).minutes
20.0
"""


def part(owner: type[Config], config: Any, **chosen: Any) -> Config:
    """The settings of one of the two commands.

    Args:
      owner: the settings class of the command, ConvertConfig or TrainConfig.
      config: the settings of the whole job, a `FitConfig`.
      **chosen: values by name, of settings that were not given in the job.
    """
    names = {field.name for field in dataclasses.fields(owner)}  # type: ignore[arg-type]
    given = {
        field.name: getattr(config, field.name)
        for field in dataclasses.fields(config)
        if field.name in names - _DECIDED and getattr(config, field.name) is not None
    }
    return owner(**{**chosen, **given})
