"""Turn photographs and a label CSV into TFRecord shards and dataset.json.

The CSV may be Kaggle's (Image_Label, EncodedPixels), one-hot (image, then a 0/1 column a class) or
a list (image, classes separated by spaces or |). A run that was killed goes on where it stopped
when it is started again with the same flags; with --overwrite it begins anew.
"""

from __future__ import annotations

from cloudtf.data.convert import ConvertConfig, convert

CONFIG = ConvertConfig


def run(config: ConvertConfig) -> None:
    """Runs the converter."""
    convert(config)
