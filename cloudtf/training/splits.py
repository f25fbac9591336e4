"""Which splits of the records a run trains on, and which one judges it."""

from __future__ import annotations

from typing import Iterable

from cloudtf.data.records import PSEUDO
from cloudtf.errors import UserError, param
from cloudtf.pipeline.dataset import ImageDataset
from cloudtf.training.config import TrainConfig


def split_names(config: TrainConfig, present: Iterable[str]) -> tuple[tuple[str, ...], str]:
    """The names of the splits to train on and of the one to validate on.

    Those to train on include the photographs that a model has labelled, of a fold its own model.

    Args:
      config: names the splits or the fold.
      present: the splits of the records.

    Raises:
      UserError: the two are one, or there is nothing to train on.
    """
    if config.fold is None:
        if config.train_split == config.val_split:
            raise UserError(f"{param('train_split')} and {param('val_split')} are the same.")
        return (config.train_split, *_labelled_by_model(present, PSEUDO)), config.val_split
    # Where all folds are looked at beforehand, as by the doctor, the first stands for them.
    held_out = f"fold{0 if config.fold == 'all' else config.fold}"
    others = tuple(name for name in present if name.startswith("fold") and name != held_out)
    if not others:
        raise UserError(f"{config.data_dir} has no fold but {held_out!r}: nothing to train on.")
    return (*others, *_labelled_by_model(present, f"{PSEUDO}_{held_out}")), held_out


def _labelled_by_model(present: Iterable[str], name: str) -> tuple[str, ...]:
    """The split of photographs whose labels a model of this run gave, where there is one."""
    return tuple(split for split in present if split == name)


def choose_splits(config: TrainConfig, data: ImageDataset) -> tuple[tuple[str, ...], str]:
    """The splits to train on and the one to validate on.

    Raises:
      UserError: they are not there or have no labels, or no class could be judged on the latter.
    """
    if not data.classes:
        raise UserError(
            f"The records in {config.data_dir} have no labels; convert the photographs with "
            f"{param('labels_csv')} to train on them."
        )
    others, held_out = split_names(config, data.splits)
    for name in (*others, held_out):
        data.manifest.split(name)
    for names in (others, (held_out,)):
        if not data.num_examples(names):
            raise UserError(
                f"The split {'+'.join(names)!r} in {config.data_dir} has no examples; convert "
                "photographs for it, or name another split."
            )
    spec = data.manifest.split(held_out)
    counts = spec.class_counts
    if counts and all(count in (0, spec.num_known(name)) for name, count in counts.items()):
        raise UserError(
            f"No class has both positives and negatives in the split {held_out!r} of "
            f"{config.data_dir}, so PR-AUC is undefined and no model could be chosen; convert "
            f"with a larger {param('val_fraction')}, or name another split."
        )
    return others, held_out
