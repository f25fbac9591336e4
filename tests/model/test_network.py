import numpy as np
import pytest
import tensorflow as tf

from cloudtf.errors import UserError
from cloudtf.model import fused, network
from cloudtf.model.choices import MODELS
from tests import programs


@pytest.fixture(scope="module")
def b2():
    return network.build_model("efficientnetb2", 4, (224, 224), weights=None)


@pytest.fixture
def tiny():
    return network.build_model("tiny", 3, (32, 48))


def images(count, height, width, channels=3):
    generator = np.random.default_rng(0)
    return generator.integers(0, 256, (count, height, width, channels), dtype=np.uint8)


def layers_of(model, kind):
    return [layer for layer in model.get_layer("body").layers if isinstance(layer, kind)]


def test_b2_has_exactly_the_original_notebooks_parameters(b2):
    trainable = sum(int(np.prod(w.shape)) for w in b2.trainable_weights)
    assert b2.count_params() == 7_774_198
    assert trainable == 7_706_630


def test_the_model_takes_uint8_images_and_gives_float32_probabilities(b2):
    assert b2.inputs[0].name == "image"
    assert b2.inputs[0].dtype == tf.uint8
    assert b2.inputs[0].shape.as_list() == [None, 224, 224, 3]
    assert b2.outputs[0].dtype == tf.float32
    assert b2.output_names == ["probabilities"]


def test_b2_drop_connect_follows_the_paper(b2):
    rates = {
        layer.name: layer.rate for layer in b2.get_layer("body").layers if hasattr(layer, "rate")
    }
    assert rates["block7b_drop"] == pytest.approx(0.2 * 22 / 23)
    # Blocks 0 and 1 are block1a and block1b: the second is the first with a shortcut.
    assert rates["block1b_drop"] == pytest.approx(0.2 * 1 / 23)
    assert len(rates) == network.num_blocks("efficientnetb2") - 7


def test_b2_computes_swish_and_squeeze_and_excite_together_in_training(b2):
    plan = fused.plan_of(b2.get_layer("body"))
    assert len(plan.swishes) == 2 * 23 - 2 + 2, "two a block, one in the first two; stem and top"
    assert sum(gating is not None for gating in plan.swishes.values()) == 23


def test_the_number_of_blocks_is_the_networks(b2):
    # tensorflow/tpu's efficientnet: ceil(depth x repeats) summed over the seven stages.
    expected = [16, 23, 23, 26, 32, 39, 45, 55]
    assert [network.num_blocks(name) for name in MODELS[:8]] == expected
    names = [layer.name for layer in b2.get_layer("body").layers]
    assert len([name for name in names if name.endswith("_dwconv")]) == 23


def test_normalisation_is_imagenets(tiny):
    x = images(2, 32, 48)
    layer = tf.keras.Model(tiny.input, tiny.get_layer("normalise").output)
    expected = (x / 255 - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225]
    np.testing.assert_allclose(layer(x), expected, atol=1e-5)


def test_batch_norm_momentum_reaches_every_layer():
    for name in ("efficientnetb0", "tiny"):
        model = network.build_model(name, 2, (32, 32), batch_norm_momentum=0.9)
        norms = layers_of(model, tf.keras.layers.BatchNormalization)
        assert norms
        assert {layer.momentum for layer in norms} == {0.9}


def test_batch_norm_is_the_packages_own_by_default(b2):
    norms = layers_of(b2, tf.keras.layers.BatchNormalization)
    assert {layer.momentum for layer in norms} == {0.99}
    assert not any(layer.synchronized for layer in norms)


def test_sync_batch_norm_reaches_every_layer():
    model = network.build_model("tiny", 2, (32, 32), sync_batch_norm=True)
    assert all(layer.synchronized for layer in layers_of(model, tf.keras.layers.BatchNormalization))


def test_mixed_precision_keeps_float32_probabilities():
    tf.keras.mixed_precision.set_global_policy("mixed_float16")
    try:
        model = network.build_model("tiny", 2, (32, 32), dropout=0.5)
    finally:
        tf.keras.mixed_precision.set_global_policy("float32")
    x = images(2, 32, 32)
    assert model.get_layer("normalise").compute_dtype == "float32"
    assert model.get_layer("body")(tf.zeros([1, 32, 32, 3])).dtype == tf.float16
    assert model(x, training=True).dtype == tf.float32
    assert {w.dtype for w in model.trainable_weights} == {tf.float32}


def test_a_frozen_body_runs_as_in_inference(tiny):
    network.set_body_trainable(tiny, False)
    assert [w.name for w in tiny.trainable_weights] == [
        "probabilities/kernel:0",
        "probabilities/bias:0",
    ]
    x = images(8, 32, 48)
    before = [w.numpy() for w in tiny.weights]
    np.testing.assert_array_equal(tiny(x, training=True), tiny(x, training=False))
    for old, new in zip(before, tiny.weights):
        np.testing.assert_array_equal(old, new)


def test_a_thawed_body_trains_again(tiny):
    everything = len(tiny.trainable_weights)
    network.set_body_trainable(tiny, False)
    network.set_body_trainable(tiny, True)
    assert len(tiny.trainable_weights) == everything
    mean = tiny.get_layer("body").get_layer("stem_bn").moving_mean
    before = mean.numpy()
    tiny(images(8, 32, 48), training=True)
    assert not np.array_equal(before, mean)


def test_other_numbers_of_channels_work_with_random_weights():
    model = network.build_model("tiny", 2, (32, 32), num_channels=1)
    assert model(images(2, 32, 32, 1)).shape == (2, 2)
    with pytest.raises(UserError, match="is for 3 channels, not 1"):
        network.build_model("tiny", 2, (32, 32), num_channels=1, weights="imagenet")


def test_tiny_is_tiny(tiny):
    assert 5_000 < tiny.count_params() < 15_000


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"name": "resnet"}, "no model 'resnet'; the models are efficientnetb0, .*tiny"),
        ({"image_shape": (31, 64)}, r"\(31, 64\) must be .* at least 32"),
        ({"image_shape": (64,)}, "a height and a width"),
        ({"num_classes": 0}, "at least one class, not 0"),
        ({"dropout": 1.0}, "dropout=1.0"),
        ({"batch_norm_momentum": 1.0}, "batch_norm_momentum=1.0"),
    ],
)
def test_bad_arguments_are_named(arguments, message):
    with pytest.raises(UserError, match=message):
        network.build_model(
            **{"name": "tiny", "num_classes": 2, "image_shape": (32, 32)} | arguments
        )


def test_the_names_to_choose_from_need_no_tensorflow():
    assert "tensorflow" not in programs.answer("importing", "choices_alone")
