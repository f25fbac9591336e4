"""Writes to standard error as libraries in C++ do, after `noise.keep_out()`, and aborts.

Argument: what to write first, by `sys.stderr`.
"""

from __future__ import annotations

import os
import sys
import time

import cloudtf  # noqa: F401 - sets how much TensorFlow logs
from cloudtf import noise

LINES = (
    b"WARNING: All log messages before absl::InitializeLog() is called are written to STDERR\n",
    b"I0000 00:00:1795890352.393247    4522 device_compiler.h:186] Compiled cluster using XLA!\n",
    b"E0000 00:00:1795890352.393247 4522 stream.h:124] SetPriority unimplemented\n",
    b"W0000 00:00:1795896470.186905    1168 data_service_client.cc:450] Failed to heartbeat\n",
    b"2023-12-04 08:52:42.642545: E ./tensorflow/compiler/xla/internal.h:124] SetPriority\n",
    b"libpng warning: iCCP: known incorrect sRGB profile\n",
    b"tempfile.tif: Using code not yet in table.\nLZWDecode: Not enough data at scanline 3.\n",
    b"I am no log line.\nE1234 neither\n",
    b"a prompt without an end",
)

if __name__ == "__main__":
    noise.keep_out()
    print(sys.argv[1], file=sys.stderr)
    for line in LINES:
        os.write(2, line)
    time.sleep(3 * noise._PATIENCE)
    os.write(2, b" and the rest\nF0000 00:00:1795890352.39 4522 x.cc:1] Check failed: a == b\n")
    os.abort()
