"""Which block of which network a weight belongs to, and the rate that it has."""

from __future__ import annotations

import pytest
import tensorflow as tf

from cloudtf.errors import UserError
from cloudtf.model import network
from cloudtf.model.layer_rates import blocks, rate_factors


def names(body):
    return [[layer.name for layer in block] for block in blocks(body)]


def test_efficientnets_blocks_are_its_own():
    body = network.build_model("efficientnetb0", 2, (32, 32)).get_layer("body")
    found = names(body)
    assert len(found) == 1 + 16 + 1, "stem, blocks, top"
    assert found[0] == ["stem_conv", "stem_bn"] and found[-1] == ["top_conv", "top_bn"]
    for block in found[1:-1]:
        assert len({name.split("_")[0] for name in block}) == 1
    assert [block[0].split("_")[0] for block in found[1:4]] == ["block1a", "block2a", "block2b"]


@pytest.mark.parametrize(
    ("make", "count"),
    [
        ("ResNet50", 1 + 16),
        ("EfficientNetV2B0", 1 + 21 + 1),
        ("ConvNeXtTiny", 1 + 18 + 3),
    ],
)
def test_blocks_of_keras_networks_are_found_by_their_names(make, count):
    body = getattr(tf.keras.applications, make)(
        include_top=False, weights=None, input_shape=(32, 32, 3)
    )
    found = blocks(body)
    assert len(found) == count
    weights = [weight.ref() for block in found for layer in block for weight in layer.weights]
    assert len(weights) == len(set(weights)) == len(body.weights)


def test_elsewhere_a_block_is_a_kernel_and_the_norms_after_it():
    layers = tf.keras.layers
    body = tf.keras.Sequential(
        [
            layers.Conv2D(4, 3, input_shape=(8, 8, 3), name="first"),
            layers.BatchNormalization(name="norm"),
            layers.ReLU(),
            layers.Conv2D(4, 3, name="second"),
            layers.Conv2D(4, 3, name="third"),
            layers.LayerNormalization(name="last"),
        ]
    )
    assert names(body) == [["first", "norm"], ["second"], ["third", "last"]]


def test_rates_fall_with_depth_and_the_heads_stays():
    model = network.build_model("tiny", 3, (32, 32))
    body, head = model.get_layer("body"), model.get_layer("probabilities")
    factors = rate_factors(model, body_rate=0.5, layer_decay=0.1)
    for name, expected in [
        ("stem_conv", 5e-4), ("stem_bn", 5e-4), ("down_conv", 5e-3), ("block_bn", 5e-2),
    ]:  # fmt: skip
        for weight in body.get_layer(name).weights:
            assert factors[weight.ref()] == pytest.approx(expected)
    assert not {weight.ref() for weight in head.weights} & set(factors)
    assert set(rate_factors(model, body_rate=0.5).values()) == {0.5}
    assert rate_factors(model) == {}


def test_a_network_without_a_body_is_refused():
    model = tf.keras.Sequential([tf.keras.layers.Dense(2, input_shape=(3,))])
    with pytest.raises(UserError, match=r"body_rate=0\.1 needs a model with a layer called 'body'"):
        rate_factors(model, body_rate=0.1)
    with pytest.raises(UserError, match=r"layer_decay=0\.9 needs"):
        rate_factors(model, layer_decay=0.9)
    assert rate_factors(model) == {}
