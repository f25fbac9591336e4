"""The PR-AUC callback in `model.fit`: one fit, several, restarted ones, and what it refuses."""

from __future__ import annotations

import json
import pathlib
import signal
import subprocess

import numpy as np
import pytest
import tensorflow as tf
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

import cloudtf
from cloudtf.errors import UserError
from cloudtf.evaluation import history, pr_auc
from cloudtf.model import classifier, saving
from cloudtf.training.pr_auc_callback import PrAucCallback
from tests import programs

CLASSES = ("Fish", "Flower")


def brightness_model(weight=1.0, rate=0.0, dtype="uint8"):
    """Scores sigmoid(weight x mean brightness) for both classes."""
    image = tf.keras.Input((4, 4, 3), dtype=dtype)
    x = tf.keras.layers.Rescaling(1 / 255)(image)
    x = tf.keras.layers.GlobalAveragePooling2D()(x)
    dense = tf.keras.layers.Dense(2, "sigmoid", name="probabilities", use_bias=False)
    model = tf.keras.Model(image, dense(x))
    dense.set_weights([np.full((3, 2), weight / 3, np.float32)])
    model.compile(tf.keras.optimizers.Adam(rate), "binary_crossentropy")
    return model


@pytest.fixture(scope="module")
def examples():
    """21 images, of which the brighter ones mostly show the first class."""
    generator = np.random.default_rng(0)
    images = generator.integers(0, 256, (21, 4, 4, 3), dtype=np.uint8)
    bright = images.mean(axis=(1, 2, 3)) > 127
    labels = np.stack([bright ^ (generator.random(21) < 0.2), generator.random(21) < 0.5], axis=1)
    return images, labels.astype(np.float32)


@pytest.fixture
def fit(examples):
    """Trains a model on the examples with some callbacks; what Keras says of it."""

    def run(model, *callbacks, epochs=1, **options):
        images, labels = examples
        return model.fit(
            images, labels, epochs=epochs, verbose=0, callbacks=list(callbacks), **options
        ).history

    return run


def true_score(model, examples):
    images, labels = examples
    return pr_auc.score(labels, model.predict(images, verbose=0), CLASSES).mean_pr_auc


def kept(run_dir):
    """The epoch and the score of the best model by itself, and by `best.json`."""
    inside = saving.read_info(str(run_dir / "best.keras"))["best"]
    beside = json.loads((run_dir / "best.json").read_text())
    assert inside == beside
    return inside["epoch"], inside["pr_auc"]["mean"]


# One fit.


@pytest.mark.parametrize("adam", [tf.keras.optimizers.legacy.Adam, tf.keras.optimizers.Adam])
def test_it_writes_history_plot_and_tensorboard(tmp_path, examples, fit, adam):
    model = brightness_model()
    model.compile(adam(0.01), "binary_crossentropy")
    callback = PrAucCallback([examples], CLASSES, training=[examples], run_dir=str(tmp_path))
    fit(model, callback, epochs=3)
    rows = history.read(str(tmp_path / "history.csv"))
    assert [row["epoch"] for row in rows] == [1, 2, 3]
    for read, row in zip(rows, callback.rows):
        assert read == {k: v for k, v in row.items() if v == v}  # NaN does not equal itself
        assert read["train_pr_auc_mean"] == read["val_pr_auc_mean"]
        assert read["learning_rate"] == pytest.approx(0.01)
    assert (tmp_path / "pr_auc_history.png").read_bytes().startswith(b"\x89PNG")
    for name, of_run in (("train", ["loss", "train_pr_auc_Fish"]), ("validation", ["val_loss"])):
        written = EventAccumulator(str(tmp_path / "tensorboard" / name)).Reload()
        assert len(written.Tensors("pr_curve/Fish/pr_curves")) == 3
        for column in of_run:
            tag = column.replace("train_pr_auc_", "pr_auc/").replace("val_", "")
            found = [tf.make_ndarray(event.tensor_proto) for event in written.Tensors(tag)]
            np.testing.assert_allclose(found, [row[column] for row in callback.rows], 1e-6)


