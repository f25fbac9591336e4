"""Steps that the device still computes while the host prepares the next ones."""

from __future__ import annotations

import collections
import math
from typing import Callable, Optional

import numpy as np

from cloudtf.training import sanity
from cloudtf.training.progress import Progress
from cloudtf.training.step import Sent

# Calls that may be on their way. A device that is never idle needs one beside the one that it
# computes; each more evens out what the host takes now and then, and holds a batch in memory.
MOST_CALLS = 3


class StepsInFlight:
    """Counts steps as they are sent, and their losses as they come: a call or more later.

    To fetch a loss is to wait for its step. A loop that does so after each call leaves an
    accelerator idle while Python prepares the next one; here the host waits only for a call that
    was sent some calls ago. What is kept of a run (checkpoints, judgements, the mean loss
    of an epoch) comes after `settle`, so that no loss is unknown then.

    Args:
      progress: counts the steps and adds up the losses of the epoch.
      most_calls: calls on their way; 0 where the device computes nothing by itself, so that what is
        wrong with a loss is seen before another step.
      keep: called with the number of steps before and the losses, float32 [N], as they come.
    """

    def __init__(
        self,
        progress: Progress,
        most_calls: int = MOST_CALLS,
        keep: Optional[Callable[[int, np.ndarray], None]] = None,
    ) -> None:
        self._progress, self._most_calls, self._keep = progress, most_calls, keep
        self._calls: collections.deque[tuple[int, int, Sent]] = collections.deque()

    def add(self, sent: Sent, count: int) -> None:
        """Counts `count` steps that were sent in one call, and takes the losses that must be there.

        Raises:
          NotFinite: a loss, of these or earlier steps, is not finite.
          UserError: a step does not fit into memory.
        """
        self._calls.append((self._progress.total_steps, count, sent))
        self._progress.count_steps(count)
        self.settle(self._most_calls)

    def settle(self, calls: int = 0) -> None:
        """Waits until at most so many calls are on their way.

        Raises:
          NotFinite: a loss is not finite.
          UserError: a step does not fit into memory.
        """
        while len(self._calls) > calls:
            steps_before, _, sent = self._calls.popleft()
            losses = sent.losses()
            sanity.check_losses(losses, steps_before)
            self._progress.add_losses(losses)
            if self._keep is not None:
                self._keep(steps_before, losses)

    @property
    def mean_loss(self) -> float:
        """Of the steps of the epoch whose losses have come; NaN before there is one."""
        known = self._progress.step - sum(count for _, count, _ in self._calls)
        return self._progress.loss_sum / known if known else math.nan
