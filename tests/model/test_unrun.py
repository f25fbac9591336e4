"""How often the layers of a network are run while it is put together."""

import collections

import numpy as np
import pytest
import tensorflow as tf

from cloudtf.model import network, saving, stored_weights
from cloudtf.model.random_layers import FixedDropout

RUN = (
    FixedDropout.__name__,
    "Activation", "Add", "BatchNormalization", "Conv2D", "DepthwiseConv2D",
    "GlobalAveragePooling2D", "Multiply", "Reshape", "Rescaling", "Dense",
)  # fmt: skip


@pytest.fixture
def runs(monkeypatch):
    """How often layers are run, by the names of their classes."""
    counts = collections.Counter()
    for name in RUN:
        kind = getattr(tf.keras.layers, name, FixedDropout)

        def counting(self, inputs, *args, run=kind.call, name=name, **kwargs):
            counts[name] += 1
            return run(self, inputs, *args, **kwargs)

        monkeypatch.setattr(
            kind, "call", tf.__internal__.decorator.make_decorator(kind.call, counting)
        )
    return counts


@pytest.mark.parametrize(
    "name", ["efficientnetlite0", pytest.param("efficientnetb0", marks=pytest.mark.slow)]
)
def test_a_network_is_built_and_read_without_running_its_body_and_traced_once(name, runs, tmp_path):
    model = network.build_model(name, 2, (32, 32))
    assert runs == {"Rescaling": 1, "Dense": 1}
    saving.save_model(model, str(tmp_path / "a.keras"), {"classes": ["a", "b"]})
    runs.clear()
    read = saving.load_model(str(tmp_path / "a.keras"))
    assert runs == {"Rescaling": 1, "Dense": 1}
    images = np.random.default_rng(0).integers(0, 256, (2, 32, 32, 3)).astype(np.uint8)
    assert np.array_equal(read(images), model(images))
    runs.clear()
    tf.function(read, autograph=False).get_concrete_function(images, training=False)
    layers = collections.Counter(type(layer).__name__ for layer in model._flatten_layers())
    assert runs == {layer: layers[layer] for layer in RUN if layers[layer]}


def test_what_takes_another_shape_than_its_own_is_run(tmp_path):
    inner = tf.keras.Sequential.__base__
    image = tf.keras.Input((None, None, 3))
    body = inner(image, tf.keras.layers.Conv2D(2, 3, name="conv")(image), name="body")
    outer = tf.keras.Input((8, 8, 3))
    x = tf.keras.layers.Flatten()(body(outer))
    model = tf.keras.Model(outer, tf.keras.layers.Dense(1, activation="sigmoid")(x))
    saving.save_model(model, str(tmp_path / "a.keras"), {"classes": ["a"]})
    read = saving.load_model(str(tmp_path / "a.keras"))
    images = np.ones([2, 8, 8, 3], np.float32)
    assert np.array_equal(read(images), model(images))


@pytest.mark.parametrize("heads", [0, 4])
def test_weights_are_read_by_layer_or_where_there_are_others_by_keras(monkeypatch, tmp_path, heads):
    image = tf.keras.Input((4, 4, 3))
    x = tf.keras.layers.Conv2D(4, 1)(image)
    if heads:
        x = tf.keras.layers.MultiHeadAttention(heads, 4, name="attention")(x, x)
    x = tf.keras.layers.GlobalAveragePooling2D()(tf.keras.layers.Conv2D(4, 1)(x))
    model = tf.keras.Model(image, tf.keras.layers.Dense(2, "sigmoid")(x))
    path = str(tmp_path / "a.weights.h5")
    model.save_weights(path)
    values = model.get_weights()
    model.set_weights([0 * value for value in values])
    asked = []
    monkeypatch.setattr(type(model), "load_weights", _recording(type(model).load_weights, asked))
    stored_weights.load(model, path)
    assert bool(asked) == bool(heads)
    assert all(map(np.array_equal, values, model.get_weights()))


def _recording(load, asked):
    def record(self, path):
        asked.append(path)
        return load(self, path)

    return record
