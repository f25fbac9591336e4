"""Thresholds are the best of all candidates, and lie where no rounding decides."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from cloudtf.errors import UserError
from cloudtf.evaluation import thresholds
from cloudtf.model import thresholds as model_thresholds
from cloudtf.submission import predictions

hundredths = st.integers(0, 100).map(lambda n: n / 100)
# Some scores equal, some neighbours closer than can be told apart.
examples = st.lists(
    st.tuples(
        st.booleans(),
        st.one_of(hundredths, st.floats(0, 1), st.integers(0, 9).map(lambda n: 0.5 + n * 4e-6)),
    ),
    min_size=1,
    max_size=60,
)


def candidates(labels, scores):
    """(threshold, precision, recall) in each gap between scores that is wide enough, exactly."""
    found, below = [], 0.0
    for score in sorted(set(scores)):
        wide = score - below >= 1e-5
        if wide or not found:
            threshold = below + (score - below) / 2 if wide else 0.0
            present = [label for label, s in zip(labels, scores) if s >= threshold]
            precision = Fraction(sum(present), len(present))
            found.append((threshold, precision, Fraction(sum(present), sum(labels))))
        below = score
    return found


@settings(max_examples=400, deadline=None)
@given(examples, st.integers(0, 100), st.integers(0, 100))
def test_thresholds_are_the_best_of_all_candidates(rows, recall_percent, precision_percent):
    labels, scores = [row[0] for row in rows], [row[1] for row in rows]
    chosen = thresholds.choose_thresholds(
        np.array(labels)[:, None],
        np.array(scores)[:, None],
        class_names=["a"],
        recall_target=recall_percent / 100,
        precision_target=precision_percent / 100,
    )["a"]
    assert chosen["recall"]["target"] == recall_percent / 100
    assert chosen["precision"]["target"] == precision_percent / 100
    all_there_are = candidates(labels, scores) if any(labels) else []
    reach_recall = [c for c in all_there_are if c[2] >= Fraction(recall_percent, 100)]
    reach_precision = [c for c in all_there_are if c[1] >= Fraction(precision_percent, 100)]
    for entry, reached, pick in (
        (chosen["recall"], reach_recall, max),
        (chosen["precision"], reach_precision, min),
    ):
        if not reached:
            assert entry["threshold"] is entry["precision"] is entry["recall"] is None
            continue
        threshold, precision, recall = pick(reached)
        assert entry["threshold"] == threshold
        assert entry["precision"] == float(precision)
        assert entry["recall"] == float(recall)
    if reach_precision:  # The most lenient one is also the one that finds the most.
        assert chosen["precision"]["recall"] == float(max(c[2] for c in reach_precision))


@settings(max_examples=200, deadline=None)
@given(examples, st.integers(0, 2**32 - 1))
def test_scores_that_are_off_by_less_than_half_a_gap_are_decided_alike(rows, seed):
    labels, scores = (np.array(column)[:, None] for column in zip(*rows))
    chosen = thresholds.choose_thresholds(
        labels,
        scores,
        recall_target=0.5,
        precision_target=0.5,
        confidence=0.8,
        beta=2,
        costs=(5, 1),
    )[0]
    # As a TFLite file, another machine or another reader of the CSV has them: never below 0.
    noise = np.random.default_rng(seed).uniform(-4.9e-6, 4.9e-6, scores.shape)
    assert set(chosen) == {*model_thresholds.KINDS}
    for entry in chosen.values():
        if entry["threshold"] is not None:
            present = scores >= entry["threshold"]
            assert ((scores + noise).clip(0, 1) >= entry["threshold"]).tolist() == present.tolist()
            assert (present & labels).sum() / labels.sum() == entry["recall"]
            assert (present & labels).sum() / present.sum() == entry["precision"]


def one_class(labels, scores, **targets):
    labels, scores = np.array(labels)[:, None], np.array(scores)[:, None]
    return thresholds.choose_thresholds(labels, scores, **targets)[0]


def test_a_recall_that_is_exactly_the_target_is_enough():
    entry = one_class(np.ones(50), np.arange(1, 51) / 100, recall_target=0.94)["recall"]
    assert (entry["threshold"], entry["recall"]) == (pytest.approx(0.035), 0.94)


def test_a_threshold_steps_over_gaps_that_are_too_narrow():
    labels = [1, 1, 0, 1, 1, 1]
    scores = [0.8, 0.500003, 0.500002, 0.500001, 0.5, 0.3]
    chosen = one_class(labels, scores, recall_target=0.6, precision_target=0.81)
    # Of five positives three are wanted: 0.500001 and more. Down to the gap under 0.5.
    assert chosen["recall"]["threshold"] == pytest.approx(0.4)
    assert chosen["recall"]["recall"] == 0.8
    # 5 of 6 are right over 0: the first gap that is wide enough, and has it.
    assert chosen["precision"]["threshold"] == 0.15
    # 100% is right over 0.500002, which is too near 0.500003: up to the gap under 0.8.
    chosen = one_class(labels, scores, precision_target=0.9)
    assert chosen["precision"]["threshold"] == pytest.approx(0.6500015)
    assert (chosen["precision"]["precision"], chosen["precision"]["recall"]) == (1.0, 0.2)


def test_ties_are_never_divided_and_the_ends_are_0_and_nothing():
    chosen = one_class([1, 0, 1, 0], [0.5] * 4, recall_target=0.5, precision_target=0.5)
    assert chosen["recall"]["threshold"] == chosen["precision"]["threshold"] == 0.25
    assert one_class([1, 0], [0.0, 0.0])["recall"]["threshold"] == 0.0
    assert one_class([1, 0], [3e-6, 0.9])["recall"]["threshold"] == 0.0
    # Only over a score within 1e-5 of another is all right: that is out of reach.
    assert one_class([1, 0], [0.500001, 0.5])["precision"]["threshold"] is None


def test_what_is_read_by_another_parser_decides_alike(tmp_path):
    """pandas' default before 3.1 is one unit off in the last place for some numbers."""
    rng = np.random.default_rng(3)
    labels = rng.random((4000, 1)) < 0.3
    scores = (0.7 * rng.random((4000, 1)) + 0.3 * labels).astype(np.float32)
    entry = thresholds.choose_thresholds(labels, scores, class_names=["a"])["a"]["recall"]
    path = str(tmp_path / "p.csv")
    predictions.write(path, [f"{i}.jpg" for i in range(4000)], scores, ["a"])
    exact = predictions.read(path)[1][:, 0]
    read = np.nextafter(exact, np.arange(4000) % 2)
    present = read >= entry["threshold"]
    assert (present & labels[:, 0]).sum() / labels.sum() == entry["recall"] >= 0.94


