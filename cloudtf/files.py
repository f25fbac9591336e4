"""File access for local paths and for whatever `tf.io.gfile` speaks (`gs://`, `ram://`, ...).

Where there is Apache Beam and no TensorFlow, Beam's file systems take its place.

Local paths use the operating system directly: that gives a real flush to disk and an atomic
rename, and a command that only reads a CSV need not load TensorFlow. Paths with a scheme go to
`tf.io.gfile`. Nothing else in cloudtf opens files.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib.util
import io
import json
import math
import os
import posixpath
import secrets
import shutil
from typing import Any, Callable, Iterable, Iterator, Mapping, Optional, TextIO

from cloudtf import temporary
from cloudtf.errors import UserError, param, reason


def is_remote(path: str) -> bool:
    """True for a path with a scheme, such as `gs://bucket/x` or `ram://x`."""
    return "://" in path


def join(directory: str, *names: str) -> str:
    """`os.path.join` that keeps forward slashes in remote paths."""
    return (posixpath if is_remote(directory) else os.path).join(directory, *names)


def basename(path: str) -> str:
    """The last part of a path."""
    return os.path.basename(path.rstrip("/"))


def dirname(path: str) -> str:
    """The folder of a path, `.` for a bare local name."""
    return (posixpath if is_remote(path) else os.path).dirname(path) or "."


def _gfile() -> Any:
    try:
        import tensorflow as tf
    except ModuleNotFoundError:
        if importlib.util.find_spec("apache_beam") is None:
            raise
        from cloudtf import beam_files

        return beam_files
    return tf.io.gfile


@contextlib.contextmanager
def _telling(what: str, path: str, verb: str, kinds: type[Exception] = Exception) -> Iterator[None]:
    """Makes a sentence of what a file system raises: `The {what} {path} cannot be {verb}: ...`."""
    try:
        yield
    except (UserError, MemoryError, ModuleNotFoundError):
        raise
    except kinds as error:
        raise UserError(f"The {what} {path} cannot be {verb}: {reason(error)}.") from error


def exists(path: str) -> bool:
    """Whether a file or folder is there; UserError if a remote file system cannot be asked."""
    with _telling("file", path, "looked for"):
        return bool(_gfile().exists(path)) if is_remote(path) else os.path.exists(path)


def is_dir(path: str) -> bool:
    """Whether a folder is there; UserError if a remote file system cannot be asked."""
    with _telling("folder", path, "looked for"):
        return bool(_gfile().isdir(path)) if is_remote(path) else os.path.isdir(path)


def list_dir(path: str) -> list[str]:
    """The names in a folder, sorted, without trailing slashes; UserError if it cannot be listed."""
    with _telling("folder", path, "listed"):
        names = _gfile().listdir(path) if is_remote(path) else os.listdir(path)
    return sorted(name.rstrip("/") for name in names)


def make_dirs(path: str) -> None:
    """Makes a folder and its parents, unless it is there; UserError if it cannot be made."""
    with _telling("folder", path, "made"):
        _gfile().makedirs(path) if is_remote(path) else os.makedirs(path, exist_ok=True)


def size(path: str) -> int:
    """The length of a file in bytes; UserError if it is missing or cannot be looked at."""
    with _telling("file", path, "read"):
        return int(_gfile().stat(path).length) if is_remote(path) else os.path.getsize(path)


def remove(path: str) -> None:
    """Removes a file, unless it is already gone; UserError if it cannot be removed."""
    with _telling("file", path, "removed"):
        if is_remote(path):
            if exists(path):
                _gfile().remove(path)
            return
        with contextlib.suppress(FileNotFoundError, NotADirectoryError):
            os.remove(path)


def remove_tree(path: str) -> None:
    """Removes a folder and all in it; one that is already gone is fine.

    Raises:
      UserError: a remote one cannot be removed; of a local one what cannot be removed is left.
    """
    if not is_remote(path):
        shutil.rmtree(path, ignore_errors=True)
    elif exists(path):
        with _telling("folder", path, "removed"):
            _gfile().rmtree(path)


def move(source: str, target: str) -> None:
    """Renames a file over `target`, atomically where the file system can."""
    if is_remote(target):
        _gfile().rename(source, target, overwrite=True)
    else:
        os.replace(source, target)
        _flush_directory(dirname(target))


def read_bytes(path: str) -> bytes:
    """The bytes of a file; UserError if it is missing or cannot be read."""
    with _telling("file", path, "read"):
        if is_remote(path):
            with _gfile().GFile(path, "rb") as file:
                return bytes(file.read())
        with open(path, "rb") as file:
            return file.read()


def is_lasting(error: UserError) -> bool:
    """Whether a file could not be read since it is not there or may not be read.

    Other failures (too many open files, a storage that does not answer) may pass.
    """
    cause = error.__cause__
    # By their names, since TensorFlow need not be there.
    remote = type(cause).__name__ in ("NotFoundError", "PermissionDeniedError")
    return remote or isinstance(cause, (FileNotFoundError, PermissionError))


def read_text(path: str) -> str:
    """The text of a file without a byte-order mark; UserError if it is unreadable or not UTF-8."""
    data = read_bytes(path)
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise _not_text(path, data, "utf-8-sig") from error


def _not_text(path: str, data: bytes, encoding: str) -> UserError:
    """What to raise for a file that is not in an encoding."""
    where = ""
    try:
        data.decode(encoding)
    except UnicodeDecodeError as error:
        where = f" (byte {error.start})"
    name = encoding.upper().replace("-SIG", "")
    return UserError(f"The file {path} is not {name} text{where}; save it as UTF-8.")


@contextlib.contextmanager
def open_text(path: str, encoding: str = "utf-8-sig") -> Iterator[TextIO]:
    """A text file to read a piece at a time, line ends as they are.

    Args:
      path: a local or remote file.
      encoding: the name of a codec; at first UTF-8, with or without a byte-order mark.

    Raises:
      UserError: the file is missing, cannot be read, or is found not to be text in that encoding on
        the way.
    """
    try:
        binary = io.BufferedReader(_RemoteReader(path)) if is_remote(path) else open(path, "rb")  # noqa: SIM115
        with io.TextIOWrapper(binary, encoding=encoding, newline="") as file:
            yield file
    except UnicodeError as error:
        # All of it is read again to say where, which the piece at hand does not know.
        raise _not_text(path, read_bytes(path), encoding) from error
    except OSError as error:
        raise UserError(f"The file {path} cannot be read: {reason(error)}.") from error


@contextlib.contextmanager
def open_bytes(path: str) -> Iterator[Any]:
    """A file to seek in and to read small pieces from, which are not read ahead.

    Raises:
      UserError: it is missing, or cannot be opened or read.
    """
    remote = is_remote(path)
    with _telling("file", path, "read", Exception if remote else OSError):
        opened = _gfile().GFile(path, "rb") if remote else open(path, "rb", buffering=0)  # noqa: SIM115
        with opened as file:
            yield file


class _RemoteReader(io.RawIOBase):
    """A remote file as Python's own readers want it."""

    def __init__(self, path: str) -> None:
        self._file = _gfile().GFile(path, "rb")

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        try:
            content = self._file.read(len(buffer))
        except Exception as error:
            raise OSError(str(error)) from error
        buffer[: len(content)] = content
        return len(content)


