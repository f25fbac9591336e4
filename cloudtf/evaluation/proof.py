"""Whether an exported model gives what `predict` gives: it is run, and held against it.

The written file is read back and run in a process of its own, which has nothing but the runtime of
its format, on CPU. What it must give is computed here by the model itself in float32.

    {
      "passed": true,
      "format": "tflite", "precision": "float16", "runtime": "tensorflow 2.15.1",
      "parts": [
        {
          "on": "500 of 1,109 images of val in records", "input": "images", "images": 500,
          "tolerance": 0.005, "largest_difference": 0.0008, "mean_difference": 0.0001,
          "largest_difference_by_class": {"Fish": 0.0008, ...},
          "decisions_changed": 1, "decisions_changed_beyond_tolerance": 0,
          "pr_auc": {"Fish": 0.93, ..., "mean": 0.91},
          "pr_auc_loss": {"Fish": 0.0001, ..., "mean": 0.0002}
        }
      ]
    }

A decision may change where the score is within the tolerance of its threshold, and only there.
"""

from __future__ import annotations

import importlib.util
import inspect
import os
import subprocess
import sys
from typing import Any, Iterator, NamedTuple, Optional, Sequence

import numpy as np

from cloudtf import files, temporary
from cloudtf.data import images
from cloudtf.errors import UserError, param, reason
from cloudtf.evaluation import pr_auc, proof_images, run_exported, scoring
from cloudtf.evaluation.proof_images import Images
from cloudtf.model import calibration, export, formats

# Precision -> by how much a probability may differ.
TOLERANCES = {"float32": 1e-3, "float16": 5e-3, "int8": 0.02}
# Images a step, here.
_BATCH = 64
# Photographs in full size take much memory.
_MOST_WHOLE = 8
# A process that has not ended by then never will.
_MOST_SECONDS = 3600


def check_runtime(config: export.ExportConfig) -> None:
    """Refuses, before anything is written, what could not be run here; UserError."""
    if config.format == "onnx" and importlib.util.find_spec("onnxruntime") is None:
        raise UserError(
            f"{param(format='onnx')} is proven with the package onnxruntime; install it with: pip "
            f"install onnxruntime; or export without a proof by {param(prove=False)}."
        )


def prove(prepared: export.Prepared, parts: Sequence[Images]) -> dict[str, Any]:
    """Runs a written model on images, and compares.

    Args:
      prepared: the model that was written, and where.
      parts: the images, kind by kind.

    Returns:
      The content of `proof.json`.

    Raises:
      UserError: the written model cannot be run.
    """
    config, info = prepared.config, prepared.info
    tolerance = config.tolerance
    tolerance = TOLERANCES[config.precision] if tolerance is None else tolerance
    given = [entry for part in parts for entry in _given(config, info, part)]
    answers = _answers(config, given)
    scorer = scoring.Scorer(prepared.trained.model)
    compared: list[dict[str, Any]] = []
    next_row = {"images": 0, "others": 0}
    for entry in given:
        expected = _scores(scorer, entry.pixels)
        rows = slice(next_row[entry.way], next_row[entry.way] + len(expected))
        next_row[entry.way] = rows.stop
        found = {
            name: answers[f"{entry.way}_{name}"][rows]
            for name in ("probabilities", "present")
            if f"{entry.way}_{name}" in answers
        }
        compared.append(
            {
                "on": entry.what,
                "input": entry.signature,
                "images": len(expected),
                "tolerance": tolerance,
                **_compared(info, expected, found, entry.labels, tolerance),
            }
        )
    return {
        "passed": all(map(passes, compared)),
        "format": config.format,
        "precision": config.precision,
        "runtime": str(answers["runtime"]),
        "parts": compared,
    }


def passes(part: dict[str, Any]) -> bool:
    """Whether a part of a proof is within its tolerance."""
    # A NaN is not within anything.
    near = part["largest_difference"] <= part["tolerance"]
    return near and not part.get("decisions_changed_beyond_tolerance")


def failure(content: dict[str, Any]) -> str:
    """What does not pass, in a phrase; empty where all does.

    Args:
      content: the content of `proof.json`.
    """
    phrases = []
    for part in content["parts"]:
        if not passes(part):
            text = f"from {part['input']} on {part['on']}, " + differences(part)
            changed = part.get("decisions_changed_beyond_tolerance")
            if changed:
                text += (
                    f", and {changed:,} decision{'s are others' if changed > 1 else ' is another'}"
                )
            phrases.append(f"{text} (at most {part['tolerance']:g})")
    return "; ".join(phrases)


def differences(part: dict[str, Any]) -> str:
    """How far a part of a proof is from what `predict` gives, in a phrase."""
    return (
        f"probabilities differ by up to {part['largest_difference']:.2g}, by "
        f"{part['mean_difference']:.1g} on average"
    )


def _scores(scorer: scoring.Scorer, pixels: np.ndarray) -> np.ndarray:
    """What the network itself gives, before any calibration: float32 [N, C]."""
    import tensorflow as tf

    before = tf.config.experimental.tensor_float_32_execution_enabled()
    tf.config.experimental.enable_tensor_float_32_execution(False)
    try:
        batches = (pixels[start : start + _BATCH] for start in range(0, len(pixels), _BATCH))
        return np.concatenate([scorer.images(tf.constant(batch)) for batch in batches])
    finally:
        tf.config.experimental.enable_tensor_float_32_execution(before)


