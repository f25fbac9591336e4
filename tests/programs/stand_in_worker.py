"""What the launcher starts in the place of training: a worker that does one thing.

Argument: the name of a method of `Worker`, then its arguments. On SIGTERM and Ctrl-C it says
`saved` and ends, as training does.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import sys
import time
from typing import Any, NoReturn

from cloudtf import files, network


class Worker:
    """One worker of the cluster in TF_CONFIG."""

    def __init__(self) -> None:
        self._config = json.loads(os.environ["TF_CONFIG"])
        self._number = self._config["task"]["index"]

    def show_config(self) -> None:
        """Prints what it was told, and something on stderr."""
        print(json.dumps(self._config))
        print("oops", file=sys.stderr)

    def print_lines(self) -> None:
        """Prints 300 lines of a letter of its own."""
        for _ in range(300):
            print("abcdefgh"[self._number] * 200)

    def wait(self) -> NoReturn:
        """Prints its process's number and waits to be stopped."""
        print(os.getpid(), flush=True)
        self._wait()

    def fail_alone(self, folder: str) -> None:
        """Worker 1 ends with status 7, the others wait."""
        self._meet(folder)
        if self._number == 1:
            sys.exit(7)
        self._wait()

    def hang(self) -> None:
        """Worker 0 is killed, the others do not listen."""
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        if self._number == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        time.sleep(60)

    def crash_twice(self, folder: str) -> None:
        """Worker 0 is killed at the first two starts of both."""
        self._meet(folder)
        if len(os.listdir(folder)) < 6:
            if self._number == 0:
                os.kill(os.getpid(), signal.SIGKILL)
            self._wait()

    def end_with(self, folder: str, status: str) -> NoReturn:
        """All end with a status."""
        self._meet(folder)
        sys.exit(int(status))

    def only_hear(self) -> NoReturn:
        """On Ctrl-C says so and goes on."""
        signal.signal(signal.SIGINT, lambda *_: print("heard", flush=True))
        print("ready", flush=True)
        self._wait()

    def listen(self, folder: str, apart: str) -> None:
        """Opens its port to all, reaches the other workers', and waits for the file `tried`.

        Args:
          folder: where the workers meet.
          apart: where a file with all ports says that this one has reached them, and where `tried`
            will be.
        """
        hosts = self._config["cluster"]["worker"]
        with socket.socket() as server:
            server.bind(("", int(hosts[self._number].rpartition(":")[2])))
            server.listen()
            self._meet(folder)
            for host in hosts:
                name, _, port = host.rpartition(":")
                socket.create_connection((name, int(port)), 10).close()
            print(json.dumps([hosts, network.is_reachable()]), flush=True)
            files.write_json(f"{apart}/ports-{self._number}.json", hosts)
            while not os.path.exists(f"{apart}/tried"):
                time.sleep(0.05)

    def _meet(self, folder: str) -> None:
        """Waits for the other workers; leaves a file a process."""
        with open(f"{folder}/{self._number}-{os.getpid()}", "w"):
            pass
        while len(os.listdir(folder)) % len(self._config["cluster"]["worker"]):
            time.sleep(0.01)

    def _wait(self) -> NoReturn:
        # In short pieces: of a signal just before a long one, Python would hear after it only.
        while True:
            time.sleep(0.1)


def stop(number: int, _: Any) -> NoReturn:
    """As training does, with nothing to save."""
    print("saved", flush=True)
    sys.exit(128 + number)


if __name__ == "__main__":
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, stop)
    getattr(Worker(), sys.argv[1])(*sys.argv[2:])
