"""What a run builds before its first step: the network, its optimizer, and what judges it."""

from __future__ import annotations

import contextlib
from typing import Callable, Iterator, Optional, Sequence

import tensorflow as tf

from cloudtf.data import records
from cloudtf.errors import UsageError, param
from cloudtf.evaluation import scoring
from cloudtf.model import class_weights, layer_rates, losses, network, optimizers
from cloudtf.training import batch_norm, hardware, inputs
from cloudtf.training.config import TrainConfig
from cloudtf.training.judge import Judge
from cloudtf.training.own_parts import OwnParts, has_body
from cloudtf.training.patience import Patience
from cloudtf.training.run import Run
from cloudtf.training.weight_average import WeightAverage


def build_model(
    config: TrainConfig,
    strategy: tf.distribute.Strategy,
    num_classes: int,
    image_shape: tuple[int, int],
    weights: Optional[str],
    make: Optional[Callable[[int, tuple[int, int]], tf.keras.Model]] = None,
) -> tf.keras.Model:
    """The network of the settings, under the strategy and in its number format.

    Args:
      config: the settings of the run.
      strategy: the replicas that share the weights.
      num_classes: C, the width of the output.
      image_shape: (height, width) of the images, in pixels.
      weights: what it begins with, as `TrainConfig.weights`; None for random ones.
      make: makes another network from the number of classes and the image shape.
    """
    with strategy.scope(), precision(config.mixed_precision, strategy):
        if make is not None:
            return make(num_classes, image_shape)
        return network.build_model(
            config.model,
            num_classes=num_classes,
            image_shape=image_shape,
            weights=weights,
            dropout=config.dropout,
            batch_norm_momentum=config.batch_norm_momentum,
            sync_batch_norm=config.sync_batch_norm,
        )


def unsettled_batch_norm(
    config: TrainConfig, own: OwnParts, model: tf.keras.Model
) -> list[tf.keras.layers.Layer]:
    """The batch-norm layers whose averages must forget their first values.

    Args:
      config: the settings of the run.
      own: where the network may come from.
      model: the network before a checkpoint is read, with its first averages.
    """
    if own.model_fn is not None:
        return batch_norm.unsettled(model)
    return batch_norm.layers_of(model) if config.weights == "none" else []


def set_trainable(run: Run, model: tf.keras.Model, whole_network: bool) -> None:
    """Freezes what of a network is not trained; of one without a layer `body`, nothing.

    Args:
      run: what says whether the batch norm of the body is trained. After a head that was fitted on
        features it is not, unless asked for: the head fits those of its averages, not of a batch.
      model: the network of the run; what of it is trainable changes.
      whole_network: whether the body is trained, or the head alone.
    """
    if not has_body(model):
        return
    network.set_body_trainable(model, whole_network)
    if whole_network and freezes_batch_norm(run):
        network.freeze_batch_norm(model)


def freezes_batch_norm(run: Run) -> bool:
    """Whether the batch norm of the body stays as it is while the whole network is trained."""
    frozen = run.config.freeze_batch_norm
    return run.stages[0].fits_head if frozen is None else frozen


def make_average(
    config: TrainConfig, strategy: tf.distribute.Strategy, model: tf.keras.Model
) -> Optional[WeightAverage]:
    """What follows the weights, of which the model has those of now; None without `ema`.

    Args:
      config: the settings of the run.
      strategy: the replicas that share the weights.
      model: the network whose weights are followed.
    """
    return None if config.ema is None else WeightAverage(model, strategy, config.ema)


def run_model(run: Run, restored: bool) -> tf.keras.Model:
    """The network of a run, as it begins.

    Args:
      run: the run with its settings, records and hardware.
      restored: whether a checkpoint is read into it: then its first weights do not matter.
    """
    weights = None if restored or run.config.weights == "none" else run.config.weights
    make = run.own.build_model if run.own.model_fn is not None else None
    shape = run.data.image_shape
    return build_model(run.config, run.strategy, len(run.data.classes), shape, weights, make)


def make_optimizer(
    config: TrainConfig,
    strategy: tf.distribute.Strategy,
    model: tf.keras.Model,
    learning_rate: float,
    total_steps: int,
) -> tf.keras.optimizers.Optimizer:
    """The optimizer of the settings with all its variables, ready for a train step.

    Args:
      config: the settings of the run.
      strategy: the replicas that share the weights.
      model: whose trainable weights it changes.
      learning_rate: the peak of its schedule.
      total_steps: the length of its schedule.
    """
    with strategy.scope():
        optimizer = optimizers.make_optimizer(
            config.optimizer,
            learning_rate,
            total_steps,
            warmup_proportion=config.warmup_proportion,
            min_lr=config.final_rate * learning_rate,
            schedule=config.schedule,
            weight_decay=config.weight_decay,
            clip_norm=config.clip_norm,
            rate_factors=layer_rates.rate_factors(model, config.body_rate, config.layer_decay),
        )
        if config.mixed_precision and hardware.accelerator(strategy) == "GPU":
            optimizer = tf.keras.mixed_precision.LossScaleOptimizer(optimizer)
        # Created here, or a mirrored loop of steps would create it while tracing.
        _ = optimizer.iterations
        optimizer._create_all_weights(model.trainable_variables)
    return optimizer


