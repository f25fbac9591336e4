"""Training: from the settings to a run folder with the best model, resumable at any step."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any, Callable, Optional, Sequence, Union

import tensorflow as tf

from cloudtf import files, settings
from cloudtf.data.records import PSEUDO
from cloudtf.errors import UsageError, UserError, param
from cloudtf.evaluation import frames, history
from cloudtf.pipeline.order import Share
from cloudtf.reporter import report
from cloudtf.text import listed
from cloudtf.training import building, compatibility, folds, hardware, inputs, label_notes
from cloudtf.training.config import TrainConfig
from cloudtf.training.own_parts import ModelFn, OwnParts, notes_of_all_folds
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
      best: the content of `best.json`; of a run of all folds that of its `metrics.json`, which has
        the scores out of fold under the same keys.
      history: the rows of `history.csv`; of a run of all folds those of each fold, one after the
        other.
      folds: of a run of all folds, what each of them has come to.
    """

    run_dir: str
    best: dict[str, Any]
    history: list[dict[str, Any]]
    folds: tuple[TrainResult, ...] = ()

    def history_frame(self) -> pd.DataFrame:
        """The history as a pandas DataFrame, a row an epoch; see `cloudtf.history_frame`."""
        return frames.of_history(self.history)


def train(
    config: TrainConfig,
    *,
    model_fn: Optional[ModelFn] = None,
    loss_fn: Union[str, Callable, None] = None,
    callbacks: Optional[Sequence[tf.keras.callbacks.Callback]] = None,
) -> TrainResult:
    """Trains a classifier, or goes on with one whose run folder is not finished.

    With `fold="all"` it trains a model a fold, one after the other, in `run_dir/fold0` and so on,
    and judges each on its own fold; started again, it goes on with the fold that is under way, and
    passes over those that are finished. What `cloudtf.evaluate` writes is then in `run_dir`, of the
    scores of all photographs.

    A run with parts of one's own is as any other: it goes on after a crash when it is started again
    with the same ones, keeps its best model, and works on several replicas and workers.

    Args:
      config: the settings of the run; `data_dir` and `run_dir` are required.
      model_fn: (num_classes, image_shape) -> a tf.keras model of Keras's own layers, from images
        uint8 [B, H, W, 3], RGB from 0 to 255, to probabilities [B, C]; None for one of cloudtf's.
        There is no stage of the head then, unless `head_epochs` says so and the model has a layer
        called `body`, which is frozen in it.
      loss_fn: a loss that `model.compile` takes: a name, a function of (labels [B, C],
        probabilities [B, C]) or a tf.keras.losses.Loss; None for the one of the settings.
      callbacks: Keras callbacks, called after each epoch was judged, with the numbers of its row of
        `history.csv` as logs. What of them changes is kept in the checkpoints if JSON can have it.

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

    A network, a loss and callbacks of one's own:

    >>> def small_model(num_classes, image_shape):
    ...     return tf.keras.Sequential([
    ...         tf.keras.Input((*image_shape, 3), dtype="uint8"),
    ...         tf.keras.layers.Rescaling(1 / 255),
    ...         tf.keras.layers.Conv2D(8, 3, strides=4, activation="relu"),
    ...         tf.keras.layers.GlobalAveragePooling2D(),
    ...         tf.keras.layers.Dense(num_classes, activation="sigmoid"),
    ...     ], name="small")
    >>> result = train(
    ...     cloudtf.TrainConfig(data_dir="records", run_dir="runs/d", epochs=2, batch_size=8),
    ...     model_fn=small_model,
    ...     loss_fn=tf.keras.losses.BinaryFocalCrossentropy(),
    ...     callbacks=[tf.keras.callbacks.EarlyStopping("val_pr_auc_Fish", mode="max")],
    ... )
    small on ...
    >>> len(result.history)
    2
    """
    if config.find_rate:
        raise UsageError(f"{param(find_rate=True)} is not training; call cloudtf.find_rate.")
    if config.fold == "all":
        for note in notes_of_all_folds(tf.nest.flatten(callbacks or ())):
            report(note)
        results, metrics = folds.train_all(
            config, lambda one: train(one, model_fn=model_fn, loss_fn=loss_fn, callbacks=callbacks)
        )
        rows = [row for result in results for row in result.history]
        return TrainResult(config.run_dir, metrics, rows, tuple(results))
    own = OwnParts(model_fn, loss_fn, tuple(tf.nest.flatten(callbacks or ())))
    with open_run(config, own) as run:
        progress, weights = _resume(run)
        if progress.finished:
            report(_finished(run, progress))
            _restore_results(run, progress, weights)
            return _result(run, progress)
        trainer = Trainer(run, progress, weights)
        # Also when going on: settings that may change are those of the last start.
        files.write_text(files.join(run.output_dir, "flags.txt"), _flags(run))
        _describe(run, progress, trainer)
        with inputs.naming_faults(run):
            for stage in run.stages[progress.stage :]:
                if not stage.epochs:
                    continue
                trainer.begin(stage)
                if trainer.lacks_best():
                    trainer.forget_best()
                while not trainer.stage_is_over():
                    try:
                        logs = trainer.fit_head() if stage.fits_head else trainer.run_steps()
                        trainer.judge_epoch(logs)
                    except NotFinite as error:
                        trainer.rewind(error.what)
                    except LeftEarly:
                        pass  # What is left of the epoch is done when the run goes on.
                    trainer.save()
                    run.requests.check(config.run_dir)
            trainer.end()
        _require_best(run, trainer)
        return _result(run, progress)


