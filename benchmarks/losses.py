"""What each option of the loss is worth, all else alike: a linear head on frozen features.

    python benchmarks/losses.py --sets=sets/clouds-hard-64,sets/earth-64,sets/emoji-64

Each set is a folder of records with splits train, val and test (`real_sets.py`, `recipes.py`). The
features are those of EfficientNet-Lite0 with ImageNet weights, computed once; a head is a dense
layer, trained with Adam on batches of 64 for 40 epochs. The epoch is chosen on val by the mean
PR-AUC of the classes; what is reported is measured once, on test. The difference to bce is that of
pairs (set, seed), with its 95% interval (Student's t). What a loss does to a whole network, this
does not say; that would cost a thousand times as much.
"""

from __future__ import annotations

import os
import sys
import time
from typing import Any, Callable

import cloudtf  # noqa: F401 - before TensorFlow: it chooses the Keras API

# isort: split
import numpy as np
import tensorflow as tf
from absl import app, flags
from scipy import stats

from cloudtf.evaluation import pr_auc
from cloudtf.model import network
from cloudtf.text import table

FLAGS = flags.FLAGS
EPOCHS, BATCH, RATE = 40, 64, 1e-3
OPTIONS: dict[str, dict[str, Any]] = {
    "bce": {"name": "bce"},
    "label_smoothing=0.1": {"name": "bce", "label_smoothing": 0.1},
    "positive_weights=inverse": {"name": "bce", "weights": "inverse"},
    "positive_weights=effective": {"name": "bce", "weights": "effective"},
    "focal, alpha 0.25": {"name": "focal"},
    "focal, alpha 0.5": {"name": "focal", "focal_alpha": 0.5},
    "asymmetric": {"name": "asymmetric"},
    "asymmetric, gamma_neg 2, clip 0": {
        "name": "asymmetric",
        "asymmetric_gamma_neg": 2.0,
        "asymmetric_clip": 0.0,
    },
}


def features(folder: str) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Split -> standardised features float32 [N, 1280] and labels float32 [N, C]."""
    data = cloudtf.open_dataset(folder)
    model = network.build_model(
        "efficientnetlite0", len(data.classes), data.image_shape, weights="imagenet"
    )
    head = model.get_layer(network.HEAD)
    body = tf.keras.Model(model.input, head.input)
    found = {}
    for split in ("train", "val", "test"):
        parts = [
            (body(images, training=False).numpy(), labels.numpy())
            for images, labels, _ in data.batches(split, 64)
        ]
        found[split] = tuple(np.concatenate(column) for column in zip(*parts))
    mean, scale = found["train"][0].mean(axis=0), found["train"][0].std(axis=0) + 1e-6
    return {name: ((x - mean) / scale, y) for name, (x, y) in found.items()}


def loss_of(options: dict[str, Any], labels: np.ndarray) -> Callable:
    """The loss of an option, weighted by the labels [N, C] of the training split."""
    given = dict(options)
    name, kind = given.pop("name"), given.pop("weights", None)
    if kind is not None:
        positives = labels.sum(axis=0)
        weights = cloudtf.positive_weights(kind, positives, len(labels) - positives)
        given["positive_weights"] = weights.tolist()
    return cloudtf.get_loss(name, unknown=False, **given)


def trained(
    sets: dict[str, tuple[np.ndarray, np.ndarray]], loss: Callable, seed: int
) -> tuple[float, float]:
    """Mean PR-AUC and log loss on test of the epoch that is best on val."""
    tf.keras.utils.set_random_seed(seed)
    x, y = (tf.constant(part) for part in sets["train"])
    head = tf.keras.layers.Dense(y.shape[1], activation="sigmoid")
    head.build(x.shape)
    optimizer = tf.keras.optimizers.legacy.Adam(RATE)
    random = np.random.default_rng(seed)

    @tf.function
    def epoch(order: tf.Tensor) -> None:
        for rows in tf.data.Dataset.from_tensor_slices(order):
            with tf.GradientTape() as tape:
                value = tf.reduce_mean(loss(tf.gather(y, rows), head(tf.gather(x, rows))))
            gradients = tape.gradient(value, head.trainable_variables)
            optimizer.apply_gradients(zip(gradients, head.trainable_variables))

    names = [str(i) for i in range(y.shape[1])]
    best, found = -1.0, (np.nan, np.nan)
    for _ in range(EPOCHS):
        order = random.permutation(len(x))[: len(x) // BATCH * BATCH].reshape(-1, BATCH)
        epoch(tf.constant(order))
        judged = pr_auc.score(sets["val"][1], head(sets["val"][0]).numpy(), names).mean_pr_auc
        if judged > best:
            test, scores = sets["test"][1], head(sets["test"][0]).numpy()
            p = np.clip(scores.astype(float), 1e-7, 1 - 1e-7)
            log_loss = -np.mean(test * np.log(p) + (1 - test) * np.log(1 - p))
            best, found = judged, (pr_auc.score(test, scores, names).mean_pr_auc, log_loss)
    return found


def main(_: list[str]) -> None:
    """Trains all heads and prints the tables."""
    results: dict[tuple[str, str], np.ndarray] = {}
    for folder in FLAGS.sets:
        began = time.process_time()
        sets = features(folder)
        for option, given in OPTIONS.items():
            loss = loss_of(given, sets["train"][1])
            runs = [trained(sets, loss, seed) for seed in range(FLAGS.seeds)]
            results[folder, option] = np.array(runs)
        seconds = time.process_time() - began
        print(f"{folder}: {seconds:.0f} s of CPU", file=sys.stderr, flush=True)
    rows = []
    for option in OPTIONS:
        row = [option]
        for folder in FLAGS.sets:
            areas, losses = results[folder, option].T
            row.append(f"{areas.mean():.4f} ± {areas.std(ddof=1):.4f} ({losses.mean():.3f})")
        gains = np.concatenate([(results[f, option] - results[f, "bce"])[:, 0] for f in FLAGS.sets])
        if option != "bce":
            half = stats.t.ppf(0.975, len(gains) - 1) * stats.sem(gains)
            row.append(f"{gains.mean():+.4f} ± {half:.4f}")
        rows.append(row + [""] * (option == "bce"))
    names = [os.path.basename(folder) for folder in FLAGS.sets]
    print(table(["option", *names, "difference"], rows))


if __name__ == "__main__":
    flags.DEFINE_list("sets", None, "Folders of records with splits train, val and test.")
    flags.DEFINE_integer("seeds", 5, "Seeds of the head and of the order of examples.")
    flags.mark_flag_as_required("sets")
    app.run(main)
