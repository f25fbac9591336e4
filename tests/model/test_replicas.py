"""Four logical CPU devices need a process of their own: devices are fixed at TensorFlow's start."""

import numpy as np
import pytest

from cloudtf.model.choices import LOSSES
from tests import programs

REPLICAS = 4


@pytest.fixture(scope="module")
def result(tmp_path_factory):
    path = str(tmp_path_factory.mktemp("replicas") / "model.keras")
    return programs.answer("four_replicas", path)


def assert_close(ones, others, tolerance):
    """Relative to each tensor's length: its small elements come out of cancellations."""
    for one, other in zip(ones, others):
        one, other = np.array(one), np.array(other)
        assert np.linalg.norm(other - one) <= tolerance * max(np.linalg.norm(one), 1e-3)


def test_with_sgd_replicas_equal_one_device_to_rounding(result):
    one, four = result["sgd"]
    assert len(one["losses"]) == 20 and abs(one["losses"][-1] - one["losses"][0]) > 0.01
    np.testing.assert_allclose(four["losses"], one["losses"], rtol=1e-5)
    for what in ("first_gradients", "last_gradients", "weights", "averages"):
        assert len(one[what]) == len(four[what]) > 5
        assert_close(one[what], four[what], 1e-5)


@pytest.mark.parametrize("optimizer", ["radam", "adam"])
def test_with_adaptive_optimizers_the_loss_is_the_same_to_a_thousandth(result, optimizer):
    one, four = result[optimizer]
    assert abs(one["losses"][-1] - one["losses"][0]) > 0.01
    np.testing.assert_allclose(four["losses"], one["losses"], rtol=1e-3)
    # Statistics averaged over the replicas: those of the whole batch.
    assert_close(one["averages"], four["averages"], 1e-2)


def test_plain_batch_norm_differs_from_the_first_step(result):
    apart, together = result["apart"], result["together"]
    assert abs(apart["losses"][0] - together["losses"][0]) > 1e-3
    gradients = zip(apart["first_gradients"], together["first_gradients"])
    assert max(np.abs(np.subtract(*pair)).max() for pair in gradients) > 1e-3


def test_replicas_are_judged_with_the_mean_of_their_averages(result):
    apart, merged = np.array(result["averages_apart"]), np.array(result["averages_merged"])
    assert len(apart) == REPLICAS and len(np.unique(apart, axis=0)) == REPLICAS
    for own in merged:
        np.testing.assert_allclose(own, apart.mean(axis=0), rtol=1e-5)
    assert len(np.unique(merged, axis=0)) == 1


def test_an_uneven_split_is_scored_once_and_exactly(result):
    one, four = result["scored"]
    assert one["numbers"] == four["numbers"] == list(range(13))
    assert one["labels"] == four["labels"] == result["truth"]
    np.testing.assert_allclose(four["scores"], one["scores"], rtol=0, atol=1e-6)
    assert four["pr_auc"] == one["pr_auc"]
    assert four["average_precision"] == one["average_precision"]


def test_replicas_draw_different_masks(result):
    masks = result["masks"]
    assert len({tuple(mask) for mask in masks}) == REPLICAS
    assert all(set(mask) == {0.0, 2.0} for mask in masks)


def test_the_first_replica_draws_as_a_single_device_does(result):
    from cloudtf.model.random_layers import FixedDropout, stochastic_step

    with stochastic_step(7, 3):
        alone = FixedDropout(0.5, name="drop")(np.ones([64], np.float32), training=True)
    assert alone.numpy().tolist() == result["masks"][0]


def test_a_mirrored_model_is_saved_as_any_other(result):
    assert result["saved_weights_equal"]
    np.testing.assert_allclose(*result["predictions"], rtol=0, atol=1e-6)


@pytest.mark.parametrize("name", LOSSES)
def test_every_loss_with_unknown_labels_is_the_same_on_replicas(result, name):
    one, four = result["losses"][name]
    assert len(one) == len(four) == 8
    np.testing.assert_allclose(four, one, rtol=1e-5)
