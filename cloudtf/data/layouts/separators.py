"""How a cell that lists classes is cut.

`|`, `;` and line breaks only ever separate; commas nearly always. Spaces stand in names as well as
between them, and which of the two they do shows in how words come together: what separates classes
lets them come in other company too. Where it does not show, nothing is guessed.
"""

from __future__ import annotations

import collections
import dataclasses
import html
import re
import unicodedata
from typing import Collection, Iterable, Mapping, Optional

from cloudtf.data import words
from cloudtf.data.layouts import printed_lists
from cloudtf.errors import UserError, param

# What the setting calls them.
NAMES = {
    "space": " ",
    "comma": ",",
    "semicolon": ";",
    "bar": "|",
    "tab": "\t",
    "newline": "\n",
    "none": "",
    "python": "python",
    "boxes": "boxes",
    "characters": "characters",
}
_PYTHON, _BOXES, _CHARACTERS = "python", "boxes", "characters"
_CALLED = {text: name for name, text in NAMES.items()}
# A single class that is cut here and gives others is a list, whatever else there is.
_JOINTS = re.compile(r"[^\w]+|_")
_AND = frozenset(["and", "or", "und", "oder", "et", "ou"])
# Kinds of characters of which no name consists: punctuation and mathematical signs.
_SIGNS = frozenset(["Po", "Pd", "Ps", "Pe", "Pc", "Sm"])
# Rows in which a pair of words has to come, never apart, to be a name.
_CERTAIN_ROWS = 5


@dataclasses.dataclass(frozen=True)
class Separator:
    """What stands between the classes in a cell.

    Attributes:
      text: the separator; " ": spaces of any number; "": a cell is one class; `python`: cells are
        lists as Python and JSON write them; `boxes`: numbers and spaces;
        `characters`: each character is a class.
      others: further texts that separate.
    """

    text: str
    others: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """What messages and the setting call it."""
        return ",".join(_CALLED.get(text, text) for text in (self.text, *self.others))

    def cut(self, cell: str) -> list[str]:
        """The classes in a cell, in its order, without blanks.

        Raises:
          ValueError: one phrase: what is no list as Python prints it.

        >>> Separator("|").cut("Science Fiction| Drama|")
        ['Science Fiction', 'Drama']
        >>> Separator("python").cut("['cat', \\"dog's\\"]"), Separator("python").cut("bird")
        (['cat', "dog's"], ['bird'])
        >>> Separator(",", (";",)).cut("cat, dog; bird"), Separator("boxes").cut("cat 0 0 9 9 dog")
        (['cat', 'dog', 'bird'], ['cat', 'dog'])
        """
        cell = cell.strip()
        if words.is_blank(cell):
            return []
        if "&" in cell and ";" in cell:
            cell = html.unescape(cell)
        if not self.text:
            return [cell]
        if self.text == _CHARACTERS:
            return [*cell]
        for other in self.others:
            cell = cell.replace(other, self.text)
        if self.text == _PYTHON:
            found = printed_lists.items(cell)
        elif self.text == _BOXES:
            found = [part for part in cell.split() if not is_number(part)]
        else:
            found = cell.split() if self.text == " " else self._outside_brackets(cell)
        found = [part.strip() for part in found]
        if len(found) == 1 and words.is_blank(found[0]):
            return []
        return [part for part in found if part]

    def _outside_brackets(self, cell: str) -> list[str]:
        """Cut where the separator is not within brackets, which hold what belongs to one name.

        >>> Separator(",")._outside_brackets("Parus major (L., 1758),1) cat,2) dog")
        ['Parus major (L., 1758)', '1) cat', '2) dog']
        """
        held = re.sub(r"\([^()]*\)", lambda found: found[0].replace(self.text, "\0"), cell)
        return [part.replace("\0", self.text) for part in held.split(self.text)]


