"""What the benchmarks share: cases run in alternation, their statistics, tables and JSON.

Noise on a shared machine is larger than many differences worth knowing. So each case lives in a
process of its own, all take turns (A B C, C B A, A B C, ...), only one runs at a time, and what is
reported is the median over the turns, and for a pair of cases the median of the ratios of their
turns of the same round, with its bootstrap interval.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import multiprocessing
import sys
import time
import traceback
from typing import Any, Callable, Optional, Sequence

import numpy as np
from absl import app, flags

from cloudtf.diagnosis import provenance
from cloudtf.diagnosis.provenance import describe
from cloudtf.diagnosis.timing import Measure, Turn, timed_batches
from cloudtf.text import number, table

FLAGS = flags.FLAGS
flags.DEFINE_string("work_dir", None, "Folder for the data, kept for the next run.")
flags.DEFINE_string("json", None, "Also write the numbers to this file.")
flags.DEFINE_integer("rounds", 30, "Turns of each case.", lower_bound=1)
flags.DEFINE_float("seconds", 1.0, "About how long a turn is.", lower_bound=0.01)
flags.DEFINE_enum(
    "clock",
    "wall",
    ["wall", "cpu"],
    "What time is measured: wall, or cpu, the processor time of each case's own process, in which "
    "other work on the machine shows less. Images a second are then those of one core.",
)
flags.DEFINE_list("cases", [], "Only cases whose name has one of these words in it.")

_PACKAGES = (
    *provenance.PACKAGES,
    "pillow",
    "albumentations",
    "torch",
    "timm",
    "nvidia-dali-cuda120",
    "scikit-learn",
)
_BOOTSTRAP_SAMPLES = 5000


__all__ = [
    "Case", "Measure", "Missing", "Ratio", "Result", "Turn", "alternate", "describe", "in_process",
    "machine", "number", "ratio", "ratio_of_pairs", "report", "run", "table", "timed_batches",
    "write_json",
]  # fmt: skip


class Missing(Exception):
    """A peer cannot run here; the message says what is not there."""


@dataclasses.dataclass(frozen=True)
class Case:
    """Something to measure.

    Attributes:
      name: the case's name in the tables.
      prepare: a function of a module, called in the case's own process with `arguments`. It loads
        what it needs, or raises ImportError or `Missing`.
      arguments: keyword arguments of `prepare`, picklable.
      multiple: the number of items of a turn is a multiple of this (a batch; an epoch).
    """

    name: str
    prepare: Callable[..., Measure]
    arguments: dict[str, Any] = dataclasses.field(default_factory=dict)
    multiple: int = 1


@dataclasses.dataclass(frozen=True)
class Result:
    """Items a second of one case at each turn, and the median seconds to its start."""

    name: str
    rates: tuple[float, ...]
    start: float

    @property
    def median(self) -> float:
        """The median rate."""
        return float(np.median(self.rates))

    @property
    def quartiles(self) -> tuple[float, float]:
        """The rates at 25% and 75%."""
        low, high = np.percentile(self.rates, (25, 75))
        return float(low), float(high)


@dataclasses.dataclass(frozen=True)
class Ratio:
    """One case against another.

    Attributes:
      name: the ratio's name in the tables.
      median: the median over the pairs' ratios.
      low, high: the ends of the median's 95% interval.
      pairs: the number of pairs, one a round.
      target: the least ratio that is aimed at; None without such an aim.
    """

    name: str
    median: float
    low: float
    high: float
    pairs: int
    target: Optional[float] = None

    @property
    def reached(self) -> Optional[bool]:
        """Whether the median reaches the target."""
        if self.target is None:
            return None
        return self.median >= self.target


def run(main: Callable[[], None]) -> None:
    """Runs a benchmark's `main` after its flags are parsed."""

    def checked(arguments: list[str]) -> None:
        if len(arguments) > 1:
            raise app.UsageError(f"{arguments[1]!r} is not a flag.")
        main()

    app.run(checked)


