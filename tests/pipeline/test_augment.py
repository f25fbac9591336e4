"""Applying given maps: against exact arrays, tf.image, OpenCV and albumentations."""

import math

import cv2
import numpy as np
import pytest
import tensorflow as tf
from albumentations.augmentations.geometric import functional as albumentations

from cloudtf.pipeline import affine, augment, colour, distortion
from cloudtf.pipeline.augmentations import NAMES, Augmentations

JIT = pytest.mark.parametrize("jit", [False, True], ids=["eager", "jit"])


@pytest.fixture(scope="module")
def photo(photograph):
    """A photograph with sides that five cells divide, uint8 [120, 200, 3]."""
    return cv2.resize(photograph, (200, 120), interpolation=cv2.INTER_AREA)


@pytest.fixture(scope="module")
def smooth(photo):
    return cv2.GaussianBlur(photo, (0, 0), 4)


def make(
    size,
    *,
    vertical=False,
    horizontal=False,
    degrees=0.0,
    columns=(1.0,) * 5,
    rows=(1.0,) * 5,
    contrast=1.0,
    brightness=0.0,
):
    """The maps of one example."""
    maps = distortion.make_maps(
        tf.constant([vertical]),
        tf.constant([horizontal]),
        affine.rotation(tf.constant([math.radians(degrees)], tf.float32)),
        tf.constant([columns], tf.float32),
        tf.constant([rows], tf.float32),
        *size[:2],
    )
    gain, offset = colour.tone(
        tf.constant([contrast], tf.float32), tf.constant([brightness], tf.float32)
    )
    return maps._replace(gain=gain, offset=offset)


def apply(image, maps, jit=False):
    function = tf.function(augment.apply_maps, jit_compile=True) if jit else augment.apply_maps
    images = tf.constant(image[None])
    found = function(images, maps, whole_batch=True).numpy()[0]
    np.testing.assert_array_equal(found, augment.apply_maps(images, maps).numpy()[0])
    return found


def run(image, jit=False, **parameters):
    return apply(image, make(image.shape, **parameters), jit)


def source(maps):
    """Source columns and rows of every output pixel: two float32 [H, W]."""
    x, y = maps.ax[0, None, :] + maps.bx[0, :, None], maps.ay[0, None, :] + maps.by[0, :, None]
    return x.numpy().astype(np.float32) / 256, y.numpy().astype(np.float32) / 256


def remapped(image, maps):
    """OpenCV's resampling along the same maps."""
    return cv2.remap(image, *source(maps), cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT_101)


def error(a, b, border=0):
    inner = np.s_[border : a.shape[0] - border, border : a.shape[1] - border]
    difference = np.abs(a[inner].astype(int) - b[inner])
    return difference.mean(), difference.max()


@pytest.mark.parametrize("copies", [False, True])
def test_a_batch_in_turn_is_the_batch_at_once_to_the_bit(photo, monkeypatch, copies):
    """The host takes image after image, as suits its XLA, and an accelerator all at once."""
    monkeypatch.setattr(augment, "COPIES_IMAGE", copies)
    images = tf.stack([photo[i : i + 97, i : i + 101] for i in range(16)])
    keys = tf.stack([tf.zeros(16, tf.int32), tf.range(16)], axis=1)
    for ops in (Augmentations(), Augmentations(augmentations=NAMES)):
        in_turn = augment.augment(images, keys, ops=ops, seed=4)
        at_once = augment.augment(images, keys, ops=ops, seed=4, whole_batch=True)
        np.testing.assert_array_equal(in_turn, at_once)
        changed = (in_turn.numpy() != images.numpy()).any(axis=(1, 2, 3))
        assert changed.sum() >= 8


def row(*values):
    """A grey one-row image of three channels."""
    return np.repeat(np.array(values, np.uint8)[None, :, None], 3, axis=2)


@JIT
def test_nothing_asked_for_gives_the_image_to_the_bit(photo, jit):
    np.testing.assert_array_equal(run(photo, jit), photo)


