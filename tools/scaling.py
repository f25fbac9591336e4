"""What feeds 1, 8, 64 and 256 accelerators, and how to shard large sets; see docs/SCALING.md.

Computed from the JSON that `cloudtf bench --json=FILE` writes, and from stated assumptions.
"""

from __future__ import annotations

import sys

from cloudtf.commands import app
from cloudtf.diagnosis import scaling

CONFIG = scaling.ScalingConfig


def run(config: scaling.ScalingConfig) -> None:
    """Prints the plan as Markdown."""
    for line in scaling.report(config):
        print(line)


if __name__ == "__main__":
    sys.exit(app.run_module("scaling.py", sys.modules[__name__], sys.argv[1:]))
