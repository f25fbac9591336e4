"""Measure the speed of each part on this machine: input pipeline, limits, train step, conversion.

Takes the flags of `cloudtf train`. Run it on a quiet machine: the parts take turns, and medians
count. tools/scaling.py plans larger machines from its JSON.
"""

from __future__ import annotations

from cloudtf.diagnosis.config import BenchConfig

CONFIG = BenchConfig


def run(config: BenchConfig) -> None:
    """Measures and prints the table."""
    from cloudtf.diagnosis.bench import bench

    bench(config)
    if config.json:
        print(f"\nWritten to {config.json}")
