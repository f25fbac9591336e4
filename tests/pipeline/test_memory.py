"""What fits into memory."""

import pytest

from cloudtf import cgroup
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


@pytest.fixture
def meminfo(tmp_path, monkeypatch):
    """What the kernel says of the machine, which allows this process all of it."""
    path = tmp_path / "meminfo"
    path.write_text("MemTotal:  9000000 kB\nMemAvailable:  4000000 kB\nHugePages_Total: 0\n")
    monkeypatch.setattr(memory, "_MEMINFO", str(path))
    monkeypatch.setattr(cgroup, "memory_left", lambda: None)


def test_free_memory_is_what_the_kernel_calls_available(meminfo):
    assert memory.free_bytes() == 4_000_000 * 1024


@pytest.mark.parametrize(("left", "free"), [(1000, 1000), (1 << 50, 4_000_000 * 1024), (0, 0)])
def test_a_containers_limit_counts(meminfo, monkeypatch, left, free):
    monkeypatch.setattr(cgroup, "memory_left", lambda: left)
    assert memory.free_bytes() == free


def test_without_a_count_of_available_memory_half_of_the_machine_is_taken(meminfo, monkeypatch):
    monkeypatch.setattr(memory, "_MEMINFO", "/nonexistent")
    assert 0 < memory.free_bytes() < 1 << 50