def alternate(
    cases: Sequence[Case], items: Optional[int] = None
) -> tuple[dict[str, Result], list[str]]:
    """Measures cases in turns.

    Args:
      cases: the cases; only those that --cases selects are measured.
      items: the number of items of every turn; None: as many as take --seconds.

    Returns:
      The results by name, and a sentence about each case that could not be run.
    """
    wanted = [c for c in cases if not FLAGS.cases or any(w in c.name for w in FLAGS.cases)]
    workers: list[_Worker] = []
    notes = []
    try:
        for case in wanted:
            worker = _Worker(case)
            problem = worker.get_ready(items, FLAGS.seconds)
            if problem:
                notes.append(f"{case.name}: {problem}.")
                worker.stop()
            else:
                workers.append(worker)
        for turn in range(FLAGS.rounds):
            print(f"\rround {turn + 1}/{FLAGS.rounds}", end="", file=sys.stderr, flush=True)
            for worker in workers if turn % 2 == 0 else reversed(workers):
                worker.measure()
        print(file=sys.stderr)
    finally:
        for worker in workers:
            worker.stop()
    return {worker.case.name: worker.result() for worker in workers}, notes


class _Worker:
    """A case in its process."""

    def __init__(self, case: Case) -> None:
        context = multiprocessing.get_context("spawn")
        self.case = case
        self._connection, theirs = context.Pipe()
        # Not a daemon: torch's loader has worker processes of its own.
        self._process = context.Process(target=_serve, args=(theirs, case, FLAGS.clock))
        self._process.start()
        theirs.close()
        self._turns: list[Turn] = []
        self._items = 0

    def get_ready(self, items: Optional[int], seconds: float) -> str:
        """Waits for the process, warms it up and sets the turns' length; or says what is wrong."""
        problem = self._receive()
        # The first turn compiles and fills caches, so that it says little about speed.
        for _ in range(1 if items else 2):
            if problem is not None:
                return str(problem)
            turn = self._ask(items or max(self._items, self.case.multiple))
            if not isinstance(turn, Turn):
                return str(turn)
            self._items = items or self._in(seconds, turn)
        return ""

    def measure(self) -> None:
        turn = self._ask(self._items)
        if not isinstance(turn, Turn):
            raise RuntimeError(f"{self.case.name}: {turn}")
        self._turns.append(turn)

    def result(self) -> Result:
        rates = tuple(turn.items / turn.seconds for turn in self._turns)
        return Result(self.case.name, rates, float(np.median([t.start for t in self._turns])))

    def stop(self) -> None:
        with contextlib.suppress(OSError):  # It may be dead.
            self._connection.send(None)
        self._process.join(20)
        if self._process.is_alive():
            self._process.kill()

    def _in(self, seconds: float, turn: Turn) -> int:
        items = turn.items / turn.seconds * seconds
        return self.case.multiple * max(1, round(items / self.case.multiple))

    def _ask(self, items: int) -> Any:
        self._connection.send(items)
        return self._receive()

    def _receive(self) -> Any:
        try:
            return self._connection.recv()
        except EOFError:
            return "its process died"


def _serve(connection: Any, case: Case, clock: str) -> None:
    """The case's process: a turn for each number received."""
    try:
        measure = case.prepare(**case.arguments)
    except (ImportError, Missing) as error:
        connection.send(f"not run, {' '.join(str(error).split())[:120]}")
        return
    except Exception as error:  # noqa: BLE001 - sent to the parent
        traceback.print_exc()
        connection.send(f"failed, {type(error).__name__}: {' '.join(str(error).split())[:120]}")
        return
    connection.send(None)
    while True:
        items = connection.recv()
        if items is None:
            return
        try:
            began = time.process_time()
            turn = measure(items)
            if clock == "cpu":
                turn = Turn(time.process_time() - began, turn.items, turn.start)
            connection.send(turn)
        except Exception as error:  # noqa: BLE001 - sent to the parent
            traceback.print_exc()
            connection.send(f"failed, {type(error).__name__}: {error}")


