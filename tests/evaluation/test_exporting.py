"""Exports that prove themselves: the file, in a process of its own, gives what predict gives."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys

import numpy as np
import pytest

from cloudtf import files
from cloudtf.commands import app
from cloudtf.data import images
from cloudtf.errors import UsageError, UserError
from cloudtf.evaluation import proof, proof_images, run_exported
from cloudtf.evaluation.evaluate import EvaluateConfig, evaluate
from cloudtf.evaluation.exporting import export
from cloudtf.model import formats
from cloudtf.model.export import ExportConfig

CLASSES = ["Fish", "Flower", "Gravel", "Sugar"]


@pytest.fixture(scope="module")
def run_dir(trained_run, records_dir, tmp_path_factory):
    """A run folder with its thresholds."""
    folder = tmp_path_factory.mktemp("exporting") / "run"
    folder.mkdir()
    shutil.copy(f"{trained_run}/best.keras", folder)
    evaluate(EvaluateConfig(data_dir=records_dir, run_dir=str(folder)))
    return str(folder)


def test_a_saved_model_is_proven_on_records_and_drawn_files(run_dir, records_dir, tmp_path, capsys):
    command = ["export", f"--model={run_dir}", f"--output={tmp_path}/[1]"]
    assert app.main([*command, f"--data_dir={records_dir}", "--prove_images=5"]) == 0
    said = capsys.readouterr().out
    content = files.read_json(f"{tmp_path}/[1]/proof.json")
    assert content["passed"] and content["format"] == "saved_model"
    assert content["runtime"].startswith("tensorflow 2.")
    records, drawn, from_files = content["parts"]
    assert records["on"] == f"5 of 12 images of val in {records_dir}"
    assert (records["input"], drawn["input"], from_files["input"]) == ("images", "images", "jpeg")
    for part in content["parts"]:
        assert part["tolerance"] == 1e-3 and 0 <= part["largest_difference"] <= 1e-3
        assert part["decisions_changed_beyond_tolerance"] == 0
        assert set(part["largest_difference_by_class"]) == set(CLASSES)
        assert f"From {part['input']} on {part['on']}: " in said
    card = files.read_text(f"{tmp_path}/[1]/model_card.md")
    assert "It gives what the trained model gives (within 0.001, run by tensorflow" in card
    assert set(records["pr_auc_loss"]) == {*CLASSES, "mean"}
    assert abs(records["pr_auc_loss"]["mean"]) < 1e-6 and "loss of mean PR-AUC 0.0000" in said


def test_a_file_that_gives_something_else_is_status_1(run_dir, tmp_path, monkeypatch, capsys):
    sound = formats._classifier

    def unsound(model, info):
        classify = sound(model, info)

        def shifted(pixels):
            found = classify(pixels)
            return {**found, "probabilities": 0.99 * found["probabilities"] + 0.009}

        return shifted

    monkeypatch.setattr(formats, "_classifier", unsound)
    output = f"{tmp_path}/m.tflite"
    command = ["export", f"--model={run_dir}", f"--output={output}", "--format=tflite"]
    assert app.main(command) == 1
    err = capsys.readouterr().err
    assert err.startswith(f"cloudtf export: The exported model {output} does not give what predict")
    assert "from images on 8 drawn pictures, probabilities differ by up to 0.00" in err
    assert "(at most 0.001)" in err and err.count("\n") == 1
    content = files.read_json(f"{output}.proof.json")
    assert not content["passed"] and os.path.exists(output)
    assert 0.002 < content["parts"][0]["largest_difference"] < 0.01
    assert "It FAILS" in files.read_text(f"{output}.model_card.md")
    # An export that is not proven leaves no proof of the one before.
    assert app.main([*command, "--noprove"]) == 0
    assert not os.path.exists(f"{output}.proof.json")


INFO = {
    "classes": ["a", "b"],
    "thresholds": {"a": 0.5, "b": None},
    "calibration": None,
}


def compared(found, present, tolerance=0.01, info=INFO):
    expected = np.array([[0.495, 0.9], [0.6, 0.2]], np.float32)
    outputs = {"probabilities": np.array(found, np.float32), "present": np.array(present)}
    part = proof._compared(info, expected, outputs, None, tolerance)
    part = {"on": "two", "input": "images", "tolerance": tolerance, **part}
    return part, proof.failure({"parts": [part]})


@pytest.mark.parametrize(
    "found, present, said",
    [
        ([[0.495, 0.9], [0.6, 0.2]], [[0, 0], [1, 0]], ""),
        ([[0.504, 0.9], [0.6, 0.2]], [[1, 0], [1, 0]], ""),  # So near the threshold it may change.
        ([[0.52, 0.9], [0.6, 0.2]], [[1, 0], [1, 0]], "differ by up to 0.025"),
        ([[0.495, 0.9], [0.6, 0.2]], [[0, 0], [0, 0]], "1 decision is another"),
        ([[0.495, 0.9], [0.6, 0.2]], [[0, 1], [0, 0]], "2 decisions are others"),
        ([[0.495, 0.9], [0.6, np.nan]], [[0, 0], [1, 0]], "differ by up to nan"),
    ],
)
def test_what_passes_is_near_and_decides_alike_away_from_thresholds(found, present, said):
    part, failed = compared(found, np.array(present, bool))
    assert said in failed if said else not failed
    assert part["decisions_changed"] == int((np.array(present) != [[0, 0], [1, 0]]).sum())


def test_calibrated_probabilities_are_compared_on_their_own_scale():
    entries = {"a": {"method": "isotonic", "from": [0, 0.495, 1], "to": [0, 0.3, 1]}}
    entries["b"] = {"method": "none"}
    before = {"classes": entries, "thresholds": {"a": 0.495, "b": None}}
    info = {**INFO, "thresholds": {"a": 0.3, "b": None}, "calibration": before}
    right = [[0.3, 0.9], [0.3 + 0.105 / 0.505 * 0.7, 0.2]]
    assert not compared(right, np.array([[1, 0], [1, 0]], bool), info=info)[1]
    unchanged = [[0.495, 0.9], [0.6, 0.2]]
    assert "differ by up to 0.19" in compared(unchanged, [[1, 0], [1, 0]], info=info)[1]


def test_photographs_are_told_by_what_a_saved_model_makes_of_them(photograph, tmp_path):
    import cv2

    for name, (rows, columns) in {
        "quarter.jpg": (256, 320),
        "six_eighths.jpg": (86, 100),
        "any.png": (90, 77),
        "odd.bmp": (90, 77),
    }.items():
        cv2.imwrite(str(tmp_path / name), photograph[:rows, :columns, ::-1])
    info = {"image_height": 64, "image_width": 64, "aspect": "stretch"}
    parts = {part.what.partition(", ")[2]: part for part in
             proof_images.of_photographs(str(tmp_path), info, 100)}  # fmt: skip
    alike, scaled, other = (parts[key] for key in ("", *sorted(set(parts) - {""})))
    assert "3/8" in scaled.what and "neither JPEG nor PNG" in other.what
    assert [len(part.pixels) for part in (alike, scaled, other)] == [2, 1, 1]
    assert other.encoded is None and len(scaled.encoded) == 1
    for part in (alike, scaled):
        for pixels, data in zip(part.pixels, part.encoded):
            np.testing.assert_array_equal(pixels, images.load(data, 64, 64))
    some = proof_images.of_photographs(str(tmp_path), info, 2)
    assert sum(len(part.pixels) for part in some) == 2 and "of 4 images" in some[0].what


def test_drawn_pictures_are_the_same_each_time_and_differ():
    info = {"image_height": 32, "image_width": 48, "aspect": "crop"}
    one, other = (proof_images.drawn(info) for _ in range(2))
    assert one.encoded == other.encoded and one.pixels.shape == (8, 32, 48, 3)
    assert len({pixels.tobytes() for pixels in one.pixels}) == 8


def test_what_cannot_be_proven_or_quantised_is_refused_beforehand(
    run_dir, unlabelled_dir, tmp_path, monkeypatch
):
    def refused(sentence, **settings):
        with pytest.raises(UserError, match=sentence):
            export(ExportConfig(model=run_dir, **{"output": f"{tmp_path}/m", **settings}))

    refused("precision='int8' needs data_dir", format="tflite", precision="int8")
    refused("precision='float16' needs format='tflite'", precision="float16")
    refused("There is no dataset.json in nowhere", data_dir="nowhere")
    refused("There is no photograph", images_dir=str(tmp_path))
    (tmp_path / "m.proof.json").write_text("mine")
    refused("m.proof.json.* is not the proof of an exported model", format="tflite")
    (tmp_path / "m.model_card.md").write_text("mine")
    (tmp_path / "m.proof.json").write_text('{"passed": true}')
    refused("m.model_card.md.* is not the card of an exported model", format="tflite")
    (tmp_path / "m.model_card.md").unlink()
    monkeypatch.setattr(formats, "import_tf2onnx", lambda: None)
    monkeypatch.setattr(proof.importlib.util, "find_spec", lambda name: None)
    (tmp_path / "m.proof.json").unlink()
    refused("is proven with the package onnxruntime; install it with: pip", format="onnx")
    assert os.listdir(tmp_path) == []
    with pytest.raises(UsageError):
        ExportConfig(model="a", output="b", tolerance=2)


def test_a_file_for_any_size_is_proven_on_images_in_full_size(run_dir, tmp_path, monkeypatch):
    def here(command, **settings):
        assert command[:2] == [sys.executable, "-c"]
        run_exported.main(*command[3:])
        return subprocess.CompletedProcess(command, 0)

    monkeypatch.setattr(proof.subprocess, "run", here)
    output = f"{tmp_path}/m.tflite"
    export(ExportConfig(model=run_dir, output=output, format="tflite", any_size=True))
    content = files.read_json(f"{output}.proof.json")
    assert [part["on"] for part in content["parts"]] == [
        "8 drawn pictures",
        "8 of these in full size",
    ]
    assert content["passed"]


def test_a_process_that_dies_says_why(run_dir, tmp_path, monkeypatch):
    monkeypatch.setattr(proof.inspect, "getsource", lambda module: "raise OSError('no room')")
    output = f"{tmp_path}/m.tflite"
    with pytest.raises(UserError, match="cannot be run in a process of its own: .*no room"):
        export(ExportConfig(model=run_dir, output=output, format="tflite"))
    assert not os.path.exists(f"{output}.proof.json")
