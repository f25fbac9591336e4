"""Where a run refuses to go on: other settings, records, order of examples, or fewer epochs."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from typing import Any, Optional, Sequence

from cloudtf import settings
from cloudtf.errors import UserError, param
from cloudtf.model.choices import WEIGHTS
from cloudtf.pipeline.dataset import ImageDataset
from cloudtf.training.config import TrainConfig
from cloudtf.training.own_parts import OwnParts
from cloudtf.training.progress import Progress
from cloudtf.training.stages import Stage
from cloudtf.training.workers import Workers


def fingerprint(data: ImageDataset, splits: Sequence[str]) -> str:
    """Of the records that a run reads: checksums of shards, class names, image size."""
    used = [data.manifest.split(name) for name in splits]
    sums = [[split.name, [shard.sha256 for shard in split.shards]] for split in used]
    text = json.dumps([data.classes, data.image_shape, sums])
    return hashlib.sha256(text.encode()).hexdigest()


def check_workers(
    workers: Workers, config: TrainConfig, own: OwnParts, progress: Progress, records: str
) -> None:
    """Compares settings, records and checkpoints of all workers. Folders may have other names.

    Raises:
      UserError: on all workers, naming one that has other flags, records or another checkpoint.
    """
    flags = dataclasses.asdict(config)
    del flags["data_dir"], flags["run_dir"]
    parts = [own.model_fn is not None, own.describe(None), len(own.callbacks)]
    workers.check_same(
        flags=[flags, parts], records=records, checkpoints=dataclasses.asdict(progress)
    )


def check(
    config: TrainConfig, own: OwnParts, stages: Sequence[Stage], progress: Progress, records: str
) -> None:
    """Compares a run folder's last checkpoint with what is now asked for.

    Raises:
      UserError: the run may not go on: `resume="never"`, another setting, other records, or fewer
        epochs than it has done.
    """
    old = progress.settings or {}
    if config.resume == "never":
        raise UserError(
            f"{config.run_dir} holds a run already; drop {param(resume='never')} to go on with it, "
            f"or give another {param('run_dir')}."
        )
    if old and "head" not in old:  # Of before there was a choice.
        if stages[0].fits_head:
            raise UserError(
                f"The run in {config.run_dir} began with {param(head='epochs')}; give that to go "
                f"on, or another {param('run_dir')}."
            )
        old = {**old, "head": config.head}
    # The weights that a run begins with are in its checkpoint: where their file is now, or whether,
    # does not matter. Those that have a name must keep it, for `flags.txt` must stay true.
    from_a_file = not {config.weights, old.get("weights")} & set(WEIGHTS)
    for name, (before, value) in settings.changed(config, old).items() if old else ():
        if not (name == "weights" and from_a_file):
            raise UserError(
                f"{param(**{name: value})} differs from the {before} that the run in "
                f"{config.run_dir} began with; give the old value to go on, or another "
                f"{param('run_dir')}."
            )
    if progress.records not in (None, records):
        raise UserError(
            f"The records in {config.data_dir} are not those that the run in {config.run_dir} "
            f"began with; put the old ones back to go on, or give another {param('run_dir')}."
        )
    began = progress.own or {"model": None, "loss": None}
    if (began["model"] is not None) != (own.model_fn is not None):
        network = "the network of a model_fn" if began["model"] else "one of cloudtf's networks"
        fix = "give that model_fn again" if began["model"] else "leave out model_fn"
        raise UserError(
            f"The run in {config.run_dir} began with {network}; {fix} to go on, or give another "
            f"{param('run_dir')}."
        )
    loss = (own.describe(None) or {}).get("loss")
    if began["loss"] != loss:
        words = [f"the loss_fn {name}" if name else "no loss_fn" for name in (began["loss"], loss)]
        raise UserError(
            f"The run in {config.run_dir} began with {words[0]} and was now given {words[1]}; give "
            f"what it began with to go on, or another {param('run_dir')}."
        )
    stage = stages[progress.stage]
    name, asked, needed = stage.epochs_setting, stage.epochs, max(progress.epoch, 1)
    if asked < needed:
        raise UserError(
            f"{param(**{name: asked})} is behind where the run in {config.run_dir} stands; give "
            f"{param(**{name: needed})} or more to go on, or another {param('run_dir')}."
        )


def check_model(config: TrainConfig, own: OwnParts, progress: Progress, model: Any) -> None:
    """Compares the network of a `model_fn` with the one that the run began with.

    Raises:
      UserError: its layers are others.
    """
    described = own.describe(model)
    if progress.own is not None and progress.own != described:
        raise UserError(
            f"model_fn gives another model than the one that the run in {config.run_dir} began "
            f"with; give that one to go on, or another {param('run_dir')}."
        )
    progress.own = described


def check_order(config: TrainConfig, began: Optional[bool], streamed: bool) -> None:
    """Compares the order of examples with that of a run's last checkpoint.

    Args:
      config: the settings of this start.
      began: whether the run streamed its records; None if it is new or does not say.
      streamed: whether it would now.

    Raises:
      UserError: it is another order, in which examples of the epoch under way would come twice or
        not at all.
    """
    if began is None or began == streamed:
        return
    if not began:
        how = "kept its records in memory"
        fix = f"give {param(cache='encoded')}"
        if config.cache == "auto":
            fix += ", which takes what memory there is"
        else:
            fix += f" or {param(cache='decoded')}"
    else:
        how = "read its records from disk each epoch"
        fix = f"give {param(cache='none')}"
        if config.data_service:
            fix = f"leave out {param('data_service')}"
    raise UserError(
        f"The run in {config.run_dir} {how}, and would go on in another order of the examples; "
        f"{fix}, or give another {param('run_dir')}."
    )
