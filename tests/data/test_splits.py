import numpy as np
import pytest

from cloudtf.data import splits
from cloudtf.errors import UserError

RANDOM = np.random.default_rng(0)
# Rates of Fish, Flower, Gravel and Sugar in Kaggle's set, and two classes that are rare.
LABELS = (RANDOM.random((1000, 6)) < (0.50, 0.43, 0.53, 0.68, 0.01, 0.002)).astype(np.uint8)
KEYS = LABELS @ (2 ** np.arange(6))


@pytest.mark.parametrize("fraction", [0.05, 0.2, 0.5, 0.9])
def test_a_fraction_has_its_share_of_every_label_combination_to_within_one(fraction):
    taken = splits.stratified_fraction(LABELS, fraction, seed=2019)
    assert taken.sum() == round(1000 * fraction)
    for key in np.unique(KEYS):
        share = taken[key == KEYS]
        assert abs(share.sum() - fraction * len(share)) < 1 + 1e-9


def test_combinations_too_rare_to_divide_are_spread_and_not_an_error():
    singles = np.unpackbits(np.arange(256, dtype=np.uint8)[:, None], axis=1)
    taken = splits.stratified_fraction(singles, 0.25, seed=3)
    assert taken.sum() == 64
    assert np.abs(singles[taken].mean(axis=0) - 0.5).max() < 0.2


@pytest.mark.parametrize(
    "count, fraction, expected",
    [(1, 0.2, 0), (1, 0.9, 0), (2, 0.2, 1), (3, 0.9, 2), (10, 0.0, 0), (4, 0.01, 1)],
)
def test_neither_side_of_a_fraction_is_empty_where_that_can_be(count, fraction, expected):
    taken = splits.stratified_fraction(np.zeros((count, 2), np.uint8), fraction, seed=0)
    assert taken.sum() == expected


def test_folds_differ_by_one_at_most_in_all_and_in_each_combination():
    fold = splits.stratified_folds(LABELS, 7, seed=5)
    assert np.ptp(np.bincount(fold, minlength=7)) <= 1
    for key in np.unique(KEYS):
        assert np.ptp(np.bincount(fold[key == KEYS], minlength=7)) <= 1


def test_more_folds_than_images_are_refused():
    with pytest.raises(UserError, match=r"folds=5 is more than the 3 images"):
        splits.stratified_folds(np.zeros((3, 1), np.uint8), 5, seed=0)


@pytest.mark.parametrize("shares", [(0.8, 0.2), (0.2,) * 5])
def test_groups_stay_together_and_every_part_is_like_the_whole(shares):
    groups = [f"scene{i}" for i in np.random.default_rng(1).integers(0, 120, 1000)]
    part = splits.grouped(LABELS, groups, shares, seed=0)
    assert all(len(set(part[np.array(groups) == g])) == 1 for g in set(groups))
    assert np.abs(np.bincount(part) / 1000 - shares).max() < 0.02
    for i in range(len(shares)):
        assert np.abs(LABELS[part == i, :4].mean(0) - LABELS[:, :4].mean(0)).max() < 0.05


def test_as_many_groups_as_parts_leave_no_part_empty():
    part = splits.grouped(np.ones((9, 1), np.uint8), list("aaaaaaabc"), (0.8, 0.1, 0.1), seed=0)
    assert set(part) == {0, 1, 2}


def test_images_without_a_group_are_groups_of_their_own():
    part = splits.grouped(LABELS, [""] * 1000, (0.5, 0.5), seed=0)
    assert np.ptp(np.bincount(part)) <= 4


def test_fewer_groups_than_parts_are_refused():
    with pytest.raises(UserError, match=r"has 1 groups for 2 splits"):
        splits.grouped(LABELS, ["a"] * 1000, (0.8, 0.2), seed=0)


def test_the_seed_decides_and_nothing_else():
    same = [splits.stratified_fraction(LABELS, 0.2, seed=1) for _ in range(2)]
    np.testing.assert_array_equal(*same)
    assert (same[0] != splits.stratified_fraction(LABELS, 0.2, seed=2)).any()
    np.testing.assert_array_equal(*(splits.stratified_folds(LABELS, 4, seed=1) for _ in range(2)))
