"""Loads a model file, with cloudtf or with what a stranger has, and predicts.

Arguments: `cloudtf` or `keras`; the model file; a `.npy` file of images; where to write the
predictions, as `.npy`.
"""

from __future__ import annotations

import sys

import numpy as np


def main(loader: str, path: str, images: str, predictions: str) -> None:
    """Writes the predictions."""
    if loader == "cloudtf":
        from cloudtf.model import saving

        model = saving.load_model(path)
    else:
        sys.modules["cloudtf"] = None  # type: ignore[assignment]  # as if not installed
        import efficientnet.tfkeras  # noqa: F401 - registers its layers
        import tensorflow as tf

        model = tf.keras.models.load_model(path, compile=False)
    np.save(predictions, model(np.load(images)))


if __name__ == "__main__":
    main(*sys.argv[1:])
