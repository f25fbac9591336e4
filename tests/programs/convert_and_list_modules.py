"""Converts photographs; answers with the modules that were imported for it.

Arguments: the label CSV; the folder of photographs; the output folder.
"""

from __future__ import annotations

import json
import sys

from cloudtf.data.convert import ConvertConfig, convert

if __name__ == "__main__":
    labels_csv, images_dir, output_dir = sys.argv[1:]
    convert(ConvertConfig(labels_csv=labels_csv, images_dir=images_dir, output_dir=output_dir))
    print(json.dumps(list(sys.modules)))
