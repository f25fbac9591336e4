"""Takes the lock of a run folder, as train does, and is killed.

Argument: the lock's file.
"""

from __future__ import annotations

import fcntl
import os
import signal
import sys

if __name__ == "__main__":
    file = open(sys.argv[1], "w")  # noqa: SIM115 - held to the end
    fcntl.flock(file, fcntl.LOCK_EX)
    os.kill(os.getpid(), signal.SIGKILL)
