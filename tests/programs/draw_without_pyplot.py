"""Draws a plot; answers with what was imported before drawing, and after it.

Argument: the picture's path.
"""

from __future__ import annotations

import json
import sys

from cloudtf.commands import postprocess  # noqa: F401 - to see what it imports
from cloudtf.evaluation import plots, thresholds  # noqa: F401
from cloudtf.evaluation.report import page  # noqa: F401

if __name__ == "__main__":
    before = list(sys.modules)
    plots.pr_auc_history(sys.argv[1], [])
    print(json.dumps([before, list(sys.modules)]))
