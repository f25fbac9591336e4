"""Exported models: equal to `cloudtf predict`, and used without cloudtf.

That they prove themselves is tested in `tests/evaluation/test_exporting.py`; here none does.
"""

from __future__ import annotations

import csv
import dataclasses
import json
import os
import pathlib
import runpy
import shutil
import subprocess
import sys
import zipfile

import cv2
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from cloudtf import files
from cloudtf.commands import app
from cloudtf.errors import UserError
from cloudtf.evaluation import exporting
from cloudtf.evaluation.predict import PredictConfig, predict
from cloudtf.model import calibration, formats, jpeg_input, network, saving, thresholds
from cloudtf.model.export import ExportConfig
from cloudtf.model.formats import smallest_passing
from cloudtf.pipeline.dataset import open_dataset
from cloudtf.submission import predictions
from tests import programs

ROOT = pathlib.Path(__file__).parents[2]
CLASSES = ["Fish", "Flower", "Gravel", "Sugar"]
SMALL = {"classes": ["a", "b"]}
# Of an export before.
OLD = b"\x1c\0\0\0TFL3 cloudtf.json"


def export(config):
    return exporting.export(dataclasses.replace(config, prove=False))


def use(python, folder, jpeg, images, saved, lite):
    """What the two exported models answer in a process of its own, without cloudtf."""
    ends = np.cumsum([len(data) for data in jpeg])
    places = np.stack([ends - [len(data) for data in jpeg], ends], axis=1)
    given, answers = f"{folder}/given.npz", f"{folder}/answers.npz"
    content = np.frombuffer(b"".join(jpeg), np.uint8)
    np.savez(given, images=images, jpeg=content, places=places)
    done = subprocess.run(
        [python, *programs.command("use_exports", given, saved, lite, answers)[1:]],
        capture_output=True,
        encoding="utf-8",
        timeout=250,
        cwd=folder,
        env={k: v for k, v in os.environ.items() if k != "TF_USE_LEGACY_KERAS"},
    )
    assert done.returncode == 0, done.stderr
    return dict(np.load(answers))


@pytest.fixture(scope="module")
def run_dir(trained_run, records_dir, tmp_path_factory):
    """A run folder with its thresholds and the predictions of its validation images."""
    folder = tmp_path_factory.mktemp("export")
    shutil.copy(f"{trained_run}/best.keras", folder / "best.keras")
    arguments = [f"--model={folder}/best.keras", f"--data_dir={records_dir}"]
    assert app.main(["evaluate", *arguments]) == 0
    return str(folder)


@pytest.fixture(scope="module")
def exported(run_dir):
    """The SavedModel and the TFLite file of the run."""
    saved, lite = f"{run_dir}/saved", f"{run_dir}/model.tflite"
    export(ExportConfig(model=run_dir, output=saved))
    export(ExportConfig(model=run_dir, output=lite, format="tflite"))
    return saved, lite


@pytest.fixture(scope="module")
def photographs(photographs_dir):
    """The bytes of some photographs by name."""
    names = sorted(os.listdir(f"{photographs_dir}/images"))[:24]
    return {name: files.read_bytes(f"{photographs_dir}/images/{name}") for name in names}


@pytest.fixture(scope="module")
def images(records_dir):
    """The validation images, uint8 [12, 64, 64, 3]."""
    return next(iter(open_dataset(records_dir).batches("val", 12)))[0].numpy()


@pytest.fixture(scope="module")
def labels(records_dir):
    """Theirs, bool [12, 4]."""
    return open_dataset(records_dir).labels("val").numpy() > 0


@pytest.fixture(scope="module")
def answers(exported, photographs, images, tmp_path_factory):
    folder = str(tmp_path_factory.mktemp("use"))
    return use(sys.executable, folder, list(photographs.values()), images, *exported)


def test_no_images_give_no_answers(exported):
    signatures = tf.saved_model.load(exported[0]).signatures
    for found in (
        signatures["images"](images=tf.zeros([0, 64, 64, 3], tf.uint8)),
        signatures["jpeg"](jpeg=tf.constant([], tf.string)),
    ):
        assert {name: values.shape.as_list() for name, values in found.items()} == dict.fromkeys(
            ("probabilities", "present", "classes"), [0, 4]
        )


