"""Writes half a file and half a folder, says so, and waits to be killed.

Arguments: the path of the file, the path of the folder.
"""

from __future__ import annotations

import os
import sys
import time

from cloudtf import files


def main(file: str, folder: str) -> None:
    """Never ends."""
    with files.replacing(file) as name, files.new_folder(folder) as half:
        for path in (name, os.path.join(half, "part")):
            with open(path, "w") as part:
                part.write("half")
        print("ready", flush=True)
        time.sleep(600)


if __name__ == "__main__":
    main(*sys.argv[1:])
