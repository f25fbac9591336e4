"""What a threshold promises holds on new images as often as it says."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.special import expit, logit
from scipy.stats import norm

from cloudtf.evaluation import guarantees, thresholds

DRAWS = 1000
# Of 1,000 draws of a promise that holds in 95%, fewer than 93.5% keep it in 1.5% of all tests.
KEPT = 0.935
# A positive scores two deviations higher than a negative; a quarter of the images are positive.
APART, SHARE = 2.0, 0.25


@pytest.fixture(scope="module", params=[50, 100, 250, 550, 1000])
def chosen(request):
    """The thresholds of 1,000 sets of so many positives: n and, by kind, the entries."""
    positives, random = request.param, np.random.default_rng(request.param)
    labels = np.zeros((int(positives / SHARE), DRAWS), bool)
    labels[:positives] = True
    scores = expit(random.normal(size=labels.shape) + APART * (labels - 0.5))
    found = thresholds.choose_thresholds(labels, scores).values()
    return positives, {kind: [entries[kind] for entries in found] for kind in next(iter(found))}


def truth(entries):
    """Recall and precision of each threshold on infinitely many images; NaN where there is none."""
    at = logit(np.array([np.nan if e["threshold"] is None else e["threshold"] for e in entries]))
    found, alarms = norm.sf(at - APART / 2), norm.sf(at + APART / 2)
    return found, SHARE * found / (SHARE * found + (1 - SHARE) * alarms)


def test_a_guaranteed_recall_holds_on_new_images_in_95_of_100_draws(chosen):
    positives, by_kind = chosen
    entries = by_kind["recall_guaranteed"]
    recall, _ = truth(entries)
    assert (recall >= 0.94).mean() >= KEPT
    assert min(entry["confidence"] for entry in entries) >= 0.95


def test_a_guaranteed_precision_holds_on_new_images_in_95_of_100_draws(chosen):
    positives, by_kind = chosen
    _, precision = truth(by_kind["precision_guaranteed"])
    there = np.isfinite(precision)
    assert (precision[there] >= 0.9).sum() + (~there).sum() >= KEPT * DRAWS
    # Where there is enough to show it, it is there.
    assert there.mean() >= {50: 0.02, 100: 0.1, 250: 0.4, 550: 0.4, 1000: 0.4}[positives]


def test_the_others_hold_as_often_as_they_say(chosen):
    """About every other time: a test of the guarantees that could not fail would show here."""
    positives, by_kind = chosen
    recall, _ = truth(by_kind["recall"])
    said = {entry["confidence"] for entry in by_kind["recall"]}
    assert len(said) == 1, "a matter of the number of positives alone"
    assert (recall >= 0.94).mean() == pytest.approx(said.pop(), abs=0.045)
    _, precision = truth(by_kind["precision"])
    said = np.array([entry["confidence"] for entry in by_kind["precision"]], float)
    there = np.isfinite(precision)
    assert (precision[there] >= 0.9).mean() == pytest.approx(said[there].mean(), abs=0.1)
    for found, target in ((recall, 0.94), (precision[there], 0.9)):
        assert (found >= target).mean() < 0.6


@pytest.mark.parametrize("alike", [0.3, 1.0])
def test_in_groups_a_promise_holds_for_new_groups(alike):
    """Pictures of one thing, 1 to 5: the more alike they are, the less of it if each counts."""
    things, random = 600, np.random.default_rng(round(10 * alike))
    groups = np.repeat(np.arange(things), random.choice([1, 1, 2, 3, 5], things))
    labels = (random.random((things, DRAWS)) < SHARE)[groups]
    common, own = random.normal(size=(things, DRAWS))[groups], random.normal(size=labels.shape)
    scores = np.sqrt(alike) * common + np.sqrt(1 - alike) * own
    scores = expit(scores + APART * (labels - 0.5))

    def kept(**given):
        found = thresholds.choose_thresholds(labels, scores, **given)
        recall, _ = truth([entries["recall_guaranteed"] for entries in found.values()])
        _, precision = truth([entries["precision_guaranteed"] for entries in found.values()])
        there = np.isfinite(precision)
        return (recall >= 0.94).mean(), (precision[there] >= 0.9).mean(), there.mean()

    recall, precision, there = kept(groups=groups)
    assert recall >= KEPT and precision >= KEPT
    assert there > 0.1, "it is worth something"
    if alike == 1:
        assert max(kept()[:2]) < 0.9, "counted one by one they break it: so this can fail"


def test_examples_in_groups_are_worth_less_and_say_how_many_would_do():
    """40 things thrice, each in the same words: as of 40, but it takes thrice 49 of them."""
    random = np.random.default_rng(0)
    labels = np.arange(80)[:, None] % 2
    scores = expit(random.normal(size=labels.shape) + 4 * labels)
    once = thresholds.choose_thresholds(labels, scores, recall_target=0.9)[0]
    thrice = thresholds.choose_thresholds(
        *(np.repeat(values, 3, axis=0) for values in (labels, scores)),
        recall_target=0.9,
        groups=np.repeat([f"thing {i}" for i in range(80)], 3),
    )[0]
    for kind in ("recall", "precision", "recall_guaranteed"):
        for key in ("threshold", "precision", "recall", "confidence"):
            assert thrice[kind][key] == pytest.approx(once[kind][key])
        for end in ("recall", "precision"):
            assert thrice[kind]["intervals"][end] == pytest.approx(once[kind]["intervals"][end])
    needs = [
        thresholds.choose_thresholds(
            *(np.repeat(values, times, axis=0) for values in (labels, scores)),
            groups=np.repeat(np.arange(80), times),
        )[0]["recall_guaranteed"]["needs"]
        for times in (1, 3)
    ]
    assert needs == [49, 147]
    assert guarantees.effective_sizes(np.array([4, 4, 4, 7])).tolist() == [1, 1, 1, 1.6]
    with pytest.raises(ValueError, match="3 groups are not one for each of 80"):
        thresholds.choose_thresholds(labels, scores, groups=[0, 1, 2])


def test_the_law_of_recall_is_that_of_order_statistics():
    misses = [1 - guarantees.recall_confidence(round(0.94 * n), n, 0.94) for n in (50, 100, 250)]
    assert [round(miss, 2) for miss in misses] == [0.65, 0.61, 0.57]
    for positives in (49, 100, 250, 550):
        keep = guarantees.positives_to_keep(positives, 0.94, 0.95)
        # Of the share of a uniform law that lies over its keep-th highest draw.
        random = np.random.default_rng(positives)
        drawn = np.sort(random.random((4000, positives)))[:, positives - keep]
        assert (1 - drawn >= 0.94).mean() == pytest.approx(
            guarantees.recall_confidence(keep, positives, 0.94), abs=0.015
        )
        if keep > 1:
            assert guarantees.recall_confidence(keep - 1, positives, 0.94) < 0.95


def test_the_order_of_tests_is_that_of_the_errors_that_may_be():
    """29 finds prove 90% if all are right, 46 with one wrong, 61 with two; others are not tried."""
    present = np.arange(1, 201)

    def proven(*wrong):
        right = present - np.array([sum(w <= n for w in wrong) for n in present])
        index, sure = guarantees.last_proven(right, present, 200, 0.9, 0.95)
        return None if index is None else (int(present[index]), sure >= 0.95)

    assert proven() == (191, True)
    assert proven(29) is None, "the strictest fails, and so no other is tried"
    assert proven(30, 47) == (191, True)
    assert proven(30, 31, 62) == (29, True), "two of 46: that is not proven, and ends it"
    assert proven(46, 61, 76, 77, 89) == (76, True)


def test_a_hopeless_target_is_never_proven_and_an_easy_one_always():
    present = np.arange(1, 51)
    assert guarantees.last_proven(present, present, 50, 1.0, 0.95) == (None, None)
    assert guarantees.last_proven(0 * present + 1, present, 50, 0.0, 0.95)[0] is not None
    assert guarantees.last_proven(present[:0], present[:0], 0, 0.9, 0.95) == (None, None)
