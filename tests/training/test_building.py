"""What a run builds does not depend on what a program has set globally."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

import cloudtf
from cloudtf.model import saving
from cloudtf.training import building
from cloudtf.training.config import TrainConfig


@pytest.fixture
def other_globals():
    """Keras set to images [B, C, H, W] and to half precision."""
    tf.keras.backend.set_image_data_format("channels_first")
    tf.keras.mixed_precision.set_global_policy("mixed_float16")
    yield
    tf.keras.backend.set_image_data_format("channels_last")
    tf.keras.mixed_precision.set_global_policy("float32")


@pytest.mark.parametrize("name", ["tiny", "efficientnetlite0"])
def test_a_network_takes_images_with_the_channels_last_in_float32(other_globals, tmp_path, name):
    config = TrainConfig(data_dir="d", run_dir="r", model=name)
    strategy = tf.distribute.OneDeviceStrategy("/cpu:0")
    model = building.build_model(config, strategy, 2, (32, 48), weights=None)
    images = np.random.default_rng(0).integers(0, 256, (2, 32, 48, 3), dtype=np.uint8)
    scores = model(images).numpy()
    assert all(weight.dtype == tf.float32 for weight in model.weights)
    saving.save_model(model, str(tmp_path / "a.keras"), {"classes": ["A", "B"]})
    read = cloudtf.load_model(str(tmp_path / "a.keras"))
    np.testing.assert_array_equal(read(images).numpy(), scores)
    assert tf.keras.backend.image_data_format() == "channels_first", "as the program has set it"
    assert tf.keras.mixed_precision.global_policy().name == "mixed_float16"