class _Given(NamedTuple):
    """What a written model is given, N images.

    Attributes:
      what: says in a phrase which they are.
      signature: the input that takes them.
      way: `images`, pixels of the model's size, or `others`.
      pixels: uint8 [N, H, W, 3], what `predict` makes of them.
      others: the bytes of N files, or N images uint8 [h, w, 3] of any size; None for `images`.
      labels: float32 [N, C]; None where they have none.
    """

    what: str
    signature: str
    way: str
    pixels: np.ndarray
    others: Optional[Sequence[Any]] = None
    labels: Optional[np.ndarray] = None


def _given(config: export.ExportConfig, info: dict[str, Any], part: Images) -> Iterator[_Given]:
    """The inputs of a written model, of one kind of images."""
    yield _Given(part.what, formats.IMAGES, "images", part.pixels, None, part.labels)
    if part.encoded is None:
        return
    if config.format == "saved_model":
        yield _Given(part.what, formats.JPEG, "others", part.pixels, part.encoded)
    elif config.any_size:
        whole = [images.decode(data) for data in part.encoded[:_MOST_WHOLE]]
        pixels = np.stack([proof_images.at_size(image, info) for image in whole])
        what = f"{len(whole)} of these in full size"
        yield _Given(what, formats.IMAGES, "others", pixels, whole)


def _answers(config: export.ExportConfig, inputs: Sequence[_Given]) -> dict[str, np.ndarray]:
    """What the written model answers, from a process of its own."""
    others = [other for entry in inputs for other in entry.others or ()]
    contents = [other if isinstance(other, bytes) else other.tobytes() for other in others]
    with temporary.scratch_folder() as folder:
        model = _local(config.output, folder)
        given, answers = os.path.join(folder, "given.npz"), os.path.join(folder, "answers.npz")
        np.savez(
            given,
            images=np.concatenate([entry.pixels for entry in inputs if entry.way == "images"]),
            others=np.frombuffer(b"".join(contents), np.uint8),
            ends=np.cumsum([len(content) for content in contents], dtype=np.int64),
            shapes=np.array([other.shape for other in others if isinstance(other, np.ndarray)]),
        )
        environment = {
            **{k: v for k, v in os.environ.items() if k != "TF_USE_LEGACY_KERAS"},
            # What this process imports it finds too; and a GPU has no room for two.
            "PYTHONPATH": os.pathsep.join(os.path.abspath(path) for path in sys.path if path),
            "CUDA_VISIBLE_DEVICES": "-1",
        }
        source = inspect.getsource(run_exported)
        try:
            done = subprocess.run(
                [sys.executable, "-c", source, config.format, model, given, answers],
                capture_output=True,
                encoding="utf-8",
                errors="replace",
                cwd=folder,
                env=environment,
                timeout=_MOST_SECONDS,
                check=False,
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            raise _cannot_run(config, reason(error)) from error
        if done.returncode != 0:
            said = done.stderr.strip().splitlines() or [f"exit status {done.returncode}"]
            raise _cannot_run(config, said[-1])
        with np.load(answers) as found:
            return dict(found)


def _cannot_run(config: export.ExportConfig, why: str) -> UserError:
    return UserError(
        f"The exported model {config.output} cannot be run in a process of its own: {why[:400]}; "
        f"it is not proven. To write it all the same, give {param(prove=False)}."
    )


def _local(path: str, folder: str) -> str:
    """The path of a written model for another process, copied if it is remote."""
    local = os.path.join(folder, "model")
    if files.is_remote(path):
        files.download(path, local)
    else:
        # Under a name of its own: TensorFlow takes some characters of a path for wildcards.
        os.symlink(os.path.abspath(path), local)
    return local


def _compared(
    info: dict[str, Any],
    expected: np.ndarray,
    found: dict[str, np.ndarray],
    labels: Optional[np.ndarray],
    tolerance: float,
) -> dict[str, Any]:
    """How far what was found is from what was expected.

    Args:
      info: the content of `cloudtf.json`.
      expected: [N, C], scores of the network, before any calibration.
      found: `probabilities` [N, C] and, where there are thresholds, `present` [N, C].
      labels: [N, C], 0, 1 or -1; None where there are none.
      tolerance: the most by which a probability may differ, 0 to 1.
    """
    classes, calibrated = info["classes"], info["calibration"]
    scores = expected.astype(np.float64)
    if calibrated is not None:
        scores = calibration.Calibration(calibrated["classes"]).apply(scores, classes)
    probabilities = found["probabilities"].astype(np.float64)
    distance = np.abs(probabilities - scores)
    result: dict[str, Any] = {
        "largest_difference": float(distance.max()),
        "mean_difference": float(distance.mean()),
        "largest_difference_by_class": dict(zip(classes, distance.max(axis=0).tolist())),
    }
    if info["thresholds"] is not None:
        limits = (info if calibrated is None else calibrated)["thresholds"]
        lowest = np.array([formats.smallest_passing(limits[name]) for name in classes])
        shown = [info["thresholds"][name] for name in classes]
        nearness = np.abs(scores - [np.inf if limit is None else limit for limit in shown])
        changed = (expected >= lowest) != found["present"]
        result["decisions_changed"] = int(changed.sum())
        result["decisions_changed_beyond_tolerance"] = int((changed & (nearness > tolerance)).sum())
    if labels is not None and np.isfinite(probabilities).all():
        before = _areas(labels, scores, classes)
        after = _areas(labels, probabilities, classes)
        result["pr_auc"] = after
        result["pr_auc_loss"] = {name: before[name] - after[name] for name in before}
    return result


def _areas(labels: np.ndarray, scores: np.ndarray, classes: Sequence[str]) -> dict[str, float]:
    figures = pr_auc.score(labels, scores, classes)
    return {**figures.pr_auc, "mean": figures.mean_pr_auc}
