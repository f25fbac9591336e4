"""The PR-AUC callback: what it measures, keeps, lowers and writes, in and out of model.fit."""

from __future__ import annotations

import json
import os

import numpy as np
import pytest
import tensorflow as tf
from sklearn.metrics import auc, average_precision_score, precision_recall_curve

from cloudtf.errors import UserError
from cloudtf.evaluation import history
from cloudtf.model import saving
from cloudtf.training.pr_auc_callback import PrAucCallback

CLASSES = ("Fish", "Flower")


def brightness_model(weight=1.0):
    """Scores sigmoid(weight x mean brightness) for both classes."""
    image = tf.keras.Input((4, 4, 3), dtype="uint8")
    x = tf.keras.layers.Rescaling(1 / 255)(image)
    x = tf.keras.layers.GlobalAveragePooling2D()(x)
    dense = tf.keras.layers.Dense(2, "sigmoid", name="probabilities", use_bias=False)
    model = tf.keras.Model(image, dense(x))
    dense.set_weights([np.full((3, 2), weight / 3, np.float32)])
    return model


@pytest.fixture
def examples():
    generator = np.random.default_rng(0)
    images = generator.integers(0, 256, (21, 4, 4, 3), dtype=np.uint8)
    labels = (generator.random((21, 2)) < 0.5).astype(np.float32)
    return images, labels


def masked_batches(images, labels, batch_size):
    """Evaluation batches as the pipeline gives them: the last one padded, with rows to ignore."""
    for start in range(0, len(images), batch_size):
        count = len(images[start : start + batch_size])
        pad = batch_size - count
        yield (
            np.concatenate([images[start : start + count], np.full((pad, 4, 4, 3), 255, np.uint8)]),
            np.concatenate([labels[start : start + count], np.ones((pad, 2), np.float32)]),
            np.concatenate([np.ones(count, np.float32), np.zeros(pad, np.float32)]),
        )


class Scripted(PrAucCallback):
    """Replaces what is measured by a script, so that only the decisions are under test."""

    def __init__(self, scores, **settings):
        super().__init__([], CLASSES, tensorboard=False, **settings)
        self.script = iter(scores)

    def measure(self, batches):
        value = next(self.script)
        figures = super().measure(
            [(np.zeros((2, 4, 4, 3), np.uint8), np.array([[0, 1], [1, 0]], np.float32))]
        )
        same = dict.fromkeys(CLASSES, value)
        return figures[0], type(figures[1])(pr_auc=same, average_precision=same)


def drive(callback, model, epochs):
    model.compile(tf.keras.optimizers.legacy.Adam(0.1))
    callback.set_model(model)
    model.stop_training = False
    rates = []
    for epoch in range(epochs):
        callback.on_epoch_end(epoch, {"loss": 1.0})
        rates.append(float(model.optimizer.learning_rate))
        if model.stop_training:
            break
    return rates


@pytest.mark.parametrize("batch_size", [1, 4, 8, 21, 32])
def test_figures_equal_scikit_learn_whatever_the_batch_size_and_padding(examples, batch_size):
    images, labels = examples
    callback = PrAucCallback(list(masked_batches(images, labels, batch_size)), CLASSES)
    model = brightness_model()
    drive(callback, model, 1)
    scores = model.predict(images, verbose=0).astype(np.float64)
    row = callback.rows[0]
    for index, name in enumerate(CLASSES):
        precision, recall, _ = precision_recall_curve(labels[:, index], scores[:, index])
        assert row[f"val_pr_auc_{name}"] == pytest.approx(auc(recall, precision), abs=1e-12)
        assert row[f"val_average_precision_{name}"] == pytest.approx(
            average_precision_score(labels[:, index], scores[:, index]), abs=1e-12
        )
    mean = np.mean([row[f"val_pr_auc_{name}"] for name in CLASSES])
    assert row["val_pr_auc_mean"] == pytest.approx(mean, abs=1e-12)


