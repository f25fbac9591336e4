"""The photographs in a folder, matched with the names in a label table.

Names come from files made by others: none may lead out of the folder, neither by `..` nor (unless
links are asked for, of which some caches are made) by a link; and of a local folder only plain
files of sane length are opened.
"""

from __future__ import annotations

import collections
import dataclasses
import os
import re
import stat
from typing import Iterable, NamedTuple, Optional, Sequence

import numpy as np

from cloudtf import files
from cloudtf.data.image_names import ImageNames, has_extension, slashed, without_extension
from cloudtf.data.labels import ENDINGS, EXTENSIONS, LabelTable, Problem, check_name, escaped
from cloudtf.errors import UserError, param, reason

# A file that is larger is no photograph; it would be read into memory whole.
MAX_FILE_BYTES = 1 << 29
# What is left of the name 007 once it was taken for a number.
_NUMBER = re.compile(r"(0|[1-9][0-9]*)(?:\.0)?")
# Folders within folders that are looked into.
_MAX_DEPTH = 20


class Matched(NamedTuple):
    """What became of the names in a label table.

    Attributes:
      table: with the names of the files, without the images that cannot be used, each of which is a
        problem more.
      unnamed: sorted names of the images that the table does not name, in the folders of those that
        it does.
      moved: names in the table that mean a file of another one -> that file.
    """

    table: LabelTable
    unnamed: list[str]
    moved: dict[str, str]


class Listing(NamedTuple):
    """What is in a folder and, if asked for, in the folders below it.

    Attributes:
      names: paths of everything, files and folders, relative to the folder, with forward slashes.
      closed: those of `names` that are folders into which was not looked: since it was not asked
        for, they are links, or they are too deep. Hidden folders are not among them.
      links: those of `closed` that are links to folders elsewhere.
      entered: those of `names` that are folders whose content is in `names` too.
    """

    names: list[str]
    closed: list[str]
    links: list[str]
    entered: list[str]


def listing(images_dir: str, recursive: bool = True, follow_links: bool = False) -> Listing:
    """Lists a folder; what is in hidden folders below it is left out.

    Args:
      images_dir: the folder to list, local or remote.
      recursive: whether to look into the folders below it.
      follow_links: whether links to folders elsewhere are among these; into each is looked once.

    Raises:
      UserError: the folder cannot be listed.
    """
    names: list[str] = []
    closed: list[str] = []
    links: list[str] = []
    folders = [""]
    root = "" if files.is_remote(images_dir) else os.path.realpath(images_dir)
    behind_links: set[str] = set()
    for folder in folders:
        path = files.join(images_dir, *folder.split("/")) if folder else images_dir
        for name in files.list_dir(path):
            inner = f"{folder}/{name}" if folder else name
            names.append(inner)
            below = files.join(path, name)
            if has_extension(name) or is_hidden(name) or not files.is_dir(below):
                continue
            enter = recursive and inner.count("/") < _MAX_DEPTH
            if root and os.path.islink(below):
                target = os.path.realpath(below)
                # What is within the folder is listed anyway, once, and without going in circles.
                elsewhere = not _is_within(root, target) and not _is_within(target, root)
                if elsewhere and target not in behind_links:
                    links += [] if follow_links else [inner]
                    enter = enter and follow_links
                    behind_links.add(target)
                else:
                    enter = False
            (folders if enter else closed).append(inner)
    return Listing(names, closed, links, folders[1:])


def _is_within(folder: str, path: str) -> bool:
    """Whether a path, both real ones, is a folder or in it."""
    return os.path.commonpath([folder, path]) == folder


def image_names(images_dir: str, suffix: str = "", follow_links: bool = False) -> ImageNames:
    """The names of all files in a folder and in the folders below it, but hidden ones.

    Args:
      images_dir: the folder to list, local or remote.
      suffix: what the names of the files have behind those in a table, such as `_green`.
      follow_links: whether links to folders elsewhere are among these.

    Raises:
      UserError: the folder cannot be listed.
    """
    found = listing(images_dir, follow_links=follow_links)
    return ImageNames({*found.names}.difference(found.closed, found.entered), suffix)


