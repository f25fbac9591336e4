"""Photographs a second through `cloudtf predict --images_dir`, decoding alone, the network alone.

    python benchmarks/predict.py --work_dir=DIR --json=predict.json
    python benchmarks/predict.py --work_dir=DIR --model=efficientnetb0 --images=64 --rounds=8

The network `stand-in` takes next to no time, as one on an accelerator does of the host's; then all
is decoding. Where decoding and a network share the same cores, neither can be as fast as alone:
"one after the other" is what their times add up to, and nothing on those cores can be faster.
"""

from __future__ import annotations

import time
from typing import Any, Iterator

import data
import harness
import numpy as np
from absl import flags

FLAGS = flags.FLAGS
flags.DEFINE_string("model", "stand-in", "The network: `stand-in`, or one that train knows.")
flags.DEFINE_integer("images", 192, "Photographs.", lower_bound=2)
flags.DEFINE_integer("height", 1400, "Their rows.", lower_bound=224)
flags.DEFINE_integer("width", 2100, "Their columns.", lower_bound=224)
flags.DEFINE_integer("size", 224, "Rows and columns that the network takes.", lower_bound=32)
flags.DEFINE_integer("batch_size", 64, "Images a step.", lower_bound=1)
flags.DEFINE_bool("tta", False, "Average over four flips.")

PREDICT = "cloudtf predict"
DECODE = "libjpeg-turbo, scaled decode alone"
LOADED = "decoded, resized and batched, without a network"
NETWORK = "the network alone"
ADDED = "decoding and network, one after the other"


def predict(**given: Any) -> harness.Measure:
    """Reading, decoding, resizing and scoring, as the command does it once the model is there."""
    from cloudtf.evaluation.predict import scored_photographs

    scorer = _scorer(**given)
    return _timed(lambda images: scored_photographs(scorer, _batches(images, **given)))


def loaded(**given: Any) -> harness.Measure:
    """The same without the network."""
    return _timed(lambda images: sum(1 for _ in _batches(images, **given)))


def network(size: int, batch_size: int, **given: Any) -> harness.Measure:
    """As many batches of one array."""
    scorer = _scorer(size=size, batch_size=batch_size, **given)
    one = np.random.default_rng(0).integers(0, 256, (batch_size, size, size, 3), np.uint8)

    def run(images: int) -> None:
        for _ in scorer.stream(one for _ in range(-(-images // batch_size))):
            pass

    return _timed(run)


def decode(folder: str, size: int, **_: Any) -> harness.Measure:
    """The smallest scale that covers the target, in as many threads as there are cores."""
    from concurrent.futures import ThreadPoolExecutor

    import simplejpeg

    from cloudtf import machine

    paths = data.photograph_paths(folder)
    pool = ThreadPoolExecutor(machine.usable_cores())

    def one(path: str) -> None:
        with open(path, "rb") as file:
            simplejpeg.decode_jpeg(file.read(), min_height=size, min_width=size)

    return _timed(lambda images: list(pool.map(one, paths[:images])))


def _timed(run: Any) -> harness.Measure:
    def measure(images: int) -> harness.Turn:
        began = time.perf_counter()
        run(images)
        return harness.Turn(time.perf_counter() - began, images)

    return measure


def _batches(
    images: int, folder: str, size: int, batch_size: int, **_: Any
) -> Iterator[tuple[list[str], np.ndarray]]:
    from cloudtf.evaluation import photographs

    found = photographs.find(f"{folder}/train_images", False, False)
    found = found._replace(paths=dict(list(found.paths.items())[:images]))
    return photographs.batches(found, (size, size), batch_size, None, "stretch")


def _scorer(model: str, size: int, tta: bool, **_: Any) -> Any:
    import tensorflow as tf

    import cloudtf
    from cloudtf.evaluation import scoring

    if model != "stand-in":
        shape = (size, size)
        built = cloudtf.build_model(model, num_classes=4, image_shape=shape, weights=None)
    else:
        layers = tf.keras.layers
        built = tf.keras.Sequential(
            [
                layers.InputLayer((size, size, 3), dtype="uint8"),
                layers.Rescaling(1 / 255),
                layers.AveragePooling2D(16),
                layers.GlobalAveragePooling2D(),
                layers.Dense(4, activation="sigmoid"),
            ]
        )
    return scoring.Scorer(built, flips=tta)


def main() -> None:
    """Measures and reports."""
    facts = harness.machine()
    work_dir = data.folder(FLAGS.work_dir)
    given = {
        "folder": data.photographs(work_dir, FLAGS.images, FLAGS.height, FLAGS.width),
        "model": FLAGS.model,
        "size": FLAGS.size,
        "batch_size": FLAGS.batch_size,
        "tta": FLAGS.tta,
    }
    cases = [
        harness.Case(name, prepare, given)
        for name, prepare in (
            (PREDICT, predict),
            (DECODE, decode),
            (LOADED, loaded),
            (NETWORK, network),
        )
    ]
    results, notes = harness.alternate(cases, items=FLAGS.images)
    if LOADED in results and NETWORK in results:
        pairs = zip(results[LOADED].rates, results[NETWORK].rates)
        rates = tuple(1 / (1 / one + 1 / other) for one, other in pairs)
        results[ADDED] = harness.Result(ADDED, rates, 0.0)
    notes.append(
        f"{FLAGS.images} photographs of {FLAGS.width} x {FLAGS.height} to {FLAGS.size} x "
        f"{FLAGS.size}; {FLAGS.model}, batches of {FLAGS.batch_size}"
        f"{', four flips' if FLAGS.tta else ''}; {FLAGS.clock} time."
    )
    slower = min((DECODE, NETWORK), key=lambda name: results[name].median, default=DECODE)
    ratios = [
        harness.ratio(results, PREDICT, slower, 0.9),
        harness.ratio(results, PREDICT, ADDED),
        harness.ratio(results, LOADED, DECODE),
    ]
    harness.report("predict", facts, "images/s", results, ratios, notes)


if __name__ == "__main__":
    harness.run(main)
