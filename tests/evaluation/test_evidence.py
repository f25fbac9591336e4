"""What an evaluation says beside its scores is of the images that it should be of."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.special import expit

from cloudtf.data.photograph_table import Photographs
from cloudtf.evaluation import calibration, evidence, pr_auc
from cloudtf.model import calibration as model_calibration

CLASSES = ["Fish", "Sugar", "nowhere"]


def some(images, seed=0):
    """Labels and scores that are too sure; the last class is in no image."""
    random = np.random.default_rng(seed)
    logits = 1.5 * random.normal(size=(images, 3))
    labels = (random.random(logits.shape) < expit(logits)) & (np.arange(3) < 2)
    return labels.astype(np.float32), expit(3 * logits)


def gathered(labels, scores, **given):
    return evidence.gather(labels, scores, CLASSES, pr_auc.score(labels, scores, CLASSES), **given)


def test_every_measure_has_its_mean_and_its_interval():
    labels, scores = some(600)
    found = gathered(labels, scores)
    assert set(found.measures) == set(found.intervals)
    for measure, by_class in found.measures.items():
        assert set(by_class) == set(found.intervals[measure]) == {*CLASSES, "mean"}
        known = [by_class[name] for name in CLASSES if np.isfinite(by_class[name])]
        assert by_class["mean"] == pytest.approx(np.mean(known))
        for name in [*CLASSES, "mean"]:
            low, high = found.intervals[measure][name]
            if np.isfinite(by_class[name]):
                assert 0 <= low <= by_class[name] <= high
            else:
                assert name == "nowhere" and np.isnan([low, high]).all()
    for name in CLASSES[:2]:
        assert found.measures["ece_calibrated"][name] < found.measures["ece"][name] - 0.05
        assert found.measures["brier_calibrated"][name] < found.measures["brier"][name]


def test_of_scores_that_are_right_the_interval_of_the_calibration_error_begins_at_0():
    """And not of others, nor does the mean of classes of which one is wrong."""
    random = np.random.default_rng(5)
    chance = random.beta(0.8, 1.2, (400, 3))
    labels = (random.random(chance.shape) < chance).astype(int)
    low = [ends[0] for ends in gathered(labels, chance).intervals["ece"].values()]
    assert low == [0.0] * 4
    low = [ends[0] for ends in gathered(labels, chance**2).intervals["ece"].values()]
    assert min(low) > 0
    labels[:, 2] = -1
    found = gathered(labels, np.where([0, 1, 1], chance**2, chance)).intervals["ece"]
    assert found["Fish"][0] == 0 < found["mean"][0] and np.isnan(found["nowhere"]).all()


def test_with_folds_an_image_is_calibrated_by_the_other_folds():
    labels, scores = some(500)
    folds = np.random.default_rng(1).integers(0, 3, 500)
    found = gathered(labels, scores, fit_folds=folds).calibrated
    expected = calibration.fit(labels, scores, CLASSES, folds)
    np.testing.assert_array_equal(found.scores, expected.scores)
    assert (found.scores != gathered(labels, scores).calibrated.scores).any()
    for fold in range(3):
        others = folds != fold
        alone = calibration.fit(labels[others], scores[others], CLASSES)
        if alone.classes["Fish"]["method"] == expected.classes["Fish"]["method"]:
            applied = model_calibration.apply(alone.classes["Fish"], scores[~others, 0])
            np.testing.assert_array_equal(found.scores[~others, 0], applied)


def copies(*group):
    return Photographs(near_duplicates=(group,) if group else ())


def test_near_duplicates_are_a_group_where_two_of_them_are_there():
    names = ["a.jpg", "b.jpg", "c.jpg"]
    assert copies().shared_groups(names) is copies("a.jpg", "z.jpg").shared_groups(names) is None
    first, _, last = copies("c.jpg", "z.jpg", "a.jpg").shared_groups(names)
    assert first == last
    labels, scores = some(60)
    doubled = np.repeat(labels, 2, axis=0), np.repeat(scores, 2, axis=0)
    names = [f"{i}.jpg" for i in range(120)]
    pairs = tuple((f"{i}.jpg", f"{i + 1}.jpg") for i in range(0, 120, 2))
    found = gathered(*doubled, groups=Photographs(near_duplicates=pairs).shared_groups(names))
    assert len(set(found.resamples.groups)) == 60
    for even, odd in zip(found.calibrated.scores[::2], found.calibrated.scores[1::2]):
        np.testing.assert_array_equal(even, odd)


def test_intervals_of_groups_are_those_of_as_many_images_as_there_are_groups():
    """Each image four times: drawn one by one, they would seem to say twice as much."""
    labels, scores = some(150)
    groups = np.repeat(np.arange(150), 4)
    four = np.repeat(labels, 4, axis=0), np.repeat(scores, 4, axis=0)

    def width(found):
        low, high = found.intervals["average_precision"]["mean"]
        return high - low

    once, by_group, one_by_one = (
        width(gathered(labels, scores)),
        width(gathered(*four, groups=groups)),
        width(gathered(*four)),
    )
    assert by_group == pytest.approx(once, rel=0.1) and one_by_one < 0.65 * once