def read_json(path: str) -> Any:
    """The value in a JSON file; UserError if it cannot be read or `parse_json` refuses it."""
    text = read_text(path)
    try:
        return parse_json(text)
    except ValueError as error:
        raise UserError(f"The file {path} is not JSON ({error}); make it again.") from error


class NamedTwice(ValueError):
    """An object gives a name twice, so that one of its values would be lost."""

    def __init__(self, name: Any) -> None:
        super().__init__(f"it has {str(name)[:60]!r} twice")


def parse_json(text: str) -> Any:
    """The value that a JSON text says, and says once.

    Raises:
      NamedTwice: it gives a name of an object twice (RFC 8259, section 4).
      ValueError: it is not JSON, or holds half of a surrogate pair alone (section 8.2), which could
        not be written again.
    """
    try:
        value = json.loads(text, object_pairs_hook=_unique)
    except RecursionError as error:
        raise ValueError(str(error)) from error
    if "\\ud" in text.lower():
        _check_text(json.dumps(value, ensure_ascii=False))
    return value


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) < len(pairs):
        names = [name for name, _ in pairs]
        raise NamedTwice(next(name for name in names if names.count(name) > 1))
    return value


def _check_text(text: str) -> None:
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as error:
        half = ascii(text[error.start])[1:-1]
        raise ValueError(f"{half} is half of a surrogate pair") from error


