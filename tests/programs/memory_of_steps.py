"""Answers with how many of eight blocks of 16 MB malloc maps anew, once steps have been begun."""

from __future__ import annotations

import ctypes
import json

import tensorflow as tf

from cloudtf.training import hardware, inputs


class Statistics(ctypes.Structure):
    """`struct mallinfo2` of glibc's malloc.h."""

    _fields_ = [
        (name, ctypes.c_size_t)
        for name in (
            "arena", "ordblks", "smblks", "hblks", "hblkhd", "usmblks", "fsmblks", "uordblks",
            "fordblks", "keepcost",
        )
    ]  # fmt: skip


def main() -> None:
    """Answers."""
    batches = inputs.iterate(
        hardware.make_strategy("cpu"), lambda context: tf.data.Dataset.range(1).repeat()
    )
    next(batches)
    library = ctypes.CDLL(None)
    library.malloc.restype, library.malloc.argtypes = ctypes.c_void_p, [ctypes.c_size_t]
    library.mallinfo2.restype = Statistics
    before = library.mallinfo2().hblks
    blocks = [library.malloc(16 << 20) for _ in range(8)]
    assert all(blocks)
    print(json.dumps(library.mallinfo2().hblks - before))


if __name__ == "__main__":
    main()
