"""What the tests share: a small set of photographs, converted once a session."""

import csv
import importlib.util
import math

import cloudtf  # noqa: F401 - before TensorFlow: it chooses the Keras API

# isort: split
import cv2
import numpy as np
import pytest
from sklearn.datasets import load_sample_image

from cloudtf import machine
from cloudtf.data.convert import ConvertConfig, convert
from tests.small_records import records_of

NUM_PHOTOGRAPHS = 60
CLASSES = ("Fish", "Flower", "Gravel", "Sugar")
# Each class is a disc of its own colour (RGB) on the photograph, so that a small network can learn.
COLOURS = ((255, 40, 40), (40, 230, 60), (60, 60, 255), (250, 240, 40))


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers():
    """For `-n auto`: not the cores of the machine, of which a container may get a part only."""
    return max(1, round(min(machine.usable_cores(), machine.cpu_quota() or math.inf)))


def _seed():
    if importlib.util.find_spec("tensorflow"):  # Beam's environment has none.
        import tensorflow as tf

        tf.keras.utils.set_random_seed(0)


@pytest.fixture(scope="module", autouse=True)
def _same_numbers_in_every_file():
    """The first weights of the networks that tests build are the same in every run: a claim that
    "these two differ by this much" must not hold in most runs only."""
    _seed()


@pytest.fixture(autouse=True)
def _same_numbers_in_every_test(_same_numbers_in_every_file):
    """Whatever ran before: training, for one, sets its own seed."""
    _seed()


@pytest.fixture(scope="session")
def photograph():
    """The Summer Palace, uint8 RGB [427, 640, 3]: sky, fine detail, strong edges."""
    return load_sample_image("china.jpg")


@pytest.fixture(scope="session")
def photographs_dir(tmp_path_factory, photograph):
    """A folder of 60 JPEGs, `images/photo_00.jpg`..., and `labels.csv`, one-hot."""
    folder = tmp_path_factory.mktemp("photographs")
    (folder / "images").mkdir()
    generator = np.random.default_rng(0)
    sources = (photograph, load_sample_image("flower.jpg"))
    with (folder / "labels.csv").open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(("Image", *CLASSES))
        for number in range(NUM_PHOTOGRAPHS):
            # Every combination of classes, none at all included, at least three times.
            label = [number >> bit & 1 for bit in range(len(CLASSES))]
            source = sources[number % 2]
            top = generator.integers(0, source.shape[0] - 96)
            left = generator.integers(0, source.shape[1] - 96)
            image = np.ascontiguousarray(source[top : top + 96, left : left + 96])
            for present, colour in zip(label, COLOURS):
                if present:
                    center = generator.integers(16, 80, 2).tolist()
                    cv2.circle(image, center, int(generator.integers(9, 15)), colour, -1)
            name = f"photo_{number:02}.jpg"
            cv2.imwrite(str(folder / "images" / name), image[..., ::-1])
            rows.writerow((name, *label))
    return str(folder)


@pytest.fixture(scope="session")
def unlabelled_dir(tmp_path_factory, photographs_dir):
    """The photographs of `photographs_dir` as records at 64x64 without labels, in `test`."""
    folder = str(tmp_path_factory.mktemp("unlabelled") / "set")
    convert(
        ConvertConfig(
            images_dir=f"{photographs_dir}/images",
            output_dir=folder,
            image_height=64,
            image_width=64,
            num_shards=2,
        )
    )
    return folder


@pytest.fixture(scope="session")
def records_dir(tmp_path_factory, photographs_dir):
    """`photographs_dir` as records at 64x64: 48 in `train`, 12 in `val`, four shards each.

    Not to be changed by tests; `damaged_records` in tests/pipeline copies it.
    """
    folder = tmp_path_factory.mktemp("records") / "set"
    return records_of(photographs_dir, folder, 64, num_shards=4, workers=2)


@pytest.fixture(scope="session")
def trained_run(tmp_path_factory, records_dir):
    """The run folder of a small network that has learnt `records_dir` a little; not to be changed
    by tests."""
    from cloudtf.training.config import TrainConfig
    from cloudtf.training.train import train

    run_dir = str(tmp_path_factory.mktemp("trained") / "run")
    train(
        TrainConfig(
            data_dir=records_dir,
            run_dir=run_dir,
            model="tiny",
            weights="none",
            head_epochs=0,
            epochs=8,
            batch_size=8,
            learning_rate=0.02,
            batch_norm_momentum=0.8,
        )
    )
    return run_dir
