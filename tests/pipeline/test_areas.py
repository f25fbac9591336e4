"""Labels stay where enough of their masks is in the picture, against masks of full resolution."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import tensorflow as tf

import cloudtf
from cloudtf.data import masks, rle
from cloudtf.pipeline import affine, areas, changes, colour, distortion, mixing
from cloudtf.pipeline.augmentations import Augmentations
from cloudtf.pipeline.draws import Draws
from cloudtf.synthetic.synthesize import SynthesizeConfig, synthesize

SEED, COUNT, NUM_CLASSES = 7, 96, 3
# Pictures of 28 x 28 cells, each of 4 x 6 pixels.
HEIGHT, WIDTH = 112, 168


def keys_of(count=COUNT):
    return np.stack([np.ones(count), np.arange(count)], axis=1).astype(np.int32)


def drawn_masks(on_grid):
    """Masks of full resolution, bool [COUNT, NUM_CLASSES, HEIGHT, WIDTH], some of them empty."""
    random = np.random.default_rng(int(on_grid))
    rows, columns = np.mgrid[:28, :28] if on_grid else np.mgrid[:HEIGHT, :WIDTH]
    found = []
    for _ in range(COUNT * NUM_CLASSES):
        mask = np.zeros(rows.shape, bool)
        for _ in range(random.integers(3)):
            row, column = random.integers(rows.shape[0]), random.integers(rows.shape[1])
            radius = rows.shape[0] * random.uniform(0.08, 0.4)
            mask |= (rows - row) ** 2 + (columns - column) ** 2 < radius**2
        found.append(mask.repeat(4, axis=0).repeat(6, axis=1) if on_grid else mask)
    return np.array(found).reshape(COUNT, NUM_CLASSES, HEIGHT, WIDTH)


def labels_of(full):
    return full.any(axis=(2, 3)).astype(np.float32)


def small(full, labels):
    """As records have them: a text for each image."""
    frame = (0.0, 0.0, float(HEIGHT), float(WIDTH))
    return np.array(
        [
            masks.encode(
                [
                    (number, rle.pack(rle.encode(mask)))
                    for number, mask in enumerate(own)
                    if mask.any()
                ],
                label,
                (HEIGHT, WIDTH),
                frame,
            )
            for own, label in zip(full, labels)
        ],
        object,
    )


def relabelled(full, ops, labels=None):
    labels = labels_of(full) if labels is None else labels
    made = changes.Changes(ops, SEED, on_host=True, has_masks=True)
    assert made.needs_masks
    found = made.labels(
        tf.constant(labels), tf.constant(keys_of()), tf.constant(small(full, labels)),
        (HEIGHT, WIDTH),
    )  # fmt: skip
    return found.numpy()


def overlap(pixels, low, high):
    """How much of each pixel of an axis lies between two positions: float64 [pixels]."""
    low, high = min(low, high), max(low, high)
    middle = np.arange(pixels)
    return np.clip(np.minimum(middle + 0.5, high) - np.maximum(middle - 0.5, low), 0, 1)


def sides(positions, begin, end):
    """Source positions of two edges between output pixels, of a map without distortion."""
    slope = (positions[-1] - positions[0]) / (len(positions) - 1)
    return positions[0] + (begin - 0.5) * slope, positions[0] + (end - 0.5) * slope


def seen_exactly(full, ops, boxes=None):
    """The share of each mask that is in the picture, or in `boxes` of it: float64 [COUNT, C].

    Of maps that neither turn nor slant: rows and columns apart.
    """
    maps = distortion.sample_maps(ops, SEED, tf.constant(keys_of()), HEIGHT, WIDTH)
    ax, by = (maps.ax + maps.bx[:, :1]).numpy() / 256, (maps.by + maps.ay[:, :1]).numpy() / 256
    erased = np.zeros((COUNT, 4), int) if maps.erased is None else maps.erased.numpy()
    boxes = np.array([[0, HEIGHT, 0, WIDTH]] * COUNT) if boxes is None else boxes
    result = []
    for number in range(COUNT):
        parts = []
        common = [
            min(max(edge, low), high)
            for edge, low, high in zip(
                erased[number],
                boxes[number][[0, 0, 2, 2]],
                boxes[number][[1, 1, 3, 3]],
            )
        ]
        for top, bottom, left, right in (boxes[number], common):
            rows = overlap(HEIGHT, *sides(by[number], top, bottom))
            columns = overlap(WIDTH, *sides(ax[number], left, right))
            parts.append(np.einsum("chw,h,w->c", full[number], rows, columns))
        result.append((parts[0] - parts[1]) / np.maximum(full[number].sum(axis=(1, 2)), 1))
    return np.array(result)


STRAIGHT = ("vertical_flip", "horizontal_flip", "crop", "scale", "shift", "aspect", "erase")
STRONG = {
    "augment_probability": 0.7,
    "crop_scale": 0.15,
    "scale_limit": 0.5,
    "shift_limit": 0.4,
    "erase_limit": 0.5,
}


@pytest.mark.parametrize("share", [0.25, 0.6])
@pytest.mark.parametrize("names", [("crop",), ("erase",), STRAIGHT], ids=["crop", "erase", "all"])
def test_no_label_differs_from_what_the_full_mask_gives(names, share):
    full = drawn_masks(on_grid=True)
    ops = Augmentations(augmentations=names, label_share=share, **STRONG)
    seen, labels = seen_exactly(full, ops), labels_of(full)
    found = relabelled(full, ops)
    np.testing.assert_array_equal(found, labels * (seen >= share - 1e-4))
    lost = (labels > found).sum()
    assert 3 <= lost <= 0.7 * labels.sum()


def seen_by_points(full, ops):
    """The same for any map: of each pixel of a mask, where its centre goes in the picture."""
    draws = Draws(ops, SEED, tf.constant(keys_of()))
    linear = [values.numpy().astype(float) for values in affine.sample(draws, ops, HEIGHT, WIDTH)]
    stretch = draws.cells(ops.limit("distortion_limit")).numpy()
    erased = colour.sample(draws, ops, HEIGHT, WIDTH)["erased"].numpy()
    flips = [draws.chosen(f"{name}_flip").numpy() for name in ("horizontal", "vertical")]
    centre = np.array([(WIDTH - 1) / 2, (HEIGHT - 1) / 2])
    result = []
    for number in range(COUNT):
        xx, xy, yx, yy, x, y = (values[number] for values in linear)
        shares = []
        for mask in full[number]:
            points = np.argwhere(mask)[:, ::-1] - centre
            points *= [-1.0 if flip[number] else 1.0 for flip in flips]
            points = (points - [x, y]) @ np.linalg.inv([[xx, xy], [yx, yy]]).T + centre
            inside = np.ones(len(points), bool)
            places = []
            for axis, size in enumerate((WIDTH, HEIGHT)):
                steps = stretch[number, 5 * axis : 5 * axis + 5]
                dense = np.linspace(-0.5, size - 0.5, 20 * size + 1)
                ends = distortion.stretched(
                    steps[None].astype(np.float32), dense[None].astype(np.float32), size
                )
                place = np.interp(points[:, axis], ends.numpy()[0], dense, -9.0, -9.0)
                inside &= place > -5
                places.append(place + 0.5)
            top, bottom, left, right = erased[number]
            column, row = places
            inside &= ~((row >= top) & (row < bottom) & (column >= left) & (column < right))
            shares.append(inside.mean() if len(points) else 0.0)
        result.append(shares)
    return np.array(result)


@pytest.mark.parametrize("share", [0.25, 0.6])
def test_turns_slants_and_distortions_are_right_but_for_the_cells_at_the_border(share):
    full = drawn_masks(on_grid=False)
    names = (*STRAIGHT, "rotation", "shear", "grid_distortion")
    options = {**STRONG, "rotation_degrees": 60.0, "shear_degrees": 25.0, "crop_scale": 0.3}
    ops = Augmentations(augmentations=names, label_share=share, **options)
    seen, labels = seen_by_points(full, ops), labels_of(full)
    found = relabelled(full, ops)
    expected = labels * (seen >= share)
    clear = np.abs(seen - share) > 0.05
    np.testing.assert_array_equal(found[clear], expected[clear])
    assert (found != expected).sum() <= 3
    assert 10 <= (labels > found).sum() <= 0.8 * labels.sum()


def test_cutmix_keeps_what_is_seen_of_either_image():
    full = drawn_masks(on_grid=True)
    ops = Augmentations(augmentations=("crop", "erase"), cutmix=1.0, **STRONG)
    mix = mixing.sample(ops, SEED, tf.constant(keys_of()), HEIGHT, WIDTH)
    boxes, partner = mix.box.numpy(), np.arange(COUNT) ^ 1
    labels = labels_of(full)
    around = seen_exactly(full, ops) - seen_exactly(full, ops, boxes)
    own = labels * (around >= ops.label_share - 1e-4)
    given = labels * (seen_exactly(full, ops, boxes[partner]) >= ops.label_share - 1e-4)
    expected = np.maximum(own, given[partner])
    found = relabelled(full, ops)
    np.testing.assert_array_equal(found, expected)
    assert (found > labels).sum() > 10 and (found < labels).sum() > 10


def test_mixup_mixes_the_labels_that_are_left():
    full = drawn_masks(on_grid=True)
    options = {"augmentations": ("crop",), **STRONG}
    left = relabelled(full, Augmentations(**options))
    ops = Augmentations(**options, mixup=0.4)
    mix = mixing.sample(ops, SEED, tf.constant(keys_of()), HEIGHT, WIDTH)
    share = mixing.own_share(mix, HEIGHT, WIDTH).numpy()[:, None]
    expected = share * left + (1 - share) * left[np.arange(COUNT) ^ 1]
    np.testing.assert_allclose(relabelled(full, ops), expected, rtol=1e-6)


def test_a_class_without_a_mask_stays_under_crops_and_is_mixed_by_area():
    full = np.zeros((COUNT, NUM_CLASSES, HEIGHT, WIDTH), bool)
    labels = np.random.default_rng(0).integers(0, 2, (COUNT, NUM_CLASSES)).astype(np.float32)
    ops = Augmentations(augmentations=("crop",), **STRONG)
    np.testing.assert_array_equal(relabelled(full, ops, labels), labels)
    ops = Augmentations(augmentations=("crop",), cutmix=1.0, **STRONG)
    found = relabelled(full, ops, labels)
    without = changes.Changes(ops, SEED, on_host=True).labels(
        tf.constant(labels), tf.constant(keys_of()), None, (HEIGHT, WIDTH)
    )
    np.testing.assert_allclose(found, without, atol=1e-6)


def test_labels_that_are_unknown_stay_so_unless_the_other_image_shows_the_class():
    full = drawn_masks(on_grid=True)
    labels = labels_of(full)
    labels[labels == 0] = np.where(np.arange((labels == 0).sum()) % 3, 0, -1)
    ops = Augmentations(augmentations=("crop",), **STRONG)
    found = relabelled(full, ops, labels)
    np.testing.assert_array_equal(found == -1, labels == -1)
    ops = Augmentations(augmentations=(), cutmix=1.0)
    found = relabelled(full, ops, labels)
    known = relabelled(full, ops, np.maximum(labels, 0))
    assert ((found == known) | ((found == -1) & (known == 0))).all()
    assert (found == -1).any() and (found[labels == -1] == 1).any()


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Records of clouds with their masks."""
    folder = tmp_path_factory.mktemp("clouds")
    synthesize(
        SynthesizeConfig(
            output_dir=f"{folder}/set", num_images=40, num_test_images=1,
            image_height=56, image_width=84,
        )
    )  # fmt: skip
    cloudtf.convert(
        cloudtf.ConvertConfig(
            labels_csv=f"{folder}/set/train.csv",
            images_dir=f"{folder}/set/train_images",
            output_dir=f"{folder}/records",
            image_height=32,
            image_width=48,
        )
    )
    return cloudtf.open_dataset(f"{folder}/records", "encoded")


