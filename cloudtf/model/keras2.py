"""Makes sure that `tf.keras` is the Keras 2 API, which networks and optimizers are written for."""

from __future__ import annotations

import contextlib
import importlib.util
from typing import Iterator

import tensorflow as tf

from cloudtf.errors import UserError


def require() -> None:
    """Checks what `tf.keras` is, and names the fix where it is Keras 3.

    Raises:
      UserError: the package tf_keras is missing, or Keras 3 was chosen before cloudtf was imported.
    """
    try:
        # Keras 2 keeps its version to itself there.
        if getattr(tf.keras, "__version__", "2").startswith("2"):
            return
    except ImportError:
        pass  # TF_USE_LEGACY_KERAS=1 without the package.
    if importlib.util.find_spec("tf_keras") is None:
        major, minor = tf.__version__.split(".")[:2]
        raise UserError(
            f"TensorFlow {tf.__version__} comes with Keras 3, and cloudtf needs the Keras 2 API; "
            f'install it with: pip install "tf-keras=={major}.{minor}.*".'
        )
    raise UserError(
        "Keras 3 was chosen as tf.keras in this process before cloudtf could choose Keras 2; "
        "import cloudtf before TensorFlow (in a notebook after a restart of its kernel), and do "
        "not set TF_USE_LEGACY_KERAS=0."
    )


@contextlib.contextmanager
def channels_last() -> Iterator[None]:
    """Around code that makes layers: images are [B, H, W, C], whatever a program has set globally.

    Keras's `image_data_format` decides only what layers are made for that do not say it themselves.
    """
    before = tf.keras.backend.image_data_format()
    tf.keras.backend.set_image_data_format("channels_last")
    try:
        yield
    finally:
        tf.keras.backend.set_image_data_format(before)
