"""The average of the weights: its arithmetic, and that it is judged and kept in their place."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from cloudtf.model import saving
from cloudtf.training.config import TrainConfig
from cloudtf.training.train import train
from cloudtf.training.weight_average import WeightAverage


def followed(decay, steps):
    """The weights after each step [steps, 3], and the average after the last one."""
    strategy = tf.distribute.OneDeviceStrategy("/cpu:0")
    with strategy.scope():
        model = tf.keras.Sequential([tf.keras.layers.Dense(1, use_bias=False, input_shape=(3,))])
    average = WeightAverage(model, strategy, decay)

    @tf.function
    def step(values, number):
        model.weights[0].assign(values)
        average.update(number)

    walk = np.random.default_rng(0).normal(size=(steps, 3, 1)).cumsum(axis=0).astype(np.float32)
    first = model.get_weights()[0]
    for number, values in enumerate(walk, start=1):
        step(tf.constant(values), tf.constant(number, tf.int64))
    with average.in_place():
        found = model.get_weights()[0]
    np.testing.assert_array_equal(model.get_weights()[0], walk[-1])
    return first, walk, found


@pytest.mark.parametrize("decay", [0.0, 0.7, 0.99])
@pytest.mark.parametrize("steps", [1, 12, 63, 64, 99])
def test_the_average_is_the_formulas(decay, steps):
    first, walk, found = followed(decay, steps)
    expected = first.astype(np.float64)
    for step in range(1, steps + 1):
        kept = min(decay, (1 + step) / (10 + step))
        if step < 64:
            expected = kept * expected + (1 - kept) * walk[step - 1]
        elif step % 8 == 0:
            expected = kept**8 * expected + (1 - kept**8) * walk[step - 1]
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)


def test_the_weights_are_there_again_after_an_error():
    model = tf.keras.Sequential([tf.keras.layers.Dense(2, input_shape=(3,))])
    average = WeightAverage(model, tf.distribute.get_strategy(), 0.9)
    before = model.get_weights()
    model.set_weights([weight + 1 for weight in before])
    with pytest.raises(KeyError), average.in_place():
        np.testing.assert_array_equal(model.get_weights()[0], before[0])
        raise KeyError
    np.testing.assert_array_equal(model.get_weights()[0], before[0] + 1)


def test_it_is_judged_and_kept_and_training_goes_on_without_it(records_dir, tmp_path):
    def trained(name, **settings):
        config = TrainConfig(
            data_dir=records_dir,
            run_dir=str(tmp_path / name),
            model="tiny",
            weights="none",
            epochs=1,
            batch_size=8,
            learning_rate=0.02,
            tensorboard=False,
            **settings,
        )
        rows = train(config).history
        checkpoint = next((tmp_path / name / "checkpoints").iterdir()) / "weights"
        best = saving.load_model(str(tmp_path / name / "best.keras"))
        return rows, tf.train.load_checkpoint(str(checkpoint)), best

    plain, checkpoint, _ = trained("plain")
    averaged, its, best = trained("averaged", ema=0.99)
    for row, other in zip(plain, averaged):
        for key in ("loss", "learning_rate"):
            assert row[key] == pytest.approx(other[key], rel=1e-4), "training is the same"
        assert row["val_loss"] != pytest.approx(other["val_loss"], rel=1e-3)
    more = set(its.get_variable_to_shape_map()) - set(checkpoint.get_variable_to_shape_map())
    assert more and all(name.startswith("average/") for name in more)
    averages = [its.get_tensor(name) for name in more if "_averages" in name]
    assert len(averages) == len(best.get_weights())
    assert {values.tobytes() for values in averages} == {w.tobytes() for w in best.get_weights()}
