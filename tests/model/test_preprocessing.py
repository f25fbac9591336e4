"""The script beside an exported model: the pixels of `images.load`, without cloudtf."""

from __future__ import annotations

import ast
import io
import runpy

import cv2
import numpy as np
import pytest
from PIL import Image

from cloudtf.data import images
from cloudtf.model import preprocessing

SIZES = [(64, 64, "stretch"), (96, 128, "pad"), (150, 61, "stretch"), (61, 80, "crop")]


def script(height, width, aspect="stretch", kind="tflite"):
    return preprocessing.script(kind, height, width, aspect, lambda pixels: np.full((1, 2), 0.5))


@pytest.fixture(scope="module", params=SIZES, ids=str)
def written(request, tmp_path_factory):
    """The size of a model, and `preprocess` of its script."""
    path = tmp_path_factory.mktemp("script") / "m.tflite.preprocess.py"
    path.write_text(script(*request.param))
    return request.param, runpy.run_path(str(path))["preprocess"]


def encoded(image, kind="JPEG", orientation=None):
    exif = Image.Exif()
    if orientation is not None:
        exif[0x0112] = orientation
    file = io.BytesIO()
    Image.fromarray(image).save(file, kind, exif=exif)
    return file.getvalue()


def check(written, data):
    size, preprocess = written
    found = preprocess(data)
    assert found.dtype == np.uint8 and found.flags.c_contiguous
    np.testing.assert_array_equal(found, images.load(data, *size)[np.newaxis])


@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
@pytest.mark.parametrize(
    "size", [(350, 525), (300, 420), (427, 640), (160, 161), (100, 90), (50, 300), (20, 30), (1, 1)]
)
def test_any_size_gives_the_pixels_of_predict(written, photograph, size, kind):
    check(written, encoded(photograph[: size[0], : size[1]], kind))


@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
@pytest.mark.parametrize("orientation", range(10))
def test_any_orientation_gives_the_pixels_of_predict(written, photograph, orientation, kind):
    check(written, encoded(photograph[:333, :501], kind, orientation))


@pytest.mark.parametrize("bits", [8, 10, 12, 14, 16])
def test_deep_pngs_give_the_pixels_of_predict(written, photograph, bits):
    deep = photograph[:200, :301].astype(np.uint16) << (bits - 8)
    check(written, cv2.imencode(".png", deep)[1].tobytes())


@pytest.mark.parametrize("mode, kind", [("L", "JPEG"), ("CMYK", "JPEG"), ("RGBA", "PNG")])
def test_other_colours_give_the_pixels_of_predict(written, photograph, mode, kind):
    image = Image.fromarray(photograph[:333, :501]).convert(mode)
    file = io.BytesIO()
    image.save(file, kind)
    check(written, file.getvalue())


@pytest.mark.parametrize("kind", ["tflite", "onnx"])
def test_it_needs_no_more_than_it_says(kind):
    tree = ast.parse(script(64, 64, kind=kind))
    imported = {
        name.name if isinstance(node, ast.Import) else node.module
        for node in ast.walk(tree)
        if isinstance(node, (ast.Import, ast.ImportFrom))
        for name in node.names
    }
    runtime = {"tflite": "tensorflow", "onnx": "onnxruntime"}[kind]
    assert imported == {"io", "sys", "cv2", "numpy", "PIL", "simplejpeg", runtime}
    lines = {
        node.name: node.end_lineno - node.lineno + 1
        for node in tree.body
        if isinstance(node, ast.FunctionDef)
    }
    assert lines["preprocess"] + lines["resize"] <= 48
    assert "@" not in script(64, 64, kind=kind)
