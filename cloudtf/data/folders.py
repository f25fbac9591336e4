"""Classes by folders: `cat/1.jpg`, also under `train/` and `val/`, and one photograph in several.

The folders become a table like any other, with a column for each level of them; a folder called
`none` or `NA` is a class too.
"""

from __future__ import annotations

import collections
import dataclasses
import hashlib
import itertools
import os.path
from typing import Any, Callable, Iterable, Iterator, Optional, Sequence

from cloudtf import files
from cloudtf.data import sources, tables, words
from cloudtf.data.image_names import ImageNames
from cloudtf.data.tables import Table
from cloudtf.errors import UserError, param

# Folders of these names hold the parts of a set; below them are those of the classes.
SPLITS = frozenset(
    ["train", "training", "val", "valid", "validation", "dev", "test", "testing", "eval"]
)
# Folders of these names hold what a set consists of, and say no class.
_ABOUT_PHOTOGRAPHS = frozenset(
    ["labels", "labelids", "masks", "mask", "annotations", "annotation", "groundtruth"]
    + ["segmentation", "segmentationclass", "segmentationobject", "segmentationmasks", "bboxes"]
    + ["thumbnails"]
)
_PARTS = _ABOUT_PHOTOGRAPHS | frozenset(
    ["images", "image", "imgs", "img", "jpegimages", "jpgs", "jpegs", "pictures", "photos"]
    + ["photographs", "data", "boxes"]
)
# Bytes at the start of a file, in which most files that differ do so.
_START = 1 << 14


def table(images_dir: str, names: ImageNames) -> Table:
    """A row for each image and class.

    Its columns are `image`; `split`, if that is what the uppermost folders are; `label`, where one
    level of folders is that of the classes; and `folder1`, `folder2`, ... for all levels. The class
    is the uppermost folder, if images are directly in each of those; folders that all images are in
    and that have others below are passed over, and so is a folder `images` in each of the others. A
    photograph that is in the folders of several classes, byte for byte, is one image with several
    rows.

    Args:
      images_dir: the folder in which those of the classes are.
      names: the files in `images_dir` and in the folders below it.

    Raises:
      UserError: there is no image in a folder, or one beside the folders; or the folders are those
        of images, masks and the like.
    """
    paths = [name.split("/") for name in sorted(names.names) if sources.is_image_name(name)]
    paths = [path for path in paths if not any(map(sources.is_hidden, path))]
    if not any(len(path) > 1 for path in paths):
        raise UserError(f"There is no folder with images in {images_dir}.")
    at = _above_all(paths)
    splits = all(len(path) > at + 1 and path[at].lower() in SPLITS for path in paths)
    below = [path[:at] + path[at + 1 :] if splits else path for path in paths]
    innermost = {words.plain(inner[-2]) for inner in below if len(inner) > 1}
    if len(innermost) == 1 and innermost <= _PARTS and any(len(inner) > 2 for inner in below):
        below = [[*inner[:-2], inner[-1]] for inner in below]  # cat/images/1.jpg
    above = _above_all(below)
    for path, inner in zip(paths, below):
        if len(inner) == above + 1:
            labelled = {p[0] for p, i in zip(paths, below) if len(i) > above + 1}
            raise UserError(_in_no_folder(images_dir, path, labelled))
    depth = max(len(inner) for inner in below) - 1
    tops = {inner[above] for inner in below}
    direct = {inner[above] for inner in below if len(inner) == above + 2}
    parts = {words.plain(top) for top in tops} <= _PARTS
    if parts or (tops == direct and all(map(_is_part, tops))):
        raise UserError(
            f"{images_dir} has its photographs in folders called {', '.join(sorted(tops))}, which "
            f"are the parts of a set and no classes: give that of the photographs as "
            f"{param('images_dir')}, and what says their classes as {param('labels_csv')}."
        )
    header = ["image", *["split"] * splits, *["label"] * (tops == direct)]
    header += [f"folder{level}" for level in range(1, depth + 1)]
    same = _copies(images_dir, {"/".join(p): "/".join(i[:-1]) for p, i in zip(paths, below)})
    rows = []
    for path, inner in zip(paths, below):
        name = "/".join(path)
        levels = inner[:-1] + [""] * (depth + 1 - len(inner))
        rows.append(
            [
                same.get(name, name),
                *path[at : at + 1] * splits,
                *inner[above : above + 1] * (tops == direct),
                *levels,
            ]
        )
    found = tables.from_rows(f"The folder {images_dir}", header, rows)
    return dataclasses.replace(found, verbatim=True)


