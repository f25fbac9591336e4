"""Scale, shift, shear, aspect and crops as parts of the one map; sizes that differ; strengths."""

import math

import cv2
import numpy as np
import pytest
import tensorflow as tf

from cloudtf.errors import UsageError
from cloudtf.pipeline import affine, augment, distortion, randomness
from cloudtf.pipeline.augmentations import NAMES, Augmentations

HEIGHT, WIDTH = 40, 60
GEOMETRY = ("vertical_flip", "horizontal_flip", "rotation", *sorted(affine.NAMES))


def keys_of(count):
    return np.stack([np.zeros(count), np.arange(count)], axis=1).astype(np.int32)


def sources(ops, count, size=None):
    """Source columns and rows of the output's pixels: float64 [count, h, w] each."""
    maps = distortion.sample_maps(ops, 3, keys_of(count), HEIGHT, WIDTH, size=size)
    ax, bx, ay, by = (values.numpy() / 256 for values in maps[:4])
    return ax[:, None, :] + bx[:, :, None], ay[:, None, :] + by[:, :, None]


def step_by_step(ops, count):
    """The same from the numbers that are drawn, a 3 x 3 matrix for each augmentation."""
    lanes = randomness.uniforms(3, keys_of(count), 144).numpy().astype(np.float64)
    to_centre = np.array([[1, 0, -(WIDTH - 1) / 2], [0, 1, -(HEIGHT - 1) / 2], [0, 0, 1]])
    row, column = np.mgrid[:HEIGHT, :WIDTH]
    points = np.stack([column.ravel(), row.ravel(), np.ones(row.size)])
    for u in lanes:

        def drawn(lane, name, u=u):
            return name in ops.augmentations and u[lane] < ops.augment_probability

        def either_way(lane, limit, u=u):
            return (2 * u[lane] - 1) * limit

        flips, crop, turn, shear, zoom, shift = (np.eye(3) for _ in range(6))
        flips[1, 1] = -1 if drawn(0, "vertical_flip") else 1
        flips[0, 0] = -1 if drawn(1, "horizontal_flip") else 1
        if drawn(90, "crop"):
            area = 1 - u[91] * (1 - ops.crop_scale)
            ratio = (1 + ops.aspect_limit) ** (2 * u[92] - 1)
            across = min(max(math.sqrt(area * ratio), area), 1)
            down = area / across
            left, top = u[93] * (1 - across), u[94] * (1 - down)
            # Of the picture's coordinates, 0 to 1 along each side, to those of the crop.
            crop[0, 0], crop[1, 1] = across, down
            crop[0, 2] = (left + across / 2 - 0.5) * WIDTH
            crop[1, 2] = (top + down / 2 - 0.5) * HEIGHT
        if drawn(2, "rotation"):
            angle = math.radians(either_way(3, ops.rotation_degrees))
            turn[:2, :2] = [
                [math.cos(angle), -math.sin(angle)],
                [math.sin(angle), math.cos(angle)],
            ]
        if drawn(85, "shear"):
            limit = math.radians(ops.shear_degrees)
            shear[0, 1], shear[1, 0] = (math.tan(either_way(lane, limit)) for lane in (86, 87))
        scale = 1 + either_way(81, ops.scale_limit) if drawn(80, "scale") else 1
        ratio = (1 + ops.aspect_limit) ** (2 * u[89] - 1) if drawn(88, "aspect") else 1
        zoom[0, 0], zoom[1, 1] = 1 / scale / math.sqrt(ratio), 1 / scale * math.sqrt(ratio)
        if drawn(82, "shift"):
            shift[0, 2] = -either_way(83, ops.shift_limit) * WIDTH
            shift[1, 2] = -either_way(84, ops.shift_limit) * HEIGHT
        whole = np.linalg.inv(to_centre) @ flips @ crop @ turn @ shear @ zoom @ shift @ to_centre
        yield (whole @ points)[:2].reshape(2, HEIGHT, WIDTH)


@pytest.mark.parametrize("names", [(name,) for name in sorted(affine.NAMES)] + [GEOMETRY])
def test_sources_are_those_of_one_matrix_after_the_other(names):
    ops = Augmentations(augmentations=names, augment_probability=0.8, scale_limit=0.6)
    x, y = sources(ops, 24)
    expected = np.array(list(step_by_step(ops, 24)))
    assert (np.abs(expected[:, 0] - np.arange(WIDTH)).max(axis=(1, 2)) > 0.5).sum() >= 12
    np.testing.assert_allclose(x, expected[:, 0], atol=1 / 128)
    np.testing.assert_allclose(y, expected[:, 1], atol=1 / 128)


def test_a_crop_lies_in_the_picture_and_has_the_area_that_was_drawn():
    ops = Augmentations(augmentations=("crop",), augment_probability=1.0, crop_scale=0.2)
    x, y = sources(ops, 3000)
    across, down = x[:, 0, 1] - x[:, 0, 0], y[:, 1, 0] - y[:, 0, 0]
    # Half an output pixel beyond the first and the last.
    assert (x[:, 0, 0] - across / 2).min() >= -0.51
    assert (x[:, 0, -1] + across / 2).max() <= WIDTH - 0.49
    assert (y[:, 0, 0] - down / 2).min() >= -0.51
    assert (y[:, -1, 0] + down / 2).max() <= HEIGHT - 0.49
    across = (x[:, 0, -1] - x[:, 0, 0]) / (WIDTH - 1)
    down = (y[:, -1, 0] - y[:, 0, 0]) / (HEIGHT - 1)
    counts = np.histogram(across * down, 8, (0.2, 1.0))[0]
    assert counts.sum() >= 2990 and ((counts - 375.0) ** 2 / 375).sum() < 32
    assert np.quantile(across / down, [0, 0.5, 1]) == pytest.approx([1 / 1.33, 1, 1.33], rel=0.03)


