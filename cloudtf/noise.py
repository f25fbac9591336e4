"""Keeps out of a command's output what libraries in C++ write into it.

TensorFlow, XLA, libpng and libtiff write to the process's standard error by themselves: how
TensorFlow was built, that XLA compiles for the first time, that a data service does not answer,
what is odd about a PNG or a TIFF. What of it matters to a user reaches them as an exception.
`TF_CPP_MIN_LOG_LEVEL` holds back most of it, but neither what is said while TensorFlow is imported
nor all that goes through absl.

`keep_out` hands standard error to this file, run as a program of its own: what a process wrote last
says why it crashed, and must arrive when the process is gone.
"""

from __future__ import annotations

import os
import re
import select
import subprocess
import sys

# What begins a line of the logs of absl and TensorFlow: information, a warning, an error. F, after
# which a process ends, stays.
_NOISE = re.compile(
    rb"(?:[IWE]\d{4} [\d:.]+ +\d+|\d{4}-\d\d-\d\d [\d:.]+: [IWE]) [\w./-]+:\d+\] "
    rb"|WARNING: All log messages before absl::InitializeLog\(\)"
    rb"|libpng warning: "
    rb"|(?:tempfile\.tif|JPEGLib|[A-Z]\w*Decode|TIFF\w+): "
)
# Seconds after which the beginning of a line is shown: it may be all that there is.
_PATIENCE = 0.2


def keep_out() -> None:
    """From now on, only other lines of this process's C++ libraries reach standard error.

    `sys.stderr` goes there directly, as before. Nothing is changed where `TF_CPP_MIN_LOG_LEVEL` is
    not 3, the least, which `import cloudtf` sets where nothing is set.
    """
    if os.environ.get("TF_CPP_MIN_LOG_LEVEL") != "3" or sys.stderr is None:
        return
    sys.stderr.flush()
    encoding, errors = sys.stderr.encoding, sys.stderr.errors
    reading, writing = os.pipe()
    own = os.dup(2)
    # In a session of its own: Ctrl-C is not for it, and it ends with those that write to it.
    subprocess.Popen(
        [sys.executable, "-I", "-S", __file__], stdin=reading, stdout=own, start_new_session=True
    )
    os.close(reading)
    os.dup2(writing, 2)
    os.close(writing)
    sys.stderr = os.fdopen(own, "w", buffering=1, encoding=encoding, errors=errors)


def is_noise(line: bytes) -> bool:
    """Whether a line is not for users."""
    return _NOISE.match(line) is not None


def _pass_on() -> None:
    """Copies standard input to standard output, without noise, until its end."""
    begun = b""
    while True:
        if begun and not select.select([0], [], [], _PATIENCE)[0]:
            _write(begun)
            begun = b""
        piece = os.read(0, 1 << 16)
        *lines, begun = (begun + piece).split(b"\n")
        _write(b"".join(line + b"\n" for line in lines if not is_noise(line)))
        if not piece:
            _write(begun)
            return


def _write(content: bytes) -> None:
    while content:
        content = content[os.write(1, content) :]


if __name__ == "__main__":
    _pass_on()
