"""The photographs that a prediction is for: which files of a folder, their pixels in batches, and
the list of those that were left out."""

from __future__ import annotations

import contextlib
import os
from concurrent.futures import ThreadPoolExecutor
from typing import Iterator, NamedTuple, Optional, Union

import numpy as np

from cloudtf import csv_files, files, machine
from cloudtf.data import images, passed_over, sources
from cloudtf.data.labels import ENDINGS, Problem, check_name, escaped
from cloudtf.data.recipe import one_thread_an_image
from cloudtf.errors import UserError, param, reason
from cloudtf.reporter import report
from cloudtf.submission import predictions
from cloudtf.text import listed

# The columns of the list of what was left out.
_COLUMNS = [predictions.IMAGE, "reason"]
# Names that a sentence lists; the others are counted.
_SHOWN = 10


class Photographs(NamedTuple):
    """The files to predict.

    Attributes:
      source: the folder, or the one photograph, as it was given.
      paths: name of each photograph -> its path, local or remote, sorted by name. A name is the
        path inside the folder, with `/` between folders and the extension included.
      problems: path of each file that is named like a photograph and cannot be one, such as a link
        out of the folder or an empty file, and what is wrong with it.
    """

    source: str
    paths: dict[str, str]
    problems: tuple[tuple[str, Problem], ...]


def find(images_dir: str, recursive: bool, follow_links: bool) -> Photographs:
    """Lists a folder, and reports what of it is passed over; hidden files are not mentioned.

    Args:
      images_dir: a folder, or one photograph, which may have any name and be a link.
      recursive: whether folders inside the folder are looked into, too.
      follow_links: whether files, and with `recursive` folders, may be links to others elsewhere.

    Raises:
      UserError: there is no photograph, or the folder cannot be listed.
    """
    if files.exists(images_dir) and not files.is_dir(images_dir):
        return _one(images_dir)
    found = sources.listing(images_dir, recursive, follow_links)
    names = sorted(filter(sources.is_image_name, found.names))
    others = passed_over.phrase(found, recursive)
    if not names:
        but = f", but {others}" if others else ""
        raise UserError(f"There is no photograph ({ENDINGS}) in {images_dir}{but}.")
    if others:
        report(f"Passed over in {images_dir}: {others}.")
    table = sources.without_labels(images_dir, names, follow_links)

    def path(name: str) -> str:
        return files.join(images_dir, *name.split("/"))

    problems = tuple((path(problem.file), problem) for problem in table.problems)
    return Photographs(images_dir, {name: path(name) for name in table.names}, problems)


def _one(path: str) -> Photographs:
    name = files.basename(path)
    # A link is followed: it is this photograph that was asked for.
    target = path if files.is_remote(path) else os.path.realpath(path)
    found = sources.without_labels(files.dirname(target), [files.basename(target)]).problems
    try:
        check_name(name)
    except ValueError as error:
        found = (Problem(escaped(name), escaped(f"the image {error}")),)
    if found:
        return Photographs(path, {}, ((escaped(path), found[0]._replace(file=escaped(name))),))
    return Photographs(path, {name: path}, ())


def batches(
    found: Photographs,
    shape: tuple[int, int],
    batch_size: int,
    skipped: Optional[list[Problem]],
    aspect: str,
) -> Iterator[tuple[list[str], np.ndarray]]:
    """The pixels of photographs, in the order of their names.

    Args:
      found: the photographs to read.
      shape: height and width of the result.
      batch_size: images in a batch at most; B is that or less, so that the batches of a folder,
        which have one shape, are about full.
      skipped: takes the photographs that cannot be read, which are left out; None: the first of
        them is an error.
      aspect: how they get the ratio of sides of the result, as in the records.

    Yields:
      At most B names, and uint8 [B, H, W, 3], RGB, padded with zeros behind the last image.

    Raises:
      UserError: a photograph cannot be read and `skipped` is None, or it cannot be read for a
        reason that may pass (too many open files); no photograph can be read.
    """
    problems: list[Problem] = [] if skipped is None else skipped

    def refuse(problem: Problem, path: str, cause: Optional[Exception] = None) -> None:
        problems.append(problem)
        if skipped is None:
            raise UserError(
                f"The image {path} cannot be read: {problem.reason}; replace or remove it, or "
                f"leave such images out with {param(on_error='skip')}."
            ) from cause

    for path, problem in found.problems:
        refuse(problem, path)

    def load(name: str) -> Union[np.ndarray, Exception]:
        try:
            return images.load(files.read_bytes(found.paths[name]), *shape, aspect)
        except ValueError as error:
            return error
        except UserError as error:
            if not files.is_lasting(error):
                raise
            return error

    count = max(1, len(found.paths))
    # A single row is multiplied by other code, of other last digits, than it is among others.
    batch_size = min(batch_size, max(2, -(-count // -(-count // batch_size))))
    names: list[str] = []
    batch = np.empty((batch_size, *shape, 3), np.uint8)
    any_read = False
    with one_thread_an_image(), ThreadPoolExecutor(machine.usable_cores()) as pool:
        # A bounded window of images under way, whatever the size of the folder.
        loaded = machine.map_ahead(pool, load, found.paths, 2 * batch_size)
        for (name, path), image in zip(found.paths.items(), loaded):
            if isinstance(image, Exception):
                phrase = reason(image.__cause__) if image.__cause__ else str(image)
                refuse(Problem(name, phrase), path, image)
                continue
            batch[len(names)] = image
            names.append(name)
            if len(names) == batch_size:
                yield names, batch
                any_read, names, batch = True, [], np.empty_like(batch)
    if names:
        batch[len(names) :] = 0
        yield names, batch
    elif not any_read:
        all_bad = listed((f"{p.file!r}: {p.reason}" for p in problems), _SHOWN)
        raise UserError(f"No image of {found.source} can be read ({all_bad}).")


def skipped_path(output: str) -> str:
    """Where the list of what was left out goes: beside the prediction table."""
    return f"{output}.skipped.csv"


def check_skipped(output: str) -> None:
    """Refuses to replace a file with the name of the list that is none; UserError."""
    start = csv_files.text(_COLUMNS, []).encode()
    files.check_output(
        skipped_path(output),
        "a list of skipped images",
        lambda content: content.startswith(start),
        beside=True,
    )


def write(output: str, table: str, skipped: list[Problem]) -> None:
    """Writes a prediction table, and beside it the list of what was left out.

    Whenever the process dies, no list stands beside a table of another run.

    Args:
      output: path of the prediction table, local or remote.
      table: text of the prediction table, as `predictions.text` makes it.
      skipped: what was left out; where there is nothing, an older list is only removed.

    Raises:
      UserError: the file system refuses.
    """
    path = skipped_path(output)
    with contextlib.ExitStack() as moves:  # The last one entered is moved first: the table.
        if skipped:
            rows = [(problem.file, problem.reason) for problem in sorted(skipped)]
            _fill(moves.enter_context(files.replacing(path)), csv_files.text(_COLUMNS, rows))
        _fill(moves.enter_context(files.replacing(output)), table)
        files.remove(path)


def _fill(path: str, content: str) -> None:
    with open(path, "w", encoding="utf-8", newline="") as file:
        file.write(content)
