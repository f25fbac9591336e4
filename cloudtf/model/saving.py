"""Model files: a `.keras` archive that also says what the model is for.

Beside Keras's own entries the archive holds `cloudtf.json` (class names, image size, epoch,
metrics), so that later steps read the classes from the model itself. The optimizer is not in it.

Loading builds only what an image classifier needs. A `.keras` file is able to name any Python
function to call (Lambda layers, modules to import) and to carry pickles; such files are refused
before Keras sees them.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import tempfile
import zipfile
from typing import TYPE_CHECKING, Any, Iterator

from cloudtf import files
from cloudtf.errors import UserError

if TYPE_CHECKING:
    import tensorflow as tf

INFO_NAME = "cloudtf.json"

_CONFIG_NAME = "config.json"
_WEIGHTS_NAME = "model.weights.h5"
# What a file may name. Objects of other modules would be imported, functions would be called.
_MODULES = (
    "keras.layers",
    "keras.initializers",
    "keras.regularizers",
    "keras.constraints",
    "keras.mixed_precision",
    "keras.models",
)
_CLASSES = ("FixedDropout", "Functional", "Sequential")
_FUNCTIONS = ("swish",)
# Keras classes and values that hold a function or name something to import.
_CODE = (
    "Lambda",
    "TFOpLambda",
    "SlicingOpLambda",
    "ClassMethod",
    "TensorFlowOpLayer",
    "__lambda__",
    "__typespec__",
)


def save_model(model: tf.keras.Model, path: str, info: dict[str, Any]) -> None:
    """Writes a model and what is known of it as one `.keras` file, whole or not at all.

    Args:
      model: as made by `build_model`; call it outside replica functions.
      path: local or remote, ending in `.keras`.
      info: JSON values; `classes` (names in output order) is what later steps need. A float that
        is not finite is written as null.

    Raises:
      UserError: the file cannot be written, or its name does not end in `.keras`.
    """
    import tensorflow as tf

    if not path.endswith(".keras"):
        raise UserError(f"The model file {path} must end in .keras.")
    # The same layers without what compile() has added: optimizer, loss and metrics.
    bare = tf.keras.Model(model.inputs, model.outputs, name=model.name)
    # Reading back is the simplest way to catch the NaNs that nested values may hold.
    finite = json.loads(json.dumps(info), parse_constant=lambda name: None)
    with files.replacing(path) as temporary:
        bare.save(temporary, save_format="keras")
        with zipfile.ZipFile(temporary, "a") as archive:
            archive.writestr(INFO_NAME, json.dumps(finite, indent=2, ensure_ascii=False))


def load_model(path: str, in_float32: bool = False) -> tf.keras.Model:
    """Reads a `.keras` file (local or remote) as an uncompiled model.

    Args:
      path: of the file.
      in_float32: compute in float32 what was trained in mixed precision.

    Raises:
      UserError: the file is missing, damaged, not a `.keras` file, or carries code.
    """
    import tensorflow as tf

    from cloudtf.model import keras2
    from cloudtf.model.random_layers import FixedDropout

    keras2.require()
    custom_objects = {
        "FixedDropout": FixedDropout,
        "swish": tf.nn.swish,
        # A file names its place in Keras's source, which differs between the stacks.
        "Functional": tf.keras.Sequential.__base__,
    }
    with _open(path) as archive, tempfile.TemporaryDirectory() as folder:
        names = archive.namelist()
        if _CONFIG_NAME not in names or _WEIGHTS_NAME not in names:
            raise UserError(
                f"The model {path} lacks {_CONFIG_NAME} or {_WEIGHTS_NAME}: it is not a Keras "
                "model saved as .keras."
            )
        config = _read_json(archive, _CONFIG_NAME, path)
        _refuse_code(config, path)
        if in_float32:
            config = _without_policies(config)
        # Not Keras's load_model: it seeks in the archive, which switches off zipfile's check of
        # the content, and which zipfile does wrongly before Python 3.12.9 and 3.13.2.
        weights = archive.extract(_WEIGHTS_NAME, folder)
        try:
            model = tf.keras.utils.deserialize_keras_object(
                {**_for_any_stack(config), "compile_config": None}, custom_objects, safe_mode=True
            )
            model.load_weights(weights)
        except Exception as error:
            reason = (str(error).strip() or type(error).__name__).splitlines()[0].rstrip(".")
            raise UserError(f"The model {path} cannot be loaded: {reason}.") from error
    return model


def read_info(path: str) -> dict[str, Any]:
    """What `save_model` was told about a model. Does not load TensorFlow for a local file.

    Raises:
      UserError: the file is missing, damaged or was not saved by cloudtf.
    """
    with _open(path) as archive:
        if INFO_NAME not in archive.namelist():
            raise UserError(
                f"The model {path} was not saved by cloudtf: it does not say what its classes are."
            )
        return _read_json(archive, INFO_NAME, path)


@contextlib.contextmanager
def local_copy(path: str) -> Iterator[str]:
    """A local path with the content of `path`: itself, or a temporary copy of a remote file."""
    if not files.is_remote(path):
        yield path
        return
    with tempfile.TemporaryDirectory() as folder:
        local = os.path.join(folder, files.basename(path))
        files.write_bytes(local, files.read_bytes(path))
        yield local


@contextlib.contextmanager
def _open(path: str) -> Iterator[zipfile.ZipFile]:
    if not path.endswith(".keras"):
        raise UserError(f"The model {path} must be a .keras file, as cloudtf train writes.")
    try:
        with zipfile.ZipFile(io.BytesIO(files.read_bytes(path))) as archive:
            yield archive
    except (zipfile.BadZipFile, EOFError, NotImplementedError, RuntimeError, ValueError) as error:
        raise UserError(
            f"The model {path} is damaged or not a .keras file ({error}); make or copy it again."
        ) from error


def _read_json(archive: zipfile.ZipFile, name: str, path: str) -> dict[str, Any]:
    try:
        value = json.loads(archive.read(name))
    except ValueError as error:
        raise UserError(f"The model {path} is damaged: {name} is not JSON ({error}).") from error
    if not isinstance(value, dict):
        raise UserError(f"The model {path} is damaged: {name} is not a JSON object.")
    return value


def _for_any_stack(config: Any) -> Any:
    """The same without a setting of input layers that Keras 2.15 does not know yet."""
    if isinstance(config, list):
        return [_for_any_stack(value) for value in config]
    if not isinstance(config, dict):
        return config
    return {
        key: _for_any_stack(value)
        for key, value in config.items()
        if not (key == "optional" and value is False and "batch_input_shape" in config)
    }


def _without_policies(config: Any) -> Any:
    """The same with float32 in place of a policy of mixed precision."""
    if isinstance(config, list):
        return [_without_policies(value) for value in config]
    if not isinstance(config, dict):
        return config
    if config.get("class_name") == "Policy":
        return "float32"
    return {key: _without_policies(value) for key, value in config.items()}


def _refuse_code(config: Any, path: str) -> None:
    """Raises UserError for a config that names anything but Keras's classes and cloudtf's own."""
    if isinstance(config, list):
        for item in config:
            _refuse_code(item, path)
        return
    if not isinstance(config, dict):
        return
    if "class_name" in config:
        culprit = _foreign(config)
        if culprit:
            raise UserError(
                f"The model {path} is refused: it carries or names code to run ({culprit})."
            )
    for value in config.values():
        _refuse_code(value, path)


def _foreign(config: dict[str, Any]) -> str:
    """What one object of a model's config would run; empty if it is harmless."""
    name, module = config["class_name"], config.get("module")
    if name == "function":
        function = config.get("config")
        return "" if function in _FUNCTIONS else f"the function {module}.{function}"
    if name in _CODE:
        return f"a {name}"
    if name in _CLASSES and config.get("registered_name") in (None, name):
        return ""
    # Without a module Keras only looks among its own classes.
    return "" if module is None or module in _MODULES else f"the class {module}.{name}"
