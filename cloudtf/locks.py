"""Locks that keep a folder for one process."""

from __future__ import annotations

import errno
import os
from typing import Any, Optional

from cloudtf import files
from cloudtf.errors import UserError, param, reason
from cloudtf.reporter import report

# What `flock` says on file systems that have no locks.
_NO_LOCKS = (errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOLCK)


class FolderLock:
    """Holds a folder for one process, by a file in it; a dead process holds nothing.

    The lock is the kernel's (`flock`) and goes with the process, whatever became of it: no number
    of a process or name of a machine is kept, which could outlive them. Over NFS other machines are
    kept out too. Remote folders, and file systems without locks, are not guarded.

    Args:
      folder: the folder to hold; it must be there.
      work: one word for what is done in it, such as `conversion`; refusals name it.
      setting: the setting that chose the folder, such as `run_dir`; refusals name it.
      keep: leave the file there afterwards.
      name: the file's name; locks of different names do not exclude each other.

    Raises:
      UserError: from `with`, if another process holds the folder or it cannot be written to.
    """

    def __init__(
        self, folder: str, work: str, setting: str, keep: bool = True, name: str = ".lock"
    ) -> None:
        self._folder, self._work, self._setting, self._keep = folder, work, setting, keep
        self._path = files.join(folder, name)
        self._descriptor: Optional[int] = None

    def __enter__(self) -> FolderLock:
        if files.is_remote(self._path):
            return self
        import fcntl

        try:
            # A file that its holder removed after it was opened here keeps nobody out.
            while self._descriptor is None or not self._is_in_place(self._descriptor):
                self._close()
                self._descriptor = os.open(self._path, os.O_CREAT | os.O_RDWR, 0o644)
                fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno in _NO_LOCKS:
                report(f"{self._folder} cannot be locked; start no second {self._work} in it.")
                return self
            self._close()
            if not isinstance(error, BlockingIOError):
                raise UserError(
                    f"The lock {self._path} cannot be taken ({reason(error)}); give a "
                    f"{param(self._setting)} that can be written to."
                ) from error
            raise UserError(
                f"Another {self._work} is at work in {self._folder}; wait for it, or give another "
                f"{param(self._setting)}."
            ) from error
        return self

    def __exit__(self, *_: Any) -> None:
        try:
            if self._descriptor is not None and not self._keep:
                # While it is held: what another process has opened by then is no lock any more.
                files.remove(self._path)
        finally:
            self._close()

    def _close(self) -> None:
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def _is_in_place(self, descriptor: int) -> bool:
        try:
            return os.path.samestat(os.stat(self._path), os.fstat(descriptor))
        except FileNotFoundError:
            return False
