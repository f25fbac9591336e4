"""EfficientNetV2 and ConvNeXt: Keras's networks, in all that cloudtf does with one.

Of each family a small member in every run, the others with -m slow.
"""

from __future__ import annotations

import hashlib
import json
import zipfile

import numpy as np
import pytest
import tensorflow as tf

from cloudtf import files
from cloudtf.errors import UserError
from cloudtf.evaluation.exporting import export
from cloudtf.model import keras_bodies, losses, network, optimizers, random_layers, saving, weights
from cloudtf.model.choices import KERAS_MODELS, WITHOUT_BATCH_NORM
from cloudtf.model.export import ExportConfig
from cloudtf.model.layer_rates import blocks
from cloudtf.training.step import TrainStep
from tests import programs

SMALL = ("efficientnetv2b0", "convnexttiny")
# Where one says nearly as much as two.
FASTER = [pytest.param("efficientnetv2b0", marks=pytest.mark.slow), "convnexttiny"]
EVERY = [
    *SMALL,
    *(pytest.param(name, marks=pytest.mark.slow) for name in KERAS_MODELS if name not in SMALL),
]
# Residual blocks, as the papers' depths give them.
BLOCKS = {
    "efficientnetv2b0": 21,
    "efficientnetv2b1": 27,
    "efficientnetv2b2": 28,
    "efficientnetv2b3": 32,
    "efficientnetv2s": 40,
    "efficientnetv2m": 57,
    "efficientnetv2l": 79,
    "convnexttiny": 18,
    "convnextsmall": 36,
    "convnextbase": 36,
}
IMAGES = np.random.default_rng(0).integers(0, 256, (4, 32, 64, 3), dtype=np.uint8)


def original(name, **settings):
    """Keras's own network without its top."""
    make = getattr(tf.keras.applications, KERAS_MODELS[name])
    return make(include_top=False, input_shape=(32, 64, 3), **settings)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """By name: a model with weights like trained ones, and Keras's file that they are from."""
    known = {}

    def make(name):
        if name not in known:
            path = str(tmp_path_factory.mktemp(name) / f"{name}.h5")
            source, generator = original(name, weights=None), np.random.default_rng(5)
            source.set_weights(
                [
                    value + generator.normal(0, 0.02, value.shape)
                    if value.ndim > 1
                    else np.abs(value + generator.normal(0, 0.05, value.shape))
                    for value in source.get_weights()
                ]
            )
            source.save_weights(path)
            known[name] = network.build_model(name, 4, (32, 64), weights=path), path
        return known[name]

    return make


@pytest.mark.parametrize("name", EVERY)
def test_a_file_of_kerass_gives_the_features_of_kerass_own_network(name, made):
    """Keras's takes pixels from 0 to 255 too; what it does to them first, our own layer does."""
    model, path = made(name)
    expected = original(name, weights=path, pooling="avg")(IMAGES.astype(np.float32)).numpy()
    found = model.get_layer("body")(model.get_layer("normalise")(IMAGES)).numpy()
    assert np.ptp(expected, axis=0).max() > 1e-3, "the images are told apart"
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5 * np.abs(expected).max())


@pytest.mark.parametrize("name", EVERY)
def test_drop_connect_rises_by_the_block_and_follows_the_step(name, made):
    body, count = made(name)[0].get_layer("body"), BLOCKS[name]
    drops = [layer for layer in body.layers if isinstance(layer, tf.keras.layers.Dropout)]
    assert all(isinstance(layer, random_layers.FixedDropout) for layer in drops)
    rates = [layer.rate for layer in drops]
    assert rates == sorted(rates)
    assert rates[-1] == pytest.approx(network.DROP_CONNECT_RATE * (count - 1) / count)

    def drawn(step):
        with random_layers.stochastic_step(3, step):
            return np.stack([x(tf.ones([64, 2, 1, 1]), training=True) for x in drops])

    first = drawn(1)
    np.testing.assert_array_equal(first, drawn(1))
    assert not np.array_equal(first, drawn(2))
    np.testing.assert_array_equal(first[:, :, 0], first[:, :, 1], "whole examples are dropped")
    assert np.mean(first == 0) == pytest.approx(np.mean(rates), abs=0.04)


@pytest.mark.parametrize("name", EVERY)
def test_a_model_file_holds_plain_layers_and_gives_its_weights_to_the_bit(name, made, tmp_path):
    """Names of layers do not depend on what the program has built before."""
    model, _ = made(name)
    path = str(tmp_path / "model.keras")
    saving.save_model(model, path, {"classes": list("abcd")})
    again = network.build_model(name, 4, (32, 64), weights=path)  # Reads the file, and builds.
    np.testing.assert_array_equal(again(IMAGES), model(IMAGES))
    with zipfile.ZipFile(path) as archive:
        config = json.loads(archive.read("config.json"))
    found = json.dumps(config)
    assert '"groups": 1' in found and not any(f'"groups": {n}' in found for n in range(2, 10))
    assert not any(word in found for word in ("TFOpLambda", "StochasticDepth", "Lambda"))


