"""Drawing the maps: probabilities, ranges, and independence of everything but (seed, key)."""

import math

import numpy as np
import pytest
import tensorflow as tf

from cloudtf.pipeline import augment, distortion
from cloudtf.pipeline.augmentations import NAMES, Augmentations
from cloudtf.pipeline.maps import Maps

HEIGHT, WIDTH = 40, 60
ALL = Augmentations(augmentations=NAMES)


def keys_of(count, epoch=0):
    return np.stack([np.full(count, epoch), np.arange(count)], axis=1).astype(np.int32)


def only(name, **options):
    options.setdefault("augment_probability", 1.0)
    return Augmentations(augmentations=(name,), **options)


def sample(ops, keys, seed=1):
    maps = distortion.sample_maps(ops, seed, keys, HEIGHT, WIDTH)
    return Maps(*(m if m is None else m.numpy() for m in maps))


def run(images, keys, ops=ALL, seed=1):
    return augment.augment(tf.constant(images), tf.constant(keys), ops=ops, seed=seed).numpy()


def compiled(ops=ALL, seed=1, jit=True):
    return tf.function(
        lambda x, k: augment.augment(x, k, ops=ops, seed=seed, whole_batch=True), jit_compile=jit
    )


def degrees(maps):
    """The turn of each example, from how the source row falls along a row."""
    slope = (maps.ay[:, -1] - maps.ay[:, 0]) / 256 / (WIDTH - 1)
    return np.degrees(np.arcsin(slope))


@pytest.fixture(scope="module")
def images(photograph):
    """24 crops of a photograph, uint8 [24, 40, 60, 3]."""
    corners = [(40 + 13 * i, 20 + 23 * i) for i in range(24)]
    return np.stack([photograph[y : y + HEIGHT, x : x + WIDTH] for y, x in corners])


@pytest.mark.parametrize(
    "name, reference",
    [("vertical_flip", tf.image.flip_up_down), ("horizontal_flip", tf.image.flip_left_right)],
)
def test_a_flip_of_probability_one_is_tf_image_to_the_bit(images, name, reference):
    ops = only(name)
    expected = reference(images).numpy()
    np.testing.assert_array_equal(run(images, keys_of(24), ops), expected)
    np.testing.assert_array_equal(compiled(ops)(images, keys_of(24)), expected)


@pytest.mark.parametrize("name", NAMES)
def test_probability_zero_changes_nothing(images, name):
    ops = only(name, augment_probability=0.0)
    np.testing.assert_array_equal(run(images, keys_of(24), ops), images)


@pytest.mark.parametrize("name", NAMES)
def test_each_augmentation_is_drawn_half_of_the_time(name):
    identity = sample(only(name, augment_probability=0.0), keys_of(1))
    maps = sample(only(name, augment_probability=0.5), keys_of(4000))
    changed = np.zeros(4000, bool)
    for found, still in zip(maps, identity):
        if found is None:  # Grey levels are left alone.
            continue
        changed |= (found != still).reshape(4000, -1).any(axis=1)
    assert abs(changed.mean() - 0.5) < 5 * 0.5 / math.sqrt(4000)


def test_other_probabilities_are_kept():
    maps = sample(only("vertical_flip", augment_probability=0.1), keys_of(4000))
    assert abs((maps.by[:, 0] != 0).mean() - 0.1) < 5 * 0.3 / math.sqrt(4000)


def test_augmentations_are_drawn_independently():
    maps = sample(Augmentations(), keys_of(8000))
    # Read off the maps: flips by the direction in which source positions go, over the middle.
    horizontal = maps.ax[:, -1] < maps.ax[:, 0]
    vertical = maps.by[:, -1] < maps.by[:, 0]
    turned = maps.bx[:, 0] != maps.bx[:, -1]
    drawn = np.stack([horizontal, vertical, turned], axis=1)
    np.testing.assert_allclose(drawn.mean(axis=0), 0.5, atol=5 * 0.5 / math.sqrt(8000))
    patterns = np.bincount(drawn @ [1, 2, 4], minlength=8)
    assert ((patterns - 1000.0) ** 2 / 1000).sum() < 32  # 7 degrees of freedom


def test_angles_are_uniform_within_twenty_degrees_either_way():
    found = degrees(sample(only("rotation"), keys_of(4000)))
    assert np.abs(found).max() <= 20.01
    assert found.min() < -19.8 and found.max() > 19.8
    counts = np.histogram(found, 20, (-20.01, 20.01))[0]
    assert ((counts - 200.0) ** 2 / 200).sum() < 55  # 19 degrees of freedom
    narrow = degrees(sample(only("rotation", rotation_degrees=5.0), keys_of(500)))
    assert 4.8 < np.abs(narrow).max() <= 5.01


