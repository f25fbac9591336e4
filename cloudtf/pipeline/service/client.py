"""Training batches made by other machines (tf.data service), the same to the bit as made here.

The service deals out the indices of batches, each to one worker (sharding policy DYNAMIC). A batch
is made from its index alone and comes with it, so that this side can put the batches in order, and
can make itself what does not come: a worker that is killed costs time and nothing else.
"""

from __future__ import annotations

import contextlib
import itertools
import threading
import time
from typing import Iterator, Optional

import numpy as np
import tensorflow as tf

from cloudtf.errors import UserError, param, reason
from cloudtf.pipeline.batching import Batch
from cloudtf.pipeline.service import server
from cloudtf.pipeline.service.batch_maker import BatchMaker
from cloudtf.reporter import report

# A batch that has not come for so long is made here.
PATIENCE_SECONDS = 20.0
# Batches that have come and wait for an earlier one: at most so many, and so many bytes.
_MOST_WAITING = 256
_WAITING_BYTES = 1 << 30


class DataService:
    """A data service as a trainer uses it.

    Args:
      address: `grpc://host:port` of the dispatcher.
      exact: whether images that differ from those made here, be it by one grey level, are an
        error.
      patience: seconds after which a batch that does not come is made here.

    Attributes:
      made_here: how many batches did not come from the service and were made on this machine.

    Raises:
      UserError: nobody listens there.
    """

    def __init__(self, address: str, exact: bool, patience: float = PATIENCE_SECONDS) -> None:
        server.connect("data_service", address)
        host, port = server.parse_address("data_service", address)
        self.address = f"grpc://{host}:{port}"
        self.exact, self.patience = exact, patience
        self.made_here = 0
        self._error: Optional[UserError] = None

    def batches(self, maker: BatchMaker) -> tf.data.Dataset:
        """The batches of a stream in order, endless: a dataset of `Batch`.

        Args:
          maker: of the batches; the service's workers make them with it, and this machine what does
            not come from them.

        Raises:
          UserError: the records cannot be indexed, or are out of the workers' reach.
        """
        maker.check_shared()
        ordered = _Ordered(self, maker)
        dataset = tf.data.Dataset.from_generator(
            ordered.generate, output_signature=maker.element_spec()
        )
        endless = tf.data.experimental.assert_cardinality(tf.data.INFINITE_CARDINALITY)
        options = tf.data.Options()
        options.experimental_distribute.auto_shard_policy = tf.data.experimental.AutoShardPolicy.OFF
        return dataset.apply(endless).prefetch(2).with_options(options)

    def fail(self, error: UserError) -> UserError:
        """Keeps an error, of which TensorFlow would only pass on the text."""
        self._error = error
        return error

    @contextlib.contextmanager
    def naming_failures(self) -> Iterator[None]:
        """Around code that goes through batches.

        Raises:
          UserError: what was wrong with the service, in the place of TensorFlow's error.
        """
        try:
            yield
        except tf.errors.OpError as error:
            if self._error is None:
                raise
            raise self._error from error

    def note_made_here(self, index: int) -> None:
        """Says so, ever more rarely."""
        self.made_here += 1
        if self.made_here in (1, 10) or self.made_here % 100 == 0:
            report(
                f"Note: batch {index} did not come from {self.address} and was made here "
                f"({self.made_here} so far); see that its workers run."
            )


