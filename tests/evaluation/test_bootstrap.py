"""The bootstrap scores what resampling by hand scores."""

from __future__ import annotations

import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cloudtf.evaluation import bootstrap, pr_auc
from cloudtf.evaluation.bootstrap import Resamples

# Some equal scores, one class all but absent.
rows = st.lists(
    st.tuples(st.integers(0, 1), st.integers(0, 1), st.integers(0, 6), st.floats(0, 1)),
    min_size=2,
    max_size=40,
)


def weights(resamples):
    return np.concatenate(list(resamples.blocks()), axis=1).astype(int)


@settings(max_examples=60, deadline=None)
@given(rows, st.integers(0, 2**32))
def test_areas_are_those_of_the_images_drawn(drawn, seed):
    values = np.array(drawn, float)
    labels, scores = values[:, :2], values[:, 2:]
    resamples = Resamples(len(labels), seed, count=7)
    found = bootstrap.areas(labels, scores, resamples)
    for number, times in enumerate(weights(resamples).T):
        images = np.repeat(np.arange(len(labels)), times)
        by_hand = pr_auc.score(labels[images], scores[images], ["a", "b"])
        for areas, expected in (
            (found.pr_auc, by_hand.pr_auc),
            (found.average_precision, by_hand.average_precision),
        ):
            np.testing.assert_allclose(areas[number], list(expected.values()), rtol=0, atol=1e-12)


def test_unknown_labels_leave_an_image_out_of_that_class_alone():
    random = np.random.default_rng(0)
    labels, scores = random.integers(-1, 2, (50, 2)), random.random((50, 2))
    resamples = Resamples(50, count=9)
    found = bootstrap.areas(labels, scores, resamples).average_precision
    for number, times in enumerate(weights(resamples).T):
        for index in range(2):
            images = np.repeat(np.arange(50), times * (labels[:, index] >= 0))
            columns = labels[images, index : index + 1], scores[images, index : index + 1]
            expected = pr_auc.score(*columns, ["a"]).average_precision["a"]
            assert found[number, index] == pytest.approx(expected, abs=1e-12)


def test_means_are_those_of_the_images_drawn():
    random = np.random.default_rng(1)
    values = random.normal(size=(30, 2))
    values[:5, 1] = np.nan
    resamples = Resamples(30, count=70)
    found = bootstrap.means(values, resamples)
    assert found.shape == (70, 2)
    for row, times in zip(found, weights(resamples).T):
        images = np.repeat(np.arange(30), times)
        np.testing.assert_allclose(row, np.nanmean(values[images], axis=0), atol=1e-12)


def test_a_resample_has_as_many_images_as_there_are_each_as_likely():
    drawn = weights(Resamples(200, seed=3, count=2000))
    assert (drawn.sum(axis=0) == 200).all()
    assert drawn.mean(axis=1) == pytest.approx(1, abs=0.12)
    assert drawn.var() == pytest.approx(1, abs=0.02), "as Poisson has it, less 1 of 200"


def test_a_resample_depends_on_the_seed_and_its_number_alone():
    all_there_are = weights(Resamples(40, seed=5, count=200))
    np.testing.assert_array_equal(weights(Resamples(40, seed=5, count=70)), all_there_are[:, :70])
    assert (weights(Resamples(40, seed=6, count=200)) != all_there_are).any(axis=0).all()
    assert len(np.unique(all_there_are, axis=1).T) == 200, "no two are alike"


def test_groups_are_drawn_whole():
    groups = ["b", "a", "b", "c", "a", "b"]
    drawn = weights(Resamples(6, count=300, groups=groups))
    for name in "abc":
        members = drawn[[group == name for group in groups]]
        assert (members == members[0]).all()
    assert (drawn[[0, 1, 3]].sum(axis=0) == 3).all(), "three groups of three"


def test_a_class_that_cannot_be_scored_is_nan_and_left_out_of_the_mean():
    labels = np.array([[1, 0, 1], [0, 0, 1], [1, 0, 1]])
    found = bootstrap.areas(labels, np.random.default_rng(0).random((3, 3)), Resamples(3, count=80))
    assert np.isnan(found.pr_auc[:, 1:]).all()
    mean = bootstrap.mean_of_classes(found.pr_auc)
    np.testing.assert_array_equal(mean, found.pr_auc[:, 0])
    assert np.isnan(mean).any() and not np.isnan(mean).all(), "a resample may lack a label"


def test_nobody_waits_long_for_a_thousand_resamples():
    """5,546 images of four classes: some 2 s on one busy core, where 10 are allowed."""
    random = np.random.default_rng(0)
    labels = random.random((5546, 4)) < 0.5
    scores = random.normal(size=labels.shape) + labels
    began = time.process_time()
    assert bootstrap.areas(labels, scores, Resamples(5546)).pr_auc.shape == (1000, 4)
    assert time.process_time() - began < 10
    assert bootstrap.affordable(labels) == 1000
    assert bootstrap.affordable(np.ones((5000, 1000), np.int8)) == 200


def test_beside_training_resamples_take_less_than_a_second_or_there_are_none():
    small, large = np.ones((500, 4), np.int8), np.ones((9000, 4), np.int8)
    assert bootstrap.affordable_beside_training(small) == 1000
    count = bootstrap.affordable_beside_training(large)
    assert 200 < count < 1000
    scores = np.random.default_rng(0).random(large.shape)
    began = time.process_time()
    bootstrap.areas(large, scores, Resamples(len(large), count=count))
    assert time.process_time() - began < 2, "half of that on an idle machine"
    assert bootstrap.affordable_beside_training(np.ones((5000, 100), np.int8)) == 0