def test_cells_are_stretched_by_independent_factors_within_thirty_percent():
    maps = sample(only("grid_distortion"), keys_of(3000))
    columns, rows = maps.ax - maps.ax[:, :1], maps.by - maps.by[:, :1]
    # Inside each of the five cells of 12 columns and 8 rows.
    factors = [(columns[:, 12 * c + 11] - columns[:, 12 * c]) / 11 / 256 for c in range(5)]
    factors += [(rows[:, 8 * c + 7] - rows[:, 8 * c]) / 7 / 256 for c in range(5)]
    factors = np.stack(factors, axis=1)
    assert 0.695 < factors.min() < 0.71 and 1.29 < factors.max() < 1.305
    np.testing.assert_allclose(factors.mean(axis=0), 1, atol=5 * 0.3 / math.sqrt(3 * 3000))
    between = np.corrcoef(factors.T) - np.eye(10)
    assert np.abs(between).max() < 5 / math.sqrt(3000)
    # The first column and row stay where they are.
    np.testing.assert_array_equal(maps.ax[:, 0], 0)
    np.testing.assert_array_equal(maps.by[:, 0], 0)


def test_steps_and_limit_of_the_distortion_are_kept():
    ops = only("grid_distortion", distortion_steps=2, distortion_limit=0.1)
    slopes = np.diff(sample(ops, keys_of(50)).ax, axis=1) / 256
    assert slopes.min() > 0.89 and slopes.max() < 1.11
    for half in (slopes[:, :29], slopes[:, 30:]):
        assert np.ptp(half, axis=1).max() < 0.01


def test_brightness_and_contrast_stay_within_their_limits():
    bright = sample(only("brightness"), keys_of(3000))
    assert (bright.gain == 256).all()
    offsets = bright.offset / 256
    assert 25.3 < offsets.max() <= 25.51 and -25.51 <= offsets.min() < -25.3
    contrast = sample(only("contrast"), keys_of(3000))
    factors = contrast.gain / 256
    assert 1.195 < factors.max() <= 1.2 + 1 / 256 and 0.8 - 1 / 256 <= factors.min() < 0.805
    # Mid-grey stays.
    assert np.abs(127.5 * factors + contrast.offset / 256 - 127.5).max() < 0.3


def test_how_strongly_does_not_hang_on_whether():
    def strengths(name):
        maps = sample(only(name, augment_probability=0.5), keys_of(2000))
        found = {
            "rotation": lambda: degrees(maps) / 20,
            "grid_distortion": lambda: ((maps.ax[:, 11] - maps.ax[:, 0]) / 256 / 11 - 1) / 0.3,
            "brightness": lambda: maps.offset / 256 / 25.5,
            "contrast": lambda: (maps.gain / 256 - 1) / 0.2,
        }[name]()
        return found[np.abs(found) > 0.02]

    for name in ("rotation", "grid_distortion", "brightness", "contrast"):
        found = strengths(name)
        assert 850 < len(found) < 1110
        counts = np.histogram(found, 4, (-1.03, 1.03))[0]
        assert (np.abs(counts - len(found) / 4) < 5 * math.sqrt(len(found) * 3 / 16)).all()


def test_epochs_seeds_and_examples_draw_different_maps():
    drawn = [
        np.concatenate([np.ravel(m) for m in sample(ALL, np.array([[epoch, example]]), seed)])
        for seed in (0, 1)
        for epoch in range(3)
        for example in range(8)
    ]
    assert len(np.unique(np.stack(drawn), axis=0)) >= len(drawn) - 1  # Identity has 1 in 64.


def test_an_example_is_changed_alike_in_any_batch_at_any_place(images):
    function, keys = compiled(), keys_of(24, epoch=3)
    whole = function(images, keys).numpy()
    np.testing.assert_array_equal(function(images[5:6], keys[5:6]), whole[5:6])
    np.testing.assert_array_equal(function(images[::-1], keys[::-1]), whole[::-1])
    halves = [function(images[i : i + 7], keys[i : i + 7]) for i in range(0, 24, 7)]
    np.testing.assert_array_equal(np.concatenate(halves), whole)
    assert (whole != images).any(axis=(1, 2, 3)).mean() > 0.8


def test_eager_graph_compiled_and_dataset_map_agree(images):
    keys = keys_of(24, epoch=1)
    eager = run(images, keys)
    graph = compiled(jit=False)(images, keys).numpy()
    jit = compiled()(images, keys).numpy()
    dataset = tf.data.Dataset.from_tensor_slices((images, keys)).batch(8)
    mapped = dataset.map(compiled(), num_parallel_calls=2)
    plain = dataset.map(compiled(jit=False), num_parallel_calls=2)
    np.testing.assert_array_equal(np.concatenate(list(mapped.as_numpy_iterator())), jit)
    np.testing.assert_array_equal(np.concatenate(list(plain.as_numpy_iterator())), graph)
    # XLA may round a position otherwise: by 1/256 pixel, a grey level at most, and rarely.
    for other in (graph, jit):
        difference = np.abs(eager.astype(int) - other)
        assert difference.max() <= 1 and difference.mean() < 1e-3


def test_the_process_wide_seed_plays_no_part(images):
    first = run(images, keys_of(24))
    tf.random.set_seed(77)
    np.testing.assert_array_equal(run(images, keys_of(24)), first)