def unlabelled(images_dir: str, follow_links: bool = False) -> LabelTable:
    """All images in a folder (not in folders below it), by name.

    Args:
      images_dir: the folder of the images, local or remote.
      follow_links: whether a file may be a link to one elsewhere.

    Raises:
      UserError: there is none, or the folder cannot be listed.
    """
    names = [name for name in files.list_dir(images_dir) if is_image_name(name)]
    if not names:
        raise UserError(f"There is no photograph ({ENDINGS}) in {images_dir}.")
    return without_labels(images_dir, names, follow_links)


def without_labels(images_dir: str, names: Sequence[str], follow_links: bool = False) -> LabelTable:
    """A table of the given files of a folder, of no class; those that cannot be used are problems.

    Args:
      images_dir: the folder of the images, local or remote.
      names: paths of files, relative to the folder, with forward slashes.
      follow_links: whether a file may be a link to one elsewhere.
    """
    nothing = np.zeros((len(names), 0), np.int8)
    table = LabelTable(tuple(names), nothing, (), np.arange(len(names)), {})
    files_of = dict(zip(names, names))
    return _resolve(images_dir, table, files_of, ImageNames(names), follow_links)


def labelled(
    images_dir: str,
    table: LabelTable,
    names: Optional[ImageNames] = None,
    follow_links: bool = False,
) -> Matched:
    """The images that a label table names.

    A name is tried as it stands; then with another extension or none, in other case or accents,
    with the folders that it lacks or without those that are not here (see `ImageNames.matches`).

    Args:
      images_dir: the folder of the images, local or remote.
      table: the images and labels that the label table names.
      names: the files in `images_dir` and below it; None: they are listed.
      follow_links: whether a file may be a link to one elsewhere.

    Raises:
      UserError: the folder cannot be listed.
    """
    names = image_names(images_dir, "", follow_links) if names is None else names
    names = ImageNames(names.names | _behind_links(images_dir, table.names), names.suffix)
    found = _match(table.names, names)
    named = {*found.values(), *(problem.file for problem in table.problems)}
    named.update(f for problem in table.problems for f in names.matches(problem.file))
    folders = {"", *(name.rpartition("/")[0] for name in found.values())}
    unnamed = sorted(
        name
        for name in names.names
        if is_image_name(name) and name not in named and name.rpartition("/")[0] in folders
    )
    moved = {name: file for name, file in found.items() if not file.startswith(name)}
    return Matched(_resolve(images_dir, table, found, names, follow_links), unnamed, moved)


def with_unnamed(
    images_dir: str, table: LabelTable, unnamed: list[str], follow_links: bool
) -> LabelTable:
    """A table and, behind its images, others that have none of its classes."""
    nothing = np.zeros((len(unnamed), len(table.classes)), np.int8)
    rows = np.zeros(len(unnamed), np.int64)
    empty = {column: ("",) * len(unnamed) for column in table.columns}
    added = LabelTable(tuple(unnamed), nothing, table.classes, rows, empty)
    files_of = dict(zip(unnamed, unnamed))
    added = _resolve(images_dir, added, files_of, ImageNames(unnamed), follow_links)
    return dataclasses.replace(
        table,
        names=table.names + added.names,
        labels=np.concatenate([table.labels, added.labels]),
        rows=np.concatenate([table.rows, added.rows]),
        columns={c: texts + added.columns[c] for c, texts in table.columns.items()},
        problems=table.problems + added.problems,
        masks=table.masks + ((),) * len(added.names) if table.masks else (),
    )


def is_image_name(name: str) -> bool:
    """Whether a file is one of images by its name, and not hidden."""
    return name.lower().endswith(EXTENSIONS) and not name.rpartition("/")[2].startswith(".")


def is_hidden(name: str) -> bool:
    """Whether a file or folder (the last part of its path) is not meant to be looked at."""
    return name.startswith((".", "__MACOSX"))


def _behind_links(images_dir: str, wanted: Iterable[str]) -> set[str]:
    """Names in folders that are links, of which only those that a table names are followed."""
    names: set[str] = set()
    for folder in sorted({name.rpartition("/")[0] for name in wanted} - {""}):
        path = files.join(images_dir, *folder.split("/"))
        if files.is_remote(path) or not files.is_dir(path):
            continue
        if os.path.realpath(path) != os.path.join(os.path.realpath(images_dir), folder):
            names.update(f"{folder}/{name}" for name in files.list_dir(path))
    return names


