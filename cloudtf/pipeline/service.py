"""Training batches made by other machines (tf.data service), the same to the bit as made here.

The service deals out numbers of batches, each to one worker (sharding policy DYNAMIC). A batch is
made from its number alone and comes with it, so that this side can put the batches in order, and
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
from tqdm import tqdm

from cloudtf.errors import UserError, reason
from cloudtf.pipeline import servers
from cloudtf.pipeline.numbered import NumberedBatches

# A batch that has not come for so long is made here.
PATIENCE_SECONDS = 20.0
# Batches that have come and wait for an earlier one: at most so many, and so many bytes.
_MOST_WAITING = 256
_WAITING_BYTES = 1 << 30

Arrays = tuple[np.ndarray, ...]


class DataService:
    """A data service as a trainer uses it.

    Args:
      address: `grpc://host:port` of the dispatcher.
      exact: whether batches that differ from those made here, be it by one grey level, are an
        error.
      patience: seconds after which a batch that does not come is made here.

    Attributes:
      made_here: how many batches did not come.

    Raises:
      UserError: nobody listens there.
    """

    def __init__(self, address: str, exact: bool, patience: float = PATIENCE_SECONDS) -> None:
        servers.connect("data_service", address)
        host, port = servers.parse_address("data_service", address)
        self.address = f"grpc://{host}:{port}"
        self.exact, self.patience = exact, patience
        self.made_here = 0
        self._error: Optional[UserError] = None

    def batches(self, numbered: NumberedBatches) -> tf.data.Dataset:
        """The batches from 0 on, in order: images, labels and keys, endless.

        Raises:
          UserError: the records cannot be indexed, or are out of the workers' reach.
        """
        numbered.check_shared()
        ordered = _Ordered(self, numbered)
        dataset = tf.data.Dataset.from_generator(
            ordered.generate, output_signature=numbered.element_spec()
        )
        options = tf.data.Options()
        options.experimental_distribute.auto_shard_policy = tf.data.experimental.AutoShardPolicy.OFF
        return dataset.prefetch(2).with_options(options)

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

    def note_made_here(self, number: int) -> None:
        """Says so, ever more rarely."""
        self.made_here += 1
        if self.made_here in (1, 10) or self.made_here % 100 == 0:
            tqdm.write(
                f"Note: batch {number} did not come from {self.address} and was made here "
                f"({self.made_here} so far); see that its workers run."
            )


class _Ordered:
    """The stream of one iterator: a thread that receives, and a generator that puts in order."""

    def __init__(self, service: DataService, numbered: NumberedBatches) -> None:
        self._service, self._numbered = service, numbered
        self._make = numbered.make_one()
        size = sum(spec.dtype.size * spec.shape.num_elements() for spec in numbered.element_spec())
        self._most_waiting = max(16, min(_MOST_WAITING, _WAITING_BYTES // size))

    def generate(self) -> Iterator[Arrays]:
        """Yields the batches in order.

        Raises:
          UserError: the service failed, or its batches are not what they must be.
        """
        inbox = _Inbox(self._most_waiting)
        thread = threading.Thread(target=self._receive, args=(inbox,), daemon=True)
        thread.start()
        try:
            for number in itertools.count():
                batch = inbox.take(number, self._service.patience)
                if batch is None:
                    if inbox.error is not None:
                        raise self._failed(inbox.error)
                    self._service.note_made_here(number)
                    batch = self._made(number)
                elif not inbox.compared:
                    inbox.compared = True
                    self._compare(number, batch)
                yield batch
        finally:
            inbox.close()

    def _receive(self, inbox: _Inbox) -> None:
        service = tf.data.experimental.service
        try:
            distributed = self._numbered.dataset().apply(
                service.distribute(
                    processing_mode=service.ShardingPolicy.DYNAMIC,
                    service=self._service.address,
                    # Photographs that were decoded hardly shrink, and it takes a core's time.
                    compression=None,
                )
            )
            for number, *batch in distributed:
                if not inbox.put(int(number), tuple(part.numpy() for part in batch)):
                    return
        except Exception as error:
            inbox.fail(error)

    def _made(self, number: int) -> Arrays:
        # Where the pipeline would make it, or a GPU would round otherwise.
        with tf.device("/cpu:0"):
            made = self._make(tf.constant(number, tf.int64))
        return tuple(part.numpy() for part in made)

    def _failed(self, error: Exception) -> UserError:
        if isinstance(error, UserError):
            return self._service.fail(error)
        return self._service.fail(
            UserError(
                f"the data service at {self._service.address} failed ({reason(error, 300)}); see "
                "what its dispatcher and workers said, then run the same command to go on."
            )
        )

    def _compare(self, number: int, batch: Arrays) -> None:
        """Holds a batch that has come against the same one made here.

        Raises:
          UserError: it shows other records, or is not the same to the bit and must be.
        """
        images, labels, keys = self._made(number)
        difference = np.abs(images.astype(np.int16) - batch[0])
        if not (np.array_equal(keys, batch[2]) and np.array_equal(labels, batch[1])):
            raise self._service.fail(
                UserError(
                    f"the workers of {self._service.address} read other records than "
                    f"{self._numbered.data_dir} holds here; give all machines the same ones."
                )
            )
        if difference.max(initial=0) and self._service.exact:
            raise self._service.fail(
                UserError(
                    f"--deterministic: images made by the workers of {self._service.address} "
                    f"differ from those made here by up to {difference.max()} grey levels; use the "
                    "same records, version of TensorFlow and kind of processor, or leave it out."
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

    Attributes:
      error: what ended the receiving.
      compared: whether one of the batches has been held against the same one made here.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._changed = threading.Condition()
        self._waiting: dict[int, Arrays] = {}
        self._next = 0
        self._silent = self._closed = self.compared = False
        self.error: Optional[Exception] = None

    def put(self, number: int, batch: Arrays) -> bool:
        """Takes a batch in, once there is room; false when nobody wants more."""
        with self._changed:
            self._silent = False
            while len(self._waiting) >= self._most and number > self._next and not self._closed:
                self._changed.wait()
            # What was made here in the meantime is not wanted twice.
            if number >= self._next:
                self._waiting[number] = batch
            self._changed.notify_all()
            return not self._closed

    def take(self, number: int, patience: float) -> Optional[Arrays]:
        """The batch of a number; None if it does not come: too long, no room left, or an error.

        Once nothing has come for so long, nothing is waited for until something comes again.
        """
        with self._changed:
            self._next = number
            self._changed.notify_all()
            deadline = time.monotonic() + (0 if self._silent else patience)
            while number not in self._waiting:
                left = deadline - time.monotonic()
                self._silent = self._silent or left <= 0
                if self.error is not None or left <= 0 or len(self._waiting) >= self._most:
                    break
                self._changed.wait(left)
            self._next = number + 1
            batch = self._waiting.pop(number, None)
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
