"""Turns photographs and a label CSV into TFRecords; the same as `cloudtf convert`."""

import sys

from cloudtf import noise
from cloudtf.commands import app

if __name__ == "__main__":
    noise.keep_out()
    sys.exit(app.run_command("convert", sys.argv[1:]))
