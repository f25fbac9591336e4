"""`cloudtf convert` that takes its time, so that it can be killed half-way.

Arguments: how many records are made without delay; the seconds that each further one takes; then
the flags of `cloudtf convert`.
"""

from __future__ import annotations

import itertools
import sys
import time
from typing import Any
from unittest import mock

from cloudtf.commands import app
from cloudtf.data import recipe


def main(quick: int, seconds: float, flags: list[str]) -> int:
    """Converts; the exit status."""
    make_record, numbers = recipe.make_record, itertools.count()

    def slowed(*arguments: Any) -> Any:
        if next(numbers) >= quick:
            time.sleep(seconds)
        return make_record(*arguments)

    with mock.patch.object(recipe, "make_record", slowed):
        return app.main(["convert", *flags])


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]), float(sys.argv[2]), sys.argv[3:]))
