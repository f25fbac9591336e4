"""The processes of the data service: a dispatcher and its workers, and how to reach them."""

from __future__ import annotations

import dataclasses
import re
import signal
import socket
import threading
import time
from typing import Any, Optional

from cloudtf import network
from cloudtf.errors import UsageError, UserError, param, reason
from cloudtf.reporter import report
from cloudtf.settings import Settings, setting

# How long to try whether somebody listens. A scheduler starts the processes of a service in any
# order; trainers come later.
CONNECT_SECONDS = 10.0
WORKER_CONNECT_SECONDS = 60.0
_TRY_SECONDS = 5.0
# What a server that is stopped has for what is under way.
STOP_SECONDS = 5.0
_ADDRESS = re.compile(r"(?:grpc://)?(\[[0-9A-Fa-f:.]+\]|[^\s/:\[\]]+):(\d{1,5})")


@dataclasses.dataclass(frozen=True)
class DataWorkerConfig(Settings):
    """The settings of `cloudtf data-worker`."""

    dispatcher: bool = setting(False, "Be the dispatcher, of which a service has one.")
    dispatcher_address: Optional[str] = setting(
        None, "Be a worker of the dispatcher at this address, such as grpc://host:5050."
    )
    port: int = setting(
        0, "Port to listen on. Default: 5050 for a dispatcher, a free one for a worker.",
        minimum=0, maximum=65535,
    )  # fmt: skip
    host: Optional[str] = setting(
        None,
        "For a worker: the name or address under which trainers reach this machine. Default: its "
        "address on the way to the dispatcher.",
    )
    work_dir: Optional[str] = setting(
        None,
        "For a dispatcher: folder for what it must know to go on after a restart at the same port.",
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.dispatcher == (self.dispatcher_address is not None):
            raise UsageError(
                f"give either {param(dispatcher=True)}, or the {param('dispatcher_address')} that "
                "this worker belongs to."
            )
        if self.dispatcher_address is not None:
            parse_address("dispatcher_address", self.dispatcher_address)
        if self.work_dir is not None and not self.dispatcher:
            raise UsageError(f"{param('work_dir')} is for the dispatcher; workers keep nothing.")
        if self.host is not None and (self.dispatcher or not re.fullmatch(r"[^\s/]+", self.host)):
            raise UsageError(
                f"{param(host=self.host)} must be the name or address of a worker's machine."
            )


def parse_address(setting_name: str, address: str) -> tuple[str, int]:
    """Host and port of `grpc://host:port`.

    Args:
      setting_name: the setting that gave the address, for the message.
      address: with or without `grpc://`; the host a name, an IPv4 or an IPv6 address in brackets.

    Raises:
      UsageError: it is no such address.

    >>> parse_address("data_service", "grpc://host1:5050")
    ('host1', 5050)
    """
    match = _ADDRESS.fullmatch(address)
    if not match or not 0 < int(match[2]) < 65536 or not _is_name(match[1].strip("[]")):
        shown = param(**{setting_name: address})
        raise UsageError(f"{shown} must be an address such as grpc://host:5050.")
    return match[1], int(match[2])


def _is_name(host: str) -> bool:
    try:
        host.encode("idna")  # As the socket module does; it knows the length of a name's parts.
    except UnicodeError:
        return False
    return True


def connect(
    setting_name: str,
    address: str,
    seconds: float = CONNECT_SECONDS,
    stopped: Optional[threading.Event] = None,
) -> str:
    """Waits until a server answers at an address.

    Args:
      setting_name: the setting that gave the address, for the message.
      address: the address to connect to, `grpc://host:port`.
      seconds: the time after which to give up.
      stopped: an event that ends the waiting when it is set; None: nothing ends it early.

    Returns:
      The address of this machine on the way there; empty if it was stopped before.

    Raises:
      UserError: nobody listens.
    """
    host, port = parse_address(setting_name, address)
    deadline, said = time.monotonic() + seconds, False
    stopped = stopped or threading.Event()
    while not stopped.is_set():
        try:
            with socket.create_connection((host.strip("[]"), port), _TRY_SECONDS) as connection:
                return str(connection.getsockname()[0])
        except OSError as error:
            if time.monotonic() >= deadline:
                raise UserError(
                    f"{param(**{setting_name: address})}: nobody answers there ({reason(error)}); "
                    "start `cloudtf data-worker --dispatcher` on that machine first."
                ) from error
        if not said and seconds > CONNECT_SECONDS:
            report(f"Waiting for {address} ...")
            said = True
        stopped.wait(0.2)
    return ""


def serve(config: DataWorkerConfig) -> None:
    """Runs a dispatcher or a worker until SIGTERM or Ctrl-C.

    Raises:
      UserError: the port is taken, the folder cannot be used, or no dispatcher answers.
    """
    stopped = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stopped.set())
    if config.dispatcher_address is not None:
        address, seconds = config.dispatcher_address, WORKER_CONNECT_SECONDS
        here = connect("dispatcher_address", address, seconds, stopped)
        if stopped.is_set():
            report("Stopped.")
            return
        server, what = _worker(config, config.host or here)
    else:
        server, what = _dispatcher(config)
    report(f"{what}; stop it with Ctrl-C or SIGTERM.")
    network.report_open(
        f"port {config.port or 5050}" if config.dispatcher else "this worker's port"
    )
    # Python hears signals between such waits.
    while not stopped.wait(0.5):
        pass
    # A server waits for the others of its service, which may be gone.
    stopping = threading.Thread(target=server.stop, daemon=True)
    stopping.start()
    stopping.join(STOP_SECONDS)
    report("Stopped.")


