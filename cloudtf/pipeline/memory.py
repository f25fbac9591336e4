"""How much memory a data set may take: the choice of what to keep decoded, encoded or on disk."""

from __future__ import annotations

import os

from cloudtf import cgroup
from cloudtf.data import records

CACHES = ("auto", "none", "encoded", "decoded")
WORDS = {
    "none": "read from disk each epoch",
    "encoded": "kept in memory as JPEG",
    "decoded": "kept in memory as pixels",
}

# Share of the memory free at the start that cached data may take; the rest is for the model, its
# gradients and the batches under way.
SHARE = 0.4

_MEMINFO = "/proc/meminfo"


def free_bytes() -> int:
    """Memory that can be had without swapping, in bytes, within the container's or job's limit."""
    try:
        free = _read_table(_MEMINFO)["MemAvailable:"] * 1024
    except (OSError, KeyError):
        # Not Linux: half of what the machine has is a guess on the careful side.
        free = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2
    left = cgroup.memory_left()
    return free if left is None else min(free, left)


def _read_table(path: str) -> dict[str, int]:
    """Lines of `name number` as a dictionary."""
    with open(path, encoding="ascii") as file:
        rows = [line.split() for line in file]
    return {row[0]: int(row[1]) for row in rows if len(row) > 1 and row[1].isdigit()}


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
