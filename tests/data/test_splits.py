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


# Shape -> the mean deviation of a class's count from its share that the package
# iterative-stratification 0.1.9 leaves on `rare_labels`: the mean of five seeds, in a fifth of the
# images (MultilabelStratifiedShuffleSplit) and in five folds (MultilabelStratifiedKFold).
ITERATIVE = {
    (5546, 4): (0.0006, 0.0006),
    (2000, 20): (0.0271, 0.0370),
    (5000, 40): (0.0117, 0.0158),
    (1000, 60): (0.0682, 0.0784),
}


def rare_labels(count, classes):
    """Kaggle's four classes, or many of which the rarest are 0.6% of the images."""
    rates = (0.50, 0.43, 0.53, 0.68) if classes == 4 else np.geomspace(0.3, 0.006, classes)
    random = np.random.default_rng((count, classes))
    return (random.random((count, classes)) < rates).astype(np.uint8)


def deviation(labels, part, parts):
    """The mean over classes (and `parts`) of |count / share - 1|."""
    total = labels.sum(axis=0)
    shares = [total * (part == one).mean() for one in parts]
    counts = [labels[part == one].sum(axis=0) for one in parts]
    return np.abs(np.array(counts) / shares - 1).mean()


@pytest.mark.parametrize("shape", ITERATIVE)
def test_images_dealt_one_by_one_are_as_balanced_as_by_iterative_stratification(shape):
    labels = rare_labels(*shape)
    found = []
    for seed in range(5):
        strata = splits.stratified_fraction(labels, 0.2, seed)
        part = splits.one_by_one(labels, np.bincount(strata), seed)
        assert part.sum() == strata.sum() == round(0.2 * shape[0])
        sizes = np.bincount(splits.stratified_folds(labels, 5, seed))
        fold = splits.one_by_one(labels, sizes, seed)
        np.testing.assert_array_equal(np.bincount(fold), sizes)
        found.append((deviation(labels, part, [1]), deviation(labels, fold, range(5))))
    assert (np.mean(found, axis=0) <= 1.05 * np.array(ITERATIVE[shape])).all()


@pytest.mark.parametrize("shape", ITERATIVE)
def test_strata_are_kept_where_they_serve_and_only_there(shape):
    labels = rare_labels(*shape)
    for part in (
        splits.stratified_fraction(labels, 0.2, 0).astype(int),
        splits.stratified_folds(labels, 5, 0),
    ):
        assert splits.is_balanced(labels, part) == (shape == (5546, 4))


def test_a_class_with_an_image_for_each_part_is_in_each():
    labels = rare_labels(1000, 60)
    strata = splits.stratified_fraction(labels, 0.2, 0)
    assert labels[:, 42].sum() == 20 and labels[strata, 42].sum() == 0
    for seed in range(5):
        fold = splits.one_by_one(labels, [200] * 5, seed)
        for column in labels.T[labels.sum(axis=0) >= 5]:
            assert len(set(fold[column == 1])) == 5


def test_images_that_belong_together_stay_so_and_sizes_are_kept():
    together = [range(0, 7), (10, 500), (11, 501, 502)]
    part = splits.one_by_one(LABELS, [800, 200], 3, together)
    assert all(len(set(part[list(group)])) == 1 for group in together)
    assert part.sum() == 200
    assert splits.is_balanced(LABELS, part)