def test_a_precision_out_of_reach_is_null_rather_than_an_error():
    chosen = one_class([0, 1, 0], [0.9, 0.5, 0.1], precision_target=0.9)
    assert chosen["precision"] == {
        "target": 0.9,
        "threshold": None,
        "precision": None,
        "recall": None,
        "intervals": None,
        "confidence": None,
    }
    assert chosen["recall"]["threshold"] == pytest.approx(0.3)


def test_a_class_without_positives_has_no_threshold_and_others_are_unharmed():
    labels = np.array([[0, 1], [0, 0]])
    scores = np.array([[0.9, 0.8], [0.1, 0.2]])
    chosen = thresholds.choose_thresholds(labels, scores, class_names=["none", "some"])
    assert chosen["none"]["recall"]["threshold"] is None
    assert chosen["none"]["precision"]["threshold"] is None
    assert chosen["some"]["recall"]["threshold"] == 0.5


def test_targets_outside_zero_to_one_are_refused():
    for target in (-0.1, 1.1, float("nan")):
        with pytest.raises(ValueError, match="not between 0 and 1"):
            thresholds.choose_thresholds(np.ones((1, 1)), np.ones((1, 1)), recall_target=target)


def test_other_settings_outside_their_range_are_refused():
    one = np.ones((1, 1))
    for setting, words in (
        ({"confidence": 1.0}, "confidence of 1.0"),
        ({"confidence": float("nan")}, "confidence of nan"),
        ({"beta": 0}, "beta of 0"),
        ({"costs": (1, -1)}, "Costs of"),
        ({"costs": (1,)}, "Costs of"),
    ):
        with pytest.raises(ValueError, match=words):
            thresholds.choose_thresholds(one, one, **setting)


