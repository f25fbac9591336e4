"""What a stranger would write: reads an exported SavedModel and a TFLite file, without cloudtf.

Arguments: a `.npz` file with `images`, `jpeg` (all files' bytes, one after the other) and `places`
(where each begins and ends); the SavedModel; the TFLite file; where to write the answers.
"""

from __future__ import annotations

import sys

for name in ("cloudtf", "efficientnet", "tensorflow_addons", "tf_keras"):
    sys.modules[name] = None  # type: ignore[assignment]  # as if not installed

import numpy as np  # noqa: E402
import tensorflow as tf  # noqa: E402


def main(given_path: str, saved_model: str, tflite: str, answers: str) -> None:
    """Writes what both answer."""
    given = np.load(given_path)
    signatures = tf.saved_model.load(saved_model).signatures
    found = {}
    for name, value in signatures["images"](images=tf.constant(given["images"])).items():
        found["images_" + name] = value.numpy()
    jpeg = [given["jpeg"][start:end].tobytes() for start, end in given["places"]]
    for name, value in signatures["jpeg"](jpeg=tf.constant(jpeg)).items():
        found["jpeg_" + name] = value.numpy()
    runner = tf.lite.Interpreter(tflite).get_signature_runner("images")
    for name, value in runner(images=given["images"]).items():
        found["lite_" + name] = value
    found["lite_one"] = runner(images=given["images"][:1])["probabilities"]
    # NumPy's own format for text, which is read without pickle.
    np.savez(answers, **{k: v.astype(str) if v.dtype == object else v for k, v in found.items()})


if __name__ == "__main__":
    main(*sys.argv[1:])
