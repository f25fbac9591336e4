"""From photographs to a trained, judged and exported model, by the functions of each command."""

from __future__ import annotations

import contextlib
import dataclasses
import shutil
import textwrap
import threading
import time
from typing import TYPE_CHECKING, Any, Callable, Iterator, Optional, Union

from cloudtf import files, machine
from cloudtf.data import copies, first_look, imagefolder, label_frame, records, selection, summary
from cloudtf.data.convert import convert
from cloudtf.data.convert_config import ConvertConfig
from cloudtf.data.labels import LabelTable
from cloudtf.data.recipe import Recipe
from cloudtf.errors import UsageError, UserError, param, renaming
from cloudtf.fitting import plan as plans
from cloudtf.fitting.config import FitConfig, part
from cloudtf.locks import FolderLock
from cloudtf.model.thresholds import Thresholds
from cloudtf.reporter import report, reporting_to
from cloudtf.text import duration, extremes
from cloudtf.training.config import TrainConfig
from cloudtf.training.stopping import TIME_OVER, Interrupted

if TYPE_CHECKING:
    import pandas as pd

    from cloudtf.training.train import TrainResult

# What messages of convert, train and evaluate call settings that are others here, and how the
# command gives these.
_CALLED = {
    "labels_csv": "labels",
    "run_dir": "output_dir",
    "data_dir": "output_dir",
    "max_minutes": "minutes",
}
_WORDS = {"images_dir": "PHOTOS", "labels": "LABELS.csv"}
# In the output folder.
_RECORDS, _RUN, _EXPORTED, _PLAN = "records", "run", "exported", "fit.json"
# Photographs that are converted to see how long it takes.
_TIMED = 8
# Judging, the report, the export and its proof take about so long, at the end.
_LAST_SECONDS = 60.0
# The export is proven on so many records, if about so much time is left.
_PROOF_IMAGES, _PROOF_SECONDS = 64, 20.0
# A start that is killed loses no more of its time from what is counted.
_SECONDS_BETWEEN_COUNTS = 10.0


@dataclasses.dataclass(frozen=True)
class Fitted:
    """What came of a job.

    Attributes:
      model: the path of the best model, for `cloudtf.predict`.
      exported: the folder of the SavedModel, for other programs.
      report: the path of the page to open.
      metrics: the content of `metrics.json`.
      epoch: the number of the epoch that the best model is of, over all stages, from 1.
      seconds: the time that all starts have taken.
      thresholds: the content of `thresholds.json`.
    """

    model: str
    exported: str
    report: str
    metrics: dict[str, Any]
    epoch: int
    seconds: float
    thresholds: Thresholds


def fit(
    images_dir: str,
    labels: Union[str, pd.DataFrame, None] = None,
    *,
    config: Optional[Any] = None,
    **settings: Any,
) -> Fitted:
    """Converts photographs, trains a classifier on them within a time, judges it and exports it.

    The output folder gets `records`, `run` (with `report.html`), `exported` (a SavedModel) and
    `fit.json` (what was decided). Called again it goes on where it was, however it ended.

    Args:
      images_dir: the folder of the photographs.
      labels: a label table's path, or a DataFrame as a table has it; None: a folder for each class,
        or the one table beside the photographs.
      config: a `FitConfig`, in place of `settings`.
      **settings: `output_dir`, `minutes` and the settings of `ConvertConfig` and `TrainConfig`, but
        for folds, `find_rate`, and what is decided here (folders, `resume`, `max_minutes`).

    Raises:
      UserError: as convert, train, evaluate and export.
      Interrupted: SIGTERM or Ctrl-C; all is saved.

    >>> fitted = fit(
    ...     "photographs/images",
    ...     "photographs/labels.csv",
    ...     output_dir="clouds",
    ...     model="tiny",
    ...     weights="none",
    ...     epochs=1,
    ... )
    photographs/labels.csv is read as:
      ...
    >>> fitted.metrics["examples"], fitted.report
    (12, 'clouds/run/report.html')
    """
    config = FitConfig(**settings) if config is None else config
    for name in ("folds", "fold", "find_rate"):
        if getattr(config, name) not in (None, False):
            raise UsageError(
                f"{param(**{name: getattr(config, name)})}: this makes one model, judged on one "
                "split; use `cloudtf convert` and `cloudtf train` for that, one after the other."
            )
    files.make_dirs(config.output_dir)
    with (
        renaming(_CALLED, _WORDS),
        FolderLock(config.output_dir, "job", "output_dir", keep=False),
    ):
        return _Job(images_dir, labels, config).run()


