"""What a TPU asks of the train step, as far as it can be shown without one.

A TPU compiles `TrainStep.replica_step` as one XLA program. Here the same function is lowered to
HLO (XLA's input, before anything of the CPU's) for EfficientNet-B2 at 224 x 224, and compiled and
run whole on the CPU around the small network.
"""

from __future__ import annotations

import collections
import dataclasses
import json
import os
import re
import shutil
import zipfile

import numpy as np
import pytest
import tensorflow as tf

from cloudtf.errors import UserError
from cloudtf.evaluation import scoring
from cloudtf.model import losses, network, rectified_adam
from cloudtf.model.optimizers import make_optimizer
from cloudtf.pipeline import augment
from cloudtf.pipeline.augmentations import NAMES, Augmentations
from cloudtf.pipeline.dataset import ImageDataset, open_dataset
from cloudtf.training import hardware
from cloudtf.training.config import TrainConfig
from cloudtf.training.step import TrainStep
from cloudtf.training.train import train

EVERY = Augmentations(augmentations=NAMES, mixup=0.4, cutmix=1.0)
BATCH, STEPS = 8, 6

# Instructions that speak to the host, or whose results differ from run to run.
HOST = {"infeed", "outfeed", "send", "recv", "send-done", "recv-done", "custom-call", "rng"}
# What runs Python, which neither another machine nor a compiled program can.
PYTHON = {"PyFunc", "PyFuncStateless", "EagerPyFunc"}


class PlainRadam(rectified_adam.FusedUpdate, rectified_adam.PlainRectifiedAdam):
    """RAdam of the current stack, on either."""


@dataclasses.dataclass
class Trainer:
    """A network with its optimizer and step."""

    model: tf.keras.Model
    optimizer: tf.keras.optimizers.Optimizer
    step: TrainStep
    strategy: tf.distribute.Strategy

    def whole(self):
        """The replica's step as a TPU has it: one compiled program."""
        return tf.function(
            lambda *batch: self.strategy.run(self.step.replica_step, args=batch),
            jit_compile=True,
            autograph=False,
        )


def make_trainer(name, image_shape, policy="float32", radam="own", loss="bce", batch=BATCH):
    strategy = tf.distribute.OneDeviceStrategy("/cpu:0")
    before = tf.keras.mixed_precision.global_policy()
    tf.keras.mixed_precision.set_global_policy(policy)
    tf.keras.utils.set_random_seed(1)
    try:
        with strategy.scope():
            model = network.build_model(name, 4, image_shape, dropout=0.2)
            optimizer = make_optimizer("radam", 1e-2, 50)
            if radam == "plain":
                optimizer = PlainRadam(**optimizer.get_config())
            _ = optimizer.iterations
            optimizer._create_all_weights(model.trainable_variables)
    finally:
        tf.keras.mixed_precision.set_global_policy(before)
    loss = losses.get_loss(loss)
    step = TrainStep(model, optimizer, loss, strategy, batch, 5, EVERY, augment_seed=3)
    return Trainer(model, optimizer, step, strategy)


def lowered(function, *arguments):
    return function.experimental_get_compiler_ir(*arguments)(stage="hlo")


def opcodes(hlo):
    hlo = re.sub(r"/\*.*?\*/", "", hlo)  # index=5, in the types of tuples.
    return collections.Counter(re.findall(r" = [^=]*?[\])}] ([a-z][a-z0-9-]*)\(", hlo))


def check_hlo(hlo):
    """Static shapes, nothing of the host, no type that a TPU lacks."""
    found = opcodes(hlo)
    assert sum(found.values()) > 50
    assert not HOST & set(found)
    # A bounded dynamic size is written f32[<=8].
    assert "<=" not in hlo and "?" not in hlo and "is_dynamic" not in hlo
    assert not {"set-dimension-size", "get-dimension-size"} & set(found)
    types = set(re.findall(r"\b([a-z]+\d*)\[", hlo))
    assert types <= {"pred", "u8", "s32", "u32", "s64", "u64", "f32", "bf16"}, types
    return found


