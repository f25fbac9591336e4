"""Trained models for other programs: a SavedModel, a TFLite or an ONNX file without cloudtf.

What is written takes plain images and says which classes it saw: normalising, class names and
thresholds are inside. The outputs, for B images and C classes:

    probabilities  float32 [B, C]
    present        bool [B, C], whether each probability is at least its class's threshold
    classes        string [B, C], the class names (SavedModel only)

`cloudtf.json` (classes, thresholds, image size) goes with it: in `assets.extra/` of a SavedModel,
in the zip archive at the end of a TFLite file, in the metadata of an ONNX file.

A SavedModel takes the bytes of photographs too. Beside the other two goes a script that makes their
pixels as `predict` does, `clouds.tflite.preprocess.py`; see `preprocessing`.
"""

from __future__ import annotations

import dataclasses
from typing import Any, Optional

from cloudtf import files
from cloudtf.errors import UserError, param, reason
from cloudtf.model import calibration, formats, preprocessing, thresholds
from cloudtf.model.thresholds import KINDS
from cloudtf.reporter import report
from cloudtf.settings import REQUIRED, Settings, setting
from cloudtf.text import listed

FORMATS = ("saved_model", "tflite", "onnx")
# Of a model's own info, what concerns those who use it.
_KEPT = ("model", "best")


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
        "saved_model takes JPEG and PNG bytes or uint8 images, tflite and onnx uint8 images.",
        choices=FORMATS,
    )
    thresholds: Optional[str] = setting(
        None, "thresholds.json of the model. Default: the one beside it, if there is one."
    )
    present_at: str = setting(
        "recall",
        "Which of its thresholds says that a class is present.",
        choices=KINDS,
    )
    calibrated: bool = setting(
        False, "Calibrate the probabilities by the calibration.json beside the model."
    )


def export(config: ExportConfig) -> dict[str, Any]:
    """Writes a trained model in another format, whole or not at all.

    It computes in float32, also what was trained in mixed precision.

    Returns:
      The content of `cloudtf.json`: `classes`, `image_height`, `image_width`, `aspect`,
      `preprocessing` (a sentence on what `predict` does to a photograph), `present_at` and
      `thresholds` (a map by class; both None where there are no thresholds, and then there is no
      `present`; a class whose threshold is None is never present), `thresholds_from` (the `split`
      and the number of `examples` that they were chosen on), `calibration` (of calibrated
      probabilities: its `classes`, and the `thresholds` before it, by which the model decides; the
      `thresholds` above are then those of calibrated ones; else None), and what is known of the
      model.

    Raises:
      UserError: the model or its thresholds are missing, damaged or do not belong together; the
        output cannot be written or is a folder in use; it, or the name of its script, is that of a
        file of another kind; tf2onnx is missing.

    >>> info = export(ExportConfig(model="runs/a", output="exported"))
    >>> served = tf.saved_model.load("exported").signatures["jpeg"]
    >>> with open("photographs/images/photo_00.jpg", "rb") as file:
    ...     outputs = served(jpeg=tf.constant([file.read()]))
    >>> outputs["probabilities"].shape == (1, len(info["classes"]))
    True
    """
    if config.format == "onnx":
        formats.import_tf2onnx()
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
    elif not files.is_remote(output) and not files.is_dir(files.dirname(output)):
        raise UserError(
            f"The file {output} cannot be written: there is no folder {files.dirname(output)}; "
            "make it first."
        )

    import tensorflow as tf

    from cloudtf.model import classifier, saving

    path = saving.find_model(config.model)
    inputs = {"model": path, "thresholds": config.thresholds}
    if config.format != "saved_model":
        files.check_output(
            output,
            f"a model exported as {config.format}",
            lambda content: formats.INFO_NAME.encode() in content and not content.startswith(b"PK"),
            inputs,
        )
        files.check_output(
            output + preprocessing.SUFFIX,
            "the script of an exported model",
            lambda content: content.startswith(preprocessing.MARK),
            inputs,
        )
    trained = classifier.read(path, in_float32=True)
    source, chosen = _find_thresholds(path, trained.info, config)
    info = _describe(trained.info, config, chosen, source)
    weights = saving.weights_sha256(trained.model)
    if chosen is not None:
        val_split = trained.info.get("val_split")
        _check_source(path, source, chosen, weights, val_split or "val")
    if config.calibrated:
        found = calibration.of_model(path, info["classes"], weights, flips=False)
        _calibrate(info, found)
    writers = {"saved_model": formats.saved_model, "tflite": formats.tflite, "onnx": formats.onnx}
    try:
        writers[config.format](trained.model, info, output)
    except (OSError, tf.errors.OpError) as error:
        raise UserError(f"The output {output} cannot be written: {reason(error)}.") from error
    return info


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
    info: dict[str, Any],
    config: ExportConfig,
    chosen: Optional[thresholds.Thresholds],
    source: str,
) -> dict[str, Any]:
    """What `cloudtf.json` will say."""
    classes = info["classes"]
    limits = chosen and chosen.at(config.present_at, source)
    return {
        "classes": classes,
        "present_at": config.present_at if chosen else None,
        "thresholds": limits and {name: limits[name] for name in classes},
        "calibration": None,
        "thresholds_from": chosen and {k: chosen.source.get(k) for k in ("split", "examples")},
        "image_height": info["image_height"],
        "image_width": info["image_width"],
        "aspect": info["aspect"],
        "preprocessing": preprocessing.sentence(
            info["image_height"], info["image_width"], info["aspect"]
        ),
        **{key: info[key] for key in _KEPT if key in info},
    }


def _calibrate(info: dict[str, Any], found: calibration.Calibration) -> None:
    """Adds a calibration, and brings the thresholds to its scale; those of the network stay too."""
    entries = {name: found.classes[name] for name in info["classes"]}
    info["calibration"] = {"classes": entries, "thresholds": info["thresholds"]}
    if info["thresholds"] is not None:
        info["thresholds"] = {
            name: None if limit is None else float(calibration.apply(entries[name], limit))
            for name, limit in info["thresholds"].items()
        }


def _check_new(path: str) -> None:
    if files.exists(path) and not (files.is_dir(path) and not files.list_dir(path)):
        raise UserError(f"{param(output=path)} is there already; remove it, or name a new folder.")
