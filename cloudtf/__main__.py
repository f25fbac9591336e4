"""`python -m cloudtf COMMAND`, also installed as `cloudtf`."""

from __future__ import annotations

import sys

from cloudtf.commands import app


def main() -> None:
    """Runs the command named on the command line and exits with its status."""
    sys.exit(app.main(sys.argv[1:]))


if __name__ == "__main__":
    main()
