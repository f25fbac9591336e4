"""The train step: augmentation on either side, one step or many a call, compiled or not."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from cloudtf.errors import UserError
from cloudtf.model import losses, network, optimizers
from cloudtf.pipeline.augmentations import Augmentations
from cloudtf.pipeline.dataset import open_dataset
from cloudtf.training.step import TrainStep

AUGMENTATIONS = Augmentations(
    augmentations=("horizontal_flip", "vertical_flip", "rotation", "grid_distortion", "brightness")
)
BATCH = 8


@pytest.fixture(scope="module")
def data(records_dir):
    return open_dataset(records_dir, "decoded")


@pytest.fixture(scope="module")
def first_weights(data):
    return make_model(data).get_weights()


def make_model(data):
    return network.build_model("tiny", len(data.classes), data.image_shape, dropout=0.3)


def run(data, weights, counts, augment_on="host", seed=3, loss=None, **settings):
    """Losses of some calls of `counts` steps each, and the weights after them."""
    strategy = tf.distribute.OneDeviceStrategy("/cpu:0")
    with strategy.scope():
        model = make_model(data)
        optimizer = optimizers.make_optimizer("adam", 1e-2, 100)
        _ = optimizer.iterations
    model.set_weights(weights)
    step = TrainStep(
        model,
        optimizer,
        loss or losses.get_loss("bce"),
        strategy,
        BATCH,
        seed=5,
        device_augmentations=AUGMENTATIONS if augment_on == "device" else None,
        augment_seed=seed,
        **settings,
    )
    batches = data.training_batches("train", BATCH, augment_on, AUGMENTATIONS, seed)
    iterator = iter(strategy.experimental_distribute_dataset(batches))
    found = np.concatenate([step(iterator, count) for count in counts])
    assert found.dtype == np.float32 and found.shape == (sum(counts),)
    assert int(optimizer.iterations) == sum(counts)
    return found, model.get_weights()


@pytest.fixture(scope="module")
def reference(data, first_weights):
    return run(data, first_weights, [1, 1, 1, 1])


def test_the_device_augments_as_the_host_does(data, first_weights, reference):
    found, _ = run(data, first_weights, [1, 1, 1, 1], augment_on="device")
    np.testing.assert_allclose(found, reference[0], rtol=1e-4)
    others, _ = run(data, first_weights, [1, 1, 1, 1], augment_on="device", seed=4)
    assert np.ptp([others, reference[0]], axis=0).max() > 5e-3, "another seed augments otherwise"


def test_many_steps_a_call_are_the_same_steps(data, first_weights, reference):
    found, weights = run(data, first_weights, [3, 1])
    np.testing.assert_allclose(found, reference[0], rtol=1e-5)
    for one, other in zip(weights, reference[1]):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-6)


def test_a_compiled_step_is_the_same_step(data, first_weights, reference):
    found, _ = run(data, first_weights, [2, 2], jit_compile=True)
    np.testing.assert_allclose(found, reference[0], rtol=1e-4)


def test_the_loss_is_the_mean_over_the_global_batch(data, first_weights):
    """Without dropout or augmentation, of weights that have not moved."""
    strategy = tf.distribute.OneDeviceStrategy("/cpu:0")
    with strategy.scope():
        model = network.build_model("tiny", len(data.classes), data.image_shape)
        optimizer = optimizers.make_optimizer("adam", 1e-3, 10)
        _ = optimizer.iterations
    model.set_weights(first_weights)
    network.set_body_trainable(model, False)
    loss = losses.get_loss("bce")
    batches = data.training_batches("train", BATCH, "host", Augmentations(augmentations=()), 0)
    images, labels, *_ = next(iter(batches))
    expected = float(tf.reduce_mean(loss(labels, model(images, training=False))))
    body = [weight.copy() for weight in model.get_layer("body").get_weights()]
    step = TrainStep(model, optimizer, loss, strategy, BATCH, seed=0)
    found = step(iter(strategy.experimental_distribute_dataset(batches)), 1)
    np.testing.assert_allclose(found, [expected], rtol=1e-5)
    for before, after in zip(body, model.get_layer("body").get_weights()):
        assert np.array_equal(before, after), "a frozen body stays as it is"


def without_room(labels, probabilities):
    """A loss that wants more than a process can address, which no graph optimizer foresees."""
    count = tf.size(tf.where(labels >= 0), tf.int64)
    room = tf.fill(tf.stack([count, 1 << 24, 1 << 25]), probabilities[0, 0])
    return tf.reduce_sum(probabilities, axis=1) + tf.reduce_sum(room)


def test_a_step_that_does_not_fit_into_memory_is_one_sentence(data, first_weights):
    # TensorFlow waits ten seconds for room.
    with pytest.raises(UserError) as caught:
        run(data, first_weights, [1], loss=without_room)
    assert str(caught.value) == (
        "A step of 8 images does not fit into the device's memory; give a smaller batch_size, "
        "or train with mixed_precision=True, a smaller model or smaller images."
    )
