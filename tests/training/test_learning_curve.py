"""What more images would bring is said where there are enough to tell, and as they would."""

from __future__ import annotations

import json

import numpy as np
import pytest
from scipy.special import expit

from cloudtf.model.logistic import LinearHead, RidgeLogistic
from cloudtf.training import learning_curve


def some(count, width, views=None, seed=0):
    random = np.random.default_rng(seed)
    features = random.normal(size=(count, width))
    labels = random.random((count, 2)) < expit(1.5 * features[:, :2])
    if views:
        features = features[:, None] + 0.1 * random.normal(size=(count, views, width))
    return features, labels.astype(np.float32)


@pytest.mark.parametrize("views", [None, 2])
def test_each_image_is_judged_by_those_of_the_other_folds_that_take_part(views):
    features, labels = some(120, 4, views)
    labels[:7, 0] = -1
    folds, part = np.arange(120) % 3, np.arange(120) % 2 == 0
    strengths = np.array([1.0, 30.0])
    found = RidgeLogistic(features, labels).held_out(folds, strengths, part)
    for fold in range(3):
        rows = part & (folds != fold)
        whole = RidgeLogistic(features, labels)
        masked = np.where(rows[:, None], labels, -1)
        whole._known, whole._positive = masked >= 0, masked > 0
        head = whole.fit(strengths)
        assert isinstance(head, LinearHead)
        odds = features.reshape(120, -1, 4).mean(axis=1) @ head.kernel + head.bias
        np.testing.assert_allclose(found[folds == fold], odds[folds == fold], atol=0.05)


def curve(count, width):
    features, labels = some(count, width)
    regressions = RidgeLogistic(features, labels)
    return learning_curve.measured(
        regressions, labels, np.arange(count) % 4, np.full(2, 1.0), seed=0
    )


def test_it_rises_where_there_is_more_to_learn_and_not_where_all_is_learnt():
    steep, flat = curve(1200, 100), curve(3000, 2)
    assert steep["images"] == [225, 450, 900]
    assert np.diff(steep["average_precision"]).min() > 0.01
    assert steep["gain"] == pytest.approx(np.diff(steep["average_precision"])[-1])
    assert 0 < steep["gain_interval"][0] < steep["gain"] < steep["gain_interval"][1]
    assert flat["gain_interval"][0] < 0.005 and abs(flat["gain"]) < 0.005


def test_it_is_written_where_there_are_images_enough(tmp_path):
    for count, there in ((399, False), (400, True)):
        features, labels = some(count, 3)
        learning_curve.write(
            str(tmp_path), RidgeLogistic(features, labels), labels,
            np.arange(count) % 4, np.ones(2), 0,
        )  # fmt: skip
        assert (tmp_path / learning_curve.NAME).exists() == there
    content = json.loads((tmp_path / learning_curve.NAME).read_text())
    assert set(content) == {"images", "average_precision", "gain", "gain_interval"}
