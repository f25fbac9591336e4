"""Trained models for other programs: a SavedModel, a TFLite or an ONNX file without cloudtf.

What is written takes plain images and says which classes it saw: normalising, class names and
thresholds are inside. The outputs, for B images and C classes:

    probabilities  float32 [B, C]
    present        bool [B, C], whether each probability is at least its class's threshold
    classes        string [B, C], the class names (SavedModel only)

`cloudtf.json` (classes, thresholds, image size, precision) goes with it: in `assets.extra/` of a
SavedModel, in the zip archive at the end of a TFLite file, in the metadata of an ONNX file.

A SavedModel takes the bytes of photographs too. Beside the other two goes a script that makes their
pixels as `predict` does, `clouds.tflite.preprocess.py`; see `preprocessing`.

Here a model is only written; `cloudtf.export` also proves it, see `cloudtf.evaluation.exporting`.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any, Optional

import numpy as np

from cloudtf import files
from cloudtf.errors import UsageError, UserError, param, reason
from cloudtf.model import calibration, formats, preprocessing, thresholds
from cloudtf.model.thresholds import KINDS
from cloudtf.reporter import report
from cloudtf.settings import REQUIRED, Settings, setting
from cloudtf.text import listed

if TYPE_CHECKING:
    from cloudtf.model.classifier import Classifier

FORMATS = ("saved_model", "tflite", "onnx")
PRECISIONS = ("float32", "float16", "int8")
# Of a model's own info, what concerns those who use it.
_KEPT = ("model", "best")
# What takes photographs of any size in the place of `any_size`.
_INSTEAD = {
    "saved_model": "its `jpeg` signature takes files of any size.",
    "tflite": "the script beside it makes its images.",
}


@dataclasses.dataclass(frozen=True)
class ExportConfig(Settings):
    """Which model to write in which format, with which thresholds, and on what to prove it.

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
    precision: str = setting(
        "float32",
        "Of tflite: float16 halves the file; int8 quarters it and computes in 8 bits, whose ranges "
        "are measured on records of `data_dir`.",
        choices=PRECISIONS,
    )
    any_size: bool = setting(
        False,
        "Of tflite and onnx: take images of any size, and resize them as predict does.",
    )
    prove: bool = setting(
        True,
        "Run the written file in a process of its own, and fail where it does not give what "
        "predict gives.",
        topic="proof",
    )
    tolerance: Optional[float] = setting(
        None,
        "By how much a probability may differ, and be so far from its threshold where a decision "
        "changes. Default: 0.001; of float16 0.005, of int8 0.02.",
        minimum=0,
        maximum=1,
        topic="proof",
    )
    data_dir: Optional[str] = setting(
        None,
        "Records to prove it on, those of the split that the model was validated on. Without these "
        "and `images_dir`, it is proven on drawn pictures.",
        topic="proof",
    )
    images_dir: Optional[str] = setting(
        None, "Folder of photographs, as they were taken, to prove it on.", topic="proof"
    )
    prove_images: int = setting(
        500, "Prove it on so many images of each at most.", minimum=1, topic="proof"
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.precision != PRECISIONS[0] and self.format != "tflite":
            raise UsageError(f"{param(precision=self.precision)} needs {param(format='tflite')}.")
        if self.any_size and (self.format == "saved_model" or self.precision == "int8"):
            other = param(format=self.format), param(precision=self.precision)
            raise UsageError(
                f"{param(any_size=True)} is for tflite and onnx in floating point, not for "
                f"{other[self.precision == 'int8']}: " + _INSTEAD[self.format]
            )
        if self.precision == "int8" and self.data_dir is None:
            raise UsageError(
                f"{param(precision='int8')} needs {param('data_dir')}: what is in its images says "
                "which ranges the 8 bits must hold."
            )


@dataclasses.dataclass(frozen=True)
class Prepared:
    """A model that is ready to be written in another format.

    Attributes:
      config: what was asked for; its output has no slash at the end.
      trained: the model, computing in float32.
      info: the content of `cloudtf.json`.
      weights_sha256: its weights, see `saving.weights_sha256`.
    """

    config: ExportConfig
    trained: Classifier
    info: dict[str, Any]
    weights_sha256: str

    def write(self, representative: Optional[np.ndarray] = None) -> None:
        """Writes it, whole or not at all.

        Args:
          representative: uint8 [N, H, W, 3], images by which int8 finds its ranges; for
            `precision='int8'` alone.

        Raises:
          UserError: the output cannot be written.
        """
        import tensorflow as tf

        model, info, output = self.trained.model, self.info, self.config.output
        try:
            if self.config.format == "tflite":
                formats.tflite(model, info, output, representative)
            elif self.config.format == "onnx":
                formats.onnx(model, info, output)
            else:
                formats.saved_model(model, info, output)
        except (OSError, tf.errors.OpError) as error:
            raise UserError(f"The output {output} cannot be written: {reason(error)}.") from error


def prepare(config: ExportConfig) -> Prepared:
    """Reads a trained model and what lies beside it, and checks that it can be written.

    It computes in float32, also what was trained in mixed precision.

    Raises:
      UserError: the model or its thresholds are missing, damaged or do not belong together; the
        output cannot be written or is a folder in use; it, or the name of its script, is that of a
        file of another kind; tf2onnx is missing.
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
    return Prepared(dataclasses.replace(config, output=output), trained, info, weights)


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
        "precision": config.precision,
        "thresholds_from": chosen and {k: chosen.source.get(k) for k in ("split", "examples")},
        "image_height": info["image_height"],
        "image_width": info["image_width"],
        "aspect": info["aspect"],
        "any_size": config.any_size,
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
