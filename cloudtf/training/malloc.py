"""How the C library keeps freed memory, which TensorFlow 2.21 makes slow."""

from __future__ import annotations

import contextlib
import ctypes

import tensorflow as tf

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # Of malloc.h.


def keep_large_blocks() -> None:
    """Lets malloc keep what is freed (blocks of up to 32 MB), as it learns to by itself.

    A distributed dataset is built on a generator, and with a generator TensorFlow 2.21 forbids it
    (`ApplyPython311MemoryPatch`): every tensor over 128 KB is then mapped and cleared anew. A step
    of EfficientNet on a CPU took 1.5 times as long, and the input of an accelerator 1.1 times.
    """
    if tuple(map(int, tf.__version__.split(".")[:2])) >= (2, 21):
        with contextlib.suppress(AttributeError, OSError):  # Where this is not glibc.
            mallopt = ctypes.CDLL(None).mallopt
            mallopt(_M_MMAP_THRESHOLD, 1 << 25)
            mallopt(_M_TRIM_THRESHOLD, 1 << 30)
