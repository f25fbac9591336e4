"""Where the messages of the library go: to stdout, or to what a caller has set.

The library never prints by itself: it says `report("...")`, and a program that uses it shows that
where its users look, or nowhere:

>>> said = []
>>> with reporting_to(said.append):
...     report("12 images converted.")
>>> said
['12 images converted.']
"""

from __future__ import annotations

import contextlib
import sys
from typing import Callable, Iterator, Optional

Reporter = Callable[[str], None]


def _print(text: str) -> None:
    # Where stdout is not UTF-8, what it cannot say is replaced.
    encoding = getattr(sys.stdout, "encoding", None) or "utf-8"
    text = text.encode(encoding, "replace").decode(encoding)
    if "tqdm" in sys.modules:  # There may be a progress bar, which gives way.
        sys.modules["tqdm"].tqdm.write(text)
        sys.stdout.flush()
    else:
        print(text, flush=True)


_reporter: Optional[Reporter] = _print


def report(text: str) -> None:
    """Says something to the user, such as what a run does.

    Args:
      text: whole sentences or a table; several lines are separated by line breaks.
    """
    if _reporter is not None:
        _reporter(text)


def set_reporter(function: Optional[Reporter]) -> Optional[Reporter]:
    """Sends what the library says to `function` from now on, in all threads.

    Errors are raised as before, and progress bars stay on stderr.

    Args:
      function: called with each message, which may have several lines; None: silence. At first,
        messages are printed to stdout.

    Returns:
      What was there before, to be set again.

    >>> import logging
    >>> before = set_reporter(logging.getLogger("cloudtf").info)
    >>> report("This goes to the log.")
    >>> log = set_reporter(before)
    >>> report("And this to stdout.")
    And this to stdout.
    """
    global _reporter
    before, _reporter = _reporter, function
    return before


@contextlib.contextmanager
def reporting_to(function: Optional[Reporter]) -> Iterator[None]:
    """The same as `set_reporter`, for the length of a `with` block.

    >>> with reporting_to(None):
    ...     report("Nobody hears this.")
    """
    before = set_reporter(function)
    try:
        yield
    finally:
        set_reporter(before)