@JIT
@pytest.mark.parametrize("size", [(120, 200), (33, 20), (1, 7), (7, 1), (1, 1)])
def test_flips_are_tf_image_to_the_bit(photo, jit, size):
    image = photo[: size[0], : size[1]]
    up_down, left_right = tf.image.flip_up_down, tf.image.flip_left_right
    np.testing.assert_array_equal(run(image, jit, vertical=True), up_down(image))
    np.testing.assert_array_equal(run(image, jit, horizontal=True), left_right(image))
    both = run(image, jit, vertical=True, horizontal=True)
    np.testing.assert_array_equal(both, up_down(left_right(image)))


@pytest.mark.parametrize("side", [2, 15, 64])
def test_quarter_turns_of_a_square_are_rot90(photo, side):
    image = photo[20 : 20 + side, 40 : 40 + side]
    for turns in (1, 2, 3):
        np.testing.assert_array_equal(run(image, degrees=90 * turns), np.rot90(image, turns))
    np.testing.assert_array_equal(run(image, degrees=-90), np.rot90(image, -1))


def test_a_quarter_turn_of_a_wide_image_keeps_its_centre_and_reflects_the_rest():
    grey = np.arange(3 * 5, dtype=np.uint8).reshape(3, 5)
    image = np.stack([grey, 10 * grey, 255 - grey], axis=-1)
    reflected = np.pad(image, ((1, 1), (0, 0), (0, 0)), "reflect")
    np.testing.assert_array_equal(run(image, degrees=90), np.rot90(reflected)[1:4])


def test_a_shift_by_half_a_pixel_is_the_rounded_mean_of_neighbours():
    image = row(10, 20, 31, 255, 0)
    maps = make(image.shape)
    # The neighbour beyond the last pixel is the one before it, reflected.
    moved = apply(image, maps._replace(ax=maps.ax + 128))
    np.testing.assert_array_equal(moved, row(15, 26, 143, 128, 128))
    column = np.transpose(image, (1, 0, 2))
    maps = make(column.shape)
    moved = apply(column, maps._replace(by=maps.by + 128))
    np.testing.assert_array_equal(moved, np.transpose(row(15, 26, 143, 128, 128), (1, 0, 2)))


def test_a_quarter_pixel_both_ways_weighs_four_pixels():
    image = np.array([[[0] * 3, [100] * 3], [[200] * 3, [40] * 3]], np.uint8)
    maps = make(image.shape)
    moved = apply(image, maps._replace(ax=maps.ax + 64, by=maps.by + 64))
    # 9/16 * 0 + 3/16 * 100 + 3/16 * 200 + 1/16 * 40
    assert moved[0, 0].tolist() == [round(58.75)] * 3


def test_outside_the_frame_the_image_is_reflected_without_its_edge():
    image = row(0, 10, 20, 30)
    maps = make(image.shape)
    for shift in range(-10, 8):
        expected = cv2.copyMakeBorder(image, 0, 0, 20, 20, cv2.BORDER_REFLECT_101)
        moved = apply(image, maps._replace(ax=maps.ax + 256 * shift))
        np.testing.assert_array_equal(moved, expected[:, 20 + shift : 24 + shift])


def test_a_stretched_cell_spans_its_factor_in_source_pixels():
    image = row(*range(0, 100, 10))
    # The first cell of five columns spans 10 source columns at half speed, then all goes on at 1.
    stretched = run(image, columns=(0.5, 1.0))
    np.testing.assert_array_equal(stretched, row(0, 5, 10, 15, 20, 25, 35, 45, 55, 65))
    shrunk = run(image, columns=(1.0, 1.4))
    np.testing.assert_array_equal(shrunk, row(0, 10, 20, 30, 40, 50, 64, 78, 88, 74))


def test_rows_and_columns_are_distorted_apart(photo):
    columns, rows = (0.7, 1.3, 1.0, 0.8, 1.1), (1.2, 0.9, 0.7, 1.3, 1.0)
    x, y = source(make(photo.shape, columns=columns, rows=rows))
    assert (x == x[0]).all() and (y == y[:, :1]).all()
    # Cell by cell, what each spans: 40 columns and 24 rows by its factor.
    np.testing.assert_allclose(np.diff(x[0, ::40]), [28, 52, 40, 32], atol=1 / 128)
    np.testing.assert_allclose(np.diff(y[::24, 0]), [28.8, 21.6, 16.8, 31.2], atol=1 / 128)
    np.testing.assert_allclose(
        np.diff(x[0])[[0, 50, 100, 150, 198]], [0.7, 1.3, 1, 0.8, 1.1], atol=1 / 128
    )