@pytest.fixture(scope="module")
def predicted(run_dir):
    """What `cloudtf evaluate` wrote of the validation images: scores float64 [12, 4]."""
    _, scores, classes = predictions.read(f"{run_dir}/predictions_val.csv")
    assert classes == CLASSES
    return scores


def present_by(run_dir, scores, target="recall"):
    chosen = files.read_json(f"{run_dir}/thresholds.json")["classes"]
    limits = [chosen[name][target]["threshold"] for name in CLASSES]
    return scores >= np.array([np.inf if limit is None else limit for limit in limits])


def test_pixels_give_what_predict_gives(answers, predicted, run_dir):
    np.testing.assert_allclose(answers["images_probabilities"], predicted, rtol=0, atol=1e-6)
    assert answers["images_probabilities"].dtype == np.float32
    assert answers["images_classes"].tolist() == [CLASSES] * 12
    expected = present_by(run_dir, answers["images_probabilities"].astype(float))
    assert expected.any() and not expected.all()
    np.testing.assert_array_equal(answers["images_present"], expected)


def test_tflite_gives_the_same(answers, predicted, run_dir):
    np.testing.assert_allclose(answers["lite_probabilities"], predicted, rtol=0, atol=1e-5)
    np.testing.assert_allclose(answers["lite_one"], predicted[:1], rtol=0, atol=1e-5)
    expected = present_by(run_dir, answers["lite_probabilities"].astype(float))
    np.testing.assert_array_equal(answers["lite_present"], expected)


def test_present_keeps_what_the_thresholds_promise(answers, labels, run_dir):
    chosen = files.read_json(f"{run_dir}/thresholds.json")["classes"]
    for kind in ("images", "lite"):
        right = (answers[f"{kind}_present"] & labels).sum(axis=0)
        recall = {name: r / n for name, r, n in zip(CLASSES, right, labels.sum(axis=0))}
        assert recall == {name: chosen[name]["recall"]["recall"] for name in CLASSES}, kind


def test_no_score_lies_where_rounding_would_decide(predicted, run_dir):
    for name, scores in zip(CLASSES, predicted.T):
        for entry in files.read_json(f"{run_dir}/thresholds.json")["classes"][name].values():
            if entry["threshold"] is not None:
                assert np.abs(scores - entry["threshold"]).min() >= 4.9e-6


def test_thresholds_of_other_weights_are_refused(small, tmp_path, with_random_state, records_dir):
    model = saving.load_model(f"{small}/best.keras")
    saving.save_model(model, str(tmp_path / "best.keras"), SMALL)
    path, each = str(tmp_path / "thresholds.json"), {"recall": entry(0.5), "precision": entry(0.5)}
    source = {"weights_sha256": saving.weights_sha256(model), "split": "val", "examples": 3}
    thresholds.write(path, {"a": each, "b": each}, source)
    export(ExportConfig(model=str(tmp_path), output=f"{tmp_path}/out"))
    saving.save_model(with_random_state(model), str(tmp_path / "best.keras"), SMALL)
    with pytest.raises(UserError, match="chosen for other weights .* with `cloudtf evaluate`"):
        export(ExportConfig(model=str(tmp_path), output=f"{tmp_path}/again"))
    assert not (tmp_path / "again").exists()


def test_odd_thresholds_are_exported_with_a_note(small, tmp_path, capsys):
    path, each = str(tmp_path / "t.json"), {"recall": entry(0.5), "precision": entry(0.5)}
    for number, (source, note) in enumerate(
        (
            (
                {"split": "train", "examples": 3},
                "are of 3 examples of train; the model was made on",
            ),
            ({"tta": True}, "for the mean over four flips; the exported model takes none"),
            ({}, ""),
        )
    ):
        thresholds.write(path, {"a": each, "b": each}, source)
        export(ExportConfig(model=small, output=f"{tmp_path}/{number}", thresholds=path))
        said = capsys.readouterr().out
        assert note in said if note else not said


