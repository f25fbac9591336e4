"""Who can reach the ports that TensorFlow opens, and a network of their own for some processes.

TensorFlow's servers know no passwords and listen on all network interfaces: whoever reaches the
port of one can run operations in its process, and with them read and write files as its user. In a
network of their own (Linux's network namespaces) processes reach one another and nobody else
reaches them, nor they anybody else.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
import socket
import struct
import subprocess
import sys
from typing import Callable, Iterator

from cloudtf.reporter import report

# Of Linux, from sched.h, if.h and sockios.h.
_CLONE_NEWUSER, _CLONE_NEWNET = 0x10000000, 0x40000000
_IFF_UP, _IFF_LOOPBACK = 0x1, 0x8
_SIOCGIFFLAGS, _SIOCSIFFLAGS = 0x8913, 0x8914


def is_reachable() -> bool:
    """Whether this process's ports may be reached from outside: it has more than its loopback."""
    if sys.platform != "linux":
        return True
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asked:
        flags = [_flags(asked, name) for _, name in socket.if_nameindex()]
    return any(flag & _IFF_UP and not flag & _IFF_LOOPBACK for flag in flags)


def report_open(port: str) -> None:
    """Says at the start of a server who can reach it, if that is more than this machine.

    Args:
      port: a name for the port that the server listens on, such as `port 5050`.
    """
    if is_reachable():
        report(
            f"Note: {port} is open without a password to all who reach this machine, to read and "
            "write files as you do; docs/CLUSTERS.md says how to close it to others."
        )


@contextlib.contextmanager
def own_network() -> Iterator[Callable[[], None]]:
    """A network that has nothing but a loopback.

    Yields:
      What a new child process calls before anything else (`preexec_fn` of `subprocess.Popen`): from
      then on it is in that network, with the files and rights that it has otherwise.

    Raises:
      OSError: this system has no such networks, or does not allow them.
    """
    if sys.platform != "linux":
        raise OSError(errno.ENOSYS, "this system has no network namespaces")
    libc = ctypes.CDLL(None, use_errno=True)
    user, group = os.geteuid(), os.getegid()

    def make() -> None:
        # For root alone: then no rights over other users' files are lost.
        if libc.unshare(_CLONE_NEWNET):
            _called(libc.unshare(_CLONE_NEWUSER | _CLONE_NEWNET))
            for name, text in (
                ("setgroups", "deny"),
                ("uid_map", f"{user} {user} 1"),
                ("gid_map", f"{group} {group} 1"),
            ):
                with open(f"/proc/self/{name}", "w", encoding="ascii") as file:
                    file.write(text)
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asked:
            request = struct.pack("16sH14x", b"lo", _flags(asked, "lo") | _IFF_UP)
            _control(asked, _SIOCSIFFLAGS, request)

    with contextlib.ExitStack() as stack:
        try:
            # It ends when its input does; the network stays as long as it is held open here.
            maker = stack.enter_context(
                subprocess.Popen(
                    ["cat"], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, preexec_fn=make
                )
            )
        except subprocess.SubprocessError as error:
            raise OSError(errno.EPERM, "the system does not allow network namespaces") from error
        spaces = []
        for kind in ("user", "net"):
            path = f"/proc/{maker.pid}/ns/{kind}"
            if os.stat(path).st_ino != os.stat(f"/proc/self/ns/{kind}").st_ino:
                spaces.append(os.open(path, os.O_RDONLY | os.O_CLOEXEC))
                stack.callback(os.close, spaces[-1])

        def enter() -> None:
            for space in spaces:
                _called(libc.setns(space, 0))

        yield enter


def _called(failed: int) -> None:
    if failed:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


def _flags(asked: socket.socket, name: str) -> int:
    answer = _control(asked, _SIOCGIFFLAGS, struct.pack("16s16x", name.encode()))
    return int(struct.unpack_from("16xH", answer)[0])


def _control(asked: socket.socket, what: int, request: bytes) -> bytes:
    import fcntl

    return fcntl.ioctl(asked, what, request)
