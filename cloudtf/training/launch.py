"""Several workers on one machine: local processes that find each other through TF_CONFIG.

The scheduler of a cluster does the same on many machines (`docs/CLUSTERS.md`).
"""

from __future__ import annotations

import codecs
import contextlib
import ctypes
import dataclasses
import errno
import json
import math
import os
import random
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from typing import Any, BinaryIO, Callable, Iterator, Mapping, Optional, Sequence, TextIO

from cloudtf import files, network
from cloudtf.errors import UserError, param, reason
from cloudtf.reporter import report
from cloudtf.settings import Settings, setting
from cloudtf.training.config import TrainConfig

# What workers have to end by themselves once one of them has: they may be waiting for it in a
# collective operation, where no signal reaches Python.
GRACE_SECONDS = 30.0

# The first part of it: most notice by themselves, and a signal could come before they have said so.
_NOTICE_SECONDS = 5.0

# Of a progress bar a line is shown this often at most.
_BAR_SECONDS = 10.0

# Ends that starting again would repeat: bad input, bad usage, and the three of `StopRequests`.
_NO_CRASH = (1, 2, 75, 128 + signal.SIGINT, 128 + signal.SIGTERM)

# A line and what ends it; a carriage return that comes last may be half of a line's end.
_LINE = re.compile(r"([^\r\n]*)(\r?\n|\r(?=[^\n]))")


@dataclasses.dataclass(frozen=True)
class LaunchConfig(Settings):
    """The settings of `cloudtf launch`."""

    workers: int = setting(2, "Worker processes on this machine.", minimum=1, maximum=64)
    restarts: int = setting(
        0,
        "How often all workers are started again, to go on from the last checkpoint, after one of "
        "them has crashed or was killed.",
        minimum=0,
    )


class WorkerFailed(UserError):
    """A worker has ended with another status than 0, and the rest were stopped."""

    def __init__(self, message: str, exit_status: int) -> None:
        super().__init__(message)
        self.exit_status = exit_status


def launch(
    command: Sequence[str],
    config: LaunchConfig,
    grace_seconds: float = GRACE_SECONDS,
    needs_others: str = "",
) -> None:
    """Runs a command once for each worker and shows what they say, each line with its worker.

    SIGTERM and Ctrl-C are handed on to the workers, which save and stop; a second Ctrl-C kills
    them. Workers do not outlive the launcher (on Linux): they get SIGTERM when it dies.

    Args:
      command: program and arguments, the same for all workers.
      config: how many, and how often to start again.
      grace_seconds: what the others have to end by themselves once one worker has failed.
      needs_others: why the workers must reach other machines, such as `data_dir is not on this
        machine`; empty if they need not. Then they are in a network of their own, where nobody else
        reaches their ports, if this system allows it; otherwise it is said that they are open.

    Raises:
      WorkerFailed: with the exit status of the worker that failed first (128 and the signal's
        number, if one killed it), or 143 or 130 for SIGTERM or Ctrl-C.
    """
    with _Signals() as signals, _network(needs_others) as enter:
        for left in range(config.restarts, -1, -1):
            failed = _run(command, config.workers, signals, grace_seconds, enter)
            if signals.first is not None:
                how = "stopped" if signals.first == signal.SIGINT else "told to stop (SIGTERM)"
                raise WorkerFailed(
                    f"{how}; run the same command to go on.", 128 + int(signals.first)
                )
            if failed is None:
                return
            worker, code = failed
            ending = f"was killed by signal {-code}" if code < 0 else f"ended with status {code}"
            if not left or code in _NO_CRASH:
                others = "" if config.workers == 1 else " and the others were stopped"
                raise WorkerFailed(
                    f"worker {worker} {ending}{others}; what it said is above.",
                    code if code > 0 else 128 - code,
                )
            print(
                f"cloudtf launch: worker {worker} {ending}; all start again from the last "
                f"checkpoint ({left} more such times).",
                file=sys.stderr,
            )


@contextlib.contextmanager
def _network(needs_others: str) -> Iterator[Callable[[], None]]:
    """Gives what each worker calls before anything else, so that nobody else reaches its port."""
    with contextlib.ExitStack() as stack:
        enter: Callable[[], None] = lambda: None  # noqa: E731
        if network.is_reachable():
            try:
                if needs_others:
                    raise OSError(errno.EPERM, needs_others)
                enter = stack.enter_context(network.own_network())
            except OSError as error:
                report(
                    f"Note: the workers are not in a network of their own ({reason(error)}); each "
                    "says which port it opens."
                )
        yield enter


def needs_others(config: TrainConfig) -> str:
    """Why a run needs to reach other machines; empty if all that it reads and writes is here."""
    for field in dataclasses.fields(config):
        value = getattr(config, field.name)
        if isinstance(value, str) and files.is_remote(value) and not value.startswith("file://"):
            return f"{param(**{field.name: value})} is not on this machine"
    if config.data_service:
        return f"{param(data_service=config.data_service)} is not on this machine"
    published = config.weights in ("imagenet", "noisy-student")
    if published and config.model.startswith("efficientnetb"):
        from cloudtf.model import weights  # Late, since it imports TensorFlow.

        with contextlib.suppress(UserError):  # The workers say it.
            if weights.cached(config.model, config.weights) is None:
                return f"{param(weights=config.weights)} is still to be downloaded"
    return ""