def test_jpeg_bytes_give_what_predict_gives_for_a_folder(
    answers, photographs, photographs_dir, run_dir, tmp_path
):
    """These photographs are decoded at 6/8, the kind of scale that TensorFlow lacks."""
    output = str(tmp_path / "folder.csv")
    predict(PredictConfig(model=run_dir, output=output, images_dir=f"{photographs_dir}/images"))
    names, scores, _ = predictions.read(output)
    by_name = dict(zip(names, scores))
    expected = np.array([by_name[name] for name in photographs])
    found = answers["jpeg_probabilities"]
    difference = np.abs(found - expected)
    assert difference.mean() < 0.003 and difference.max() < 0.02
    # Paired wrongly they would not agree.
    assert np.abs(found - np.roll(expected, 1, axis=0)).mean() > 20 * difference.mean()
    assert answers["jpeg_classes"].tolist() == [CLASSES] * len(photographs)
    np.testing.assert_array_equal(answers["jpeg_present"], present_by(run_dir, found.astype(float)))


def test_at_a_scale_that_both_have_only_rounding_differs(exported, run_dir, photograph, tmp_path):
    """1/4 here, as for photographs of 1400 x 2100 at 224 x 224."""
    (tmp_path / "images").mkdir()
    generator = np.random.default_rng(3)
    for number in range(8):
        top, left = generator.integers(0, (427 - 300, 640 - 420))
        part = photograph[top : top + 300, left : left + 420, ::-1]
        cv2.imwrite(str(tmp_path / "images" / f"{number}.jpg"), part)
    output = str(tmp_path / "out.csv")
    predict(PredictConfig(model=run_dir, output=output, images_dir=str(tmp_path / "images")))
    names, scores, _ = predictions.read(output)
    jpeg = [files.read_bytes(str(tmp_path / "images" / name)) for name in names]
    found = tf.saved_model.load(exported[0]).signatures["jpeg"](jpeg=tf.constant(jpeg))
    np.testing.assert_allclose(found["probabilities"], scores, rtol=0, atol=2e-4)


def test_the_names_and_thresholds_are_inside(exported, run_dir):
    saved, lite = exported
    info = files.read_json(f"{saved}/assets.extra/cloudtf.json")
    chosen = files.read_json(f"{run_dir}/thresholds.json")["classes"]
    assert info["classes"] == CLASSES and (info["image_height"], info["image_width"]) == (64, 64)
    assert info["thresholds"] == {name: chosen[name]["recall"]["threshold"] for name in CLASSES}
    assert info["present_at"] == "recall" and info["model"] == "tiny"
    assert info["thresholds_from"] == {"split": "val", "examples": 12}
    assert info["best"]["epoch"] >= 1
    with zipfile.ZipFile(lite) as archive:
        assert json.loads(archive.read("cloudtf.json")) == info
        assert archive.read("labels.txt").decode().splitlines() == CLASSES


def test_a_tflite_file_needs_nothing_but_its_own_ops(exported):
    interpreter = tf.lite.Interpreter(exported[1])
    names = {op["op_name"] for op in interpreter._get_ops_details()}
    assert {"CONV_2D", "CAST", "GREATER_EQUAL"} <= names
    assert not any(name.startswith(("Flex", "CUSTOM")) for name in names)
    (given,) = interpreter.get_input_details()
    assert given["dtype"] == np.uint8 and given["shape_signature"].tolist() == [-1, 64, 64, 3]


@pytest.fixture(scope="module")
def folder(run_dir, photograph, tmp_path_factory):
    """A folder of photographs of a few kinds, and what `predict` says of them by name."""
    images_dir = tmp_path_factory.mktemp("kinds")
    for name, (rows, columns) in {
        "quarter.jpg": (350, 525),
        "less.jpg": (300, 420),
        "half.jpg": (150, 200),
        "three_eighths.jpg": (200, 301),
        "six_eighths.jpg": (100, 90),
        "small.jpg": (40, 70),
        "any.png": (350, 525),
    }.items():
        cv2.imwrite(str(images_dir / name), photograph[40 : 40 + rows, 90 : 90 + columns, ::-1])
    cv2.imwrite(str(images_dir / "large.jpg"), cv2.resize(photograph, (2100, 1400)))
    turned = Image.Exif()
    turned[0x0112] = 6
    Image.fromarray(photograph).save(images_dir / "turned.jpg", exif=turned)
    output = f"{tmp_path_factory.mktemp('predicted')}/out.csv"
    predict(PredictConfig(model=run_dir, output=output, images_dir=str(images_dir)))
    names, scores, _ = predictions.read(output)
    return images_dir, dict(zip(names, scores))


