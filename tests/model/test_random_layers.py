import numpy as np
import pytest
import tensorflow as tf

from cloudtf.model import network, optimizers
from cloudtf.model.random_layers import FixedDropout, stochastic_step


def draw(seed=7, step=3, name="drop", rate=0.5, noise_shape=None, shape=(64, 8)):
    layer = FixedDropout(rate, noise_shape=noise_shape, name=name)
    with stochastic_step(seed, step):
        return layer(tf.ones(shape), training=True).numpy()


def test_the_mask_is_known_from_seed_layer_and_step_alone():
    # Written down from another process: nothing but the arguments may enter.
    expected = [2, 2, 0, 0, 0, 2, 0, 0, 0, 0, 2, 0]
    np.testing.assert_array_equal(draw(seed=1, step=5, name="a", shape=(12,)), expected)


def test_the_same_step_draws_the_same_mask():
    np.testing.assert_array_equal(draw(), draw())


@pytest.mark.parametrize("other", [{"seed": 8}, {"step": 4}, {"name": "drop2"}])
def test_another_seed_step_or_layer_draws_another_mask(other):
    assert not np.array_equal(draw(), draw(**other))


def test_the_share_kept_and_its_scale_are_right():
    mask = draw(rate=0.2, shape=(1000, 100))
    assert set(np.unique(mask)) == {np.float32(0), np.float32(1.25)}
    assert np.mean(mask == 0) == pytest.approx(0.2, abs=0.005)


def test_drop_connect_drops_whole_examples():
    mask = draw(noise_shape=(None, 1, 1, 1), shape=(64, 3, 3, 2)).reshape(64, -1)
    assert np.all(mask == mask[:, :1])
    assert 0 < np.mean(mask == 0) < 1


def test_inference_and_frozen_layers_drop_nothing():
    layer = FixedDropout(0.5)
    x = tf.ones([4, 4])
    with stochastic_step(0, 0):
        np.testing.assert_array_equal(layer(x, training=False), x)
        layer.trainable = False
        np.testing.assert_array_equal(layer(x, training=True), x)


def test_half_precision_keeps_its_type_and_the_mask():
    layer = FixedDropout(0.5, name="drop", dtype="float16")
    with stochastic_step(7, 3):
        half = layer(tf.ones([64, 8], tf.float16), training=True)
    assert half.dtype == tf.float16
    np.testing.assert_array_equal(half, draw())


def test_one_trace_follows_the_step():
    layer = FixedDropout(0.5, name="drop")

    @tf.function(input_signature=[tf.TensorSpec([], tf.int64)])
    def mask(step):
        with stochastic_step(7, step):
            return layer(tf.ones([64, 8]), training=True)

    for step in (3, 4):
        np.testing.assert_array_equal(mask(step), draw(step=step))
    assert mask.experimental_get_tracing_count() == 1


def test_without_a_step_it_is_keras_dropout():
    layer = FixedDropout(0.5, noise_shape=(None, 1))
    masks = [layer(tf.ones([64, 4]), training=True).numpy() for _ in range(2)]
    assert not np.array_equal(*masks)
    assert set(np.unique(masks)) == {0.0, 2.0}


def train_step(model, optimizer, jit_compile):
    @tf.function(jit_compile=jit_compile)
    def step(images, labels):
        with stochastic_step(5, optimizer.iterations), tf.GradientTape() as tape:
            loss = tf.reduce_mean(
                tf.keras.losses.binary_crossentropy(labels, model(images, training=True))
            )
        variables = model.trainable_variables
        optimizer.apply_gradients(zip(tape.gradient(loss, variables), variables))
        return loss

    return step


def run_steps(count, jit_compile, first_weights=None):
    generator = np.random.default_rng(3)
    images = generator.integers(0, 256, (8, 32, 32, 3), dtype=np.uint8)
    labels = generator.integers(0, 2, (8, 4)).astype(np.float32)
    model = network.build_model("tiny", 4, (32, 32), dropout=0.3)
    model.set_weights(first_weights)
    optimizer = optimizers.make_optimizer("radam", 1e-2, 50)
    step = train_step(model, optimizer, jit_compile)
    losses = [float(step(images, labels)) for _ in range(count)]
    return losses, model.get_weights()


@pytest.fixture(scope="module")
def first_weights():
    return network.build_model("tiny", 4, (32, 32), dropout=0.3).get_weights()


def test_training_twice_is_equal_to_the_bit(first_weights):
    one, two = (run_steps(8, False, first_weights) for _ in range(2))
    assert one[0] == two[0]
    for a, b in zip(one[1], two[1]):
        np.testing.assert_array_equal(a, b)


def test_a_whole_train_step_compiles_with_xla_and_agrees(first_weights):
    plain, _ = run_steps(8, False, first_weights)
    compiled, _ = run_steps(8, True, first_weights)
    np.testing.assert_allclose(plain, compiled, rtol=1e-4)


def test_keras_fit_works_without_a_step():
    model = network.build_model("tiny", 2, (32, 32), dropout=0.3)
    model.compile("sgd", "binary_crossentropy")
    history = model.fit(np.zeros([4, 32, 32, 3], np.uint8), np.zeros([4, 2]), verbose=0)
    assert np.isfinite(history.history["loss"][0])