@pytest.fixture(scope="module")
def data(records_dir):
    return open_dataset(records_dir, "decoded")


def training(data, augment_on="device", seed=3):
    return data.training_batches("train", BATCH, augment_on, EVERY, seed)


@pytest.fixture(scope="module")
def batches(data):
    return list(training(data).take(STEPS))


def test_the_whole_step_of_b2_lowers_to_hlo_as_a_tpu_wants_it():
    """Augmentation, bfloat16, drop-connect, dropout, loss and RAdam, at 224 x 224."""
    trainer = make_trainer("efficientnetb2", (224, 224), "mixed_bfloat16", loss="bce_dice")
    weights = len(trainer.model.trainable_variables)
    assert weights == 301
    batch = (
        tf.zeros([BATCH, 224, 224, 3], tf.uint8),
        tf.zeros([BATCH, 4]),
        tf.ones([BATCH]),
        tf.zeros([BATCH, 2], tf.int32),
    )
    hlo = lowered(trainer.whole(), *batch)
    found = check_hlo(hlo)
    # The images come in as bytes, and are resampled in there: one gather a neighbour.
    assert re.search(rf"u8\[{BATCH},224,224,3\]\S* parameter\(0\)", hlo)
    gathers = re.findall(r" = (\w+\[[\d,]*\])\S* gather\(", hlo)
    assert len(gathers) == found["gather"]
    assert gathers.count(f"u32[{BATCH},224,224]") == 4, gathers
    # Beside them the partners of the images that are mixed, and small tables.
    assert sum(re.search(r"224", shape) is not None for shape in gathers) == 5, gathers
    # Convolutions and their gradients compute in bfloat16, weights and moments are float32.
    convolutions = re.findall(r" = (\w+)\[\S* convolution\(", hlo)
    assert len(convolutions) > 300 and set(convolutions) == {"bf16"}
    (result,) = re.findall(r"ENTRY [^\n]*->\s*\(([^\n]*)\) \{", hlo)
    written = collections.Counter(re.findall(r"\b([a-z]+\d*)\[", result))
    # The loss; weights and both moments; batch norm's averages; the number of updates.
    averages = sum("moving" in variable.name for variable in trainer.model.variables)
    assert written == {"f32": 1 + 3 * weights + averages, "s64": 1}


@pytest.mark.slow
@pytest.mark.parametrize("name", ["efficientnetv2b0", "convnexttiny"])
def test_the_whole_step_of_kerass_networks_lowers_to_hlo_too(name):
    trainer = make_trainer(name, (64, 64), "mixed_bfloat16")
    batch = (
        tf.zeros([BATCH, 64, 64, 3], tf.uint8),
        tf.zeros([BATCH, 4]),
        tf.ones([BATCH]),
        tf.zeros([BATCH, 2], tf.int32),
    )
    hlo = lowered(trainer.whole(), *batch)
    check_hlo(hlo)
    convolutions = re.findall(r" = (\w+)\[\S* convolution\(", hlo)
    assert len(convolutions) > 50 and set(convolutions) == {"bf16"}


def run_whole(trainer, batches):
    whole = trainer.whole()
    return np.array([float(whole(*batch)) for batch in batches])


def run_plain(trainer, data, counts):
    batches = iter(trainer.strategy.experimental_distribute_dataset(training(data)))
    return np.concatenate([trainer.step(batches, count) for count in counts])


