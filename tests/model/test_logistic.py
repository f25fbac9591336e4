"""Logistic regressions that are solved together, against scikit-learn's one by one."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss

from cloudtf.model import logistic
from cloudtf.model.logistic import RidgeLogistic


def drawn(examples, features, classes, seed=0, rarity=1.0):
    """Features of unlike spread and labels that follow some of them: [N, F], [N, C]."""
    random = np.random.default_rng(seed)
    values = random.normal(size=[examples, features]) * random.uniform(0.1, 3, features) + 2
    weights = random.normal(size=[features, classes])
    odds = (values - 2) @ weights / np.sqrt(features) - rarity
    labels = (odds + random.logistic(size=odds.shape) > 0).astype(np.float32)
    return values.astype(np.float32), labels


def scaled(values):
    """Features as the docstring of the module says."""
    rows = values.reshape(-1, values.shape[-1]).astype(np.float64)
    rows = (rows - rows.mean(axis=0)) / np.sqrt(rows.std(axis=0))
    return rows / np.sqrt(np.mean(rows**2))


def reference(rows, labels, strength, weights=None):
    model = LogisticRegression(C=1 / strength, tol=1e-10, max_iter=10_000, solver="newton-cholesky")
    return model.fit(rows, labels, sample_weight=weights)


@pytest.mark.parametrize(("examples", "features"), [(300, 12), (60, 100)])
def test_each_class_is_what_scikit_learn_gives(examples, features):
    values, labels = drawn(examples, features, 5)
    strengths = np.array([0.1, 1.0, 10.0, 100.0, 1000.0])
    head = RidgeLogistic(values, labels).fit(strengths)
    odds = values @ head.kernel + head.bias
    for number, strength in enumerate(strengths):
        model = reference(scaled(values), labels[:, number], strength)
        np.testing.assert_allclose(
            odds[:, number], model.decision_function(scaled(values)), atol=2e-3
        )


def test_an_unknown_label_is_an_example_that_is_not_there():
    values, labels = drawn(200, 8, 3)
    hidden = np.random.default_rng(1).random(labels.shape) < 0.4
    head = RidgeLogistic(values, np.where(hidden, -1, labels)).fit(np.full(3, 5.0))
    rows = scaled(values)
    for number in range(3):
        known = ~hidden[:, number]
        model = reference(rows[known], labels[known, number], 5.0)
        np.testing.assert_allclose(
            values @ head.kernel[:, number] + head.bias[number],
            model.decision_function(rows),
            atol=2e-3,
        )


def test_views_share_the_weight_of_their_example():
    values, labels = drawn(150, 6, 2)
    views = np.stack([values, values + 0.3 * drawn(150, 6, 2, seed=1)[0]], axis=1)
    head = RidgeLogistic(views, labels).fit(np.full(2, 3.0))
    rows, repeated = scaled(views), np.repeat(labels, 2, axis=0)
    for number in range(2):
        model = reference(rows, repeated[:, number], 3.0, np.full(len(rows), 0.5))
        np.testing.assert_allclose(
            views.reshape(-1, 6) @ head.kernel[:, number] + head.bias[number],
            model.decision_function(rows),
            atol=2e-3,
        )


def test_the_strength_is_that_of_the_least_loss_on_the_folds_left_out():
    values, labels = drawn(160, 30, 4)
    folds = np.arange(160) % 4
    rows = scaled(values)
    for number, strength in enumerate(RidgeLogistic(values, labels).choose(folds)):
        losses = []
        for tried in logistic.STRENGTHS:
            total = 0.0
            for fold in range(4):
                out = folds == fold
                model = reference(rows[~out], labels[~out, number], tried)
                chances = model.predict_proba(rows[out])[:, 1]
                total += log_loss(labels[out, number], chances, labels=[0, 1], normalize=False)
            losses.append(total)
        assert strength == logistic.STRENGTHS[int(np.argmin(losses))]


def test_a_class_without_positives_or_negatives_is_a_constant():
    values, labels = drawn(50, 6, 4)
    labels[:, 0], labels[:, 1], labels[:, 2] = 0, 1, -1
    regressions = RidgeLogistic(values, labels)
    head = regressions.fit(regressions.choose(np.arange(50) % 4))
    chances = 1 / (1 + np.exp(-(values @ head.kernel + head.bias)))
    assert np.isfinite(head.kernel).all()
    for number, expected in enumerate((0.5 / 51, 50.5 / 51, 0.5)):
        np.testing.assert_allclose(chances[:, number], expected, rtol=1e-9)
    assert np.ptp(chances[:, 3]) > 0.1


def test_one_positive_leaves_every_number_finite():
    values, labels = drawn(40, 100, 2)
    labels[:, 0] = np.arange(40) == 7
    regressions = RidgeLogistic(values, labels)
    head = regressions.fit(regressions.choose(np.arange(40) % 4))
    assert np.isfinite(head.kernel).all() and np.isfinite(head.bias).all()


def test_features_that_never_vary_do_no_harm():
    values, labels = drawn(80, 5, 2)
    with_constants = np.hstack([values, np.full([80, 2], 7.0, np.float32)])
    head = RidgeLogistic(with_constants, labels).fit(np.full(2, 4.0))
    assert not head.kernel[5:].any()
    nothing = RidgeLogistic(np.ones([80, 3], np.float32), labels).fit(np.full(2, 4.0))
    assert not nothing.kernel.any()
    np.testing.assert_allclose(1 / (1 + np.exp(-nothing.bias)), labels.mean(axis=0), rtol=1e-4)


def test_classes_in_several_groups_are_as_in_one(monkeypatch):
    values, labels = drawn(120, 10, 7)
    folds = np.arange(120) % 4
    regressions = RidgeLogistic(values, labels)
    strengths = regressions.choose(folds)
    head = regressions.fit(strengths)
    monkeypatch.setattr(logistic, "_AT_ONCE", 1000)
    assert np.array_equal(regressions.choose(folds), strengths)
    np.testing.assert_allclose(regressions.fit(strengths).kernel, head.kernel, atol=1e-4)


def test_a_large_set_chooses_by_its_first_examples():
    values, labels = drawn(400, 10, 2)
    folds = np.arange(400) % 4
    few = RidgeLogistic(values, labels)
    other = labels.copy()
    other[100:] = 1 - other[100:]
    assert np.array_equal(
        few.choose(folds, max_examples=100),
        RidgeLogistic(values, other).choose(folds, max_examples=100),
    )
