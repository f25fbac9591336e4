"""What a stranger would write: runs an exported model, without cloudtf, in a process of its own.

`proof` starts it from its source, so it imports nothing but what the model's format needs. It takes
the format, the model, a `.npz` file of what to give it (`images`, uint8 [N, H, W, 3]; `others`,
the bytes of M files, or of M images whose [h, w, 3] are in `shapes`, one after the other, and
`ends`, where each ends) and where to write what it answers (`images_probabilities`,
`images_present`, `others_probabilities`, ..., and `runtime`).
"""

from __future__ import annotations

import sys
from typing import Any, Callable

# What an exported model does without: as if it were not installed.
_HIDDEN = ("cloudtf", "efficientnet", "tensorflow_addons", "tf_keras")
# Images a step.
_BATCH = 16

Answers = dict[str, Any]


def saved_model(path: str) -> tuple[Callable[[Any], Answers], Callable[[Any], Answers], str]:
    """The functions of pixels and of files' bytes, and what runs them."""
    import tensorflow as tf

    loaded = tf.saved_model.load(path)
    # A signature lives only as long as what it was loaded with.
    from_images, from_bytes = loaded.signatures["images"], loaded.signatures["jpeg"]

    def numpy(outputs: Answers) -> Answers:
        return {name: value.numpy() for name, value in outputs.items()}

    return (
        lambda images: numpy(from_images(images=tf.constant(images))),
        lambda files: numpy(from_bytes(jpeg=tf.constant(files))) if loaded else {},
        f"tensorflow {tf.__version__}",
    )


def tflite(path: str) -> tuple[Callable[[Any], Answers], None, str]:
    """The function of pixels, and what runs it."""
    import tensorflow as tf

    runner = tf.lite.Interpreter(path).get_signature_runner("images")
    return lambda images: runner(images=images), None, f"tensorflow {tf.__version__}"


def onnx(path: str) -> tuple[Callable[[Any], Answers], None, str]:
    """The function of pixels, and what runs it."""
    import onnxruntime

    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]

    def classify(images: Any) -> Answers:
        return dict(zip(names, session.run(names, {"images": images})))

    return classify, None, f"onnxruntime {onnxruntime.__version__}"


def main(kind: str, path: str, given_path: str, answers_path: str) -> None:
    """Writes what the model answers."""
    import numpy as np

    given = np.load(given_path)
    from_images, from_bytes, runtime = {
        "saved_model": saved_model,
        "tflite": tflite,
        "onnx": onnx,
    }[kind](path)
    content, ends = given["others"].tobytes(), given["ends"].tolist()
    others = [content[start:end] for start, end in zip([0, *ends], ends)]
    found: dict[str, list[Any]] = {}

    def keep(way: str, outputs: Answers) -> None:
        for name, value in outputs.items():
            found.setdefault(f"{way}_{name}", []).append(value)

    for start in range(0, len(given["images"]), _BATCH):
        keep("images", from_images(given["images"][start : start + _BATCH]))
    if from_bytes is not None:
        for start in range(0, len(others), _BATCH):
            keep("others", from_bytes(others[start : start + _BATCH]))
    else:
        for data, shape in zip(others, given["shapes"]):
            keep("others", from_images(np.frombuffer(data, np.uint8).reshape([1, *shape])))
    answers = {
        # Of text, without pickle.
        name: np.concatenate([v.astype(bytes) if v.dtype == object else v for v in values])
        for name, values in found.items()
    }
    np.savez(answers_path, runtime=np.array(runtime), **answers)


if __name__ == "__main__":
    for name in _HIDDEN:
        sys.modules[name] = None  # type: ignore[assignment]
    main(*sys.argv[1:])
