"""Which image file a name in a table means, and where a name ends that has its class behind it.

Tables are made on other machines than the files are kept on: names come without an extension or
with another one, with backslashes, with folders that are not here or without the ones that are,
with accents in two characters where the disk has one.
"""

from __future__ import annotations

import bisect
import collections
import functools
import re
import unicodedata
import urllib.parse
from typing import Callable, Collection, Iterable, Optional

# How names of images end, in tables and on disks; more than can be read.
_EXTENSION = re.compile(
    r"\.(jpe?g|jfif|png|tiff?|bmp|gif|webp|avif|heic|heif|dcm|dicom|jp2|ppm|npy)", re.IGNORECASE
)
_EXTENSION_THEN = re.compile(f"{_EXTENSION.pattern}(_.|$)", re.IGNORECASE)
_ADDRESS_BEHIND = re.compile(r" \(https?:/[^()]*\)$")
# As Python prints the name of a file: b'a.jpg', PosixPath('a.jpg').
_PRINTED = re.compile(r"""(?:\w+\()?b?(['"])(.+)\1\)?""")
_DRIVE = re.compile(r"[A-Za-z]:|\w+://[^/]*")


def has_extension(name: str) -> bool:
    """Whether a name ends like that of an image file."""
    return _EXTENSION.fullmatch(name[name.rfind(".") :]) is not None if "." in name else False


def without_extension(name: str) -> str:
    """A name without the extension of an image file."""
    return name[: name.rfind(".")] if has_extension(name) else name


def slashed(name: str) -> str:
    """A path of any system with forward slashes, relative: without drive, root and leading `..`.

    Of an address on the web, what follows the path is cut off; so is the address that Airtable
    writes behind the name of a file.

    >>> slashed("C:\\\\photos\\\\a.jpg"), slashed("../input/a.jpg"), slashed("./b//c.jpg")
    ('photos/a.jpg', 'input/a.jpg', 'b/c.jpg')
    >>> slashed("https://host/my%20cat.jpg?w=99"), slashed("a.jpg (https://host/x/y.jpg)")
    ('my cat.jpg', 'a.jpg')
    >>> slashed("b'a.jpg'"), slashed("PosixPath('photos/a.jpg')")
    ('a.jpg', 'photos/a.jpg')
    """
    printed = _PRINTED.fullmatch(name)
    name = _ADDRESS_BEHIND.sub("", printed[2] if printed else name)
    if "://" in name and has_extension(name.partition("?")[0]):
        name = urllib.parse.unquote(name.partition("?")[0])
    name = _DRIVE.sub("", name.replace("\\", "/"), count=1) if _DRIVE.match(name) else name
    words = [word for word in name.replace("\\", "/").split("/") if word not in ("", ".")]
    while words and words[0] == "..":
        words.pop(0)
    return "/".join(words)


def _folded(name: str) -> str:
    """One text for all spellings of a name that a disk may take for the same."""
    if name.isascii():
        return name.lower()
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", name).casefold())


def _key(name: str) -> str:
    return _folded(without_extension(name))


class ImageNames:
    """The names of image files, found by what a table calls them.

    >>> names = ImageNames(["a/one.JPG", "a/two.png", "b/two.png"])
    >>> names.matches("one.jpg"), names.matches("b\\\\two.jpg"), names.matches("two")
    (['a/one.JPG'], ['b/two.png'], ['a/two.png', 'b/two.png'])
    """

    def __init__(self, names: Iterable[str], suffix: str = "") -> None:
        """Keeps the names.

        Args:
          names: paths of files, relative to their folder, with forward slashes.
          suffix: what the names of the files have behind those in a table, such as `_green`.
        """
        self.names = frozenset(names)
        self.suffix = suffix

    @functools.cached_property
    def _by_key(self) -> dict[str, list[str]]:
        """Names by their last part, folded and without extension; made once a name is not exact."""
        found = collections.defaultdict(list)
        for name in sorted(self.names):
            found[_key(name.rpartition("/")[2])].append(name)
        return found

    def matches(self, name: str, deep: bool = True) -> list[str]:
        """The files that a name may mean: of the ways to read it, the first by which there is one.

        The ways: as it stands; another or no extension; other case or accents; then the end of the
        path of a file that is deeper in the folders.

        Args:
          name: what a table calls an image; any text.
          deep: whether files that are deeper in the folders than the name says are among them.
        """
        if self.suffix:
            stem = without_extension(name)
            name = stem + self.suffix + (name[len(stem) :] if "." not in self.suffix else "")
        if name in self.names:
            return [name]
        name = slashed(name)
        if name in self.names:
            return [name]
        same = self._by_key.get(_key(name.rpartition("/")[2]), ())
        if not same and "%" in name:  # As in an address: my%20cat.jpg
            name = urllib.parse.unquote(name)
            same = self._by_key.get(_key(name.rpartition("/")[2]), ())
        if not same:
            return []
        stem, folded, key = without_extension(name), _folded(name), _key(name)
        ways: list[Callable[[str], bool]] = [
            lambda file: without_extension(file) == stem,
            lambda file: _folded(file) == folded,
            lambda file: _key(file) == key,
        ]
        deeper: list[Callable[[str], bool]] = [
            lambda file: ("/" + file).endswith("/" + name),
            lambda file: ("/" + _folded(file)).endswith("/" + folded),
            lambda file: ("/" + _key(file)).endswith("/" + key),
        ]
        for way in ways + deeper * deep:
            found = [file for file in same if way(file)]
            if found:
                return found
        return []

    @functools.cached_property
    def _by_number(self) -> dict[str, list[str]]:
        found = collections.defaultdict(list)
        for name in sorted(self.names):
            stem = without_extension(name.rpartition("/")[2])
            if stem.isascii() and stem.isdigit():
                found[stem.lstrip("0") or "0"].append(name)
        return found

    def of_number(self, number: str) -> list[str]:
        """The files that are named by a number of which zeros have been lost: 007.jpg for 7.

        Args:
          number: digits, as a program writes it that has taken them for a number.
        """
        return self._by_number.get(number, [])

    @functools.cached_property
    def _by_folder(self) -> dict[str, list[tuple[str, str]]]:
        """Folder -> the files up to three levels below: name without extension, path; sorted."""
        found = collections.defaultdict(list)
        for name in self.names:
            *folders, last = name.split("/")
            for folder in set(folders[-3:]):
                found[folder].append((without_extension(last), name))
        return {folder: sorted(content) for folder, content in found.items()}

    def of_folder_and_start(self, name: str) -> list[str]:
        """The files whose folder and beginning are joined by `_` in a name.

        UW-Madison's case1_day0_slice_0001 is case1/case1_day0/scans/slice_0001_266_266_1.50.png.
        """
        stem, found = without_extension(name), []
        for at in (i for i, character in enumerate(stem) if character == "_"):
            content, start = self._by_folder.get(stem[:at], []), stem[at + 1 :]
            for last, file in content[bisect.bisect_left(content, (start,)) :]:
                if not start or not last.startswith(start):
                    break
                if last == start or last[len(start)] == "_":
                    found.append(file)
        return found

    def anywhere(self, name: str) -> list[str]:
        """The files that a name may mean, whatever folder it says they are in."""
        return self.matches(name) or self.matches(slashed(name).rpartition("/")[2])

    def knows(self, name: str) -> bool:
        """Whether there is a file that a name means, in whatever folder."""
        return bool(self.anywhere(name))

    def starting_with(self, name: str) -> list[str]:
        """Some files whose names go on where `name` ends: `id_green.png` for `id`."""
        start = _key(slashed(name).rpartition("/")[2])
        if not start:
            return []
        return [f for k in self._by_key if k.startswith(start) for f in self._by_key[k]][:5]