def test_its_figures_are_in_the_logs_for_callbacks_after_it(tmp_path, examples, fit):
    judge = PrAucCallback([examples], CLASSES, training=[examples], early_stopping_patience=9)
    stop = tf.keras.callbacks.EarlyStopping("val_pr_auc_mean", mode="max", patience=2)
    path = f"{tmp_path}/{{epoch}}.keras"
    keep = tf.keras.callbacks.ModelCheckpoint(
        path, monitor="val_average_precision_Fish", mode="max", save_best_only=True
    )
    logs = fit(brightness_model(), judge, stop, keep, epochs=8, validation_data=examples)
    assert len(logs["loss"]) == 3, "the rate is zero, and the score as it was"
    assert [path.name for path in tmp_path.iterdir()] == ["1.keras"]
    names = {f"{s}_{m}_{c}" for s in ("train", "val") for m in ("pr_auc", "average_precision")
             for c in (*CLASSES, "mean")}  # fmt: skip
    assert names == {name for name in logs if "pr_auc" in name or "precision" in name}
    for name in names:
        assert logs[name] == [row[name] for row in judge.rows]
    # Keras's own are not replaced.
    assert logs["val_loss"] == [row["val_loss"] for row in judge.rows]


def test_the_model_of_readme_is_taken_by_the_commands(tmp_path, records_dir):
    data = cloudtf.open_dataset(records_dir)
    model = cloudtf.build_model("tiny", len(data.classes), data.image_shape)
    model.compile("adam", "binary_crossentropy")
    judge = PrAucCallback(data.batches("val", 12), data.classes, run_dir=str(tmp_path / "b"))
    model.fit(data.batches("train", 8, training=True), steps_per_epoch=1, verbose=0,
              callbacks=[judge])  # fmt: skip
    metrics = cloudtf.evaluate(
        cloudtf.EvaluateConfig(run_dir=str(tmp_path / "b"), data_dir=records_dir)
    )
    assert metrics["pr_auc"]["mean"] == pytest.approx(judge.best["pr_auc"]["mean"], abs=1e-6)
    table = tmp_path / "all.csv"
    cloudtf.predict(
        cloudtf.PredictConfig(
            model=str(tmp_path / "b"), data_dir=records_dir, split="val", output=str(table)
        )
    )
    assert len(table.read_text().splitlines()) == 1 + 12


def test_the_size_of_its_images_is_read_from_the_model_or_else_from_the_images(
    tmp_path, examples, fit
):
    image = tf.keras.Input((None, None, 3))
    x = tf.keras.layers.GlobalAveragePooling2D()(image)
    any_size = tf.keras.Sequential([tf.keras.Model(image, tf.keras.layers.Dense(2, "sigmoid")(x))])
    for number, model in enumerate((any_size, brightness_model(dtype="float32"))):
        model.compile("adam", "binary_crossentropy")
        fit(model, PrAucCallback([examples], CLASSES, run_dir=f"{tmp_path}/{number}"))
        info = classifier.read(f"{tmp_path}/{number}/best.keras").info
        assert (info["image_height"], info["image_width"]) == (4, 4)


def test_it_works_under_a_mirrored_strategy_and_beside_that_of_train(records_dir, tmp_path):
    found = programs.answer("fit_on_replicas", records_dir, tmp_path / "run")
    assert found["measured"] == pytest.approx(found["true"], abs=1e-4)
    assert found["epochs"] == 1
    rows = history.read(f"{tmp_path}/run/history.csv")
    assert [row["learning_rate"] for row in rows] == pytest.approx(found["rates"])


# Several fits.


def test_each_fit_begins_anew(examples, fit):
    callback = PrAucCallback([examples], CLASSES, early_stopping_patience=3)
    first, second = brightness_model(-1.0), brightness_model(1.0)
    fit(first, callback, epochs=3)
    assert callback.rows[0]["val_pr_auc_mean"] == pytest.approx(true_score(first, examples))
    logs = fit(second, callback, epochs=3)
    assert len(logs["loss"]) == 3, "it has its own patience"
    assert [row["epoch"] for row in callback.rows] == [1, 2, 3]
    score = true_score(second, examples)
    assert score != pytest.approx(true_score(first, examples), abs=0.01)
    assert callback.best["pr_auc"]["mean"] == pytest.approx(score)


