"""How a trained model is written as a SavedModel, a TFLite or an ONNX file; see `export`.

Each writer takes the model, the content of its `cloudtf.json` and where to write.
"""

from __future__ import annotations

import contextlib
import json
import os
import zipfile
from typing import TYPE_CHECKING, Any, Callable, Iterator, Optional

import numpy as np

from cloudtf import files, temporary
from cloudtf.errors import UserError, param, reason
from cloudtf.model import calibration, preprocessing

if TYPE_CHECKING:
    import tensorflow as tf

INFO_NAME = "cloudtf.json"

# The signatures of a SavedModel; `images` is the only one of the other formats.
IMAGES = "images"
JPEG = "jpeg"

# Old enough for any runtime in use, new enough for all that the networks need.
_OPSET = 15


def smallest_passing(threshold: Optional[float]) -> np.float32:
    """The least float32 that is at least `threshold`; infinity for None.

    With it a float32 score passes exactly where, as a float64, it passes the threshold itself.
    """
    if threshold is None:
        return np.float32(np.inf)
    nearest = np.float32(threshold)
    return nearest if float(nearest) >= threshold else np.nextafter(nearest, np.float32(np.inf))


def _classifier(
    model: tf.keras.Model, info: dict[str, Any]
) -> Callable[[tf.Tensor], dict[str, tf.Tensor]]:
    """uint8 [B, H, W, 3] (of `any_size` [B, h, w, 3]) to `probabilities` and, with thresholds,
    `present`.

    Decisions are made before calibration, where no rounding comes near.
    """
    lowest, calibrated = None, info["calibration"]
    limits = info["thresholds"] if calibrated is None else calibrated["thresholds"]
    if limits is not None:
        lowest = np.array([smallest_passing(limits[name]) for name in info["classes"]])

    def classify(images: tf.Tensor) -> dict[str, tf.Tensor]:
        if info["any_size"]:
            from cloudtf.model import resizing

            images = resizing.any_size(
                images, info["image_height"], info["image_width"], info["aspect"]
            )
        scores = probabilities = model(images, training=False)
        if calibrated is not None:
            entries = [calibrated["classes"][name] for name in info["classes"]]
            probabilities = calibration.in_graph(scores, entries)
        found = {"probabilities": probabilities}
        return found if lowest is None else {**found, "present": scores >= lowest}

    return classify


def _image_spec(info: dict[str, Any]) -> tf.TensorSpec:
    import tensorflow as tf

    sides = (None, None) if info["any_size"] else (info["image_height"], info["image_width"])
    shape = [None, *sides, 3]
    return tf.TensorSpec(shape, tf.uint8, name=IMAGES)


def _save(
    model: tf.keras.Model, signatures: dict[str, Callable], specs: dict[str, Any], folder: str
) -> None:
    import tensorflow as tf

    module = tf.Module()
    # The variables alone: a Keras model would bring its layers' functions and their custom objects.
    module.weights = model.variables
    functions = {
        name: tf.function(function, input_signature=[specs[name]], autograph=False)
        for name, function in signatures.items()
    }
    options = tf.saved_model.SaveOptions(experimental_custom_gradients=False)
    tf.saved_model.save(module, folder, functions, options)


def saved_model(model: tf.keras.Model, info: dict[str, Any], output: str) -> None:
    """Writes a new folder for TensorFlow, whose model takes pixels or the bytes of files."""
    import tensorflow as tf

    from cloudtf.model import jpeg_input

    # Traced once for both signatures.
    classify = tf.function(
        _classifier(model, info), input_signature=[_image_spec(info)], autograph=False
    )

    def from_images(images: tf.Tensor) -> dict[str, tf.Tensor]:
        # Layers such as batch normalization take no empty batch: one image is added to that.
        count = tf.shape(images)[0]
        added = tf.cast(tf.equal(count, 0), tf.int32)
        answers = classify(tf.pad(images, [[0, added], [0, 0], [0, 0], [0, 0]]))
        found = {name: values[:count] for name, values in answers.items()}
        names = tf.broadcast_to(tf.constant(info["classes"]), tf.shape(found["probabilities"]))
        return {**found, "classes": names}

    def from_jpeg(jpeg: tf.Tensor) -> dict[str, tf.Tensor]:
        size = (info["image_height"], info["image_width"])
        return from_images(jpeg_input.decode(jpeg, *size, info["aspect"]))

    specs = {IMAGES: _image_spec(info), JPEG: tf.TensorSpec([None], tf.string, name=JPEG)}
    with files.new_folder(output) as folder:
        _save(model, {IMAGES: from_images, JPEG: from_jpeg}, specs, folder)
        files.make_dirs(files.join(folder, "assets.extra"))
        files.write_json(files.join(folder, "assets.extra", INFO_NAME), info)


