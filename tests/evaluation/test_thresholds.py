"""Thresholds are the best of all candidates."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cloudtf.evaluation import thresholds

hundredths = st.integers(0, 100).map(lambda n: n / 100)
examples = st.lists(
    st.tuples(st.booleans(), st.one_of(hundredths, st.floats(0, 1))), min_size=1, max_size=60
)


def every_threshold(labels, scores):
    """(threshold, precision, recall) of every distinct score, in exact fractions."""
    found = []
    for threshold in sorted(set(scores)):
        present = [label for label, score in zip(labels, scores) if score >= threshold]
        found.append(
            (threshold, Fraction(sum(present), len(present)), Fraction(sum(present), sum(labels)))
        )
    return found


@settings(max_examples=400, deadline=None)
@given(examples, st.integers(0, 100), st.integers(0, 100))
def test_thresholds_are_the_best_of_all_candidates(rows, recall_percent, precision_percent):
    labels, scores = [row[0] for row in rows], [row[1] for row in rows]
    chosen = thresholds.choose(
        np.array(labels)[:, None],
        np.array(scores)[:, None],
        ["a"],
        recall_target=recall_percent / 100,
        precision_target=precision_percent / 100,
    )["a"]
    assert chosen["recall"]["target"] == recall_percent / 100
    assert chosen["precision"]["target"] == precision_percent / 100
    candidates = every_threshold(labels, scores) if any(labels) else []
    reach_recall = [c for c in candidates if c[2] >= Fraction(recall_percent, 100)]
    reach_precision = [c for c in candidates if c[1] >= Fraction(precision_percent, 100)]
    for entry, reached, pick in (
        (chosen["recall"], reach_recall, max),
        (chosen["precision"], reach_precision, min),
    ):
        if not reached:
            assert entry["threshold"] is entry["precision"] is entry["recall"] is None
            continue
        threshold, precision, recall = pick(reached)
        assert entry["threshold"] == threshold
        assert entry["precision"] == float(precision)
        assert entry["recall"] == float(recall)
    if reach_precision:  # The most lenient one is also the one that finds the most.
        assert chosen["precision"]["recall"] == float(max(c[2] for c in reach_precision))


def test_a_recall_that_is_exactly_the_target_is_enough():
    labels = np.ones((50, 1))
    scores = np.arange(1, 51)[:, None] / 100
    entry = thresholds.choose(labels, scores, ["a"], recall_target=0.94)["a"]["recall"]
    assert (entry["threshold"], entry["recall"]) == (0.04, 0.94)


def test_a_precision_out_of_reach_is_null_rather_than_an_error():
    labels = np.array([[0], [1], [0]])
    scores = np.array([[0.9], [0.5], [0.1]])
    chosen = thresholds.choose(labels, scores, ["a"], precision_target=0.9)["a"]
    assert chosen["precision"] == {
        "target": 0.9,
        "threshold": None,
        "precision": None,
        "recall": None,
    }
    assert chosen["recall"]["threshold"] == 0.5


def test_a_class_without_positives_has_no_threshold_and_others_are_unharmed():
    labels = np.array([[0, 1], [0, 0]])
    scores = np.array([[0.9, 0.8], [0.1, 0.2]])
    chosen = thresholds.choose(labels, scores, ["none", "some"])
    assert chosen["none"]["recall"]["threshold"] is None
    assert chosen["none"]["precision"]["threshold"] is None
    assert chosen["some"]["recall"]["threshold"] == 0.8


def test_a_float32_threshold_keeps_the_very_score_it_came_from():
    rng = np.random.default_rng(1)
    labels = rng.random((500, 1)) < 0.5
    scores = rng.random((500, 1)).astype(np.float32)
    entry = thresholds.choose(labels, scores, ["a"], recall_target=0.9)["a"]["recall"]
    present = scores[:, 0].astype(np.float64) >= entry["threshold"]
    assert np.float32(entry["threshold"]) in scores
    assert (present & labels[:, 0]).sum() / labels.sum() == entry["recall"] >= 0.9
    assert (present & labels[:, 0]).sum() / present.sum() == entry["precision"]


def test_targets_outside_zero_to_one_are_refused():
    for target in (-0.1, 1.1, float("nan")):
        with pytest.raises(ValueError, match="not between 0 and 1"):
            thresholds.choose(np.ones((1, 1)), np.ones((1, 1)), ["a"], recall_target=target)
