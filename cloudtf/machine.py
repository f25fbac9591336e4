"""What this machine lets the process use: cores, memory, the limits of its container or job.

The limits are those of Linux control groups, versions 1 and 2. A scheduler (Slurm, systemd) limits
a group below the root of the tree, and every group above counts too; inside a container the tree
begins at its own group.
"""

from __future__ import annotations

import collections
import os
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Callable, Iterable, Iterator, Optional, TypeVar

ROOT = "/sys/fs/cgroup"
OWN = "/proc/self/cgroup"
MEMINFO = "/proc/meminfo"

# What version 1 calls no limit is near 2^63.
_NO_LIMIT = 1 << 60

Item = TypeVar("Item")
Result = TypeVar("Result")


def usable_cores() -> int:
    """The cores that this process may run on."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def map_ahead(
    pool: ThreadPoolExecutor, function: Callable[[Item], Result], items: Iterable[Item], ahead: int
) -> Iterator[Result]:
    """`map` by the threads of `pool`, in order, a few results ahead of their use.

    What has not begun when the first error comes, or when no more is asked for, does not begin.

    Args:
      pool: its threads call `function`.
      function: called with one item; what it raises is raised here in the item's turn.
      items: taken one by one as their turn comes near.
      ahead: results that may be begun or waiting at a time, at least 1; what bounds the memory.

    Yields:
      The result of each item, in the order of the items.
    """
    waiting: collections.deque[Future[Result]] = collections.deque()
    try:
        for item in items:
            waiting.append(pool.submit(function, item))
            if len(waiting) >= ahead:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        for future in waiting:
            future.cancel()


def free_bytes() -> int:
    """Bytes available without swapping, within the limit of the container or job."""
    try:
        with open(MEMINFO, encoding="ascii") as file:
            rows = [line.split() for line in file]
        free = next(int(row[1]) for row in rows if row[:1] == ["MemAvailable:"]) * 1024
    except (OSError, StopIteration):
        # Not Linux: half of what the machine has is a guess on the careful side.
        free = total_bytes() // 2
    left = memory_left()
    return free if left is None else min(free, left)


def total_bytes() -> int:
    """Memory that the machine has, in bytes, whatever the container or job allows."""
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def memory_left() -> Optional[int]:
    """Bytes that this process may still take; None where there is no limit.

    Pages of files that were read count as taken, but make way when memory is wanted: they do not
    count here.
    """
    left = [
        *_memory_left("", "memory.max", "memory.current", "inactive_file"),
        *_memory_left(
            "memory", "memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"
        ),
    ]
    return max(min(left), 0) if left else None


def cpu_quota() -> Optional[float]:
    """The processor time that this process may use, in cores; None where there is no limit."""
    quotas = []
    for folder in _folders(""):
        words = (_read(f"{folder}/cpu.max") or "").split()
        if len(words) == 2 and words[0].isdigit():  # "max" is no limit.
            quotas.append(int(words[0]) / int(words[1]))
    for folder in _folders("cpu"):
        quota, period = (_read(f"{folder}/cpu.cfs_{name}_us") for name in ("quota", "period"))
        if quota and period and int(quota) > 0:  # -1 is no limit.
            quotas.append(int(quota) / int(period))
    return min(quotas, default=None)


def _memory_left(controller: str, limit: str, used: str, reclaimable: str) -> Iterator[int]:
    for folder in _folders(controller):
        most, taken = _read(f"{folder}/{limit}"), _read(f"{folder}/{used}")
        # Version 2 says "max" where there is no limit.
        if most and taken and most.isdigit() and int(most) < _NO_LIMIT:
            lines = (_read(f"{folder}/memory.stat") or "").splitlines()
            stat = dict(line.split() for line in lines)
            yield int(most) - int(taken) + int(stat.get(reclaimable, 0))


def _folders(controller: str) -> Iterator[str]:
    """The folders of this process's group and of all above; of version 2 for no controller."""
    for line in (_read(OWN) or "0::/").splitlines():
        _, controllers, path = line.split(":", 2)
        if controller in controllers.split(","):
            root = os.path.join(ROOT, controller) if controller else ROOT
            parts = path.strip("/").split("/")
            for length in range(len(parts), -1, -1):
                yield os.path.join(root, *parts[:length])


def _read(path: str) -> Optional[str]:
    try:
        with open(path, encoding="ascii") as file:
            return file.read().strip()
    except OSError:
        return None
