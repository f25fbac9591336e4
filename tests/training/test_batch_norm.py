"""How fast batch norm's averages follow, and that short runs are judged with the right ones."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from cloudtf.model import losses, optimizers, saving
from cloudtf.training import batch_norm
from cloudtf.training.config import TrainConfig
from cloudtf.training.step import TrainStep
from cloudtf.training.train import train

BATCH, STEPS = 4, 14


def make_model(momentum=0.7, **options):
    """Its batch norm comes first, so that no weight changes what it sees."""
    return tf.keras.Sequential(
        [
            tf.keras.Input((6, 6, 3), dtype="uint8"),
            tf.keras.layers.Rescaling(1 / 255),
            tf.keras.layers.BatchNormalization(momentum=momentum, name="norm", **options),
            tf.keras.layers.GlobalAveragePooling2D(),
            tf.keras.layers.Dense(2, activation="sigmoid"),
        ]
    )


def stepped(model, unsettled, jit_compile=False):
    """Runs steps on random images; gives their means and variances by channel, [STEPS, 3]."""
    generator = np.random.default_rng(0)
    images = generator.integers(0, 256, (STEPS, BATCH, 6, 6, 3)).astype(np.uint8)
    images[..., 0] //= np.arange(1, STEPS + 1, dtype=np.uint8)[:, None, None, None]
    labels = generator.integers(0, 2, (STEPS, BATCH, 2)).astype(np.float32)
    rest = (np.ones([STEPS, BATCH], np.float32), np.zeros([STEPS, BATCH, 2], np.int32))
    strategy = tf.distribute.get_strategy()
    optimizer = optimizers.make_optimizer("adam", 1e-2, STEPS)
    _ = optimizer.iterations
    step = TrainStep(
        model,
        optimizer,
        losses.get_loss("bce"),
        strategy,
        BATCH,
        seed=0,
        unsettled=unsettled,
        jit_compile=jit_compile,
    )
    batches = tf.data.Dataset.from_tensor_slices((images, labels, *rest))
    step(iter(strategy.experimental_distribute_dataset(batches)), STEPS)
    scaled = images.reshape(STEPS, -1, 3) / 255.0
    return scaled.mean(axis=1), scaled.var(axis=1)


@pytest.mark.parametrize("options", [{}, {"synchronized": True}, {"fused": False}])
@pytest.mark.parametrize("jit_compile", [False, True])
def test_unsettled_averages_follow_with_at_most_the_early_momentum(options, jit_compile):
    model = make_model(**options)
    norm = model.get_layer("norm")
    means, variances = stepped(model, [norm], jit_compile)
    mean, variance = np.zeros(3), np.ones(3)
    for step in range(STEPS):
        momentum = min(0.7, (1 + step) / (10 + step))
        mean = momentum * mean + (1 - momentum) * means[step]
        variance = momentum * variance + (1 - momentum) * variances[step]
    np.testing.assert_allclose(norm.moving_mean, mean, rtol=1e-5)
    # Keras has the variance of a sample where it is fused, and that of the values where not.
    np.testing.assert_allclose(norm.moving_variance, variance, rtol=0.01)
    assert norm.momentum == 0.7 and norm.get_config()["momentum"] == 0.7


def test_settled_averages_follow_with_the_networks_own_momentum():
    model = make_model()
    means, _ = stepped(model, [])
    expected = sum(0.3 * 0.7 ** (STEPS - 1 - step) * means[step] for step in range(STEPS))
    np.testing.assert_allclose(model.get_layer("norm").moving_mean, expected, rtol=1e-5)


def test_layers_have_their_momentum_again_also_after_an_error_and_between_replicas():
    norm = make_model().get_layer("norm")
    outer, inner = (batch_norm.following([norm], tf.constant(value)) for value in (0.5, 0.25))
    with pytest.raises(KeyError), outer:
        # Replicas are traced in turns: one may come before another has left.
        with inner:
            assert tf.convert_to_tensor(norm.momentum) == 0.25
        assert tf.convert_to_tensor(norm.momentum) == 0.5
        assert 1.0 - norm.momentum == 0.5
        raise KeyError
    assert norm.momentum == 0.7


def test_layers_are_unsettled_until_their_averages_have_moved():
    model = make_model()
    norm = model.get_layer("norm")
    assert batch_norm.unsettled(model) == batch_norm.layers_of(model) == [norm]
    model(np.zeros([2, 6, 6, 3], np.uint8), training=True)
    assert batch_norm.unsettled(model) == []


def test_a_short_run_is_judged_by_what_it_has_learnt(records_dir, tmp_path, monkeypatch):
    """Of 30 steps; with the networks' own momentum of 0.99 alone they are judged far lower."""

    def trained(name):
        config = TrainConfig(
            data_dir=records_dir,
            run_dir=str(tmp_path / name),
            model="tiny",
            weights="none",
            epochs=5,
            batch_size=8,
            learning_rate=0.02,
            tensorboard=False,
        )
        row = train(config).history[-1]
        best = saving.load_model(f"{config.run_dir}/best.keras")
        assert {layer.momentum for layer in batch_norm.layers_of(best)} == {0.99}
        return row

    row = trained("run")
    monkeypatch.setattr(batch_norm, "early_momentum", lambda step: tf.constant(1.0))
    late = trained("late")
    assert row["loss"] == pytest.approx(late["loss"], rel=1e-3), "training does not use them"
    for split in ("train", "val"):
        assert row[f"{split}_pr_auc_mean"] > late[f"{split}_pr_auc_mean"] + 0.04


def test_weights_that_were_trained_before_keep_their_averages_as_ever(
    trained_run, records_dir, tmp_path
):
    """Their averages have settled: from then on each step moves them by a hundredth."""
    path = f"{trained_run}/best.keras"
    config = TrainConfig(
        data_dir=records_dir,
        run_dir=str(tmp_path / "run"),
        model="tiny",
        weights=path,
        head_epochs=0,
        epochs=1,
        steps_per_epoch=2,
        batch_size=8,
        learning_rate=1e-12,
        batch_norm_momentum=0.99,
        tensorboard=False,
    )
    train(config)
    before, after = (
        saving.load_model(name).get_layer("body").get_layer("stem_bn").moving_variance.numpy()
        for name in (path, f"{config.run_dir}/best.keras")
    )
    assert 0 < np.abs(after / before - 1).max() < 0.05
