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


@pytest.fixture
def system(tmp_path, monkeypatch):
    """Writes the files of the kernel that are asked."""
    meminfo = tmp_path / "meminfo"
    meminfo.write_text("MemTotal:  9000000 kB\nMemAvailable:  4000000 kB\nHugePages_Total: 0\n")
    monkeypatch.setattr(memory, "_MEMINFO", str(meminfo))
    monkeypatch.setattr(memory, "_CGROUP", str(tmp_path))

    def container(limit, current=0, inactive_file=0):
        (tmp_path / "memory.max").write_text(f"{limit}\n")
        (tmp_path / "memory.current").write_text(f"{current}\n")
        (tmp_path / "memory.stat").write_text(f"anon 1\ninactive_file {inactive_file}\n")

    return container


def test_free_memory_is_what_the_kernel_calls_available(system):
    assert memory.free_bytes() == 4_000_000 * 1024
    system("max")
    assert memory.free_bytes() == 4_000_000 * 1024


def test_a_containers_limit_counts_but_not_its_file_cache(system):
    system(1_000_000_000, 700_000_000, 500_000_000)
    assert memory.free_bytes() == 800_000_000
    system(1_000_000, 2_000_000)
    assert memory.free_bytes() == 0


def test_without_a_count_of_available_memory_half_of_the_machine_is_taken(system, monkeypatch):
    monkeypatch.setattr(memory, "_MEMINFO", "/nonexistent")
    assert 0 < memory.free_bytes() < 1 << 50
