"""Work that is done ahead of its use."""

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from cloudtf.data import shards


@pytest.mark.parametrize("ahead", [1, 3, 100])
def test_results_come_in_order_and_no_more_than_so_many_are_begun(ahead):
    begun = []

    def square(number):
        begun.append(number)
        return number * number

    with ThreadPoolExecutor(2) as pool:
        for taken, result in enumerate(shards.map_ahead(pool, square, range(20), ahead)):
            assert result == taken * taken
            assert len(begun) <= taken + ahead
    assert sorted(begun) == list(range(20))


def test_nothing_is_begun_after_an_error():
    begun, go_on = [], threading.Event()

    def fail(number):
        begun.append(number)
        if number == 0:
            raise ValueError("number 0")
        go_on.wait(60)  # Both threads have one such at most.

    with ThreadPoolExecutor(2) as pool:
        with pytest.raises(ValueError, match="number 0"):
            for _ in shards.map_ahead(pool, fail, range(50), 50):
                pass
        go_on.set()
    assert len(begun) <= 3