def test_without_class_names_classes_are_numbered():
    chosen = thresholds.choose_thresholds(np.eye(3), np.eye(3))
    assert list(chosen) == [0, 1, 2]
    named = thresholds.choose_thresholds(np.eye(3), np.eye(3), class_names=["a", "b", "c"])
    assert list(named.values()) == list(chosen.values())


def test_a_guarantee_steps_over_gaps_that_are_too_narrow_to_the_side_that_keeps_it():
    scores = np.linspace(0.5, 0.9, 100)
    plain = one_class(np.ones(100), scores)["recall_guaranteed"]
    assert plain["recall"] == 0.99 and scores[0] < plain["threshold"] < scores[1]
    scores[1] = scores[0] + 1e-7
    stepped = one_class(np.ones(100), scores)["recall_guaranteed"]
    assert stepped["recall"] == 1 and stepped["threshold"] == 0.25
    assert stepped["confidence"] == plain["confidence"] > 0.95
    # Of 29 finds, all right, 90% follow; the 30th cannot be told from the 29th.
    labels, scores = np.r_[np.ones(40), np.zeros(40)], np.linspace(0.9, 0.1, 80)
    assert one_class(labels, scores)["precision_guaranteed"]["recall"] == 29 / 40
    scores[29] = scores[28] - 1e-7
    assert one_class(labels, scores)["precision_guaranteed"]["recall"] == 30 / 40


