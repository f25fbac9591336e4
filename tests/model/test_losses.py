import numpy as np
import pytest
import tensorflow as tf

from cloudtf.errors import UserError
from cloudtf.model import class_weights, losses, unknown_labels
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
    loss = losses.get_loss("bce", unknown=False)(TRUE, PREDICTED)
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
    with pytest.raises(UserError, match="no loss 'hinge'; the losses are bce, focal, asymmetric"):
        losses.get_loss("hinge")


# Labels of which a few are unknown, of one example all.
PARTLY = np.where(generator.uniform(size=TRUE.shape) < 0.3, -1, TRUE).astype(np.float32)
PARTLY[2] = -1
# What each cross-entropy is made of: exponents and scales of what is present and absent, the clip.
TERMS = {
    "bce": (0, 0, 1, 1, 0),
    "focal": (1.5, 1.5, 0.3, 0.7, 0),
    "asymmetric": (0.5, 3, 1, 1, 0.05),
}
OPTIONS = {
    "bce": {},
    "focal": {"focal_gamma": 1.5, "focal_alpha": 0.3},
    "asymmetric": {
        "asymmetric_gamma_pos": 0.5, "asymmetric_gamma_neg": 3.0, "asymmetric_clip": 0.05,
    },
}  # fmt: skip
WEIGHTS = [0.5, 1.0, 3.0, 7.0]


def formula(name, true, p, weights=1.0, smoothing=0.0):
    """The loss of each known pair as its paper has it, in float64."""
    gamma_pos, gamma_neg, scale_pos, scale_neg, clip = TERMS[name]
    true, p = np.asarray(true, np.float64), np.asarray(p, np.float64)
    true = true * (1 - smoothing) + smoothing / 2
    q = np.maximum(p - clip, 0)
    present = -weights * scale_pos * true * (1 - p) ** gamma_pos * np.log(p)
    return present - scale_neg * (1 - true) * q**gamma_neg * np.log(1 - q)


@pytest.mark.parametrize("name", TERMS)
@pytest.mark.parametrize("weights, smoothing", [(None, 0.0), (WEIGHTS, 0.0), (WEIGHTS, 0.2)])
def test_cross_entropies_are_the_formulas_of_their_papers(name, weights, smoothing):
    loss = losses.get_loss(
        name, positive_weights=weights, label_smoothing=smoothing, **OPTIONS[name]
    )
    pairs = formula(name, TRUE, PREDICTED, np.array(weights or 1.0), smoothing)
    np.testing.assert_allclose(loss(TRUE, PREDICTED), pairs.mean(axis=1), rtol=1e-5)


@pytest.mark.parametrize("name", TERMS)
@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_the_loss_of_an_example_is_the_mean_over_its_known_labels(name, smoothing):
    loss = losses.get_loss(
        name, positive_weights=WEIGHTS, label_smoothing=smoothing, **OPTIONS[name]
    )(PARTLY, PREDICTED).numpy()
    pairs = formula(name, TRUE, PREDICTED, np.array(WEIGHTS), smoothing)
    for found, label, values in zip(loss, PARTLY, pairs):
        wanted = values[label >= 0].mean() if (label >= 0).any() else 0
        assert found == pytest.approx(wanted, rel=1e-5)


@pytest.mark.filterwarnings("ignore:categorical")
def test_dice_and_categorical_crossentropy_are_those_of_the_known_pairs():
    known = PARTLY >= 0
    wanted = 1 - original_dice(PARTLY[known], PREDICTED[known])
    np.testing.assert_allclose(losses.get_loss("dice")(PARTLY, PREDICTED), [wanted] * 6, rtol=1e-5)
    both = losses.get_loss("bce")(PARTLY, PREDICTED) + np.float32(wanted)
    np.testing.assert_allclose(losses.get_loss("bce_dice")(PARTLY, PREDICTED), both, rtol=1e-5)
    found = losses.get_loss("categorical_crossentropy")(PARTLY, PREDICTED).numpy()
    for value, label, p in zip(found, PARTLY, PREDICTED):
        at = label >= 0
        wanted = -np.sum(label[at] * np.log(p[at] / p[at].sum())) if at.any() else 0
        assert value == pytest.approx(wanted, rel=1e-4)