@pytest.mark.parametrize(
    ("policy", "radam", "of_losses", "of_weights"),
    [
        ("float32", "own", 1e-3, 1e-3),
        ("float32", "plain", 1e-3, 1e-3),
        ("mixed_bfloat16", "own", 2e-2, 2e-3),
    ],
)
def test_compiled_as_one_program_it_is_the_same_step(
    data, batches, policy, radam, of_losses, of_weights
):
    plain, whole = (make_trainer("tiny", data.image_shape, policy, radam) for _ in range(2))
    whole.model.set_weights(plain.model.get_weights())
    first = plain.model.get_weights()
    expected = run_plain(plain, data, [1] * STEPS)
    found = run_whole(whole, batches)
    check_hlo(lowered(whole.whole(), *batches[0]))
    np.testing.assert_allclose(found, expected, rtol=of_losses)
    assert int(whole.optimizer.iterations) == STEPS
    moved = 0.0
    for one, other, start in zip(whole.model.get_weights(), plain.model.get_weights(), first):
        np.testing.assert_allclose(one, other, rtol=0, atol=of_weights)
        moved = max(moved, np.abs(other - start).max())
    assert moved > 20 * of_weights, "the weights have moved further than the tolerance"


def test_without_augmentation_it_is_the_same_to_rounding(data, batches):
    """So that what differs above is the augmentation's rounding and nothing else."""
    plain, whole = (make_trainer("tiny", data.image_shape) for _ in range(2))
    whole.model.set_weights(plain.model.get_weights())
    for trainer in (plain, whole):
        trainer.step = TrainStep(
            trainer.model, trainer.optimizer, losses.get_loss("bce"), trainer.strategy, BATCH, 5
        )
    np.testing.assert_allclose(
        run_whole(whole, batches), run_plain(plain, data, [1] * STEPS), rtol=1e-5
    )
    for one, other in zip(whole.model.get_weights(), plain.model.get_weights()):
        np.testing.assert_allclose(one, other, rtol=0, atol=1e-5)


def test_augmentation_within_one_program_rounds_a_few_positions_otherwise(batches):
    """There a position may be computed for each of its uses, and rounded to either side of a whole
    pixel: that pixel is its neighbour then. Seldom enough to be of no account."""
    as_one = tf.function(augment.augment, jit_compile=True, reduce_retracing=False)
    differing = total = 0
    for images, *_, keys in batches:
        apart = augment.augment(images, keys, ops=EVERY, seed=3, whole_batch=True).numpy()
        found = as_one(images, keys, ops=EVERY, seed=3, whole_batch=True).numpy()
        differing += (found != apart).sum()
        total += apart.size
        assert (apart != images.numpy()).mean() > 0.5
    assert differing < 1e-4 * total


def test_many_steps_compiled_as_one_loop_are_the_same_steps(data, batches):
    one, many = (make_trainer("tiny", data.image_shape) for _ in range(2))
    many.model.set_weights(one.model.get_weights())
    stacked = [tf.stack(parts) for parts in zip(*batches)]

    def turn(i, values, *stacked):
        batch = tuple(tf.gather(part, i) for part in stacked)
        value = many.strategy.run(many.step.replica_step, args=batch)
        return (i + 1, values + tf.one_hot(i, STEPS) * value, *stacked)

    @tf.function(jit_compile=True, autograph=False)
    def loop(*stacked):
        start = (0, tf.zeros([STEPS]), *stacked)
        return tf.while_loop(lambda i, *_: i < STEPS, turn, start, maximum_iterations=STEPS)[1]

    assert check_hlo(lowered(loop, *stacked))["while"] >= 1
    found = loop(*stacked).numpy()
    np.testing.assert_allclose(found, run_whole(one, batches), rtol=1e-3)
    assert int(many.optimizer.iterations) == STEPS


def ops_of(graph):
    """The names of all ops of a GraphDef and its functions."""
    nodes = [*graph.node, *(n for f in graph.library.function for n in f.node_def)]
    return {node.op for node in nodes}


def test_the_loop_over_steps_runs_without_python(data):
    """--steps_per_execution: a loop on the host, whose turns start the compiled step."""
    trainer = make_trainer("tiny", data.image_shape)
    batches = iter(trainer.strategy.experimental_distribute_dataset(training(data)))
    many = trainer.step._many.get_concrete_function(batches, tf.constant(4))
    ops = ops_of(many.graph.as_graph_def())
    assert not PYTHON & ops
    assert {"IteratorGetNext", "ResourceApplyAdam"} <= ops and {"While", "StatelessWhile"} & ops