def test_a_guarantee_out_of_reach_is_null_and_says_how_many_positives_would_do():
    few = one_class(np.ones(48), np.linspace(0.1, 0.9, 48))["recall_guaranteed"]
    nothing = dict.fromkeys(["threshold", "precision", "recall", "intervals", "confidence"])
    assert few == {"target": 0.94, **nothing, "needs": 49}
    assert one_class(np.ones(49), np.linspace(0.1, 0.9, 49))["recall_guaranteed"]["recall"] == 1
    none = one_class(np.zeros(9), np.linspace(0.1, 0.9, 9))
    assert none["recall_guaranteed"]["needs"] == 49 and none["precision_guaranteed"]["needs"] == 29
    assert one_class(np.ones(9), np.ones(9), recall_target=1)["recall_guaranteed"]["needs"] is None
    # Half of all finds are wrong, wherever the threshold lies: more of them would not help.
    wrong = one_class(np.arange(200) % 2, np.linspace(0.1, 0.9, 200) // 0.04 * 0.04)
    assert wrong["precision_guaranteed"]["needs"] is None
    # Ten of ten: three times as many do.
    right = one_class(np.r_[np.ones(10), np.zeros(10)], np.linspace(0.9, 0.1, 20))
    assert right["precision_guaranteed"]["needs"] == 29


@settings(max_examples=200, deadline=None)
@given(examples, st.floats(0.2, 5), st.floats(0, 10), st.floats(0, 10))
def test_the_best_f_beta_and_the_least_cost_are_those_of_all_candidates(rows, beta, miss, alarm):
    labels, scores = [row[0] for row in rows], [row[1] for row in rows]
    chosen = one_class(labels, scores, beta=beta, costs=(miss, alarm))
    if not any(labels):
        assert chosen["f_beta"]["threshold"] is chosen["cost"]["threshold"] is None
        return
    f_betas, costs = [], []
    for threshold, precision, recall in candidates(labels, scores):
        weighted = beta**2 * precision + recall
        f_betas.append(float((1 + beta**2) * precision * recall / weighted) if weighted else 0)
        missed = sum(labels) * (1 - recall)
        alarms = sum(s >= threshold for s in scores) * (1 - precision)
        costs.append(float(miss * missed + alarm * alarms) / len(labels))
    assert chosen["f_beta"]["f_beta"] == pytest.approx(max(f_betas), abs=1e-9)
    assert chosen["cost"]["cost"] == pytest.approx(min(costs), abs=1e-9)


def test_examples_whose_label_is_unknown_have_no_say():
    generator = np.random.default_rng(6)
    labels = generator.integers(-1, 2, (200, 3))
    scores = generator.uniform(size=(200, 3)).round(2)
    chosen = thresholds.choose_thresholds(labels, scores, beta=2, costs=(1, 2))
    for index in range(3):
        known = labels[:, index] >= 0
        pairs = labels[known, index], scores[known, index]
        assert chosen[index] == one_class(*pairs, beta=2, costs=(1, 2))


def test_labels_of_one_and_minus_one_are_refused_since_minus_one_is_not_absent():
    with pytest.raises(UserError, match="All labels are 1 or -1, which is for unknown; give 0"):
        thresholds.choose_thresholds([[1], [-1]], [[0.9], [0.1]])


def test_dataframes_and_names_in_another_order_are_refused_and_others_are_arrays():
    labels = pd.DataFrame({"Fish": [1, 0, 1], "Sugar": [0, 1, 1]}, index=["a", "b", "c"])
    scores = pd.DataFrame({"Fish": [0.9, 0.2, 0.8], "Sugar": [0.1, 0.8, 0.7]}, index=labels.index)
    expected = thresholds.choose_thresholds(labels.to_numpy(), scores.to_numpy())
    for renamed in (scores, scores.add_prefix("p:").reset_index(drop=True)):
        assert thresholds.choose_thresholds(labels, renamed) == expected
    assert thresholds.choose_thresholds(labels.to_numpy().tolist(), scores) == expected
    with pytest.raises(ValueError, match="The columns of labels and scores are the same in anoth"):
        thresholds.choose_thresholds(labels, scores[["Sugar", "Fish"]])
    with pytest.raises(ValueError, match="The rows of labels and scores are the same in another"):
        thresholds.choose_thresholds(labels, scores.iloc[::-1])
    with pytest.raises(ValueError, match="The columns of labels and class_names are the same in"):
        thresholds.choose_thresholds(labels, scores, class_names=["Sugar", "Fish"])


def test_labels_that_are_no_table_and_examples_without_a_group_are_refused():
    with pytest.raises(ValueError, match=r"Labels \(3,\) are not \[examples, classes\]"):
        thresholds.choose_thresholds([1, 0, 1], [0.9, 0.2, 0.8])
    table = [[1], [0], [1]], [[0.9], [0.2], [0.8]]
    for missing in (None, float("nan")):
        with pytest.raises(ValueError, match="The group of example 1 is missing; give it one of"):
            thresholds.choose_thresholds(*table, groups=["a", missing, "b"])
    mixed = thresholds.choose_thresholds(*table, groups=["a", 1, "a"])
    assert mixed == thresholds.choose_thresholds(*table, groups=[0, 1, 0])


@pytest.mark.parametrize(
    ("positives", "kept"),
    [(48, None), (49, 49), (99, 98), (100, 99), (101, 100), (249, 241), (250, 242), (550, 527)],
)
def test_a_guaranteed_recall_keeps_as_few_as_the_law_allows_of_tied_scores_too(positives, kept):
    labels = (np.arange(positives + 300) < positives)[:, None]
    scores = np.where(labels, 0.6, 0.2) + np.linspace(0.3, 0, len(labels))[:, None]
    entry = thresholds.choose_thresholds(labels, scores)[0]["recall_guaranteed"]
    assert (entry["threshold"] is None) == (kept is None)
    if kept is None:
        assert entry["needs"] == 49
        return
    assert (scores[:positives] >= entry["threshold"]).sum() == kept
    sure = stats.beta.sf(0.94, kept, positives + 1 - kept)
    assert entry["confidence"] == pytest.approx(sure) and sure >= 0.95
    assert stats.beta.sf(0.94, kept - 1, positives + 2 - kept) < 0.95, "no fewer would do"
    tied = np.where(np.arange(len(labels))[:, None] >= kept // 2, scores.min(), 0.9)
    all_kept = thresholds.choose_thresholds(labels, tied)[0]["recall_guaranteed"]
    assert all_kept["recall"] == 1, "equal scores are never divided"
