"""A run of all folds: a model a fold, one run after the other, and scores out of fold."""

from __future__ import annotations

import dataclasses
import time
from typing import Any, Callable, TypeVar

from cloudtf import files, settings
from cloudtf.data import records
from cloudtf.errors import UsageError, UserError, param
from cloudtf.evaluation import out_of_fold
from cloudtf.evaluation.evaluate import EvaluateConfig
from cloudtf.locks import FolderLock
from cloudtf.reporter import report
from cloudtf.training.config import TrainConfig

Result = TypeVar("Result")


def train_all(
    config: TrainConfig, train_one: Callable[[TrainConfig], Result]
) -> tuple[list[Result], dict[str, Any]]:
    """Trains every fold that is not finished, then judges each photograph by the model without it.

    Args:
      config: with `fold="all"`; the folders of the folds are made in its `run_dir`, and its
        `max_minutes` is for all of them together.
      train_one: trains one fold with settings of its own, and says what came of it; it returns at
        once where that is finished.

    Returns:
      What came of each fold, in order, and the content of `metrics.json`.

    Raises:
      UserError: the records have no folds, the folder is that of another run, or as `train_one`.
    """
    began = time.monotonic()
    if config.strategy == "multi_worker":
        raise UsageError(
            f"{param(fold='all')} is for one process; with several workers train each fold by "
            f"itself, {param(fold=0)} and so on."
        )
    folds = out_of_fold.folds_of(records.read_manifest(config.data_dir).splits)
    if len(folds) < 2:
        raise UserError(
            f"{param(fold='all')} needs records with folds, and {config.data_dir} has "
            f"{'one' if folds else 'none'}; convert with {param(folds=5)}."
        )
    if files.exists(files.join(config.run_dir, "checkpoints")):
        raise UserError(
            f"{config.run_dir} is the folder of a run of one model; give another "
            f"{param('run_dir')} for all folds."
        )
    files.make_dirs(config.run_dir)
    with FolderLock(config.run_dir, "run", "run_dir"):
        files.write_text(files.join(config.run_dir, "flags.txt"), settings.to_flagfile(config))
        results = []
        for fold in folds:
            report(f"{fold} of {len(folds)} folds, in {out_of_fold.fold_dir(config.run_dir, fold)}")
            results.append(train_one(_of_fold(config, fold, time.monotonic() - began)))
        report(f"Each of the {len(folds)} folds is judged by the model that has not seen it.")
        metrics = out_of_fold.judge(
            EvaluateConfig(
                data_dir=config.data_dir,
                run_dir=config.run_dir,
                on_bad_record=config.on_bad_record,
            )
        ).metrics
    return results, metrics


def _of_fold(config: TrainConfig, fold: str, seconds: float) -> TrainConfig:
    """The settings of one fold's run, begun so many seconds after the run of all."""
    minutes = config.max_minutes
    return dataclasses.replace(
        config,
        fold=int(fold[len("fold") :]),
        run_dir=out_of_fold.fold_dir(config.run_dir, fold),
        max_minutes=None if minutes is None else max(minutes - seconds / 60, 0.0),
    )
