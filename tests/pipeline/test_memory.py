"""What fits into memory."""

import pytest

from cloudtf.data import records
from cloudtf.pipeline import memory


def split(num_examples, num_bytes):
    shard = records.Shard("train-00000-of-00001.tfrecord", num_examples, num_bytes, "")
    return records.Split("train", num_examples, {}, {}, (shard,))


@pytest.mark.parametrize(
    "budget, choice",
    [(30_000, "decoded"), (29_999, "encoded"), (5_000, "encoded"), (4_999, "none")],
)
def test_auto_takes_the_fastest_that_fits(budget, choice):
    cost = {"decoded": 30_000, "encoded": 5_000, "none": 0}[choice]
    assert memory.choose_cache("auto", split(10, 5_000), 3_000, budget) == (choice, cost)


@pytest.mark.parametrize("wanted, cost", [("decoded", 30_000), ("encoded", 5_000), ("none", 0)])
def test_a_choice_is_kept_whether_it_fits_or_not(wanted, cost):
    assert memory.choose_cache(wanted, split(10, 5_000), 3_000, 1) == (wanted, cost)
