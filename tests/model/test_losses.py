import numpy as np
import pytest
import tensorflow as tf

from cloudtf.errors import UserError
from cloudtf.model import losses
from cloudtf.model.choices import LOSSES

generator = np.random.default_rng(0)
TRUE = generator.integers(0, 2, (6, 4)).astype(np.float32)
PREDICTED = generator.uniform(0, 1, (6, 4)).astype(np.float32)


def original_dice(true, predicted):
    return (2 * np.sum(true * predicted) + 1) / (np.sum(true) + np.sum(predicted) + 1)


@pytest.mark.filterwarnings("ignore:categorical")
@pytest.mark.parametrize("name", LOSSES)
def test_every_loss_gives_one_number_an_example(name):
    loss = losses.get_loss(name)(TRUE, PREDICTED)
    assert loss.shape == (6,)
    assert loss.dtype == tf.float32


def test_bce_is_kerass_and_the_formula():
    loss = losses.get_loss("bce")(TRUE, PREDICTED)
    formula = -np.mean(TRUE * np.log(PREDICTED) + (1 - TRUE) * np.log(1 - PREDICTED), axis=1)
    np.testing.assert_allclose(loss, formula, rtol=1e-4)
    np.testing.assert_array_equal(loss, tf.keras.losses.binary_crossentropy(TRUE, PREDICTED))


def test_bce_is_finite_for_certain_and_wrong_predictions():
    loss = losses.get_loss("bce")(np.float32([[1, 0]]), np.float32([[0, 1]]))
    np.testing.assert_allclose(loss, [-np.log(1e-7)], rtol=0.1)


def test_bce_keeps_the_gradient_of_a_saturated_output():
    head = tf.keras.layers.Dense(1, activation="sigmoid", kernel_initializer="ones")
    x = tf.constant([[-40.0]])
    head(x)

    @tf.function
    def gradient():
        with tf.GradientTape() as tape:
            loss = losses.get_loss("bce")(tf.constant([[1.0]]), head(x))
        return tape.gradient(loss, head.bias)

    np.testing.assert_allclose(gradient(), [-1.0], rtol=1e-5)


def test_dice_coef_is_the_original_notebooks():
    expected = original_dice(TRUE, PREDICTED)
    np.testing.assert_allclose(losses.dice_coef(TRUE, PREDICTED), expected, rtol=1e-6)
    assert losses.dice_coef(TRUE, TRUE).numpy() == pytest.approx(1.0)
    assert losses.dice_coef(tf.zeros([2, 4]), tf.zeros([2, 4])).numpy() == 1.0


def test_dice_and_bce_dice_are_the_original_notebooks():
    dice = losses.get_loss("dice")(TRUE, PREDICTED)
    np.testing.assert_allclose(dice, np.full(6, 1 - original_dice(TRUE, PREDICTED)), rtol=1e-5)
    both = losses.get_loss("bce_dice")(TRUE, PREDICTED)
    np.testing.assert_allclose(both, dice + losses.get_loss("bce")(TRUE, PREDICTED), rtol=1e-6)


def test_categorical_crossentropy_is_the_original_notebooks_and_warns():
    with pytest.warns(UserWarning, match="as if exactly one class were present"):
        loss = losses.get_loss("categorical_crossentropy")
    shares = PREDICTED / PREDICTED.sum(axis=1, keepdims=True)
    expected = -np.sum(TRUE * np.log(shares), axis=1)
    np.testing.assert_allclose(loss(TRUE, PREDICTED), expected, rtol=1e-4)
    # What the warning says: scaling all probabilities changes nothing.
    np.testing.assert_allclose(loss(TRUE, PREDICTED / 2), expected, rtol=1e-4)


def test_an_unknown_loss_is_named():
    with pytest.raises(UserError, match="no loss 'focal'; the losses are bce, dice"):
        losses.get_loss("focal")
