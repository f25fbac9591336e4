"""Answers with what is known of a model file and whether TensorFlow was imported for it.

Argument: the model file.
"""

from __future__ import annotations

import json
import sys

from cloudtf.model import saving

if __name__ == "__main__":
    info = saving.read_info(sys.argv[1])
    print(json.dumps([info, "tensorflow" in sys.modules]))
