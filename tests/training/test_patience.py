"""The decisions of the PR-AUC callback on scripted sequences of scores."""

from __future__ import annotations

import json
import math

from cloudtf.training.patience import Patience


def decide(scores, **settings):
    """The epochs (from 1) at which the model is kept, the rate lowered, and training stopped."""
    patience = Patience(**settings)
    kept, lowered = [], []
    for epoch, score in enumerate(scores, start=1):
        decision = patience.update(score)
        if decision.is_best:
            kept.append(epoch)
        if decision.stop:
            return kept, lowered, epoch
        if decision.lower_rate:
            lowered.append(epoch)
    return kept, lowered, None


def test_a_rising_score_is_kept_each_time_and_never_stops():
    assert decide([0.1 * i for i in range(10)]) == (list(range(1, 11)), [], None)


def test_it_stops_after_five_epochs_without_a_better_score_and_halves_after_three():
    assert decide([0.8, 0.7, 0.7, 0.7, 0.7, 0.7, 0.9]) == ([1], [4], 6)


def test_a_slow_decline_after_the_best_stops_though_each_window_has_a_better_start():
    # The original notebook compares only with the epoch `patience` before; here the best came
    # earlier.
    scores = [0.90, 0.80, 0.81, 0.82, 0.83, 0.84, 0.85]
    assert decide(scores) == ([1], [4], 6)


def test_an_equal_score_is_not_better():
    assert decide([0.8] * 6) == ([1], [4], 6)


def test_a_new_best_begins_both_counts_anew():
    scores = [0.5, 0.4, 0.4, 0.6, 0.4, 0.4, 0.7, 0.4, 0.4, 0.4]
    assert decide(scores) == ([1, 4, 7], [10], None)


def test_the_plateau_count_begins_anew_each_time_the_rate_is_lowered():
    scores = [0.8] + [0.7] * 9
    assert decide(scores, stop_after=100, lower_after=3) == ([1], [4, 7, 10], None)


def test_min_delta_asks_for_a_real_gain():
    scores = [0.800, 0.805, 0.811, 0.815]
    assert decide(scores, min_delta=0.01) == ([1, 3], [], None)


def test_nan_is_never_the_best_and_counts_as_no_better():
    nan = math.nan
    assert decide([nan, nan, 0.3, nan, nan, nan]) == ([3], [6], None)
    assert decide([nan] * 5) == ([], [3], 5)


def test_a_new_stage_forgets_the_waits_but_not_the_best_score():
    patience = Patience(stop_after=2)
    for score in (0.9, 0.1):
        patience.update(score)
    patience.restart()
    assert not patience.update(0.5).is_best
    assert patience.update(0.5).stop


def test_its_state_goes_through_json_at_any_point_and_changes_nothing():
    scores = [math.nan, 0.5, 0.4, 0.6, 0.5, 0.5, 0.5, 0.61, 0.6, 0.6, 0.6, 0.6, 0.6]
    whole = Patience()
    expected = [whole.update(score) for score in scores]
    for cut in range(len(scores)):
        first, second = Patience(), Patience()
        decisions = [first.update(score) for score in scores[:cut]]
        second.restore(json.loads(json.dumps(first.state())))
        decisions += [second.update(score) for score in scores[cut:]]
        assert decisions == expected
