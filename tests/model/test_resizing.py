"""Resizing in the graph of an exported model, and in the docs' reference: as predict does it."""

from __future__ import annotations

import pathlib
import re
import runpy

import numpy as np
import pytest
import tensorflow as tf

from cloudtf.data import aspect as aspects
from cloudtf.data import images
from cloudtf.errors import UsageError
from cloudtf.model import formats, network, resizing
from cloudtf.model.export import ExportConfig

HEIGHT, WIDTH = 32, 48
# By halves, by means, in one direction only, growing, and nothing at all.
SIZES = ((64, 96), (100, 190), (60, 100), (200, 290), (20, 30), (33, 290), (32, 48))
DOCS = pathlib.Path(__file__).parents[2] / "docs" / "EXPORT.md"


def expected(image, aspect):
    size = aspects.resized(*image.shape[:2], HEIGHT, WIDTH, aspect)
    return aspects.fitted(images.resize(image, *size), HEIGHT, WIDTH)


def assert_nearly_the_same(found, wanted):
    difference = np.abs(found.astype(int) - wanted)
    assert difference.max() <= 1 and (difference > 0).mean() < 0.005


@pytest.mark.parametrize("aspect", aspects.ASPECTS)
def test_any_size_becomes_what_predict_makes_of_it(photograph, aspect):
    spec = tf.TensorSpec([None, None, None, 3], tf.uint8)
    resize = tf.function(
        lambda given: resizing.any_size(given, HEIGHT, WIDTH, aspect), input_signature=[spec]
    )
    for rows, columns in SIZES:
        two = np.stack([photograph[:rows, :columns], photograph[90 : 90 + rows, -columns:]])
        found = resize(two).numpy()
        assert found.dtype == np.uint8 and found.shape == (2, HEIGHT, WIDTH, 3)
        for image, one in zip(two, found):
            assert_nearly_the_same(one, expected(np.ascontiguousarray(image), aspect))


@pytest.fixture(scope="module")
def model(with_random_state):
    return with_random_state(network.build_model("tiny", 2, (HEIGHT, WIDTH)))


def info(**changes):
    return {
        "classes": ["a", "b"], "thresholds": {"a": 0.5, "b": None}, "calibration": None,
        "image_height": HEIGHT, "image_width": WIDTH, "aspect": "pad", "any_size": True,
        "precision": "float32", **changes,
    }  # fmt: skip


def run(kind, path, given):
    if kind == "tflite":
        return tf.lite.Interpreter(path).get_signature_runner()(images=given)
    runtime = pytest.importorskip("onnxruntime")
    session = runtime.InferenceSession(path, providers=["CPUExecutionProvider"])
    names = ["probabilities", "present"]
    return dict(zip(names, session.run(names, {"images": given})))


@pytest.mark.parametrize("kind", ["tflite", "onnx"])
def test_tflite_and_onnx_take_any_size(model, photograph, tmp_path, kind):
    path = f"{tmp_path}/model"
    if kind == "onnx":
        pytest.importorskip("tf2onnx")
    getattr(formats, kind)(model, info(), path)
    for rows, columns in SIZES:
        image = np.ascontiguousarray(photograph[:rows, :columns])
        found = run(kind, path, np.stack([image, image]))
        scores = model(expected(image, "pad")[np.newaxis]).numpy()
        np.testing.assert_allclose(found["probabilities"], [scores[0]] * 2, rtol=0, atol=1e-3)
        assert found["present"].tolist() == [[bool(scores[0, 0] >= 0.5), False]] * 2


def test_fewer_bits_make_smaller_files_that_take_and_give_the_same(model, photograph, tmp_path):
    given = np.stack([expected(photograph[y : y + 99], "crop") for y in range(0, 320, 20)])
    scores, types = model(given).numpy(), {}
    for precision, most in (("float16", 5e-3), ("int8", 0.1)):
        path = f"{tmp_path}/{precision}"
        formats.tflite(model, info(any_size=False, precision=precision), path,
                       given if precision == "int8" else None)  # fmt: skip
        found = run("tflite", path, given)
        assert np.abs(found["probabilities"] - scores).max() <= most
        assert found["probabilities"].dtype == np.float32
        tensors = tf.lite.Interpreter(path).get_tensor_details()
        types[precision] = {tensor["dtype"] for tensor in tensors if len(tensor["shape"]) == 4}
        # Its own test image gives its own probabilities.
        runpy.run_path(f"{path}.preprocess.py")["check"](path)
    assert np.float16 in types["float16"] and np.int8 in types["int8"]
    assert np.int8 not in types["float16"]


def test_any_size_is_for_files_that_have_no_other_way():
    for settings, said in (
        ({}, "not for format='saved_model': its `jpeg` signature takes files of any size"),
        ({"format": "tflite", "precision": "int8", "data_dir": "r"}, "not for precision='int8'"),
    ):
        with pytest.raises(UsageError, match=re.escape(said)):
            ExportConfig(model="a", output="b", any_size=True, **settings)


def test_the_reference_in_the_docs_makes_the_same(photograph, model, tmp_path):
    (code,) = re.findall(r"```python\n(.*?)```", DOCS.read_text(encoding="utf-8"), re.DOTALL)
    assert len([line for line in code.splitlines() if line.strip()]) <= 45
    names = {}
    exec(compile(code, str(DOCS), "exec"), names)
    for rows, columns in SIZES:
        image = np.ascontiguousarray(photograph[:rows, :columns])
        found = names["resize"](image, HEIGHT, WIDTH)
        assert_nearly_the_same(found, images.resize(image, HEIGHT, WIDTH))
    # The test vector beside a file.
    formats.tflite(model, info(aspect="stretch", any_size=False), f"{tmp_path}/m")
    script = runpy.run_path(f"{tmp_path}/m.preprocess.py")
    picture = script["example"](script["ROWS"], script["COLUMNS"])
    found = names["resize"](picture, HEIGHT, WIDTH)
    steps = (max(1, HEIGHT // 3), max(1, WIDTH // 3))
    vector = found[:: steps[0], :: steps[1]].astype(int)
    assert np.abs(vector - np.array(script["EXPECTED"])).max() <= 1
