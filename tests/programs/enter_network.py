"""Starts itself in a network of its own; there it prints its user and whether it is reachable."""

from __future__ import annotations

import os
import subprocess
import sys

from cloudtf import network

if __name__ == "__main__":
    if len(sys.argv) > 1:
        print(os.getuid(), network.is_reachable())
    else:
        with network.own_network() as enter:
            subprocess.run([sys.executable, __file__, "inside"], preexec_fn=enter, check=True)