def test_it_halves_the_rate_stops_and_keeps_the_best_on_a_scripted_run(tmp_path):
    model = brightness_model()
    callback = Scripted([0.5, 0.6, 0.55, 0.5, 0.5, 0.5, 0.5, 0.9], run_dir=str(tmp_path))
    rates = drive(callback, model, 8)
    assert rates == pytest.approx([0.1, 0.1, 0.1, 0.1, 0.05, 0.05, 0.05])
    assert model.stop_training
    best = json.loads((tmp_path / "best.json").read_text())
    assert best["epoch"] == 2
    assert best["pr_auc"] == {"Fish": 0.6, "Flower": 0.6, "mean": 0.6}


def test_the_kept_model_is_that_of_the_best_epoch_and_says_so_inside(tmp_path):
    model = brightness_model(weight=1.0)
    callback = Scripted([0.6, 0.5], run_dir=str(tmp_path), info={"image_height": 4})
    callback.set_model(model)
    model.compile(tf.keras.optimizers.legacy.Adam(0.1))
    callback.on_epoch_end(0, {"loss": 1.0})
    model.get_layer("probabilities").set_weights([np.zeros((3, 2), np.float32)])
    callback.on_epoch_end(1, {"loss": 1.0})
    path = str(tmp_path / "best.keras")
    kept = saving.load_model(path).get_layer("probabilities").get_weights()[0]
    np.testing.assert_array_equal(kept, np.full((3, 2), 1 / 3, np.float32))
    info = saving.read_info(path)
    assert info["classes"] == list(CLASSES)
    assert info["image_height"] == 4
    assert info["best"] == json.loads((tmp_path / "best.json").read_text())


def test_a_crash_while_the_new_best_is_written_leaves_the_old_one_whole(tmp_path, monkeypatch):
    model = brightness_model()
    callback = Scripted([0.5, 0.6], run_dir=str(tmp_path))
    callback.set_model(model)
    model.compile(tf.keras.optimizers.legacy.Adam(0.1))
    callback.on_epoch_end(0, {"loss": 1.0})
    before = (tmp_path / "best.keras").read_bytes()

    def fail(self, path, **_):
        with open(path, "wb") as file:
            file.write(b"half a model")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(tf.keras.Model, "save", fail)
    with pytest.raises(Exception, match="No space left"):
        callback.on_epoch_end(1, {"loss": 1.0})
    assert (tmp_path / "best.keras").read_bytes() == before
    assert json.loads((tmp_path / "best.json").read_text())["epoch"] == 1
    assert not [name for name in os.listdir(tmp_path) if "tmp" in name]


@pytest.mark.parametrize("adam", [tf.keras.optimizers.legacy.Adam, tf.keras.optimizers.Adam])
def test_it_works_in_model_fit_and_writes_history_plot_and_tensorboard(tmp_path, examples, adam):
    images, labels = examples
    model = brightness_model()
    model.compile(adam(0.01), "binary_crossentropy")
    batches = list(masked_batches(images, labels, 8))
    callback = PrAucCallback(batches, CLASSES, training=batches, run_dir=str(tmp_path))
    model.fit(images, labels, epochs=3, verbose=0, callbacks=[callback])
    rows = history.read(str(tmp_path / "history.csv"))
    assert [row["epoch"] for row in rows] == [1, 2, 3]
    for read, kept in zip(rows, callback.rows):
        assert read == {k: v for k, v in kept.items() if v == v}  # NaN does not equal itself
        assert read["train_pr_auc_mean"] == read["val_pr_auc_mean"]
        assert read["learning_rate"] == pytest.approx(0.01)
    assert (tmp_path / "pr_auc_history.png").read_bytes().startswith(b"\x89PNG")
    written = tensorboard_values(tmp_path / "tensorboard")
    for row in rows:
        for name in ("loss", "val_pr_auc_Fish", "val_average_precision_mean", "learning_rate"):
            assert written[name, row["epoch"]] == pytest.approx(row[name], rel=1e-6)


def tensorboard_values(folder):
    values = {}
    for name in os.listdir(folder):
        for record in tf.data.TFRecordDataset(str(folder / name)):
            event = tf.compat.v1.Event.FromString(record.numpy())
            for value in event.summary.value:
                values[value.tag, event.step] = float(tf.make_ndarray(value.tensor))
    return values