def test_the_script_beside_a_tflite_file_makes_what_predict_makes(exported, folder):
    images_dir, predicted = folder
    preprocess = runpy.run_path(f"{exported[1]}.preprocess.py")["preprocess"]
    runner = tf.lite.Interpreter(exported[1]).get_signature_runner()

    def differences(pixels):
        found = {
            name: runner(images=pixels((images_dir / name).read_bytes()))["probabilities"][0]
            for name in predicted
        }
        return {name: np.abs(found[name] - predicted[name]).max() for name in predicted}

    def usual(data):
        image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
        return cv2.resize(image, (64, 64))[np.newaxis, :, :, ::-1]

    assert len(predicted) == 9 and max(differences(preprocess).values()) <= 1e-5
    # The choice of many tutorials is another one, a thousand times further away.
    assert max(differences(usual).values()) > 0.01
    # Without simplejpeg only scales that OpenCV lacks differ, and little.
    preprocess.__globals__["simplejpeg"] = None
    other = differences(preprocess)
    assert max(other.pop("three_eighths.jpg"), other.pop("six_eighths.jpg")) < 0.02
    assert max(other.values()) <= 1e-5


def test_the_script_checks_the_model_beside_it(exported, capsys):
    script = runpy.run_path(f"{exported[1]}.preprocess.py")
    script["check"](exported[1])
    assert capsys.readouterr().out.splitlines() == [
        "The pixels of the example are as expected.",
        "The probabilities of the example are as expected.",
    ]
    script["check"].__globals__["PROBABILITIES"] = [0.99, 0.01]
    with pytest.raises(SystemExit, match="The probabilities are not as PROBABILITIES, but"):
        script["check"](exported[1])
    script["check"].__globals__["preprocess"] = lambda data: np.zeros((1, 64, 64, 3), np.uint8)
    with pytest.raises(SystemExit, match="The pixels of the example are not as EXPECTED, but"):
        script["check"](exported[1])


def test_a_file_of_the_users_in_place_of_the_script_stays(small, tmp_path):
    users = tmp_path / "m.tflite.preprocess.py"
    users.write_text("mine")
    arguments = {"model": small, "output": f"{tmp_path}/m.tflite", "format": "tflite"}
    with pytest.raises(UserError, match="preprocess.py' is there already and is not the script of"):
        export(ExportConfig(**arguments))
    assert users.read_text() == "mine" and os.listdir(tmp_path) == ["m.tflite.preprocess.py"]
    users.unlink()
    for _ in range(2):  # Its own it replaces.
        export(ExportConfig(**arguments))
    assert sorted(os.listdir(tmp_path)) == [
        "m.tflite",
        "m.tflite.model_card.md",
        "m.tflite.preprocess.py",
    ]


def other_stack():
    """The Python of the other stack's environment, as the Makefile lays it."""
    for name in (".venv-current", ".venv-current-3.11", ".venv-current-3.13", ".venv"):
        python = ROOT / name / "bin" / "python"
        if python.exists() and not os.path.samefile(ROOT / name, sys.prefix):
            command = "import importlib.metadata as m; print(m.version('tf-keras'))"
            done = subprocess.run([python, "-c", command], capture_output=True, check=False)
            if (done.returncode == 0) != tf.__version__.startswith("2.15"):
                continue
            return str(python)
    return None


