"""Listens on all interfaces, prints the port, and ends when somebody has reached it.

Argument: a file, in which it writes whether it is reachable from outside.
"""

from __future__ import annotations

import pathlib
import socket
import sys

from cloudtf import network

if __name__ == "__main__":
    pathlib.Path(sys.argv[1]).write_text(str(network.is_reachable()))
    with socket.socket() as server:
        server.settimeout(60)
        server.bind(("", 0))
        server.listen()
        print(server.getsockname()[1], flush=True)
        server.accept()