@contextlib.contextmanager
def precision(mixed: bool, strategy: tf.distribute.Strategy) -> Iterator[None]:
    """Builds layers in float32, or in half precision where the hardware computes in it.

    Raises:
      UsageError: half precision is asked for on a CPU.
    """
    policies = {"GPU": "mixed_float16", "TPU": "mixed_bfloat16"}
    accelerator = hardware.accelerator(strategy)
    if mixed and accelerator not in policies:
        raise UsageError(
            f"{param(mixed_precision=True)} is for GPUs and TPUs: on a CPU half precision is "
            "emulated and slower; leave it out."
        )
    before = tf.keras.mixed_precision.global_policy()
    # Also in float32, whatever a program has set globally.
    tf.keras.mixed_precision.set_global_policy(policies[accelerator] if mixed else "float32")
    try:
        yield
    finally:
        tf.keras.mixed_precision.set_global_policy(before)


def make_loss(run: Run) -> losses.Loss:
    """The loss of the settings, or a user's own: (labels, probabilities) [B, C] -> [B].

    Raises:
      UserError: Keras has no such loss.
    """
    if run.own.loss_fn is not None:
        return run.own.loss()
    weights = positive_weights(run.config, run.data.manifest, run.train_splits)
    known = None if weights is None else list(weights.values())
    return settings_loss(run.config, known, run.data.manifest.has_unknown)


def settings_loss(
    config: TrainConfig, weights: Optional[Sequence[float]], unknown: bool
) -> losses.Loss:
    """The loss of the settings.

    Args:
      config: the settings of the run.
      weights: what the presence of each class weighs, [C]; None: 1.
      unknown: whether labels may be -1, for unknown.
    """
    return losses.get_loss(
        config.loss,
        focal_gamma=config.focal_gamma,
        focal_alpha=config.focal_alpha,
        asymmetric_gamma_neg=config.asymmetric_gamma_neg,
        asymmetric_gamma_pos=config.asymmetric_gamma_pos,
        asymmetric_clip=config.asymmetric_clip,
        positive_weights=weights,
        label_smoothing=config.label_smoothing,
        unknown=unknown,
    )


def positive_weights(
    config: TrainConfig, manifest: records.Manifest, train_splits: Sequence[str]
) -> Optional[dict[str, float]]:
    """What the presence of each class weighs, by the counts of the training splits; None: 1."""
    if config.positive_weights == "none":
        return None
    split = manifest.joined(train_splits)
    positives = [split.class_counts.get(name, 0) for name in manifest.classes]
    negatives = [split.num_known(n) - count for n, count in zip(manifest.classes, positives)]
    weights = class_weights.positive_weights(
        config.positive_weights, positives, negatives, config.effective_beta
    )
    return dict(zip(manifest.classes, weights.tolist()))


def make_judge(run: Run, model: tf.keras.Model, loss: losses.Loss) -> Judge:
    """What judges the network after each epoch."""
    config, training = run.config, None
    validation = inputs.evaluation_batches(run, run.val_split)
    if config.train_metric_examples:
        training = inputs.evaluation_batches(run, run.train_splits, config.train_metric_examples)
    return Judge(
        model,
        validation,
        run.data.classes,
        Patience(config.early_stopping_patience, config.plateau_patience),
        training=training,
        results=run.results,
        loss=loss,
        scorer=scoring.Scorer(model, run.strategy, divided=run.workers.count > 1),
        info={
            "image_height": run.data.image_shape[0],
            "image_width": run.data.image_shape[1],
            "aspect": run.data.manifest.aspect,
            "model": model.name if run.own.model_fn else config.model,
            "val_split": run.val_split,
            "data_dir": config.data_dir,
        },
        groups=run.data.photographs.shared_groups(run.data.names(run.val_split)),
        best_waits=True,
    )


def try_out(run: Run, model: tf.keras.Model, loss: losses.Loss) -> None:
    """Tries a network and a loss of one's own on some examples, before the first step."""
    if run.own.model_fn is not None or run.own.loss_fn is not None:
        batches = run.data.batches(run.val_split, 2, max_examples=2)
        images, labels = (part.numpy() for part in next(iter(batches))[:2])
        run.own.check_probabilities(model, images)
        run.own.check_loss(loss, labels, run.data.manifest.has_unknown)
