"""Grey, exchanged channels and erasing, against plain numpy."""

import itertools

import numpy as np
import pytest

from cloudtf.pipeline import augment, randomness
from cloudtf.pipeline.augmentations import Augmentations

SEED, COUNT, HEIGHT, WIDTH = 5, 60, 24, 36
MEAN = (124, 116, 104)


@pytest.fixture(scope="module")
def images(photograph):
    corners = [(7 * i, 9 * i) for i in range(COUNT)]
    return np.stack([photograph[y : y + HEIGHT, x : x + WIDTH] for y, x in corners[:40]] * 2)[
        :COUNT
    ]


def keys_of(count):
    return np.stack([np.zeros(count), np.arange(count)], axis=1).astype(np.int32)


def lanes(count=COUNT):
    return randomness.uniforms(SEED, keys_of(count), 144).numpy()


def run(images, *names, whole_batch=True, **options):
    ops = Augmentations(augmentations=names, **options)
    keys = keys_of(len(images))
    return augment.augment(images, keys, ops=ops, seed=SEED, whole_batch=whole_batch).numpy()


def grey(image):
    luma = (image.astype(int) @ [77, 150, 29] + 128) >> 8
    return np.repeat(luma[..., None], 3, axis=-1)


def test_grey_is_the_luma_in_all_channels(images):
    found = run(images, "grey")
    for image, result, u in zip(images, found, lanes()[:, 95]):
        np.testing.assert_array_equal(result, grey(image) if u < 0.5 else image)
    assert 15 < (lanes()[:, 95] < 0.5).sum() < 45


def test_channels_are_put_in_any_of_the_five_other_orders(images):
    orders = list(itertools.permutations(range(3)))
    found, drawn = run(images, "channel_shuffle", augment_probability=0.7), []
    for image, result, u in zip(images, found, lanes()):
        if u[96] >= 0.7:
            np.testing.assert_array_equal(result, image)
            continue
        goes_to = orders[1 + int(u[97] * 5)]
        drawn.append(goes_to)
        for channel, place in enumerate(goes_to):
            np.testing.assert_array_equal(result[..., place], image[..., channel])
    assert set(drawn) == set(orders[1:])


def test_a_rectangle_gets_the_mean_colour_of_photographs(images):
    found = run(images, "erase", erase_limit=0.4)
    shares = []
    for image, result, u in zip(images, found, lanes()):
        if u[98] >= 0.5:
            np.testing.assert_array_equal(result, image)
            continue
        area = 0.02 + u[99] * 0.38
        down = np.clip(np.sqrt(area * (1 / 0.3) ** (2 * u[100] - 1)), area, 1)
        rows = max(1, round(float(down * HEIGHT)))
        columns = max(1, round(float(area / down * WIDTH)))
        top, left = int(u[101] * (HEIGHT + 1 - rows)), int(u[102] * (WIDTH + 1 - columns))
        expected = image.copy()
        expected[top : top + rows, left : left + columns] = MEAN
        np.testing.assert_array_equal(result, expected)
        shares.append(rows * columns / HEIGHT / WIDTH)
    assert 0.01 < min(shares) < 0.08 and 0.3 < max(shares) < 0.42


def test_grey_comes_before_exchanged_channels_and_erasing_comes_last(images):
    together = run(images, "contrast", "grey", "channel_shuffle", "erase", augment_probability=1.0)
    toned = run(images, "contrast", augment_probability=1.0)
    erased = run(np.stack([grey(image) for image in toned]).astype(np.uint8), "erase",
                 augment_probability=1.0)  # fmt: skip
    np.testing.assert_array_equal(together, erased)


def test_the_host_changes_colours_as_the_device_does(images):
    names = ("brightness", "grey", "channel_shuffle", "erase")
    in_turn = run(images, *names, whole_batch=False)
    np.testing.assert_array_equal(in_turn, run(images, *names))
    assert (in_turn != images).any(axis=(1, 2, 3)).sum() > 40
