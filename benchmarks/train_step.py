"""What surrounds the network in training: the loop, the optimizer, the time to the first step.

    python benchmarks/train_step.py --work_dir=DIR --json=train_step.json

The loop is that of `cloudtf train`, timed by itself as in history.csv (without validation), with
records from memory augmented on the host; against it stands the same network and optimizer in a
bare compiled step on one constant batch. The optimizers are compared in that bare step, and so is
the same step with the layers of the network as Keras computes them, and that of timm in PyTorch.
"""

from __future__ import annotations

import queue
import shutil
import tempfile
import threading
import time
from typing import Any, Callable

import data
import harness
import numpy as np
from absl import flags

from cloudtf.diagnosis import timing

FLAGS = flags.FLAGS
flags.DEFINE_string("model", "efficientnetb0", "Network.")
flags.DEFINE_integer("image_size", 64, "Rows and columns of the images.", lower_bound=32)
flags.DEFINE_integer("images", 500, "Images in the set.", lower_bound=64)
flags.DEFINE_integer("batch_size", 32, "Images a step.", lower_bound=1)
flags.DEFINE_integer("steps", 10, "Steps of a turn.", lower_bound=1)
flags.DEFINE_integer("starts", 3, "How often the time to the first step is taken.", lower_bound=0)

CLASSES = 4
LOOP = "cloudtf train"
CONSTANT = "cloudtf's step, constant batch"
BARE = "bare step, constant batch, RAdam of cloudtf"
LAYERS = "bare step, layers as Keras computes them"
TIMM = "bare step, timm in PyTorch, channels last"
BARE_TFA = "bare step, RAdam of tensorflow-addons"
BARE_ADAM = "bare step, Adam of Keras (legacy)"
BARE_NEW_ADAM = "bare step, Adam of Keras (new)"


def train_loop(records_dir: str, model: str, batch_size: int, steps: int) -> harness.Measure:
    """A run of `cloudtf train` that waits after each epoch until it is asked for another."""
    from cloudtf.training import train, trainer
    from cloudtf.training.config import TrainConfig
    from cloudtf.training.patience import Decision

    wanted: queue.Queue[int] = queue.Queue()
    epochs: queue.Queue[Any] = queue.Queue()

    def at_epoch_end(judge: Any, number: int, logs: dict[str, float]) -> Decision:
        epochs.put(logs["images_per_second"])
        wanted.get()
        return Decision(is_best=False, lower_rate=False, stop=False)

    # Not measured: validation, history and checkpoints, which come once an epoch.
    trainer.Judge.judge = at_epoch_end
    trainer._report_epoch = lambda judge: None
    trainer.Trainer.save = lambda self: None
    run_dir = tempfile.mkdtemp()
    config = TrainConfig(
        data_dir=records_dir,
        run_dir=run_dir,
        model=model,
        weights="none",
        batch_size=batch_size,
        epochs=1_000_000,
        steps_per_epoch=steps,
        checkpoint_every="1000000",
        strategy="cpu",
    )

    def start() -> None:
        try:
            with timing.quiet():
                train.train(config)
        except Exception as error:  # noqa: BLE001 - passed on
            epochs.put(error)
        finally:
            shutil.rmtree(run_dir, ignore_errors=True)

    threading.Thread(target=start, daemon=True).start()

    def epoch() -> float:
        found = epochs.get()
        if isinstance(found, Exception):
            raise found
        return found

    epoch()  # Traces, and passes the network's first steps.

    def measure(items: int) -> harness.Turn:
        wanted.put(items)
        return harness.Turn(steps * batch_size / epoch(), steps)

    return measure