def _match(wanted: tuple[str, ...], names: ImageNames) -> dict[str, str]:
    """The file that each name means; names that mean none, or one of several, are left out."""
    found, lost = {}, []
    for name in wanted:
        matches = names.matches(name)
        if len(matches) == 1:
            found[name] = matches[0]
        elif not matches:
            lost.append(name)
    if not lost or not names.names:
        return found
    paths = {name: slashed(name).split("/") for name in lost}
    shared = os.path.commonprefix([path[:-1] for path in paths.values()])
    last = collections.Counter(path[-1] for path in paths.values())
    all_numbers = all(map(_NUMBER.fullmatch, wanted))
    for name, path in paths.items():
        foreign = slashed(name) != name
        # Folders that all names have and that are not here: of another machine, or above this one.
        for cut in range(1, len(shared) + 1):
            matches = names.matches("/".join(path[cut:]), deep=foreign)
            if matches:
                break
        else:
            # The files of several folders, put into one.
            matches = names.matches(path[-1], deep=False) if last[path[-1]] == 1 else []
            if not matches and all_numbers:
                matches = names.of_number(_NUMBER.fullmatch(name)[1])  # type: ignore[index]
            matches = matches or names.of_folder_and_start(name)
        if len(matches) == 1:
            found[name] = matches[0]
    return found


def _resolve(
    images_dir: str,
    table: LabelTable,
    found: dict[str, str],
    names: ImageNames,
    follow_links: bool,
) -> LabelTable:
    """Exchanges names for those of the files; images that cannot be used become problems."""
    root = None if files.is_remote(images_dir) else os.path.realpath(images_dir)
    problems, keep, used = list(table.problems), [], []
    taken: dict[str, str] = {}
    hinted = False
    for index, name in enumerate(table.names):
        file = found.get(name)
        try:
            check_name(file or name)
            if file is None:
                hint = _hint(name, names, not hinted)
                hinted = True
                raise ValueError(f"is not in {images_dir}{hint}")
            if file in taken:
                raise ValueError(f"is the same file as {taken[file]!r}")
            if root is not None:
                _check_file(root, os.path.join(images_dir, file), follow_links)
        except ValueError as error:
            where = f"row {table.rows[index]}: " if table.classes and table.rows[index] else ""
            problems.append(Problem(escaped(name), escaped(f"{where}the image {error}")))
            continue
        taken[file] = name
        keep.append(index)
        used.append(file)
    table = table.take(keep)
    return dataclasses.replace(table, names=tuple(used), problems=tuple(problems))


def _hint(name: str, names: ImageNames, search: bool) -> str:
    """Why a name may not have been found: it means several files, or they go on behind it."""
    several = names.matches(name)
    if len(several) > 1:
        hint = ""
        if several[0].rpartition("/")[0] != several[1].rpartition("/")[0]:
            columns = param(image_column="FOLDER,FILE")
            hint = f" (if another column has the folder, name both: {columns})"
        return f" by that name, but {several[0]!r} and {several[1]!r} are{hint}"
    near = names.starting_with(name) if search else []
    stem = without_extension(near[0].rpartition("/")[2]) if near else ""
    rest = stem[len(without_extension(slashed(name)).rpartition("/")[2]) :]
    if not rest:
        return ""
    return f" (if {near[0]!r} is meant, give {param(image_suffix=rest)})"


def _check_file(root: str, path: str, follow_links: bool) -> None:
    """Raises ValueError, one phrase, unless `path` is a plain file of sane length below `root`."""
    try:
        if not follow_links and not _is_within(root, os.path.realpath(path)):
            hint = param(follow_links=True)
            raise ValueError(f"is a link that leads out of the folder ({hint} follows it)")
        found = os.stat(path)
    except OSError as error:
        raise ValueError(f"cannot be read ({reason(error)})") from error
    if not stat.S_ISREG(found.st_mode):
        raise ValueError("is not a file")
    if found.st_size == 0:
        raise ValueError("is empty (0 bytes)")
    if found.st_size > MAX_FILE_BYTES:
        raise ValueError(f"is larger than {MAX_FILE_BYTES:,} bytes")
