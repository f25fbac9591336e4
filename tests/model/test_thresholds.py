"""thresholds.json reads back exactly, and is refused where it is damaged."""

from __future__ import annotations

import copy
import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cloudtf.errors import UserError
from cloudtf.evaluation.thresholds import choose_thresholds
from cloudtf.model import thresholds

examples = st.lists(st.tuples(st.booleans(), st.floats(0, 1)), min_size=1, max_size=60)


@settings(max_examples=100, deadline=None)
@given(examples)
def test_what_is_written_reads_back_exactly(tmp_path_factory, rows):
    path = str(tmp_path_factory.mktemp("t") / "thresholds.json")
    labels, scores = (np.array(column)[:, None] for column in zip(*rows))
    chosen = choose_thresholds(labels, scores, class_names=["Fish"])
    source = {"split": "val", "examples": len(labels), "model": "a/best.keras", "tta": False}
    thresholds.write(path, chosen, source)
    assert thresholds.read(path) == thresholds.Thresholds(chosen, source)
    with open(path, encoding="utf-8") as file:
        assert json.load(file) == {"from": source, "classes": chosen}


def a_valid_file():
    return choose_thresholds(np.array([[1], [0]]), np.array([[0.75], [0.25]]), class_names=["Fish"])


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
        (lambda c: c["Fish"].update(recall_guaranteed=None), "has no 'recall_guaranteed' entry"),
        (lambda c: c["Fish"]["precision_guaranteed"].pop("recall"), "has None as the recall of 'p"),
        (lambda c: c["Fish"].update(cost={"threshold": 5}), "has 5 as the threshold of 'cost'"),
    ],
)
def test_a_damaged_file_is_refused_with_its_name_and_the_class(tmp_path, damage, message):
    chosen = copy.deepcopy(a_valid_file())
    damage(chosen)
    path = tmp_path / "thresholds.json"
    for content in (chosen, {"classes": chosen}, {"from": {"split": "val"}, "classes": chosen}):
        path.write_text(json.dumps(content))
        with pytest.raises(UserError, match=f"thresholds.json {message}.*cloudtf evaluate"):
            thresholds.read(str(path))
    with pytest.raises(UserError, match=message):
        thresholds.write(str(tmp_path / "again.json"), chosen)
    assert not (tmp_path / "again.json").exists()


def test_a_list_or_a_missing_file_is_refused(tmp_path):
    path = tmp_path / "thresholds.json"
    with pytest.raises(UserError, match="cannot be read"):
        thresholds.read(str(path))
    for text in ("[1, 2]", "{}", '{"from": {}}', '{"classes": null}', '{"classes": [1]}'):
        path.write_text(text)
        with pytest.raises(UserError, match="holds no thresholds"):
            thresholds.read(str(path))
    path.write_text(json.dumps({"from": "val", "classes": a_valid_file()}))
    with pytest.raises(UserError, match="does not say what it is from"):
        thresholds.read(str(path))


@pytest.mark.parametrize(
    "names", [["Fish"], ["classes"], ["from", "classes"], ["recall", "target"]]
)
def test_files_of_the_first_version_are_read_whatever_their_classes_are_called(tmp_path, names):
    path = tmp_path / "thresholds.json"
    classes = {name: a_valid_file()["Fish"] for name in names}
    path.write_text(json.dumps(classes))
    assert thresholds.read(str(path)) == thresholds.Thresholds(classes)
    thresholds.write(str(path), classes, {"split": "val"})
    assert thresholds.read(str(path)).classes == classes


def test_files_from_before_there_were_guarantees_are_read(tmp_path):
    path = tmp_path / "thresholds.json"
    kinds = {k: v for k, v in a_valid_file()["Fish"].items() if k in ("recall", "precision")}
    for entry in kinds.values():
        del entry["confidence"]
    path.write_text(json.dumps({"from": {"split": "val"}, "classes": {"Fish": kinds}}))
    found = thresholds.read(str(path))
    assert found.at("recall", "t.json") == {"Fish": kinds["recall"]["threshold"]}


def test_it_says_what_the_thresholds_are_of():
    for source, words in (
        ({"split": "val", "examples": 1109}, "of 1,109 examples of val"),
        (
            {"split": "a", "examples": 3, "tta": True},
            "of 3 examples of a, averaged over four flips",
        ),
        (
            {"split": "oof", "examples": 5546, "folds": {"fold0": {}, "fold1": {}}},
            "of 5,546 examples out of 2 folds",
        ),
        ({}, "of examples that the file does not name"),
        ({"split": 3, "examples": "x"}, "of examples that the file does not name"),
    ):
        assert str(thresholds.Thresholds({}, source)) == words