def _resume(run: Run) -> tuple[Progress, Optional[str]]:
    """Where the run stands, and the prefix of the weights to go on from; None for a new run.

    Raises:
      UserError: the run may not go on with these settings, records or workers.
    """
    config, latest = run.config, run.folder.latest()
    weights, progress = latest or (None, Progress())
    compatibility.check_workers(run.workers, config, run.own, progress, run.records)
    if latest is not None:
        compatibility.check(config, run.own, run.stages, progress, run.records)
    elif files.same_file(config.weights, files.join(config.run_dir, "best.keras")):
        raise UserError(
            f"{param(weights=config.weights)} is a model that a new run in {config.run_dir} would "
            f"replace; give another {param('run_dir')}."
        )
    elif run.workers.chief_says(files.exists(files.join(config.run_dir, "best.keras"))):
        raise UserError(
            f"{config.run_dir} has a best.keras and no checkpoint of the run that made it, and a "
            f"new run would replace it; move it elsewhere, or give another {param('run_dir')}."
        )
    progress.records = run.records
    progress.reopen(run.stages, config.early_stopping_patience)
    progress.settings = dataclasses.asdict(config)
    return progress, weights


def _finished(run: Run, progress: Progress) -> str:
    """Says that nothing is left to do, and what would let the run go on."""
    ending, more = "is finished", f"more {param('epochs')}"
    if progress.stopped_by_callback:
        ending += f": a callback has ended it after epoch {progress.total_epochs}"
    elif progress.stopped_early:
        waited = progress.epochs_since_best
        epochs = "1 epoch" if waited == 1 else f"{waited} epochs"
        ending += f": it has stopped early, {epochs} after its best one"
        more = f"{param('early_stopping_patience')} of more than {waited}"
        if progress.epoch >= run.stages[progress.stage].epochs:
            more += f" and more {param('epochs')}"
    return f"The run in {run.config.run_dir} {ending}; {more} would go on with it."


def _restore_results(run: Run, progress: Progress, weights: Optional[str]) -> None:
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


def _flags(run: Run) -> str:
    """The content of `flags.txt`."""
    parts = [name for name in ("model_fn", "loss_fn") if getattr(run.own, name) is not None]
    if not parts:
        return settings.to_flagfile(run.config)
    comment = f"# Beside these flags {' and '.join(parts)} were given in Python.\n"
    return comment + settings.to_flagfile(run.config)


def _batch(config: TrainConfig) -> str:
    accumulated = f" x {config.accumulate_steps}" if config.accumulate_steps > 1 else ""
    return f"batch {config.batch_size}{accumulated}"


def _describe(run: Run, progress: Progress, trainer: Trainer) -> None:
    """Says what is trained, on what, and from where, before the first step."""
    config, workers, data = run.config, run.workers, run.data
    report(f"{trainer.model_name} on {hardware.describe(run.strategy)}, {_batch(config)}")
    report(f"{run.num_examples} training examples, {run.steps_per_epoch} steps an epoch")
    for split in run.train_splits:
        if split.startswith(PSEUDO):
            report(f"{data.num_examples(split)} of them have labels that a model gave ({split})")
    report(f"Augmentation on the {run.augment_on}; {data.cache.describe()}")
    if run.service is not None:
        report(f"Batches for training come from the data service at {run.service.address}")
    if workers.count > 1:
        report(data.describe_share(run.train_splits, Share(workers.index, workers.count)))
    weights = (
        None
        if run.own.loss_fn
        else building.positive_weights(config, data.manifest, run.train_splits)
    )
    if weights is not None:
        shown = listed([f"{name} {weight:.3g}" for name, weight in weights.items()])
        report(f"Where a class is present its loss is multiplied: {shown}")
    notes = trainer.unused_settings() + label_notes.label_notes(
        data.manifest,
        run.train_splits,
        run.val_split,
        config.batch_size,
        config.accumulate_steps,
    )
    for note in notes:
        report(f"Note: {note}")
    if progress.total_steps:
        report(f"Going on after step {progress.total_steps} ({progress.total_epochs} epochs done).")