def test_the_other_stack_reads_them(exported, photographs, images, answers, run_dir, tmp_path):
    python = other_stack()
    if python is None:
        pytest.skip("the other stack is not set up: make setup STACK=current")
    jpeg = list(photographs.values())
    found = use(python, str(tmp_path), jpeg, images, *exported)
    assert set(found) == set(answers)
    for name, value in answers.items():
        if value.dtype == np.float32:
            np.testing.assert_allclose(found[name], value, rtol=0, atol=1e-5)
        elif name.endswith("present"):
            # By its own scores: a threshold is some image's score to the last bit.
            scores = found[name.replace("present", "probabilities")].astype(float)
            np.testing.assert_array_equal(found[name], present_by(run_dir, scores), err_msg=name)
        else:
            np.testing.assert_array_equal(found[name], value, err_msg=name)


@settings(deadline=None)
@given(st.floats(0, 1, width=32), st.floats(0, 1))
def test_a_score_passes_in_float32_where_it_passes_in_float64(score, threshold):
    near = float(np.nextafter(np.float32(threshold), np.float32(score)))
    for value in (score, near, float(np.float32(threshold))):
        passes = np.float32(value) >= smallest_passing(threshold)
        assert passes == (value >= threshold)
    assert smallest_passing(score) == np.float32(score)


@pytest.fixture(scope="module")
def small(tmp_path_factory, with_random_state):
    """A run folder of an untrained network of two classes at 32 x 32, without thresholds."""
    folder = str(tmp_path_factory.mktemp("small"))
    model = with_random_state(network.build_model("tiny", 2, (32, 32), dropout=0.2))
    saving.save_model(model, f"{folder}/best.keras", SMALL)
    return folder


PIXELS = np.random.default_rng(0).integers(0, 256, (3, 32, 32, 3), dtype=np.uint8)


def entry(threshold):
    return {"target": 0.9, "threshold": threshold, "precision": None, "recall": None}


def write_thresholds(path, **thresholds):
    """`thresholds.json` of classes with (recall, precision) thresholds."""
    chosen = {
        name: {"recall": entry(recall), "precision": entry(precision)}
        for name, (recall, precision) in thresholds.items()
    }
    pathlib.Path(path).write_text(json.dumps(chosen))
    return str(path)


def classify(folder, images=PIXELS):
    found = tf.saved_model.load(str(folder)).signatures["images"](images=tf.constant(images))
    return {name: value.numpy() for name, value in found.items()}


@pytest.mark.parametrize("kind", ["saved_model", "tflite"])
def test_calibrated_probabilities_come_from_the_graph_and_change_no_decision(
    small, tmp_path, kind, capsys
):
    shutil.copytree(small, tmp_path / "run")
    run, output = str(tmp_path / "run"), str(tmp_path / f"out.{kind}")
    model = saving.load_model(f"{run}/best.keras")
    plain = model(PIXELS).numpy().astype(float)
    with pytest.raises(UserError, match="calibrated=True needs .*calibration.json, which is not"):
        export(ExportConfig(model=run, output=output, format=kind, calibrated=True))
    middle = float(np.sort(plain[:, 0])[:2].mean())
    write_thresholds(f"{run}/thresholds.json", a=(middle, 0.0), b=(None, None))
    source = {"weights_sha256": saving.weights_sha256(model)}
    entries = {
        "b": {"method": "temperature", "temperature": 0.2},
        "a": {"method": "isotonic", "from": [0.0, middle, 1.0], "to": [0.1, 0.2, 0.9]},
    }
    calibration.write(f"{run}/calibration.json", entries, source)
    command = ["export", "--noprove", f"--model={run}", f"--output={output}", f"--format={kind}"]
    assert app.main([*command, "--calibrated"]) == 0
    assert "probabilities: float32 [B, 2], calibrated, a, b" in capsys.readouterr().out
    if kind == "tflite":
        runner = tf.lite.Interpreter(output).get_signature_runner()
        found = runner(images=PIXELS)
        with zipfile.ZipFile(output) as archive:
            info = json.loads(archive.read("cloudtf.json"))
    else:
        found = classify(output)
        info = files.read_json(f"{output}/assets.extra/cloudtf.json")
    expected = calibration.Calibration(entries).apply(plain, ["a", "b"])
    assert np.abs(expected - plain).max() > 0.01
    np.testing.assert_allclose(found["probabilities"], expected, rtol=0, atol=1e-5)
    np.testing.assert_array_equal(found["present"][:, 0], plain[:, 0] >= middle)
    assert not found["present"][:, 1].any()
    assert info["thresholds"] == {"a": 0.2, "b": None}
    assert info["calibration"] == {"classes": entries, "thresholds": {"a": middle, "b": None}}
    calibration.write(f"{run}/calibration.json", entries, {"weights_sha256": "other"})
    with pytest.raises(UserError, match="was made for other weights"):
        export(ExportConfig(model=run, output=output + "2", format=kind, calibrated=True))