def sha256(path: str) -> str:
    """The SHA-256 of a file as hex, read in pieces; UserError if it cannot be read."""
    digest = hashlib.sha256()
    with open_bytes(path) as file:
        while piece := file.read(1 << 20):
            digest.update(piece)
    return digest.hexdigest()


@contextlib.contextmanager
def without_wildcards(prefix: str) -> Iterator[str]:
    """Gives another prefix for the files whose paths begin with `prefix`, without wildcards.

    TensorFlow looks for the files of a checkpoint as for a pattern, in which `[`, `]`, `*`, `?` and
    `\\` mean others than themselves. Local files with such a path are linked to a temporary folder.
    """
    if is_remote(prefix) or not set(prefix) & set("[]*?\\{}"):
        yield prefix
        return
    folder, start = os.path.abspath(dirname(prefix)), os.path.basename(prefix)
    with temporary.scratch_folder() as plain:
        for name in list_dir(folder):
            if name.startswith(start):
                link = os.path.join(plain, f"linked{name[len(start) :]}")
                os.symlink(os.path.join(folder, name), link)
        yield os.path.join(plain, "linked")


def same_file(one: str, other: str) -> bool:
    """Whether two paths are one file, by links too; by their names where they are remote."""
    if is_remote(one) or is_remote(other):
        return posixpath.normpath(one) == posixpath.normpath(other)
    if os.path.exists(one) and os.path.exists(other):
        return os.path.samefile(one, other)
    return os.path.realpath(one) == os.path.realpath(other)


def check_output(
    path: str,
    kind: str,
    is_one: Callable[[bytes], bool],
    inputs: Optional[Mapping[str, Optional[str]]] = None,
    setting: str = "output",
    beside: bool = False,
) -> None:
    """Refuses to write over what a command reads, or over a file that is not of the same kind.

    Args:
      path: the file that will be written.
      kind: what it will be, such as `a prediction table`; names it in the refusal.
      is_one: whether the content of a file is of that kind.
      inputs: the files that the command reads, by the setting that names them; None is passed over.
      setting: the setting that names `path`, or the folder that it is in.
      beside: whether `path` is not what the setting names, but is written beside that.

    Raises:
      UserError: the file is an input, is there and of another kind, or is no regular file.
    """
    given = param(**{setting: path}) if setting == "output" and not beside else path
    for name, other in (inputs or {}).items():
        if other is not None and same_file(path, other):
            raise UserError(
                f"{given} is the file of {param(name)}, which is never written over; choose "
                "another name."
            )
    if not exists(path):
        return
    regular = not is_dir(path) if is_remote(path) else os.path.isfile(path)
    if not regular or not is_one(read_bytes(path)):
        raise UserError(
            f"{given} is there already and is not {kind}; move it away, or choose another "
            f"{param(setting)}."
        )


@contextlib.contextmanager
def replacing(path: str, lasting: bool = True) -> Iterator[str]:
    """Gives a temporary local path to write to; on leaving without an error moves it to `path`.

    The temporary file is flushed to disk before the move, so `path` holds either what it held
    before or the whole new content. For a remote `path` it is copied beside it and then renamed.

    Args:
      path: the file, local or remote.
      lasting: False for a working file of which a crash of the machine may leave less: not flushed.

    Raises:
      UserError: the file system refuses.
    """
    if not is_remote(path):
        try:
            with temporary.file_beside(path) as name:
                yield name
                if lasting:
                    _flush(name)
                    move(name, path)
                else:
                    os.replace(name, path)
        except OSError as error:
            raise UserError(f"The file {path} cannot be written: {reason(error)}.") from error
        return
    with temporary.scratch_folder() as folder:
        local = os.path.join(folder, basename(path))
        yield local
        # Not `path` and more: on ram:// a path is there as soon as a longer name begins with it.
        staged = join(dirname(path), _temporary_name(path))
        try:
            _gfile().copy(local, staged, overwrite=True)
            move(staged, path)
        except Exception as error:
            raise UserError(f"The file {path} cannot be written: {reason(error)}.") from error


