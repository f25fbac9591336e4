"""Every example is scored once, whatever the batch and the number of replicas."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from cloudtf.errors import UserError
from cloudtf.evaluation import scoring
from cloudtf.model import losses
from tests import programs


def position_model():
    """Two scores that depend on where an image is bright, so that flips change them."""
    image = tf.keras.Input((4, 6, 3), dtype="uint8")
    x = tf.keras.layers.Rescaling(1 / 255)(image)
    x = tf.keras.layers.Flatten()(x)
    dense = tf.keras.layers.Dense(2, "sigmoid")
    model = tf.keras.Model(image, dense(x))
    generator = np.random.default_rng(1)
    model.set_weights([generator.normal(size=(72, 2)), np.zeros(2)])
    return model


@pytest.fixture(scope="module")
def images():
    return np.random.default_rng(0).integers(0, 256, (13, 4, 6, 3), dtype=np.uint8)


@pytest.fixture(scope="module")
def labels():
    return np.random.default_rng(2).integers(0, 2, (13, 2)).astype(np.float32)


def padded(images, labels, batch_size):
    for start in range(0, len(images), batch_size):
        x, y = images[start : start + batch_size], labels[start : start + batch_size]
        pad = [(0, batch_size - len(x))]
        numbers = np.arange(start, start + len(x), dtype=np.int32)
        yield (
            np.pad(x, pad + [(0, 0)] * 3, constant_values=9),
            np.pad(y, [*pad, (0, 0)], constant_values=1),
            np.pad(np.ones(len(x), np.float32), pad),
            np.pad(np.stack([0 * numbers, numbers], 1), [*pad, (0, 0)], constant_values=-1),
        )


@pytest.mark.parametrize("batch_size", [1, 5, 8, 13, 20])
def test_padding_is_left_out_and_numbers_stay_with_their_scores(images, labels, batch_size):
    model = position_model()
    found = scoring.Scorer(model).dataset(padded(images, labels, batch_size))
    assert found.numbers.tolist() == list(range(13))
    assert np.array_equal(found.labels, labels)
    assert found.scores.dtype == np.float32
    np.testing.assert_allclose(found.scores, model(images).numpy(), rtol=1e-5)


def test_batches_may_come_without_mask_and_numbers(images, labels):
    found = scoring.Scorer(position_model()).dataset([(images, labels)])
    assert found.scores.shape == (13, 2)
    assert set(found.numbers) == {-1}


@pytest.mark.parametrize("kind", ["with numbers", "without", "no batch"])
def test_numbers_are_of_one_type_so_that_workers_can_put_them_together(images, labels, kind):
    batches = {
        "with numbers": [(images, labels, np.ones(13), np.zeros([13, 2], np.int64))],
        "without": [(images, labels)],
        "no batch": [],
    }[kind]
    assert scoring.Scorer(position_model()).dataset(batches).numbers.dtype == np.int32


def test_images_that_do_not_fit_into_memory_are_one_sentence(images, labels):
    image = tf.keras.Input((4, 6, 3), dtype="uint8")

    def wanting_room(x):
        # More than a process can address, which no graph optimizer foresees.
        count = tf.size(tf.where(x >= 0), tf.int64)
        room = tf.fill(tf.stack([count, 1 << 24, 1 << 25]), tf.cast(x[0, 0, 0, 0], tf.float32))
        return tf.cast(x[:, 0, 0, :2], tf.float32) + tf.reduce_sum(room)

    model = tf.keras.Model(image, tf.keras.layers.Lambda(wanting_room, output_shape=[2])(image))
    with pytest.raises(UserError, match="Scoring 13 images at once does not fit into the device's"):
        scoring.Scorer(model).dataset([(images, labels)])


def test_a_batch_is_sent_before_the_scores_of_the_one_before_are_fetched():
    events = []

    class Scores:
        def __init__(self, number):
            events.append(f"sent {number}")
            self.number = number

        def numpy(self):
            events.append(f"fetched {self.number}")
            return np.full((2, 1), self.number)

    scorer = scoring.Scorer(position_model())
    scorer._predict = lambda images: Scores(int(images[0, 0]))
    found = scorer.stream(np.full((2, 1), number) for number in range(3))
    assert [scores[0, 0] for scores in found] == [0, 1, 2]
    assert events == ["sent 0", "sent 1", "fetched 0", "sent 2", "fetched 1", "fetched 2"]


def test_flips_are_averaged(images):
    model = position_model()
    found = scoring.Scorer(model, flips=True).images(images)
    views = [images, images[:, ::-1], images[:, :, ::-1], images[:, ::-1, ::-1]]
    np.testing.assert_allclose(found, np.mean([model(v).numpy() for v in views], axis=0), rtol=1e-5)
    assert np.abs(found - scoring.Scorer(model).images(images)).max() > 0.01


def test_the_loss_is_the_mean_over_all_examples(images, labels):
    scores = position_model()(images).numpy()
    clipped = np.clip(scores.astype(np.float64), 1e-7, 1 - 1e-7)
    expected = -np.mean(labels * np.log(clipped) + (1 - labels) * np.log(1 - clipped))
    found = scoring.mean_loss(losses.get_loss("bce"), scoring.Scores(np.arange(13), labels, scores))
    np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_four_replicas_score_thirteen_examples_once_each(records_dir, trained_run):
    result = programs.answer("score_on_replicas", records_dir, f"{trained_run}/best.keras")
    assert result["replicas"] == 4
    one = result["one 8"]
    assert one[0] == list(range(13))
    for name in ("four 8", "four 6", "one 6"):
        assert result[name][:2] == one[:2]
        np.testing.assert_allclose(result[name][2], one[2], rtol=1e-5)
