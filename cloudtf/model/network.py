"""The classifier: uint8 images in, one probability a class out.

    image uint8 [B, H, W, 3] -> normalise -> body (averaged at its end) -> dense sigmoid head

EfficientNet is `efficientnet.tfkeras` (Tan & Le 2019, arXiv:1905.11946), built with cloudtf's
dropout and batch-norm settings in place of the package's. EfficientNet-Lite (2020, tensorflow/tpu,
models/official/efficientnet/lite) is the same with fewer parts: no squeeze-and-excite, ReLU6 for
swish, and a stem, a head and first and last blocks that do not grow. EfficientNetV2 and ConvNeXt
are Keras's own (see `keras_bodies`).
"""

from __future__ import annotations

import functools
from typing import Any, Callable, Optional

import tensorflow as tf

from cloudtf.errors import UserError, param
from cloudtf.model import fused, keras2, keras_bodies, unrun
from cloudtf.model import weights as weight_files
from cloudtf.model.choices import DEFAULT_MODEL, KERAS_MODELS, MINIMUM_SIZE, MODELS
from cloudtf.model.random_layers import FixedDropout
from cloudtf.model.weights import BODY, HEAD

# ImageNet's mean and deviation of RGB in [0, 1], which the published weights expect.
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_DEVIATION = (0.229, 0.224, 0.225)

# Drop-connect's rate at depth 1 (the block after the last); it rises linearly from 0.
DROP_CONNECT_RATE = 0.2

# How many times deeper than B0 each network is, as in the paper's reference implementation.
_DEPTH = dict(zip(MODELS, (1.0, 1.1, 1.2, 1.4, 1.8, 2.2, 2.6, 3.1)))
# How many times wider and deeper than Lite0 each network is.
_LITE_SCALES = {
    "efficientnetlite0": (1.0, 1.0),
    "efficientnetlite1": (1.0, 1.1),
    "efficientnetlite2": (1.1, 1.2),
    "efficientnetlite3": (1.2, 1.4),
    "efficientnetlite4": (1.4, 1.8),
}


@keras2.channels_last()
def build_model(
    name: str = DEFAULT_MODEL,
    num_classes: int = 4,
    image_shape: tuple[int, int] = (224, 224),
    weights: Optional[str] = None,
    *,
    dropout: float = 0.0,
    batch_norm_momentum: Optional[float] = None,
    sync_batch_norm: bool = False,
    num_channels: int = 3,
) -> tf.keras.Model:
    """A classifier for `num_classes` independent labels.

    The input `image` is uint8 [B, H, W, num_channels], values 0 to 255, RGB; normalising is part
    of the model. The output `probabilities` is float32 [B, num_classes] in [0, 1], also under
    mixed precision. The layers `body` (the network with average pooling, [B, features]) and
    `probabilities` (the head) are reachable by `model.get_layer`.

    Args:
      name: one of `MODELS`: `efficientnetb0` to `b7`, `efficientnetlite0` to `lite4` (smaller and
        faster, and they quantise well), `efficientnetv2b0` to `b3`, `efficientnetv2s`, `m` and `l`,
        `convnexttiny`, `small` and `base`, or `tiny`, of about 9,000 parameters, for tests.
      num_classes: labels, each of which is present or not whatever the others are; at least 1.
      image_shape: height and width of the images in pixels, each at least 32.
      weights: None or `none` (random), `imagenet`, `noisy-student`, or the path of a file (see
        `cloudtf.model.weights.load`).
      dropout: share of the body's features dropped before the head, from 0 to under 1.
      batch_norm_momentum: how slowly all batch-norm averages follow, from 0 to under 1; None leaves
        the network's own: 0.99, or 0.9 in EfficientNetV2. `cloudtf.train` lets them follow faster
        at first; in `model.fit` a training of a few hundred steps needs about 0.9, or they lag
        behind the weights. (ConvNeXt has no batch norm.)
      sync_batch_norm: average batch statistics over replicas.
      num_channels: 3, or another number with random weights.

    Raises:
      UserError: an unknown name, or a value out of range, or weights that cannot be had or do
        not fit.

    >>> model = build_model("efficientnetb0", num_classes=4, image_shape=(64, 96))
    >>> model.input_shape, model.output_shape
    ((None, 64, 96, 3), (None, 4))
    >>> images = np.zeros([8, 64, 96, 3], np.uint8)
    >>> model.predict(images, verbose=0).shape
    (8, 4)

    Trained like any Keras model:

    >>> data = cloudtf.open_dataset("records")
    >>> model = build_model("tiny", len(data.classes), data.image_shape)
    >>> model.compile("adam", "binary_crossentropy")
    >>> history = model.fit(data.batches("train", 8, training=True), steps_per_epoch=6, verbose=0)
    >>> len(history.history["loss"])
    1
    """
    keras2.require()
    height, width = _check(name, num_classes, image_shape, dropout, batch_norm_momentum)
    if num_channels != 3 and weights not in (None, "none"):
        raise UserError(
            f"{param(weights=weights)} is for 3 channels, not {num_channels}; use "
            f"{param(weights='none')}."
        )
    norm_settings = {
        **({} if batch_norm_momentum is None else {"momentum": batch_norm_momentum}),
        **({"synchronized": True} if sync_batch_norm else {}),
    }
    batch_norm = functools.partial(tf.keras.layers.BatchNormalization, **norm_settings)
    shape = (height, width, num_channels)
    image = tf.keras.Input(shape, dtype="uint8", name="image")
    # In float32 under mixed precision too: the body casts what it is given.
    x = _normalisation(name, num_channels)(image)
    if name == "tiny":
        body = _tiny(shape, batch_norm)
    elif name in KERAS_MODELS:
        body = keras_bodies.make_body(name, shape, BODY, DROP_CONNECT_RATE, norm_settings)
    else:
        body = _efficientnet(name, shape, batch_norm)
    x = unrun.unrun(body)(x)
    if dropout:
        x = FixedDropout(dropout, name="dropout")(x)
    head = tf.keras.layers.Dense(num_classes, activation="sigmoid", dtype="float32", name=HEAD)
    model = unrun.finish(tf.keras.Model(image, head(x), name=name))
    if weights in (None, "none"):
        _begin_as_identity(model.get_layer(BODY))
    else:
        weight_files.load(model, name, weights)
    fused.speed_up(model)
    return model


