"""PR-AUC agrees with scikit-learn and keeps the traps out."""

from __future__ import annotations

import math
import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from sklearn.metrics import auc, average_precision_score, precision_recall_curve

from cloudtf.errors import UserError
from cloudtf.evaluation import pr_auc


def one(labels, scores):
    result = pr_auc.score(np.asarray(labels)[:, None], np.asarray(scores)[:, None], ["a"])
    return result.pr_auc["a"], result.average_precision["a"]


# Eleven values over up to 60 examples: most scores are tied.
coarse = st.integers(0, 10).map(lambda tenths: tenths / 10)
examples = st.integers(1, 60).flatmap(
    lambda n: st.tuples(
        hnp.arrays(np.int64, n, elements=st.integers(0, 1)),
        hnp.arrays(np.float64, n, elements=st.one_of(coarse, st.floats(0, 1))),
    )
)


@settings(max_examples=300, deadline=None)
@given(examples)
def test_both_areas_equal_scikit_learns_with_and_without_ties(example):
    labels, scores = example
    trapezoid, average = one(labels, scores)
    if labels.min() == labels.max():
        assert math.isnan(trapezoid) and math.isnan(average)
        return
    precision, recall, _ = precision_recall_curve(labels, scores)
    assert abs(trapezoid - auc(recall, precision)) <= 1e-12
    assert abs(average - average_precision_score(labels, scores)) <= 1e-12


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
@pytest.mark.parametrize("label_dtype", [bool, np.int64, np.float32])
def test_large_sets_of_every_dtype_equal_scikit_learns(dtype, label_dtype):
    rng = np.random.default_rng(0)
    labels = rng.random((20_000, 3)) < [0.01, 0.5, 0.9]
    scores = (0.3 * labels + 0.7 * rng.random(labels.shape)).astype(dtype)
    result = pr_auc.score(labels.astype(label_dtype), scores, ["a", "b", "c"])
    for index, name in enumerate("abc"):
        precision, recall, _ = precision_recall_curve(labels[:, index], scores[:, index])
        average = average_precision_score(labels[:, index], scores[:, index])
        assert result.pr_auc[name] == pytest.approx(auc(recall, precision), abs=1e-12)
        assert result.average_precision[name] == pytest.approx(average, abs=1e-12)


@settings(max_examples=50, deadline=None)
@given(examples, st.randoms(use_true_random=False))
def test_the_order_of_examples_does_not_matter(example, random):
    labels, scores = example
    order = list(range(labels.size))
    random.shuffle(order)
    np.testing.assert_array_equal(one(labels, scores), one(labels[order], scores[order]))


def test_a_class_without_positives_or_negatives_is_nan_and_left_out_of_the_mean():
    labels = np.array([[0, 1, 1], [0, 1, 0], [0, 1, 1]])
    scores = np.array([[0.1, 0.5, 0.9], [0.2, 0.5, 0.8], [0.3, 0.6, 0.1]])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        result = pr_auc.score(labels, scores, ["none", "all", "some"])
    assert math.isnan(result.pr_auc["none"]) and math.isnan(result.average_precision["none"])
    assert math.isnan(result.pr_auc["all"]) and math.isnan(result.average_precision["all"])
    assert result.undefined == ("none", "all")
    assert result.mean_pr_auc == result.pr_auc["some"]
    assert result.mean_average_precision == result.average_precision["some"] == (1 + 2 / 3) / 2


def test_the_means_are_over_classes_and_nan_without_any():
    labels, scores = np.array([[1, 1], [0, 0]]), np.array([[0.9, 0.1], [0.1, 0.9]])
    result = pr_auc.score(labels, scores, ["right", "wrong"])
    assert result.average_precision == {"right": 1.0, "wrong": 0.5}
    assert result.mean_average_precision == 0.75
    assert result.mean_pr_auc == (result.pr_auc["right"] + result.pr_auc["wrong"]) / 2
    empty = pr_auc.score(np.zeros((0, 2)), np.zeros((0, 2)), ["right", "wrong"])
    assert empty.undefined == ("right", "wrong")
    assert math.isnan(empty.mean_pr_auc) and math.isnan(empty.mean_average_precision)


