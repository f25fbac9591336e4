"""Reads a label CSV; answers with the megabytes that the process grew by, and the images found.

Argument: the CSV.
"""

from __future__ import annotations

import json
import re
import sys

from cloudtf.data import label_csv, sources  # noqa: F401 - what comes with it is not counted


def peak() -> float:
    """The most memory so far, in MB. (getrusage's begins with the peak of the parent process.)"""
    with open("/proc/self/status") as status:
        found = re.search(r"VmHWM:\s+(\d+) kB", status.read())
    assert found
    return int(found[1]) / 1024


if __name__ == "__main__":
    before = peak()
    table = label_csv.read_labels(sys.argv[1])
    print(json.dumps([peak() - before, len(table.names)]))
