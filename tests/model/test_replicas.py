"""Four logical CPU devices need a process of their own: devices are fixed at TensorFlow's start."""

import json
import subprocess
import sys

import numpy as np
import pytest

REPLICAS = 4
SCRIPT = """
import json, sys
import numpy as np
import tensorflow as tf
from cloudtf.evaluation import pr_auc, scoring
from cloudtf.model import losses, network, optimizers, random_layers, saving
from cloudtf.training import batch_norm, hardware

cpu = tf.config.list_physical_devices("CPU")[0]
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 4)
tf.keras.utils.set_random_seed(0)
generator = np.random.default_rng(0)
images = generator.integers(0, 256, (8, 32, 32, 3), dtype=np.uint8)
labels = generator.integers(0, 2, (8, 3)).astype(np.float32)

def build(**options):
    # As smooth as EfficientNet: in one of 15 trainings ReLU's kink, with a value just beside it,
    # drives apart what differed by rounding.
    model = network.build_model("tiny", 3, (32, 32), **options)
    for layer in model.get_layer("body").layers:
        if isinstance(layer, tf.keras.layers.Activation):
            layer.activation = tf.nn.swish
    return model

first = build().get_weights()

# One for the process: a second one over the same devices repeats the first one's collective keys.
mirrored = hardware.make_strategy("mirrored")
alone = tf.distribute.get_strategy()

def train(strategy, loss_name, optimizer_name, steps, sync_batch_norm=True):
    loss = losses.get_loss(loss_name)
    with strategy.scope():
        model = build(sync_batch_norm=sync_batch_norm)
        model.set_weights(first)
        model.get_layer("body").get_layer("block_drop").rate = 0.0
        if optimizer_name == "sgd":
            optimizer = tf.keras.optimizers.legacy.SGD(0.05)
        else:
            optimizer = optimizers.make_optimizer(optimizer_name, 1e-2, 20)
        optimizer.iterations
    def replica_step(x, y):
        with random_layers.stochastic_step(1, optimizer.iterations), tf.GradientTape() as tape:
            value = tf.reduce_sum(loss(y, model(x, training=True))) / 8
        variables = model.trainable_variables
        found = tape.gradient(value, variables)
        optimizer.apply_gradients(zip(found, variables))
        return value, found
    @tf.function
    def step(x, y):
        value, found = strategy.run(replica_step, (x, y))
        total = lambda each: strategy.reduce("SUM", each, axis=None)
        return total(value), [total(each) for each in found]
    def part(array):
        size = 8 // strategy.num_replicas_in_sync
        if size == 8:
            return tf.constant(array)
        return strategy.experimental_distribute_values_from_function(
            lambda c: tf.constant(array[c.replica_id_in_sync_group * size:][:size]))
    done = [step(part(images), part(labels)) for _ in range(steps)]
    told = {
        "losses": [float(value) for value, _ in done],
        "first_gradients": [g.numpy().tolist() for g in done[0][1]],
        "last_gradients": [g.numpy().tolist() for g in done[-1][1]],
        "weights": [v.numpy().tolist() for v in model.trainable_variables],
        "averages": [v.numpy().tolist() for v in model.non_trainable_variables],
    }
    return told, model

result = {}
for loss_name, optimizer_name, steps in (
    ("bce_dice", "radam", 20), ("bce", "adam", 8), ("bce", "sgd", 20)
):
    one, _ = train(alone, loss_name, optimizer_name, steps)
    four, model = train(mirrored, loss_name, optimizer_name, steps)
    result[optimizer_name] = [one, four]
result["apart"], apart = train(mirrored, "bce", "sgd", 2, sync_batch_norm=False)
result["together"], _ = train(alone, "bce", "sgd", 2, sync_batch_norm=False)

def averages():
    variable = apart.get_layer("body").get_layer("block_bn").moving_mean
    own = mirrored.experimental_local_results(mirrored.run(lambda: tf.identity(variable)))
    return [value.numpy().tolist() for value in own]
result["averages_apart"] = averages()
batch_norm.replica_averager(mirrored, apart)()
result["averages_merged"] = averages()

# 13 examples in batches of 8, the last one padded, on four replicas.
many = generator.integers(0, 256, (16, 32, 32, 3), dtype=np.uint8)
truth = generator.integers(0, 2, (16, 3)).astype(np.float32)
def batches():
    for first in (0, 8):
        rows = np.arange(first, first + 8)
        present = rows < 13
        keys = np.stack([np.zeros(8), np.where(present, rows, -1)], axis=1).astype(np.int32)
        yield many[rows], truth[rows], present.astype(np.float32), keys
trained = build()
trained.set_weights(model.get_weights())
result["scored"] = []
for each, strategy in ((trained, None), (model, mirrored)):
    scored = scoring.Scorer(each, strategy).dataset(batches())
    figures = pr_auc.score(scored.labels, scored.scores, ("a", "b", "c"))
    result["scored"].append({
        "numbers": scored.numbers.tolist(), "labels": scored.labels.tolist(),
        "scores": scored.scores.tolist(), "pr_auc": figures.pr_auc,
        "average_precision": figures.average_precision})
result["truth"] = truth[:13].tolist()

layer = random_layers.FixedDropout(0.5, name="drop")
@tf.function
def masks():
    def replica():
        with random_layers.stochastic_step(7, 3):
            return layer(tf.ones([64]), training=True)
    return mirrored.experimental_local_results(mirrored.run(replica))
result["masks"] = [m.numpy().tolist() for m in masks()]

path = sys.argv[1]
saving.save_model(model, path, {"classes": ["a", "b", "c"]})
loaded = saving.load_model(path)
result["saved_weights_equal"] = all(
    np.array_equal(a, b) for a, b in zip(loaded.get_weights(), model.get_weights()))
result["predictions"] = [m(images).numpy().tolist() for m in (loaded, model)]
print("RESULT" + json.dumps(result))
"""