@pytest.mark.parametrize("cache", ["none", "encoded", "decoded"])
@pytest.mark.parametrize("augment_on", ["host", "device"])
def test_batches_have_static_shapes_and_come_without_python(records_dir, cache, augment_on):
    data = open_dataset(records_dir, cache)
    for dataset in (training(data, augment_on), data.evaluation_batches("val", BATCH)):
        for spec in dataset.element_spec:
            assert spec.shape.is_fully_defined() and spec.shape[0] == BATCH
            assert spec.dtype in (tf.uint8, tf.float32, tf.int32), "no strings"
        graph = tf.compat.v1.GraphDef()
        serialized = tf.raw_ops.DatasetToGraphV2(input_dataset=dataset._variant_tensor)
        graph.ParseFromString(serialized.numpy())
        ops = ops_of(graph)
        assert any("Map" in op for op in ops) and not PYTHON & ops


def test_scoring_compiles_for_one_shape(data):
    """Also the last batch, which is padded: another shape would be compiled anew."""
    trainer = make_trainer("tiny", data.image_shape, "mixed_bfloat16")
    scorer = scoring.Scorer(trainer.model, trainer.strategy, flips=True)
    scored = scorer.dataset(data.evaluation_batches("val", BATCH))
    assert scored.scores.shape == (12, 4), "12 is no multiple of 8"
    assert scorer._predict_shared.experimental_get_tracing_count() == 1
    compiled = tf.function(
        lambda images: trainer.strategy.run(scorer._predict, args=(images,)), jit_compile=True
    )
    check_hlo(lowered(compiled, tf.zeros([BATCH, 64, 64, 3], tf.uint8)))