@pytest.mark.filterwarnings("ignore:categorical")
@pytest.mark.parametrize("name", LOSSES)
def test_where_all_is_known_nothing_changes_by_asking_for_unknown_labels(name):
    ones, others = (losses.get_loss(name, unknown=u)(TRUE, PREDICTED) for u in (True, False))
    np.testing.assert_allclose(ones, others, rtol=1e-5)


def head_and_gradient(name, labels, logits, **options):
    """The loss of logits behind a sigmoid as Keras knows it, and its gradient by them."""
    sigmoid = tf.keras.layers.Activation("sigmoid")
    loss = losses.get_loss(name, **options)

    @tf.function
    def both(x):
        with tf.GradientTape() as tape:
            tape.watch(x)
            value = loss(labels, sigmoid(x))
        return value, tape.gradient(value, x)

    return tuple(part.numpy() for part in both(tf.constant(logits, tf.float32)))


@pytest.mark.parametrize("name", TERMS)
def test_gradients_are_the_differences_of_the_formula(name):
    logits = generator.normal(size=TRUE.shape) * 3
    gradient = head_and_gradient(
        name, PARTLY, logits, positive_weights=WEIGHTS, label_smoothing=0.1, **OPTIONS[name]
    )[1]

    def summed(z):
        pairs = formula(name, TRUE, 1 / (1 + np.exp(-z)), np.array(WEIGHTS), 0.1)
        known = PARTLY >= 0
        return ((pairs * known).sum(axis=1) / np.maximum(known.sum(axis=1), 1)).sum()

    for at in np.ndindex(*logits.shape):
        step = np.zeros_like(logits)
        step[at] = 1e-5
        wanted = (summed(logits + step) - summed(logits - step)) / 2e-5
        assert gradient[at] == pytest.approx(wanted, rel=1e-3, abs=1e-6)
    assert (gradient[PARTLY < 0] == 0).all()


@pytest.mark.filterwarnings("ignore:categorical")
@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("gamma", [0.0, 0.3, 4.0])
def test_saturated_outputs_have_finite_losses_and_gradients(name, gamma):
    options = {"focal_gamma": gamma, "asymmetric_gamma_pos": gamma, "asymmetric_gamma_neg": gamma}
    labels = np.float32([[1, 0, -1, 1], [0, 1, 1, -1], [-1, -1, -1, -1]])
    sizes = np.repeat([0.0, 20.0, 90.0, 1e4], 3)[:, None]
    logits = sizes * [[1, -1, 1, -1]]
    for clip in (0.0, 0.05, 1.0) if name == "asymmetric" else (0.05,):
        value, gradient = head_and_gradient(
            name, np.tile(labels, (4, 1)), logits, asymmetric_clip=clip, **options
        )
        assert np.isfinite(value).all() and np.isfinite(gradient).all()
    certain = np.float32([[0, 1, 0, 1], [1, 0, 0.5, 1], [0, 0, 0, 0]])
    with tf.GradientTape() as tape:
        probabilities = tf.Variable(certain)
        value = losses.get_loss(name, **options)(labels, probabilities)
    assert np.isfinite(value).all() and np.isfinite(tape.gradient(value, probabilities)).all()


@pytest.mark.parametrize("name, least", [("bce", 0.99), ("focal", 0.24), ("asymmetric", 0.99)])
def test_a_certain_and_wrong_output_keeps_its_gradient(name, least):
    gradient = head_and_gradient(name, [[1.0]], [[-40.0]])[1]
    assert -1.01 < gradient[0, 0] < -least


