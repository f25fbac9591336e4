"""Reports a line, then has another process print one to the same output."""

from __future__ import annotations

import os

from cloudtf.reporter import report

if __name__ == "__main__":
    report("first")
    os.system("echo then")
