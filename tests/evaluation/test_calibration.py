"""Calibrated scores are probabilities on images that they were not fitted on."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.special import expit, logit
from sklearn.metrics import brier_score_loss, log_loss

from cloudtf.evaluation import bootstrap, calibration
from cloudtf.model import calibration as model_calibration

# How scores may be wrong, by what they make of the probability.
WRONG = {
    "sound": lambda p: p,
    "too sure": lambda p: expit(2 * logit(p)),
    "not sure enough": lambda p: expit(0.5 * logit(p)),
    "too high": lambda p: expit(logit(p) + 1),
    "bent": lambda p: p**3,
}


def some(count, seed, spread=2.0):
    """Probabilities, what they come to, and what is wrong with the scores, a column each."""
    random = np.random.default_rng(seed)
    truth = expit(spread * random.normal(size=(count, len(WRONG))))
    labels = random.random(truth.shape) < truth
    scores = np.stack([wrong(truth[:, i]) for i, wrong in enumerate(WRONG.values())], axis=1)
    return truth, labels, scores


@pytest.mark.parametrize("seed", range(4))
def test_of_5000_images_at_most_2_percent_of_error_are_left_and_no_brier_score_is_worse(seed):
    truth, labels, scores = some(5000, seed)
    found = calibration.fit(labels, scores, list(WRONG))
    # And on other images, so many that chance has no part in it.
    again = np.random.default_rng(seed + 100).random((20, *truth.shape)) < truth
    for i, name in enumerate(WRONG):
        before = calibration.ece(labels[:, i], scores[:, i])
        assert (before < 0.02) == (name == "sound"), "or there is nothing to mend"
        assert calibration.ece(labels[:, i], found.scores[:, i]) <= 0.02
        assert calibration.brier(labels[:, i], found.scores[:, i]) <= calibration.brier(
            labels[:, i], scores[:, i]
        )
        as_it_was, others = np.tile(scores[:, i], 20), again[:, :, i].reshape(-1)
        applied = model_calibration.apply(found.classes[name], as_it_was)
        assert calibration.ece(others, applied) <= 0.02
        assert brier_score_loss(others, applied) <= brier_score_loss(others, as_it_was)


def test_what_is_sound_stays_as_it_is():
    stayed = 0
    for seed in range(40):
        _, labels, scores = some(300, seed)
        stayed += calibration.fit(labels[:, :1], scores[:, :1], ["a"]).classes["a"] == {
            "method": "none"
        }
    assert stayed >= 25


def test_an_image_has_no_say_in_its_own_calibration():
    _, labels, scores = some(400, 0)
    parts = np.arange(400) % 4
    first = calibration.fit(labels, scores, list(WRONG), parts)
    for name, entry in first.classes.items():
        assert entry["method"] in model_calibration.METHODS, name
    changed = labels.copy()
    changed[7] = ~changed[7]
    second = calibration.fit(changed, scores, list(WRONG), parts)
    for index, name in enumerate(WRONG):
        if first.classes[name]["method"] == second.classes[name]["method"]:
            assert first.scores[7, index] == second.scores[7, index]


def test_the_temperature_is_that_of_the_least_log_loss():
    truth, labels, scores = some(2000, 5)
    entry = calibration._temperature(labels[:, 1], scores[:, 1])
    assert entry["temperature"] == pytest.approx(2, abs=0.3)

    def loss(times):
        other = {**entry, "temperature": entry["temperature"] * times}
        return log_loss(labels[:, 1], model_calibration.apply(other, scores[:, 1]))

    assert loss(1) < min(loss(1.02), loss(0.98))


def test_separable_and_one_sided_classes_are_left_alone_or_bounded():
    scores = np.linspace(0.01, 0.99, 200)[:, None]
    for labels in (scores > 0.5, scores > 2, scores < 2, scores > 0.97):
        found = calibration.fit(labels, scores, ["a"])
        assert np.isfinite(found.scores).all() and (found.scores >= 0).all()
        assert calibration.brier(labels[:, 0], found.scores[:, 0]) <= calibration.brier(
            labels[:, 0], scores[:, 0]
        )
    assert calibration.fit(scores > 0.97, scores, ["a"]).classes == {"a": {"method": "none"}}
    assert calibration.fit(np.zeros((0, 1)), np.zeros((0, 1)), ["a"]).scores.shape == (0, 1)


def test_unknown_labels_have_no_say():
    _, labels, scores = some(1000, 3)
    labels = labels.astype(int)
    unknown = np.random.default_rng(0).random(labels.shape) < 0.4
    parts = np.arange(1000) % 5
    found = calibration.fit(np.where(unknown, -1, labels), scores, list(WRONG), parts)
    for i, name in enumerate(WRONG):
        known = ~unknown[:, i]
        columns = labels[known, i : i + 1], scores[known, i : i + 1]
        alone = calibration.fit(*columns, ["a"], parts[known])
        assert alone.classes["a"] == found.classes[name]
        np.testing.assert_array_equal(alone.scores[:, 0], found.scores[known, i])
        masked = np.where(unknown[:, i], -1, labels[:, i])
        for measure in (calibration.brier, calibration.ece):
            expected = measure(labels[known, i], scores[known, i])
            assert measure(masked, scores[:, i]) == expected


def test_the_error_of_sound_scores_is_about_nothing_and_of_others_about_what_it_is():
    """The plain estimate of sound scores is 0.016: an error that is not there."""
    errors = []
    for seed in range(60):
        truth, labels, scores = some(5000, seed)
        errors.append([calibration.ece(labels[:, i], scores[:, i]) for i in (0, 3)])
    sound, high = np.mean(errors, axis=0)
    assert sound < 0.011
    assert high == pytest.approx(
        np.abs(WRONG["too high"](truth[:, 3]) - truth[:, 3]).mean(), abs=0.006
    )


def test_bins_have_as_many_images_each_and_equal_scores_one_bin():
    table = calibration.reliability(np.arange(1500) % 2, np.linspace(0, 1, 1500))
    assert table.images.tolist() == [100] * 15 and table.true.tolist() == [0.5] * 15
    assert calibration.reliability([1, 0, 0, 1] * 50, [0.5] * 200).true.tolist() == [0.5]
    assert calibration.reliability([1] * 35, np.linspace(0, 1, 35)).images.tolist() == [11, 12, 12]
    assert math.isnan(calibration.ece(np.zeros(0), np.zeros(0)))
    assert math.isnan(calibration.brier([-1], [0.5]))


def test_draws_of_the_error_are_those_of_the_images_drawn_each_bin_by_its_side():
    _, labels, scores = some(300, 1)
    resamples = bootstrap.Resamples(300, count=5)
    drawn = calibration.ece_draws(labels, scores, resamples)
    (weights,) = resamples.blocks()
    for row, times in zip(drawn, weights.T.astype(int)):
        for i in range(len(WRONG)):
            place = calibration._bins(scores[:, i], 15)
            off = scores[:, i] - labels[:, i]
            sides = [np.sign(off[place == b].sum()) for b in range(15)]
            off = [sides[b] * np.sum((times * off)[place == b]) for b in range(15)]
            assert row[i] == pytest.approx(sum(off) / 300, abs=1e-12)
