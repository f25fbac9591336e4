"""What `fit` chooses: labels, network and image size by what is there, epochs by the time."""

from __future__ import annotations

import dataclasses
import math
from typing import Any, Callable, Optional, Sequence

from cloudtf import files
from cloudtf.data import sources
from cloudtf.errors import UserError
from cloudtf.model.choices import MODELS
from cloudtf.text import listed

# Beside the photographs, or in the folder above them, these may be a label table.
_TABLES = (".csv", ".tsv", ".jsonl")
# On a CPU: the smallest network with weights that a package brings, at the size up to which
# features gain most for their time (docs/RECIPE.md). On an accelerator time is not what lacks.
_ON_CPU, _ON_ACCELERATOR = ("efficientnetlite0", 128), ("efficientnetb2", 224)
# Without pretrained weights.
_FROM_NOTHING = ("efficientnetb0", 64)

# The optimizer that came to most on three sets (docs/RECIPE.md), and its rate from pretrained and
# from random weights.
_OPTIMIZER, _SCHEDULE, _RATE, _RATE_OF_RANDOM = "adamw", "cosine", 1e-4, 3e-3

# A training step takes about as long as so many forward passes of its images: forward, backward
# (twice that), and what augmentation and a full cache cost.
_PASSES_A_STEP = 4.0
# An epoch is judged on some images at its end.
_WITH_JUDGING = 1.2
_MOST_EPOCHS = 30
# The part of the time left that the epochs are planned to fill.
_PLANNED = 0.8


@dataclasses.dataclass
class Plan:
    """What is decided once, and kept in `fit.json` for the starts that follow.

    Attributes:
      model: the network, one of `MODELS`.
      weights: `imagenet`, `none` or a file, as in `TrainConfig`.
      size: height and width of the images in the records, in pixels.
      epochs: epochs in which the whole network is trained; None until their time is known.
      minutes: the time in minutes that these epochs were planned for; 0 before.
      seconds: the time of all starts so far, in seconds.
      exported: the epoch of the model that is exported; None before.
    """

    model: str
    weights: str
    size: int
    epochs: Optional[int] = None
    minutes: float = 0.0
    seconds: float = 0.0
    exported: Optional[int] = None


def read(path: str) -> Optional[Plan]:
    """The plan of an earlier start; None if there is none.

    Raises:
      UserError: the file is damaged.
    """
    if not files.exists(path):
        return None
    raw = files.read_json(path)
    names = [field.name for field in dataclasses.fields(Plan)]
    wrong = None
    if not isinstance(raw, dict) or set(raw) != set(names):
        wrong = f"it does not have {listed(names)}"
    else:
        wrong = next(
            (f"{n!r} is {str(raw[n])[:60]!r}" for n in names if not _SOUND[n](raw[n])), None
        )
    if wrong is not None:
        raise UserError(
            f"{path} is damaged ({wrong}); remove it, and what it planned is planned anew."
        )
    return Plan(**raw)


def _is_number(value: Any) -> bool:
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    return number and 0 <= value < math.inf


def _is_whole(value: Any) -> bool:
    return isinstance(value, int) and _is_number(value)


_SOUND: dict[str, Callable[[Any], bool]] = {
    "model": lambda value: value in MODELS,
    "weights": lambda value: isinstance(value, str),
    "size": lambda value: _is_whole(value) and 32 <= value <= 8192,
    "epochs": lambda value: value is None or _is_whole(value),
    "minutes": _is_number,
    "seconds": _is_number,
    "exported": lambda value: value is None or _is_whole(value),
}


def choose(config: Any, has_accelerator: bool) -> tuple[Plan, Optional[str]]:
    """The network and the image size, unless they were given.

    Args:
      config: the settings of the whole job, a `FitConfig`.
      has_accelerator: whether there is a GPU or TPU.

    Returns:
      The plan, and a sentence where pretrained weights cannot be had.
    """
    from cloudtf.model import weights

    usual = _ON_ACCELERATOR if has_accelerator else _ON_CPU
    if config.weights is not None:
        model, size = _FROM_NOTHING if config.weights == "none" else usual
        return Plan(config.model or model, config.weights, size), None
    candidates = list(dict.fromkeys([usual, _ON_CPU]))
    if config.model is not None:
        candidates = [(config.model, usual[1])]
    for model, size in candidates:
        try:
            weights.fetch(model, "imagenet")
        except UserError as error:
            why = str(error)
        else:
            return Plan(model, "imagenet", size), None
    model, size = _FROM_NOTHING
    note = f"It begins with random weights, which take far more photographs and time: {why}"
    return Plan(config.model or model, "none", size), note


def optimization(config: Any, weights: str) -> dict[str, Any]:
    """Settings of the optimizer, by the weights that training begins with.

    Args:
      config: the settings of the whole job, a `FitConfig`.
      weights: `imagenet`, `none` or a file.

    Returns:
      Values by name; none where the optimizer is given, whose rate and schedule are its own.

    >>> from cloudtf.fitting.config import FitConfig
    >>> optimization(FitConfig(output_dir="out"), "imagenet")
    {'optimizer': 'adamw', 'schedule': 'cosine', 'learning_rate': 0.0001}
    """
    if config.optimizer is not None:
        return {}
    rate = _RATE_OF_RANDOM if weights == "none" else _RATE
    return {"optimizer": _OPTIMIZER, "schedule": _SCHEDULE, "learning_rate": rate}


def find_labels(images_dir: str) -> str:
    """The one label table in a folder of photographs, or in the folder above it.

    Raises:
      UserError: there is none, or more than one.
    """
    for folder in (images_dir, files.dirname(images_dir.rstrip("/")) or "."):
        tables = [name for name in sorted(files.list_dir(folder)) if _is_table(name)]
        if len(tables) == 1:
            return files.join(folder, tables[0])
        if tables:
            raise UserError(
                f"{folder} has {listed(tables)}; say which of them has the labels, after "
                f"{images_dir}."
            )
    raise UserError(
        f"Nothing says what the photographs in {images_dir} show; give a table of labels after it, "
        "or put the photographs into a folder for each class (docs/LABELS.md)."
    )


def _is_table(name: str) -> bool:
    return name.lower().endswith(_TABLES) and not sources.is_hidden(name)


def epochs_within(seconds: float, num_images: int, history: Sequence[dict[str, Any]]) -> int:
    """Epochs of the whole network in all, so that those still to come fit into a time.

    Args:
      seconds: the time that is left for those still to come.
      num_images: the number of training images in an epoch.
      history: the epochs so far, at least one, as the rows of `history.csv`.

    >>> epochs_within(600, 2000, [{"stage": "features", "images_per_second": 200.0}])
    10
    """
    done = sum(row["stage"] == "whole" for row in history)
    speed = history[-1]["images_per_second"]
    if not done:  # The body was frozen.
        speed /= _PASSES_A_STEP
    if not speed > 0:  # NaN: resumed where nothing was measured.
        return max(done, _MOST_EPOCHS)
    more = int(_PLANNED * seconds * speed / (_WITH_JUDGING * num_images))
    return max(done, min(_MOST_EPOCHS, done + more))