def test_efficientnetv2_takes_settings_of_batch_norm_and_begins_as_a_shallow_network(made):
    def norms(model):
        kind = tf.keras.layers.BatchNormalization
        return [layer for layer in model.get_layer("body").layers if isinstance(layer, kind)]

    own = norms(made("efficientnetv2b0")[0])
    assert {(layer.momentum, layer.synchronized) for layer in own} == {(0.9, False)}
    model = network.build_model(
        "efficientnetv2b0", 2, (32, 32), batch_norm_momentum=0.8, sync_batch_norm=True
    )
    asked = norms(model)
    assert len(asked) == len(own)
    assert {(layer.momentum, layer.synchronized) for layer in asked} == {(0.8, True)}
    without = [layer.name for layer in asked if not layer.gamma.numpy().any()]
    # Of 21 blocks the first of each of six stages has no way around it.
    assert len(without) == 21 - 6
    assert "block2b_project_bn" in without and "block2a_project_bn" not in without


@pytest.mark.parametrize("name", EVERY)
def test_rates_by_depth_know_its_blocks(name, made):
    # Beside them stem and top; in ConvNeXt the stem and three layers that halve the size.
    others = 2 if name.startswith("efficientnetv2") else 4
    body = made(name)[0].get_layer("body")
    assert len(blocks(body)) == BLOCKS[name] + others
    has_norm = any(isinstance(x, tf.keras.layers.BatchNormalization) for x in body.layers)
    assert has_norm == (name not in WITHOUT_BATCH_NORM)


@pytest.mark.parametrize("name", SMALL)
def test_a_frozen_body_runs_as_in_inference_and_trains_its_head_alone(name, made):
    model, _ = made(name)
    network.set_body_trainable(model, False)
    try:
        assert [weight.name for weight in model.trainable_weights] == [
            "probabilities/kernel:0",
            "probabilities/bias:0",
        ]
        with random_layers.stochastic_step(3, 1):
            np.testing.assert_array_equal(model(IMAGES, training=True), model(IMAGES))
    finally:
        network.set_body_trainable(model, True)


@pytest.mark.parametrize("name", FASTER)
def test_it_trains_in_half_precision_with_its_weights_and_answers_in_float32(name):
    tf.keras.mixed_precision.set_global_policy("mixed_bfloat16")
    try:
        model = network.build_model(name, 2, (32, 64))
    finally:
        tf.keras.mixed_precision.set_global_policy("float32")
    assert {weight.dtype for weight in model.trainable_weights} == {tf.float32}
    body = model.get_layer("body")
    assert body.output.dtype == tf.bfloat16
    kinds = (tf.keras.layers.Conv2D, tf.keras.layers.DepthwiseConv2D, tf.keras.layers.Dense)
    assert {x.compute_dtype for x in body.layers if isinstance(x, kinds)} == {"bfloat16"}
    assert model(IMAGES).dtype == tf.float32


@pytest.mark.parametrize("name", FASTER)
def test_a_step_from_a_checkpoint_is_the_step_without_it_to_the_bit(name, tmp_path):
    """Without tracing; with all of a run: the next test."""
    labels = tf.constant([[0.0, 1], [1, 0], [1, 1], [0, 0]])

    def begun():
        tf.keras.utils.set_random_seed(1)
        model = network.build_model(name, 2, (32, 64), dropout=0.2)
        optimizer = optimizers.make_optimizer("adam", 1e-3, 10)
        _ = optimizer.iterations
        optimizer._create_all_weights(model.trainable_variables)
        strategy = tf.distribute.get_strategy()
        step = TrainStep(model, optimizer, losses.get_loss("bce"), strategy, 4, 5).replica_step
        checkpoint = tf.train.Checkpoint(model=model, optimizer=optimizer)
        return model, checkpoint, lambda: float(step(IMAGES, labels, None, None))

    model, checkpoint, step = begun()
    step()
    prefix = checkpoint.write(str(tmp_path / "weights"))
    second = step()
    other, checkpoint, step = begun()
    checkpoint.read(prefix).assert_consumed()
    assert step() == second
    for ours, theirs in zip(other.get_weights(), model.get_weights()):
        np.testing.assert_array_equal(ours, theirs)


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("name", SMALL)
def test_a_whole_run_resumes_to_the_bit(name, records_dir, tmp_path):
    found = programs.answer("train_body", records_dir, tmp_path, name, "parts", timeout=850)
    assert found["parts"] == found["whole"]
    assert [row["stage"] for row in found["whole"]["history"]] == ["head", "whole"]


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("name", SMALL)
def test_two_replicas_are_as_one_device(name, records_dir, tmp_path):
    found = programs.answer("train_body", records_dir, tmp_path, name, "replicas", timeout=850)
    (one,), (two,) = found["one"]["history"], found["two"]["history"]
    assert two["loss"] == pytest.approx(one["loss"], rel=1e-3)
    assert two["val_loss"] == pytest.approx(one["val_loss"], rel=1e-3)


