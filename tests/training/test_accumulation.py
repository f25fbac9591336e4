"""A batch computed in parts: the same update as at once."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from cloudtf.errors import UsageError
from cloudtf.model import losses, network, optimizers
from cloudtf.pipeline.augmentations import Augmentations
from cloudtf.pipeline.dataset import open_dataset
from cloudtf.training import accumulation, hardware
from cloudtf.training.config import TrainConfig
from cloudtf.training.step import TrainStep
from cloudtf.training.train import train

AUGMENTATIONS = Augmentations()


def plain_model(num_classes, image_shape, regularizer=None):
    """Without batch norm and dropout, so that no example's loss depends on the others."""
    return tf.keras.Sequential(
        [
            tf.keras.Input((*image_shape, 3), dtype="uint8"),
            tf.keras.layers.Rescaling(1 / 127.5, offset=-1),
            tf.keras.layers.Conv2D(
                8, 5, strides=4, activation="relu", kernel_regularizer=regularizer
            ),
            tf.keras.layers.GlobalAveragePooling2D(),
            tf.keras.layers.Dense(num_classes, activation="sigmoid"),
        ]
    )


@pytest.fixture(scope="module")
def data(records_dir):
    return open_dataset(records_dir, "decoded")


def run(data, parts, steps=(2, 3), weights=None, **settings):
    strategy = tf.distribute.OneDeviceStrategy("/cpu:0")
    with strategy.scope():
        model = plain_model(len(data.classes), data.image_shape, tf.keras.regularizers.L2(0.01))
        optimizer = optimizers.make_optimizer("adam", 1e-2, 10)
        _ = optimizer.iterations
    model.set_weights(weights or model.get_weights())
    before = model.get_weights()
    step = TrainStep(
        model,
        optimizer,
        losses.get_loss("bce"),
        strategy,
        12,
        seed=5,
        device_augmentations=AUGMENTATIONS,
        augment_seed=3,
        accumulate_steps=parts,
        **settings,
    )
    batches = data.training_batches("train", 12, "device", AUGMENTATIONS, 3)
    iterator = iter(strategy.experimental_distribute_dataset(batches))
    found = np.concatenate([step(iterator, count) for count in steps])
    assert int(optimizer.iterations) == sum(steps), "one update a batch"
    return found, model.get_weights(), before


@pytest.mark.parametrize(("parts", "jit_compile"), [(2, False), (12, False), (3, True)])
def test_in_parts_a_batch_gives_the_same_loss_and_update(data, parts, jit_compile):
    expected, weights, before = run(data, 1)
    found, its, _ = run(data, parts, weights=before, jit_compile=jit_compile)
    np.testing.assert_allclose(found, expected, rtol=1e-5)
    for one, other, first in zip(weights, its, before):
        np.testing.assert_allclose(other, one, rtol=1e-4, atol=1e-6)
        assert np.abs(one - first).max() > 1e-3


def test_parts_are_numbered_on_so_that_each_draws_its_own_dropout():
    def compute(values, step):
        return tf.reduce_sum(values), [tf.cast(step, tf.float32)[None], None]

    variables = [tf.Variable([0.0]), tf.Variable([0.0, 0.0])]
    value, (numbers, without) = accumulation.summed(
        compute, [tf.range(6.0)], tf.constant(7, tf.int64), 3, variables
    )
    assert value == 15 and numbers.numpy() == [21 + 22 + 23]
    np.testing.assert_array_equal(without, [0, 0])


def test_a_run_with_accumulation_is_the_run_of_the_larger_batch(records_dir, tmp_path):
    """Losses, scores, rates, steps and the order of examples."""

    def history(name, **settings):
        config = TrainConfig(
            data_dir=records_dir,
            run_dir=str(tmp_path / name),
            epochs=2,
            learning_rate=0.01,
            tensorboard=False,
            seed=3,
            **settings,
        )
        tf.keras.utils.set_random_seed(3)
        rows = train(config, model_fn=plain_model).history
        return [{k: v for k, v in row.items() if "second" not in k} for row in rows]

    large = history("large", batch_size=16)
    parts = history("parts", batch_size=4, accumulate_steps=4)
    for one, other in zip(large, parts):
        assert one["learning_rate"] == other["learning_rate"]
        for key, value in one.items():
            if "loss" in key:
                assert other[key] == pytest.approx(value, rel=1e-4), key


def test_what_sums_over_replicas_cannot_be_accumulated_on_several():
    class Two:
        num_replicas_in_sync = 2

    config = TrainConfig(data_dir="d", run_dir="r", accumulate_steps=2, sync_batch_norm=True)
    sentence = r"accumulate_steps=2 cannot be had with sync_batch_norm=True on 2 replicas"
    with pytest.raises(UsageError, match=sentence):
        hardware.accumulates(config, Two())
    one = tf.distribute.OneDeviceStrategy("/cpu:0")
    assert hardware.accumulates(config, one) == 2


def test_the_network_in_parts_takes_its_statistics_from_each(data):
    """With batch norm the parts are batches of their own: close, and not the same."""
    model = network.build_model("tiny", len(data.classes), data.image_shape)
    weights = model.get_weights()

    def loss(parts):
        model.set_weights(weights)
        optimizer = optimizers.make_optimizer("adam", 1e-3, 10)
        _ = optimizer.iterations
        strategy = tf.distribute.get_strategy()
        step = TrainStep(
            model, optimizer, losses.get_loss("bce"), strategy, 12, seed=0, accumulate_steps=parts
        )
        batches = data.training_batches("train", 12, "host", Augmentations(augmentations=()), 0)
        return float(step(iter(strategy.experimental_distribute_dataset(batches)), 1)[0])

    assert loss(1) == pytest.approx(loss(3), rel=0.1)
    assert loss(1) != pytest.approx(loss(3), rel=1e-4)
