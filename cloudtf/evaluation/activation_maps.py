"""Where a network looks: class activation maps by gradients of its last feature maps.

Grad-CAM (Selvaraju et al. 2017, arXiv:1610.02391): the feature maps [h, w, K] before the pooling
are added up, each weighted by the mean gradient of a class's logit with respect to it; what is
negative speaks against the class and is left out. With average pooling and one dense layer, as
cloudtf's networks have, these are the maps of Zhou et al. 2016 (arXiv:1512.04150) but for a factor.
A map has the few cells of the last feature maps (7 x 7 of an image of 224 x 224) and no sharper
borders than these.
"""

from __future__ import annotations

from typing import Callable, Mapping, Optional, Sequence

import numpy as np
import tensorflow as tf

from cloudtf.errors import UserError, reason
from cloudtf.model import ensemble
from cloudtf.model.keras2 import channels_last

# (images uint8 [N, H, W, 3], numbers of classes) -> maps float32 [N, classes, h, w]; None where a
# network has none.
ModelMaps = Callable[[np.ndarray, Sequence[int]], Optional[np.ndarray]]

# Share of a map's colours in a picture, the rest is the photograph.
_OPACITY = 0.55


@channels_last()
def activation_maps(
    model: tf.keras.Model, images: np.ndarray, classes: Optional[Sequence[int]] = None
) -> np.ndarray:
    """Maps of how much each part of an image speaks for a class.

    Args:
      model: as `cloudtf.build_model` makes it or `cloudtf.load_model` reads it; another one if its
        layers follow one another, with feature maps among them. Of an ensemble the maps are the
        mean of its members'.
      images: uint8 [N, H, W, 3], RGB, of the size that the model takes.
      classes: the numbers of the classes; None: all.

    Returns:
      float32 [N, classes, h, w], at least 0; the scale is that of the logit, alike for all images
      and classes. h and w are those of the model's last feature maps.

    Raises:
      UserError: the model has no feature maps, or its layers do not follow one another.

    >>> model = cloudtf.load_model("runs/a/best.keras")
    >>> maps = activation_maps(model, np.zeros([2, 64, 64, 3], np.uint8), classes=[0, 3])
    >>> maps.shape[:2]
    (2, 2)
    """
    members = ensemble.members(model)
    if len(members) > 1:
        return _mean([activation_maps(member, images, classes) for member in members])
    try:
        steps = _steps(model)
        last = max((i for i, (_, rank) in enumerate(steps) if rank == 4), default=None)
        if last is None or last == 0:
            raise UserError(f"The model {model.name!r} has no feature maps to look at.")
        x = tf.constant(images)
        for layer, _ in steps[: last + 1]:
            x = layer(x, training=False)
    except (AttributeError, TypeError, ValueError) as error:  # Of a network that has other parts.
        raise UserError(
            f"The layers of {model.name!r} do not follow one another ({reason(error, 200)}); "
            "activation maps are for a body with a head."
        ) from error
    features = tf.cast(x, tf.float32)
    # Nothing before is watched, so that of the body no more is kept than of any prediction.
    with tf.GradientTape(persistent=True, watch_accessed_variables=False) as tape:
        tape.watch(features)
        x = tf.cast(features, x.dtype)
        for layer, _ in steps[last + 1 :]:
            x = layer(x, training=False)
        # What the sigmoid was taken of: its own gradient vanishes where it is sure.
        logits = tf.cast(getattr(x, "_keras_logits", x), tf.float32)
        numbers = range(x.shape[-1]) if classes is None else classes
        of_class = [tf.reduce_sum(logits[:, number]) for number in numbers]
    maps = []
    for logit in of_class:
        weights = tf.reduce_mean(tape.gradient(logit, features), axis=(1, 2), keepdims=True)
        maps.append(tf.nn.relu(tf.reduce_sum(weights * features, axis=-1)))
    return tf.stack(maps, axis=1).numpy()


def of_model(model: tf.keras.Model, batch_size: int) -> ModelMaps:
    """A function from images and numbers of classes to their maps, as `activation_maps` gives them.

    Args:
      model: the network; of one that has no maps the function gives None.
      batch_size: how many images it takes at once.
    """

    def maps(images: np.ndarray, classes: Sequence[int]) -> Optional[np.ndarray]:
        batches = [images[i : i + batch_size] for i in range(0, len(images), batch_size)]
        try:
            return np.concatenate([activation_maps(model, batch, classes) for batch in batches])
        except UserError:
            return None

    return maps


