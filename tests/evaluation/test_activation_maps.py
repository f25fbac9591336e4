"""Activation maps are where the network looks."""

import numpy as np
import pytest
import tensorflow as tf

import cloudtf
from cloudtf.errors import UserError
from cloudtf.evaluation.activation_maps import (
    activation_maps,
    by_image,
    of_model,
    overlaid,
    share_inside,
)
from cloudtf.model import ensemble


def images_of(count=2, height=64, width=96):
    return np.random.default_rng(0).integers(0, 256, (count, height, width, 3), np.uint8)


@pytest.mark.parametrize("name", ["tiny", "efficientnetlite0"])
def test_with_pooling_and_one_dense_layer_they_are_the_feature_maps_times_its_kernel(name):
    """As Zhou et al. define them, over the number of cells."""
    model, images = cloudtf.build_model(name, 4, (64, 96)), images_of()
    body = model.get_layer("body")
    last = [layer for layer in body.layers[1:] if len(layer.output_shape) == 4][-1]
    features = tf.keras.Model(body.inputs, last.output)(model.get_layer("normalise")(images))
    kernel = tf.gather(model.get_layer("probabilities").kernel, [3, 1], axis=1)
    expected = tf.nn.relu(tf.einsum("nhwk,kc->nchw", features, kernel)) / np.prod(
        features.shape[1:3]
    )
    found = activation_maps(model, images, classes=[3, 1])
    assert found.max() > 0
    np.testing.assert_allclose(found, expected, atol=1e-5 * found.max())


def test_a_network_that_looks_for_red_looks_at_the_red_square():
    image = tf.keras.Input((64, 64, 3), dtype="uint8")
    x = tf.keras.layers.Rescaling(1 / 255)(image)
    x = tf.keras.layers.Conv2D(2, 1, name="colour")(x)
    x = tf.keras.layers.AveragePooling2D(8)(x)
    x = tf.keras.layers.GlobalAveragePooling2D()(x)
    model = tf.keras.Model(image, tf.keras.layers.Dense(2, "sigmoid", name="head")(x))
    # Redness and blueness; the first class is for the one, the second for the other.
    colour = np.array([[1, -1], [-1, -1], [-1, 1]], np.float32).reshape(1, 1, 3, 2)
    model.get_layer("colour").set_weights([colour, np.zeros(2)])
    # So sure that the probability is 1 in float32.
    model.get_layer("head").set_weights([1000 * np.eye(2), np.zeros(2)])
    picture = np.zeros((1, 64, 64, 3), np.uint8)
    picture[0, 8:24, 40:56, 0] = 255
    picture[0, 40:64, :32, 2] = 255
    (red, blue) = activation_maps(model, picture)[0]
    where = np.zeros((8, 8), bool)
    where[1:3, 5:7] = True
    np.testing.assert_array_equal(red > 0, where)
    assert share_inside(red, picture[0, ..., 0] > 0) > 0.7
    assert share_inside(blue, picture[0, ..., 2] > 0) > 0.8
    assert share_inside(red, picture[0, ..., 2] > 0) == 0


def test_the_share_of_an_even_map_is_the_share_of_the_area():
    mask = np.zeros((28, 28), bool)
    mask[:7, :14] = True
    assert share_inside(np.ones((4, 6)), mask) == pytest.approx(1 / 8)
    assert np.isnan(share_inside(np.zeros((4, 6)), mask))


def test_under_a_map_of_nothing_the_photograph_is_grey_and_the_most_is_the_brightest():
    (image,) = images_of(1)
    grey = np.repeat(image.mean(axis=-1, keepdims=True), 3, axis=-1)
    np.testing.assert_allclose(overlaid(image, np.zeros((4, 6))), grey, atol=0.5)
    dark = np.zeros_like(image)
    rising = overlaid(dark, np.linspace(0, 1, 6)[None]).astype(float).mean(axis=(0, 2))
    assert (np.diff(rising) >= 0).all() and rising[-1] > 60


