"""The photographs in a folder, matched with the names in a label CSV.

Names come from files made by others: none may lead out of the folder, neither by `..` nor by a
link, and of a local folder only plain files of sane length are opened.
"""

from __future__ import annotations

import collections
import dataclasses
import os
import stat

import numpy as np

from cloudtf import files
from cloudtf.data.labels import EXTENSIONS, LabelTable, Problem, check_name, escaped
from cloudtf.errors import UserError, reason

# A file that is larger is no photograph; it would be read into memory whole.
MAX_FILE_BYTES = 1 << 29


def unlabelled(images_dir: str) -> LabelTable:
    """All images in a folder (not in folders below it), by name.

    Raises:
      UserError: there is none, or the folder cannot be listed.
    """
    present = _list_images(images_dir, {""})
    names = sorted(name for name in present if _is_image_name(name))
    if not names:
        raise UserError(f"There is no .jpg, .jpeg or .png file in {images_dir}.")
    nothing = np.zeros((len(names), 0), np.uint8)
    table = LabelTable(tuple(names), nothing, (), np.arange(len(names)), {})
    return _resolve(images_dir, table, _Finder(present))


def labelled(images_dir: str, table: LabelTable) -> tuple[LabelTable, list[str]]:
    """The images that a label CSV names.

    A name is tried as it stands, then with .jpg, .jpeg or .png if exactly one such file is there.

    Args:
      images_dir: their folder.
      table: what the CSV says.

    Returns:
      The table with the names of the files, without the images that cannot be used, each of which
      is a problem more; and sorted names of the images in the folder that the CSV does not name.

    Raises:
      UserError: the folder cannot be listed.
    """
    problems = [problem.file for problem in table.problems]
    folders = {"", *(name.rpartition("/")[0] for name in table.names)}
    present = _list_images(images_dir, folders)
    finder = _Finder(present)
    named = {finder(name) for name in (*table.names, *problems)}
    unnamed = sorted(name for name in present if _is_image_name(name) and name not in named)
    return _resolve(images_dir, table, finder), unnamed


def _list_images(images_dir: str, folders: set[str]) -> set[str]:
    """Names, relative to `images_dir`, of what is in it and in some folders below it."""
    names = set(files.list_dir(images_dir))
    for folder in sorted(folders - {""}):
        path = files.join(images_dir, *folder.split("/"))
        if files.is_dir(path):
            names.update(f"{folder}/{name}" for name in files.list_dir(path))
    return names


def _is_image_name(name: str) -> bool:
    return name.lower().endswith(EXTENSIONS) and not name.rpartition("/")[2].startswith(".")


class _Finder:
    """Name of an image in a CSV -> that of its file."""

    def __init__(self, present: set[str]) -> None:
        self.present = present
        self._stems = collections.defaultdict(list)
        for name in present:
            if _is_image_name(name):
                self._stems[name.rpartition(".")[0]].append(name)

    def __call__(self, name: str) -> str:
        """The file; `name` itself if there is none, or more than one it could be."""
        candidates = self._stems.get(name, ())
        return candidates[0] if name not in self.present and len(candidates) == 1 else name


def _resolve(images_dir: str, table: LabelTable, finder: _Finder) -> LabelTable:
    """Exchanges names for those of the files; images that cannot be used become problems."""
    root = None if files.is_remote(images_dir) else os.path.realpath(images_dir)
    problems, keep, names = list(table.problems), [], []
    taken: dict[str, str] = {}
    for index, name in enumerate(table.names):
        found = finder(name)
        try:
            if found not in finder.present:
                raise ValueError(f"is not in {images_dir}")
            if found in taken:
                raise ValueError(f"is the same file as {taken[found]!r}")
            check_name(found)
            if root is not None:
                _check_file(root, os.path.join(images_dir, found))
        except ValueError as error:
            where = f"row {table.rows[index]}: " if table.classes else ""
            problems.append(Problem(escaped(name), escaped(f"{where}the image {error}")))
            continue
        taken[found] = name
        keep.append(index)
        names.append(found)
    table = table.take(keep)
    return dataclasses.replace(table, names=tuple(names), problems=tuple(problems))


def _check_file(root: str, path: str) -> None:
    """Raises ValueError, one phrase, unless `path` is a plain file of sane length below `root`."""
    try:
        if os.path.commonpath([root, os.path.realpath(path)]) != root:
            raise ValueError("is a link that leads out of the folder")
        found = os.stat(path)
    except OSError as error:
        raise ValueError(f"cannot be read ({reason(error)})") from error
    if not stat.S_ISREG(found.st_mode):
        raise ValueError("is not a file")
    if found.st_size == 0:
        raise ValueError("is empty (0 bytes)")
    if found.st_size > MAX_FILE_BYTES:
        raise ValueError(f"is larger than {MAX_FILE_BYTES:,} bytes")