def test_losses_are_float32_of_half_precision_outputs():
    half = tf.constant(PREDICTED, tf.float16)
    for name in TERMS:
        loss = losses.get_loss(name)(TRUE, half)
        assert loss.dtype == tf.float32
        np.testing.assert_allclose(loss, losses.get_loss(name)(TRUE, PREDICTED), rtol=2e-2)


@pytest.mark.filterwarnings("ignore:categorical")
@pytest.mark.parametrize("name", LOSSES)
def test_a_compiled_loss_is_the_same(name):
    loss = losses.get_loss(name)
    compiled = tf.function(loss, jit_compile=True, autograph=False)
    found = compiled(tf.constant(PARTLY), tf.constant(PREDICTED))
    np.testing.assert_allclose(found, loss(PARTLY, PREDICTED), rtol=1e-5)


def test_what_has_no_term_for_presence_takes_no_weights_and_no_smoothing():
    for options in ({"positive_weights": WEIGHTS}, {"label_smoothing": 0.1}):
        with pytest.raises(UserError, match="dice takes no positive weights and no label smooth"):
            losses.get_loss("dice", **options)


def test_masked_losses_of_keras_are_those_of_the_known_pairs():
    for name, loss in (
        ("bce", "binary_crossentropy"),
        ("focal", tf.keras.losses.BinaryFocalCrossentropy(True, alpha=0.3, gamma=1.5)),
        ("bce", tf.keras.losses.BinaryCrossentropy()),
    ):
        found = unknown_labels.masked(loss)(PARTLY, PREDICTED)
        wanted = losses.get_loss(name, **OPTIONS[name])(PARTLY, PREDICTED)
        np.testing.assert_allclose(found, wanted, rtol=1e-4)


def test_a_masked_loss_keeps_the_gradient_of_a_saturated_output():
    sigmoid = tf.keras.layers.Activation("sigmoid")
    x = tf.Variable([[-40.0, -40.0]])

    @tf.function
    def gradient():
        with tf.GradientTape() as tape:
            loss = unknown_labels.masked("binary_crossentropy")([[1.0, -1.0]], sigmoid(x))
        return tape.gradient(loss, x)

    np.testing.assert_allclose(gradient(), [[-1, 0]], atol=1e-6)


def test_a_loss_that_does_not_judge_each_class_by_itself_cannot_be_masked():
    with pytest.raises(UserError, match="masked takes a loss that judges each class by itself"):
        unknown_labels.masked(lambda y, p: tf.reduce_sum(y * p))(PARTLY, PREDICTED)
    with pytest.raises(UserError, match="'no_such_loss' is not a loss of Keras"):
        unknown_labels.masked("no_such_loss")


def test_inverse_weights_make_both_sides_of_a_class_weigh_the_same():
    positives, negatives = np.array([3, 50, 0, 9]), np.array([97, 50, 10, 0])
    weights = class_weights.positive_weights("inverse", positives, negatives)
    np.testing.assert_allclose(weights[:2] * positives[:2], negatives[:2], rtol=1e-6)
    assert weights.dtype == np.float32 and weights[2:].tolist() == [1, 1]


def test_effective_weights_lie_between_none_and_inverse():
    positives, negatives = [3, 50], [97, 950]

    def effective(beta):
        return class_weights.positive_weights("effective", positives, negatives, beta)

    np.testing.assert_array_equal(effective(0.0), [1, 1])
    inverse = class_weights.positive_weights("inverse", positives, negatives)
    np.testing.assert_allclose(effective(1 - 1e-9), inverse, rtol=1e-4)
    # Cui et al.: a class of n weighs (1 - beta) / (1 - beta^n).
    np.testing.assert_allclose(effective(0.9)[0], (1 - 0.9**97) / (1 - 0.9**3), rtol=1e-6)
    with pytest.raises(UserError, match="beta=1.0 must be at least 0 and under 1"):
        effective(1.0)