def test_a_class_without_positives_is_left_out_of_the_mean(examples):
    images, labels = examples
    labels = labels.copy()
    labels[:, 1] = 0
    callback = PrAucCallback([(images, labels)], CLASSES)
    drive(callback, brightness_model(), 1)
    row = callback.rows[0]
    assert np.isnan(row["val_pr_auc_Flower"])
    assert row["val_pr_auc_mean"] == row["val_pr_auc_Fish"]


def test_its_state_goes_through_json_and_goes_on_as_if_never_stopped():
    scores = [0.5, 0.6, 0.5, 0.5, 0.5, 0.7, 0.6]
    whole = Scripted(scores)
    drive(whole, brightness_model(), len(scores))
    first = Scripted(scores[:4])
    drive(first, brightness_model(), 4)
    second = Scripted(scores[4:])
    second.restore(json.loads(json.dumps(first.state())))
    second.set_model(first.model)
    for epoch in range(4, len(scores)):
        second.on_epoch_end(epoch, {"loss": 1.0})
    assert second.best == whole.best
    keys = ("epoch", "val_pr_auc_mean", "learning_rate")
    assert [[row[k] for k in keys] for row in second.rows] == [
        [row[k] for k in keys] for row in whole.rows
    ]


def kept(run_dir):
    """The epoch of the best model, by itself and by `best.json`, and its weight."""
    info = saving.read_info(str(run_dir / "best.keras"))
    said = json.loads((run_dir / "best.json").read_text())
    weights = saving.load_model(str(run_dir / "best.keras")).get_layer("probabilities").weights
    return info["best"]["epoch"], said["epoch"], round(float(weights[0][0, 0]), 4)


@pytest.mark.parametrize("known", [False, True], ids=["unknown", "known"])
def test_a_best_model_that_waits_is_placed_if_the_checkpoint_knows_its_epoch(tmp_path, known):
    """Else its epoch is done again, perhaps to a lower score: it may not replace the older one."""

    def begun(scores, state=None):
        callback = Scripted(scores, run_dir=str(tmp_path), best_waits=True)
        if state is not None:
            callback.restore(json.loads(json.dumps(state)))
        callback.settle()
        return callback

    def epoch(callback, number, weight):
        model = brightness_model(weight)
        model.compile(tf.keras.optimizers.legacy.Adam(0.1))
        callback.set_model(model)
        callback.on_epoch_end(number, {"loss": 1.0})
        return callback.state()

    killed = begun([0.5, 0.6])
    first = epoch(killed, 0, 3.0)
    assert not (tmp_path / "best.keras").exists()
    killed.place_best()  # A checkpoint has the first epoch.
    assert kept(tmp_path) == (1, 1, 1.0)
    second = epoch(killed, 1, 6.0)
    assert kept(tmp_path) == (1, 1, 1.0)
    # Killed here: before or after the second epoch's checkpoint.
    again = begun([0.55], second if known else first)
    assert not (tmp_path / "best.waiting.keras").exists()
    assert kept(tmp_path) == ((2, 2, 2.0) if known else (1, 1, 1.0))
    if not known:
        epoch(again, 1, 9.0)
        again.place_best()
        assert kept(tmp_path) == (2, 2, 3.0)


def test_a_kill_between_the_best_model_and_its_figures_is_made_up_for(tmp_path):
    callback = Scripted([0.5], run_dir=str(tmp_path))
    drive(callback, brightness_model(), 1)
    (tmp_path / "best.json").unlink()
    callback.settle()
    assert json.loads((tmp_path / "best.json").read_text())["epoch"] == 1


def test_its_folder_is_made_before_the_first_epoch(tmp_path):
    folder = tmp_path / "runs" / "b"
    callback = Scripted([0.5], run_dir=str(folder))
    assert folder.is_dir()
    drive(callback, brightness_model(3.0), 1)
    assert kept(folder) == (1, 1, 1.0)
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="The folder .*file/b cannot be made: Not a directory"):
        Scripted([], run_dir=str(tmp_path / "file" / "b"))