def _free_ports(count: int) -> list[int]:
    """Ports of this machine at which nobody listens.

    From below those that systems deal out by themselves (Linux from 32768, others from 49152): a
    worker takes its port some seconds later, and another program must not have been given it.
    """
    ports: list[int] = []
    with contextlib.ExitStack() as taken:  # All are held until the last is found.
        while len(ports) < count:
            port = random.SystemRandom().randrange(20_000, 32_000)
            try:
                taken.enter_context(socket.socket()).bind(("127.0.0.1", port))
            except OSError as error:
                if error.errno != errno.EADDRINUSE:
                    raise
            else:
                ports.append(port)
    return ports


def environments(workers: int, base: Mapping[str, str]) -> list[dict[str, str]]:
    """The environment of each worker: TF_CONFIG with free ports of this machine, and its GPUs.

    Args:
      workers: the number of worker processes.
      base: the variables that they share. GPUs that CUDA_VISIBLE_DEVICES lists are dealt out, if
        there is one for each worker.
    """
    hosts = [f"127.0.0.1:{port}" for port in _free_ports(workers)]
    gpus = [name for name in base.get("CUDA_VISIBLE_DEVICES", "").split(",") if name]
    each = len(gpus) // workers
    result = []
    for index in range(workers):
        task = {"cluster": {"worker": hosts}, "task": {"type": "worker", "index": index}}
        variables = {**base, "TF_CONFIG": json.dumps(task), "PYTHONUNBUFFERED": "1"}
        if each:
            variables["CUDA_VISIBLE_DEVICES"] = ",".join(gpus[index * each : (index + 1) * each])
        result.append(variables)
    return result


class _Signals:
    """SIGTERM and Ctrl-C, noted instead of obeyed.

    Attributes:
      first: the first one that came, or None.
      again: whether a Ctrl-C came after it.
    """

    def __init__(self) -> None:
        self.first: Optional[signal.Signals] = None
        self.again = False
        self._old: dict[int, Any] = {}

    def __enter__(self) -> _Signals:
        for number in (signal.SIGTERM, signal.SIGINT):
            self._old[number] = signal.signal(number, self._note)
        return self

    def __exit__(self, *_: Any) -> None:
        for number, handler in self._old.items():
            signal.signal(number, handler)

    def _note(self, number: int, _frame: Any) -> None:
        if self.first is None:
            self.first = signal.Signals(number)
        elif number == signal.SIGINT:
            self.again = True


def _run(
    command: Sequence[str],
    workers: int,
    signals: _Signals,
    grace_seconds: float,
    enter: Callable[[], None],
) -> Optional[tuple[int, int]]:
    """Starts all workers and waits for them.

    Returns:
      The worker that failed first and its exit code, negative for a signal; None if none did.
    """

    def begin() -> None:
        enter()
        if sys.platform == "linux":
            _end_with_parent()

    processes: list[subprocess.Popen] = []
    copies: list[threading.Thread] = []
    try:
        for variables in environments(workers, os.environ):
            process = subprocess.Popen(
                command,
                env=variables,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                # A terminal's Ctrl-C reaches the launcher alone, which hands it on once.
                start_new_session=True,
                preexec_fn=begin,
            )
            processes.append(process)
        for index, process in enumerate(processes):
            for source, target in ((process.stdout, sys.stdout), (process.stderr, sys.stderr)):
                arguments = (source, f"[{index}] ", target)
                copies.append(threading.Thread(target=copy_lines, args=arguments, daemon=True))
                copies[-1].start()
        return _wait(processes, signals, grace_seconds)
    finally:
        _send(processes, signal.SIGKILL)
        for process in processes:
            process.wait()
        for thread in copies:
            thread.join(timeout=5)


def _wait(
    processes: list[subprocess.Popen], signals: _Signals, grace_seconds: float
) -> Optional[tuple[int, int]]:
    failed: Optional[tuple[int, int]] = None
    signalled, failed_at = False, math.inf
    notice_seconds = min(_NOTICE_SECONDS, grace_seconds / 2)
    while True:
        running = any(process.poll() is None for process in processes)
        now = time.monotonic()
        if failed is None:
            codes = (process.poll() for process in processes)
            failed = next(((i, code) for i, code in enumerate(codes) if code), None)
            if failed is not None:
                failed_at = now
        if not running:
            return failed
        if not signalled and (signals.first is not None or now >= failed_at + notice_seconds):
            signalled = True
            _send(processes, signals.first or signal.SIGTERM)
        if signals.again or now >= failed_at + grace_seconds:
            _send(processes, signal.SIGKILL)
        time.sleep(0.05)


def _send(processes: list[subprocess.Popen], number: int) -> None:
    for process in processes:
        if process.poll() is None:
            process.send_signal(number)


def copy_lines(source: BinaryIO, prefix: str, target: TextIO) -> None:
    """Copies a process's output as it comes, a prefix before each line, until its end.

    What ends in a carriage return is a progress bar's, soon to be overwritten; few are shown.
    """
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    text, shown = "", -math.inf
    while piece := source.read1(1 << 16):  # type: ignore[attr-defined]
        text += decoder.decode(piece)
        lines, end = [], 0
        for match in _LINE.finditer(text):
            line, ended_by = match.groups()
            end = match.end()
            if ended_by == "\r":
                if not line.strip() or time.monotonic() - shown < _BAR_SECONDS:
                    continue
                shown = time.monotonic()
            lines.append(f"{prefix}{line}".rstrip() + "\n")
        text = text[end:]
        _write(target, "".join(lines))
    if text.strip():
        _write(target, f"{prefix}{text.strip()}\n")


def _write(target: TextIO, text: str) -> None:
    # Whoever read this may be gone; the workers go on and must not wait for a full pipe.
    with contextlib.suppress(BrokenPipeError):
        target.write(text)
        target.flush()


def _end_with_parent() -> None:
    ctypes.CDLL(None).prctl(1, signal.SIGTERM)  # PR_SET_PDEATHSIG
