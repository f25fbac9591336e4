"""The interval of a calibration error holds it, however few the images and many the classes."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.special import expit, logit

from cloudtf.evaluation import bootstrap, calibration, calibration_interval

WRONG = {
    "sound": lambda p: p,
    "a little high": lambda p: expit(logit(p) + 0.3),
    "too high": lambda p: expit(logit(p) + 1),
    "too sure": lambda p: expit(1.3 * logit(p)),
    "bent": lambda p: p**3,
    "wrong at the top": lambda p: np.where(p > 0.7, 1 - (1 - p) / 3, p),
}
ONE_OF_FOUR = ("sound", "sound", "sound", "too high")


def logits(count, classes, alike, random):
    shared = random.normal(size=(count, 1))
    return 1.5 * (alike * shared + (1 - alike**2) ** 0.5 * random.normal(size=(count, classes)))


def true_errors(names, shift):
    """Those of infinitely many images, by class."""
    chance = expit(logits(300_000, 1, 0, np.random.default_rng(0))[:, 0] + shift)
    found = {}
    for name in set(names):
        said = WRONG[name](chance)
        off = (said - chance)[np.argsort(said)]
        found[name] = np.mean([abs(part.mean()) for part in np.array_split(off, calibration.BINS)])
    return np.array([found[name] for name in names])


def coverage(images, names, shift, copies, draws):
    """How often the interval of the first class holds its error, and that of the mean the mean."""
    random, held = np.random.default_rng(images), []
    truth = true_errors(names, shift)
    groups = np.repeat(np.arange(images), copies) if copies > 1 else None
    for seed in range(draws):
        chance = expit(logits(images, len(names), 0.5, random) + shift)
        labels = (random.random(chance.shape) < chance).astype(int).repeat(copies, axis=0)
        said = [WRONG[name](chance[:, i]) for i, name in enumerate(names)]
        scores = np.stack(said, axis=1).repeat(copies, axis=0)
        resamples = bootstrap.Resamples(len(labels), seed, 100, groups)
        drawn = calibration.ece_draws(labels, scores, resamples)
        found = calibration_interval.of_classes(labels, scores, drawn, groups)
        held.append([low <= of <= high for (low, high), of in zip(found, [*truth, truth.mean()])])
    return np.mean(held, axis=0)[[0, -1]]


@pytest.mark.parametrize(
    ("images", "names", "shift", "copies"),
    [(250, ONE_OF_FOUR, 0.0, 1), (250, ("too sure",) * 6, 0.0, 1), (150, ("bent",) * 4, -2.0, 2)],
)
def test_it_holds_the_error_in_95_of_100_draws(images, names, shift, copies):
    """As few as 17 of 100 intervals of the mean would, if the debiased errors were added up."""
    assert (coverage(images, names, shift, copies, 30) > 0.86).all()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("images", "names", "shift", "copies"),
    [
        *((250, (name,) * 4, -1.0, 1) for name in WRONG),
        (1000, ("a little high",) * 4, 0.0, 1),
        (250, ONE_OF_FOUR, 0.0, 3),
        (250, ONE_OF_FOUR * 3, -2.5, 1),
    ],
)
def test_it_holds_errors_of_every_shape_in_95_of_100_draws(images, names, shift, copies):
    # 93% at least, and 250 draws may be off by 3.2% about that.
    assert (coverage(images, names, shift, copies, 250) > 0.898).all()


def of(labels, scores):
    labels, scores = (np.asarray(part, float).reshape(len(part), -1) for part in (labels, scores))
    drawn = calibration.ece_draws(labels, scores, bootstrap.Resamples(len(labels), 0, 200))
    return calibration_interval.of_classes(labels, scores, drawn)


def test_large_errors_have_the_usual_interval_and_small_ones_a_wider_one():
    random = np.random.default_rng(2)
    chance = random.random(4000)
    labels = random.random(4000) < chance
    low, high = of(labels, chance**3)[0]
    assert 0.21 < low < 0.25 < high < 0.28
    low, high = of(labels, expit(logit(chance) + 0.1))[0]
    assert low == 0 and 0.02 < high < 0.05


@pytest.mark.parametrize("share", [0.0, 1.0])
def test_a_class_with_few_of_a_kind_has_what_its_mean_score_says(share):
    labels = np.full(200, share)
    labels[:3] = 1 - share
    low, high = of(labels, np.abs(share - np.full(200, 0.3)))[0]
    assert 0.25 < low < 0.285 and 0.3 < high < 0.35
    low, high = of(labels, np.abs(share - np.full(200, 0.01)))[0]
    assert low == 0 and 0.02 < high < 0.06
    alone, few, mean = of(
        np.stack([np.arange(200) % 2, labels], axis=1), np.full((200, 2), [0.5, abs(share - 0.3)])
    )
    assert mean == pytest.approx((np.array(alone) + few) / 2)


def test_nothing_is_certain_of_few_images():
    truth = np.arange(100) % 2
    assert of(truth, truth)[0] == (0, pytest.approx(0.036, abs=1e-3)), "none of 100 is wrong"
    assert of([1], [0.9])[0] == (0, 1)
    assert np.isnan(of([-1, -1], [0.2, 0.4])).all()
