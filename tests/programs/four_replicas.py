"""Trains, scores and saves the tiny network on four logical CPU devices, and on one.

Argument: where to save the trained model, `*.keras`. Answers with losses, gradients, weights,
scores and dropout masks by name, as test_replicas.py compares them.
"""

from __future__ import annotations

import json
import sys
from typing import Any, Iterator

import numpy as np
import tensorflow as tf

from cloudtf.evaluation import pr_auc, scoring
from cloudtf.model import fused, losses, network, optimizers, random_layers, saving
from cloudtf.model.choices import CROSS_ENTROPIES, LOSSES
from cloudtf.training import hardware
from cloudtf.training.batch_norm import replica_averager

REPLICAS, BATCH = 4, 8


def build(**options: Any) -> tf.keras.Model:
    """The tiny network, as smooth as EfficientNet: in one of 15 trainings ReLU's kink, with a value
    just beside it, drives apart what differed by rounding."""
    model = network.build_model("tiny", 3, (32, 32), **options)
    for layer in model.get_layer("body").layers:
        if isinstance(layer, tf.keras.layers.Activation):
            layer.activation = tf.nn.swish
    fused._LEAST_ELEMENTS = 1
    fused.speed_up(model)
    return model


class Trainer:
    """Trains from the same first weights on the same batch.

    Attributes:
      images: uint8 [BATCH, 32, 32, 3].
      labels: float32 [BATCH, 3].
    """

    def __init__(self, images: np.ndarray, labels: np.ndarray) -> None:
        self.images, self.labels = images, labels
        self._first = build().get_weights()

    def train(
        self,
        strategy: tf.distribute.Strategy,
        loss_name: str,
        optimizer_name: str,
        steps: int,
        sync_batch_norm: bool = True,
    ) -> tuple[dict[str, Any], tf.keras.Model]:
        """What came of some steps, and the model."""
        loss = losses.get_loss(loss_name)
        with strategy.scope():
            model = build(sync_batch_norm=sync_batch_norm)
            model.set_weights(self._first)
            model.get_layer("body").get_layer("block_drop").rate = 0.0
            if optimizer_name == "sgd":
                optimizer = tf.keras.optimizers.legacy.SGD(0.05)
            else:
                optimizer = optimizers.make_optimizer(optimizer_name, 1e-2, 20)
            optimizer.iterations  # noqa: B018 - made here, where the strategy sees it

        def replica_step(x: tf.Tensor, y: tf.Tensor) -> tuple[tf.Tensor, list[tf.Tensor]]:
            with random_layers.stochastic_step(1, optimizer.iterations), tf.GradientTape() as tape:
                value = tf.reduce_sum(loss(y, model(x, training=True))) / BATCH
            variables = model.trainable_variables
            gradients = tape.gradient(value, variables)
            optimizer.apply_gradients(zip(gradients, variables))
            return value, gradients

        def total(each: tf.Tensor) -> tf.Tensor:
            return strategy.reduce("SUM", each, axis=None)

        @tf.function
        def step(x: tf.Tensor, y: tf.Tensor) -> tuple[tf.Tensor, list[tf.Tensor]]:
            value, gradients = strategy.run(replica_step, (x, y))
            return total(value), [total(gradient) for gradient in gradients]

        def shared(array: np.ndarray) -> tf.Tensor:
            size = BATCH // strategy.num_replicas_in_sync
            if size == BATCH:
                return tf.constant(array)
            return strategy.experimental_distribute_values_from_function(
                lambda context: tf.constant(array[context.replica_id_in_sync_group * size :][:size])
            )

        done = [step(shared(self.images), shared(self.labels)) for _ in range(steps)]
        return {
            "losses": [float(value) for value, _ in done],
            "first_gradients": lists(done[0][1]),
            "last_gradients": lists(done[-1][1]),
            "weights": lists(model.trainable_variables),
            "averages": lists(model.non_trainable_variables),
        }, model


def lists(tensors: Any) -> list:
    """Tensors as what JSON can hold."""
    return [tensor.numpy().tolist() for tensor in tensors]


def own_averages(strategy: tf.distribute.Strategy, model: tf.keras.Model) -> list:
    """One batch-norm average as each replica has it."""
    variable = model.get_layer("body").get_layer("block_bn").moving_mean
    return lists(strategy.experimental_local_results(strategy.run(lambda: tf.identity(variable))))


def scored_batches(images: np.ndarray, labels: np.ndarray) -> Iterator[tuple[np.ndarray, ...]]:
    """13 examples in batches of 8, the last one padded."""
    for first in (0, BATCH):
        rows = np.arange(first, first + BATCH)
        present = rows < 13
        keys = np.stack([np.zeros(BATCH), np.where(present, rows, -1)], axis=1).astype(np.int32)
        yield images[rows], labels[rows], present.astype(np.float32), keys