def test_if_asked_it_goes_on_with_the_earlier_fit(examples, fit):
    callback = PrAucCallback([examples], CLASSES, early_stopping_patience=3, resume=True)
    good, bad = brightness_model(1.0), brightness_model(-1.0)
    fit(good, callback, epochs=2)
    logs = fit(bad, callback, epochs=5)
    assert len(logs["loss"]) == 2, "one epoch without a better score was before"
    assert [row["epoch"] for row in callback.rows] == [1, 2, 3, 4]
    assert callback.best["epoch"] == 1


@pytest.mark.parametrize("same", [True, False], ids=["the same callback", "another callback"])
def test_an_earlier_better_model_and_history_stay(tmp_path, examples, fit, same, capsys):
    def callback():
        return PrAucCallback([examples], CLASSES, run_dir=str(tmp_path))

    first = callback()
    fit(brightness_model(1.0), first, epochs=2)
    best = kept(tmp_path)
    rows = history.read(str(tmp_path / "history.csv"))
    second = first if same else callback()
    fit(brightness_model(-1.0), second)
    assert f"{tmp_path} has epochs 1 to 2 of an earlier fit" in capsys.readouterr().out
    assert kept(tmp_path) == best
    longer = history.read(str(tmp_path / "history.csv"))
    assert longer[:2] == rows and [row["epoch"] for row in longer] == [1, 2, 3]
    assert second.best["epoch"] == 3 and second.best["pr_auc"]["mean"] < best[1]
    # What is better takes its place.
    (tmp_path / "worse").mkdir()
    other = PrAucCallback([examples], CLASSES, run_dir=str(tmp_path / "worse"))
    fit(brightness_model(-1.0), other)
    fit(brightness_model(1.0), other, epochs=2)
    assert kept(tmp_path / "worse")[0] == 2


def test_a_restarted_fit_goes_on_with_what_is_there(tmp_path, records_dir):
    """Killed in its third epoch, between the callback and the backup: that epoch is done again."""
    run_dir = tmp_path / "run"

    killed = subprocess.run(programs.command("fit_and_die", records_dir, run_dir, 2), timeout=200)
    assert killed.returncode == -signal.SIGKILL
    rows = history.read(str(run_dir / "history.csv"))
    epoch, score = kept(run_dir)
    assert [row["epoch"] for row in rows] == [1, 2, 3]
    programs.run("fit_and_die", records_dir, run_dir, -1)
    longer = history.read(str(run_dir / "history.csv"))
    assert [row["epoch"] for row in longer] == [1, 2, 3, 4]
    assert longer[:2] == rows[:2]
    again, better = kept(run_dir)
    assert better >= score and (again >= epoch or better > score)
    written = [
        event.step
        for path in sorted((run_dir / "tensorboard" / "train").iterdir())
        for event in tf.compat.v1.train.summary_iterator(str(path))
        for value in event.summary.value
        if value.tag == "loss"
    ]
    assert written == [1, 2, 3, 4]


def test_a_fit_that_begins_later_goes_on_and_a_better_model_of_an_epoch_done_again_stays(
    tmp_path, examples, fit
):
    fit(brightness_model(1.0), PrAucCallback([examples], CLASSES, run_dir=str(tmp_path)), epochs=3)
    best = kept(tmp_path)
    again = PrAucCallback([examples], CLASSES, run_dir=str(tmp_path), early_stopping_patience=3)
    logs = fit(brightness_model(-1.0), again, initial_epoch=2, epochs=9)
    assert len(logs["loss"]) == 2, "one of three epochs of patience was over"
    assert kept(tmp_path) == best
    assert [row["epoch"] for row in history.read(f"{tmp_path}/history.csv")] == [1, 2, 3, 4]


# What is refused as the fit begins.