def test_without_thresholds_there_is_no_present(small, tmp_path, capsys):
    assert app.main(["export", "--noprove", f"--model={small}", f"--output={tmp_path}/saved"]) == 0
    assert "There are no thresholds beside the model" in capsys.readouterr().out
    assert set(classify(tmp_path / "saved")) == {"probabilities", "classes"}
    info = files.read_json(f"{tmp_path}/saved/assets.extra/cloudtf.json")
    assert info["thresholds"] is None and info["present_at"] is None


def test_the_network_is_traced_once_for_both_signatures(small, tmp_path, monkeypatch):
    traced, make = [], formats._classifier

    def counting(model, info):
        classify = make(model, info)
        return lambda images: traced.append(images.shape) or classify(images)

    def decode(jpeg, height, width, aspect):
        return tf.zeros([tf.size(jpeg), height, width, 3], tf.uint8)

    monkeypatch.setattr(formats, "_classifier", counting)
    monkeypatch.setattr(jpeg_input, "decode", decode)
    export(ExportConfig(model=small, output=f"{tmp_path}/saved", prove=False))
    assert len(traced) == 1


def test_either_threshold_may_decide_and_an_unreachable_one_is_never_reached(small, tmp_path):
    scores = saving.load_model(f"{small}/best.keras")(PIXELS).numpy().astype(float)
    # Between two scores: the exported graph may round its own differently.
    middle = float(np.sort(scores[:, 0])[:2].mean())
    path = write_thresholds(tmp_path / "t.json", a=(middle, 0.0), b=(0.0, None))
    for target, expected in (
        ("recall", np.stack([scores[:, 0] >= middle, [True] * 3], axis=1)),
        ("precision", np.array([[True, False]] * 3)),
    ):
        output = f"{tmp_path}/{target}"
        export(ExportConfig(model=small, output=output, thresholds=path, present_at=target))
        assert classify(output)["present"].tolist() == expected.tolist()


def test_a_model_of_mixed_precision_computes_in_float32(tmp_path, with_random_state):
    before = tf.keras.mixed_precision.global_policy()
    tf.keras.mixed_precision.set_global_policy("mixed_bfloat16")
    try:
        mixed = network.build_model("tiny", 2, (32, 32))
    finally:
        tf.keras.mixed_precision.set_global_policy(before)
    plain = with_random_state(network.build_model("tiny", 2, (32, 32)))
    mixed.set_weights(plain.get_weights())
    expected = plain(PIXELS).numpy()
    assert np.abs(mixed(PIXELS).numpy() - expected).max() > 1e-4
    saving.save_model(mixed, f"{tmp_path}/mixed.keras", SMALL)
    export(ExportConfig(model=f"{tmp_path}/mixed.keras", output=f"{tmp_path}/saved"))
    found = classify(tmp_path / "saved")
    np.testing.assert_allclose(found["probabilities"], expected, rtol=0, atol=1e-6)
    lite = f"{tmp_path}/model.tflite"
    export(ExportConfig(model=f"{tmp_path}/mixed.keras", output=lite, format="tflite"))
    runner = tf.lite.Interpreter(lite).get_signature_runner()
    np.testing.assert_allclose(runner(images=PIXELS)["probabilities"], expected, rtol=0, atol=1e-5)


