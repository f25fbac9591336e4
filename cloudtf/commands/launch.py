"""Train with several worker processes on this machine, as a cluster would on several.

What follows -- is the command of each worker, `train` and its flags: cloudtf launch --workers=2 --
train --data_dir=records --run_dir=runs/a. Each line of output begins with its worker's number. All
GPUs of one machine are better used by one process, with train --strategy=mirrored.

The workers are in a network of their own, where nobody else reaches their ports, if this system
allows it and all that they read and write is on this machine; otherwise it is said what is open.

All workers stop when one fails, with its exit status; on SIGTERM and Ctrl-C they save first.
"""

from __future__ import annotations

import sys
from typing import Sequence

from cloudtf.commands import app
from cloudtf.errors import UsageError
from cloudtf.training.config import TrainConfig
from cloudtf.training.launch import LaunchConfig, launch, needs_others

CONFIG = LaunchConfig
AFTER_DASHES = "train FLAGS"


def run(config: LaunchConfig, command: Sequence[str]) -> None:
    """Checks the flags of `train` once, then starts the workers."""
    if not command or command[0] != "train":
        raise UsageError(
            "after -- comes the command train, such as: cloudtf launch --workers=2 -- train "
            "--data_dir=records --run_dir=runs/a."
        )
    planned = app.parse(TrainConfig, command[1:])
    strategy = planned.strategy
    if strategy not in ("auto", "multi_worker"):
        raise UsageError(f"--strategy={strategy} is not for several workers; leave it out.")
    launch(
        [sys.executable, "-m", "cloudtf", *command, "--strategy=multi_worker"],
        config,
        needs_others=needs_others(planned),
    )