def test_batches_that_can_be_gone_through_only_once_or_never_end_are_refused(examples, records_dir):
    data = cloudtf.open_dataset(records_dir)
    for wrong, sentence in (
        ((batch for batch in [examples]), "validation is a generator, which ends after one epoch"),
        (iter([examples]), "validation is a list_iterator, which"),
        (data.batches("train", 8, training=True), "validation never ends; give batches"),
    ):
        with pytest.raises(UserError, match=sentence):
            PrAucCallback(wrong, CLASSES)
    with pytest.raises(UserError, match="training is a generator, which ends after one epoch"):
        PrAucCallback([examples], CLASSES, training=(batch for batch in [examples]))


def test_a_keras_sequence_is_measured_in_each_epoch(examples, fit):
    class Batches(tf.keras.utils.Sequence):
        def __len__(self):
            return 3

        def __getitem__(self, index):
            return tuple(part[7 * index : 7 * index + 7] for part in examples)

    callback = PrAucCallback(Batches(), CLASSES)
    fit(brightness_model(), callback, epochs=2)
    scores = [row["val_pr_auc_mean"] for row in callback.rows]
    assert scores[0] == scores[1] == pytest.approx(true_score(brightness_model(), examples))


class Subclassed(tf.keras.Model):
    def __init__(self):
        super().__init__()
        self.pool = tf.keras.layers.GlobalAveragePooling2D()
        self.dense = tf.keras.layers.Dense(2, "sigmoid")

    def call(self, images, training=False):
        return self.dense(self.pool(tf.cast(images, tf.float32) / 255.0))


def of(change, outputs=2):
    image = tf.keras.Input((4, 4, 3), dtype="uint8")
    x = tf.keras.layers.GlobalAveragePooling2D()(change(image))
    return tf.keras.Model(image, tf.keras.layers.Dense(outputs, "sigmoid")(x))


MODELS = {
    "subclassed": (Subclassed, r"made by a class of its own \(Subclassed\)"),
    "Lambda": (
        lambda: of(tf.keras.layers.Lambda(lambda x: tf.cast(x, tf.float32) / 255.0)),
        "holds the class keras.layers.Lambda, which is code",
    ),
    "TFOpLambda": (
        lambda: of(lambda x: tf.keras.applications.mobilenet_v2.preprocess_input(
            tf.cast(x, tf.float32))),
        r"TFOpLambda, which is code: .*Rescaling\(1 / 127.5, offset=-1\) for preprocess_input",
    ),
    "Ellipsis": (
        lambda: of(lambda x: tf.cast(x, tf.float32)[..., ::-1]),
        "cannot be saved",
    ),
    "outputs": (
        lambda: of(tf.keras.layers.Rescaling(1 / 255), outputs=3),
        r"gives \[B, 3\]; for 2 classes it must give \[B, 2\]",
    ),
}  # fmt: skip


@pytest.mark.parametrize("kind", MODELS)
def test_a_model_that_best_keras_could_not_hold_is_refused_before_the_first_step(
    kind, tmp_path, examples, fit
):
    make, sentence = MODELS[kind]
    model = make()
    model.compile("adam", "mse")
    if kind == "subclassed":
        model(examples[0][:1])
    steps = []
    count = tf.keras.callbacks.LambdaCallback(on_batch_end=lambda *_: steps.append(1))
    with pytest.raises(UserError, match=sentence):
        fit(model, PrAucCallback([examples], CLASSES, run_dir=str(tmp_path)), count)
    assert not steps and not list(tmp_path.glob("best*"))
    if kind != "outputs":
        # Without a file of it, it is judged like any other.
        callback = PrAucCallback([examples], CLASSES)
        fit(model, callback)
        assert callback.best["pr_auc"]["mean"] == pytest.approx(true_score(model, examples))


