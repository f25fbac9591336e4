"""Images that are trained on at another size than that of the records, at which all is judged."""

from __future__ import annotations

import itertools
import os
import signal

import numpy as np
import pytest
import tensorflow as tf

import cloudtf
from cloudtf.errors import UsageError, UserError
from cloudtf.pipeline import augment
from cloudtf.pipeline.augmentations import Augmentations
from cloudtf.pipeline.dataset import open_dataset
from cloudtf.training import train_size
from cloudtf.training.stages import Stage
from cloudtf.training.stopping import Interrupted


def config(records_dir, run_dir, **changes):
    given = {
        "model": "tiny",
        "weights": "none",
        "epochs": 3,
        "batch_size": 16,
        "learning_rate": 0.01,
        "augmentations": ("horizontal_flip", "crop"),
        "cutmix": 1.0,
        "tensorboard": False,
        "train_metric_examples": 0,
        "train_size": "32:64",
    }
    return cloudtf.TrainConfig(
        data_dir=str(records_dir), run_dir=str(run_dir), **{**given, **changes}
    )


def test_sizes_grow_in_steps_from_the_first_to_the_last_and_have_equal_shares():
    def sides(sizes, epochs):
        return [train_size.side(sizes, epoch, epochs) for epoch in range(epochs)]

    assert sides((128, 224), 4) == [128, 160, 192, 224]
    assert sides((100, 150), 6) == [100, 100, 128, 128, 150, 150]
    # With the first size until the last epoch the network would hardly see the one it is judged at.
    assert sides((32, 64), 6) == [32, 32, 32, 64, 64, 64]
    assert sides((48, 48), 3) == [48, 48, 48]
    assert sides((64, 224), 1) == [224]
    assert sides((64, 224), 0) == []


def test_the_ratio_of_sides_is_that_of_the_records():
    whole = Stage(1, "whole", 3, 1e-3, "learning_rate", True)
    head = Stage(0, "head", 2, 1e-3, "head_learning_rate", False)
    given = config("records", "run", train_size="64:224")
    found = [train_size.train_size(given, whole, epoch, (224, 336)) for epoch in range(3)]
    assert found == [(64, 96), (128, 192), None]
    assert train_size.train_size(given, head, 1, (224, 336)) == (64, 96)
    assert train_size.train_size(config("a", "b", train_size=None), whole, 0, (224, 336)) is None


@pytest.mark.parametrize("wrong", ["", "x", "31", "64:32", "64:", "64:128:224", "-64"])
def test_what_is_no_size_is_refused(wrong):
    with pytest.raises(UsageError, match="must be a number of pixels from 32, such as 128, or"):
        config("records", "run", train_size=wrong)


OPS = Augmentations(augmentations=("crop", "rotation"), mixup=0.3, cutmix=1.0)


def test_batches_are_resampled_once_and_mixed_at_their_size_wherever_they_are_made(records_dir):
    data = open_dataset(records_dir, "decoded")
    options = {"seed": 5, "augmentations": OPS, "size": (40, 40)}

    def first(batches):
        return [[part.numpy() for part in batch] for batch in itertools.islice(batches, 2)]

    on_host = first(data.training_batches("train", 8, augment_on="host", **options))
    on_device = first(data.training_batches("train", 8, augment_on="device", **options))
    maker = data.batch_maker("train", 8, augment_on="host", **options)
    by_number = [maker.function()(tf.constant(n, tf.int64)) for n in range(2)]
    for host, device, number in zip(on_host, on_device, by_number):
        assert host[0].shape == (8, 40, 40, 3) and device[0].shape == (8, 64, 64, 3)
        made = augment.augment(
            device[0], device[3], ops=OPS, seed=5, whole_batch=True, size=(40, 40)
        )
        np.testing.assert_array_equal(made, host[0])
        for part, other in zip(host, number):
            np.testing.assert_array_equal(part, other)
        for part, other in zip(host[1:], device[1:]):
            np.testing.assert_array_equal(part, other)
    assert maker.element_spec().images.shape == (8, 40, 40, 3)
    plain = {**options, "augmentations": Augmentations(augmentations=())}
    images = first(data.training_batches("train", 8, augment_on="host", **plain))[0][0]
    assert images.shape == (8, 40, 40, 3)


class Killed(tf.keras.callbacks.Callback):
    """Ends the process's run by SIGTERM after so many steps."""

    def __init__(self, after=None):
        super().__init__()
        self.after, self.steps = after, 0

    def on_train_batch_end(self, batch, logs=None):
        self.steps += 1
        if self.steps == self.after:
            os.kill(os.getpid(), signal.SIGTERM)


def run(records_dir, run_dir, after=None, **changes):
    return cloudtf.train(config(records_dir, run_dir, **changes), callbacks=[Killed(after)])


@pytest.fixture(scope="module")
def whole(records_dir, tmp_path_factory):
    """A run of three epochs of three steps: at 32, 32 and 64 pixels."""
    folder = tmp_path_factory.mktemp("sizes") / "run"
    return folder, run(records_dir, folder)


def losses(result):
    return [(row["epoch"], row["loss"], row["val_loss"]) for row in result.history]


def test_a_run_that_is_killed_goes_on_at_its_size_to_the_same_bits(whole, records_dir, tmp_path):
    folder, result = whole
    with pytest.raises(Interrupted):
        run(records_dir, tmp_path / "run", after=5)
    resumed = run(records_dir, tmp_path / "run")
    assert losses(resumed) == losses(result)
    models = [cloudtf.load_model(f"{path}/best.keras") for path in (folder, tmp_path / "run")]
    assert models[0].input_shape == (None, 64, 64, 3)
    for one, other in zip(*(model.get_weights() for model in models)):
        np.testing.assert_array_equal(one, other)


def test_the_device_trains_on_the_images_of_the_host(whole, records_dir, tmp_path):
    on_device = run(records_dir, tmp_path / "run", augment_on="device")
    np.testing.assert_allclose(losses(on_device), losses(whole[1]), rtol=1e-4)
    full = run(records_dir, tmp_path / "full", train_size=None, epochs=1)
    assert abs(losses(full)[0][1] - losses(whole[1])[0][1]) > 1e-3


def test_a_size_beyond_the_records_is_refused(records_dir, tmp_path):
    with pytest.raises(UserError, match="larger than the records, which have 64 x 64 pixels"):
        run(records_dir, tmp_path / "run", train_size="48:96")


def test_a_network_that_takes_one_size_only_is_refused(records_dir, tmp_path):
    def flat(num_classes, image_shape):
        layers = tf.keras.layers
        return tf.keras.Sequential(
            [
                tf.keras.Input((*image_shape, 3), dtype="uint8"),
                layers.Rescaling(1 / 255),
                layers.Conv2D(4, 3, strides=8),
                layers.Flatten(),
                layers.Dense(num_classes, activation="sigmoid"),
            ],
            name="flat",
        )

    with pytest.raises(UserError, match="train_size='32' needs a network that takes images of any"):
        cloudtf.train(
            config(records_dir, tmp_path / "run", train_size="32", head_epochs=0), model_fn=flat
        )