def test_a_constant_score_has_its_prevalence_as_average_precision():
    labels = np.zeros(1000, np.int64)
    labels[:10] = 1
    trapezoid, average = one(labels, np.full(1000, 0.5))
    assert average == pytest.approx(0.01, abs=1e-12)
    assert trapezoid == pytest.approx(0.505, abs=1e-12)  # Known to flatter.


def test_a_separable_class_with_tiny_scores_has_area_one():
    labels = np.repeat([0, 1], 500)
    scores = np.linspace(0.0001, 0.0049, 1000).astype(np.float32)
    assert one(labels, scores) == (1.0, 1.0)


def test_scores_one_float32_step_apart_are_told_apart():
    low = np.float32(0.7)
    high = np.nextafter(low, np.float32(1))
    assert one([0, 1], np.array([low, high])) == (1.0, 1.0)
    assert one([0, 1], np.array([low, low]))[1] == 0.5


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_a_score_that_is_not_finite_is_refused_by_example_and_class(bad):
    scores = np.full((3, 2), 0.5)
    scores[2, 1] = bad
    with pytest.raises(UserError, match=rf"score of example 2 for class b is {bad}, not a finite"):
        pr_auc.score(np.zeros((3, 2)), scores, ["a", "b"])


def test_a_label_other_than_zero_or_one_is_refused():
    with pytest.raises(UserError, match="label of example 1 for class a is 2, not 0 or 1"):
        pr_auc.score(np.array([[1], [2]]), np.zeros((2, 1)), ["a"])


def test_shapes_and_names_that_do_not_agree_are_refused():
    with pytest.raises(ValueError, match=r"must both be \[examples, 2\]"):
        pr_auc.score(np.zeros((3, 1)), np.zeros((3, 1)), ["a", "b"])
    with pytest.raises(ValueError, match="must both be"):
        pr_auc.score(np.zeros((3, 1)), np.zeros((2, 1)), ["a"])
    with pytest.raises(ValueError, match="comes twice"):
        pr_auc.score(np.zeros((3, 2)), np.zeros((3, 2)), ["a", "a"])


def test_unknown_labels_are_left_out_class_by_class():
    generator = np.random.default_rng(5)
    labels = generator.integers(-1, 2, (200, 3))
    scores = generator.uniform(size=(200, 3)).round(2)
    found = pr_auc.score(labels, scores, ["a", "b", "c"])
    for index, name in enumerate("abc"):
        known = labels[:, index] >= 0
        alone = pr_auc.score(labels[known, index, None], scores[known, index, None], [name])
        assert found.pr_auc[name] == alone.pr_auc[name]
        assert found.average_precision[name] == alone.average_precision[name]


def test_a_class_of_which_nothing_is_known_has_no_area():
    found = pr_auc.score(np.array([[-1, 1], [-1, 0]]), np.full((2, 2), 0.5), ["a", "b"])
    assert math.isnan(found.pr_auc["a"]) and found.undefined == ("a",)
    assert math.isfinite(found.mean_pr_auc)


def test_a_table_for_a_narrow_terminal_has_the_interval_of_average_precision_alone():
    names = ("a class of a long name", "mean")
    areas = {name: dict.fromkeys(names, 0.5) for name in ("pr_auc", "average_precision")}
    sure = {
        "pr_auc": dict.fromkeys(names, (0.1, 0.2)),
        "average_precision": dict.fromkeys(names, (0.3, 0.4)),
    }
    for columns, both in ((81, True), (80, False), (60, False)):
        text = pr_auc.table({**areas, "intervals": sure}, columns)
        assert ("0.100 to 0.200" in text) == both and "0.300 to 0.400" in text
    assert "interval" not in pr_auc.table(areas)
