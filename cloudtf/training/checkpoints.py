"""Checkpoints: all that a run needs to go on, in one folder that is there whole or not at all."""

from __future__ import annotations

import dataclasses
import os
from typing import Any, Optional

import tensorflow as tf

from cloudtf import files
from cloudtf.errors import UserError

_STATE = "state.json"
_PREFIX = "step-"


@dataclasses.dataclass
class Progress:
    """Where a run stands, as JSON values.

    Attributes:
      stage: index of the stage under way.
      epoch: epochs of that stage that are done.
      step: steps done of the epoch under way.
      total_steps: steps done since the run began; the place in the data is this times the batch.
      total_epochs: epochs done since the run began.
      loss_sum: of the losses of the epoch's steps so far.
      stopped_early: the stage was ended by the callback.
      finished: nothing is left to do.
      callback: the state of the PR-AUC callback.
      settings: the flags of the run.
      records: what the records were, to notice when others are put in their place.
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


class CheckpointFolder:
    """The folder `checkpoints/` of a run.

    Each checkpoint is written to a temporary folder and moved into place; only then are older
    ones removed. Remote folders cannot be moved as one; there `state.json`, which is written last,
    marks a checkpoint as whole.
    """

    def __init__(self, run_dir: str) -> None:
        self._folder = files.join(run_dir, "checkpoints")

    def save(self, checkpoint: tf.train.Checkpoint, progress: Progress) -> None:
        """Writes a checkpoint and then drops the ones before it."""
        files.make_dirs(self._folder)
        # In order of time as in the alphabet. Neither word may be missing: where folders are only
        # prefixes, as on ram://, removing `step-8` would touch `step-8-finished`.
        word = "finished" if progress.finished else "active"
        name = f"{_PREFIX}{progress.total_steps:09d}-{word}"
        final = files.join(self._folder, name)
        remote = files.is_remote(final)
        temporary = final if remote else files.join(self._folder, f".{name}.tmp")
        files.remove_tree(temporary)
        files.make_dirs(temporary)
        try:
            checkpoint.write(files.join(temporary, "weights"))
        except tf.errors.OpError as error:
            raise UserError(
                f"The checkpoint {final} cannot be written ({str(error).splitlines()[0][:160]}); "
                "make room and run the same command again to go on from the last one."
            ) from error
        for part in files.list_dir(temporary):
            files.flush(files.join(temporary, part))
        files.write_json(files.join(temporary, _STATE), dataclasses.asdict(progress))
        if not remote:
            files.remove_tree(final)
            files.move(temporary, final)
        # What killed processes left half done goes too.
        for other in files.list_dir(self._folder):
            if other != name and other.lstrip(".").startswith(_PREFIX):
                files.remove_tree(files.join(self._folder, other))

    def latest(self) -> Optional[tuple[str, Progress]]:
        """The last whole checkpoint: its weights' prefix and where the run stood; or None."""
        for name in reversed(self._names()):
            folder = files.join(self._folder, name)
            if files.exists(files.join(folder, _STATE)):
                raw = files.read_json(files.join(folder, _STATE))
                try:
                    return files.join(folder, "weights"), Progress(**raw)
                except TypeError as error:
                    raise UserError(
                        f"{folder}/{_STATE} is not of this version of cloudtf ({error}); train "
                        "with --resume=never in a new --run_dir."
                    ) from error
        return None

    def _names(self) -> list[str]:
        if not files.exists(self._folder):
            return []
        return [name for name in files.list_dir(self._folder) if name.startswith(_PREFIX)]


class RunLock:
    """Holds a run folder for one process; a dead process holds nothing.

    The lock is the kernel's (`flock`) and goes with the process, whatever became of it. Remote
    folders have no such lock and are not guarded.
    """

    def __init__(self, run_dir: str) -> None:
        self._path = files.join(run_dir, ".lock")
        self._descriptor: Optional[int] = None

    def __enter__(self) -> RunLock:
        if files.is_remote(self._path):
            return self
        import fcntl

        try:
            self._descriptor = os.open(self._path, os.O_CREAT | os.O_RDWR, 0o644)
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            self.__exit__()
            if not isinstance(error, BlockingIOError):
                raise UserError(
                    f"The lock {self._path} cannot be taken ({error.strerror}); give a --run_dir "
                    "that can be written to."
                ) from error
            raise UserError(
                f"Another run is at work in {files.dirname(self._path)}; wait for it, or give "
                "another --run_dir."
            ) from error
        return self

    def __exit__(self, *_: Any) -> None:
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None
