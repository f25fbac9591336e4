"""Which classes are taken for which: counts of pairs, and the pairs that are worth a look."""

from __future__ import annotations

import numpy as np
import pytest

from cloudtf.evaluation import confusions


@pytest.fixture(scope="module")
def found():
    """300 images of 6 classes, where 3 is often called where 1 is, and 5 is called everywhere."""
    random = np.random.default_rng(0)
    labels = (random.random((300, 6)) < 0.3).astype(np.float32)
    labels[random.random(labels.shape) < 0.05] = -1
    called = np.where(random.random(labels.shape) < 0.1, labels <= 0, labels > 0)
    called[(labels[:, 1] > 0) & (random.random(300) < 0.5), 3] = True
    called[random.random(300) < 0.7, 5] = True
    return confusions.Confusions(labels, called)


def test_pairs_are_counted_where_the_one_is_known_to_be_there_and_the_other_not(found):
    of, false = found.falsely()
    for i in range(6):
        for j in set(range(6)) - {i}:
            rows = (found.labels[:, i] == 1) & (found.labels[:, j] == 0)
            assert of[i, j] == rows.sum()
            assert false[i, j] == (rows & found.called[:, j]).sum()
    for j, usual in enumerate(found.usual()):
        assert usual == pytest.approx(found.called[found.labels[:, j] == 0, j].mean())


def test_shares_together_are_of_the_images_with_the_first(found):
    for part, shares in zip((found.labels == 1, found.called), found.together()):
        for i in range(6):
            assert shares[i] == pytest.approx(part[part[:, i]].mean(axis=0), rel=1e-6)


def test_the_worst_pair_is_the_planted_one_and_not_a_class_called_everywhere(found):
    first = found.worst(3)[0]
    assert (first.shown, first.called) == (1, 3)
    assert first.images / first.of > 2 * first.usual
    assert first.in_labels < 0.4 < first.in_calls


def test_nothing_is_confused_where_all_is_right():
    labels = np.array([[1, 0], [0, 1], [1, 1], [0, 0]])
    assert confusions.Confusions(labels, labels > 0).worst(5) == []


def test_a_class_without_a_threshold_is_never_called():
    scores = np.array([[0.5, 1.0], [0.4, 0.9]])
    assert confusions.called(scores, [0.5, None]).tolist() == [[True, False], [False, False]]


def test_of_too_many_classes_the_most_frequent_are_looked_at():
    labels = np.array([[1, 0, 1, 0], [1, 0, 0, -1], [0, 1, 1, -1]])
    assert confusions.most_frequent(labels, 2).tolist() == [0, 2]