def tflite(
    model: tf.keras.Model,
    info: dict[str, Any],
    output: str,
    representative: Optional[np.ndarray] = None,
) -> None:
    """Writes a TFLite file, and its script beside it.

    Args:
      model: takes uint8 [B, H, W, 3], gives probabilities [B, C].
      info: the content of `cloudtf.json`; its `precision` is that of the file.
      output: the file to write, local or remote.
      representative: uint8 [N, H, W, 3], images by which int8 finds the ranges of its values.
    """
    import tensorflow as tf

    with temporary.scratch_folder() as folder:
        _save(model, {IMAGES: _classifier(model, info)}, {IMAGES: _image_spec(info)}, folder)
        converter = tf.lite.TFLiteConverter.from_saved_model(folder, signature_keys=[IMAGES])
        if info["precision"] != "float32":
            converter.optimizations = [tf.lite.Optimize.DEFAULT]
        if info["precision"] == "float16":
            converter.target_spec.supported_types = [tf.float16]
        elif representative is not None:
            converter.representative_dataset = lambda: (
                {IMAGES: image[np.newaxis]} for image in representative
            )
        with _silenced():
            content = converter.convert()
    runner = tf.lite.Interpreter(model_content=content).get_signature_runner()
    with _with_script("tflite", info, output, lambda images: runner(images=images)) as path:
        with open(path, "wb") as file:
            file.write(content)
        # A reader of the format stops before what is appended; `unzip` finds it.
        with zipfile.ZipFile(path, "a") as archive:
            archive.writestr(INFO_NAME, json.dumps(info, indent=2, ensure_ascii=False))
            archive.writestr("labels.txt", "".join(f"{name}\n" for name in info["classes"]))


@contextlib.contextmanager
def _silenced() -> Iterator[None]:
    """Keeps away what the converter's C++ part writes to stderr: a table of "non-converted ops"
    where all is well. Errors are exceptions."""
    kept = os.dup(2)
    try:
        with open(os.devnull, "wb") as nowhere:
            os.dup2(nowhere.fileno(), 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)


def onnx(model: tf.keras.Model, info: dict[str, Any], output: str) -> None:
    """Writes an ONNX file, and its script beside it."""
    import tensorflow as tf

    tf2onnx = import_tf2onnx()
    function = tf.function(
        _classifier(model, info), input_signature=[_image_spec(info)], autograph=False
    )
    proto, _ = tf2onnx.convert.from_function(
        function, input_signature=function.input_signature, opset=_OPSET
    )
    entry = proto.metadata_props.add()
    entry.key, entry.value = INFO_NAME, json.dumps(info, ensure_ascii=False)
    classify = _classifier(model, info)
    with _with_script("onnx", info, output, classify) as path, open(path, "wb") as file:
        file.write(proto.SerializeToString())


@contextlib.contextmanager
def _with_script(
    kind: str, info: dict[str, Any], output: str, classify: Callable[[np.ndarray], Any]
) -> Iterator[str]:
    """Gives a local path to write a model to, which goes to `output` together with its script."""
    script = preprocessing.script(
        kind,
        info["image_height"],
        info["image_width"],
        info["aspect"],
        lambda images: np.asarray(classify(images)["probabilities"]),
    )
    folder, name = files.dirname(output), files.basename(output)
    files.remove_leftovers(folder, {name, name + preprocessing.SUFFIX})
    with files.replacing_all(folder) as written:
        yield files.join(written, name)
        files.write_text(files.join(written, name + preprocessing.SUFFIX), script)


def import_tf2onnx() -> Any:
    """The converter to ONNX; UserError where it is not installed."""
    try:
        import tf2onnx.convert
    except Exception as error:  # A version of onnx that does not fit raises others.
        raise UserError(
            f"{param(format='onnx')} needs the package tf2onnx ({reason(error)}); install it with: "
            'pip install tf2onnx; beside TensorFlow 2.15 with: pip install tf2onnx "onnx<1.19".'
        ) from error
    return tf2onnx
