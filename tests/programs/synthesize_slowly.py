"""`cloudtf synthesize` that stops for ever after some images, so that it can be killed there.

Arguments: how many images are drawn; then the flags of `cloudtf synthesize`.
"""

from __future__ import annotations

import itertools
import sys
import time
from typing import Any
from unittest import mock

from cloudtf.commands import app
from cloudtf.synthetic import synthesize


def main(most: int, flags: list[str]) -> int:
    """Draws; the exit status, if it ends."""
    draw_image, numbers = synthesize.draw_image, itertools.count()

    def stopping(*arguments: Any) -> Any:
        if next(numbers) >= most:
            print("ready", flush=True)
            time.sleep(600)
        return draw_image(*arguments)

    with mock.patch.object(synthesize, "draw_image", stopping):
        return app.main(["synthesize", *flags])


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]), sys.argv[2:]))
