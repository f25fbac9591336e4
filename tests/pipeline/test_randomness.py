"""The random numbers behind the augmentation."""

import numpy as np
import pytest
import tensorflow as tf

from cloudtf.pipeline import randomness


def grid(epochs, examples):
    epoch, example = np.meshgrid(np.arange(epochs), np.arange(examples), indexing="ij")
    return np.stack([epoch.ravel(), example.ravel()], axis=1).astype(np.int32)


@pytest.fixture(scope="module")
def many():
    """19 numbers, as many as the augmentation draws, for 20 epochs of 5,000 examples."""
    return randomness.uniforms(2019, grid(20, 5000), 19).numpy()


def test_uniforms_lie_in_the_unit_interval_on_the_24_bit_grid(many):
    assert many.dtype == np.float32
    assert many.min() >= 0 and many.max() < 1
    assert np.array_equal(many * 2**24, np.round(many * 2**24))


def test_every_lane_is_uniform(many):
    for lane in many.T:
        counts = np.bincount((lane * 100).astype(int), minlength=100)
        chi_square = ((counts - 1000.0) ** 2 / 1000).sum()
        assert 45 < chi_square < 175  # 99 degrees of freedom: five deviations to either side


def test_lanes_examples_and_epochs_are_uncorrelated(many):
    cube = many.reshape(20, 5000, 19) - 0.5
    scale = 12.0
    between_lanes = scale * many.T.astype(float) @ (many - 0.5) / len(many)
    np.fill_diagonal(between_lanes, 0)
    assert np.abs(between_lanes).max() < 6 * np.sqrt(2 / len(many))
    next_example = scale * (cube[:, 1:] * cube[:, :-1]).mean(axis=(0, 1))
    next_epoch = scale * (cube[1:] * cube[:-1]).mean(axis=(0, 1))
    assert max(np.abs(next_example).max(), np.abs(next_epoch).max()) < 5 / np.sqrt(95_000)


def test_pairs_of_lanes_fill_the_square(many):
    for a, b in ((0, 1), (1, 2), (2, 3), (9, 10), (0, 18)):
        cells = (many[:, a] * 16).astype(int) * 16 + (many[:, b] * 16).astype(int)
        expected = len(many) / 256
        chi_square = ((np.bincount(cells, minlength=256) - expected) ** 2 / expected).sum()
        assert 145 < chi_square < 370  # 255 degrees of freedom


def test_different_seeds_epochs_and_examples_give_different_numbers(many):
    assert len(np.unique(many[:, :2], axis=0)) == len(many)
    keys = grid(2, 500)
    seeds = [randomness.uniforms(seed, keys, 2).numpy() for seed in (0, 1, 2, 2**31, 2**32 - 1)]
    for i, a in enumerate(seeds):
        for b in seeds[:i]:
            assert not (a == b).all(axis=1).any()
            assert abs(np.corrcoef(a.ravel(), b.ravel())[0, 1]) < 5 / np.sqrt(a.size)


def test_an_examples_numbers_depend_on_nothing_but_its_key_and_the_seed():
    keys = grid(3, 40)
    whole = randomness.uniforms(7, keys, 19).numpy()
    order = np.random.default_rng(0).permutation(len(keys))
    np.testing.assert_array_equal(randomness.uniforms(7, keys[order], 19), whole[order])
    np.testing.assert_array_equal(randomness.uniforms(7, keys[5:6], 4), whole[5:6, :4])
    tf.random.set_seed(99)
    for jit in (False, True):
        compiled = tf.function(lambda k: randomness.uniforms(7, k, 19), jit_compile=jit)
        np.testing.assert_array_equal(compiled(keys), whole)
