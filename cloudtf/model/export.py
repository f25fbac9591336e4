"""Trained models for other programs: a SavedModel, a TFLite or an ONNX file without cloudtf.

What is written takes plain images and says which classes it saw: normalising, class names and
thresholds are inside. The outputs, for B images and C classes:

    probabilities  float32 [B, C]
    present        bool [B, C], whether each probability is at least its class's threshold
    classes        string [B, C], the class names (SavedModel only)

`cloudtf.json` (classes, thresholds, image size) goes with it: in `assets.extra/` of a SavedModel,
in the zip archive at the end of a TFLite file, in the metadata of an ONNX file.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import zipfile
from typing import TYPE_CHECKING, Any, Callable, Iterator, Optional

import numpy as np

from cloudtf import files, temporary
from cloudtf.errors import UserError, param, reason
from cloudtf.model import thresholds
from cloudtf.reporter import report
from cloudtf.settings import REQUIRED, Settings, setting
from cloudtf.text import listed

if TYPE_CHECKING:
    import tensorflow as tf

FORMATS = ("saved_model", "tflite", "onnx")
INFO_NAME = "cloudtf.json"

# The signatures of a SavedModel; `images` is the only one of the other formats.
IMAGES = "images"
JPEG = "jpeg"

# Of a model's own info, what concerns those who use it.
_KEPT = ("model", "best")
# Old enough for any runtime in use, new enough for all that the networks need.
_OPSET = 15


@dataclasses.dataclass(frozen=True)
class ExportConfig(Settings):
    """Which model to write in which format, with which thresholds.

    >>> ExportConfig(model="runs/a", output="clouds.tflite", format="tflite").present_at
    'recall'
    """

    model: str = setting(REQUIRED, "The .keras file, or a run folder for its best model.")
    output: str = setting(REQUIRED, "File to write; for saved_model the folder, a new one.")
    format: str = setting(
        "saved_model",
        "saved_model takes JPEG bytes or uint8 images, tflite and onnx take uint8 images.",
        choices=FORMATS,
    )
    thresholds: Optional[str] = setting(
        None, "thresholds.json of the model. Default: the one beside it, if there is one."
    )
    present_at: str = setting(
        "recall",
        "Which of the two thresholds says that a class is present.",
        choices=("recall", "precision"),
    )


def export(config: ExportConfig) -> dict[str, Any]:
    """Writes a trained model in another format, whole or not at all.

    It computes in float32, also what was trained in mixed precision.

    Returns:
      The content of `cloudtf.json`: `classes`, `image_height`, `image_width`, `present_at` and
      `thresholds` (a map by class; both None where there are no thresholds, and then there is no
      `present`; a class whose threshold is None is never present), `thresholds_from` (the `split`
      and the number of `examples` that they were chosen on), and what is known of the model.

    Raises:
      UserError: the model or its thresholds are missing, damaged or do not belong together; the
        output cannot be written or is a folder in use; tf2onnx is missing.

    >>> info = export(ExportConfig(model="runs/a", output="exported"))
    >>> served = tf.saved_model.load("exported").signatures["jpeg"]
    >>> with open("photographs/images/photo_00.jpg", "rb") as file:
    ...     outputs = served(jpeg=tf.constant([file.read()]))
    >>> outputs["probabilities"].shape == (1, len(info["classes"]))
    True
    """
    if config.format == "onnx":
        _import_tf2onnx()
    output = config.output
    if config.format == "saved_model":
        if set(output) & set("[]*?\\{}"):
            report(
                f"Note: TensorFlow loads no SavedModel from a path with []*?\\{{}} in it; move "
                f"{output} before it is loaded."
            )
        # Its parent is where it is made; that of `exported/` would be itself.
        output = output.rstrip("/") or output
        _check_new(output)
    elif files.is_dir(output) or output.endswith("/"):
        raise UserError(f"{param(output=output)} is a folder; name a file in it.")

    import tensorflow as tf

    from cloudtf.model import classifier, saving

    path = saving.find_model(config.model)
    if config.format != "saved_model":
        files.check_output(
            output,
            f"a model exported as {config.format}",
            lambda content: INFO_NAME.encode() in content and not content.startswith(b"PK"),
            {"model": path, "thresholds": config.thresholds},
        )
    trained = classifier.read(path, in_float32=True)
    source, chosen = _find_thresholds(path, trained.info, config)
    info = _describe(trained.info, config, chosen)
    if chosen is not None:
        weights, val_split = saving.weights_sha256(trained.model), trained.info.get("val_split")
        _check_source(path, source, chosen, weights, val_split or "val")
    write = {"saved_model": _saved_model, "tflite": _tflite, "onnx": _onnx}[config.format]
    try:
        write(trained.model, info, output)
    except (OSError, tf.errors.OpError) as error:
        raise UserError(f"The output {output} cannot be written: {reason(error)}.") from error
    return info


def smallest_passing(threshold: Optional[float]) -> np.float32:
    """The least float32 that is at least `threshold`; infinity for None.

    With it a float32 score passes exactly where, as a float64, it passes the threshold itself.
    """
    if threshold is None:
        return np.float32(np.inf)
    nearest = np.float32(threshold)
    return nearest if float(nearest) >= threshold else np.nextafter(nearest, np.float32(np.inf))


def _find_thresholds(
    path: str, info: dict[str, Any], config: ExportConfig
) -> tuple[str, Optional[thresholds.Thresholds]]:
    """The thresholds that were asked for, or those beside the model, and their file."""
    source = config.thresholds
    if source is None:
        source = files.join(files.dirname(path), "thresholds.json")
        if not files.exists(source):
            return source, None
    chosen, classes = thresholds.read(source), info["classes"]
    if set(chosen.classes) != set(classes):
        raise UserError(
            f"The classes of {path} ({listed(classes)}) and of {source} "
            f"({listed(chosen.classes)}) differ; give the {param('thresholds')} of this model."
        )
    return source, chosen


def _check_source(
    path: str,
    source: str,
    chosen: thresholds.Thresholds,
    weights_sha256: str,
    val_split: str,
) -> None:
    """Refuses thresholds of another model, and says so where they are of another split."""
    of = chosen.source
    if of.get("weights_sha256", weights_sha256) != weights_sha256:
        raise UserError(
            f"The thresholds in {source} were chosen for other weights than those in {path}; "
            "choose new ones with `cloudtf evaluate`."
        )
    if of.get("split", val_split) != val_split:
        report(f"Note: the thresholds in {source} are {chosen}; the model was made on {val_split}.")
    if of.get("tta"):
        report(f"Note: {source} is for the mean over four flips; the exported model takes none.")


def _describe(
    info: dict[str, Any], config: ExportConfig, chosen: Optional[thresholds.Thresholds]
) -> dict[str, Any]:
    """What `cloudtf.json` will say."""
    classes = info["classes"]
    by_class = chosen and {
        name: chosen.classes[name][config.present_at]["threshold"] for name in classes
    }
    return {
        "classes": classes,
        "present_at": config.present_at if chosen else None,
        "thresholds": by_class,
        "thresholds_from": chosen and {k: chosen.source.get(k) for k in ("split", "examples")},
        "image_height": info["image_height"],
        "image_width": info["image_width"],
        **{key: info[key] for key in _KEPT if key in info},
    }


def _classifier(
    model: tf.keras.Model, info: dict[str, Any]
) -> Callable[[tf.Tensor], dict[str, tf.Tensor]]:
    """uint8 [B, H, W, 3] to `probabilities` and, with thresholds, `present`."""
    lowest = None
    if info["thresholds"] is not None:
        lowest = np.array([smallest_passing(info["thresholds"][name]) for name in info["classes"]])

    def classify(images: tf.Tensor) -> dict[str, tf.Tensor]:
        probabilities = model(images, training=False)
        found = {"probabilities": probabilities}
        return found if lowest is None else {**found, "present": probabilities >= lowest}

    return classify


def _image_spec(info: dict[str, Any]) -> tf.TensorSpec:
    import tensorflow as tf

    shape = [None, info["image_height"], info["image_width"], 3]
    return tf.TensorSpec(shape, tf.uint8, name=IMAGES)


def _save(
    model: tf.keras.Model, signatures: dict[str, Callable], specs: dict[str, Any], folder: str
) -> None:
    import tensorflow as tf

    module = tf.Module()
    # The variables alone: a Keras model would bring its layers' functions and their custom objects.
    module.weights = model.variables
    functions = {
        name: tf.function(function, input_signature=[specs[name]])
        for name, function in signatures.items()
    }
    options = tf.saved_model.SaveOptions(experimental_custom_gradients=False)
    tf.saved_model.save(module, folder, functions, options)


def _saved_model(model: tf.keras.Model, info: dict[str, Any], output: str) -> None:
    import tensorflow as tf

    from cloudtf.model import jpeg_input

    classify = _classifier(model, info)

    def from_images(images: tf.Tensor) -> dict[str, tf.Tensor]:
        found = classify(images)
        names = tf.broadcast_to(tf.constant(info["classes"]), tf.shape(found["probabilities"]))
        return {**found, "classes": names}

    def from_jpeg(jpeg: tf.Tensor) -> dict[str, tf.Tensor]:
        return from_images(jpeg_input.decode(jpeg, info["image_height"], info["image_width"]))

    specs = {IMAGES: _image_spec(info), JPEG: tf.TensorSpec([None], tf.string, name=JPEG)}
    with files.new_folder(output) as folder:
        _save(model, {IMAGES: from_images, JPEG: from_jpeg}, specs, folder)
        files.make_dirs(files.join(folder, "assets.extra"))
        files.write_json(files.join(folder, "assets.extra", INFO_NAME), info)


def _tflite(model: tf.keras.Model, info: dict[str, Any], output: str) -> None:
    import tensorflow as tf

    with temporary.scratch_folder() as folder:
        _save(model, {IMAGES: _classifier(model, info)}, {IMAGES: _image_spec(info)}, folder)
        converter = tf.lite.TFLiteConverter.from_saved_model(folder, signature_keys=[IMAGES])
        with _silenced():
            content = converter.convert()
    with files.replacing(output) as path:
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


def _onnx(model: tf.keras.Model, info: dict[str, Any], output: str) -> None:
    import tensorflow as tf

    tf2onnx = _import_tf2onnx()
    function = tf.function(_classifier(model, info), input_signature=[_image_spec(info)])
    proto, _ = tf2onnx.convert.from_function(
        function, input_signature=function.input_signature, opset=_OPSET
    )
    entry = proto.metadata_props.add()
    entry.key, entry.value = INFO_NAME, json.dumps(info, ensure_ascii=False)
    files.write_bytes(output, proto.SerializeToString())


def _import_tf2onnx() -> Any:
    try:
        import tf2onnx.convert
    except Exception as error:  # A version of onnx that does not fit raises others.
        raise UserError(
            f"{param(format='onnx')} needs the package tf2onnx ({reason(error)}); install it with: "
            'pip install tf2onnx; beside TensorFlow 2.15 with: pip install tf2onnx "onnx<1.19".'
        ) from error
    return tf2onnx


def _check_new(path: str) -> None:
    if files.exists(path) and not (files.is_dir(path) and not files.list_dir(path)):
        raise UserError(f"{param(output=path)} is there already; remove it, or name a new folder.")
