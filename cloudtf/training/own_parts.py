"""A user's own network, loss and Keras callbacks in a run of cloudtf."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from typing import Any, Callable, Optional, Sequence, Union

import numpy as np
import tensorflow as tf

from cloudtf.errors import UsageError, UserError, param, reason
from cloudtf.model import network, random_layers, unknown_labels
from cloudtf.model.losses import Loss
from cloudtf.training import fit_checks
from cloudtf.training.config import TrainConfig
from cloudtf.training.pr_auc_callback import PrAucCallback

ModelFn = Callable[[int, tuple[int, int]], tf.keras.Model]
# What choose or shape cloudtf's own networks.
_OF_OUR_NETWORKS = ("model", "weights", "dropout", "batch_norm_momentum", "sync_batch_norm")


def notes_of_all_folds(callbacks: Sequence[tf.keras.callbacks.Callback]) -> list[str]:
    """A sentence on each of the user's callbacks that means something else in a run of all folds.

    Args:
      callbacks: those that every fold in turn is given, with what they know of the ones before.
    """
    return [
        f"Note: the ModelCheckpoint of {callback.filepath} is one for all folds: it keeps the best "
        "of all of them in that file, not one a fold. The best model of each is best.keras in its "
        f"folder; for a callback of its own train each fold by itself, {param(fold=0)} and so on."
        for callback in callbacks
        if isinstance(callback, tf.keras.callbacks.ModelCheckpoint)
    ]


@dataclasses.dataclass(frozen=True)
class OwnParts:
    """What `cloudtf.train` is given beside its settings.

    Attributes:
      model_fn: makes the network from the number of classes and (height, width); None for one of
        cloudtf's.
      loss_fn: any loss that `model.compile` takes: a name, a function or a tf.keras.losses.Loss;
        None for the one of the settings.
      callbacks: Keras callbacks, called in this order after cloudtf has judged an epoch.
    """

    model_fn: Optional[ModelFn] = None
    loss_fn: Union[str, Callable, None] = None
    callbacks: tuple[tf.keras.callbacks.Callback, ...] = ()

    def __post_init__(self) -> None:
        if self.model_fn is not None and not callable(self.model_fn):
            raise UsageError(
                "model_fn must be a function of (num_classes, image_shape) that gives a Keras "
                f"model, not {type(self.model_fn).__name__}."
            )
        for callback in self.callbacks:
            if not isinstance(callback, tf.keras.callbacks.Callback):
                raise UsageError(
                    f"callbacks must be of tf.keras.callbacks.Callback, not "
                    f"{type(callback).__name__}."
                )
            if isinstance(callback, (PrAucCallback, tf.keras.callbacks.BackupAndRestore)):
                raise UsageError(
                    f"{type(callback).__name__} is for model.fit: cloudtf.train judges each epoch "
                    "and goes on after a crash by itself; leave it out of callbacks."
                )

    def fits_features(self, config: TrainConfig) -> bool:
        """Whether the head is fitted on features; of a network of one's own only by request."""
        return config.head == "features" if self.model_fn is not None else config.fits_features

    def stage_epochs(self, config: TrainConfig) -> tuple[int, int]:
        """Epochs of the head stage and of the whole network.

        A network of one's own begins with the whole, unless the settings say how to train its head.

        Raises:
          UsageError: there is nothing to train.
        """
        if self.model_fn is None:
            return config.stage_epochs
        head_epochs = 1 if self.fits_features(config) else config.head_epochs or 0
        if not (head_epochs or config.epochs):
            raise UsageError(f"{param(epochs=0)} leaves nothing to train.")
        return head_epochs, config.epochs

    def unused(self, config: TrainConfig) -> list[str]:
        """The settings that say something and mean nothing beside these parts."""
        names = [*_OF_OUR_NETWORKS] if self.model_fn is not None else []
        names += [] if self.fits_features(config) else ["feature_views"]
        if self.loss_fn is not None:
            names += [
                f.name for f in dataclasses.fields(config) if f.metadata.get("topic") == "loss"
            ]
        return [
            param(**{field.name: getattr(config, field.name)})
            for field in dataclasses.fields(config)
            if field.name in names and getattr(config, field.name) != field.default
        ]

    def build_model(self, num_classes: int, image_shape: tuple[int, int]) -> tf.keras.Model:
        """The network of `model_fn`, whose random layers follow the step.

        Raises:
          UserError: it is not from images to a probability a class, or a file could not hold it.
        """
        assert self.model_fn is not None
        model = self.model_fn(num_classes, image_shape)
        if not isinstance(model, tf.keras.Model):
            raise UserError(
                f"model_fn must give a model of tf.keras, not {type(model).__name__}; import "
                "cloudtf before Keras."
            )
        fit_checks.check_model(model, num_classes)
        if type(model).train_step is not tf.keras.Model.train_step:
            raise UserError(
                f"The model {model.name!r} has a train_step of its own, which only model.fit runs; "
                "use model.fit with cloudtf.PrAucCallback."
            )
        height, width = model.inputs[0].shape[1:3]
        if (height or image_shape[0], width or image_shape[1]) != image_shape:
            raise UserError(
                f"The model {model.name!r} takes images of {height} x {width} pixels, and the "
                f"records have {image_shape[0]} x {image_shape[1]}."
            )
        random_layers.make_reproducible(model)
        return model

    def check_probabilities(self, model: tf.keras.Model, images: np.ndarray) -> None:
        """Tries a network of one's own on some images, uint8 [B, H, W, 3].

        Raises:
          UserError: it does not take them, or what it gives are no probabilities.
        """
        if self.model_fn is None:
            return
        try:
            values = model(tf.constant(images), training=False).numpy()
        except (ValueError, TypeError, tf.errors.InvalidArgumentError) as error:
            raise UserError(
                f"The model {model.name!r} does not take images uint8 {list(images.shape)} "
                f"({reason(error)})."
            ) from error
        if not (values >= 0).all() or not (values <= 1).all():
            raise UserError(
                f"The model {model.name!r} gives values from {values.min():.3g} to "
                f"{values.max():.3g}, which are no probabilities; end it with a sigmoid, and give "
                "a loss that takes probabilities."
            )

    def loss(self) -> Loss:
        """The loss as (labels [B, C], probabilities [B, C]) -> [B].

        Raises:
          UserError: Keras has no such loss.
        """
        assert self.loss_fn is not None
        try:
            found = tf.keras.losses.get(self.loss_fn)
        except (ValueError, TypeError) as error:
            raise UserError(f"loss_fn is not a loss of Keras ({reason(error)}).") from error
        # The value a example: an object of Keras would take the mean over them.
        values = found.call if isinstance(found, tf.keras.losses.Loss) else found
        converted = tf.function(values)  # Python's `if` and `for` on tensors, as Keras takes them.

        def loss(labels: tf.Tensor, probabilities: tf.Tensor) -> tf.Tensor:
            value = tf.cast(converted(labels, probabilities), tf.float32)
            if value.shape.rank == 0:
                return tf.fill(tf.shape(labels)[:1], value)
            return tf.reduce_mean(tf.reshape(value, [tf.shape(labels)[0], -1]), axis=1)

        return loss

    def check_loss(self, loss: Loss, labels: np.ndarray, unknown: bool) -> None:
        """Tries a loss of one's own.

        Args:
          loss: the function that `loss` has given, [B, C], [B, C] -> [B].
          labels: the labels of some examples, float32 [B, C].
          unknown: whether labels of the set may be -1, for unknown.

        Raises:
          UserError: it does not take labels and probabilities [B, C], its value is not finite, or
            it takes unknown labels for known ones.
        """
        if self.loss_fn is None:
            return
        try:
            value = loss(tf.constant(labels), tf.fill(labels.shape, 0.5)).numpy()
        except Exception as error:  # Of any code.
            raise UserError(
                f"loss_fn does not take labels and probabilities float32 {list(labels.shape)} "
                f"({reason(error)})."
            ) from error
        if not np.isfinite(value).all():
            raise UserError(f"loss_fn gives {value[0]} where all probabilities are 0.5.")
        if unknown and unknown_labels.counts_unknown(loss, labels.shape[1]):
            raise UserError(
                "loss_fn does not leave out labels that are unknown (-1), which the records have; "
                "give cloudtf.masked(loss_fn)."
            )

    def describe(self, model: Optional[tf.keras.Model]) -> Optional[dict[str, Any]]:
        """What a run that goes on must have alike, as JSON values; None without own parts.

        Args:
          model: the network, for a digest of its layers; None before it is built.
        """
        if self.model_fn is None and self.loss_fn is None:
            return None
        digest = None
        if self.model_fn is not None and model is not None:
            layers = [
                [type(layer).__name__, [list(weight.shape) for weight in layer.weights]]
                for layer in model._flatten_layers(include_self=False, recursive=True)
            ]
            digest = hashlib.sha256(json.dumps(layers).encode()).hexdigest()
        return {"model": digest, "loss": _name(self.loss_fn)}


def has_body(model: tf.keras.Model) -> bool:
    """Whether the network has a part that can be frozen while its head is trained."""
    return any(layer.name == network.BODY for layer in model.layers)


def _name(loss: Union[str, Callable, None]) -> Optional[str]:
    if loss is None or isinstance(loss, str):
        return loss
    return getattr(loss, "__name__", type(loss).__name__)