OPS = Augmentations(augmentations=("crop", "rotation"), crop_scale=0.1, cutmix=1.0)


def content(batches, count):
    return [batch.labels.numpy() for batch in itertools.islice(batches, count)]


def test_batches_have_such_labels_wherever_and_however_they_are_made(data):
    expected = content(data.training_batches("train", 8, "host", OPS, SEED), 4)
    on_device = content(data.training_batches("train", 8, "device", OPS, SEED), 4)
    resumed = content(data.training_batches("train", 8, "host", OPS, SEED, 16), 2)
    make = data.batch_maker("train", 8, "device", OPS, SEED).function()
    by_number = [make(tf.constant(n, tf.int64)).labels.numpy() for n in range(4)]
    for found in (on_device, by_number, expected[:2] + resumed):
        np.testing.assert_array_equal(found, expected)
    plain = content(
        data.training_batches("train", 8, "host", Augmentations(augmentations=()), SEED), 4
    )
    assert (np.array(expected) < plain).any() and (np.array(expected) > plain).any()
    streamed = cloudtf.open_dataset(data.data_dir, "none")
    found = content(streamed.training_batches("train", 8, "host", OPS, SEED), 4)
    assert np.isin(found, (0, 1)).all()


def test_what_loses_nothing_needs_no_masks():
    for options in (
        {"augmentations": ("horizontal_flip", "brightness", "grey")},
        {"augmentations": ("crop",), "label_share": 0.0},
        {"augmentations": (), "mixup": 0.4},
    ):
        assert not changes.Changes(Augmentations(**options), 0, True, has_masks=True).needs_masks
    assert not changes.Changes(OPS, 0, True, has_masks=False).needs_masks
    assert set(areas.LOSING) <= set(cloudtf.pipeline.augmentations.NAMES)
