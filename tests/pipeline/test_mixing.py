"""Mixup and cutmix against plain numpy; on the host, on a device, in halves, by number, resumed."""

import itertools

import numpy as np
import pytest
import tensorflow as tf
from scipy import stats

from cloudtf.model import losses
from cloudtf.pipeline import augment, changes, mixing, randomness
from cloudtf.pipeline.augmentations import Augmentations
from cloudtf.pipeline.dataset import open_dataset

SEED, COUNT, HEIGHT, WIDTH = 9, 200, 20, 48


def keys_of(count=COUNT):
    return np.stack([np.full(count, 2), np.arange(count)], axis=1).astype(np.int32)


@pytest.fixture(scope="module")
def images():
    return np.random.default_rng(0).integers(0, 256, (COUNT, HEIGHT, WIDTH, 3), np.uint8)


@pytest.fixture(scope="module")
def lanes():
    return randomness.uniforms(SEED, keys_of(), 115).numpy()[:, 110:]


def mixed(images, **options):
    ops = Augmentations(augmentations=(), **options)
    keys = keys_of()[: len(images)]
    return augment.augment(images, keys, ops=ops, seed=SEED).numpy()


def labelled(labels, image_shape=(HEIGHT, WIDTH), **options):
    made = changes.Changes(Augmentations(augmentations=(), **options), SEED, on_host=True)
    keys = keys_of()[: len(labels)]
    return made.labels(tf.constant(labels, tf.float32), keys, None, image_shape).numpy()


def own_weight(u, parameter):
    """In 1/256, from the 4,096 shares of equal probability."""
    return round(float(256 * stats.beta.ppf((int(u * 4096) + 0.5) / 4096, parameter, parameter)))


LABELS = np.random.default_rng(1).integers(0, 2, (COUNT, 3)).astype(np.float32)


def test_mixup_is_the_weighted_mean_of_two_images_and_of_their_labels(images, lanes):
    found = mixed(images, mixup=0.4, mix_probability=0.75)
    labels = labelled(LABELS, mixup=0.4, mix_probability=0.75)
    weights = []
    for i, u in enumerate(lanes):
        weight = own_weight(u[2], 0.4) if u[0] < 0.75 else 256
        weight = max(weight, 256 - weight)
        weights.append(weight)
        mine, theirs = images[i].astype(int), images[i ^ 1].astype(int)
        np.testing.assert_array_equal(
            found[i], (weight * mine + (256 - weight) * theirs + 128) >> 8
        )
        share = np.float32(weight / 256)
        np.testing.assert_array_equal(labels[i], share * LABELS[i] + (1 - share) * LABELS[i ^ 1])
    assert min(weights) < 140 and 0.1 < np.mean(np.array(weights) < 250) < 0.75


def test_cutmix_pastes_a_box_of_the_images_own_ratio_and_mixes_labels_by_its_area(images, lanes):
    found, labels = mixed(images, cutmix=1.0), labelled(LABELS, cutmix=1.0)
    shares = []
    for i, u in enumerate(lanes):
        side = np.sqrt(1 - own_weight(u[2], 1.0) / 256)
        rows, columns = round(HEIGHT * side), round(WIDTH * side)
        top, left = int(u[3] * HEIGHT) - rows // 2, int(u[4] * WIDTH) - columns // 2
        pasted = np.zeros((HEIGHT, WIDTH), bool)
        pasted[max(top, 0) : max(top + rows, 0), max(left, 0) : max(left + columns, 0)] = True
        expected = np.where(pasted[..., None], images[i ^ 1], images[i])
        np.testing.assert_array_equal(found[i], expected)
        # By the pixels that are there, not by the area that was drawn.
        share = 1 - round(pasted.mean() * 65536) / 65536
        np.testing.assert_array_equal(labels[i], share * LABELS[i] + (1 - share) * LABELS[i ^ 1])
        shares.append(share)
    assert min(shares) < 0.2 and max(shares) > 0.95


def test_of_both_each_is_drawn_for_half_of_the_images(images):
    found = mixed(images, mixup=0.4, cutmix=1.0)
    # In a box all is the partner's or the image's own; a mean of random pixels is neither.
    pure = (found == images) | (found == images[np.arange(COUNT) ^ 1])
    boxes = pure.all(axis=(1, 2, 3))
    assert 70 < boxes.sum() < 150
    assert (~boxes).sum() > 70


