"""Turns, their order and their statistics, with a clock of the test's own."""

from __future__ import annotations

import pytest

from cloudtf.diagnosis import timing
from cloudtf.diagnosis.timing import Case, Turn


def case(log, name, rate, multiple=1):
    def measure(items):
        log.append((name, items))
        return Turn(items / rate, items, cpu_seconds=2 * items / rate)

    return Case(measure, multiple)


def test_cases_take_turns_forwards_and_backwards():
    log = []
    cases = {name: case(log, name, 100) for name in "ab"}
    timing.alternate(cases, rounds=3, seconds=0.5)
    # Two turns each to find the length: 50 items take half a second.
    assert log[4:] == [(name, 50) for name in "abbaab"]


def test_a_turn_is_whole_multiples_of_a_batch():
    log = []
    assert timing.length_of_turn(case(log, "a", 100, multiple=32), 1.0) == 96
    assert timing.length_of_turn(case(log, "a", 1, multiple=32), 1.0) == 32


def test_one_turn_is_not_repeated_where_one_call_is_long_enough():
    log = []
    timing.one_turn(case(log, "slow", 4, multiple=8), 1.0)
    assert log == [("slow", 8), ("slow", 8)]
    log.clear()
    turn = timing.one_turn(case(log, "fast", 80, multiple=8), 1.0)
    assert log == [("fast", 8), ("fast", 8), ("fast", 80)]
    assert turn.items == 80


def test_the_summary_is_median_quartiles_and_processor_time_an_item():
    turns = [Turn(1.0, items, cpu_seconds=0.5) for items in (100, 200, 300, 400, 1000)]
    speed = timing.summary(turns)
    assert (speed.median, speed.low, speed.high, speed.turns) == (300, 200, 400, 5)
    assert speed.cpu_ms == pytest.approx(500 / 300)


def test_batches_of_the_start_are_not_counted():
    taken = []

    def batches():
        number = 0
        while True:
            taken.append(number)
            yield number
            number += 1

    turn = timing.timed_batches(batches, batch_size=8, images=20)
    # 20 images are 2.5 batches, rounded to even; four come before.
    assert turn.items == 16 and len(taken) == 4 + 2
    assert turn.seconds >= 0 and turn.start >= 0
