"""`cloudtf synthesize` that is killed while it draws an image.

Arguments: the number of the image, from 0; then the flags of `cloudtf synthesize`.
"""

from __future__ import annotations

import os
import signal
import sys
from unittest import mock

from cloudtf.commands import app
from cloudtf.synthetic import synthesize


def main(last: int, flags: list[str]) -> int:
    """Draws; the exit status, if it gets there."""
    draw = synthesize.draw_image

    def dying(
        config: synthesize.SynthesizeConfig, stream: int, index: int
    ) -> tuple[bytes, dict[str, str]]:
        if index == last:
            os.kill(os.getpid(), signal.SIGKILL)
        return draw(config, stream, index)

    with mock.patch.object(synthesize, "draw_image", dying):
        return app.main(["synthesize", *flags])


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]), sys.argv[2:]))