def set_body_trainable(model: tf.keras.Model, trainable: bool) -> None:
    """Freezes or thaws the body of a model made by `build_model`.

    A frozen body runs as in inference whatever `training` says: batch norm uses its averages and
    drop-connect drops nothing. Functions already traced keep what they were traced with.
    """
    model.get_layer(BODY).trainable = trainable


def freeze_batch_norm(model: tf.keras.Model) -> None:
    """Freezes the batch norm of a body that is trained: its scales and offsets, and its averages.

    It then runs as in inference, on the averages of the images that the body has learnt from.
    """
    for layer in model.get_layer(BODY)._flatten_layers():
        if isinstance(layer, tf.keras.layers.BatchNormalization):
            layer.trainable = False


def num_blocks(name: str) -> int:
    """Residual blocks of a network: 16 in B0 and Lite0, 23 in B2, 55 in B7."""
    return sum(block.num_repeat for block in _blocks(name))


def _blocks(name: str) -> list[Any]:
    """The kinds of blocks of a network, `num_repeat` of each."""
    from efficientnet import model as package

    kinds = package.DEFAULT_BLOCKS_ARGS
    if name not in _LITE_SCALES:
        return [
            kind._replace(num_repeat=package.round_repeats(kind.num_repeat, _DEPTH[name]))
            for kind in kinds
        ]
    width, depth = _LITE_SCALES[name]
    return [
        kind._replace(
            input_filters=package.round_filters(kind.input_filters, width, 8),
            output_filters=package.round_filters(kind.output_filters, width, 8),
            num_repeat=kind.num_repeat
            if kind in (kinds[0], kinds[-1])
            else package.round_repeats(kind.num_repeat, depth),
            se_ratio=None,
        )
        for kind in kinds
    ]


def _check(
    name: str,
    num_classes: int,
    image_shape: tuple[int, int],
    dropout: float,
    batch_norm_momentum: Optional[float],
) -> tuple[int, int]:
    if name not in MODELS:
        raise UserError(f"There is no model {name!r}; the models are {', '.join(MODELS)}.")
    if num_classes < 1:
        raise UserError(f"A model needs at least one class, not {num_classes}.")
    if len(image_shape) != 2 or min(image_shape) < MINIMUM_SIZE:
        raise UserError(
            f"The image shape {tuple(image_shape)} must be a height and a width of at least "
            f"{MINIMUM_SIZE} pixels."
        )
    if not 0 <= dropout < 1:
        raise UserError(f"{param(dropout=dropout)} must be at least 0 and under 1.")
    if batch_norm_momentum is not None and not 0 <= batch_norm_momentum < 1:
        raise UserError(
            f"{param(batch_norm_momentum=batch_norm_momentum)} must be at least 0 and under 1."
        )
    return int(image_shape[0]), int(image_shape[1])