def check_beside(images_dir: str, beside: Sequence[str], follow_links: bool) -> None:
    """Refuses photographs without a folder where most others are in the folders of classes.

    Args:
      images_dir: the folder of all.
      beside: the names of those directly in it.
      follow_links: whether links to folders elsewhere are looked into.

    Raises:
      UserError: naming one of them.
    """
    names = sources.listing(images_dir, follow_links=follow_links).names
    inside = [name for name in names if "/" in name and sources.is_image_name(name)]
    tops = sorted({name.partition("/")[0] for name in inside})
    tops = [top for top in tops if words.plain(top) not in _PARTS and top.lower() not in SPLITS]
    if len(tops) > 1 and len(inside) > len(beside):
        raise UserError(
            f"{images_dir} has {len(inside):,} photographs in the folders {', '.join(tops)[:200]} "
            f"and {len(beside):,} beside them, such as {beside[0]!r}: move these away, or into the "
            "folders of their classes."
        )


def check_classes(images_dir: str, classes: Sequence[str]) -> None:
    """Refuses classes that are called by folders of masks and the like, beside others.

    Raises:
      UserError: naming one, and the setting that says the classes.
    """
    parts = [name for name in classes if words.plain(name) in _ABOUT_PHOTOGRAPHS]
    if parts and len(classes) > 1:
        raise UserError(
            f"{images_dir} has a folder {parts[0]!r} beside those of classes: move it away, or, if "
            f"it is a class, list all of them with {param('classes')}."
        )


def _is_part(folder: str) -> bool:
    """Whether each word of a folder's name is that of a part of a set: train_images, images_001."""
    said = [word for word in words.parts(folder) if not word.isdigit()]
    return bool(said) and (_PARTS | SPLITS).issuperset(said)


def _above_all(paths: list[list[str]]) -> int:
    """How many folders, none of a split, all paths begin with above others that all have."""
    shared = os.path.commonprefix([path[:-1] for path in paths])
    names = itertools.takewhile(lambda name: name.lower() not in SPLITS, shared)
    return max(0, min(len(list(names)), min(len(path) for path in paths) - 2))


def _in_no_folder(images_dir: str, path: list[str], labelled: set[str]) -> str:
    """What to say of a photograph for which there is no folder that would be its class; others in
    the uppermost folders `labelled` have one."""
    fix = "move it"
    if path[0].lower() in SPLITS and labelled and path[0] not in labelled:
        inner = files.join(images_dir, min(labelled))
        fix += f", or leave its folder out with {param(images_dir=inner)}"
    return f"The image {'/'.join(path)} of {images_dir} is in no folder of a class; {fix}."


def _copies(images_dir: str, folders: dict[str, str]) -> dict[str, str]:
    """Files that are copies of one in the folder of another class -> that one.

    Args:
      images_dir: the folder of all.
      folders: the name of each file -> the folders that may say its class.
    """
    if len(set(folders.values())) < 2:
        return {}
    groups: Iterable[list[str]] = [list(folders)]
    if files.is_remote(images_dir):
        # There is a question to ask for each; copies have the name of the other, mostly.
        groups = _alike(groups, folders, lambda name: name.rpartition("/")[2])

    def size(name: str) -> Optional[int]:
        return files.size(_path(images_dir, name)) or None

    def start(name: str) -> bytes:
        with files.open_bytes(_path(images_dir, name)) as file:
            return bytes(file.read(_START))

    def content(name: str) -> bytes:
        return hashlib.sha256(files.read_bytes(_path(images_dir, name))).digest()

    for key in (size, start, content):
        groups = _alike(groups, folders, key)
    return {name: group[0] for group in groups for name in group[1:]}


def _alike(
    groups: Iterable[list[str]], folders: dict[str, str], key: Callable[[str], Any]
) -> Iterator[list[str]]:
    """The groups of files of several folders with an equal key; None equals nothing."""
    for group in groups:
        found: dict[Any, list[str]] = collections.defaultdict(list)
        for name in group:
            value = key(name)
            if value is not None:
                found[value].append(name)
        yield from (g for g in found.values() if len({folders[name] for name in g}) > 1)


def _path(images_dir: str, name: str) -> str:
    return files.join(images_dir, *name.split("/"))
