"""Intervals hold the truth as often as they say."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.stats import binom, norm

from cloudtf.evaluation import bootstrap, evidence, intervals, pr_auc


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


def held(images, shares, apart, copies, draws):
    """How often the intervals of the first class and of the mean hold the average precision."""
    random, found = np.random.default_rng(images), []
    of_each = {share: true_average_precision(apart, share) for share in set(shares)}
    groups = np.repeat(np.arange(images), copies) if copies > 1 else None
    for _ in range(draws):
        labels = (random.random((images, len(shares))) < shares).astype(int)
        scores = norm.cdf(random.normal(size=labels.shape) + apart * labels)
        labels, scores = labels.repeat(copies, axis=0), scores.repeat(copies, axis=0)
        figures = pr_auc.score(labels, scores, list(range(len(shares))))
        ends = evidence.of_areas(labels, scores, figures, groups)["average_precision"]
        areas = figures.pr_auc.values()
        known = [share for share, area in zip(shares, areas) if not math.isnan(area)]
        mean = np.mean([of_each[share] for share in known]) if known else math.nan
        for name, truth in ((0, of_each[shares[0]]), ("mean", mean)):
            if not math.isnan(ends[name][0]):
                found.append((name == "mean", ends[name][0] <= truth <= ends[name][1]))
    found = np.array(found)
    return [found[found[:, 0] == which, 1].mean() for which in (0, 1)]


def test_of_few_positives_intervals_of_areas_are_wider_and_hold_the_truth(monkeypatch):
    """Of 8 classes with five positives each, in 80 of 100 draws with none of the two allowances."""
    monkeypatch.setattr(bootstrap, "RESAMPLES", 200)
    assert min(held(250, [0.02] * 8, 2.0, 1, 40)) >= 0.87


@pytest.mark.slow
@pytest.mark.parametrize(
    ("images", "shares", "apart", "copies"),
    [
        (250, [0.012], 1.5, 1),
        (250, [0.02] * 8, 2.0, 1),
        (250, [0.5, 0.3, 0.04, 0.02], 1.5, 1),
        (250, [0.9] * 4, 1.5, 1),
        (100, [0.2] * 4, 1.5, 3),
    ],
)
def test_intervals_of_areas_hold_the_truth_of_three_positives_or_hundreds(
    images, shares, apart, copies, monkeypatch
):
    monkeypatch.setattr(bootstrap, "RESAMPLES", 200)
    # 93% at least, and 300 draws may be off by 2.9% about that.
    assert min(held(images, shares, apart, copies, 300)) >= 0.9


def test_a_class_with_one_positive_may_score_anything_and_a_mean_with_it_is_less_sure():
    random = np.random.default_rng(0)
    labels = (random.random((200, 4)) < 0.3).astype(int)
    labels[:, 0] = np.arange(200) == 5
    scores = norm.cdf(random.normal(size=labels.shape) + 2 * labels)

    def ends(of):
        figures = pr_auc.score(labels[:, of], scores[:, of], list(range(len(of))))
        return evidence.of_areas(labels[:, of], scores[:, of], figures)["average_precision"]

    low, high = ends([0, 1, 2, 3])[0]
    assert low < 0.05 and high > 0.95
    without, with_it = (np.diff(ends(of)["mean"])[0] for of in ([1, 2, 3], [0, 1, 2, 3]))
    assert 2 * without < with_it < 0.7


def test_copies_make_no_area_surer():
    labels, scores = np.arange(20)[:, None] % 2, np.arange(20)[:, None] % 2 * 0.9 + 0.05
    once, four = ((labels.repeat(n, 0), scores.repeat(n, 0)) for n in (1, 4))
    low = [
        evidence.of_areas(*given, pr_auc.score(*given, ["a"]), groups)["pr_auc"]["a"][0]
        for given, groups in ((once, None), (four, np.repeat(np.arange(20), 4)))
    ]
    assert low[0] == low[1] == pytest.approx(0.69, abs=0.01), "ten of ten"


def test_squared_errors_of_a_class_that_is_in_no_image_are_not_certain():
    labels, scores = np.zeros((250, 1)), np.full((250, 1), 0.01)
    found = evidence.gather(labels, scores, ["a"], pr_auc.score(labels, scores, ["a"])).intervals
    for name in ("a", "mean"):
        low, high = found["brier"][name]
        assert low <= 0.0001 and 0.01 < high < 0.02, "as often as none of 250 allows"


@pytest.mark.parametrize("sure", [0.0, 0.001])
@pytest.mark.parametrize("copies", [1, 2])
def test_scores_that_are_all_right_are_not_certain(sure, copies):
    labels = (np.arange(100) % 2)[:, None].repeat(copies, axis=0)
    scores, groups = np.abs(labels - sure), np.repeat(np.arange(100), copies)
    figures = pr_auc.score(labels, scores, ["a"])
    found = evidence.gather(labels, scores, ["a"], figures, groups=groups).intervals
    for measure in ("brier", "ece"):
        low, high = found[measure]["a"]
        assert low < 1e-5 and high == pytest.approx(0.036, abs=2e-3), "none of 100 is wrong"
    for measure in ("pr_auc", "average_precision"):
        assert found[measure]["a"] == [pytest.approx(0.929, abs=1e-3), 1], "50 of 50"


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