@pytest.fixture(scope="module")
def result(tmp_path_factory):
    path = str(tmp_path_factory.mktemp("replicas") / "model.keras")
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, path], timeout=280, capture_output=True, encoding="utf-8"
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.split("RESULT")[1])


def assert_close(ones, others, tolerance):
    """Relative to each tensor's length: its small elements come out of cancellations."""
    for one, other in zip(ones, others):
        one, other = np.array(one), np.array(other)
        assert np.linalg.norm(other - one) <= tolerance * max(np.linalg.norm(one), 1e-3)


def test_with_sgd_replicas_equal_one_device_to_rounding(result):
    one, four = result["sgd"]
    assert len(one["losses"]) == 20 and abs(one["losses"][-1] - one["losses"][0]) > 0.01
    np.testing.assert_allclose(four["losses"], one["losses"], rtol=1e-5)
    for what in ("first_gradients", "last_gradients", "weights", "averages"):
        assert len(one[what]) == len(four[what]) > 5
        assert_close(one[what], four[what], 1e-5)


@pytest.mark.parametrize("optimizer", ["radam", "adam"])
def test_with_adaptive_optimizers_the_loss_is_the_same_to_a_thousandth(result, optimizer):
    one, four = result[optimizer]
    assert abs(one["losses"][-1] - one["losses"][0]) > 0.01
    np.testing.assert_allclose(four["losses"], one["losses"], rtol=1e-3)
    # Statistics averaged over the replicas: those of the whole batch.
    assert_close(one["averages"], four["averages"], 1e-2)


def test_plain_batch_norm_differs_from_the_first_step(result):
    apart, together = result["apart"], result["together"]
    assert abs(apart["losses"][0] - together["losses"][0]) > 1e-3
    gradients = zip(apart["first_gradients"], together["first_gradients"])
    assert max(np.abs(np.subtract(*pair)).max() for pair in gradients) > 1e-3


def test_replicas_are_judged_with_the_mean_of_their_averages(result):
    apart, merged = np.array(result["averages_apart"]), np.array(result["averages_merged"])
    assert len(apart) == REPLICAS and len(np.unique(apart, axis=0)) == REPLICAS
    for own in merged:
        np.testing.assert_allclose(own, apart.mean(axis=0), rtol=1e-5)
    assert len(np.unique(merged, axis=0)) == 1


def test_an_uneven_split_is_scored_once_and_exactly(result):
    one, four = result["scored"]
    assert one["numbers"] == four["numbers"] == list(range(13))
    assert one["labels"] == four["labels"] == result["truth"]
    np.testing.assert_allclose(four["scores"], one["scores"], rtol=0, atol=1e-6)
    assert four["pr_auc"] == one["pr_auc"]
    assert four["average_precision"] == one["average_precision"]


def test_replicas_draw_different_masks(result):
    masks = result["masks"]
    assert len({tuple(mask) for mask in masks}) == REPLICAS
    assert all(set(mask) == {0.0, 2.0} for mask in masks)


def test_the_first_replica_draws_as_a_single_device_does(result):
    from cloudtf.model.random_layers import FixedDropout, stochastic_step

    with stochastic_step(7, 3):
        alone = FixedDropout(0.5, name="drop")(np.ones([64], np.float32), training=True)
    assert alone.numpy().tolist() == result["masks"][0]


def test_a_mirrored_model_is_saved_as_any_other(result):
    assert result["saved_weights_equal"]
    np.testing.assert_allclose(*result["predictions"], rtol=0, atol=1e-6)
