"""Model files: a `.keras` archive that also says what the model is for.

Beside Keras's own entries the archive holds `cloudtf.json` (class names, image size, epoch,
metrics), so that later steps read the classes from the model itself. The optimizer is not in it.

Loading builds only what an image classifier needs; see `vetting`.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import os
import zipfile
from typing import TYPE_CHECKING, Any, Callable, Iterable, Iterator

import numpy as np

from cloudtf import files, temporary
from cloudtf.errors import UserError, reason
from cloudtf.model import vetting

if TYPE_CHECKING:
    import tensorflow as tf

INFO_NAME = "cloudtf.json"

_CONFIG_NAME = "config.json"
_WEIGHTS_NAME = "model.weights.h5"
# The parts of a .keras file are stored as they are; a bomb unpacks to far more than its size.
_MAX_RATIO = 20
_MIN_UNPACKED = 1 << 24
# Over the layers of a network, each in the time of as many layers.
_MAX_TURNS = 1000


def save_model(model: tf.keras.Model, path: str, info: dict[str, Any]) -> None:
    """Writes a model and what is known of it as one `.keras` file, whole or not at all.

    Args:
      model: as made by `build_model`; call it outside replica functions.
      path: local or remote, ending in `.keras`.
      info: JSON values; `classes` (names in output order) is what later steps need. A float that
        is not finite is written as null.

    Raises:
      UserError: the file cannot be written, or its name does not end in `.keras`.

    >>> model = cloudtf.build_model("tiny", 2, (32, 32))
    >>> save_model(model, "mine.keras", {"classes": ["Fish", "Flower"]})
    >>> read_info("mine.keras")["classes"]
    ['Fish', 'Flower']
    """

    if not path.endswith(".keras"):
        raise UserError(f"The model file {path} must end in .keras.")
    bare = _uncompiled(model)
    # Reading back is the simplest way to catch the NaNs that nested values may hold.
    finite = json.loads(json.dumps(info), parse_constant=lambda name: None)
    with files.replacing(path) as temporary:
        bare.save(temporary, save_format="keras")
        with zipfile.ZipFile(temporary, "a") as archive:
            archive.writestr(INFO_NAME, json.dumps(finite, indent=2, ensure_ascii=False))


def find_model(path: str) -> str:
    """The model file that a user means: a file itself, of a run folder its best model."""
    is_file = files.exists(path) and not files.is_dir(path)
    return path if path.endswith(".keras") or is_file else files.join(path, "best.keras")


def load_model(path: str, in_float32: bool = False) -> tf.keras.Model:
    """Reads a `.keras` file (local or remote) as an uncompiled model.

    Args:
      path: the `.keras` file, local or remote.
      in_float32: compute in float32 what was trained in mixed precision.

    Raises:
      UserError: the file is missing, damaged, not a `.keras` file, or carries code.

    >>> model = load_model("runs/a/best.keras")
    >>> data = cloudtf.open_dataset("records")
    >>> images, labels, *_ = next(iter(data.batches("val", 12)))
    >>> probabilities = model.predict(images, verbose=0)
    >>> probabilities.shape == (12, len(data.classes))
    True
    """
    import tensorflow as tf

    from cloudtf.model import fused, keras2, stored_weights, unrun
    from cloudtf.model.keras_bodies import LayerScale

    keras2.require()
    # Among them FixedDropout, and Functional: a file names the module of Keras that has it, which
    # differs between the stacks.
    custom_objects = {"LayerScale": LayerScale, "swish": tf.nn.swish, **unrun.classes()}
    # Not Keras's load_model: it seeks in the archive, which switches off zipfile's check of the
    # content, and which zipfile does wrongly before Python 3.12.9 and 3.13.2.
    parts = _read_parts(path, _CONFIG_NAME, _WEIGHTS_NAME)
    if len(parts) < 2:
        raise UserError(
            f"The model {path} lacks {_CONFIG_NAME} or {_WEIGHTS_NAME}: it is not a Keras "
            "model saved as .keras."
        )
    config = _parse_json(parts[_CONFIG_NAME], _CONFIG_NAME, path)
    vetting.check_config(config, path)
    with temporary.scratch_folder() as folder:
        weights = os.path.join(folder, _WEIGHTS_NAME)
        files.write_bytes(weights, parts.pop(_WEIGHTS_NAME))
        vetting.check_weights(weights, path)
        try:
            if in_float32:
                config = _rebuilt(config, _without_policy)
            config = _rebuilt(config, lambda one: _for_any_stack(unrun.named(one)))
            config["compile_config"] = None
            others = _set_aside(tf.keras.utils.get_custom_objects(), custom_objects)
            with keras2.channels_last(), others:
                model = tf.keras.utils.deserialize_keras_object(
                    config, custom_objects, safe_mode=True
                )
            if not isinstance(model, tf.keras.Model):
                raise TypeError(f"it is a {type(model).__name__}, not a model")
            unrun.finish(model)
            stored_weights.load(model, weights)
        except Exception as error:
            raise UserError(f"The model {path} cannot be loaded: {reason(error, 300)}.") from error
    fused.speed_up(model)
    return model


@contextlib.contextmanager
def _set_aside(registered: dict[str, Any], names: Iterable[str]) -> Iterator[None]:
    """While entered, Keras does not know of objects that others registered under these names.

    It would take them before those that it is given. The efficientnet package registers a dropout
    of its own, whose masks a resumed run would not draw again.
    """
    others = {name: registered.pop(name) for name in names if name in registered}
    try:
        yield
    finally:
        registered.update(others)


def weights_sha256(model: tf.keras.Model) -> str:
    """The SHA-256 of a model's weights, as hex: by it what was measured of a model knows it again.

    The same for each copy of a file and on both stacks, whatever the precision of computing.
    """
    digest = hashlib.sha256()
    for weights in model.get_weights():
        digest.update(np.ascontiguousarray(weights).tobytes())
    return digest.hexdigest()


def read_info(path: str) -> dict[str, Any]:
    """What `save_model` was given as `info`, unchecked. Does not load TensorFlow for a local file.

    Raises:
      UserError: the file is missing, damaged or was not saved by cloudtf.
    """
    parts = _read_parts(path, INFO_NAME)
    if not parts:
        raise UserError(
            f"The model {path} was not saved by cloudtf: it does not say what its classes are."
        )
    return _parse_json(parts[INFO_NAME], INFO_NAME, path)


def check_whole(path: str) -> dict[str, Any]:
    """Reads all parts of a model file, whose checksums are compared, and gives its info.

    Raises:
      UserError: the file is missing, damaged, lacks a part, or was not saved by cloudtf.
    """
    parts = _read_parts(path, _CONFIG_NAME, _WEIGHTS_NAME, INFO_NAME)
    for name in (_CONFIG_NAME, _WEIGHTS_NAME, INFO_NAME):
        if name not in parts:
            raise UserError(f"The model {path} lacks {name}; make or copy it again.")
    return _parse_json(parts[INFO_NAME], INFO_NAME, path)


def check_keepable(model: tf.keras.Model) -> None:
    """Says early what would keep a model from being saved, or from being read back.

    Raises:
      UserError: it is a subclass of Model, has several inputs or outputs, or layers that are not
        Keras's own for images, such as Lambda.
    """
    import tensorflow as tf

    if not (getattr(model, "inputs", None) and getattr(model, "outputs", None)) or not isinstance(
        model, (tf.keras.Sequential, tf.keras.Sequential.__base__)
    ):
        raise UserError(
            f"The model {model.name!r} is made by a class of its own ({type(model).__name__}), "
            "without whose code its file could not be read; build it with tf.keras.Model(inputs, "
            "outputs) or tf.keras.Sequential."
        )
    try:
        config = json.loads(json.dumps(tf.keras.saving.serialize_keras_object(_uncompiled(model))))
    except Exception as error:  # Each layer has its own.
        raise UserError(
            f"The model {model.name!r} cannot be saved ({reason(error)}); put Keras's own layers "
            "in the place of what cannot, such as Rescaling for preprocess_input."
        ) from error
    culprit = vetting.foreign_part(config)
    if culprit:
        raise UserError(
            f"The model {model.name!r} holds {culprit}, which is code: its file would be refused "
            "when it is read; put Keras's own layers in its place, such as "
            "Rescaling(1 / 127.5, offset=-1) for preprocess_input."
        )
    for layer in model._flatten_layers():
        function: Any = getattr(layer, "activation", None)
        if getattr(function, "__name__", "") == "swish" and not _is_swish(function):
            raise UserError(
                f"The layer {layer.name!r} has a function 'swish' of its own, which is not that of "
                "Keras (tf.nn.swish), by which its file would be read; put that, or another one of "
                "Keras's activations, in its place."
            )


def _is_swish(function: Callable[[Any], Any]) -> bool:
    """Whether a function of tensors is x·s(x), where s is the sigmoid, by some values."""
    import tensorflow as tf

    x = tf.linspace(-8.0, 8.0, 33)
    try:
        return bool(np.allclose(function(x), tf.nn.swish(x), rtol=1e-4, atol=1e-4))
    except Exception:  # Each function has its own.
        return False


def _uncompiled(model: tf.keras.Model) -> tf.keras.Model:
    """The same layers without what compile() has added: optimizer, loss and metrics."""
    import tensorflow as tf

    bare = tf.keras.Model(model.inputs, model.outputs, name=model.name)
    for part in bare.submodules:
        # Left in nested models by any `model.save("x.h5")`, it would write them as HDF5 has them.
        vars(part).pop("use_legacy_config", None)
    return bare


@contextlib.contextmanager
def local_copy(path: str) -> Iterator[str]:
    """A local path with the content of `path`: itself, or a temporary copy of a remote file."""
    if not files.is_remote(path):
        yield path
        return
    with temporary.scratch_folder() as folder:
        local = os.path.join(folder, files.basename(path))
        files.write_bytes(local, files.read_bytes(path))
        yield local


def _read_parts(path: str, *names: str) -> dict[str, bytes]:
    """The content of some parts of a model file; those that it lacks are left out."""
    if not path.endswith(".keras"):
        raise UserError(f"The model {path} must be a .keras file, as cloudtf train writes.")
    content = files.read_bytes(path)
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            present = archive.namelist()
            found = {name: archive.getinfo(name) for name in names if name in present}
            if any(present.count(name) > 1 for name in found):
                raise ValueError("a part of it is there twice")
            if sum(part.file_size for part in found.values()) > max(
                _MAX_RATIO * len(content), _MIN_UNPACKED
            ):
                raise ValueError("it would unpack to far more than its size")
            return {name: archive.read(part) for name, part in found.items()}
    except Exception as error:  # zipfile and what unpacks raise any kind.
        raise UserError(
            f"The model {path} is damaged or not a .keras file ({reason(error)}); make or copy it "
            "again."
        ) from error


def _parse_json(content: bytes, name: str, path: str) -> dict[str, Any]:
    try:
        value = files.parse_json(content.decode("utf-8"))
    except ValueError as error:
        raise UserError(f"The model {path} is damaged: {name} is not JSON ({error}).") from error
    if not isinstance(value, dict):
        raise UserError(f"The model {path} is damaged: {name} is not a JSON object.")
    return value


def _rebuilt(config: Any, change: Callable[[dict[str, Any]], Any]) -> Any:
    """A config with `change` made to each object in it, the inner ones first."""
    if isinstance(config, list):
        return [_rebuilt(value, change) for value in config]
    if not isinstance(config, dict):
        return config
    return change({key: _rebuilt(value, change) for key, value in config.items()})


def _for_any_stack(config: dict[str, Any]) -> dict[str, Any]:
    """The same without a setting that Keras 2.15 does not know yet, and with an end."""
    if "batch_input_shape" in config and config.get("optional") is False:
        del config["optional"]
    if isinstance(config.get("layers"), list):
        config["layers"] = _Layers(config["layers"])
    return config


def _without_policy(config: dict[str, Any]) -> Any:
    """float32 in place of a policy of mixed precision."""
    return "float32" if config.get("class_name") == "Policy" else config


class _Layers(list[Any]):
    """The layers of a network, which Keras goes through until each has its inputs.

    In a damaged file one may wait for another for ever: only so many turns are given out.
    """

    def __init__(self, layers: list[Any]):
        super().__init__(layers)
        nodes = [layer.get("inbound_nodes") for layer in layers if isinstance(layer, dict)]
        # Keras writes a layer after those that it takes its input from, unless it is called several
        # times: one turn makes them and one calls them; each call of a shared layer may need one.
        shared = sum(len(calls) for calls in nodes if isinstance(calls, list) and calls[1:])
        self._turns = 2 + min(shared, _MAX_TURNS)

    def __iter__(self) -> Iterator[Any]:
        if not self._turns:
            raise ValueError("some of its layers wait for an input that no layer makes")
        self._turns -= 1
        return super().__iter__()
