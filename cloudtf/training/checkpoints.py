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
import os
import re
import tempfile
from typing import Iterator, Optional

import tensorflow as tf

from cloudtf import files
from cloudtf.errors import UserError, param, reason
from cloudtf.training import workers
from cloudtf.training.progress import Progress

_STATE = "state.json"
# `step-000000500-active`; `step-000000500.2-active` is a second one of the same step.
_NAME = re.compile(r"step-(\d+)(?:\.(\d+))?-(active|finished)")
_WILDCARDS = set("*?[]\\")
_TEMPORARY = re.compile(rf"\.{_NAME.pattern}\.tmp")


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
          tf.errors.OpError: another worker has gone, which takes part in reading what is saved.
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
            files.write_json(files.join(temporary, _STATE), progress.to_json())
            if not remote:
                files.move(temporary, final)
        except (tf.errors.OpError, OSError, UserError) as error:
            # Half a checkpoint would take the room that the next one needs.
            with contextlib.suppress(Exception):
                files.remove_tree(temporary)
            if _is_loss(error, temporary):
                raise
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
                try:
                    progress = Progress.from_json(files.read_json(files.join(folder, _STATE)))
                except ValueError as error:
                    raise _unreadable(f"{folder}/{_STATE}", error) from error
                return files.join(folder, "weights"), progress
        return None

    def restore(self, checkpoint: tf.train.Checkpoint, weights: str) -> None:
        """Reads a checkpoint into the variables of another one.

        Args:
          checkpoint: the network and the optimizer, with all of their variables.
          weights: the prefix that `latest` gave.

        Raises:
          UserError: it is damaged, or of another network.
          tf.errors.OpError: another worker has gone.
        """
        try:
            with _without_wildcards(weights) as prefix:
                status = checkpoint.read(prefix)
                status.assert_existing_objects_matched().expect_partial()
        except Exception as error:  # TensorFlow has many for a damaged file, IndexError among them.
            if _is_loss(error, files.dirname(weights)):
                raise
            raise _unreadable(files.dirname(weights), error) from error

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


def _is_loss(error: BaseException, folder: str) -> bool:
    """Whether a worker has gone: the same kinds of error name the folder if they are of a file."""
    return isinstance(error, workers.LOST) and folder not in str(error)


def _unreadable(path: str, error: Exception) -> UserError:
    return UserError(
        f"The checkpoint {path} cannot be read ({reason(error)}); put a whole copy of it back, or "
        f"begin anew in another {param('run_dir')}."
    )


@contextlib.contextmanager
def _without_wildcards(prefix: str) -> Iterator[str]:
    """The same files under a prefix that TensorFlow, which expands wildcards, takes as it is."""
    folder = files.dirname(prefix)
    if not _WILDCARDS & set(folder):
        yield prefix
        return
    usual = tempfile.gettempdir()
    with tempfile.TemporaryDirectory(dir="/tmp" if _WILDCARDS & set(usual) else usual) as other:
        name = files.basename(prefix)
        for part in files.list_dir(folder):
            if part.startswith(name):
                source, target = files.join(folder, part), os.path.join(other, part)
                if files.is_remote(source):
                    files.write_bytes(target, files.read_bytes(source))
                else:
                    os.symlink(os.path.abspath(source), target)
        yield os.path.join(other, name)
