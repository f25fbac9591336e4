"""The train step on a GPU: its time, the idle time of the device, the images that the host owes.

    python benchmarks/accelerator.py --work_dir=/tmp/data --write=accelerator.md

EfficientNet-B0 and B2 at 224 and 380 pixels: in float32, in mixed precision, compiled by XLA, with
the augmentation on the host or the device, with one step a call or several. It ends within
--minutes, 10 at most; what is left out by then is in the table with the reason, and so is what does
not fit into the device's memory.

Each case is taken in two ways, with cloudtf's own network, optimizer, step and input:

- device: calls of many steps on one batch that lies ready, with no Python between the steps. What a
  step takes here it takes the device, and the host must deliver images at that rate;
- loop: steps on records, sent as `cloudtf train` sends them, a few calls ahead.

Where a step of the loop takes longer, the device is idle for the rest. --shortest tries the script:
one small case, on the CPU where there is no GPU, whose figures say nothing about a GPU.
"""

from __future__ import annotations

import dataclasses
import itertools
import statistics
import sys
import time
from typing import Any, Callable, Iterator, Optional

import data
import harness
import numpy as np
import tensorflow as tf
from absl import flags

from cloudtf.errors import UserError, reason
from cloudtf.pipeline.batching import Batch
from cloudtf.pipeline.dataset import ImageDataset, open_dataset
from cloudtf.pipeline.order import Share
from cloudtf.training import building, hardware, inputs
from cloudtf.training.config import TrainConfig
from cloudtf.training.in_flight import MOST_CALLS, StepsInFlight
from cloudtf.training.progress import Progress
from cloudtf.training.step import TrainStep

FLAGS = flags.FLAGS
flags.DEFINE_float("minutes", 9.0, "When to end.", lower_bound=0.1, upper_bound=10.0)
flags.DEFINE_integer("batch_size", 64, "Images a step.", lower_bound=1)
flags.DEFINE_integer("images", 512, "Images in the set.", lower_bound=16)
flags.DEFINE_bool("shortest", False, "Only try the script, on a CPU if need be.")
flags.DEFINE_string("write", None, "Also write the table to this file, as Markdown.")

NO_GPU = (
    "TensorFlow sees no GPU here, which is what this measures; run it on a machine that has one, "
    "or try the script with --shortest."
)


@dataclasses.dataclass(frozen=True)
class Setting:
    """What is measured.

    Attributes:
      model: the network, one of those of `--model`.
      size: rows and columns of the images, in pixels.
      mixed: whether to compute in half precision.
      jit: whether XLA compiles the step.
      augment_on: where images are augmented, `host` or `device`.
      steps: training steps in one call of the compiled function.
    """

    model: str
    size: int
    mixed: bool = False
    jit: bool = False
    augment_on: str = "device"
    steps: int = 1


@dataclasses.dataclass(frozen=True)
class Found:
    """What came of it: seconds a step and to the first one, or why there are none.

    Attributes:
      device: of a step on a batch that lies ready.
      loop: of a step on records, as `cloudtf train` runs it.
      input: of a batch of the records alone, without a step.
      start: from the network to the end of the first step.
      why: what kept it from being measured; empty where it was.
    """

    device: float = 0.0
    loop: float = 0.0
    input: float = 0.0
    start: float = 0.0
    why: str = ""

    @property
    def idle(self) -> float:
        """The share of the loop's time in which the device has nothing to do."""
        return max(0.0, 1 - self.device / self.loop)


def settings() -> list[Setting]:
    """All cases, those first that matter most."""
    if FLAGS.shortest:
        return [Setting("tiny", 32, augment_on="host", steps=2)]
    ways: list[dict[str, Any]] = [
        {"mixed": True},
        {},
        {"mixed": True, "augment_on": "host"},
        {"mixed": True, "steps": 10},
        {"mixed": True, "jit": True},
    ]
    networks = itertools.product(("efficientnetb0", "efficientnetb2"), (224, 380))
    return [Setting(*network, **way) for way, network in itertools.product(ways, list(networks))]


def measure_all(
    wanted: list[Setting], measure: Callable[[Setting], Found], ends: float
) -> Iterator[tuple[Setting, Found]]:
    """Measures one after the other, and none of which there is no time for the like of.

    Args:
      wanted: the cases, in their order.
      measure: measures one of them.
      ends: when to end, on the clock of `time.monotonic`, in seconds.
    """
    longest = 0.0
    for setting in wanted:
        began = time.monotonic()
        if began + longest > ends:
            yield setting, Found(why="no time left")
            continue
        try:
            found = measure(setting)
        except (UserError, tf.errors.OpError) as error:
            text = str(error)
            no_room = isinstance(error, tf.errors.ResourceExhaustedError) or "memory" in text
            found = Found(why="out of memory" if no_room else reason(error, 80))
        longest = max(longest, time.monotonic() - began)
        yield setting, found


