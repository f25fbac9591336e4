"""The average of several epochs' weights, which is kept where it judges better than each of them.

Weights along one training with a falling rate lie in one basin, whose middle generalises better
than its rim (Izmailov et al. 2018, arXiv:1803.05407); the greedy choice is that of Wortsman et al.
2022 (arXiv:2203.05482): from the best epoch on, each next one is taken in if the average does not
get worse by it.
"""

from __future__ import annotations

import contextlib
import io
import zipfile
import zlib
from typing import Any, Iterable, Iterator, Sequence

import numpy as np
import tensorflow as tf

from cloudtf import files
from cloudtf.errors import UserError, reason
from cloudtf.evaluation import history
from cloudtf.model import random_layers
from cloudtf.reporter import report
from cloudtf.training import batch_norm, inputs
from cloudtf.training.judge import Judge
from cloudtf.training.run import Run

GREEDY = "greedy"
# Of how many epochs a greedy average may be at most.
_MOST = 5
# Images from which batch norm's averages of a mixture are taken (Wu & Johnson 2021,
# arXiv:2105.07576, find a thousand to be enough).
_IMAGES = 1024
_SCORE = "val_pr_auc_mean"


class Soup:
    """Keeps the weights of those epochs that may become part of the average, and averages them.

    They are files in the folder `soup` of the run, written before the checkpoint that has their
    epoch. An epoch that is done again after a kill writes its file again; those that are no longer
    wanted are removed once a checkpoint says so.

    Args:
      run: whose setting says which epochs.
      model: the network of the run.
    """

    def __init__(self, run: Run, model: tf.keras.Model) -> None:
        self._run, self._model = run, model
        self._folder = files.join(run.output_dir, "soup")
        assert run.config.soup is not None
        self._greedy = run.config.soup == GREEDY
        self._count = _MOST if self._greedy else int(run.config.soup)

    def add(self, rows: Sequence[history.Row]) -> None:
        """Keeps the weights as they are, those of the last row, if they may be wanted."""
        if rows[-1]["epoch"] in self._wanted(rows):
            files.make_dirs(self._folder)
            content = io.BytesIO()
            np.savez(content, *self._model.get_weights())
            files.write_bytes(_path(self._folder, rows[-1]["epoch"]), content.getvalue())

    def drop(self, rows: Sequence[history.Row]) -> None:
        """Removes what will not be wanted any more."""
        wanted = {files.basename(_path(self._folder, epoch)) for epoch in self._wanted(rows)}
        if files.exists(self._folder):
            for name in files.list_dir(self._folder):
                if name not in wanted:
                    files.remove(files.join(self._folder, name))

    def finish(self, judge: Judge) -> None:
        """Averages, judges, and keeps the average as the best model where it is better."""
        run, rows = self._run, judge.rows
        epochs = [
            epoch
            for epoch in self._wanted(rows)
            if run.workers.chief_says(files.exists(_path(self._source, epoch)))
        ]
        if len(epochs) < 2:
            return
        parts = [_read(_path(self._source, epoch)) for epoch in epochs]
        with self._own_weights():
            chosen, found = [0], None
            if self._greedy:
                best = self._judged(judge, parts[:1])
                for number in range(1, len(parts)):
                    mixed = self._judged(judge, [parts[i] for i in (*chosen, number)])
                    if mixed[1].mean_pr_auc >= best[1].mean_pr_auc:
                        chosen, best, found = [*chosen, number], mixed, mixed
                if found is not None:
                    self._mix([parts[i] for i in chosen])
            else:
                chosen = list(range(len(parts)))
                found = self._judged(judge, parts)
            of = ", ".join(str(epoch) for epoch in sorted(epochs[i] for i in chosen))
            if found is None:
                report(f"No average of epochs is better than epoch {epochs[0]} alone.")
            elif judge.keep_if_better(max(epochs[i] for i in chosen), "soup", *found):
                report(
                    f"The average of epochs {of} is the best model: "
                    f"PR-AUC val {found[1].mean_pr_auc:.3f}."
                )
            else:
                report(
                    f"The average of epochs {of} is not better "
                    f"(PR-AUC val {found[1].mean_pr_auc:.3f}): the best epoch's model stays."
                )

    @property
    def _source(self) -> str:
        """Where all workers find what the chief has written."""
        return files.join(self._run.config.run_dir, "soup")

    def _wanted(self, rows: Sequence[history.Row]) -> list[int]:
        """The epochs of the last stage to average: the latest first, or the best."""
        of_stage = [row for row in rows if row["stage"] == rows[-1]["stage"]]
        if self._greedy:
            of_stage = [row for row in of_stage if np.isfinite(row[_SCORE])]
            of_stage.sort(key=lambda row: (row[_SCORE], row["epoch"]))
        return [row["epoch"] for row in of_stage[: -self._count - 1 : -1]]

    def _judged(self, judge: Judge, parts: Sequence[Sequence[np.ndarray]]) -> Any:
        self._mix(parts)
        return judge.validated()

    def _mix(self, parts: Sequence[Sequence[np.ndarray]]) -> None:
        """Gives the model the mean of some weights, and batch norm the averages that these have."""
        self._model.set_weights(
            [np.mean(same, axis=0, dtype=np.float64).astype(same[0].dtype) for same in zip(*parts)]
        )
        if len(parts) > 1:
            run = self._run
            steps = max(1, min(run.steps_per_epoch, _IMAGES // run.config.images_per_step))
            batches = inputs.plain_batches(run)
            reestimate(run.strategy, self._model, batches, steps, run.config.seed)

    @contextlib.contextmanager
    def _own_weights(self) -> Iterator[None]:
        """The weights of now are there again after."""
        weights = self._model.get_weights()
        try:
            yield
        finally:
            self._model.set_weights(weights)


def reestimate(
    strategy: tf.distribute.Strategy,
    model: tf.keras.Model,
    batches: Iterable,
    steps: int,
    seed: int,
) -> None:
    """Gives batch norm the plain means of what it sees in some training batches.

    Args:
      strategy: the replicas that share each batch.
      model: built under the strategy.
      batches: what `strategy.run` takes, batch by batch; images come first.
      steps: the number of batches to take, at least 1.
      seed: keys the masks of dropout, which drops as in training; any int.
    """
    layers = [layer for layer in batch_norm.layers_of(model) if layer.trainable]
    if not layers:
        return

    def forward(images: tf.Tensor, number: tf.Tensor) -> None:
        done = tf.cast(number, tf.float32)
        all_alike = batch_norm.following(layers, done / (done + 1.0), at_most=False)
        with random_layers.stochastic_step(seed, number), all_alike:
            model(images, training=True)

    @tf.function(autograph=False)
    def step(images: Any, number: tf.Tensor) -> None:
        strategy.run(forward, args=(images, number))

    for number, batch in zip(range(steps), batches):
        step(batch[0], tf.constant(number))
    batch_norm.replica_averager(strategy, model.variables)()


def _path(folder: str, epoch: int) -> str:
    return files.join(folder, f"epoch-{epoch:05d}.npz")


def _read(path: str) -> list[np.ndarray]:
    """The weights in a file, in the order of `get_weights`.

    Raises:
      UserError: the file is damaged.
    """
    try:
        with np.load(io.BytesIO(files.read_bytes(path)), allow_pickle=False) as content:
            return [content[name] for name in content.files]
    except (ValueError, OSError, zipfile.BadZipFile, zlib.error) as error:
        raise UserError(
            f"{path}, of which an average is to be made, is damaged ({reason(error)}); remove it."
        ) from error
