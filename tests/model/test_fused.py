"""Swish and squeeze-and-excite computed together in training are what the layers compute alone."""

from __future__ import annotations

import json
import zipfile

import numpy as np
import pytest
import tensorflow as tf

from cloudtf.model import fused, saving

BATCH, SIDE = 8, 16
IMAGES = np.random.default_rng(0).normal(size=(BATCH, SIDE, SIDE, 3)).astype(np.float32)


@pytest.fixture(autouse=True)
def everything_is_large(monkeypatch):
    monkeypatch.setattr(fused, "_LEAST_ELEMENTS", 1)


def make_network(keepdims=False, gate_first=False, dtype="float32"):
    """A block of EfficientNet, and a swish with nothing behind it."""
    layers = tf.keras.layers
    tf.keras.utils.set_random_seed(3)
    before = tf.keras.mixed_precision.global_policy()
    tf.keras.mixed_precision.set_global_policy(dtype)
    try:
        image = tf.keras.Input((SIDE, SIDE, 3))
        x = layers.Conv2D(12, 3, padding="same", use_bias=False)(image)
        x = layers.BatchNormalization()(x)
        x = y = layers.Activation("swish", name="first")(x)
        x = layers.GlobalAveragePooling2D(keepdims=keepdims)(x)
        x = x if keepdims else layers.Reshape((1, 1, 12))(x)
        x = layers.Conv2D(4, 1, activation="swish")(x)
        x = layers.Conv2D(12, 1, activation="sigmoid")(x)
        x = layers.Multiply()([x, y] if gate_first else [y, x])
        x = layers.Conv2D(5, 1)(x)
        x = layers.Activation(tf.nn.swish)(x)
        x = layers.GlobalAveragePooling2D(dtype="float32")(x)
        return tf.keras.Model(image, x)
    finally:
        tf.keras.mixed_precision.set_global_policy(before)


def step(model, images=IMAGES, **options):
    """Outputs, gradients of the images and of all weights; the function that computes them."""

    @tf.function(autograph=False, **options)
    def run(images):
        with tf.GradientTape() as tape:
            tape.watch(images)
            outputs = model(images, training=True)
            value = tf.reduce_sum(outputs**2)
        return outputs, tape.gradient(value, [images, *model.trainable_variables])

    return [array.numpy() for array in tf.nest.flatten(run(tf.constant(images)))], run


def compiled_calls(function, *args):
    """How many calls of functions that XLA compiles are in a function's graph."""
    graph = function.get_concrete_function(*args).graph.as_graph_def()
    compiled = {f.signature.name for f in graph.library.function if f.attr["_XlaMustCompile"].b}
    nodes = [node for f in graph.library.function for node in f.node_def]
    return sum(node.attr["f"].func.name in compiled for node in [*graph.node, *nodes])


def plain_and_fast(**settings):
    plain, fast = make_network(**settings), make_network(**settings)
    fused.speed_up(fast)
    return plain, fast


@pytest.mark.parametrize(
    "settings, options",
    [({}, {}), ({}, {"jit_compile": True}), ({"keepdims": True, "gate_first": True}, {})],
)
def test_outputs_and_gradients_are_those_of_the_layers(settings, options):
    plain, fast = plain_and_fast(**settings)
    expected, _ = step(plain)
    found, run = step(fast, **options)
    assert compiled_calls(run, tf.constant(IMAGES)) == 4, "two swishes, forwards and backwards"
    assert len(found) == len(expected)
    for one, other in zip(found, expected):
        np.testing.assert_allclose(one, other, rtol=0, atol=1e-5 * np.abs(other).max())


def test_half_precision_is_computed_no_worse_than_by_the_layers():
    exact, _ = step(make_network())
    plain, fast = plain_and_fast(dtype="mixed_bfloat16")
    expected, _ = step(plain)
    found, _ = step(fast)

    def error(arrays):
        return [np.abs(a.astype(np.float32) - b).max() for a, b in zip(arrays, exact)]

    assert sum(error(found)) <= 1.05 * sum(error(expected))