class Splitter:
    """Divides `IMAGE_CLASS` where the image's name ends.

    Both may hold underscores. A way to divide with a known class is best, then one with the name of
    a file that is there, then one with a name that ends with an extension; where nothing is known,
    the last underscore divides.

    >>> split = Splitter(ImageNames(["a_1.jpg"]), ["Open_Water", "Sand"])
    >>> split("a_1.jpg_Open_Water"), split("a_1_Sand"), split("b_2_Reed")
    (('a_1.jpg', 'Open_Water'), ('a_1', 'Sand'), ('b_2', 'Reed'))
    """

    def __init__(self, names: Optional[ImageNames], classes: Collection[str] = ()) -> None:
        self.names = names
        self.classes = frozenset(classes)
        self._knows = functools.lru_cache(100_000)(names.knows if names else lambda name: False)

    def __call__(self, joined: str) -> tuple[str, str]:
        """Image and class; one of them is empty where the text cannot be divided."""
        ways = self.ways(joined)
        return ways[0] if ways else ("", joined)

    def ways(self, joined: str) -> list[tuple[str, str]]:
        """The ways to divide a text that are equally good, the longest name first."""
        joined = joined.strip()
        at = joined.find("_")
        if at == joined.rfind("_"):  # Mostly; and there may be millions.
            image, name = joined[:at], joined[at + 1 :]
            return [(image, name)] if at > 0 and name and not has_extension(name) else []
        cuts = [i for i, c in enumerate(joined) if c == "_" and 0 < i < len(joined) - 1]
        ways = [(joined[:i], joined[i + 1 :]) for i in reversed(cuts)]
        # `img_12.jpg` has no class.
        ways = [(image, name) for image, name in ways if not has_extension(name)]
        if len(ways) < 2:
            return ways
        ranks = [self._rank(image, name) for image, name in ways]
        best = max(ranks)
        found = [way for way, rank in zip(ways, ranks) if rank == best]
        return found if best[0] else found[:1]

    def _rank(self, image: str, name: str) -> tuple[bool, bool, bool]:
        """A known class, the name of a file, an extension: in this order they speak for a way."""
        ends = has_extension(image)
        there = self._knows(image)
        # `1_2.jpg_Fish` is no class `2.jpg_Fish` of the file 1.jpg.
        return name in self.classes, there and (ends or "." not in name), ends or there


def ends_like_an_image(text: str) -> bool:
    """Whether a text ends with the extension of an image file, or has it before a class."""
    return "." in text and _EXTENSION_THEN.search(text) is not None


def established(texts: Iterable[str], names: Optional[ImageNames], most: int) -> list[str]:
    """The classes at the ends of `IMAGE_CLASS` texts that are certain: those of several images.

    Args:
      texts: cells of the column, each once.
      names: the image files that are there; None: not known.
      most: more different ends than this are not classes; then none is certain.
    """
    split = Splitter(names)
    counts: collections.Counter[str] = collections.Counter()
    for text in texts:
        ways = split.ways(text)
        if len(ways) == 1:
            counts[ways[0][1]] += 1
            if len(counts) > most:
                return []
    return [name for name, count in counts.items() if count > 1]
