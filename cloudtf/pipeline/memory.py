"""How much memory a data set may take: the choice of what to keep decoded, encoded or on disk."""

from __future__ import annotations

import os

from cloudtf.data import records

CACHES = ("auto", "none", "encoded", "decoded")

# Share of the memory free at the start that cached data may take; the rest is for the model, its
# gradients and the batches under way.
SHARE = 0.4


def free_bytes() -> int:
    """Memory that can be had without swapping, in bytes, the container's limit included."""
    free = os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    try:
        with open("/proc/meminfo", encoding="ascii") as file:
            lines = dict(line.split(":", 1) for line in file)
        free = int(lines["MemAvailable"].split()[0]) * 1024
    except (OSError, KeyError, ValueError):
        pass  # Not Linux: the count of unused pages has to do, and is on the careful side.
    try:
        limit = _read_integer("/sys/fs/cgroup/memory.max")
        free = min(free, limit - _read_integer("/sys/fs/cgroup/memory.current"))
    except (OSError, ValueError):
        pass  # No limit ("max") or no cgroup.
    return max(free, 0)


def _read_integer(path: str) -> int:
    with open(path, encoding="ascii") as file:
        return int(file.read())


def choose_cache(
    wanted: str, split: records.Split, image_bytes: int, budget: int
) -> tuple[str, int]:
    """Decides what to keep of one split.

    Args:
      wanted: `auto` or the choice itself.
      split: the split.
      image_bytes: of one decoded image.
      budget: bytes that may be taken.

    Returns:
      `none`, `encoded` or `decoded`, and the bytes that it takes.
    """
    costs = {
        "decoded": split.num_examples * image_bytes,
        "encoded": sum(shard.num_bytes for shard in split.shards),
        "none": 0,
    }
    if wanted != "auto":
        return wanted, costs[wanted]
    choice = next(name for name, cost in costs.items() if cost <= budget)
    return choice, costs[choice]