def _dispatcher(config: DataWorkerConfig) -> tuple[Any, str]:
    import tensorflow as tf

    port = config.port or 5050
    _check_free(port)
    try:
        server = tf.data.experimental.service.DispatchServer(
            tf.data.experimental.service.DispatcherConfig(
                port=port,
                work_dir=config.work_dir,
                fault_tolerant_mode=config.work_dir is not None,
                # A worker that is silent for so long is no longer asked.
                worker_timeout_ms=10_000,
            )
        )
    except (tf.errors.OpError, ValueError) as error:
        raise UserError(f"the dispatcher cannot start ({reason(error)}).") from error
    address = f"grpc://{socket.gethostname()}:{port}"
    return server, f"Dispatcher on port {port}, {param(data_service=address)}"


def _worker(config: DataWorkerConfig, here: str) -> tuple[Any, str]:
    """A worker that trainers reach under the name or address `here`."""
    assert config.dispatcher_address is not None
    import tensorflow as tf

    if config.port:
        _check_free(config.port)
    here = f"[{here}]" if ":" in here and not here.startswith("[") else here
    host, port = parse_address("dispatcher_address", config.dispatcher_address)
    try:
        server = tf.data.experimental.service.WorkerServer(
            tf.data.experimental.service.WorkerConfig(
                dispatcher_address=f"{host}:{port}",
                worker_address=f"{here}:%port%",
                port=config.port,
                heartbeat_interval_ms=2_000,
                dispatcher_timeout_ms=30_000,
            )
        )
    except (tf.errors.OpError, ValueError) as error:
        raise UserError(
            f"this worker cannot join the dispatcher at {config.dispatcher_address} "
            f"({reason(error)}); see that `cloudtf data-worker --dispatcher` runs there."
        ) from error
    return server, f"Worker at {here} for the dispatcher {config.dispatcher_address}"


def _check_free(port: int) -> None:
    """Two servers would share a port without a word (SO_REUSEPORT)."""
    with socket.socket() as tried:
        tried.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            tried.bind(("", port))
        except OSError as error:
            raise UserError(
                f"{param(port=port)} cannot be listened on ({reason(error)}); give another one."
            ) from error
