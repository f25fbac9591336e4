"""Temporary files and folders that the next run takes over if their process was killed.

Each is held by a lock of the kernel's (`flock`), which goes with its process, and has the first
number that no living process holds: `.best.keras.0.tmp.keras` beside `best.keras`. So what a killed
process has left is emptied and used by the next that writes the same, and nothing piles up. Where a
file system has no locks, the numbers are drawn.
"""

from __future__ import annotations

import contextlib
import os
import re
import secrets
import shutil
import stat
import tempfile
from typing import Collection, Iterator, Optional

_NAME = re.compile(r"\.(.+)\.\d+\.tmp(\..*)?")
# In a temporary folder, what is locked.
_LOCK = ".lock"


@contextlib.contextmanager
def file_beside(path: str) -> Iterator[str]:
    """Gives the path of an empty file in the folder of `path`; removed on leaving, if still there.

    Args:
      path: of a local file, which need not be there. The temporary one has the same extension,
        since writers (Keras, matplotlib) choose their format by it.

    Raises:
      OSError: it cannot be made.
    """
    extension = os.path.splitext(path)[1]
    for number in _numbers():
        name = f"{_prefix(path)}{number}.tmp{extension}"
        descriptor = _held(name)
        if descriptor is None:
            continue
        try:
            os.ftruncate(descriptor, 0)
            yield name
        finally:
            if _is_at(name, descriptor):  # And has not been moved to where it belongs.
                os.remove(name)
            os.close(descriptor)
        return


@contextlib.contextmanager
def folder_beside(path: str) -> Iterator[str]:
    """Gives an empty folder in the folder of `path`; removed with all in it on leaving.

    Raises:
      OSError: it cannot be made.
    """
    for number in _numbers():
        holder = f"{_prefix(path)}{number}.tmp"
        if not _make_own(holder):
            continue
        try:
            descriptor = _held(os.path.join(holder, _LOCK))
        except FileNotFoundError:  # Its last holder was about to remove it.
            continue
        if descriptor is None:
            continue
        try:
            folder = os.path.join(holder, "content")
            _remove(folder)
            os.mkdir(folder)
            yield folder
        finally:
            _remove_held(holder)
            os.close(descriptor)
        return


def scratch_folder() -> contextlib.AbstractContextManager[str]:
    """An empty folder where this machine keeps what does not last, for the user's eyes alone."""
    return folder_beside(os.path.join(tempfile.gettempdir(), f"cloudtf-{os.getuid()}"))


def remove_left(directory: str, of: Optional[Collection[str]] = None) -> None:
    """Removes what killed processes have left in a folder, and nothing that one is writing.

    Args:
      directory: the local folder to clear.
      of: the files and folders that were being written, by name; None for all.

    Raises:
      OSError: the folder cannot be listed, or one of them cannot be removed.
    """
    for name in os.listdir(directory):
        match = _NAME.fullmatch(name)
        if match and (of is None or match[1] in of):
            path = os.path.join(directory, name)
            is_folder = os.path.isdir(path) and not os.path.islink(path)
            descriptor = _held(os.path.join(path, _LOCK) if is_folder else path, makes=False)
            if descriptor is not None:
                _remove_held(path) if is_folder else os.remove(path)
                os.close(descriptor)


def _make_own(folder: str) -> bool:
    """Makes a folder, or says whether the one that is there is this user's."""
    try:
        os.mkdir(folder, 0o700)
        return True
    except FileExistsError:
        pass
    try:
        found = os.lstat(folder)
    except FileNotFoundError:
        return False
    # In a folder that all may write to, somebody may have put a link to somewhere else.
    return stat.S_ISDIR(found.st_mode) and found.st_uid == os.geteuid()


def _held(path: str, makes: bool = True) -> Optional[int]:
    """A file that this process alone holds now, as a descriptor to close; None if it cannot.

    Args:
      path: the local file to hold.
      makes: make it if it is not there, and take no other user's.

    Raises:
      OSError: it is not there and cannot be made.
    """
    import fcntl

    flags = os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW
    new = makes
    try:
        descriptor = os.open(path, flags | (os.O_CREAT | os.O_EXCL if makes else 0), 0o666)
    except FileExistsError:
        new = False
        try:
            descriptor = os.open(path, flags)
        except OSError:  # Another user's, a link, or gone by now.
            return None
    except OSError:
        if makes:
            raise
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        held = _is_at(path, descriptor)  # Its last holder may have moved it meanwhile.
    except BlockingIOError:
        held = False
    except OSError:  # There are no locks: one that was there before may be in use.
        held = new or not makes
    if held and makes and not new:
        held = os.fstat(descriptor).st_uid == os.geteuid()
    if held:
        return descriptor
    os.close(descriptor)
    return None


def _prefix(path: str) -> str:
    path = path.rstrip(os.sep)
    return os.path.join(os.path.dirname(path), f".{os.path.basename(path)}.")


def _numbers() -> Iterator[int]:
    """0, 1, ... and, where those are all held or there are no locks, drawn ones."""
    yield from range(100)
    yield from iter(lambda: secrets.randbelow(10**12), None)


def _is_at(path: str, descriptor: int) -> bool:
    try:
        return os.path.samestat(os.lstat(path), os.fstat(descriptor))
    except (FileNotFoundError, NotADirectoryError):
        return False


def _remove_held(holder: str) -> None:
    """Removes a temporary folder; its lock as the last, since from then on another may take it."""
    for name in os.listdir(holder):
        if name != _LOCK:
            _remove(os.path.join(holder, name))
    _remove(os.path.join(holder, _LOCK))
    with contextlib.suppress(OSError):
        os.rmdir(holder)


def _remove(path: str) -> None:
    if os.path.isdir(path) and not os.path.islink(path):
        shutil.rmtree(path)
    else:
        with contextlib.suppress(FileNotFoundError):
            os.remove(path)