def test_records_are_read_and_decoded_once_for_all_epochs(records_dir, tmp_path):
    """The decoded images stay on the host, each batch of bytes goes to the device."""
    folder = str(tmp_path / "set")
    shutil.copytree(records_dir, folder)
    data = open_dataset(folder, "decoded")
    stream = iter(training(data))
    first = next(stream)
    shutil.rmtree(folder)
    seen = collections.Counter(tuple(key) for key in first.keys.numpy().tolist())
    for _ in range(3 * 48 // BATCH - 1):
        seen.update(tuple(key) for key in next(stream).keys.numpy().tolist())
    assert seen == {(epoch, number): 1 for epoch in range(3) for number in range(48)}


@pytest.fixture
def as_if_on_a_tpu(monkeypatch):
    """What depends on the kind of hardware is decided as on a TPU."""
    monkeypatch.setattr(hardware, "accelerator", lambda strategy: "TPU")


def test_a_run_on_a_tpu_computes_in_bfloat16_augments_there_and_feeds_it_once(
    records_dir, tmp_path, as_if_on_a_tpu, monkeypatch, capsys
):
    fed = []

    def batches(self, *args, **settings):
        fed.append(settings["augment_on"])
        return original(self, *args, **settings)

    original = ImageDataset.training_batches
    monkeypatch.setattr(ImageDataset, "training_batches", batches)
    config = TrainConfig(
        data_dir=records_dir,
        run_dir=str(tmp_path / "run"),
        model="tiny",
        weights="none",
        head_epochs=0,
        epochs=3,
        batch_size=8,
        learning_rate=0.02,
        strategy="cpu",
        mixed_precision=True,
        steps_per_execution=4,
        tensorboard=False,
    )
    result = train(config)
    assert len(result.history) == 3
    assert all(np.isfinite(row["loss"]) for row in result.history)
    assert fed == ["device"], "one stream of batches for all epochs"
    assert "Augmentation on the device" in capsys.readouterr().out
    with zipfile.ZipFile(tmp_path / "run" / "best.keras") as archive:
        saved = json.loads(archive.read("config.json"))
    assert re.findall(r'"name": "(mixed_\w+)"', json.dumps(saved)).count("mixed_float16") == 0
    assert '"mixed_bfloat16"' in json.dumps(saved)
    assert tf.keras.mixed_precision.global_policy().name == "float32", "as it was before"


class FakeTpu:
    """Stands for what needs a TPU; `calls` are the steps of reaching it."""

    def __init__(self, monkeypatch, error=None):
        self.calls = []

        def resolver(tpu):
            self.calls.append(f"resolve {tpu}")
            if error is not None:
                raise error
            return tpu

        def record(what):
            return lambda value: self.calls.append(f"{what} {value}") or value

        cluster = tf.distribute.cluster_resolver
        monkeypatch.setattr(cluster, "TPUClusterResolver", resolver)
        monkeypatch.setattr(tf.config, "experimental_connect_to_cluster", record("connect"))
        monkeypatch.setattr(tf.tpu.experimental, "initialize_tpu_system", record("initialize"))
        monkeypatch.setattr(tf.distribute, "TPUStrategy", record("strategy"))


def test_a_tpu_which_compiles_every_step_is_not_asked_to(as_if_on_a_tpu):
    config = TrainConfig(data_dir="d", run_dir="r", jit_compile=True, sync_batch_norm=True)
    strategy = tf.distribute.OneDeviceStrategy("/cpu:0")
    assert hardware.jit_compiles(config, strategy) is False


@pytest.mark.parametrize("tpu", ["my-tpu", "grpc://10.0.0.2:8470"])
def test_a_name_or_address_is_connected_to(tpu, monkeypatch):
    fake = FakeTpu(monkeypatch)
    assert hardware.make_strategy("tpu", tpu) == tpu
    steps = ("resolve", "connect", "initialize", "strategy")
    assert fake.calls == [f"{step} {tpu}" for step in steps]


@pytest.mark.parametrize("variable", ["TPU_NAME", "TPU_ACCELERATOR_TYPE"])
def test_a_tpu_vm_uses_its_own_by_default(variable, monkeypatch):
    for name in ("TPU_NAME", "TPU_ACCELERATOR_TYPE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv(variable, "local")
    fake = FakeTpu(monkeypatch)
    hardware.make_strategy("auto")
    assert fake.calls == ["resolve local", "initialize local", "strategy local"]


@pytest.mark.parametrize("tpu", ["local", "my-tpu", "grpc://10.0.0.2:8470"])
@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (tf.errors.NotFoundError(None, None, "No TPUs found\nmore"), "No TPUs found"),
        (ValueError("Please provide a TPU Name to connect to."), "Please provide a TPU Name"),
        (RuntimeError(), "RuntimeError"),
        (ImportError("cloud_tpu_client is missing"), "cloud_tpu_client is missing"),
    ],
)
def test_a_tpu_that_cannot_be_reached_is_one_sentence(tpu, error, reason, monkeypatch):
    """A real `local` without a TPU: see `test_hardware.py`."""
    FakeTpu(monkeypatch, error)
    with pytest.raises(UserError) as caught:
        hardware.make_strategy("tpu", tpu)
    sentence = str(caught.value)
    assert f"strategy='tpu': no TPU could be reached as tpu={tpu!r} ({reason}" in sentence
    assert "tpu='local'" in sentence and "grpc:// address" in sentence
    assert "\n" not in sentence and "more" not in sentence


def test_the_tpu_flagfile_makes_a_valid_config(tmp_path):
    from cloudtf.commands import app

    root = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    arguments = [f"--flagfile={root}/flags/tpu.flags", "--data_dir=gs://b/r", "--run_dir=gs://b/x"]
    config = app.parse(TrainConfig, arguments)
    assert (config.strategy, config.tpu, config.augment_on) == ("tpu", "local", "device")
    assert config.mixed_precision and config.steps_per_execution > 1
    assert config.batch_size % (8 * 8) == 0, "each of 8 cores gets a multiple of 8"
