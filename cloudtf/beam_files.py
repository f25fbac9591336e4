"""What `cloudtf.files` needs of `tf.io.gfile`, by Apache Beam's file systems.

For environments without TensorFlow, such as those of Beam's workers. Beam's extras decide which
schemes there are: `apache-beam[gcp]` for `gs://`, `[aws]` for `s3://`, `[azure]` for
`azfs://`; `hdfs://` comes with it.
"""

from __future__ import annotations

import re
import shutil
from typing import Any, NamedTuple, Optional

from apache_beam.io.filesystem import BeamIOError, CompressionTypes
from apache_beam.io.filesystems import FileSystems

# Beam would else unpack a file by the end of its name.
_AS_IT_IS = CompressionTypes.UNCOMPRESSED


class Stat(NamedTuple):
    """What is known of a file without reading it."""

    length: int


def GFile(path: str, mode: str) -> Any:  # noqa: N802 - tf.io.gfile's name
    """A file opened to read bytes."""
    if mode != "rb":
        raise ValueError(f"mode {mode!r} is not 'rb'")
    return FileSystems.open(path, compression_type=_AS_IT_IS)


def exists(path: str) -> bool:
    """Whether a file or folder is there."""
    return bool(FileSystems.exists(path)) or isdir(path)


def isdir(path: str) -> bool:
    """Whether there is a file in the folder, or, on a file system that has folders, the folder."""
    if _match(path, "*", 1):
        return True
    # With the slash at the end a file is none.
    return _has_folders(path) and bool(FileSystems.exists(path.rstrip("/") + "/"))


def listdir(path: str) -> list[str]:
    """Names of the files in a folder; not of the folders in it.

    Raises:
      FileNotFoundError: there is no such folder, on a file system that has folders.
    """
    paths = _match(path, "*")
    if not paths and _has_folders(path) and not isdir(path):
        raise FileNotFoundError("No such folder")
    return [each.rstrip("/").rpartition("/")[2] for each in paths]


def makedirs(path: str) -> None:
    """Makes a folder and its parents; nothing to do on object stores."""
    if _has_folders(path) and not isdir(path):
        FileSystems.mkdirs(path)


def stat(path: str) -> Stat:
    """The length of a file."""
    return Stat(int(FileSystems.get_filesystem(path).size(path)))


def remove(path: str) -> None:
    """Removes a file."""
    FileSystems.delete([path])


def rmtree(path: str) -> None:
    """Removes a folder and all in it."""
    inside = _match(path, "**")
    if inside:
        FileSystems.delete(inside)
    if isdir(path):
        FileSystems.delete([path])


def rename(source: str, target: str, overwrite: bool = False) -> None:
    """Renames a file; on an object store this copies it there."""
    try:
        FileSystems.rename([source], [target])
    except BeamIOError:
        # Hadoop's file system does not rename over a file.
        if not overwrite or not FileSystems.exists(source) or not FileSystems.exists(target):
            raise
        FileSystems.delete([target])
        FileSystems.rename([source], [target])


def copy(source: str, target: str, overwrite: bool = False) -> None:
    """Copies a local file to `target`."""
    if not overwrite and exists(target):
        raise FileExistsError(f"{target} is there already")
    mime = "application/octet-stream"
    with open(source, "rb") as local, FileSystems.create(target, mime, _AS_IT_IS) as remote:
        shutil.copyfileobj(local, remote, 1 << 20)


def _has_folders(path: str) -> bool:
    return bool(FileSystems.get_filesystem(path).has_dirs())


def _match(folder: str, pattern: str, limit: Optional[int] = None) -> list[str]:
    """Paths of the files below a folder, whose own name may have any character."""
    begin = folder.rstrip("/") + "/"
    # Beam has no way to quote the characters of patterns.
    vague = re.sub(r"[*?\[]", "?", begin)
    (matches,) = FileSystems.match([vague + pattern], None if vague != begin else [limit])
    return [each.path for each in matches.metadata_list if each.path.startswith(begin)]
