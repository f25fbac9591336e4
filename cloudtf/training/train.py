"""Training: from the settings to a run folder with the best model, resumable at any step."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any, Optional

from cloudtf import files, settings
from cloudtf.errors import UserError, param
from cloudtf.evaluation import frames, history
from cloudtf.pipeline.order import Share
from cloudtf.reporter import report
from cloudtf.training import compatibility, hardware, inputs, label_notes
from cloudtf.training.config import TrainConfig
from cloudtf.training.progress import Progress
from cloudtf.training.run import Run, open_run
from cloudtf.training.sanity import NotFinite
from cloudtf.training.stopping import LeftEarly
from cloudtf.training.trainer import Trainer

if TYPE_CHECKING:
    import pandas as pd


@dataclasses.dataclass(frozen=True)
class TrainResult:
    """What a run has come to.

    Attributes:
      run_dir: the run folder, as it was given.
      best: the content of `best.json`.
      history: the rows of `history.csv`.
    """

    run_dir: str
    best: dict[str, Any]
    history: list[dict[str, Any]]

    def history_frame(self) -> pd.DataFrame:
        """The history as a pandas DataFrame, a row an epoch; see `cloudtf.history_frame`."""
        return frames.of_history(self.history)


def train(config: TrainConfig) -> TrainResult:
    """Trains a classifier, or goes on with one whose run folder is not finished.

    Raises:
      UserError: bad input, a run folder in use or made with other settings, or a loss that is not
        finite.
      Interrupted: SIGTERM, Ctrl-C or `max_minutes`; the run is saved and can go on.

    >>> config = cloudtf.TrainConfig(
    ...     data_dir="records", run_dir="runs/c", model="tiny", weights="none", epochs=1
    ... )
    >>> result = train(config)
    tiny on ...
    >>> sorted(result.best["pr_auc"])
    ['Fish', 'Flower', 'Gravel', 'Sugar', 'mean']
    >>> result.history[0]["epoch"]
    1
    """
    with open_run(config) as run:
        progress, weights = _resume(run)
        if progress.finished:
            report(_finished(run, progress))
            _mend_results(run, progress, weights)
            return _result(run, progress)
        trainer = Trainer(run, progress, weights)
        # Also when going on: settings that may change are those of the last start.
        files.write_text(files.join(run.output_dir, "flags.txt"), settings.to_flagfile(config))
        _describe(run, progress)
        with inputs.naming_faults(run):
            for stage in run.stages[progress.stage :]:
                if not stage.epochs:
                    continue
                trainer.begin(stage)
                if trainer.lacks_best():
                    trainer.forget_best()
                while not trainer.stage_is_over():
                    try:
                        logs = trainer.run_steps()
                        trainer.judge_epoch(logs)
                    except NotFinite as error:
                        trainer.rewind(error.what)
                    except LeftEarly:
                        pass  # What is left of the epoch is done when the run goes on.
                    trainer.save()
                    run.requests.check(config.run_dir)
        progress.finished = True
        trainer.save()
        _require_best(run, trainer)
        return _result(run, progress)


def _resume(run: Run) -> tuple[Progress, Optional[str]]:
    """Where the run stands, and the prefix of the weights to go on from; None for a new run.

    Raises:
      UserError: the run may not go on with these settings, records or workers.
    """
    config, latest = run.config, run.folder.latest()
    weights, progress = latest or (None, Progress())
    compatibility.check_workers(run.workers, config, progress, run.records)
    if latest is not None:
        compatibility.check(config, progress, run.records)
    elif files.same_file(config.weights, files.join(config.run_dir, "best.keras")):
        raise UserError(
            f"{param(weights=config.weights)} is a model that a new run in {config.run_dir} would "
            f"replace; give another {param('run_dir')}."
        )
    progress.records = run.records
    progress.settings = dataclasses.asdict(config)
    progress.reopen([stage.epochs for stage in run.stages], config.early_stopping_patience)
    return progress, weights


def _finished(run: Run, progress: Progress) -> str:
    """Says that nothing is left to do, and what would let the run go on."""
    ending, more = "is finished", f"more {param('epochs')}"
    if progress.stopped_early:
        waited = progress.epochs_since_best
        epochs = "1 epoch" if waited == 1 else f"{waited} epochs"
        ending += f": it has stopped early, {epochs} after its best one"
        more = f"{param('early_stopping_patience')} of more than {waited}"
        if progress.epoch >= run.stages[progress.stage].epochs:
            more += f" and more {param('epochs')}"
    return f"The run in {run.config.run_dir} {ending}; {more} would go on with it."


def _mend_results(run: Run, progress: Progress, weights: Optional[str]) -> None:
    """Writes again what has been removed from the folder of a finished run.

    Raises:
      UserError: the best model is lost, and the checkpoint has the weights of another epoch.
    """
    state = history.from_json(progress.callback or {})
    run.results.settle(state["rows"], state["best"])
    if state["best"] and run.workers.chief_says(bool(run.results.lacks(state["best"]))):
        trainer = Trainer(run, progress, weights)
        trainer.begin(run.stages[progress.stage])
        _require_best(run, trainer)


def _require_best(run: Run, trainer: Trainer) -> None:
    if trainer.lacks_best():
        raise UserError(
            f"{run.results.path('best.keras')} has gone or been damaged since it was written, and "
            "the checkpoint has the weights of a later epoch; put a copy of it back, or train with "
            f"more {param('epochs')}, of which the best model is kept then."
        )


def _result(run: Run, progress: Progress) -> TrainResult:
    state = history.from_json(progress.callback or {})
    best = state.get("best")
    if best is None:
        raise UserError(
            f"The run in {run.config.run_dir} ended without a model to keep: PR-AUC was undefined "
            "in every epoch, since no class has both positives and negatives in the split "
            f"{run.val_split!r}."
        )
    return TrainResult(run.config.run_dir, best, state["rows"])


def _describe(run: Run, progress: Progress) -> None:
    """Says what is trained, on what, and from where, before the first step."""
    config, workers, data = run.config, run.workers, run.data
    report(f"{config.model} on {hardware.describe(run.strategy)}, batch {config.batch_size}")
    report(f"{run.num_examples} training examples, {run.steps_per_epoch} steps an epoch")
    report(f"Augmentation on the {run.augment_on}; {data.cache.describe()}")
    if run.service is not None:
        report(f"Batches for training come from the data service at {run.service.address}")
    if workers.count > 1:
        report(data.describe_share(run.train_splits, Share(workers.index, workers.count)))
    for note in label_notes.label_notes(
        data.manifest, run.train_splits, run.val_split, config.batch_size
    ):
        report(f"Note: {note}")
    if progress.total_steps:
        report(f"Going on after step {progress.total_steps} ({progress.total_epochs} epochs done).")
