"""When to keep a model, lower the learning rate, or stop: decisions on a sequence of scores."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

from cloudtf.training.config import TrainConfig


@dataclasses.dataclass(frozen=True)
class Decision:
    """What follows from one more score.

    Attributes:
      is_best: it beats all before it.
      lower_rate: the plateau has lasted; multiply the rate by the factor.
      stop: no better score has come for as long as patience allows.
    """

    is_best: bool
    lower_rate: bool
    stop: bool


class Patience:
    """Counts epochs since the best score, as Keras's EarlyStopping and ReduceLROnPlateau do.

    Both compare with the best score so far, not with a window of recent ones, so a slow decline
    cannot pass for progress.

    Args:
      stop_after: epochs without a better score after which to stop.
      lower_after: epochs without a better score after which to lower the rate; the count begins
        anew each time it is lowered.
      min_delta: by how much a score must beat the best to count as better.
    """

    def __init__(
        self,
        stop_after: int = TrainConfig.early_stopping_patience,
        lower_after: int = TrainConfig.plateau_patience,
        min_delta: float = 0.0,
    ) -> None:
        self.stop_after = stop_after
        self.lower_after = lower_after
        self.min_delta = min_delta
        self.best = -math.inf
        self.epochs_since_best = 0
        self.epochs_on_plateau = 0

    def update(self, score: float) -> Decision:
        """Takes the next score; NaN counts as no better."""
        if score > self.best + self.min_delta or (self.best == -math.inf and math.isfinite(score)):
            self.best = score
            self.epochs_since_best = self.epochs_on_plateau = 0
            return Decision(is_best=True, lower_rate=False, stop=False)
        self.epochs_since_best += 1
        self.epochs_on_plateau += 1
        lower = self.epochs_on_plateau >= self.lower_after
        if lower:
            self.epochs_on_plateau = 0
        return Decision(
            is_best=False, lower_rate=lower, stop=self.epochs_since_best >= self.stop_after
        )

    def restart(self) -> None:
        """Begins a new stage: the waits are over, the best score stays the one to beat."""
        self.epochs_since_best = self.epochs_on_plateau = 0

    def state(self) -> dict[str, Any]:
        """All that `update` depends on, for a checkpoint."""
        return {
            "best": None if self.best == -math.inf else self.best,
            "epochs_since_best": self.epochs_since_best,
            "epochs_on_plateau": self.epochs_on_plateau,
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Takes back what `state` gave."""
        self.best = -math.inf if state["best"] is None else state["best"]
        self.epochs_since_best = state["epochs_since_best"]
        self.epochs_on_plateau = state["epochs_on_plateau"]