def in_process(function: Callable[..., Any], **arguments: Any) -> Any:
    """Calls a function of a module in a process of its own.

    Raises:
      RuntimeError: it failed there.
    """
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_call, args=(theirs, function, arguments))
    process.start()
    theirs.close()
    try:
        succeeded, value = ours.recv()
    except EOFError:
        succeeded, value = False, "its process died"
    process.join()
    if not succeeded:
        raise RuntimeError(f"{function.__name__}: {value}")
    return value


def _call(connection: Any, function: Callable[..., Any], arguments: dict[str, Any]) -> None:
    try:
        connection.send((True, function(**arguments)))
    except Exception as error:  # noqa: BLE001 - sent to the parent
        traceback.print_exc()
        connection.send((False, f"{type(error).__name__}: {error}"))


def ratio(
    results: dict[str, Result],
    name: str,
    other: str,
    target: Optional[float] = None,
) -> Optional[Ratio]:
    """How many times as fast one case was as another; None where one of them was not run."""
    if name not in results or other not in results:
        return None
    pairs = np.array(results[name].rates) / np.array(results[other].rates)
    return ratio_of_pairs(f"{name} / {other}", pairs, target)


def ratio_of_pairs(name: str, pairs: np.ndarray, target: Optional[float] = None) -> Ratio:
    """The median of ratios and its 95% percentile-bootstrap interval (Efron, 1979)."""
    random = np.random.default_rng(0)
    chosen = random.integers(0, len(pairs), (_BOOTSTRAP_SAMPLES, len(pairs)))
    low, high = np.percentile(np.median(pairs[chosen], axis=1), (2.5, 97.5))
    return Ratio(name, float(np.median(pairs)), float(low), float(high), len(pairs), target)


def machine() -> dict[str, Any]:
    """Where and when this runs, and with what."""
    return provenance.facts(_PACKAGES)


def cases_table(results: dict[str, Result], unit: str) -> str:
    """The cases: median, quartiles, seconds to the first batches."""
    return table(
        ("case", unit, "quartiles", "start, s"),
        (
            (
                result.name,
                number(result.median),
                "–".join(number(q) for q in result.quartiles),
                f"{result.start:.2f}",
            )
            for result in results.values()
        ),
    )


def ratios_table(ratios: Sequence[Optional[Ratio]]) -> str:
    """The ratios: median of the pairs, interval, target."""
    rows = []
    for found in ratios:
        if found is None:
            continue
        target = "" if found.target is None else f"≥ {found.target:g}"
        reached = {None: "", True: "yes", False: "no"}[found.reached]
        interval = f"{found.low:.3g}–{found.high:.3g}"
        rows.append((found.name, f"{found.median:.3g}", interval, found.pairs, target, reached))
    return table(("ratio", "median", "95% interval", "pairs", "target", "reached"), rows)


def report(
    name: str,
    facts: dict[str, Any],
    unit: str,
    results: dict[str, Result],
    ratios: Sequence[Optional[Ratio]],
    notes: Sequence[str] = (),
    more: Optional[dict[str, Any]] = None,
) -> None:
    """Prints the tables and, with --json, writes all numbers."""
    print(describe(facts), "\n")
    if results:
        print(cases_table(results, unit), "\n")
    if any(found is not None for found in ratios):
        print(ratios_table(ratios), "\n")
    for note in notes:
        print(f"- {note}")
    write_json(
        {
            "benchmark": name,
            "machine": facts,
            "unit": unit,
            "rounds": FLAGS.rounds,
            "cases": {
                result.name: {
                    "median": result.median,
                    "quartiles": result.quartiles,
                    "start_seconds": result.start,
                    "turns": result.rates,
                }
                for result in results.values()
            },
            "ratios": [
                {**dataclasses.asdict(found), "reached": found.reached}
                for found in ratios
                if found is not None
            ],
            "notes": list(notes),
            **(more or {}),
        }
    )


def write_json(content: dict[str, Any]) -> None:
    """Writes to --json, if it was given."""
    if FLAGS.json:
        with open(FLAGS.json, "w", encoding="utf-8") as file:
            json.dump(content, file, indent=1)
            file.write("\n")