def is_number(text: str) -> bool:
    """Whether a part of a cell is a number, such as a side of a box."""
    return re.fullmatch(r"-?\d+(\.\d+)?", text) is not None


def given(text: str) -> Separator:
    """The separators that a user has named: by words of `NAMES`, or by themselves.

    >>> given("comma,semicolon"), given(","), given("/").name
    (Separator(text=',', others=(';',)), Separator(text=',', others=()), '/')
    """
    parts = text.split(",") if text.strip() != "," else [text]
    if not all(part.strip() for part in parts):
        parts = [text]  # A text with a comma in it.
    first, *others = (
        NAMES.get(part.strip().lower(), part if part == " " else part.strip()) for part in parts
    )
    return Separator(first, tuple(others))


def choose(
    source: str,
    column: str,
    texts: Mapping[str, int],
    marks: Collection[str],
    classes: Collection[str] = (),
) -> Separator:
    """Recognises the separator of a column by its cells.

    Args:
      source: what messages call the table: its path, mostly.
      column: the name of the column, by which it may promise several classes in a cell.
      texts: the cells that are not blank, and in how many rows each is.
      marks: which of `|`, `;`, `,` and line breaks are in the column.
      classes: all classes, where they are known.

    Raises:
      UserError: it does not show; names the setting that says it.
    """
    if printed_lists.are_lists(texts):
        return Separator(_PYTHON)
    digits = all(re.fullmatch("[01]{3,}", text) for text in texts)
    if digits and len(set(map(len, texts))) == 1 and any(text[0] == "0" for text in texts):
        return Separator(_CHARACTERS)  # 0110: a digit for each class.
    known = frozenset(classes)
    for mark in ("|", ";", "\n", ","):
        if mark in marks:
            if mark == "," and not known and _may_be_names_with_commas(texts):
                raise _undecided(source, column, next(t for t in texts if "," in t), "comma")
            return Separator(mark)
    cells = {t: n for t, n in texts.items() if not words.is_no_class(t) and t not in known}
    several = [text for text in cells if " " in text or "\t" in text]
    if not several:
        return Separator(" " if known else "")
    if known and all(part in known for text in several for part in text.split()):
        return Separator(" ")
    if known and any(" " in name for name in known):
        return Separator("")
    verdict = _are_lists(cells, several, words.is_several(column))
    if verdict is None:
        # `cat / dog`: a sign between spaces separates rather than the spaces.
        signs = [
            (text, word)
            for text in several
            for word in text.split()
            if not any(c.isalnum() for c in word)
        ]
        cell, separator = signs[0] if signs else (several[0], "space")
        raise _undecided(source, column, cell, separator)
    return Separator(" " if verdict else "")


def _undecided(source: str, column: str, cell: str, separator: str) -> UserError:
    return UserError(
        f"{source} has cells such as {cell[:60]!r} in the column {column!r}, which may be one "
        f"class or several: give {param(label_separator=separator)} or "
        f"{param(label_separator='none')}."
    )


def _may_be_names_with_commas(texts: Mapping[str, int]) -> bool:
    """Whether commas, each with a space, only join what is never apart: `tench, Tinca tinca`."""
    parts = {text: [part.strip() for part in text.split(",")] for text in texts}
    counts = collections.Counter(part for found in parts.values() for part in set(found))
    several = [text for text, found in parts.items() if len(found) > 1]
    if not all(", " in text and "," not in text.replace(", ", "") for text in several):
        return False
    alone = all(counts[part] == 1 for text in several for part in parts[text])
    return alone and (len(several) > 1 or any(texts[text] > 1 for text in several))