def test_onnx_gives_the_same(run_dir, images, predicted, tmp_path):
    pytest.importorskip("tf2onnx")
    runtime = pytest.importorskip("onnxruntime")
    output = str(tmp_path / "model.onnx")
    info = export(ExportConfig(model=run_dir, output=output, format="onnx"))
    session = runtime.InferenceSession(output, providers=["CPUExecutionProvider"])
    assert json.loads(session.get_modelmeta().custom_metadata_map["cloudtf.json"]) == info
    (given,) = session.get_inputs()
    assert (given.name, given.type, given.shape[1:]) == ("images", "tensor(uint8)", [64, 64, 3])
    for count in (1, 12):
        scores, present = session.run(["probabilities", "present"], {"images": images[:count]})
        np.testing.assert_allclose(scores, predicted[:count], rtol=0, atol=1e-5)
        np.testing.assert_array_equal(present, present_by(run_dir, scores.astype(float)))
    runpy.run_path(f"{output}.preprocess.py")["check"](output)


def test_onnx_without_its_converter_is_one_sentence(small, tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "tf2onnx", None)
    arguments = [f"--model={small}", "--format=onnx", f"--output={tmp_path}/m.onnx"]
    assert app.main(["export", "--noprove", *arguments]) == 1
    err = capsys.readouterr().err
    assert err.startswith("cloudtf export: --format=onnx needs the package tf2onnx")
    assert "pip install tf2onnx" in err and len(err.splitlines()) == 1


def test_remote_models_and_outputs_work(small, tmp_path):
    files.make_dirs("ram://export/run")
    files.write_bytes("ram://export/run/best.keras", files.read_bytes(f"{small}/best.keras"))
    expected = saving.load_model(f"{small}/best.keras")(PIXELS).numpy()
    export(ExportConfig(model="ram://export/run", output="ram://export/out/1"))
    found = classify("ram://export/out/1")
    np.testing.assert_allclose(found["probabilities"], expected, rtol=0, atol=1e-6)
    assert files.exists("ram://export/out/1/assets.extra/cloudtf.json")
    lite = "ram://export/out/m.tflite"
    export(ExportConfig(model="ram://export/run", output=lite, format="tflite"))
    runner = tf.lite.Interpreter(model_content=files.read_bytes(lite)).get_signature_runner()
    np.testing.assert_allclose(runner(images=PIXELS)["probabilities"], expected, atol=1e-5)


@pytest.mark.parametrize("kind", ["saved_model", "tflite"])
def test_a_failed_export_leaves_what_was_there(small, tmp_path, monkeypatch, kind):
    output = tmp_path / "out"
    if kind == "tflite":
        output.write_bytes(OLD)

    def fail(*args, **kwargs):
        raise OSError(28, "No space left on device")

    culprit = (files, "write_json") if kind == "saved_model" else (zipfile.ZipFile, "writestr")
    monkeypatch.setattr(*culprit, fail)
    with pytest.raises(UserError, match="out cannot be written: No space left on device"):
        export(ExportConfig(model=small, output=str(output), format=kind))
    assert os.listdir(tmp_path) == (["out"] if kind == "tflite" else [])
    if kind == "tflite":
        assert output.read_bytes() == OLD
        monkeypatch.undo()
        export(ExportConfig(model=small, output=str(output), format=kind))
        assert output.read_bytes()[4:8] == b"TFL3"
        assert sorted(os.listdir(tmp_path)) == ["out", "out.model_card.md", "out.preprocess.py"]


@pytest.mark.parametrize("kind", ["saved_model", "tflite"])
def test_an_export_after_a_killed_one_leaves_nothing_of_it(kind, small, tmp_path):
    output = tmp_path / "out.tflite"
    one, other = (tmp_path / "other", output) if kind == "saved_model" else (output, tmp_path / "f")
    programs.kill_when_ready("hold_temporaries", one, other)
    assert any("out.tflite" in name for name in os.listdir(tmp_path))
    export(ExportConfig(model=small, output=str(output), format=kind))
    written = ["out.tflite"]
    if kind == "tflite":
        written += ["out.tflite.model_card.md", "out.tflite.preprocess.py"]
    assert sorted(name for name in os.listdir(tmp_path) if "out" in name) == written