def test_networks_of_other_kinds_are_refused_in_a_sentence():
    image = tf.keras.Input((32, 32, 3))
    flat = tf.keras.Model(
        image, tf.keras.layers.Dense(2)(tf.keras.layers.Flatten()(image)), name="flat"
    )
    with pytest.raises(UserError, match="The model 'flat' has no feature maps to look at"):
        activation_maps(flat, images_of(1, 32, 32))
    left, right = (tf.keras.layers.Conv2D(4, 3)(image) for _ in range(2))
    both = tf.keras.layers.GlobalAveragePooling2D()(tf.keras.layers.Add()([left, right]))
    forked = tf.keras.Model(image, tf.keras.layers.Dense(2)(both), name="forked")
    with pytest.raises(UserError, match="layers of 'forked' do not follow one another"):
        activation_maps(forked, images_of(1, 32, 32))


def with_plain_functions():
    image = tf.keras.Input((32, 32, 3))
    maps = tf.keras.layers.Conv2D(4, 3)(tf.cast(image, tf.float32) / 255.0)
    return tf.keras.Model(image, tf.keras.layers.Dense(2)(tf.reduce_mean(maps, axis=[1, 2])))


def with_a_body_of_two_outputs():
    image = tf.keras.Input((32, 32, 3))
    maps = tf.keras.layers.Conv2D(4, 3)(image)
    body = tf.keras.Model(image, [maps, tf.keras.layers.GlobalAveragePooling2D()(maps)])
    return tf.keras.Model(image, tf.keras.layers.Dense(2)(body(image)[1]))


class Subclass(tf.keras.Model):
    def __init__(self):
        super().__init__()
        self.maps = tf.keras.layers.Conv2D(4, 3)
        self.pooled = tf.keras.layers.GlobalAveragePooling2D()

    def call(self, images):
        return self.pooled(self.maps(images))


def with_a_body_without_a_graph():
    image = tf.keras.Input((32, 32, 3))
    return tf.keras.Model(image, tf.keras.layers.Dense(2)(Subclass()(image)))


@pytest.mark.parametrize(
    "make", [with_plain_functions, with_a_body_of_two_outputs, with_a_body_without_a_graph]
)
def test_what_has_no_maps_costs_no_evaluation(make):
    """Scores and thresholds are there by then, and a report goes without maps."""
    images = images_of(3, 32, 32).astype(np.float32)
    with pytest.raises(UserError, match="do not follow one another"):
        activation_maps(make(), images)
    assert of_model(make(), 2)(images, [0]) is None


def test_maps_of_many_images_are_made_in_batches():
    model, images = cloudtf.build_model("tiny", 4, (64, 96)), images_of(5)
    whole = activation_maps(model, images, [2, 0])
    np.testing.assert_allclose(of_model(model, 2)(images, [2, 0]), whole, rtol=1e-4, atol=1e-6)


def test_an_ensemble_looks_where_its_members_look_on_average():
    members, images = [cloudtf.build_model("tiny", 4, (64, 96)) for _ in range(2)], images_of(2)
    each = [activation_maps(member, images, [2, 0]) for member in members]
    found = of_model(ensemble.average(members), 2)(images, [2, 0])
    np.testing.assert_allclose(found, np.mean(each, axis=0), rtol=1e-4, atol=1e-6)
    assert np.abs(each[0] - each[1]).max() > 0


def test_a_network_of_another_program_may_be_called_ensemble():
    made, images = cloudtf.build_model("tiny", 4, (64, 96)), images_of(2)
    model = tf.keras.Model(made.inputs, made.outputs, name="ensemble")
    np.testing.assert_array_equal(
        of_model(model, 2)(images, [1]), activation_maps(made, images, [1])
    )


def test_each_image_has_the_mean_of_the_maps_of_its_own_models():
    def like(value, side=2):
        return lambda images, classes: np.full((len(images), len(classes), side, side), value)

    models = {"a.jpg": [like(1.0), like(3.0, side=4)], "b.jpg": [like(5.0), like(7.0)]}
    names, images = ["b.jpg", "a.jpg", "b.jpg"], images_of(3)
    found = by_image(models)(names, images, [0, 1])
    assert found.shape == (3, 2, 2, 2) and found[:, 1, 0, 1].tolist() == [6, 2, 6]
    models["a.jpg"].append(lambda images, classes: None)
    assert by_image(models)(names, images, [0, 1]) is None
