"""The head of a network, apart from the rest."""

import numpy as np
import pytest
import tensorflow as tf

from cloudtf.errors import UserError
from cloudtf.model import head, network
from cloudtf.model.logistic import LinearHead


def test_a_head_that_is_put_in_gives_its_log_odds():
    model = network.build_model("tiny", 3, (32, 48), dropout=0.5)
    images = np.random.default_rng(0).integers(0, 256, [5, 32, 48, 3], np.uint8)
    features = head.feature_model(model).predict(images, verbose=0)
    assert features.shape == (5, 24)
    found = LinearHead(np.random.default_rng(1).normal(size=[24, 3]), np.array([-1.0, 0.0, 2.0]))
    head.set_head(model, found)
    odds = features @ found.kernel + found.bias
    np.testing.assert_allclose(model.predict(images, verbose=0), 1 / (1 + np.exp(-odds)), atol=1e-6)


@pytest.mark.parametrize(
    "last",
    [
        tf.keras.layers.Dense(2, "softmax"),
        tf.keras.layers.Dense(2, "sigmoid", use_bias=False),
        tf.keras.layers.Activation("sigmoid", name="last"),
    ],
)
def test_another_end_than_a_dense_sigmoid_is_refused(last):
    model = tf.keras.Sequential([tf.keras.Input([2]), last])
    with pytest.raises(UserError, match="head='features' needs a network that ends in a dense"):
        head.feature_model(model)