@pytest.fixture
def saved(made, tmp_path):
    def save(name):
        path = str(tmp_path / "model.keras")
        saving.save_model(made(name)[0], path, {"classes": list("abcd")})
        return path, made(name)[0](IMAGES).numpy()

    return save


@pytest.mark.parametrize("name", FASTER)
def test_tflite_gives_what_the_model_gives_by_its_own_ops(name, saved, tmp_path):
    path, expected = saved(name)
    export(
        ExportConfig(model=path, output=f"{tmp_path}/model.tflite", format="tflite", prove=False)
    )
    interpreter = tf.lite.Interpreter(f"{tmp_path}/model.tflite")
    names = {op["op_name"] for op in interpreter._get_ops_details()}
    assert not any(word.startswith(("Flex", "CUSTOM")) for word in names)
    found = interpreter.get_signature_runner("images")(images=IMAGES)["probabilities"]
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("name", SMALL)
def test_a_saved_model_gives_what_the_model_gives(name, saved, tmp_path):
    path, expected = saved(name)
    export(ExportConfig(model=path, output=f"{tmp_path}/saved", prove=False))
    served = tf.saved_model.load(f"{tmp_path}/saved").signatures["images"]
    found = served(images=tf.constant(IMAGES))["probabilities"]
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("name", SMALL)
def test_onnx_gives_what_the_model_gives(name, saved, tmp_path):
    pytest.importorskip("tf2onnx")
    onnxruntime = pytest.importorskip("onnxruntime")
    path, expected = saved(name)
    export(ExportConfig(model=path, output=f"{tmp_path}/model.onnx", format="onnx", prove=False))
    session = onnxruntime.InferenceSession(f"{tmp_path}/model.onnx")
    (found,) = session.run(["probabilities"], {"images": IMAGES})
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5)


# Where weights come from.


@pytest.fixture
def server(loopback, monkeypatch):
    """A loopback server in the place of Keras's."""
    for name in SMALL:
        monkeypatch.setattr(keras_bodies.home(name), "BASE_WEIGHTS_PATH", loopback.url)
    return loopback


@pytest.mark.parametrize(
    ("name", "file", "key", "algorithm"),
    [
        ("efficientnetv2b0", "efficientnetv2-b0_notop.h5", "b0", "md5"),
        ("convnexttiny", "convnext_tiny_notop.h5", "convnext_tiny", "sha256"),
    ],
)
def test_imagenet_weights_are_fetched_once_checked_and_loaded(
    name, file, key, algorithm, made, server, tmp_path, monkeypatch
):
    model, path = made(name)
    content = files.read_bytes(path)
    (server.folder / file).write_bytes(content)
    hashes = {key: ("", hashlib.new(algorithm, content).hexdigest())}
    monkeypatch.setattr(keras_bodies.home(name), "WEIGHTS_HASHES", hashes)
    cache = str(tmp_path / "cache")
    loaded = network.build_model(name, 4, (32, 64))
    assert weights.load(loaded, name, "imagenet", cache) == ["body"]
    for ours, theirs in zip(loaded.get_layer("body").get_weights(), model.get_weights()):
        np.testing.assert_array_equal(ours, theirs)
    assert weights.fetch(name, "imagenet", cache) == f"{cache}/{file}"
    assert len(server.requests) == 1 and files.list_dir(cache) == [file]
    (server.folder / file).write_bytes(b"something else")
    with pytest.raises(UserError, match=f"{file} does not have the published hash"):
        weights.fetch(name, "imagenet", str(tmp_path / "empty"))


def test_where_weights_cannot_be_had_it_is_said_what_to_do(tmp_path, monkeypatch):
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    home = keras_bodies.home("convnexttiny")
    monkeypatch.setattr(home, "BASE_WEIGHTS_PATH", "http://127.0.0.1:1/")
    sentence = "download http://127.0.0.1:1/convnext_tiny_notop.h5 yourself and pass weights='PATH'"
    with pytest.raises(UserError, match=sentence):
        weights.fetch("convnexttiny", "imagenet", str(tmp_path))
    with pytest.raises(UserError, match="no noisy-student weights for efficientnetv2b0"):
        weights.fetch("efficientnetv2b0", "noisy-student", str(tmp_path))


@pytest.mark.parametrize("name", KERAS_MODELS)
def test_every_network_has_kerass_address_and_hash(name):
    url, expected = weights.source(name, "imagenet")
    assert url.startswith("https://storage.googleapis.com/tensorflow/keras-applications/")
    assert url.endswith("_notop.h5")
    assert url.rpartition("/")[2].translate({ord(c): None for c in "-_"}).startswith(name)
    assert len(expected) == (64 if name.startswith("convnext") else 32)


def test_weights_of_another_network_are_refused(made):
    model, path = made("convnexttiny")
    with pytest.raises(UserError, match="not those of convnexttiny without its top"):
        weights.load(model, "convnexttiny", made("efficientnetv2b0")[1])
    with pytest.raises(UserError, match="not those of efficientnetb0 without its top"):
        network.build_model("efficientnetb0", 2, (32, 32), weights=path)
