"""The features of the training examples, computed once and kept beside the checkpoints.

They are written some batches at a time, so that a run that is killed loses little. Batches are cut
as they would be without the interruption, and each part says of which network, examples and views
it is: a run that goes on has the same features to the bit, and takes none of another's.
"""

from __future__ import annotations

import hashlib
import io
import itertools
import json
from typing import Optional

import numpy as np
import tensorflow as tf

from cloudtf import bars, files
from cloudtf.errors import UserError
from cloudtf.evaluation.scoring import Scorer, Scores
from cloudtf.model import head, saving
from cloudtf.training import inputs
from cloudtf.training.run import Run
from cloudtf.training.stopping import LeftEarly

# Batches in a part.
_BATCHES = 4
# Features of all views of all examples, at most: 1 GB in float64, enough for any linear head.
_MOST_NUMBERS = 1 << 27


def num_examples(run: Run, model: tf.keras.Model) -> int:
    """How many training examples have their features computed: all, or as many as fit."""
    width = head.feature_model(model).output_shape[-1] * run.config.feature_views
    return min(run.num_examples, max(1, _MOST_NUMBERS // width))


def compute(run: Run, model: tf.keras.Model) -> Scores:
    """Computes what is not there yet of the features of the training examples.

    Each worker computes those of its share of the examples; the chief keeps all.

    Args:
      run: whose training splits give the examples, which are not augmented.
      model: the network, of which `head.feature_model` makes them.

    Returns:
      Of each example, in the order of the records: its number, labels [N, C] and, as its `scores`,
      features [N, views, F]. Of a worker that is not the chief only what was computed now.

    Raises:
      LeftEarly: a stop is requested; what has been computed is kept.
      UserError: the network has no head of the right kind, its features are not finite, or they
        cannot be written.
    """
    views = _Views(head.feature_model(model), run.config.feature_views)
    count = num_examples(run, model)
    digest = _digest(run, views, count)
    num_classes = len(run.data.classes)
    # Where all are there already, the other workers compute none.
    parts = _read_parts(run, digest) if run.workers.is_chief else [_nothing(views, num_classes)]
    done = int(run.workers.tell(len(parts))[0, 0])
    batches = inputs.evaluation_batches(run, run.train_splits, count, skip=_BATCHES * done)
    remaining = iter(batches)
    scorer = Scorer(views, run.strategy, divided=run.workers.count > 1)
    total = done - (-int(run.workers.tell(len(batches)).max()) // _BATCHES)
    shown = bars.bar(
        "features", count, "images", sum(len(part.numbers) for part in parts),
        keep=False, hidden=not run.workers.is_chief,
    )  # fmt: skip
    with shown as bar:
        for number in range(done, total):
            # A time limit counts from the first part on, or it could keep a run from going on.
            if number > done and run.requests.pending():
                raise LeftEarly
            part = scorer.dataset(itertools.islice(remaining, _BATCHES), num_classes)
            if not np.isfinite(part.scores).all():
                raise UserError(
                    "The features that the body gives are not finite: its weights are damaged, or "
                    "of another network."
                )
            if run.workers.is_chief:
                _write_part(run, number, digest, part)
            parts.append(part)
            bar.update(len(part.numbers))
    numbers, labels, values = (np.concatenate(column) for column in zip(*map(_columns, parts)))
    order = np.argsort(numbers, kind="stable")
    width = views.model.output_shape[-1]
    values = values[order].reshape(len(order), run.config.feature_views, width)
    return Scores(numbers[order], labels[order], values)


def forget(run: Run) -> None:
    """Removes the features, once a checkpoint has the head that was fitted on them."""
    if run.workers.is_chief:
        files.remove_tree(_folder(run))


class _Views:
    """Gives the features of some flips of each image side by side: [B, views * F].

    Args:
      model: images [B, H, W, 3] to features [B, F].
      count: 1, 2 (and its mirror image) or 4 (and upside down).
    """

    def __init__(self, model: tf.keras.Model, count: int) -> None:
        self.model, self._count = model, count
        self.output_shape = (None, model.output_shape[-1] * count)

    def __call__(self, images: tf.Tensor, training: bool = False) -> tf.Tensor:
        mirrored = tf.reverse(images, axis=[2])
        flips = [images, mirrored, tf.reverse(images, axis=[1]), tf.reverse(mirrored, axis=[1])]
        views = [self.model(view, training=training) for view in flips[: self._count]]
        return tf.concat([tf.cast(view, tf.float32) for view in views], axis=1)


def _digest(run: Run, views: _Views, count: int) -> str:
    """Says by which network, of which examples, in which batches features are computed."""
    batches = [run.config.batch_size, run.workers.count, run.strategy.num_replicas_in_sync]
    text = json.dumps(
        [run.records, run.train_splits, count, views.output_shape, run.config.feature_views]
        + [run.config.mixed_precision, saving.weights_sha256(views.model), batches]
    )
    return hashlib.sha256(text.encode()).hexdigest()


def _folder(run: Run) -> str:
    return files.join(run.config.run_dir, "checkpoints", "features")


def _path(run: Run, number: int) -> str:
    return files.join(_folder(run), f"{number:06d}.npz")


def _nothing(views: _Views, num_classes: int) -> Scores:
    """A part without examples."""
    widths = num_classes, views.output_shape[-1]
    return Scores(np.zeros(0, np.int32), *(np.zeros([0, width], np.float32) for width in widths))


def _columns(part: Scores) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    return part.numbers, part.labels, part.scores


def _write_part(run: Run, number: int, digest: str, part: Scores) -> None:
    files.make_dirs(_folder(run))
    content = io.BytesIO()
    numbers, labels, values = _columns(part)
    np.savez(content, digest=np.array(digest), numbers=numbers, labels=labels, values=values)
    files.write_bytes(_path(run, number), content.getvalue())


def _read_parts(run: Run, digest: str) -> list[Scores]:
    """The parts that are there, up to the first that is missing, damaged or of something else."""
    parts: list[Scores] = []
    while (part := _read_part(_path(run, len(parts)), digest)) is not None:
        parts.append(part)
    return parts


def _read_part(path: str, digest: str) -> Optional[Scores]:
    if not files.exists(path):
        return None
    try:
        with np.load(io.BytesIO(files.read_bytes(path)), allow_pickle=False) as found:
            if str(found["digest"]) != digest:
                return None
            return Scores(found["numbers"], found["labels"], found["values"])
    except Exception:  # Of damage numpy and zipfile have many; what is damaged is computed again.
        return None
