"""Where a run stands: what its checkpoints hold beside the weights, checked as it is read."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
from typing import Any, Callable, Optional, Sequence

import numpy as np

from cloudtf.training.stages import NUM_STAGES, Stage

_CHECKSUM = "sha256"


@dataclasses.dataclass
class Progress:
    """Where a run stands, as JSON values.

    Attributes:
      stage: index of the stage under way.
      epoch: epochs of that stage that are done.
      step: steps done of the epoch under way.
      total_steps: steps done since the run began; the place in the data is this times the batch.
      total_epochs: epochs done since the run began.
      loss_sum: the sum of the losses of the epoch's steps so far.
      stopped_early: the stage was ended by the callback.
      finished: nothing is left to do.
      callback: the state of the judge: history, best model, patience.
      settings: the settings of the run's last start.
      records: what the records were, to notice when others are put in their place.
      streamed: whether they are read from disk each epoch, which is another order than from memory.
      own: a digest of the network of a `model_fn` and the name of a `loss_fn`; None without them.
      callbacks: what of the Keras callbacks has changed since they began.
      stopped_by_callback: it was a Keras callback that ended the stage.
      rewinds: each return to an earlier checkpoint after a number that was not finite.
    """

    stage: int = 0
    epoch: int = 0
    step: int = 0
    total_steps: int = 0
    total_epochs: int = 0
    loss_sum: float = 0.0
    stopped_early: bool = False
    finished: bool = False
    callback: Optional[dict[str, Any]] = None
    settings: Optional[dict[str, Any]] = None
    records: Optional[str] = None
    streamed: Optional[bool] = None
    rewinds: list[dict[str, Any]] = dataclasses.field(default_factory=list)
    own: Optional[dict[str, Any]] = None
    callbacks: list[dict[str, Any]] = dataclasses.field(default_factory=list)
    stopped_by_callback: bool = False

    def to_json(self) -> dict[str, Any]:
        """The fields as JSON values, and a checksum over them."""
        # As they come back: NaN, which JSON does not have, is null.
        text = json.dumps(dataclasses.asdict(self))
        fields = json.loads(text, parse_constant=lambda name: None)
        return {**fields, _CHECKSUM: _checksum(fields)}

    @classmethod
    def from_json(cls, value: Any) -> Progress:
        """Takes what `to_json` gave.

        Raises:
          ValueError: it is something else; the message is a phrase that says what.
        """
        if not isinstance(value, dict):
            raise ValueError("it is not a JSON object")
        fields = dict(value)
        said = fields.pop(_CHECKSUM, None)
        unknown = set(fields) ^ {field.name for field in dataclasses.fields(cls)}
        if unknown:
            raise ValueError(f"{sorted(unknown)[0]!r} is missing or unknown")
        for name, is_sound in _SOUND.items():
            if not is_sound(fields[name]):
                raise ValueError(f"{name!r} is {json.dumps(fields[name])[:60]}")
        # Before there was one, a checkpoint was written without it.
        if said not in (None, _checksum(fields)):
            raise ValueError("its checksum is another")
        return cls(**fields)

    @property
    def mean_loss(self) -> float:
        """Of the steps of the epoch under way: at least one, and all their losses are added up."""
        return self.loss_sum / self.step

    @property
    def epochs_since_best(self) -> int:
        """Epochs of the stage without a better score."""
        return (self.callback or {}).get("patience", {}).get("epochs_since_best", 0)

    def begin_stage(self, index: int) -> None:
        """Goes to the first epoch of a stage."""
        self.stage, self.epoch, self.step, self.loss_sum = index, 0, 0, 0.0
        self.stopped_early = self.stopped_by_callback = False

    def count_steps(self, count: int) -> None:
        """Counts steps that have been sent to the device; `add_losses` follows for each."""
        self.step += count
        self.total_steps += count

    def add_losses(self, losses: np.ndarray) -> None:
        """Adds up the losses, float32 [N], of steps that are counted, in their order."""
        self.loss_sum += float(losses.sum(dtype="float64"))

    def end_epoch(self, stopped_early: bool, stopped_by_callback: bool = False) -> None:
        """Goes to the stage's next epoch, or notes that there shall be none."""
        self.epoch += 1
        self.total_epochs += 1
        self.step, self.loss_sum = 0, 0.0
        self.stopped_early = stopped_early or stopped_by_callback
        self.stopped_by_callback = stopped_by_callback

    def go_back_to(self, earlier: Progress) -> None:
        """Takes the place of an earlier checkpoint, with the settings of this start."""
        vars(self).update(vars(earlier), settings=self.settings)

    def reopen(self, stages: Sequence[Stage], patience: int) -> None:
        """Lets a run go on that had ended and has been given more patience, epochs or stages.

        Args:
          stages: the stages, as the settings now are.
          patience: epochs without a better score after which a stage ends.
        """
        stage = stages[self.stage]
        if self.stopped_by_callback:
            # It has its own reasons; who asks for more epochs than then overrules it.
            before = (self.settings or {}).get(stage.epochs_setting) or 0
            goes_on = stage.epochs > before and not stage.fits_head
        else:
            goes_on = self.epochs_since_best < patience
        if goes_on:
            self.stopped_early = self.stopped_by_callback = False
        more_stages = any(later.epochs for later in stages[self.stage + 1 :])
        more_epochs = self.epoch < stage.epochs and not self.stopped_early
        if more_stages or more_epochs:
            self.finished = False