def constant_batch(model: str, size: int, batch_size: int) -> harness.Measure:
    """`TrainStep` as `cloudtf train` calls it, on the same batch again and again."""
    import tensorflow as tf

    from cloudtf.model import losses, network, optimizers
    from cloudtf.training.step import TrainStep

    built = network.build_model(model, CLASSES, (size, size), None)
    optimizer = optimizers.make_optimizer("radam", 1e-4, 1_000_000)
    _ = optimizer.iterations
    optimizer._create_all_weights(built.trainable_variables)
    strategy = tf.distribute.get_strategy()
    step = TrainStep(built, optimizer, losses.get_loss("bce"), strategy, batch_size, seed=0)
    images, labels = _batch(size, batch_size)
    keys = np.zeros((batch_size, 2), np.int32)
    batches = iter(tf.data.Dataset.from_tensors((images, labels, keys)).repeat())
    step(batches, 1)

    return lambda steps: _timed(lambda: step(batches, 1), steps)


def bare_step(
    model: str, size: int, batch_size: int, optimizer: str, plain: bool = False
) -> harness.Measure:
    """Forward, backward and update in one `tf.function`, and nothing else.

    Args:
      plain: compute each layer by itself, as Keras does, also where cloudtf computes some together.
    """
    import tensorflow as tf

    from cloudtf.model import losses, network, random_layers

    built = network.build_model(model, CLASSES, (size, size), None)
    if plain:
        vars(built.get_layer("body")).pop("call", None)
    chosen = _optimizer(optimizer)
    loss = losses.get_loss("bce")

    @tf.function
    def step(images: tf.Tensor, labels: tf.Tensor) -> tf.Tensor:
        with tf.GradientTape() as tape, random_layers.stochastic_step(0, chosen.iterations):
            value = tf.reduce_mean(loss(labels, built(images, training=True)))
        gradients = tape.gradient(value, built.trainable_variables)
        chosen.apply_gradients(zip(gradients, built.trainable_variables))
        return value

    images, labels = (tf.constant(a) for a in _batch(size, batch_size))
    step(images, labels)

    return lambda steps: _timed(lambda: step(images, labels).numpy(), steps)


def timm_step(model: str, size: int, batch_size: int) -> harness.Measure:
    """The same with timm's network, as PyTorch's users write it: channels last, fused RAdam.

    Args:
      model: `efficientnetb0` and the like, which timm calls `efficientnet_b0`.
    """
    import timm
    import torch

    torch.manual_seed(0)
    name = model.replace("efficientnet", "efficientnet_")
    if name not in timm.list_models():
        raise harness.Missing(f"timm has no {name}")
    built = timm.create_model(name, num_classes=CLASSES, drop_path_rate=0.2)
    built = built.train().to(memory_format=torch.channels_last)
    chosen = torch.optim.RAdam(built.parameters(), lr=1e-4, foreach=True)
    loss = torch.nn.BCEWithLogitsLoss()
    mean, deviation = (
        torch.tensor(values).reshape(1, 3, 1, 1) * 255
        for values in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
    )
    images, labels = (torch.from_numpy(a) for a in _batch(size, batch_size))
    images = images.permute(0, 3, 1, 2)  # Their memory stays as it is, channels last.

    def step() -> float:
        chosen.zero_grad(set_to_none=True)
        value = loss(built((images.float() - mean) / deviation), labels)
        value.backward()
        chosen.step()
        return value.item()

    step()
    return lambda steps: _timed(step, steps)


def _timed(step: Callable[[], Any], steps: int) -> harness.Turn:
    began = time.perf_counter()
    for _ in range(steps):
        step()
    return harness.Turn(time.perf_counter() - began, steps)


def _optimizer(name: str) -> Any:
    import tensorflow as tf

    if name == "tfa":
        from tensorflow_addons.optimizers import RectifiedAdam

        return RectifiedAdam(1e-4, total_steps=1_000_000, warmup_proportion=0.1, min_lr=1e-6)
    if name == "keras":
        return tf.keras.optimizers.Adam(1e-4)
    if name == "keras-legacy":
        return tf.keras.optimizers.legacy.Adam(1e-4)
    from cloudtf.model import optimizers

    return optimizers.make_optimizer("radam", 1e-4, 1_000_000)


def _batch(size: int, batch_size: int) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(0)
    images = random.integers(0, 256, (batch_size, size, size, 3)).astype(np.uint8)
    return images, random.integers(0, 2, (batch_size, CLASSES)).astype(np.float32)