class _Ordered:
    """The stream of one iterator: a thread that receives, and a generator that puts in order."""

    def __init__(self, service: DataService, maker: BatchMaker) -> None:
        self._service, self._maker = service, maker
        self._make = maker.function()
        size = sum(spec.dtype.size * spec.shape.num_elements() for spec in maker.element_spec())
        self._most_waiting = max(16, min(_MOST_WAITING, _WAITING_BYTES // size))

    def generate(self) -> Iterator[Batch]:
        """Yields the batches in order.

        Raises:
          UserError: the service failed, or its batches are not what they must be.
        """
        inbox = _Inbox(self._most_waiting)
        thread = threading.Thread(target=self._receive, args=(inbox,), daemon=True)
        thread.start()
        try:
            for index in itertools.count():
                batch = inbox.take(index, self._service.patience)
                if batch is None:
                    if inbox.error is not None:
                        raise self._failed(inbox.error)
                    self._service.note_made_here(index)
                    batch = self._made(index)
                elif not inbox.compared:
                    inbox.compared = True
                    self._compare(index, batch)
                yield batch
        finally:
            inbox.close()

    def _receive(self, inbox: _Inbox) -> None:
        service = tf.data.experimental.service
        try:
            distributed = self._maker.dataset().apply(
                service.distribute(
                    processing_mode=service.ShardingPolicy.DYNAMIC,
                    service=self._service.address,
                    # Photographs that were decoded hardly shrink, and it takes a core's time.
                    compression=None,
                )
            )
            for index, batch in distributed:
                if not inbox.put(int(index), Batch(*(part.numpy() for part in batch))):
                    return
        except Exception as error:
            inbox.fail(error)

    def _made(self, index: int) -> Batch:
        # Where the pipeline would make it, or a GPU would round otherwise.
        with tf.device("/cpu:0"):
            made = self._make(tf.constant(index, tf.int64))
        return Batch(*(part.numpy() for part in made))

    def _failed(self, error: Exception) -> UserError:
        if isinstance(error, UserError):
            return self._service.fail(error)
        return self._service.fail(
            UserError(
                f"the data service at {self._service.address} failed ({reason(error, 300)}); see "
                "what its dispatcher and workers said, then run the same command to go on."
            )
        )

    def _compare(self, index: int, batch: Batch) -> None:
        """Compares a batch that has come with the same one made here.

        Raises:
          UserError: it shows other records, or is not the same to the bit and must be.
        """
        made = self._made(index)
        difference = np.abs(made.images.astype(np.int16) - batch.images)
        if not all(np.array_equal(mine, its) for mine, its in zip(made[1:], batch[1:])):
            raise self._service.fail(
                UserError(
                    f"the workers of {self._service.address} read other records than "
                    f"{self._maker.data_dir} holds here; give all machines the same ones."
                )
            )
        if difference.max(initial=0) and self._service.exact:
            raise self._service.fail(
                UserError(
                    f"{param(deterministic=True)}: images made by the workers of "
                    f"{self._service.address} differ from those made here by up to "
                    f"{difference.max()} grey levels; use the same records, version of TensorFlow "
                    "and kind of processor, or leave it out."
                )
            )
        if difference.mean() > 1:
            raise self._service.fail(
                UserError(
                    f"images made by the workers of {self._service.address} differ from those made "
                    f"here by {difference.mean():.1f} grey levels on average; give all machines "
                    "the same records and versions of cloudtf and TensorFlow."
                )
            )


class _Inbox:
    """Batches that have come, until each one's turn.

    Args:
      most: how many may wait for an earlier one.

    Attributes:
      error: what ended the receiving; None while it goes on.
      compared: whether one of the batches has been compared with the same one made here.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._changed = threading.Condition()
        self._waiting: dict[int, Batch] = {}
        self._next = 0
        self._silent = self._closed = self.compared = False
        self.error: Optional[Exception] = None

    def put(self, index: int, batch: Batch) -> bool:
        """Takes a batch in, once there is room; false when nobody wants more."""
        with self._changed:
            self._silent = False
            while len(self._waiting) >= self._most and index > self._next and not self._closed:
                self._changed.wait()
            # What was made here in the meantime is not wanted twice.
            if index >= self._next:
                self._waiting[index] = batch
            self._changed.notify_all()
            return not self._closed

    def take(self, index: int, patience: float) -> Optional[Batch]:
        """A batch by its index; None if it does not come: too long, no room left, or an error.

        Once nothing has come for so long, nothing is waited for until something comes again.
        """
        with self._changed:
            self._next = index
            self._changed.notify_all()
            deadline = time.monotonic() + (0 if self._silent else patience)
            while index not in self._waiting:
                left = deadline - time.monotonic()
                self._silent = self._silent or left <= 0
                if self.error is not None or left <= 0 or len(self._waiting) >= self._most:
                    break
                self._changed.wait(left)
            self._next = index + 1
            batch = self._waiting.pop(index, None)
            self._changed.notify_all()
            return batch

    def fail(self, error: Exception) -> None:
        """Keeps what ended the receiving."""
        with self._changed:
            self.error = error
            self._changed.notify_all()

    def close(self) -> None:
        """Nobody wants more."""
        with self._changed:
            self._closed = True
            self._waiting.clear()
            self._changed.notify_all()