def _checksum(fields: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(fields, sort_keys=True).encode()).hexdigest()


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


def _is_row(value: Any) -> bool:
    """A row of the history: numbers, of which those that do not exist are null."""
    if not isinstance(value, dict) or not {"epoch", "stage"} <= set(value):
        return False
    numbers = (v for k, v in value.items() if k not in ("epoch", "stage"))
    return (
        _is_count(value["epoch"])
        and _is_text(value["stage"])
        and all(v is None or _is_number(v) for v in numbers)
    )


def _is_best(value: Any) -> bool:
    """The content of `best.json`, or null."""
    if value is None:
        return True
    names = {"epoch", "stage", "pr_auc", "average_precision"}
    # Of very many labels there are no intervals, and at first there were none.
    if not isinstance(value, dict) or set(value) - {"intervals"} != names:
        return False
    return _is_count(value["epoch"]) and _is_text(value["stage"]) and all(
        isinstance(value[metric], dict)
        and all(v is None or _is_number(v) for v in value[metric].values())
        for metric in ("pr_auc", "average_precision")
    ) and _are_intervals(value.get("intervals", {}))  # fmt: skip


def _are_intervals(value: Any) -> bool:
    return isinstance(value, dict) and all(
        isinstance(by_class, dict)
        and all(
            isinstance(pair, list)
            and len(pair) == 2
            and all(v is None or _is_number(v) for v in pair)
            for pair in by_class.values()
        )
        for by_class in value.values()
    )


def _is_patience(value: Any) -> bool:
    counts = ("epochs_since_best", "epochs_on_plateau")
    return (
        isinstance(value, dict)
        and set(value) == {"best", *counts}
        and all(_is_count(value[name]) for name in counts)
        and (value["best"] is None or _is_number(value["best"]))
    )


def _is_judge(value: Any) -> bool:
    return value is None or (
        isinstance(value, dict)
        and set(value) == {"stage", "rows", "best", "patience"}
        and _is_text(value["stage"])
        and isinstance(value["rows"], list)
        and all(map(_is_row, value["rows"]))
        and _is_best(value["best"])
        and _is_patience(value["patience"])
    )


def _is_rewind(value: Any) -> bool:
    return (
        isinstance(value, dict)
        and set(value) == {"what", "learning_rate", "back_to_step"}
        and _is_text(value["what"])
        and _is_number(value["learning_rate"])
        and _is_count(value["back_to_step"])
    )


def _is_own(value: Any) -> bool:
    return value is None or (
        isinstance(value, dict)
        and set(value) == {"model", "loss"}
        and all(part is None or _is_text(part) for part in value.values())
    )


def _is_callback(value: Any) -> bool:
    return (
        isinstance(value, dict)
        and set(value) == {"class", "changed"}
        and _is_text(value["class"])
        and isinstance(value["changed"], dict)
    )


_SOUND: dict[str, Callable[[Any], bool]] = {
    "stage": lambda value: _is_count(value) and value < NUM_STAGES,
    "epoch": _is_count,
    "step": _is_count,
    "total_steps": _is_count,
    "total_epochs": _is_count,
    "loss_sum": _is_number,
    "stopped_early": lambda value: isinstance(value, bool),
    "finished": lambda value: isinstance(value, bool),
    "callback": _is_judge,
    "settings": lambda value: value is None or isinstance(value, dict),
    "records": lambda value: value is None or _is_text(value),
    "streamed": lambda value: value is None or isinstance(value, bool),
    "rewinds": lambda value: isinstance(value, list) and all(map(_is_rewind, value)),
    "own": _is_own,
    "callbacks": lambda value: isinstance(value, list) and all(map(_is_callback, value)),
    "stopped_by_callback": lambda value: isinstance(value, bool),
}
