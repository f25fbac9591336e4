"""A trained model for other programs that proves itself: written, run, and held against `predict`.

What came of the proof, and a model card, lie beside the file or inside the folder of a SavedModel:

    clouds.tflite.proof.json    clouds.tflite.model_card.md
    exported/proof.json         exported/model_card.md
"""

from __future__ import annotations

from typing import Any

from cloudtf import files
from cloudtf.errors import UserError, param
from cloudtf.model import export as model_export
from cloudtf.model.export import ExportConfig
from cloudtf.reporter import report

PROOF, CARD = "proof.json", "model_card.md"


def beside(config: ExportConfig, name: str) -> str:
    """The path of what goes with an exported model, `PROOF` or `CARD`."""
    output = config.output.rstrip("/") or config.output
    return files.join(output, name) if config.format == "saved_model" else f"{output}.{name}"


def export(config: ExportConfig) -> dict[str, Any]:
    """Writes a trained model in another format, whole or not at all, and proves it.

    It computes in float32, also what was trained in mixed precision. Then the written model is run
    in a process of its own, without cloudtf, on `data_dir` and `images_dir` or on a few drawn
    pictures, and held against what the model itself gives (`proof.json`); with `prove=False` it is
    not. `model_card.md` says what is known of it, and what lies beside the model.

    Returns:
      The content of `cloudtf.json`: `classes`, `image_height`, `image_width`, `aspect`,
      `preprocessing` (a sentence on what `predict` does to a photograph), `present_at` and
      `thresholds` (a map by class; both None where there are no thresholds, and then there is no
      `present`; a class whose threshold is None is never present), `thresholds_from` (the `split`
      and the number of `examples` that they were chosen on), `calibration` (of calibrated
      probabilities: its `classes`, and the `thresholds` before it, by which the model decides; the
      `thresholds` above are then those of calibrated ones; else None), `precision`, and what is
      known of the model.

    Raises:
      UserError: the model is missing or damaged; its thresholds or metrics are damaged or of
        another model; the output cannot be written or is a folder in use; it, or the name of what
        goes with it, is that of a file of another kind; tf2onnx, or onnxruntime for the proof, is
        missing; the records or photographs are not for this model. Or the written model does not
        give what it should; it stays where it is, with `proof.json`.

    >>> info = cloudtf.export(cloudtf.ExportConfig(model="runs/a", output="exported"))
    From images on 8 drawn pictures: probabilities differ by up to ...
    From jpeg on 8 drawn pictures: probabilities differ by up to ...
    >>> served = tf.saved_model.load("exported").signatures["jpeg"]
    >>> with open("photographs/images/photo_00.jpg", "rb") as file:
    ...     outputs = served(jpeg=tf.constant([file.read()]))
    >>> outputs["probabilities"].shape == (1, len(info["classes"]))
    True
    >>> with open("exported/proof.json") as file:
    ...     '"passed": true' in file.read()
    True
    """
    from cloudtf.evaluation import model_card, proof, proof_images

    if config.format != "saved_model":
        _check_names(config)
    prepared = model_export.prepare(config)
    known = model_card.Context(prepared)
    if config.prove:
        proof.check_runtime(config)
    path, info = prepared.trained.path, prepared.trained.info
    parts, representative = [], None
    if config.precision == "int8":
        representative = proof_images.representative(config.data_dir or "", path, info)
    if config.prove:
        if config.data_dir is not None:
            parts.append(proof_images.of_records(config.data_dir, path, info, config.prove_images))
        if config.images_dir is not None:
            parts += proof_images.of_photographs(config.images_dir, info, config.prove_images)
        elif config.data_dir is None or config.format == "saved_model":
            parts.append(proof_images.drawn(info))
    if config.format != "saved_model":
        # What is said of the file before is not true of the next.
        for name in (PROOF, CARD):
            files.remove(beside(config, name))
    prepared.write(representative)
    content = proof.prove(prepared, parts) if config.prove else None
    files.write_text(beside(config, CARD), model_card.text(prepared, known, content))
    if content is not None:
        files.write_json(beside(config, PROOF), content)
        _report(config, content)
    return prepared.info


def _check_names(config: ExportConfig) -> None:
    """Refuses to replace what an export has not made; UserError."""
    from cloudtf.evaluation import model_card

    files.check_output(
        beside(config, PROOF),
        "the proof of an exported model",
        lambda content: b'"passed"' in content,
        beside=True,
    )
    files.check_output(
        beside(config, CARD),
        "the card of an exported model",
        lambda content: content.startswith(model_card.MARK.encode()),
        beside=True,
    )


def _report(config: ExportConfig, content: dict[str, Any]) -> None:
    """Says what came of a proof; UserError where it did not pass."""
    from cloudtf.evaluation import proof

    for part in content["parts"]:
        text = f"From {part['input']} on {part['on']}: {proof.differences(part)}"
        loss = part.get("pr_auc_loss", {}).get("mean")
        if loss is not None:
            text += f"; loss of mean PR-AUC {loss:.4f}"
        report(f"{text}.")
    failed = proof.failure(content)
    if failed:
        raise UserError(
            f"The exported model {config.output} does not give what predict gives: {failed}. It "
            f"stays there, with {beside(config, PROOF)}; {_advice(config, content)}"
        )


def _advice(config: ExportConfig, content: dict[str, Any]) -> str:
    from cloudtf.evaluation import proof

    allow = f"allow more by {param(tolerance=0.1)} if that will do"
    failed = {part["input"] for part in content["parts"] if not proof.passes(part)}
    if failed == {"jpeg"}:
        return (
            "TensorFlow decodes such files otherwise: give it pixels (`images`) in their place, as "
            f"predict makes them, or {allow}."
        )
    if config.precision == "float32":
        return f"do not use it, or {allow}."
    better = {"int8": "float16", "float16": "float32"}[config.precision]
    return f"take {param(precision=better)}, or {allow}."