def _are_lists(cells: Mapping[str, int], several: Iterable[str], promised: bool) -> Optional[bool]:
    """Whether spaces separate classes; None if it does not show.

    Args:
      cells: all of them with their counts of rows.
      several: those with a space.
      promised: whether the name of the column is a plural.
    """
    split = {text: text.split() for text in cells}
    vocabulary = {word for found in split.values() for word in found}
    if all(re.fullmatch(r"-?\d+(\.0)?", word) for word in vocabulary):
        return True
    if any(re.search(r"[^\W_]_[^\W_]", word) for word in vocabulary):
        return True  # Names have underscores where others have spaces.
    holders = collections.defaultdict(set)
    for text, found in split.items():
        for word in found:
            holders[word].add(text)
    glued = isolated = complete = 0
    rows = []
    for text in several:
        shared = [len(holders[word]) > 1 for word in split[text]]
        isolated += not any(shared)
        complete += all(shared)
        rows.append(cells[text])
        pairs = zip(split[text], split[text][1:])
        glued += any(
            holders[a] == holders[b] and (len(holders[a]) > 1 or cells[text] > 1) for a, b in pairs
        )
    if isolated == len(rows) and min(rows) >= _CERTAIN_ROWS:
        return False
    if glued or isolated or 2 * complete < len(rows):
        return None
    alone = {text for text, found in split.items() if len(found) == 1}
    if promised or all(word in alone for text in several for word in split[text]):
        return True
    return None


def check_parts(source: str, column: str, found: Collection[str], separator: Separator) -> None:
    """Refuses classes that look like several joined by another separator than the chosen one.

    Args:
      source: what messages call the table: its path, mostly.
      column: the name of the column, for the message.
      found: all classes that its cells were cut into.
      separator: the separator by which they were cut.

    Raises:
      UserError: naming one, and the setting that says what separates.
    """
    known = set(found)
    bare = collections.Counter(re.sub(r" \(\d+\)$", "", name) for name in known)
    if len(bare) < len(known):
        twice = bare.most_common(1)[0][0]
        raise UserError(
            f"{source} has {twice[:60]!r} in the column {column!r} with several numbers behind it; "
            f"remove them, or, if these are different classes, give "
            f"{param(label_separator=separator.name)}."
        )
    for name in sorted(known):
        joint = next((text for text in ("\\n", "\\t") if text in name), "")
        if not joint and separator.text and all(unicodedata.category(c) in _SIGNS for c in name):
            joint = name
        if joint:
            raise _undecided(source, column, name, joint)
        if len(name) > 1 and name.isalpha() and known.issuperset(name):
            raise _undecided(source, column, name, _CHARACTERS)
        pieces = [part for part in _JOINTS.split(name) if part]
        joined = [part for part in pieces if part.lower() not in _AND]
        if len(joined) < len(pieces) and name not in _AND and any(p in known for p in joined):
            raise UserError(
                f"{source} has {name[:60]!r} in the column {column!r}, which may be several "
                f"classes: give {param(label_separator=separator.name)} if it is one, or all names "
                f"with {param('classes')}."
            )
        if len(pieces) < 2 or not all(part in known for part in pieces):
            continue
        joint = name[len(pieces[0]) :].partition(pieces[1])[0]
        called = _CALLED.get(joint, _CALLED.get(joint.strip(), joint.strip() or "space"))
        if separator.text not in ("", _PYTHON, _BOXES):  # It separates in the other cells.
            called = f"{separator.name},{called}"
        raise UserError(
            f"{source} has {name[:60]!r} in the column {column!r} beside {pieces[0]!r} and "
            f"{pieces[1]!r}, so that it may be one class or several: give "
            f"{param(label_separator=called)} or {param(label_separator=separator.name)}, or all "
            f"names with {param('classes')}."
        )


def is_vector(lists: Iterable[list[str]]) -> int:
    """The length of lists of 0 or 1 (or -1 and 1) for each class; 0 if they are of names."""
    lengths, answers = set(), set()
    for found in lists:
        said = {words.truth(part, words.NUMBERS) for part in found}
        answers |= said
        if not said or answers - {0, 1} and answers - {-1, 1}:
            return 0
        lengths.add(len(found))
    return lengths.pop() if len(lengths) == 1 and max(lengths) > 1 else 0