def _normalisation(name: str, num_channels: int) -> tf.keras.layers.Layer:
    """The layer that turns 0..255 into roughly zero mean and unit deviation, without weights."""
    means: tuple[float, ...] = IMAGENET_MEAN
    deviations: tuple[float, ...] = IMAGENET_DEVIATION
    if name in _LITE_SCALES:
        means, deviations = (127 / 255,) * 3, (128 / 255,) * 3
    if name in ("efficientnetv2s", "efficientnetv2m", "efficientnetv2l"):  # x / 128 - 1
        means, deviations = (128 / 255,) * 3, (128 / 255,) * 3
    if num_channels != 3:
        means = (sum(means) / 3,) * num_channels
        deviations = (sum(deviations) / 3,) * num_channels
    return tf.keras.layers.Rescaling(
        scale=[1 / (255 * deviation) for deviation in deviations],
        offset=[-mean / deviation for mean, deviation in zip(means, deviations)],
        dtype="float32",
        name="normalise",
    )


class _Layers:
    """`tf.keras.layers` with some classes replaced; the package takes its layers from this."""

    def __init__(self, **replaced: Any) -> None:
        self.__dict__.update(replaced)

    def __getattr__(self, name: str) -> Any:
        if name in ("add", "multiply"):
            kind = getattr(tf.keras.layers, name.capitalize())
            return lambda inputs, **settings: unrun.unrun(kind(**settings))(inputs)
        return _unrun(getattr(tf.keras.layers, name))


class _Dropout(FixedDropout):
    """What the package derives its own dropout from."""

    def __init__(self, *arguments: Any, **settings: Any) -> None:
        super().__init__(*arguments, **settings)
        unrun.unrun(self)


def _unrun(kind: Callable[..., tf.keras.layers.Layer]) -> Callable[..., tf.keras.layers.Layer]:
    return lambda *arguments, **settings: unrun.unrun(kind(*arguments, **settings))


def _efficientnet(
    name: str, shape: tuple[int, int, int], batch_norm: Callable[..., Any]
) -> tf.keras.Model:
    from efficientnet import model as package

    own_layers: dict[str, Any] = {"BatchNormalization": _unrun(batch_norm), "Dropout": _Dropout}
    if name in _LITE_SCALES:
        own_layers["Activation"] = _relu6
        build = functools.partial(package.EfficientNet, 1.0, 1.0, 224, blocks_args=_blocks(name))
        drop_connect_rate = DROP_CONNECT_RATE
    else:
        build = getattr(package, name.replace("efficientnetb", "EfficientNetB"))
        # The package divides by B0's 16 blocks whatever the depth.
        drop_connect_rate = DROP_CONNECT_RATE * num_blocks("efficientnetb0") / num_blocks(name)
    body = build(
        include_top=False,
        weights=None,
        input_shape=shape,
        pooling="avg",
        drop_connect_rate=drop_connect_rate,
        backend=tf.keras.backend,
        layers=_Layers(**own_layers),
        models=tf.keras.models,
        utils=tf.keras.utils,
    )
    return tf.keras.Model(body.inputs, body.outputs, name=BODY)


def _relu6(_: Any, name: str) -> tf.keras.layers.Layer:
    """In the place of `Activation(swish)`."""
    return unrun.unrun(tf.keras.layers.ReLU(6.0, name=name))


def _begin_as_identity(body: tf.keras.Model) -> None:
    """Zeroes the last batch-norm scale of each residual block (Goyal et al. 2017,
    arXiv:1706.02677, section 5.1), so that random weights begin as a shallow network.

    On the synthetic clouds B2 learnt in four epochs what it otherwise had not in twelve.
    """
    names = {layer.name for layer in body.layers}
    for name in names:
        last = name.replace("_add", "_project_bn")
        if name.endswith("_add") and last in names:
            scale = body.get_layer(last).gamma
            scale.assign(tf.zeros_like(scale))


def _tiny(shape: tuple[int, int, int], batch_norm: Callable[..., Any]) -> tf.keras.Model:
    """The kinds of layers that EfficientNet has, few and small."""
    layers = tf.keras.layers
    inputs = tf.keras.Input(shape)

    def convolution(x: tf.Tensor, prefix: str, filters: int, strides: int) -> tf.Tensor:
        x = layers.Conv2D(
            filters, 3, strides, padding="same", use_bias=False, name=f"{prefix}_conv"
        )(x)
        x = batch_norm(name=f"{prefix}_bn")(x)
        return layers.Activation("relu", name=f"{prefix}_activation")(x)

    x = convolution(inputs, "stem", 16, 2)
    x = skipped = convolution(x, "down", 24, 2)
    x = convolution(x, "block", 24, 1)
    x = FixedDropout(DROP_CONNECT_RATE, noise_shape=(None, 1, 1, 1), name="block_drop")(x)
    x = layers.Add(name="block_add")([x, skipped])
    x = layers.GlobalAveragePooling2D(name="avg_pool")(x)
    return tf.keras.Model(inputs, x, name=BODY)
