"""Lists and texts as Python, NumPy and JSON print them in a cell."""

from __future__ import annotations

import ast
import json
import re
from typing import Collection

_BRACKETS = {"[": "]", "(": ")", "{": "}"}
_ITEM = re.compile(
    r"""\s*(?:(?P<prefix>[bu]?)(?P<quoted>'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*")|(?P<bare>[^,'"\[\](){}]+))\s*,?"""
)
_TYPED_TEXT = re.compile(
    r"""\b[A-Za-z_][\w.]*\(\s*(b?'(?:[^'\\]|\\.)*'|b?"(?:[^"\\]|\\.)*")\s*\)"""
)
_TYPED_LIST = re.compile(
    r"[A-Za-z_][\w.]*\(\s*([\[({].*[\])}])\s*(?:,\s*dtype=[^()]*)?\)", re.DOTALL
)


def are_lists(texts: Collection[str]) -> bool:
    """Whether most cells are lists as Python, NumPy or JSON write them."""
    texts = [_bare(text) for text in texts]
    lists = [text for text in texts if text[:1] in _BRACKETS and text[-1:] in _BRACKETS.values()]
    lists += [text for text in texts if re.fullmatch(r"""b?('[^']*'|"[^"]*")""", text)]
    # No class has a quotation mark in its name.
    return 2 * len(lists) > len(texts) or any(text.startswith('["') for text in lists)


def items(cell: str) -> list[str]:
    """The items of a list; a cell without brackets is one.

    Args:
      cell: its text, which is not empty.

    Raises:
      ValueError: one phrase: why it is no list.

    >>> items("['cat', 'dog']"), items("array(['cat'], dtype=object)"), items("bird")
    (['cat', 'dog'], ['cat'], ['bird'])
    """
    cell = _bare(cell)
    text = _ITEM.fullmatch(cell)
    if text is not None and text["quoted"]:
        return [_unquoted(text["quoted"])]
    if cell[0] not in _BRACKETS:
        return [cell]
    if cell[-1] != _BRACKETS[cell[0]] or len(cell) < 2:
        raise ValueError("has a list without its closing bracket")
    inside, found, at = cell[1:-1], [], 0
    while inside[at:].strip():
        item = _ITEM.match(inside, at)
        if item is None or item.end() == at:
            raise ValueError("has a list that cannot be read")
        at = item.end()
        if item["quoted"]:
            found.append(_unquoted(item["quoted"]))
        else:
            bare = item["bare"].strip()
            if "..." in bare:
                raise ValueError("has a list that was cut off (...) when it was printed")
            # NumPy writes [0 3].
            numbers = re.fullmatch(r"[-\d.\s]+", bare)
            found += bare.split() if numbers else [bare] if bare else []
    return found


def _bare(text: str) -> str:
    """A list or text without the names of types that Python prints around it.

    >>> _bare("frozenset({'cat'})"), _bare("array(['cat'], dtype=object)"), _bare("np.str_('cat')")
    ("{'cat'}", "['cat']", "'cat'")
    """
    text = _TYPED_TEXT.sub(r"\1", text.strip())
    found = _TYPED_LIST.fullmatch(text)
    return found[1] if found else text


def _unquoted(text: str) -> str:
    for read in (json.loads, ast.literal_eval):
        try:
            return str(read(text))
        except (ValueError, SyntaxError):
            continue
    raise ValueError("has a list with a text that cannot be read")
