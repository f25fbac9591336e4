"""What the container or job of this process allows it: Linux control groups, versions 1 and 2.

A scheduler (Slurm, systemd) limits a group below the root of the tree, and every group above counts
too; inside a container the tree begins at its own group.
"""

from __future__ import annotations

import os
from typing import Iterator, Optional

ROOT = "/sys/fs/cgroup"
OWN = "/proc/self/cgroup"

# What version 1 calls no limit is near 2^63.
_NO_LIMIT = 1 << 60


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
        found = (_read(f"{folder}/cpu.max") or "").split()
        if len(found) == 2 and found[0].isdigit():
            quotas.append(int(found[0]) / int(found[1]))
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
