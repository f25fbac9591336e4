"""Write a trained model for other programs: a SavedModel, a TFLite or an ONNX file.

It takes plain uint8 images, a SavedModel also the bytes of JPEG and PNG files, and gives a
probability a class and whether the class is present by its threshold. Beside a TFLite or an ONNX
file a Python script is written that makes its images of photographs, as predict does; with
--any_size the file takes images of any size itself.

What was written is then run in a process of its own and held against what predict gives, on
--data_dir and --images_dir or a few drawn pictures; exit status 1 says that it does not give the
same. proof.json and model_card.md (data, scores, thresholds, calibration, limits, licence) lie
beside the file, or in the folder of a SavedModel.
"""

from __future__ import annotations

import textwrap

from cloudtf.evaluation.exporting import CARD, beside, export
from cloudtf.model.export import ExportConfig
from cloudtf.model.preprocessing import SUFFIX
from cloudtf.text import MOST_SHOWN, listed

CONFIG = ExportConfig


def run(config: ExportConfig) -> None:
    """Exports, and says what takes and gives what."""
    info = export(config)
    print(f"Exported as {config.format}: {config.output}")
    print(f"What is known of it: {beside(config, CARD)}")
    height, width = info["image_height"], info["image_width"]
    sides = "h, w" if config.any_size else f"{height}, {width}"
    print(f"images: uint8 [B, {sides}, 3], RGB, 0 to 255{' and of any size' * config.any_size}")
    print(textwrap.fill(f"  made of {info['preprocessing']}", 80, subsequent_indent="  "))
    if config.format == "saved_model":
        print("jpeg: string [B], JPEG or PNG files of any size; the model does all of that")
    else:
        print(f"To make them, and to check other code that does: {config.output}{SUFFIX}")
    calibrated = ", calibrated" if info["calibration"] else ""
    print(
        f"probabilities: float32 [B, {len(info['classes'])}]{calibrated}, {listed(info['classes'])}"
    )
    if info["thresholds"] is None:
        print("There are no thresholds beside the model: make them with `cloudtf evaluate`.")
        return
    print(f"present: bool, probabilities of at least the {info['present_at']} thresholds")
    more = len(info["thresholds"]) - MOST_SHOWN
    for name, threshold in list(info["thresholds"].items())[:MOST_SHOWN]:
        words = "never present: no threshold reaches its target" if threshold is None else threshold
        print(f"  {name}: {words}")
    if more > 0:
        print(f"  ... {more:,} more classes, all of them in cloudtf.json")
