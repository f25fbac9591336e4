"""Reading the weights in a `.keras` file into a model."""

from __future__ import annotations

import re
from typing import Any, Iterator

import h5py
import tensorflow as tf


def load(model: tf.keras.Model, path: str) -> None:
    """Fills a model with the weights that Keras has stored of one like it.

    Keras itself finds the layers by asking each for all of its attributes, some of which are long
    to make; that takes three times as long, and is done here only where a file holds anything but
    the weights of the layers of a network and of networks in it.

    Args:
      model: a network whose layers are those of the one that was stored.
      path: the HDF5 file, on this machine.

    Raises:
      Exception: of any kind, as Keras raises it, if the file is of another model.
    """
    try:
        with h5py.File(path, "r") as file:
            filled = _fill(model, file)
    except (KeyError, ValueError):
        filled = False  # Keras says what is wrong.
    if not filled:
        model.load_weights(path)


def _fill(model: tf.keras.Model, file: h5py.File) -> bool:
    """Fills the layers of a model; whether that was all there is in the file."""
    held: list[str] = []
    file.visititems(
        lambda name, item: held.append(name) if isinstance(item, h5py.Dataset) else None
    )
    read = 0
    for layer, place in _places(model, ""):
        if layer.weights:
            values = file[f"{place}/vars"]
            layer.load_own_variables(values)
            read += len(values)
    return read == len(held)


def _places(network: Any, within: str) -> Iterator[tuple[tf.keras.layers.Layer, str]]:
    """The layers of a network, and of those in it, with the names of their groups in the file."""
    counts: dict[str, int] = {}
    for layer in network.layers:
        kind = re.sub(r"(.)([A-Z][a-z0-9]+)", r"\1_\2", type(layer).__name__)
        kind = re.sub(r"([a-z])([A-Z])", r"\1_\2", kind).lower()
        count = counts[kind] = counts.get(kind, -1) + 1
        place = f"{within}layers/{kind}_{count}" if count else f"{within}layers/{kind}"
        if isinstance(layer, tf.keras.Model):
            yield from _places(layer, f"{place}/")
        else:
            yield layer, place
