"""Timing: one turn of a measurement, and several measurements taking turns.

Noise on a shared machine is larger than many differences worth knowing, and it drifts: so all take
turns (A B C, C B A, A B C, ...), and what is reported is the median over the turns.
"""

from __future__ import annotations

import contextlib
import dataclasses
import gc
import os
import time
from typing import Any, Callable, Iterator, Mapping

import numpy as np

# The first batches of an iterator may lie ready in queues.
_WARM_UP_BATCHES = 4


@dataclasses.dataclass(frozen=True)
class Turn:
    """One measurement.

    Attributes:
      seconds: the time that `items` took, after the start.
      items: images, steps or whatever is counted.
      start: seconds from nothing to the steady state, not part of `seconds`.
      cpu_seconds: processor time of the whole process in `seconds`, over all cores.
    """

    seconds: float
    items: int
    start: float = 0.0
    cpu_seconds: float = 0.0


# Measures about so many items.
Measure = Callable[[int], Turn]


@dataclasses.dataclass(frozen=True)
class Case:
    """Something to measure, prepared.

    Attributes:
      measure: called with a number of items, takes a turn over about so many.
      multiple: the number of items of a turn is a multiple of this (a batch; an epoch).
    """

    measure: Measure
    multiple: int = 1


@dataclasses.dataclass(frozen=True)
class Speed:
    """The speed of a case.

    Attributes:
      median: items a second over the turns.
      low: the 25% quartile over the turns, items a second.
      high: the 75% quartile over the turns, items a second.
      cpu_ms: median milliseconds of processor time an item; steadier than `median` where other
        programs run beside it.
      turns: the number of turns.
    """

    median: float
    low: float
    high: float
    cpu_ms: float
    turns: int


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Sends what is printed, progress bars included, to nowhere."""
    with contextlib.ExitStack() as stack:
        nowhere = stack.enter_context(open(os.devnull, "w", encoding="utf-8"))
        stack.enter_context(contextlib.redirect_stdout(nowhere))
        stack.enter_context(contextlib.redirect_stderr(nowhere))
        yield


def timed(work: Callable[[], Any], items: int, start: float = 0.0) -> Turn:
    """A turn of `work`, which does `items`."""
    cpu, began = time.process_time(), time.perf_counter()
    work()
    seconds = time.perf_counter() - began
    return Turn(seconds, items, start, time.process_time() - cpu)


def timed_batches(make: Callable[[], Iterator], batch_size: int, images: int) -> Turn:
    """Takes batches from a fresh iterator, counting its start apart.

    The start includes some batches, so that what lies ready in queues is used up.

    Args:
      make: returns an endless iterator over batches.
      batch_size: the number of images in a batch.
      images: the number of images to take after the start.
    """
    began = time.perf_counter()
    iterator = make()
    for _ in range(_WARM_UP_BATCHES):
        next(iterator)
    count = max(1, round(images / batch_size))

    cpu, started = time.process_time(), time.perf_counter()
    for _ in range(count):
        next(iterator)
    seconds, cpu = time.perf_counter() - started, time.process_time() - cpu
    # Its threads end before the next turn begins.
    del iterator
    gc.collect()
    return Turn(seconds, count * batch_size, started - began, cpu)


def length_of_turn(case: Case, seconds: float) -> int:
    """Items that take about so long; two turns are taken to find out, the first to warm up."""
    case.measure(case.multiple)
    return _items(case, case.measure(case.multiple), seconds)


def _items(case: Case, turn: Turn, seconds: float) -> int:
    wanted = turn.items / max(turn.seconds, 1e-9) * seconds
    return case.multiple * max(1, round(wanted / case.multiple))


def one_turn(case: Case, seconds: float) -> Turn:
    """A turn of about so long after a first one to warm up; one call, where that takes longer."""
    case.measure(case.multiple)
    turn = case.measure(case.multiple)
    if turn.seconds >= seconds / 2:
        return turn
    return case.measure(_items(case, turn, seconds))


def alternate(
    cases: Mapping[str, Case],
    rounds: int,
    seconds: float,
    progress: Callable[[], object] = lambda: None,
) -> dict[str, Speed]:
    """Measures cases in turns.

    Args:
      cases: name -> case, in the order of the turns.
      rounds: the number of turns of each case.
      seconds: the approximate length of a turn.
      progress: called after each turn.
    """
    lengths = {name: length_of_turn(case, seconds) for name, case in cases.items()}
    turns: dict[str, list[Turn]] = {name: [] for name in cases}
    for number in range(rounds):
        for name in cases if number % 2 == 0 else reversed(list(cases)):
            turns[name].append(cases[name].measure(lengths[name]))
            progress()
    return {name: summary(of_case) for name, of_case in turns.items()}


def summary(turns: list[Turn]) -> Speed:
    """The median and quartiles of turns of one case."""
    low, median, high = np.percentile([turn.items / turn.seconds for turn in turns], (25, 50, 75))
    cpu = np.median([1000 * turn.cpu_seconds / turn.items for turn in turns])
    return Speed(float(median), float(low), float(high), float(cpu), len(turns))
