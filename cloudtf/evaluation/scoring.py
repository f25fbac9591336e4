"""Running a model over a split: every example once, on any number of replicas."""

from __future__ import annotations

import collections
import contextlib
import dataclasses
from typing import Any, Callable, Iterable, Iterator, NamedTuple, Optional, Sequence

import numpy as np
import tensorflow as tf

from cloudtf import errors


@dataclasses.dataclass(frozen=True)
class Scores:
    """What a model said of some examples.

    Attributes:
      numbers: int32 [N], the examples' numbers in their split (-1 where not known).
      labels: float32 [N, C], 0, 1 or -1 (unknown).
      scores: float32 [N, C], probabilities.
    """

    numbers: np.ndarray
    labels: np.ndarray
    scores: np.ndarray


class _Sent(NamedTuple):
    parts: Sequence[tf.Tensor]  # Scores of each replica, perhaps still being computed.
    num_images: int  # What is behind them is padding.

    def fetch(self) -> np.ndarray:
        with _memory_named(self.num_images):
            return np.concatenate([part.numpy() for part in self.parts])[: self.num_images]


@contextlib.contextmanager
def _memory_named(count: int) -> Iterator[None]:
    try:
        yield
    except tf.errors.ResourceExhaustedError as error:
        raise errors.out_of_memory(f"Scoring {count} images at once") from error


class Scorer:
    """Scores batches with a model, tracing it once.

    Args:
      model: takes uint8 [B, H, W, 3], gives probabilities [B, C].
      strategy: shares each batch among its replicas on this machine. Without one, the model runs
        where it is.
      divided: the batches are this worker's part of all, and the scores of all workers are wanted.
      flips: average over the four flips of each image (test-time augmentation).
    """

    def __init__(
        self,
        model: tf.keras.Model,
        strategy: Optional[tf.distribute.Strategy] = None,
        flips: bool = False,
        divided: bool = False,
    ) -> None:
        self._strategy: Any = strategy
        self._divided = divided
        self._replicas = len(strategy.extended.worker_devices) if strategy else 1

        @tf.function(reduce_retracing=True, autograph=False)
        def predict(images: tf.Tensor) -> tf.Tensor:
            views = [images]
            if flips:
                mirrored = tf.reverse(images, axis=[2])
                views += [mirrored, tf.reverse(images, axis=[1]), tf.reverse(mirrored, axis=[1])]
            total = tf.add_n([model(view, training=False) for view in views])
            return tf.cast(total, tf.float32) / len(views)

        @tf.function(reduce_retracing=True, autograph=False)
        def predict_shared(shares: tf.distribute.DistributedValues) -> tf.Tensor:
            return self._strategy.run(predict, args=(shares,))

        @tf.function(reduce_retracing=True)
        def gather(values: tf.distribute.DistributedValues) -> tf.Tensor:
            return self._strategy.gather(values, axis=0)

        self._predict, self._predict_shared, self._gather = predict, predict_shared, gather
        self._model = model

    def images(self, images: tf.Tensor) -> np.ndarray:
        """Probabilities float32 [B, C] of uint8 images [B, H, W, 3].

        Raises:
          UserError: they do not fit into memory.
        """
        (scores,) = self.stream([images])
        return scores

    def stream(self, batches: Iterable[tf.Tensor]) -> Iterator[np.ndarray]:
        """Probabilities of batches as of `images`, in their order.

        The next batch is made and sent before the scores of the one before are fetched, so that a
        device need not wait for the host.

        Raises:
          UserError: a batch does not fit into memory.
        """
        sent: collections.deque[_Sent] = collections.deque()
        for images in batches:
            with _memory_named(images.shape[0]):
                sent.append(self._send(images))
            if len(sent) > 1:
                yield sent.popleft().fetch()
        while sent:
            yield sent.popleft().fetch()

    def _send(self, images: tf.Tensor) -> _Sent:
        count = images.shape[0]
        if self._replicas == 1:
            if self._strategy is None:
                return _Sent([self._predict(images)], count)
            found = self._strategy.experimental_local_results(self._predict_shared(images))
            return _Sent(found[:1], count)
        missing = -count % self._replicas
        images = tf.pad(images, [[0, missing], [0, 0], [0, 0], [0, 0]])
        shares = tf.split(images, self._replicas)
        values = self._strategy.experimental_distribute_values_from_function(
            lambda context: shares[context.replica_id_in_sync_group % self._replicas]
        )
        found = self._strategy.experimental_local_results(self._predict_shared(values))
        return _Sent(found, count)

    def dataset(self, batches: Iterable, num_classes: Optional[int] = None) -> Scores:
        """Scores a dataset of (images, labels[, mask[, keys]]) batches.

        Args:
          batches: as from `ImageDataset.batches(..., training=False)`; with keys, examples are
            known by number. Rows with mask 0 are left out.
          num_classes: the width of the labels, where the model gives other than a score a class.

        Returns:
          The same to the bit on all workers, if their scores are put together: first those of the
          first worker, and so on.
        """
        all_numbers: list[np.ndarray] = []
        all_labels: list[np.ndarray] = []
        masks: collections.deque[np.ndarray] = collections.deque()

        def images() -> Iterator[tf.Tensor]:
            for batch in batches:
                labels = np.asarray(batch[1])
                mask = np.asarray(batch[2]) > 0 if len(batch) > 2 else np.ones(len(labels), bool)
                # One type on all workers, also on one that has no examples.
                numbers = np.full(len(labels), -1, np.int32)
                if len(batch) > 3:
                    numbers = np.asarray(batch[3], np.int32)[:, 1]
                all_numbers.append(numbers[mask])
                all_labels.append(labels[mask])
                masks.append(mask)
                yield batch[0]

        parts = [scores[masks.popleft()] for scores in self.stream(images())]
        if not parts:
            # Of few examples, a worker may get none.
            width = self._model.output_shape[-1]
            all_labels = [np.zeros([0, num_classes or width], np.float32)]
            all_numbers, parts = [np.zeros([0], np.int32)], [np.zeros([0, width], np.float32)]
        whole = [np.concatenate(part) for part in (all_numbers, all_labels, parts)]
        if self._divided:
            whole = [self._of_all_workers(rows) for rows in whole]
        return Scores(*whole)

    def _of_all_workers(self, rows: np.ndarray) -> np.ndarray:
        shares = np.array_split(rows, self._replicas)
        values = self._strategy.experimental_distribute_values_from_function(
            lambda context: tf.constant(shares[context.replica_id_in_sync_group % self._replicas])
        )
        return self._gather(values).numpy()


def mean_loss(loss: Callable[[tf.Tensor, tf.Tensor], tf.Tensor], scores: Scores) -> float:
    """The loss over all examples at once: float.

    Args:
      loss: (labels [N, C], probabilities [N, C]) -> [N].
      scores: labels and probabilities of the examples, as `Scorer.dataset` gives them.
    """
    return float(tf.reduce_mean(loss(tf.constant(scores.labels), tf.constant(scores.scores))))
