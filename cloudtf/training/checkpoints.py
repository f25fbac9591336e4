"""Checkpoints: all that a resumed run restores, in one folder that is there whole or not at all.

A checkpoint holds

1. `weights`: the network's weights and batch-norm averages; the stage's optimizer with its moments,
   its `iterations` and its learning rate;
2. `state.json`: the fields of `Progress`, among them the judge's state (history, best model so
   far, patience).

The rest follows from these two. The order of examples and their augmentation are functions of
(seed, epoch, position), and the position is `total_steps` times the batch; dropout's masks are
functions of (seed, layer, `iterations`). A best model that waits is put in its place or dropped
(`ResultFolder.settle`). Settings of which results do not depend come from the new start; others
must be as they were (`compatibility`).
"""

from __future__ import annotations

import contextlib
import dataclasses
import re
from typing import Any, Optional, Sequence

import numpy as np
import tensorflow as tf

from cloudtf import files
from cloudtf.errors import UserError, param, reason

_STATE = "state.json"
# `step-000000500-active`; `step-000000500.2-active` is a second one of the same step.
_NAME = re.compile(r"step-(\d+)(?:\.(\d+))?-(active|finished)")
_TEMPORARY = re.compile(rf"\.{_NAME.pattern}\.tmp")


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

    @property
    def mean_loss(self) -> float:
        """Of the steps of the epoch under way, of which there must be one."""
        return self.loss_sum / self.step

    @property
    def epochs_since_best(self) -> int:
        """Epochs of the stage without a better score."""
        return (self.callback or {}).get("patience", {}).get("epochs_since_best", 0)

    def begin_stage(self, index: int) -> None:
        """Goes to the first epoch of a stage."""
        self.stage, self.epoch, self.step, self.loss_sum = index, 0, 0, 0.0
        self.stopped_early = False

    def count_steps(self, losses: np.ndarray) -> None:
        """Counts steps that have been run, of which these are the losses, float32 [N]."""
        self.loss_sum += float(losses.sum(dtype="float64"))
        self.step += len(losses)
        self.total_steps += len(losses)

    def end_epoch(self, stopped_early: bool) -> None:
        """Goes to the stage's next epoch, or notes that there shall be none."""
        self.epoch += 1
        self.total_epochs += 1
        self.step, self.loss_sum = 0, 0.0
        self.stopped_early = stopped_early

    def go_back_to(self, earlier: Progress) -> None:
        """Takes the place of an earlier checkpoint, with the settings of this start."""
        vars(self).update(vars(earlier), settings=self.settings)

    def reopen(self, stage_epochs: Sequence[int], patience: int) -> None:
        """Lets a run go on that had ended and has been given more patience, epochs or stages.

        Args:
          stage_epochs: the epochs of each stage, as the settings now are.
          patience: epochs without a better score after which a stage ends.
        """
        if self.epochs_since_best < patience:
            self.stopped_early = False
        more_stages = any(stage_epochs[self.stage + 1 :])
        more_epochs = self.epoch < stage_epochs[self.stage] and not self.stopped_early
        if more_stages or more_epochs:
            self.finished = False


class CheckpointFolder:
    """The folder `checkpoints/` of a run.

    Each checkpoint is written to a temporary folder and moved into place; only then are older
    ones removed. Remote folders cannot be moved as one; there `state.json`, which is written last,
    marks a checkpoint as whole.

    Args:
      run_dir: of the run, where the last checkpoint is looked for.
      output_dir: where checkpoints are written, if that is another folder.
    """

    def __init__(self, run_dir: str, output_dir: Optional[str] = None) -> None:
        self._source = files.join(run_dir, "checkpoints")
        self._folder = files.join(output_dir or run_dir, "checkpoints")

    def save(self, checkpoint: tf.train.Checkpoint, progress: Progress) -> None:
        """Writes a checkpoint and then drops the ones before it.

        Raises:
          UserError: it cannot be written; the one before it is still there.
        """
        files.make_dirs(self._folder)
        name = self._new_name(progress)
        final = files.join(self._folder, name)
        remote = files.is_remote(final)
        temporary = final if remote else files.join(self._folder, f".{name}.tmp")
        files.remove_tree(temporary)
        try:
            files.make_dirs(temporary)
            checkpoint.write(files.join(temporary, "weights"))
            for part in files.list_dir(temporary):
                files.flush(files.join(temporary, part))
            files.write_json(files.join(temporary, _STATE), dataclasses.asdict(progress))
            if not remote:
                files.move(temporary, final)
        except (tf.errors.OpError, OSError, UserError) as error:
            # Half a checkpoint would take the room that the next one needs.
            with contextlib.suppress(Exception):
                files.remove_tree(temporary)
            why = reason(error.__cause__ or error)
            raise UserError(
                f"The checkpoint {final} cannot be written ({why}); make room and run the same "
                "command again to go on from the last one."
            ) from error
        # What killed processes left half done goes too.
        for other in files.list_dir(self._folder):
            if other != name and (_NAME.fullmatch(other) or _TEMPORARY.fullmatch(other)):
                # First what makes it whole: nobody may take the rest of it for a checkpoint.
                files.remove(files.join(self._folder, other, _STATE))
                files.remove_tree(files.join(self._folder, other))

    def latest(self) -> Optional[tuple[str, Progress]]:
        """The last whole checkpoint: its weights' prefix and where the run stood; or None."""
        for name in reversed(_names(self._source)):
            folder = files.join(self._source, name)
            if files.exists(files.join(folder, _STATE)):
                raw = files.read_json(files.join(folder, _STATE))
                try:
                    return files.join(folder, "weights"), Progress(**raw)
                except TypeError as error:
                    raise UserError(
                        f"{folder}/{_STATE} is not of this version of cloudtf "
                        f"({reason(error)}); begin anew in another {param('run_dir')}."
                    ) from error
        return None

    def _new_name(self, progress: Progress) -> str:
        """One that no checkpoint has and that comes after all of the same step.

        A name may not begin with another: where folders are only prefixes, as on ram://, removing
        `step-8` would touch `step-8-finished`.
        """
        step, word = progress.total_steps, "finished" if progress.finished else "active"
        taken = [order for order in map(_order, _names(self._folder)) if order[0] == step]
        take = 1
        while taken and (step, take, word) <= max(taken):
            take += 1
        return f"step-{step:09d}{f'.{take}' if take > 1 else ''}-{word}"


def _names(folder: str) -> list[str]:
    if not files.exists(folder):
        return []
    return sorted(filter(_NAME.fullmatch, files.list_dir(folder)), key=_order)


def _order(name: str) -> tuple[int, int, str]:
    found = _NAME.fullmatch(name)
    assert found is not None  # As `_names` chooses them.
    step, take, word = found.groups()
    return int(step), int(take or 1), word