def test_it_computes_the_same_eagerly():
    plain, fast = plain_and_fast()
    np.testing.assert_allclose(
        fast(IMAGES, training=True), plain(IMAGES, training=True), rtol=0, atol=1e-5
    )


def test_prediction_is_the_layers_own_and_exports_nothing_compiled():
    plain, fast = plain_and_fast()
    expected, found = (
        tf.function(lambda images, model=model: model(images, training=False), autograph=False)
        for model in (plain, fast)
    )
    assert compiled_calls(found, tf.constant(IMAGES)) == 0
    np.testing.assert_array_equal(found(IMAGES), expected(IMAGES))


def test_a_file_is_that_of_the_layers_and_is_fast_again_when_read(tmp_path):
    _, fast = plain_and_fast()
    path = tmp_path / "fast.keras"
    saving.save_model(fast, str(path), {"classes": list("abcde")})
    with zipfile.ZipFile(path) as archive:
        content = archive.read("config.json")
    assert b"fused" not in content and b"cloudtf" not in content
    elsewhere = tf.keras.utils.deserialize_keras_object(json.loads(content))
    elsewhere.set_weights(fast.get_weights())
    np.testing.assert_array_equal(elsewhere(IMAGES), fast(IMAGES))
    _, run = step(saving.load_model(str(path)))
    assert compiled_calls(run, tf.constant(IMAGES)) == 4


def test_small_tensors_are_not_worth_compiling_for(monkeypatch):
    monkeypatch.setattr(fused, "_LEAST_ELEMENTS", BATCH * SIDE * SIDE * 12)
    _, fast = plain_and_fast()
    _, run = step(fast)
    assert compiled_calls(run, tf.constant(IMAGES)) == 2, "of 12 channels, not of 5"


@pytest.mark.parametrize(
    "channels, gate_dtype, regularizer, calls",
    [(1, None, None, 4), (12, "float32", None, 4), (12, None, "l2", 2)],
)
def test_gates_and_regularizers_of_other_kinds_are_left_to_keras(
    channels, gate_dtype, regularizer, calls
):
    layers = tf.keras.layers

    def make():
        tf.keras.utils.set_random_seed(3)
        image = tf.keras.Input((SIDE, SIDE, 3))
        x = layers.Conv2D(12, 3, padding="same", dtype="mixed_bfloat16")(image)
        y = layers.Activation("swish", dtype="mixed_bfloat16")(x)
        y = layers.Activation("swish", dtype="mixed_bfloat16", activity_regularizer=regularizer)(y)
        x = layers.GlobalAveragePooling2D(keepdims=True, dtype="mixed_bfloat16")(y)
        x = layers.Conv2D(channels, 1, activation="sigmoid", dtype=gate_dtype)(x)
        x = layers.Multiply(dtype="mixed_bfloat16")([y, x])
        return tf.keras.Model(image, layers.GlobalAveragePooling2D(dtype="float32")(x))

    plain, fast = make(), make()
    fused.speed_up(fast)
    expected, _ = step(plain)
    found, run = step(fast)
    assert compiled_calls(run, tf.constant(IMAGES)) == calls
    for one, other in zip(found, expected):
        one, other = one.astype(np.float32), other.astype(np.float32)
        np.testing.assert_allclose(one, other, rtol=0, atol=0.02 * np.abs(other).max())
    assert len(fast.losses) == len(plain.losses)


def test_a_swish_that_something_else_reads_too_keeps_its_gradient():
    """Then what follows is not all of the squeeze-and-excite."""

    def with_another_reader():
        model = make_network()
        inner = model.get_layer("first").output
        pooled = tf.keras.layers.GlobalMaxPooling2D()(inner)
        return tf.keras.Model(model.input, tf.keras.layers.Concatenate()([model.output, pooled]))

    plain, fast = with_another_reader(), with_another_reader()
    fused.speed_up(fast)
    for one, other in zip(step(fast)[0], step(plain)[0]):
        np.testing.assert_allclose(one, other, rtol=0, atol=1e-5 * np.abs(other).max())