@contextlib.contextmanager
def replacing_all(folder: str, former: Iterable[str] = ()) -> Iterator[str]:
    """Gives a temporary local folder; on leaving without an error its files move to `folder`.

    They belong together: whenever the process dies, no new one of them stands beside an old one.
    So all is written beside its place first, then what it replaces is removed, then it is moved in.

    Args:
      folder: where the files go; made if it is not there.
      former: names in `folder` that are removed too, if they are not written anew.

    Raises:
      UserError: the file system refuses.
    """
    with temporary.scratch_folder() as written:
        yield written
        make_dirs(folder)
        staged = {}
        try:
            for name in list_dir(written):
                staged[name] = join(folder, _temporary_name(name))
                with _telling("file", join(folder, name), "written"):
                    if is_remote(folder):
                        _gfile().copy(os.path.join(written, name), staged[name], overwrite=True)
                    else:
                        shutil.copyfile(os.path.join(written, name), staged[name])
                        _flush(staged[name])
            for name in {*former, *staged}:
                remove(join(folder, name))
            for name, source in staged.items():
                with _telling("file", join(folder, name), "written"):
                    move(source, join(folder, name))
        finally:
            for source in staged.values():
                with contextlib.suppress(UserError):
                    remove(source)


def _temporary_name(path: str) -> str:
    # Drawn, since processes on two machines may have the same number.
    return f".{basename(path)}.{secrets.randbelow(10**12)}.tmp"


def write_bytes(path: str, content: bytes, lasting: bool = True) -> None:
    """Writes a file whole or not at all; UserError if it cannot be written.

    With `lasting=False` a crash of the machine may leave less of it; see `replacing`.
    """
    with replacing(path, lasting) as temporary, open(temporary, "wb") as file:
        file.write(content)


def write_text(path: str, content: str) -> None:
    """Writes UTF-8 text whole or not at all; UserError if it cannot be written."""
    write_bytes(path, content.encode("utf-8"))


def write_json(path: str, value: Any) -> None:
    """Writes JSON whole or not at all; a float that is not finite becomes null.

    Raises:
      UserError: it cannot be written.
    """
    write_text(path, json.dumps(_finite(value), indent=2, ensure_ascii=False) + "\n")


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def flush(path: str) -> None:
    """Waits until a local file is on the disk; others see to that themselves."""
    if not is_remote(path):
        _flush(path)


def remove_leftovers(directory: str, of: Optional[Iterable[str]] = None) -> None:
    """Removes what `replacing` and `replacing_all` left in a local folder when they were killed.

    Args:
      directory: the folder. What living processes are writing stays, where the file system has
        locks; remote folders stay as they are.
      of: the files that were being written, by name; None for all.

    Raises:
      UserError: the folder cannot be listed, or something in it cannot be removed.
    """
    wanted = None if of is None else set(of)
    if not is_remote(directory):
        with _telling("folder", directory, "tidied", OSError):
            temporary.remove_left(directory, wanted)


@contextlib.contextmanager
def new_folder(path: str) -> Iterator[str]:
    """Gives a temporary local folder, and on leaving without an error moves it to `path`.

    Nothing may be there but an empty folder. To a remote `path` the files are copied, one named
    `saved_model.pb` as the last, since it is what makes a folder a SavedModel.

    Raises:
      UserError: the file system refuses.
    """
    if is_remote(path):
        with temporary.scratch_folder() as folder:
            yield folder
            _upload(folder, path)
        return
    make_dirs(dirname(path))
    try:
        with temporary.folder_beside(path) as folder:
            yield folder
            os.replace(folder, path)
    except OSError as error:
        raise UserError(f"The folder {path} cannot be written: {reason(error)}.") from error


def _upload(folder: str, path: str) -> None:
    names = [
        os.path.relpath(os.path.join(where, name), folder)
        for where, _, names in os.walk(folder)
        for name in names
    ]
    for name in sorted(names, key=lambda name: (name == "saved_model.pb", name)):
        target = join(path, *name.split(os.sep))
        make_dirs(dirname(target))
        write_bytes(target, read_bytes(os.path.join(folder, name)))


def download(path: str, local: str) -> None:
    """Copies a remote file, or a folder and all in it, to a local path where nothing is yet."""
    if not is_dir(path):
        write_bytes(local, read_bytes(path))
        return
    make_dirs(local)
    for name in list_dir(path):
        download(join(path, name), os.path.join(local, name))


def _flush(path: str) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _flush_directory(path: str) -> None:
    # Not every file system lets a folder be opened or flushed; the rename itself has happened.
    with contextlib.suppress(OSError):
        _flush(path)
