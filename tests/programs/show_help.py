"""Shows the help of commands; answers with statuses, processor seconds, modules, and the package.

Arguments: the commands, all of them if none is named.
"""

from __future__ import annotations

import json
import resource
import sys

import cloudtf
from cloudtf.commands import app

if __name__ == "__main__":
    statuses = [app.main([name, "--help"]) for name in sys.argv[1:] or app.COMMANDS]
    used = resource.getrusage(resource.RUSAGE_SELF)
    seconds = used.ru_utime + used.ru_stime
    print(json.dumps([statuses, seconds, list(sys.modules), cloudtf.__file__]))