def test_what_shrinks_and_moves_a_picture_far_is_reflected_as_often_as_needed(photograph):
    image = np.ascontiguousarray(photograph[::10, ::10][:HEIGHT, :WIDTH])
    ops = Augmentations(
        augmentations=("rotation", "scale", "shift", "shear", "aspect"),
        augment_probability=1.0,
        scale_limit=0.9,
        shift_limit=1.0,
        shear_degrees=30.0,
        rotation_degrees=180.0,
        aspect_limit=3.0,
    )
    maps = distortion.sample_maps(ops, 3, keys_of(200), HEIGHT, WIDTH)
    # Whole positions, so that the result is a plain look-up.
    whole = [values // 256 * 256 for values in maps[:4]]
    ax, bx, ay, by = (values.numpy() // 256 for values in whole)
    x, y = ax[:, None, :] + bx[:, :, None], ay[:, None, :] + by[:, :, None]
    assert np.abs(x).max() > 5 * WIDTH

    def reflected(position, length):
        position = position % (2 * length - 2)
        return np.minimum(position, 2 * length - 2 - position)

    expected = image[reflected(y, HEIGHT), reflected(x, WIDTH)]
    found = augment.apply_maps(
        tf.constant(np.stack([image] * 200)),
        maps._replace(**dict(zip(("ax", "bx", "ay", "by"), whole))),
        whole_batch=True,
        reach=affine.reach(ops),
    )
    np.testing.assert_array_equal(found, expected)


def test_another_size_comes_of_the_same_resampling(photograph):
    image = np.ascontiguousarray(photograph[:HEIGHT, :WIDTH])
    plain = Augmentations(augmentations=())
    images, keys = tf.constant(np.stack([image] * 3)), keys_of(3)
    half = augment.augment(images, keys, ops=plain, seed=3, size=(20, 30))
    # Half-way between pixels along both sides: the mean of four.
    expected = image.reshape(20, 2, 30, 2, 3).astype(int).sum(axis=(1, 3))
    np.testing.assert_array_equal(half[0], (expected + 2) // 4)
    assert augment.augment(images, keys, ops=plain, seed=3, size=(HEIGHT, WIDTH)) is images

    ops = Augmentations(augmentations=GEOMETRY, augment_probability=0.8)
    x, y = sources(ops, 3, size=(23, 35))
    found = augment.augment(images, keys, ops=ops, seed=3, size=(23, 35)).numpy()
    at_once = augment.augment(images, keys, ops=ops, seed=3, size=(23, 35), whole_batch=True)
    np.testing.assert_array_equal(found, at_once)
    for number in range(3):
        positions = (values[number].astype(np.float32) for values in (x, y))
        expected = cv2.remap(image, *positions, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT_101)
        assert np.abs(found[number].astype(int) - expected).mean() < 0.5
    # The same picture: its corners come from where those of the full size come from.
    full_x, _ = sources(ops, 3)
    np.testing.assert_allclose(x.mean(axis=(1, 2)), full_x.mean(axis=(1, 2)), atol=0.02)


def changed(maps, still, count):
    """How the examples differ from pictures that are left alone: bool [count]."""
    found = np.zeros(count, bool)
    for values, same in zip(maps, still):
        if values is not None:
            found |= (values.numpy() != same.numpy()).reshape(count, -1).any(axis=1)
    return found


def test_so_many_of_the_augmentations_are_drawn_for_each_image():
    from cloudtf.pipeline.draws import Draws

    ops = Augmentations(augmentations=NAMES, augment_ops=3)
    draws = Draws(ops, 3, keys_of(7000))
    drawn = np.stack([draws.chosen(name).numpy() for name in NAMES], axis=1)
    assert (drawn.sum(axis=1) == 3).all()
    np.testing.assert_allclose(drawn.mean(axis=0), 3 / len(NAMES), atol=0.03)
    together = drawn.T.astype(float) @ drawn / 7000
    np.fill_diagonal(together, 3 * 2 / len(NAMES) / (len(NAMES) - 1))
    np.testing.assert_allclose(together, together[0, 0], atol=0.02)


def test_more_than_there_are_cannot_be_drawn():
    with pytest.raises(UsageError, match=r"augment_ops=3 is more than the 2 of augmentations\."):
        Augmentations(augmentations=("erase", "grey"), augment_ops=3)


def test_the_strength_is_a_share_of_every_limit():
    names = tuple(name for name in NAMES if name not in ("vertical_flip", "horizontal_flip"))
    options = {"augmentations": names, "augment_probability": 1.0}
    halved = Augmentations(**options, augment_strength=0.5)
    limits = {
        name: getattr(halved, name) / 2
        for name in vars(halved)
        if name.endswith(("_limit", "_degrees"))
    }
    same = Augmentations(**options, **limits, crop_scale=1 - (1 - halved.crop_scale) / 2)
    maps, others = (
        distortion.sample_maps(ops, 3, keys_of(50), HEIGHT, WIDTH) for ops in (halved, same)
    )
    for found, expected in zip(maps, others):
        np.testing.assert_allclose(found.numpy(), expected.numpy(), atol=1)
    gone = Augmentations(**options, augment_strength=0.0)
    maps = distortion.sample_maps(gone, 3, keys_of(50), HEIGHT, WIDTH)
    still = distortion.sample_maps(
        Augmentations(augmentations=NAMES, augment_probability=0.0), 3, keys_of(50), HEIGHT, WIDTH
    )
    for name in ("ax", "bx", "ay", "by", "gain", "offset"):
        np.testing.assert_array_equal(getattr(maps, name), getattr(still, name))