def test_brightness_adds_and_saturates():
    image = row(0, 100, 200, 250)
    np.testing.assert_array_equal(run(image, brightness=12.0), row(12, 112, 212, 255))
    np.testing.assert_array_equal(run(image, brightness=-12.5), row(0, 88, 188, 238))


def test_contrast_scales_about_mid_grey():
    image = row(0, 100, 127, 128, 155, 255)
    np.testing.assert_array_equal(run(image, contrast=0.5), row(64, 114, 127, 128, 141, 191))
    np.testing.assert_array_equal(run(image, contrast=2.0), row(0, 73, 127, 129, 183, 255))
    np.testing.assert_array_equal(run(image, contrast=0.0), row(*[128] * 6))


def test_every_grey_level_changes_as_the_formula_says():
    image = np.arange(256, dtype=np.uint8).reshape(1, 256, 1).repeat(3, axis=2)
    for contrast, brightness in ((1.2, 0), (0.8, 25.5), (1.0, -3.25), (1.07, 9.9)):
        exact = (np.arange(256) - 127.5) * contrast + 127.5 + brightness
        found = run(image, contrast=contrast, brightness=brightness)[0].T
        # The factor has 8 fractional bits: 255 / 512 of a level at most, beside the rounding.
        assert np.abs(found - np.clip(exact, 0, 255)).max() <= 1.01


