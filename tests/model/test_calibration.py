"""calibration.json reads back exactly, is refused where it is damaged, and keeps every decision."""

from __future__ import annotations

import json

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from cloudtf.errors import UserError
from cloudtf.evaluation import calibration as fitting
from cloudtf.model import calibration

METHODS = list(fitting._FITS)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32 - 1), st.sampled_from(METHODS), st.integers(10, 400))
def test_calibration_keeps_the_order_and_so_every_decision(seed, method, count):
    random = np.random.default_rng(seed)
    scores = random.random(count) ** random.integers(1, 6)
    scores = np.where(random.random(count) < 0.1, scores.round(1), scores).astype(np.float32)
    entry = fitting._FITS[method](random.random(count) < scores**2, scores)
    assert calibration._problem(entry) == ""
    # What lies between two scores further apart than a threshold's gap is told apart after it.
    order = np.unique(scores.astype(float))
    after = calibration.apply(entry, order)
    assert (after >= 0).all() and (after <= 1).all()
    assert (np.diff(after)[np.diff(order) >= 1e-5] > 0).all() and (np.diff(after) >= 0).all()


def some_classes(seed):
    random = np.random.default_rng(seed)
    scores = random.random((2000, 4)).astype(np.float32)
    labels = random.random(scores.shape) < scores ** [1, 2, 3, 0.5]
    methods = ["none", "temperature", "isotonic", "isotonic"]
    return scores, [fitting._FITS[m](labels[:, i], scores[:, i]) for i, m in enumerate(methods)]


def test_a_graph_computes_the_same():
    scores, entries = some_classes(0)
    scores[:3] = [[0] * 4, [1] * 4, [1e-9] * 4]
    graph = tf.function(lambda given: calibration.in_graph(given, entries))
    expected = calibration.Calibration(dict(zip("abcd", entries))).apply(scores, "abcd")
    np.testing.assert_allclose(graph(scores).numpy(), expected, rtol=0, atol=2e-6)
    assert (calibration.in_graph(scores, [{"method": "none"}] * 4) == scores).all()


def test_what_is_written_reads_back_exactly(tmp_path):
    path = str(tmp_path / "calibration.json")
    classes = dict(zip("abcd", some_classes(1)[1]))
    calibration.write(path, classes, {"split": "val"})
    assert calibration.read(path) == calibration.Calibration(classes, {"split": "val"})


ISOTONIC = {"method": "isotonic", "from": [0.0, 0.5, 1.0], "to": [0.1, 0.2, 0.9]}


@pytest.mark.parametrize(
    ("entry", "problem"),
    [
        (None, "a method that is not one of none, temperature, isotonic"),
        ({}, "a method that is not one of"),
        ({"method": ["none"]}, "a method that is not one of"),
        ({"method": "temperature"}, "a temperature that is not a number over 0"),
        ({"method": "temperature", "temperature": 0}, "a temperature that is not"),
        ({"method": "temperature", "temperature": True}, "a temperature that is not"),
        ({"method": "temperature", "temperature": float("nan")}, "a temperature that is not"),
        ({"method": "temperature", "temperature": float("inf")}, "a temperature that is not"),
        ({"method": "isotonic"}, "points that are not two lists"),
        ({**ISOTONIC, "to": [0.1, 0.2]}, "points that are not two lists"),
        ({**ISOTONIC, "to": [0.1, "0.2", 0.9]}, "points that are not two lists"),
        ({**ISOTONIC, "to": [0.1, 0.2, 1.1]}, "points that do not go from 0 to 1"),
        ({**ISOTONIC, "from": [0.1, 0.5, 1.0]}, "points that do not go from 0 to 1"),
        ({**ISOTONIC, "to": [0.1, 0.1, 0.9]}, "points that do not rise"),
    ],
)
def test_a_damaged_file_is_refused_with_its_name_and_the_class(tmp_path, entry, problem):
    path = tmp_path / "calibration.json"
    path.write_text(json.dumps({"from": {}, "classes": {"Fish": entry}}))
    with pytest.raises(UserError, match=f"calibration.json has for class Fish {problem}.*evaluate"):
        calibration.read(str(path))


@pytest.mark.parametrize("text", ["[]", "{}", '{"classes": {}}', '{"from": 1, "classes": {}}'])
def test_a_file_of_another_kind_is_refused(tmp_path, text):
    path = tmp_path / "calibration.json"
    path.write_text(text)
    with pytest.raises(UserError, match="does not say what it is from"):
        calibration.read(str(path))
    path.write_text('{"from": {}, "classes": {}}')
    with pytest.raises(UserError, match="holds no calibration by class"):
        calibration.read(str(path))
