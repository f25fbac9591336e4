"""thresholds.json reads back exactly, and is refused where it is damaged."""

from __future__ import annotations

import copy
import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cloudtf.errors import UserError
from cloudtf.evaluation.thresholds import choose
from cloudtf.model import thresholds

examples = st.lists(st.tuples(st.booleans(), st.floats(0, 1)), min_size=1, max_size=60)


@settings(max_examples=100, deadline=None)
@given(examples)
def test_what_is_written_reads_back_exactly(tmp_path_factory, rows):
    path = str(tmp_path_factory.mktemp("t") / "thresholds.json")
    labels, scores = (np.array(column)[:, None] for column in zip(*rows))
    chosen = choose(labels, scores, ["Fish"])
    thresholds.write(path, chosen)
    assert thresholds.read(path) == chosen


def a_valid_file():
    labels, scores = np.array([[1], [0]]), np.array([[0.75], [0.25]])
    return choose(labels, scores, ["Fish"])


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda c: c.clear(), "holds no thresholds by class"),
        (lambda c: c.update(Fish=0.5), "has no 'recall' entry for class Fish"),
        (lambda c: c["Fish"].pop("precision"), "has no 'precision' entry for class Fish"),
        (lambda c: c["Fish"]["recall"].pop("threshold"), "has None as the threshold of 'recall'"),
        (lambda c: c["Fish"]["recall"].update(threshold="0.5"), "has '0.5' as the threshold"),
        (lambda c: c["Fish"]["recall"].update(threshold=True), "has True as the threshold"),
        (lambda c: c["Fish"]["recall"].update(threshold=94), "has 94 as the threshold"),
        (lambda c: c["Fish"]["recall"].update(threshold=float("nan")), "has nan as the threshold"),
        (lambda c: c["Fish"]["recall"].update(target=None), "has None as the target"),
    ],
)
def test_a_damaged_file_is_refused_with_its_name_and_the_class(tmp_path, damage, message):
    chosen = copy.deepcopy(a_valid_file())
    damage(chosen)
    path = tmp_path / "thresholds.json"
    path.write_text(json.dumps(chosen))
    with pytest.raises(UserError, match=f"thresholds.json {message}.*cloudtf evaluate"):
        thresholds.read(str(path))
    with pytest.raises(UserError, match=message):
        thresholds.write(str(tmp_path / "again.json"), chosen)
    assert not (tmp_path / "again.json").exists()


def test_a_list_or_a_missing_file_is_refused(tmp_path):
    path = tmp_path / "thresholds.json"
    with pytest.raises(UserError, match="cannot be read"):
        thresholds.read(str(path))
    path.write_text("[1, 2]")
    with pytest.raises(UserError, match="holds no thresholds"):
        thresholds.read(str(path))