def masks(strategy: tf.distribute.Strategy) -> list:
    """What dropout keeps of 64 values, on each replica."""
    layer = random_layers.FixedDropout(0.5, name="drop")

    def replica() -> tf.Tensor:
        with random_layers.stochastic_step(7, 3):
            return layer(tf.ones([64]), training=True)

    @tf.function
    def drawn() -> tuple[tf.Tensor, ...]:
        return strategy.experimental_local_results(strategy.run(replica))

    return lists(drawn())


def of_loss(strategy: tf.distribute.Strategy, name: str) -> list[float]:
    """A loss of 8 examples, of some classes unknown, each replica with its share."""
    generator = np.random.default_rng(1)
    labels = generator.integers(-1, 2, (BATCH, 3)).astype(np.float32)
    probabilities = generator.uniform(0.01, 0.99, (BATCH, 3)).astype(np.float32)
    weights = [1.0, 2.0, 3.0] if name in CROSS_ENTROPIES else None
    loss = losses.get_loss(name, positive_weights=weights)
    share = BATCH // strategy.num_replicas_in_sync

    def replica() -> tf.Tensor:
        number = tf.distribute.get_replica_context().replica_id_in_sync_group
        rows = tf.range(number * share, (number + 1) * share)
        return loss(tf.gather(labels, rows), tf.gather(probabilities, rows))

    @tf.function
    def values() -> tuple[tf.Tensor, ...]:
        return strategy.experimental_local_results(strategy.run(replica))

    return [value for each in values() for value in each.numpy().tolist()]


def main(path: str) -> None:
    """Answers with everything."""
    cpu = tf.config.list_physical_devices("CPU")[0]
    devices = [tf.config.LogicalDeviceConfiguration()] * REPLICAS
    tf.config.set_logical_device_configuration(cpu, devices)
    tf.keras.utils.set_random_seed(0)
    generator = np.random.default_rng(0)
    images = generator.integers(0, 256, (BATCH, 32, 32, 3), dtype=np.uint8)
    trainer = Trainer(images, generator.integers(0, 2, (BATCH, 3)).astype(np.float32))
    # One for the process: a second one over the same devices repeats the first one's collective
    # keys.
    mirrored = hardware.make_strategy("mirrored")
    alone = tf.distribute.get_strategy()

    result: dict[str, Any] = {}
    for loss_name, optimizer_name, steps in (
        ("bce_dice", "radam", 20),
        ("bce", "adam", 8),
        ("bce", "sgd", 20),
    ):
        one, _ = trainer.train(alone, loss_name, optimizer_name, steps)
        four, model = trainer.train(mirrored, loss_name, optimizer_name, steps)
        result[optimizer_name] = [one, four]
    result["apart"], apart = trainer.train(mirrored, "bce", "sgd", 2, sync_batch_norm=False)
    result["together"], _ = trainer.train(alone, "bce", "sgd", 2, sync_batch_norm=False)
    result["averages_apart"] = own_averages(mirrored, apart)
    replica_averager(mirrored, apart.variables)()
    result["averages_merged"] = own_averages(mirrored, apart)

    many = generator.integers(0, 256, (2 * BATCH, 32, 32, 3), dtype=np.uint8)
    truth = generator.integers(0, 2, (2 * BATCH, 3)).astype(np.float32)
    trained = build()
    trained.set_weights(model.get_weights())
    result["truth"], result["scored"] = truth[:13].tolist(), []
    for each, strategy in ((trained, None), (model, mirrored)):
        scored = scoring.Scorer(each, strategy).dataset(scored_batches(many, truth))
        figures = pr_auc.score(scored.labels, scored.scores, ("a", "b", "c"))
        result["scored"].append(
            {
                "numbers": scored.numbers.tolist(),
                "labels": scored.labels.tolist(),
                "scores": scored.scores.tolist(),
                "pr_auc": figures.pr_auc,
                "average_precision": figures.average_precision,
            }
        )
    result["masks"] = masks(mirrored)
    result["losses"] = {name: [of_loss(s, name) for s in (alone, mirrored)] for name in LOSSES}

    saving.save_model(model, path, {"classes": ["a", "b", "c"]})
    loaded = saving.load_model(path)
    pairs = zip(loaded.get_weights(), model.get_weights())
    result["saved_weights_equal"] = all(np.array_equal(a, b) for a, b in pairs)
    result["predictions"] = lists(each(images) for each in (loaded, model))
    print(json.dumps(result))


if __name__ == "__main__":
    main(sys.argv[1])
