"""The table of thresholds says what they promise, on any terminal."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.special import expit

from cloudtf.evaluation import promises, thresholds
from cloudtf.model.thresholds import KINDS, Thresholds

LONG = "a class of which the name is as long as this"


def found(names, count=300, **given):
    random = np.random.default_rng(0)
    labels = random.random((count, len(names))) < 0.3
    scores = expit(random.normal(size=labels.shape) + 5 * labels - 2)
    chosen = thresholds.choose_thresholds(labels, scores, class_names=names, **given)
    return Thresholds(chosen, {"split": "val", "examples": count})


def table(of, width=80):
    return promises.table(of, dict.fromkeys(of.classes, 0.5), width)


def test_each_class_has_a_line_with_what_its_thresholds_promise():
    of = found(["Fish", LONG])
    text = table(of)
    *first, tops, aims, fish, name, other = text.splitlines()
    assert " ".join(first).startswith("Thresholds of 300 examples of val, and how surely each")
    assert tops.split() == ["recall", "guaranteed", "precision", "guaranteed"]
    assert aims.split() == [">=", "0.94"] * 2 + [">=", "0.9"] * 2
    said = fish.split()
    assert said.pop(0) == "Fish" and name == LONG and len(other.split()) == 8
    entries = [of.classes["Fish"][kind] for kind in KINDS[:4]]
    for threshold, sure, entry in zip(said[::2], said[1::2], entries):
        assert float(threshold) == pytest.approx(entry["threshold"], rel=0.01)
        assert 0 <= 100 * entry["confidence"] - int(sure[:-1]) < 1


@pytest.mark.parametrize("width", [48, 60, 80, 120])
def test_it_fits_a_terminal_of_any_width(width):
    of = found(["Fish", "Sugar", LONG], 60, beta=1, costs=(5, 1), precision_target=1.0)
    text = table(of, width)
    assert max(len(line) for line in text.splitlines() if line != LONG) <= width
    assert "needs" in text and "none" in text and "5:1" in text
    for line in ("needs: how many positives would do.", "none: no threshold reaches the target."):
        assert line in " ".join(text.split())
    if width < 80:
        assert text.count("precision_guaranteed") == 3


def test_of_many_classes_some_are_shown_and_of_groups_it_is_said():
    of = found([f"class {number}" for number in range(60)], groups=np.arange(300) // 3)
    of = Thresholds(of.classes, {**of.source, "groups": 100})
    text = table(of)
    assert "on images of new groups:" in " ".join(text.split())
    assert "... 12 more classes, all of them in the files ..." in text
    assert len(text.splitlines()) < 56