def by_image(
    models: Mapping[str, Sequence[ModelMaps]],
) -> Callable[[Sequence[str], np.ndarray, Sequence[int]], Optional[np.ndarray]]:
    """A function from names of images, images and numbers of classes to the images' maps.

    Args:
      models: for the name of each image the maps (see `of_model`) of the models that judge it, of
        which the mean is taken: out of fold those that have not seen it. If one has no maps, the
        function gives None.
    """

    def maps(
        names: Sequence[str], images: np.ndarray, classes: Sequence[int]
    ) -> Optional[np.ndarray]:
        rows_of: dict[tuple[ModelMaps, ...], list[int]] = {}
        for row, name in enumerate(names):
            rows_of.setdefault(tuple(models[name]), []).append(row)
        found: dict[int, np.ndarray] = {}
        for of_models, rows in rows_of.items():
            each = [of_model(images[rows], classes) for of_model in of_models]
            known = [one for one in each if one is not None]
            if len(known) < len(each):
                return None
            found.update(zip(rows, _mean(known)))
        return np.stack([found[row] for row in range(len(names))])

    return maps


def _mean(maps: Sequence[np.ndarray]) -> np.ndarray:
    """The mean of several networks' maps [N, classes, h, w], in the cells of the first one's."""
    cells = maps[0].shape[2:]
    alike = [
        one
        if one.shape[2:] == cells
        else np.moveaxis(tf.image.resize(np.moveaxis(one, 1, -1), cells, "bilinear").numpy(), -1, 1)
        for one in maps
    ]
    return np.mean(alike, axis=0)


def overlaid(image: np.ndarray, activation: np.ndarray) -> np.ndarray:
    """A photograph under a map: uint8 [H, W, 3].

    The colours go from the photograph as it is (nothing) to yellow (the most in this map), and
    brightness rises with them, so that they can be told apart without colour.

    Args:
      image: uint8 [H, W, 3].
      activation: float32 [h, w], at least 0.
    """
    from matplotlib import colormaps

    height, width = image.shape[:2]
    share = activation / max(float(activation.max()), 1e-12)
    share = tf.image.resize(share[..., None], (height, width), "bilinear").numpy()
    colours = colormaps["plasma"](share[..., 0])[..., :3]
    # Grey under the colours, so that its own are not taken for the map's.
    grey = np.repeat(image.mean(axis=-1, keepdims=True), 3, axis=-1) / 255
    mixed = (1 - _OPACITY * share) * grey + _OPACITY * share * colours
    return (255 * mixed).round().astype(np.uint8)


def share_inside(activation: np.ndarray, mask: np.ndarray) -> float:
    """How much of a map lies inside a mask, 0 to 1; NaN where the map is 0 everywhere.

    A map that knows nothing of the mask has about the mask's share of the area inside.

    Args:
      activation: float32 [h, w], at least 0.
      mask: bool [H, W].

    >>> share_inside(np.array([[1.0, 0.0], [0.0, 1.0]]), np.array([[True, True], [False, False]]))
    0.5
    """
    resized = tf.image.resize(activation[..., None].astype(np.float32), mask.shape, "bilinear")
    total = float(tf.reduce_sum(resized))
    return float(tf.reduce_sum(resized[..., 0] * mask)) / total if total > 0 else float("nan")


def inside(activation: np.ndarray, mask: np.ndarray) -> str:
    """How much of a map is in a mask, beside how much of the picture is, in words; or nothing.

    Args:
      activation: float32 [h, w], at least 0.
      mask: bool [H, W]; where all are False it is not known where the class is.

    >>> inside(np.array([[1.0, 0.0], [0.0, 1.0]]), np.array([[True, True], [False, False]]))
    '50% inside its mask of 50%'
    """
    if not mask.any():
        return ""
    share = share_inside(activation, mask)
    if np.isnan(share):
        return "looks nowhere"
    return f"{share:.0%} inside its mask of {mask.mean():.0%}"


def _steps(model: tf.keras.Model) -> list[tuple[tf.keras.layers.Layer, int]]:
    """Layers that follow one another, each with the rank of what it gives.

    A network within the network is two: up to its last feature maps, and on from these.
    """
    steps = []
    for layer in model.layers:
        if isinstance(layer, tf.keras.layers.InputLayer):
            continue
        if len(layer.inbound_nodes) != 1 or len(tf.nest.flatten(layer.input)) != 1:
            raise UserError(
                f"The layers of {model.name!r} do not follow one another: {layer.name!r} has "
                "several inputs; activation maps are for a body with a head."
            )
        steps += _parts(layer) if isinstance(layer, tf.keras.Model) else [(layer, _rank(layer))]
    return steps


def _parts(body: tf.keras.Model) -> list[tuple[tf.keras.layers.Layer, int]]:
    maps = [layer for layer in body.layers[1:] if _rank(layer) == 4]
    if not maps or _rank(body) == 4:
        return [(body, _rank(body))]
    between = maps[-1].output
    return [
        (tf.keras.Model(body.inputs, between), 4),
        (tf.keras.Model(between, body.outputs), _rank(body)),
    ]


def _rank(layer: tf.keras.layers.Layer) -> int:
    return len(layer.output_shape)
