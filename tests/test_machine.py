"""Cores, memory and the limits of containers, read from files laid out as the kernel does."""

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from cloudtf import machine


@pytest.fixture
def system(tmp_path, monkeypatch):
    """Writes what the kernel says: the groups of this process, and the files of a folder."""
    monkeypatch.setattr(machine, "ROOT", str(tmp_path))
    monkeypatch.setattr(machine, "OWN", str(tmp_path / "own"))

    def write(own="0::/", **folders):
        (tmp_path / "own").write_text(own + "\n")
        for folder, contents in folders.items():
            path = tmp_path / folder.replace("__", "/").strip("/")
            path.mkdir(parents=True, exist_ok=True)
            for name, content in contents.items():
                (path / name).write_text(f"{content}\n")

    return write


def memory(most, taken=0, reclaimable=0):
    stat = f"anon 1\ninactive_file {reclaimable}"
    return {"memory.max": most, "memory.current": taken, "memory.stat": stat}


def old_memory(most, taken=0, reclaimable=0):
    stat = f"inactive_file 1\ntotal_inactive_file {reclaimable}"
    return {
        "memory.limit_in_bytes": most,
        "memory.usage_in_bytes": taken,
        "memory.stat": stat,
    }


def test_without_groups_or_limits_there_is_no_limit(system):
    assert machine.memory_left() is None and machine.cpu_quota() is None
    system(__=memory("max"))
    assert machine.memory_left() is None
    system("4:memory:/a", memory__a=old_memory(9223372036854771712))
    assert machine.memory_left() is None


def test_a_containers_limit_counts_but_not_its_file_cache(system):
    system(__=memory(1_000_000_000, 700_000_000, 500_000_000))
    assert machine.memory_left() == 800_000_000
    system(__=memory(1_000_000, 2_000_000))
    assert machine.memory_left() == 0


def test_the_least_of_a_job_and_what_is_above_it_counts(system):
    own = "0::/system.slice/job_7/task"
    system(own, system_slice={})  # A group without files of its own is no limit.
    system(own, **{"system.slice__job_7": memory(5_000), "system.slice": memory(9_000, 6_000)})
    assert machine.memory_left() == 3_000
    system(own, **{"system.slice__job_7__task": memory(2_000), "elsewhere": memory(1)})
    assert machine.memory_left() == 2_000


def test_version_1_has_a_tree_of_its_own_for_each_controller(system):
    own = "5:cpu,cpuacct:/job\n4:memory:/job\n0::/"
    system(own, memory__job=old_memory(4_000, 1_000, 500), cpu__job={})
    assert machine.memory_left() == 3_500
    assert machine.cpu_quota() is None
    system(own, cpu__job={"cpu.cfs_quota_us": 250_000, "cpu.cfs_period_us": 100_000})
    assert machine.cpu_quota() == 2.5
    system(own, cpu__job={"cpu.cfs_quota_us": -1})
    assert machine.cpu_quota() is None


@pytest.mark.parametrize(
    ("content", "expected"), [("150000 100000", 1.5), ("max 100000", None), ("", None)]
)
def test_the_quota_of_time_is_in_cores(system, content, expected):
    system("0::/job", job={"cpu.max": content})
    assert machine.cpu_quota() == expected


@pytest.fixture
def meminfo(tmp_path, monkeypatch):
    """What the kernel says of the machine, which allows this process all of it."""
    path = tmp_path / "meminfo"
    path.write_text("MemTotal:  9000000 kB\nMemAvailable:  4000000 kB\nHugePages_Total: 0\n")
    monkeypatch.setattr(machine, "MEMINFO", str(path))
    monkeypatch.setattr(machine, "memory_left", lambda: None)


def test_free_memory_is_what_the_kernel_calls_available(meminfo):
    assert machine.free_bytes() == 4_000_000 * 1024


@pytest.mark.parametrize(("left", "free"), [(1000, 1000), (1 << 50, 4_000_000 * 1024), (0, 0)])
def test_a_containers_limit_counts(meminfo, monkeypatch, left, free):
    monkeypatch.setattr(machine, "memory_left", lambda: left)
    assert machine.free_bytes() == free


def test_without_a_count_of_available_memory_half_of_the_machine_is_taken(meminfo, monkeypatch):
    monkeypatch.setattr(machine, "MEMINFO", "/nonexistent")
    assert 0 < machine.free_bytes() < 1 << 50


@pytest.mark.parametrize("ahead", [1, 3, 100])
def test_results_come_in_order_and_no_more_than_so_many_are_begun(ahead):
    begun = []

    def square(number):
        begun.append(number)
        return number * number

    with ThreadPoolExecutor(2) as pool:
        for taken, result in enumerate(machine.map_ahead(pool, square, range(20), ahead)):
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
            for _ in machine.map_ahead(pool, fail, range(50), 50):
                pass
        go_on.set()
    assert len(begun) <= 3
