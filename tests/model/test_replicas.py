"""Two logical CPU devices need a process of their own: devices are fixed at TensorFlow's start."""

import json
import subprocess
import sys

import numpy as np
import pytest

SCRIPT = """
import json, sys
import numpy as np
import tensorflow as tf
from cloudtf.model import losses, network, optimizers, random_layers, saving

cpu = tf.config.list_physical_devices("CPU")[0]
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
generator = np.random.default_rng(0)
images = generator.integers(0, 256, (8, 32, 32, 3), dtype=np.uint8)
labels = generator.integers(0, 2, (8, 3)).astype(np.float32)
first = network.build_model("tiny", 3, (32, 32)).get_weights()

# One for the process: a second one over the same devices repeats the first one's collective keys.
mirrored = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])

def train(strategy, loss_name, optimizer_name):
    loss = losses.get_loss(loss_name)
    with strategy.scope():
        model = network.build_model("tiny", 3, (32, 32), sync_batch_norm=True)
        model.set_weights(first)
        model.get_layer("body").get_layer("block_drop").rate = 0.0
        optimizer = optimizers.make_optimizer(optimizer_name, 1e-2, 20)
        optimizer.iterations
    def replica_step(x, y):
        with random_layers.stochastic_step(1, optimizer.iterations), tf.GradientTape() as tape:
            value = tf.reduce_sum(loss(y, model(x, training=True))) / 8
        variables = model.trainable_variables
        optimizer.apply_gradients(zip(tape.gradient(value, variables), variables))
        return value
    @tf.function
    def step(x, y):
        return strategy.reduce("SUM", strategy.run(replica_step, (x, y)), axis=None)
    def part(array):
        size = 8 // strategy.num_replicas_in_sync
        if size == 8:
            return tf.constant(array)
        return strategy.experimental_distribute_values_from_function(
            lambda c: tf.constant(array[c.replica_id_in_sync_group * size:][:size]))
    values = [float(step(part(images), part(labels))) for _ in range(8)]
    return values, model

result = {}
for loss_name, optimizer_name in (("bce_dice", "radam"), ("bce", "adam")):
    one, one_model = train(tf.distribute.get_strategy(), loss_name, optimizer_name)
    two, model = train(mirrored, loss_name, optimizer_name)
    result[loss_name] = [one, two]
    result[loss_name + "_averages"] = [
        m.get_layer("body").get_layer("block_bn").moving_mean.numpy().tolist()
        for m in (one_model, model)]

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
        [sys.executable, "-c", SCRIPT, path], timeout=200, capture_output=True, encoding="utf-8"
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.split("RESULT")[1])


@pytest.mark.parametrize("loss", ["bce_dice", "bce"])
def test_two_replicas_train_as_one_on_the_same_global_batch(result, loss):
    one, two = result[loss]
    assert abs(one[-1] - one[0]) > 0.01
    np.testing.assert_allclose(one, two, rtol=1e-3)
    # Statistics averaged over the replicas: those of the whole batch.
    np.testing.assert_allclose(*result[f"{loss}_averages"], rtol=1e-2, atol=1e-4)


def test_replicas_draw_different_masks(result):
    one, two = result["masks"]
    assert one != two
    assert set(one) == set(two) == {0.0, 2.0}


def test_the_first_replica_draws_as_a_single_device_does(result):
    from cloudtf.model.random_layers import FixedDropout, stochastic_step

    with stochastic_step(7, 3):
        alone = FixedDropout(0.5, name="drop")(np.ones([64], np.float32), training=True)
    assert alone.numpy().tolist() == result["masks"][0]


def test_a_mirrored_model_is_saved_as_any_other(result):
    assert result["saved_weights_equal"]
    np.testing.assert_allclose(*result["predictions"], rtol=0, atol=1e-6)
