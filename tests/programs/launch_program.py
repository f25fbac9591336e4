"""The launcher, with another program in the place of `cloudtf train`.

Arguments: how many workers; how often they may start again; the seconds in which a worker must
stop; then the command of each worker.
"""

from __future__ import annotations

import sys

from cloudtf.errors import UserError
from cloudtf.training.launch import LaunchConfig, launch

if __name__ == "__main__":
    workers, restarts, grace_seconds = map(int, sys.argv[1:4])
    config = LaunchConfig(workers=workers, restarts=restarts)
    try:
        launch(sys.argv[4:], config, grace_seconds=grace_seconds)
    except UserError as error:
        print(error, file=sys.stderr)
        sys.exit(error.exit_status)