def test_what_cannot_be_exported_is_one_sentence(small, run_dir, tmp_path):
    def refused(sentence, **changes):
        with pytest.raises(UserError, match=sentence):
            export(ExportConfig(**{"model": small, "output": f"{tmp_path}/out", **changes}))

    refused("nowhere/best.keras cannot be read", model=str(tmp_path / "nowhere"))
    refused("t.json cannot be read", thresholds=str(tmp_path / "t.json"))
    refused(
        r"The classes of .*best.keras \(a, b\) and of .*thresholds.json \(Fish, .*\) differ",
        thresholds=f"{run_dir}/thresholds.json",
    )
    saving.save_model(network.build_model("tiny", 3, (32, 32)), f"{tmp_path}/three.keras", SMALL)
    refused(r"names 2 classes for the output \[B, 3\]", model=f"{tmp_path}/three.keras")
    refused("is a folder; name a file in it", output=str(tmp_path), format="tflite")
    refused("new/' is a folder; name a file in it", output=f"{tmp_path}/new/", format="tflite")
    (tmp_path / "used").mkdir()
    (tmp_path / "used" / "file").write_text("x")
    refused("used' is there already; remove it, or name a new folder", output=f"{tmp_path}/used")
    refused("file cannot be made", output=f"{tmp_path}/used/file/out")
    refused(r"no/m.tflite cannot be written", output=f"{tmp_path}/no/m.tflite", format="tflite")
    assert sorted(os.listdir(tmp_path)) == ["three.keras", "used"]


def test_the_command_says_what_takes_and_gives_what(run_dir, tmp_path, capsys):
    assert (
        app.main(["export", "--noprove", f"--model={run_dir}", f"--output={tmp_path}/new/1"]) == 0
    )
    out = capsys.readouterr().out.splitlines()
    assert out[:3] == [
        f"Exported as saved_model: {tmp_path}/new/1",
        f"What is known of it: {tmp_path}/new/1/model_card.md",
        "images: uint8 [B, 64, 64, 3], RGB, 0 to 255",
    ]
    end = out.index("jpeg: string [B], JPEG or PNG files of any size; the model does all of that")
    said = " ".join(line.strip() for line in out[3:end])
    info = files.read_json(f"{tmp_path}/new/1/assets.extra/cloudtf.json")
    assert said == f"made of {info['preprocessing']}"
    for words in ("EXIF orientation", "64 x 64", "without keeping the aspect ratio", "area means"):
        assert words in said
    assert out[end + 1 : end + 3] == [
        "probabilities: float32 [B, 4], Fish, Flower, Gravel, Sugar",
        "present: bool, probabilities of at least the recall thresholds",
    ]
    chosen = files.read_json(f"{run_dir}/thresholds.json")["classes"]
    assert out[end + 3 :] == [
        f"  {name}: {chosen[name]['recall']['threshold']}" for name in CLASSES
    ]
    assert max(len(line) for line in out[2:]) <= 80


def test_the_command_names_the_script(small, tmp_path, capsys):
    lite = f"{tmp_path}/m.tflite"
    assert (
        app.main(["export", "--noprove", f"--model={small}", "--format=tflite", f"--output={lite}"])
        == 0
    )
    assert f"To make them, and to check other code that does: {lite}.preprocess.py\n" in (
        capsys.readouterr().out
    )


def test_the_predictions_compared_with_are_of_several_images(run_dir):
    with pathlib.Path(run_dir, "predictions_val.csv").open() as file:
        rows = list(csv.reader(file))
    assert len(rows) == 13 and len({tuple(row[1:]) for row in rows}) == 13


def test_the_folder_may_be_written_with_a_slash(small, tmp_path):
    export(ExportConfig(model=f"{small}/", output=f"{tmp_path}/exported/"))
    assert os.listdir(tmp_path) == ["exported"]
    assert (tmp_path / "exported" / "saved_model.pb").exists()
    with pytest.raises(UserError, match="exported' is there already"):
        export(ExportConfig(model=small, output=f"{tmp_path}/exported//"))
