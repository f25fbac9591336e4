"""What the workers of a run must agree on, and how each hears of the others.

Every worker runs the same program, and most of what it decides follows from numbers that are the
same everywhere: losses are summed over all replicas, weights are equal, scores are gathered. The
rest (a signal, a clock, free memory, what is on this machine's disk) is known to one worker only
and goes through `Workers.tell`, one all-reduce of tf.distribute.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import re
from typing import Any, Iterator

import numpy as np
import tensorflow as tf

from cloudtf.errors import UserError, reason

# What collective operations raise when another worker is gone.
LOST = (
    tf.errors.AbortedError,
    tf.errors.CancelledError,
    tf.errors.DeadlineExceededError,
    tf.errors.FailedPreconditionError,
    tf.errors.InternalError,
    tf.errors.UnavailableError,
)

# Where TensorFlow's message comes to the point.
_POINT = re.compile(r"(?:aborted by|[Ee]rror reported from [^:]*|failed|Error)\b[: ]+(\S.*)")


class WorkerLost(UserError):
    """Another worker is gone: this one can only end, and start again with the rest."""

    exit_status = 69  # EX_UNAVAILABLE of sysexits.h


class Workers:
    """The workers of a strategy; with a single one nothing is sent.

    Attributes:
      count: the number of workers.
      index: which one this is; the chief is 0.
    """

    def __init__(self, strategy: tf.distribute.Strategy) -> None:
        self.count, self.index = 1, 0
        resolver = strategy.cluster_resolver
        if isinstance(strategy, tf.distribute.MultiWorkerMirroredStrategy) and resolver is not None:
            cluster = resolver.cluster_spec()
            chiefs = cluster.num_tasks("chief") if "chief" in cluster.jobs else 0
            workers = cluster.num_tasks("worker") if "worker" in cluster.jobs else 0
            self.count = max(chiefs + workers, 1)
            self.index = (resolver.task_id or 0) + chiefs * (resolver.task_type == "worker")

        @tf.function
        def total(mine: tf.Tensor) -> tf.Tensor:
            replicas = len(strategy.extended.worker_devices)

            def replica() -> tf.Tensor:
                context = tf.distribute.get_replica_context()
                # One replica speaks for its worker: shares of a number, such as seven sevenths,
                # need not add up to it. The choice is made on this replica's device, which the
                # all-reduce asks for.
                speaks = tf.equal(context.replica_id_in_sync_group % replicas, 0)
                said = tf.where(speaks, mine, tf.zeros_like(mine))
                return context.all_reduce(tf.distribute.ReduceOp.SUM, said)

            return strategy.experimental_local_results(strategy.run(replica))[0]

        self._total = total

    @property
    def is_chief(self) -> bool:
        """Whether this worker writes the run folder."""
        return self.index == 0

    def tell(self, *values: float) -> np.ndarray:
        """What each worker says here, to the bit: float64 [workers, values].

        All workers must call this at the same point, with as many values; none leaves before all
        have come.
        """
        if self.count == 1:
            return np.array([values], np.float64)
        mine = np.zeros([self.count, max(len(values), 1)])
        mine[self.index, : len(values)] = values
        return self._total(tf.constant(mine)).numpy()[:, : len(values)]

    def chief_gives(self, values: np.ndarray) -> np.ndarray:
        """An array of the chief's, float64, on all workers; each gives one of that shape."""
        if self.count == 1:
            return values
        mine = values if self.is_chief else np.zeros_like(values)
        return self._total(tf.constant(mine, tf.float64)).numpy()

    def chief_says(self, value: bool) -> bool:
        """What the chief knows, such as of the run folder that it alone writes, on all workers."""
        return bool(self.tell(float(value))[0, 0])

    def meet(self) -> None:
        """Waits for all workers."""
        self.tell()

    def check_same(self, **values: Any) -> None:
        """Compares JSON values, which all workers must have alike.

        Raises:
          UserError: on every worker, naming what differs and the first worker that differs from the
            chief.
        """
        digests = []
        for value in values.values():
            text = json.dumps(value, sort_keys=True, default=str)
            # 48 bits are exact in float64, also in a sum with zeros.
            digests.append(int.from_bytes(hashlib.sha256(text.encode()).digest()[:6], "big"))
        for name, column in zip(values, self.tell(*digests).T):
            other = np.flatnonzero(column != column[0])
            if len(other):
                raise UserError(
                    f"Worker {other[0]} has other {name} than worker 0; start all with the same "
                    "command, version of cloudtf and folders that all of them see."
                )

    @contextlib.contextmanager
    def naming_losses(self) -> Iterator[None]:
        """Around code with collective operations: says when another worker has gone.

        Raises:
          WorkerLost: in place of TensorFlow's errors.
        """
        try:
            yield
        except LOST as error:
            if self.count == 1:
                raise
            happened = _what_happened(error)
            raise WorkerLost(
                f"another worker has stopped or cannot be reached ({happened}); see what it said, "
                "then start all of them again to go on from the last checkpoint."
            ) from error


def _what_happened(error: Exception) -> str:
    """The part of TensorFlow's message that names the event, without the graph around it."""
    found = _POINT.findall(str(error))
    return found[0][:160].strip(" .:") if found else reason(error)
