"""Ways to import cloudtf, TensorFlow and Keras, each in a process that has imported none of them.

Argument: the name of a function here; the answer is what it returns.
"""

from __future__ import annotations

import json
import sys
import time
from typing import Any


def cloudtf_alone() -> Any:
    """The seconds that it takes, and the modules that come with it."""
    began = time.perf_counter()
    import cloudtf  # noqa: F401

    return [time.perf_counter() - began, list(sys.modules)]


def choices_alone() -> Any:
    """The modules that come with the names of models, weights and losses."""
    import cloudtf.model.choices  # noqa: F401

    return list(sys.modules)


def keras_of_tensorflow() -> Any:
    """Where `tf.keras` has its layers from, after cloudtf."""
    import cloudtf  # noqa: F401

    # isort: split
    import tensorflow as tf

    return tf.keras.layers.Dense.__module__


def tensorflow_quickly() -> Any:
    """Full collections while TensorFlow is imported, whether it came, its loader, and what is left
    of the way to it: objects that are no longer looked at, and whether others are."""
    import gc

    from cloudtf import uncollected

    uncollected.import_tensorflow_quickly()
    before = gc.get_stats()[2]["collections"]
    import tensorflow as tf

    collections = gc.get_stats()[2]["collections"] - before
    loader = type(tf.__spec__.loader).__name__
    more = sum(isinstance(finder, uncollected._Finder) for finder in sys.meta_path)
    return [
        collections,
        hasattr(tf, "constant"),
        loader,
        more,
        gc.get_freeze_count(),
        gc.isenabled(),
    ]


def package_keras() -> Any:
    """The version of the package keras, after cloudtf."""
    import cloudtf

    cloudtf.build_model  # noqa: B018
    import keras

    return keras.__version__


def without_tensorflow() -> Any:
    """What is said where TensorFlow is missing and something needs it."""
    sys.modules["tensorflow"] = None  # type: ignore[assignment]
    import cloudtf

    cloudtf.TrainConfig  # noqa: B018
    return refusal()


def without_tf_keras() -> Any:
    """What is said where tf-keras is missing."""
    sys.modules["tf_keras"] = None  # type: ignore[assignment]
    return refusal()


def keras_3_used_first() -> Any:
    """What is said after `tf.keras` has been used as Keras 3."""
    import tensorflow as tf

    tf.keras.layers  # noqa: B018
    return refusal()


def tensorflow_first() -> Any:
    """What is said after TensorFlow has been imported and its Keras not used."""
    import tensorflow  # noqa: F401

    return refusal()


def keras_2_after_tensorflow() -> Any:
    """Where `tf.keras` has its layers from, if only TensorFlow came before cloudtf."""
    import tensorflow as tf

    import cloudtf

    cloudtf.build_model("efficientnetb0", 2, (32, 32))
    return tf.keras.layers.Dense.__module__


def keras_3_imported_later() -> Any:
    """What is said where Keras 3 was imported by its name in TensorFlow after cloudtf."""
    import tensorflow as tf

    import cloudtf

    cloudtf.build_model  # noqa: B018
    import tensorflow.keras

    assert tf.keras
    try:
        cloudtf.build_model("tiny", 2, (32, 32))
    except cloudtf.UserError as error:
        return str(error)
    return None


def refusal() -> Any:
    """What is said when a name that needs TensorFlow is asked for; None if it is there."""
    import cloudtf

    try:
        cloudtf.build_model  # noqa: B018
    except cloudtf.UserError as error:
        return str(error)
    return None


if __name__ == "__main__":
    print(json.dumps(globals()[sys.argv[1]]()))
