"""Make training batches for trainers on other machines.

A service is one dispatcher, `cloudtf data-worker --dispatcher`, and any number of workers, `cloudtf
data-worker --dispatcher_address=grpc://HOST:5050`, which may come and go. Trainers use it with
`cloudtf train --data_service=grpc://HOST:5050`. All need the same version of TensorFlow, and the
folder of the records under the same name.

Both run until they are stopped. Whoever reaches their ports can read and write files as their user:
docs/CLUSTERS.md says how to close them to others (firewall, VPC, network policy of the pods).
"""

from __future__ import annotations

import os

from cloudtf.pipeline.service.server import DataWorkerConfig, serve

CONFIG = DataWorkerConfig


def run(config: DataWorkerConfig) -> None:
    """Runs until stopped, and ends the process."""
    serve(config)
    # Python's own way out would wait for the server's threads.
    os._exit(0)