class Bench:
    """Measures cases with the pieces that `cloudtf train` is made of.

    Args:
      strategy: the device, as one replica.
      work_dir: where the records are, or will be.
    """

    def __init__(self, strategy: tf.distribute.Strategy, work_dir: str) -> None:
        self._strategy = strategy
        height, width = (64, 96) if FLAGS.shortest else (466, 700)
        self._photographs = data.photographs(work_dir, FLAGS.images, height, width)

    def measure(self, setting: Setting) -> Found:
        """Seconds of one case.

        Raises:
          UserError: it cannot be, or a step does not fit into memory.
        """
        records = data.converted(self._photographs, setting.size)
        config = TrainConfig(
            data_dir=records,
            run_dir="not used",
            model=setting.model,
            weights="none",
            batch_size=min(FLAGS.batch_size, FLAGS.images),
            mixed_precision=setting.mixed,
            jit_compile=setting.jit,
            augment_on=setting.augment_on,
            steps_per_execution=setting.steps,
        )
        opened = open_dataset(records)
        began = time.perf_counter()
        step = self._step(config, len(opened.classes), opened.image_shape)
        ready = self._ready_batches(config, opened)
        step(ready, 1)
        start = time.perf_counter() - began
        batches = self._records(config, opened)
        calls = 2 if FLAGS.shortest else 5
        return Found(
            device=_seconds(lambda: step(ready, 10 * calls), 10 * calls),
            loop=self._loop(config, step, batches, calls),
            input=_seconds(lambda: [next(batches) for _ in range(4 * calls)], 4 * calls),
            start=start,
        )

    def _step(self, config: TrainConfig, num_classes: int, shape: tuple[int, int]) -> TrainStep:
        model = building.build_model(config, self._strategy, num_classes, shape, None)
        return TrainStep(
            model,
            building.make_optimizer(config, self._strategy, model, 1e-5, 1_000_000),
            building.settings_loss(config, None, False),
            self._strategy,
            config.images_per_step,
            seed=0,
            device_augmentations=config if config.augment_on == "device" else None,
            jit_compile=hardware.jit_compiles(config, self._strategy),
        )

    def _ready_batches(self, config: TrainConfig, opened: ImageDataset) -> Iterator[Any]:
        """One batch again and again, on the device."""
        size, random = config.batch_size, np.random.default_rng(0)
        batch = Batch(
            random.integers(0, 256, (size, *opened.image_shape, 3), np.uint8),
            random.integers(0, 2, (size, len(opened.classes))).astype(np.float32),
            np.ones(size, np.float32),
            np.stack([np.zeros(size), np.arange(size)], axis=1).astype(np.int32),
        )
        return inputs.iterate(
            self._strategy, lambda _: tf.data.Dataset.from_tensors(batch).repeat().prefetch(4)
        )

    def _records(self, config: TrainConfig, opened: ImageDataset) -> Iterator[Any]:
        return inputs.iterate(
            self._strategy,
            lambda context: opened.training_batches(
                "train", config.batch_size, config.augment_on, config, seed=0, share=Share(0, 1, 1)
            ),
        )

    def _loop(
        self, config: TrainConfig, step: TrainStep, batches: Iterator[Any], calls: int
    ) -> float:
        """Seconds of a step that is sent as the trainer sends it."""
        most_calls = MOST_CALLS if hardware.computes_meanwhile(self._strategy) else 0
        flight, steps = StepsInFlight(Progress(), most_calls), config.steps_per_execution
        each = max(1, 10 * calls // steps)

        def run() -> None:
            for _ in range(each):
                flight.add(step.send(batches, steps), steps)
            flight.settle()

        return _seconds(run, each * steps)


def _seconds(run: Callable[[], object], count: int) -> float:
    """The median of three turns after one to warm up, of `count` each."""
    run()
    turns = []
    for _ in range(1 if FLAGS.shortest else 3):
        began = time.perf_counter()
        run()
        turns.append((time.perf_counter() - began) / count)
    return statistics.median(turns)


HEADER = (
    "network", "pixels", "precision", "XLA", "augmentation", "steps a call", "device, ms a step",
    "loop, ms a step", "device idle", "images/s", "host must deliver", "host delivers alone",
    "first step, s",
)  # fmt: skip


def row(setting: Setting, found: Found, batch_size: int) -> tuple[Any, ...]:
    """A line of the table."""
    named = (
        setting.model,
        setting.size,
        "mixed" if setting.mixed else "float32",
        "yes" if setting.jit else "no",
        setting.augment_on,
        setting.steps,
    )
    if found.why:
        return (*named, found.why, *[""] * (len(HEADER) - len(named) - 1))
    return (
        *named,
        f"{1000 * found.device:.2f}",
        f"{1000 * found.loop:.2f}",
        f"{100 * found.idle:.0f}%",
        *(harness.number(batch_size / s) for s in (found.loop, found.device, found.input)),
        f"{found.start:.1f}",
    )


def strategy() -> Optional[tf.distribute.Strategy]:
    """One GPU; of the shortest form the CPU where there is none; else None."""
    if tf.config.list_logical_devices("GPU"):
        return hardware.make_strategy("gpu")
    return hardware.make_strategy("cpu") if FLAGS.shortest else None


def main() -> None:
    """Measures and reports."""
    ends = time.monotonic() + 60 * FLAGS.minutes
    chosen = strategy()
    if chosen is None:
        sys.exit(NO_GPU)
    bench = Bench(chosen, data.folder(FLAGS.work_dir))
    batch_size, rows, numbers = min(FLAGS.batch_size, FLAGS.images), [], []
    for setting, found in measure_all(settings(), bench.measure, ends):
        rows.append(row(setting, found, batch_size))
        numbers.append({**dataclasses.asdict(setting), **dataclasses.asdict(found)})
        print(*rows[-1], file=sys.stderr, flush=True)
    facts = harness.machine()
    devices = [tf.config.experimental.get_device_details(gpu).get("device_name", gpu.name)
               for gpu in tf.config.list_physical_devices("GPU")]  # fmt: skip
    about = (
        f"{harness.describe(facts)}\n{', '.join(devices) or 'No GPU'}; {batch_size} images a step."
    )
    text = f"{about}\n\n{harness.table(HEADER, rows)}\n"
    print(text)
    if FLAGS.write:
        with open(FLAGS.write, "w", encoding="utf-8") as file:
            file.write(text)
    harness.write_json(
        {"benchmark": "accelerator", "machine": facts, "devices": devices, "cases": numbers}
    )


if __name__ == "__main__":
    harness.run(main)