class _Job:
    def __init__(
        self, images_dir: str, labels: Union[str, pd.DataFrame, None], config: Any
    ) -> None:
        self._began = time.monotonic()
        self._keeping = threading.Lock()
        self._config = config
        self._frame = None if labels is None or isinstance(labels, str) else labels
        self._records = files.join(config.output_dir, _RECORDS)
        self._run_dir = files.join(config.output_dir, _RUN)
        self._plan_path = files.join(config.output_dir, _PLAN)
        earlier = plans.read(self._plan_path)
        if earlier is None:
            self._plan, note = plans.choose(config, _has_accelerator())
            if note is not None:
                report(note)
        else:
            self._plan = earlier
        self._seconds_before = self._plan.seconds
        self._convert = part(
            ConvertConfig,
            config,
            images_dir=images_dir,
            labels_csv=labels if isinstance(labels, str) else None,
            output_dir=self._records,
            # Of a side that is not given: the other one, where that is given, makes a square.
            image_height=config.image_width or self._plan.size,
            image_width=config.image_height or self._plan.size,
        )

    def run(self) -> Fitted:
        """Does what is left of the job."""
        self._keep_plan()
        try:
            with _repeated(self._keep_plan, _SECONDS_BETWEEN_COUNTS):
                self._trained(self._converted())
                return self._finished()
        finally:  # Also the time of a start that is stopped counts.
            self._keep_plan()

    def _seconds_left(self) -> float:
        spent = self._seconds_before + time.monotonic() - self._began
        return 60 * self._config.minutes - spent

    def _keep_plan(self) -> None:
        with self._keeping:  # One at a time, so that the last one written is the latest.
            self._plan.seconds = self._seconds_before + time.monotonic() - self._began
            files.write_json(self._plan_path, dataclasses.asdict(self._plan))

    def _converted(self) -> records.Manifest:
        """Says what is there, and makes the records."""
        table = self._table()
        splits = selection.divide(self._convert, table)
        report(_understood(table, {name: len(rows) for name, rows in splits.items()}))
        whole = files.exists(files.join(self._records, records.MANIFEST_NAME))
        height, width = self._convert.image_height, self._convert.image_width
        made = "" if whole else f", made in about {duration(self._conversion_seconds(table))}"
        weights = "random" if self._plan.weights == "none" else self._plan.weights
        report(
            _wrapped(
                f"Images of {height} x {width} pixels{made}; {self._plan.model} from {weights} "
                f"weights; {duration(60 * self._config.minutes)} in all."
            )
        )
        config = self._convert
        assert config.images_dir is not None
        if not whole:
            look = config.images_dir, table.names, height, width, config.aspect
            for note in first_look.notes(*look):
                report(_wrapped(note))
        # It would say all of it again.
        with reporting_to(None):
            manifest = convert(config, self._frame)
        notes = [*summary.depths(manifest), *summary.classes_missing(manifest)]
        if manifest.near_duplicates:
            notes.insert(0, copies.found(manifest.near_duplicates))
        for note in notes:
            report(_wrapped(note))
        unusable = [entry for entry in manifest.skipped if "shard" in entry]
        if unusable:
            shown = "; ".join(f"{e['file']!r}: {e['reason']}" for e in unusable[: selection.SHOWN])
            many = "1 photograph that cannot"
            if len(unusable) > 1:
                many = f"{len(unusable)} photographs that cannot"
            more = ""
            if len(unusable) > selection.SHOWN:
                path = files.join(self._records, records.MANIFEST_NAME)
                more = f"; {path} lists all"
            report(_wrapped(f"Left out {many} be used: {shown}{more}."))
        return manifest

    def _table(self) -> LabelTable:
        """The photographs and their labels; a table beside them where they have none otherwise."""
        config, frame = self._convert, self._frame
        given = imagefolder.of_settings(config) if frame is None else label_frame.table(frame)
        if given is not None:
            return selection.examples(config, given)
        if config.labels_csv is None and selection.is_unlabelled(config):
            assert config.images_dir is not None
            found = plans.find_labels(config.images_dir)
            self._convert = config = dataclasses.replace(config, labels_csv=found)
        return selection.examples(config)

    def _conversion_seconds(self, table: LabelTable) -> float:
        """About how long the conversion takes, from the first photographs."""
        config = self._convert
        assert config.images_dir is not None
        recipe = Recipe(
            config.images_dir, config.image_height, config.image_width, config.jpeg_quality, True
        )
        names = table.names[:: max(1, len(table.names) // _TIMED)][:_TIMED]
        began = time.perf_counter()
        for name in names:
            recipe.outcome(name, None)
        each = (time.perf_counter() - began) / len(names)
        return each * len(table.names) / (config.workers or machine.usable_cores())

    def _trained(self, manifest: records.Manifest) -> None:
        """Trains the head, plans the epochs that fit into the time, and trains these."""
        config, plan = self._config, self._plan
        planned = part(
            TrainConfig,
            config,
            data_dir=self._records,
            run_dir=self._run_dir,
            model=plan.model,
            weights=plan.weights,
            **plans.optimization(config, plan.weights),
        )
        done = None
        if config.epochs is None and config.minutes > plan.minutes:
            # A first score soon; and then it is known how long an epoch takes.
            known = 0 if planned.fits_features else 1
            first = dataclasses.replace(
                planned, epochs=known if plan.epochs is None else plan.epochs
            )
            result = self._train(first)
            if result is not None:
                done = first.epochs
                num_images = manifest.joined(planned.train_split).num_examples
                within = plans.epochs_within(
                    self._seconds_left() - _LAST_SECONDS, num_images, result.history
                )
                # At once: it is written at any time.
                plan = dataclasses.replace(plan, epochs=within, minutes=config.minutes)
                self._plan = plan
                self._keep_plan()
        epochs = plan.epochs if config.epochs is None else config.epochs
        if epochs not in (None, done) and self._seconds_left() > _LAST_SECONDS:
            self._train(dataclasses.replace(planned, epochs=epochs))

    def _train(self, config: TrainConfig) -> Optional[TrainResult]:
        """What has come of training; None if the time was over before the end."""
        from cloudtf.training.train import train

        minutes = max(0.0, self._seconds_left() - _LAST_SECONDS) / 60
        try:
            return train(dataclasses.replace(config, max_minutes=minutes))
        except Interrupted as error:
            if error.exit_status != TIME_OVER:
                raise
        report("The time is over; the best model so far is judged.")
        return None

    def _finished(self) -> Fitted:
        """Judges and exports the best model."""
        from cloudtf.evaluation.evaluate import EvaluateConfig, judge
        from cloudtf.evaluation.exporting import export
        from cloudtf.model.export import ExportConfig

        model = files.join(self._run_dir, "best.keras")
        if not files.exists(model):
            raise UserError(
                f"{param(minutes=self._config.minutes)} were over before there was a model; give "
                "more, and the same command goes on."
            )
        judged = judge(
            EvaluateConfig(
                run_dir=self._run_dir,
                data_dir=self._records,
                labels_csv=self._convert.labels_csv,
                labels_encoding=self._convert.labels_encoding,
                column_names=self._convert.column_names,
            )
        )
        exported = files.join(self._config.output_dir, _EXPORTED)
        best = files.read_json(files.join(self._run_dir, "best.json"))
        epoch = best["epoch"]
        # An average of epochs may have the number of the epoch that was exported.
        if self._plan.exported != epoch or _exported_best(exported) != best:
            files.remove_tree(exported)
            prove = self._seconds_left() >= _PROOF_SECONDS
            if not prove:
                report(
                    f"No time is left to prove the exported model; `cloudtf export --model={model} "
                    f"--data_dir={self._records} --output=NEW` does so."
                )
            with reporting_to(None):
                export(
                    ExportConfig(
                        model=model,
                        output=exported,
                        data_dir=self._records,
                        prove=prove,
                        prove_images=_PROOF_IMAGES,
                    )
                )
            self._plan.exported = epoch
        self._keep_plan()
        return Fitted(
            model,
            exported,
            judged.report,
            judged.metrics,
            epoch,
            self._plan.seconds,
            judged.thresholds,
        )


@contextlib.contextmanager
def _repeated(action: Callable[[], None], seconds: float) -> Iterator[None]:
    """While entered, does something again and again, so many seconds apart."""
    over = threading.Event()

    def repeat() -> None:
        while not over.wait(seconds):
            with contextlib.suppress(UserError):  # What lasts is raised where it is done last.
                action()

    thread = threading.Thread(target=repeat, daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def _exported_best(folder: str) -> Any:
    """What an exported model says of the epoch that it is of, as in `best.json`; None: nothing."""
    path = files.join(folder, "assets.extra", "cloudtf.json")
    return files.read_json(path).get("best") if files.exists(path) else None


def _understood(table: LabelTable, splits: dict[str, int]) -> str:
    """The classes with how many photographs show them, and the splits."""
    counts = {name: int(n) for name, n in zip(table.classes, (table.labels == 1).sum(axis=0))}
    rarest, commonest = extremes(counts)
    shown = [f"{name} {counts[name]:,}" for name in [*rarest, *commonest]]
    left = len(counts) - len(shown)
    more = f" and {left:,} classes between" if left else ""
    parts = ", ".join(f"{name} {count:,}" for name, count in splits.items())
    text = f"{len(table.names):,} photographs ({parts}); of each class: {', '.join(shown)}{more}."
    return _wrapped(text)


def _wrapped(text: str) -> str:
    return textwrap.fill(text, min(100, shutil.get_terminal_size().columns))


def _has_accelerator() -> bool:
    import tensorflow as tf

    return bool(tf.config.list_physical_devices("GPU") or tf.config.list_physical_devices("TPU"))