def first_step(records_dir: str, model: str, batch_size: int) -> dict[str, float]:
    """Seconds from a new process to the first step, by part; called in a process of its own."""
    clock = time.perf_counter
    parts, last = {}, clock()

    def part(name: str) -> None:
        nonlocal last
        parts[name] = clock() - last
        last = clock()

    import tensorflow as tf

    part("import TensorFlow")
    from cloudtf.model import losses, network, optimizers
    from cloudtf.pipeline.augmentations import Augmentations
    from cloudtf.pipeline.dataset import open_dataset
    from cloudtf.training.step import TrainStep

    optimizer = optimizers.make_optimizer("radam", 1e-4, 1000)
    network.build_model("tiny", CLASSES, (32, 32), None)
    part("import the rest")
    found = open_dataset(records_dir)
    batches = iter(found.training_batches("train", batch_size, "host", Augmentations(), seed=0))
    next(batches)
    part("open the data, first batch")
    built = network.build_model(model, CLASSES, found.image_shape, None)
    part("build the network")
    _ = optimizer.iterations
    optimizer._create_all_weights(built.trainable_variables)
    strategy = tf.distribute.get_strategy()
    step = TrainStep(built, optimizer, losses.get_loss("bce"), strategy, batch_size, seed=0)
    step(batches, 1)
    part("trace and run the first step")
    step(batches, 1)
    part("second step, for scale")
    return parts


def main() -> None:
    """Measures and reports."""
    facts = harness.machine()
    work_dir = data.folder(FLAGS.work_dir)
    size, batch, model = FLAGS.image_size, FLAGS.batch_size, FLAGS.model
    photographs = data.photographs(work_dir, FLAGS.images, 466, 700)
    records_dir = data.converted(photographs, size, val_fraction=0.2)
    bare = {"model": model, "size": size, "batch_size": batch}
    loop = {
        "records_dir": records_dir,
        "model": model,
        "batch_size": batch,
        "steps": FLAGS.steps,
    }
    cases = [
        harness.Case(LOOP, train_loop, loop),
        harness.Case(BARE, bare_step, {**bare, "optimizer": "radam"}),
        harness.Case(CONSTANT, constant_batch, bare),
        harness.Case(LAYERS, bare_step, {**bare, "optimizer": "radam", "plain": True}),
        harness.Case(TIMM, timm_step, bare),
        harness.Case(BARE_ADAM, bare_step, {**bare, "optimizer": "keras-legacy"}),
        harness.Case(BARE_TFA, bare_step, {**bare, "optimizer": "tfa"}),
        harness.Case(BARE_NEW_ADAM, bare_step, {**bare, "optimizer": "keras"}),
    ]
    results, notes = harness.alternate(cases, items=FLAGS.steps)
    notes.append(f"{model} at {size} x {size}, {batch} images a step, {FLAGS.steps} steps a turn.")
    ratios = [
        harness.ratio(results, LOOP, BARE, 0.97),
        harness.ratio(results, CONSTANT, BARE),
        harness.ratio(results, LOOP, CONSTANT),
        harness.ratio(results, BARE, LAYERS),
        harness.ratio(results, BARE, TIMM, 1.45),
        harness.ratio(results, BARE, BARE_ADAM, 0.97),
        harness.ratio(results, BARE_TFA, BARE_ADAM),
        harness.ratio(results, BARE_NEW_ADAM, BARE_ADAM),
    ]
    starts = [
        harness.in_process(first_step, records_dir=records_dir, model=model, batch_size=batch)
        for _ in range(FLAGS.starts)
    ]
    parts = (
        {name: float(np.median([s[name] for s in starts])) for name in starts[0]} if starts else {}
    )
    harness.report("train_step", facts, "steps/s", results, ratios, notes, {"first_step": parts})
    if parts:
        total = sum(list(parts.values())[:-1])
        rows = [(name, f"{seconds:.2f}") for name, seconds in parts.items()]
        rows.insert(-1, ("in all", f"{total:.2f}"))
        print(f"\n{harness.table(('to the first step', 'seconds'), rows)}")


if __name__ == "__main__":
    harness.run(main)
