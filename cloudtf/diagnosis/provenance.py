"""Where a measurement was made: processor, cores, memory, versions."""

from __future__ import annotations

import contextlib
import datetime
import importlib.metadata
import os
import platform
from typing import Any, Optional, Sequence

from cloudtf import machine

PACKAGES = (
    "tensorflow",
    "tensorflow-cpu",
    "tensorflow-tpu",
    "tf-keras",
    "tensorflow-addons",
    "numpy",
    "opencv-python-headless",
    "simplejpeg",
)


def facts(packages: Sequence[str] = PACKAGES) -> dict[str, Any]:
    """Where and when this runs, and with what, as JSON values.

    Args:
      packages: names of packages whose versions are reported, where they are installed.
    """
    load = None
    with contextlib.suppress(OSError, AttributeError):  # Not everywhere.
        load = round(os.getloadavg()[0], 2)
    return {
        "date": datetime.date.today().isoformat(),
        "cpu": _processor(),
        "cores": machine.usable_cores(),
        "memory_gb": round(machine.total_bytes() / 1e9, 1),
        "load_average": load,
        "system": platform.platform(terse=True),
        "python": platform.python_version(),
        "versions": {name: v for name in packages if (v := _version(name)) is not None},
    }


def describe(facts: dict[str, Any]) -> str:
    """`facts()` as a line or two."""
    versions = ", ".join(f"{name} {version}" for name, version in facts["versions"].items())
    return (
        f"{facts['date']}, {facts['cores']} x {facts['cpu']}, {facts['memory_gb']} GB, "
        f"load average {facts['load_average']} at the start; Python {facts['python']}, "
        f"{versions}."
    )


def _processor() -> str:
    with contextlib.suppress(OSError), open("/proc/cpuinfo", encoding="utf-8") as file:
        for line in file:
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _version(package: str) -> Optional[str]:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None