def test_labels_that_are_unknown_mix_to_unknown():
    labels = LABELS.copy()
    labels[::5, 1] = -1
    for options in ({"mixup": 0.4}, {"cutmix": 1.0}):
        found = labelled(labels, **options)
        known = labelled(np.maximum(labels, 0), **options)
        mix = mixing.sample(Augmentations(**options), SEED, tf.constant(keys_of()), HEIGHT, WIDTH)
        own = mixing.own_share(mix, HEIGHT, WIDTH).numpy()[:, None]
        partner = labels[np.arange(COUNT) ^ 1]
        unknown = ((labels < 0) & (own > 0)) | ((partner < 0) & (own < 1))
        np.testing.assert_array_equal(found, np.where(unknown, -1, known))
        assert 0 < unknown.sum() < unknown.size / 3


@pytest.mark.parametrize("options", [{"mixup": 0.4}, {"cutmix": 1.0}])
def test_halves_of_a_batch_are_mixed_as_the_whole_and_a_last_one_stays(images, options):
    whole = mixed(images[:30], **options)
    ops, keys = Augmentations(augmentations=(), **options), keys_of()
    parts = [slice(0, 14), slice(14, 30)]
    halves = [augment.augment(images[part], keys[part], ops=ops, seed=SEED) for part in parts]
    np.testing.assert_array_equal(np.concatenate(halves), whole)
    odd = mixed(images[:29], **options)
    np.testing.assert_array_equal(odd[:28], whole[:28])
    np.testing.assert_array_equal(odd[28], images[28])
    assert labelled(LABELS[:29], **options)[28].tolist() == LABELS[28].tolist()


def test_the_loss_of_mixed_labels_is_the_mix_of_both_losses():
    bce, share = losses.get_loss("bce"), 0.75
    predictions = tf.constant([[0.2, 0.9, 0.6]])
    mine, theirs = tf.constant([[1.0, 0.0, 1.0]]), tf.constant([[0.0, 0.0, 1.0]])
    mixture = mixing.labels(mine, theirs, tf.constant([share]))
    expected = share * bce(mine, predictions) + (1 - share) * bce(theirs, predictions)
    np.testing.assert_allclose(bce(mixture, predictions), expected, rtol=1e-6)


BOTH = Augmentations(augmentations=("horizontal_flip", "crop"), mixup=0.4, cutmix=1.0)


def content(batches, count=4):
    return [[part.numpy() for part in batch] for batch in itertools.islice(batches, count)]


@pytest.fixture(scope="module")
def data(records_dir):
    return open_dataset(records_dir, "decoded")


@pytest.fixture(scope="module")
def expected(data):
    return content(data.training_batches("train", 8, "host", BOTH, SEED))


def same(found, expected):
    for batch, other in zip(found, expected):
        for part, its in zip(batch, other):
            np.testing.assert_array_equal(part, its)
    assert len(found) == len(expected)


def test_a_device_mixes_as_the_host_does_and_labels_are_those_of_its_images(data, expected):
    found = content(data.training_batches("train", 8, "device", BOTH, SEED))
    for batch in found:
        batch[0] = augment.augment(
            batch[0], batch[3], ops=BOTH, seed=SEED, whole_batch=True
        ).numpy()
    same(found, expected)
    labels = np.concatenate([labels for _, labels, *_ in found])
    assert ((labels > 0) & (labels < 1)).any() and labels.min() == 0 and labels.max() == 1


def test_batches_that_are_resumed_or_made_by_number_are_mixed_alike(data, expected):
    same(content(data.training_batches("train", 8, "host", BOTH, SEED, 16), 2), expected[2:])
    make = data.batch_maker("train", 8, "host", BOTH, SEED).function()
    made = [[part.numpy() for part in make(tf.constant(i, tf.int64))] for i in range(4)]
    same(made, expected)


def test_what_is_read_from_disk_is_mixed_too_and_evaluation_never(data, records_dir):
    streamed = open_dataset(records_dir, "none")
    labels = content(streamed.training_batches("train", 8, "host", BOTH, SEED), 6)
    assert any(((batch[1] > 0) & (batch[1] < 1)).any() for batch in labels)
    for batch in data.evaluation_batches("train", 8):
        assert set(np.unique(batch.labels)) <= {0, 1}


def test_without_mixing_labels_are_the_same_tensor():
    labels = tf.constant(LABELS)
    for options in ({}, {"mixup": 0.4, "mix_probability": 0.0}):
        made = changes.Changes(Augmentations(**options), SEED, on_host=True)
        assert made.labels(labels, tf.constant(keys_of()), None, (HEIGHT, WIDTH)) is labels