@pytest.mark.parametrize("adam", [tf.keras.optimizers.legacy.Adam, tf.keras.optimizers.Adam])
def test_a_plateau_is_refused_where_the_rate_follows_a_schedule(examples, fit, adam):
    model = brightness_model()
    model.compile(adam(tf.keras.optimizers.schedules.CosineDecay(0.01, 100)), "mse")
    with pytest.raises(UserError, match=r"follows a schedule \(CosineDecay\).*plateau_factor=1.0"):
        fit(model, PrAucCallback([examples], CLASSES))
    callback = PrAucCallback([examples], CLASSES, plateau_factor=1.0, plateau_patience=1)
    fit(model, callback, epochs=3)
    rates = [row["learning_rate"] for row in callback.rows]
    assert rates[0] > rates[1] > rates[2] > 0


@pytest.mark.parametrize("adam", [tf.keras.optimizers.legacy.Adam, tf.keras.optimizers.Adam])
def test_a_plateau_lowers_the_rate(examples, fit, adam):
    model = brightness_model()
    model.compile(adam(1e-9), "mse")
    callback = PrAucCallback([examples], CLASSES, plateau_patience=1, early_stopping_patience=9)
    fit(model, callback, epochs=4)
    rates = [row["learning_rate"] for row in callback.rows]
    assert rates == pytest.approx([1e-9, 1e-9, 0.5e-9, 0.25e-9])


def test_examples_that_do_not_fit_are_refused(tmp_path, examples, fit):
    images, labels = examples
    for wrong, sentence in (
        ([], "validation has no examples to measure"),
        ([images], "validation must give batches of .images, labels., not ndarray"),
        ([(images, labels[:, :1])], r"labels \[21, 1\]; for 2 classes a batch"),
        ([(images, labels * 2)], "labels other than 0 and 1, such as 2.0"),
        ([(images / np.float32(255), labels)], "gives images that are scaled .from 0 to 1."),
    ):
        with pytest.raises(UserError, match=sentence):
            fit(brightness_model(), PrAucCallback(wrong, CLASSES, run_dir=str(tmp_path)))


def test_batches_that_give_nothing_the_second_time_are_named(examples, fit):
    batches = iter([examples, examples, examples])
    once = tf.data.Dataset.from_generator(
        lambda: batches, output_types=(tf.uint8, tf.float32),
        output_shapes=((None, 4, 4, 3), (None, 2)),
    )  # fmt: skip
    with pytest.raises(UserError, match="no examples to measure; batches must give the same"):
        fit(brightness_model(), PrAucCallback(once, CLASSES), epochs=3)


def test_the_folder_of_other_classes_or_of_a_run_is_refused(
    tmp_path, examples, fit, trained_run, records_dir
):
    fit(brightness_model(), PrAucCallback([examples], CLASSES, run_dir=str(tmp_path)))
    before = {path: path.read_bytes() for path in tmp_path.iterdir() if path.is_file()}
    other = PrAucCallback([examples], ("Cat", "Dog"), run_dir=str(tmp_path))
    with pytest.raises(UserError, match=r"history.csv is not a history of the classes Cat, Dog"):
        fit(brightness_model(), other)
    (tmp_path / "history.csv").unlink()
    with pytest.raises(UserError, match=r"best.keras is not of a fit of these classes"):
        fit(brightness_model(), other)
    assert all(path.read_bytes() == before[path] for path in before if path.exists())
    with pytest.raises(UserError, match="is the folder of a run of cloudtf.train; give the call"):
        fit(brightness_model(), PrAucCallback([examples], CLASSES, run_dir=str(trained_run)))


def test_its_folder_is_made_at_once(tmp_path, examples):
    PrAucCallback([examples], CLASSES, run_dir=str(tmp_path / "runs" / "b"))
    assert pathlib.Path(tmp_path / "runs" / "b").is_dir()


def test_a_loop_that_calls_it_only_after_each_epoch_is_served_too(tmp_path, examples):
    callback = PrAucCallback([examples], CLASSES, run_dir=str(tmp_path))
    callback.set_model(brightness_model())
    logs = {"loss": 1.0}
    callback.on_epoch_end(0, logs)
    callback.on_epoch_end(1)
    assert [row["epoch"] for row in history.read(f"{tmp_path}/history.csv")] == [1, 2]
    assert logs["val_pr_auc_mean"] == callback.rows[0]["val_pr_auc_mean"]
