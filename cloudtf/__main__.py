"""`python -m cloudtf COMMAND`, also installed as `cloudtf`."""

from __future__ import annotations

import os
import sys

from cloudtf import noise, uncollected
from cloudtf.commands import app


def main() -> None:
    """Runs the command named on the command line and exits with its status."""
    # Plots go to files. A notebook names the backend of its own Python to every command that it
    # starts, and where that one is not installed matplotlib cannot even be imported.
    os.environ["MPLBACKEND"] = "agg"
    noise.keep_out()
    uncollected.import_tensorflow_quickly()
    sys.exit(app.main(sys.argv[1:]))


if __name__ == "__main__":
    main()
