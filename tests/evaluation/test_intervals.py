"""Intervals hold the truth as often as they say."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.stats import binom, norm

from cloudtf.evaluation import bootstrap, intervals, pr_auc


def true_average_precision(apart, share):
    """Of infinitely many images, whose positives score so many deviations higher."""
    at = norm.ppf((np.arange(200_000) + 0.5) / 200_000) + apart  # The scores of the positives.
    found = share * norm.sf(at - apart)
    return (found / (found + (1 - share) * norm.sf(at))).mean()


@pytest.mark.parametrize(
    ("images", "share", "apart"), [(240, 0.5, 2.5), (500, 0.3, 1.5), (1109, 0.25, 2.0)]
)
def test_intervals_of_areas_cover_the_truth_in_95_of_100_draws(images, share, apart):
    truth, draws = true_average_precision(apart, share), 1000
    random = np.random.default_rng(images)
    labels = random.random((images, draws)) < share
    scores = random.normal(size=labels.shape) + apart * labels
    names = list(range(draws))
    figures = pr_auc.score(labels, scores, names)
    found = bootstrap.areas(labels, scores, bootstrap.Resamples(images, seed=1, count=200))
    for points, resampled in (
        (figures.average_precision, found.average_precision),
        (figures.pr_auc, found.pr_auc),
    ):
        covered = 0
        for name in names:
            low, high = intervals.of_area(points[name], resampled[:, name], labels[:, name].sum())
            covered += low <= truth <= high
        # 93 to 97%, and 1,000 draws may be off by 1.4% about that.
        assert 0.92 <= covered / draws <= 0.98


def test_intervals_of_squared_errors_cover_the_truth_in_95_of_100_draws():
    images, draws = 300, 1000
    random = np.random.default_rng(3)
    chance = random.beta(0.8, 1.2, (images, draws))
    errors = (chance**1.5 - (random.random(chance.shape) < chance)) ** 2
    of_all = np.random.default_rng(4).beta(0.8, 1.2, 1_000_000)
    truth = ((of_all**1.5 - of_all) ** 2 + of_all * (1 - of_all)).mean()
    resampled = bootstrap.means(errors, bootstrap.Resamples(images, seed=1, count=200))
    found = [intervals.of_mean(*one) for one in zip(errors.mean(axis=0), resampled.T)]
    assert 0.92 <= np.mean([low <= truth <= high for low, high in found]) <= 0.98


def test_an_interval_of_a_proportion_never_covers_less_than_it_says():
    for of in (5, 50, 300):
        low, high = np.array([intervals.of_proportion(n, of) for n in range(of + 1)]).T
        for truth in (0.02, 0.5, 0.9, 0.94, 0.99):
            held = (low <= truth) & (truth <= high)
            assert binom.pmf(np.arange(of + 1), of, truth)[held].sum() >= 0.95


def test_all_of_few_is_not_certain():
    assert intervals.of_proportion(9, 9) == (pytest.approx(0.664, abs=1e-3), 1.0)
    assert intervals.of_proportion(0, 9) == (0.0, pytest.approx(0.336, abs=1e-3))
    assert intervals.of_area(1.0, np.ones(200), positives=9)[0] == pytest.approx(0.664, abs=1e-3)


def test_what_does_not_exist_has_no_interval():
    for found in (
        intervals.of_proportion(0, 0),
        intervals.of_area(math.nan, np.ones(9)),
        intervals.of_area(0.5, np.full(9, math.nan)),
        intervals.of_area(0.5, np.array([0.5, math.nan, math.nan])),
        intervals.of_mean(math.nan, np.ones(9)),
    ):
        assert all(math.isnan(value) for value in found)


def test_an_interval_lies_around_its_score_and_within_0_to_1():
    draws = np.random.default_rng(0).normal(0.97, 0.03, 500).clip(0.8, 1)
    low, high = intervals.of_area(0.97, draws)
    assert 0.8 < low < 0.97 < high < 1
    assert intervals.of_mean(0.25, np.array([0.2, 0.3])) == (
        pytest.approx(0.25 - 1.96 * math.sqrt(0.005), abs=1e-4),
        pytest.approx(0.25 + 1.96 * math.sqrt(0.005), abs=1e-4),
    )