@pytest.mark.parametrize("degrees", [-20.0, -7.3, 3.0, 20.0])
@pytest.mark.parametrize("distorted", [False, True])
def test_resampling_is_cv2_remap_with_reflection(photo, degrees, distorted):
    parameters = {"degrees": degrees, "horizontal": True}
    if distorted:
        parameters |= {"columns": (0.7, 1.3, 1.3, 1.1, 1.3), "rows": (1.3, 1.2, 0.9, 1.3, 1.25)}
    maps = make(photo.shape, **parameters)
    mean, largest = error(apply(photo, maps), remapped(photo, maps))
    assert mean <= 0.15 and largest <= 4
    # Most of that is OpenCV's: its positions have 5 fractional bits, these 8.
    coarse = maps._replace(**{k: getattr(maps, k) // 8 * 8 for k in ("ax", "bx", "ay", "by")})
    mean, largest = error(apply(photo, coarse), remapped(photo, coarse))
    assert mean <= 0.02 and largest <= 1


@pytest.mark.parametrize("size", [(120, 24), (24, 120), (64, 3), (2, 50)])
def test_the_strongest_allowed_maps_reflect_as_often_as_needed(photo, size):
    image = photo[:120, :120][: size[0], : size[1]]
    maps = make(size, degrees=90.0, columns=(1.9,) * 5, rows=(1.9,) * 5)
    # Whole positions, so that the result is a plain look-up.
    whole = maps._replace(**{k: getattr(maps, k) // 256 * 256 for k in ("ax", "bx", "ay", "by")})
    x, y = (position.astype(int) for position in source(whole))

    def reflected(position, length):
        position = position % (2 * length - 2)
        return np.minimum(position, 2 * length - 2 - position)

    assert max(x.max() / size[1], y.max() / size[0]) > 2
    expected = image[reflected(y, size[0]), reflected(x, size[1])]
    np.testing.assert_array_equal(apply(image, whole), expected)


@pytest.mark.parametrize("degrees", [-20.0, -11.0, 5.5, 20.0])
def test_rotation_is_that_of_albumentations_and_warp_affine(photo, degrees):
    found = run(photo, degrees=degrees)
    expected = albumentations.rotate(photo, degrees)
    mean, largest = error(found, expected)
    assert mean <= 0.15 and largest <= 4
    height, width = photo.shape[:2]
    matrix = cv2.getRotationMatrix2D(((width - 1) / 2, (height - 1) / 2), degrees, 1.0)
    warped = cv2.warpAffine(photo, matrix, (width, height), borderMode=cv2.BORDER_REFLECT_101)
    mean, largest = error(found, warped)
    assert mean <= 0.15 and largest <= 4
    # And not the other way round.
    assert error(found, albumentations.rotate(photo, -degrees))[0] > 10


@pytest.mark.parametrize("seed", range(4))
def test_grid_distortion_is_that_of_albumentations(smooth, seed):
    height, width = smooth.shape[:2]
    # It has a sixth factor for what five cells leave over: nothing here.
    columns, rows = np.random.default_rng(seed).uniform(0.7, 1.3, (2, 6))
    x, y = source(make(smooth.shape, columns=columns[:5], rows=rows[:5]))
    theirs_x, theirs_y = albumentations_positions(height, width, columns, rows)
    for mine, theirs, cells in ((x[0], theirs_x, width // 5), (y[:, 0], theirs_y, height // 5)):
        inside = theirs >= 0
        assert inside.mean() > 0.7
        assert np.abs(mine - theirs)[inside].max() <= 1.31
        # Its cells end where the next one begins, on the same source pixel twice: n pixels have
        # n - 1 steps. Here they have n. Nothing else differs.
        cell = np.arange(len(mine)) // cells
        begins = mine[cell * cells]
        same = begins + (theirs - begins) * (cells - 1) / cells
        np.testing.assert_allclose(mine[inside], same[inside], atol=0.02)
    found = run(smooth, columns=columns[:5], rows=rows[:5])
    assert error(found, albumentations.grid_distortion(smooth, 5, columns, rows))[0] <= 2
    swapped = run(smooth, columns=rows[:5], rows=columns[:5])
    assert error(swapped, albumentations.grid_distortion(smooth, 5, columns, rows))[0] > 4


def albumentations_positions(height, width, columns, rows):
    """Its source column of each column and source row of each row; -1 outside the frame."""
    x, y = np.meshgrid(np.arange(width, dtype=np.float32), np.arange(height, dtype=np.float32))
    options = {"border_mode": cv2.BORDER_CONSTANT, "value": -1000}
    x = albumentations.grid_distortion(x, 5, columns, rows, **options)[0]
    y = albumentations.grid_distortion(y, 5, columns, rows, **options)[:, 0]
    return np.maximum(x, -1), np.maximum(y, -1)


def test_the_order_is_vertical_flip_horizontal_flip_rotation_distortion(smooth):
    columns, rows = (0.75, 1.2, 0.9, 1.3, 0.8), (1.25, 0.8, 1.1, 0.7, 1.2)
    at_once = run(smooth, vertical=True, horizontal=True, degrees=17, columns=columns, rows=rows)
    turned = run(run(smooth, vertical=True, horizontal=True), degrees=17)
    one_by_one = run(turned, columns=columns, rows=rows)
    assert error(at_once, one_by_one, border=30)[0] <= 0.5
    assert error(at_once, one_by_one, border=30)[1] <= 3
    distorted_first = run(run(smooth, columns=columns, rows=rows), degrees=17)
    distorted_first = run(distorted_first, vertical=True, horizontal=True)
    assert error(at_once, distorted_first, border=30)[0] > 5
    # With one flip a turn before it is the opposite turn after it.
    flipped = run(smooth, horizontal=True, degrees=17)
    assert error(flipped, run(run(smooth, horizontal=True), degrees=17), border=30)[1] <= 1
    assert error(flipped, run(run(smooth, degrees=17), horizontal=True), border=30)[0] > 5


def test_the_order_is_that_of_the_original_notebooks_albumentations(smooth):
    columns, rows = (0.75, 1.2, 0.9, 1.3, 0.8, 1.0), (1.25, 0.8, 1.1, 0.7, 1.2, 1.0)
    expected = albumentations.rotate(smooth[::-1, ::-1].copy(), 12)
    expected = albumentations.grid_distortion(expected, 5, columns, rows)
    parameters = {"horizontal": True, "columns": columns[:5], "rows": rows[:5]}
    found = run(smooth, vertical=True, degrees=12, **parameters)
    assert error(found, expected, border=30)[0] <= 3
    opposite = run(smooth, vertical=True, degrees=-12, **parameters)
    assert error(opposite, expected, border=30)[0] > 10


def test_no_augmentations_leave_the_tensor_alone(photo):
    images = tf.constant(photo[None])
    keys = tf.zeros([1, 2], tf.int32)
    assert augment.augment(images, keys, ops=Augmentations(augmentations=()), seed=0) is images
