"""A user's own network, loss and callbacks in `cloudtf.train`."""

from __future__ import annotations

import json
import pathlib

import numpy as np
import pytest
import tensorflow as tf

import cloudtf
from cloudtf.commands import app
from cloudtf.errors import UserError
from cloudtf.evaluation import history
from cloudtf.model import losses
from cloudtf.training.callback_hooks import CallbackHooks
from cloudtf.training.config import TrainConfig
from cloudtf.training.own_parts import OwnParts
from cloudtf.training.train import train
from tests import programs

FISH = ["train_average_precision_Fish", "train_pr_auc_Fish", "val_average_precision_Fish",
        "val_pr_auc_Fish"]  # fmt: skip


def pooled(outputs=None, activation="sigmoid", **options):
    """A function that makes a small network."""

    def model_fn(num_classes, image_shape):
        image = tf.keras.Input((*image_shape, 3), dtype="uint8", name="image")
        x = tf.keras.layers.Rescaling(1 / 255)(image)
        x = tf.keras.layers.GlobalAveragePooling2D()(x)
        head = tf.keras.layers.Dense(outputs or num_classes, activation, **options)
        return tf.keras.Model(image, head(x), name="pooled")

    return model_fn


def config_of(records_dir, run_dir, **changes):
    given = {
        "data_dir": records_dir, "run_dir": str(run_dir), "epochs": 1, "batch_size": 8,
        "tensorboard": False, "train_metric_examples": 0, "strategy": "cpu",
    }  # fmt: skip
    return TrainConfig(**{**given, **changes})


@pytest.fixture(scope="module")
def found(records_dir, tmp_path_factory):
    return programs.answer("train_own_model", records_dir, tmp_path_factory.mktemp("own"))


def test_a_run_in_parts_ends_as_one_in_one_go_to_the_bit(found):
    """Dropout and noise follow the step; what counts in callbacks is in the checkpoints."""
    assert found["parts"] == found["whole"]
    assert found["same"]
    assert [row["epoch"] for row in found["whole"]] == [1, 2, 3]
    losses = [row["loss"] for row in found["whole"]]
    assert losses[-1] < losses[0]


def test_callbacks_are_called_with_the_history_and_carried_over_starts(found):
    epochs, steps = found["counts"]
    assert epochs == [[number, FISH] for number in range(3)]
    assert steps == 18
    assert found["part_counts"] == found["counts"]


def test_it_trains_on_replicas(found):
    assert [row["epoch"] for row in found["two"]] == [1]


def test_the_commands_take_its_best_model_and_name_the_parts(records_dir, tmp_path, capsys):
    run_dir = tmp_path / "run"
    config = config_of(records_dir, run_dir, model="tiny", loss="dice", dropout=0.5)
    result = train(config, model_fn=pooled(), loss_fn="binary_crossentropy")
    out = capsys.readouterr().out
    assert out.startswith("pooled on 1 x CPU")
    assert "Note: model='tiny', dropout=0.5, loss='dice': not used, since model_fn or" in out
    metrics = cloudtf.evaluate(cloudtf.EvaluateConfig(run_dir=str(run_dir), data_dir=records_dir))
    assert metrics["pr_auc"]["mean"] == pytest.approx(result.best["pr_auc"]["mean"], abs=1e-6)
    flags = (run_dir / "flags.txt").read_text().splitlines()
    assert flags[0] == "# Beside these flags model_fn and loss_fn were given in Python."
    # The command alone cannot go on with it.
    assert app.main(["train", f"--flagfile={run_dir}/flags.txt", "--epochs=2"]) == 1
    assert "began with the network of a model_fn; give that model_fn again" in (
        capsys.readouterr().err
    )


def test_a_run_goes_on_with_the_same_parts_only(records_dir, tmp_path):
    run_dir = tmp_path / "run"
    train(config_of(records_dir, run_dir), model_fn=pooled(), loss_fn="binary_crossentropy")
    longer = config_of(records_dir, run_dir, epochs=2)
    for parts, sentence in (
        ({"loss_fn": "binary_crossentropy"}, "began with the network of a model_fn; give that"),
        ({"model_fn": pooled()}, "the loss_fn binary_crossentropy and was now given no loss_fn"),
        (
            {"model_fn": pooled(use_bias=False), "loss_fn": "binary_crossentropy"},
            "model_fn gives another model than the one that the run in",
        ),
    ):
        with pytest.raises(UserError, match=sentence):
            train(longer, **parts)
    rows = train(longer, model_fn=pooled(), loss_fn="binary_crossentropy").history
    assert len(rows) == 2
    plain = config_of(records_dir, tmp_path / "plain", model="tiny", weights="none")
    train(plain)
    with pytest.raises(UserError, match="one of cloudtf's networks; leave out model_fn to go on"):
        train(plain, model_fn=pooled())


def test_what_a_regularizer_asks_is_part_of_the_loss(records_dir, tmp_path):
    rows = [
        train(
            config_of(records_dir, tmp_path / str(factor), learning_rate=1e-12),
            model_fn=pooled(
                kernel_initializer="ones", kernel_regularizer=tf.keras.regularizers.L2(factor)
            ),
        ).history[0]
        for factor in (0.0, 0.5)
    ]
    assert rows[1]["loss"] - rows[0]["loss"] == pytest.approx(0.5 * 12, rel=1e-4)


# Losses.


def test_losses_of_every_kind_give_a_value_an_example():
    generator = np.random.default_rng(0)
    labels = (generator.random((5, 3)) < 0.5).astype(np.float32)
    scores = generator.random((5, 3)).astype(np.float32)
    wanted = losses.get_loss("bce")(tf.constant(labels), tf.constant(scores)).numpy()

    def with_branches(y_true, y_pred):
        if tf.reduce_sum(y_true) < 0.0:
            return tf.zeros([5])
        return tf.keras.losses.binary_crossentropy(y_true, y_pred)

    def elementwise(y_true, y_pred):
        return tf.keras.losses.binary_crossentropy(y_true[..., None], y_pred[..., None])

    for loss_fn in (
        "binary_crossentropy",
        tf.keras.losses.binary_crossentropy,
        tf.keras.losses.BinaryCrossentropy(),
        tf.keras.losses.BinaryCrossentropy(reduction="sum"),
        with_branches,
        elementwise,
    ):
        loss = OwnParts(loss_fn=loss_fn).loss()

        @tf.function(autograph=False)
        def traced(y_true, y_pred, loss=loss):
            return loss(y_true, y_pred)

        found = traced(labels, scores).numpy()
        np.testing.assert_allclose(found, wanted, rtol=2e-5)

    def mean(y_true, y_pred):
        return tf.reduce_mean(tf.keras.losses.binary_crossentropy(y_true, y_pred))

    found = OwnParts(loss_fn=mean).loss()(tf.constant(labels), tf.constant(scores))
    np.testing.assert_allclose(found.numpy(), np.full(5, wanted.mean()), rtol=2e-5)


# Callbacks.


def test_a_callback_that_stops_ends_the_run_and_more_epochs_go_on(records_dir, tmp_path, capsys):
    def stop():
        # No loss is better by ten than the first.
        return tf.keras.callbacks.EarlyStopping("loss", min_delta=10.0, patience=1)

    run_dir = tmp_path / "run"
    config = config_of(records_dir, run_dir, epochs=5)
    assert len(train(config, model_fn=pooled(), callbacks=[stop()]).history) == 2
    capsys.readouterr()
    assert len(train(config, model_fn=pooled(), callbacks=[stop()]).history) == 2
    assert "is finished: a callback has ended it after epoch 2; more epochs would go on" in (
        capsys.readouterr().out
    )
    longer = config_of(records_dir, run_dir, epochs=6)
    assert len(train(longer, model_fn=pooled(), callbacks=[]).history) == 6


def test_a_callback_that_stops_within_an_epoch_ends_it_there(records_dir, tmp_path):
    class Third(tf.keras.callbacks.Callback):
        seen = ()

        def on_train_batch_end(self, batch, logs=None):
            self.seen = (*self.seen, batch)
            self.model.stop_training = len(self.seen) == 3

    third = Third()
    result = train(
        config_of(records_dir, tmp_path / "run", epochs=3), model_fn=pooled(), callbacks=[third]
    )
    assert third.seen == (0, 1, 2)
    assert [row["epoch"] for row in result.history] == [1]


def test_callbacks_that_save_and_schedule_work(records_dir, tmp_path):
    path = str(tmp_path / "{epoch}.weights.h5")
    keep = tf.keras.callbacks.ModelCheckpoint(
        path, "val_pr_auc_mean", mode="max", save_best_only=True, save_weights_only=True
    )
    rate = tf.keras.callbacks.LearningRateScheduler(lambda epoch, rate: 0.01 / (1 + epoch))
    log = tf.keras.callbacks.CSVLogger(str(tmp_path / "log.csv"))
    config = config_of(
        records_dir, tmp_path / "run", epochs=2, optimizer="adam", warmup_proportion=0.0,
        final_rate=1.0,
    )  # fmt: skip
    rows = train(config, model_fn=pooled(), callbacks=[keep, rate, log]).history
    assert [row["learning_rate"] for row in rows] == pytest.approx([0.01, 0.005])
    assert list(tmp_path.glob("*.weights.h5"))
    assert len((tmp_path / "log.csv").read_text().splitlines()) == 3


def test_the_state_of_callbacks_is_what_changed_of_them():
    model = pooled()(2, (8, 8))
    model.compile("adam", "mse")

    def begun(state=(), patience=3):
        stop = tf.keras.callbacks.EarlyStopping("loss", patience=patience)
        lists = tf.keras.callbacks.Callback()
        hooks = CallbackHooks([stop, lists], model, epochs=9, steps=2)
        hooks.begin(state)
        return hooks, stop, lists

    hooks, stop, lists = begun()
    assert all(entry["changed"] == {} for entry in hooks.state())
    lists.seen = {"a": [1, np.float32(0.5), float("inf")]}
    lists.weights_of_mine = np.zeros(3)  # Not kept.
    for epoch, loss in enumerate((0.5, 0.6)):
        hooks.epoch_ends(epoch, {"epoch": epoch + 1, "stage": "whole", "loss": loss})
    state = json.loads(json.dumps(hooks.state(), allow_nan=False))
    assert set(state[0]["changed"]) == {"wait", "best", "best_epoch"} - (
        {"best_epoch"} if stop.best_epoch == 0 else set()
    )
    _, other, more = begun(state, patience=7)
    assert (other.wait, other.best, other.patience) == (1, 0.5, 7)
    assert more.seen == {"a": [1, 0.5, float("inf")]} and not hasattr(more, "weights_of_mine")


# What is refused before the first step.


def broken_loss(y_true, y_pred):
    raise KeyError("nothing")


def swish(x):
    return x * tf.sigmoid(1.7 * x)


REFUSED = {
    "no function": ({"model_fn": 3}, "model_fn must be a function of"),
    "no model": ({"model_fn": lambda *_: 3}, "model_fn must give a model of tf.keras, not int"),
    "no callback": ({"callbacks": [3]}, "callbacks must be of tf.keras.callbacks.Callback, not"),
    "two judges": (
        {"callbacks": [cloudtf.PrAucCallback([], ["Fish"])]},
        "PrAucCallback is for model.fit: cloudtf.train judges",
    ),
    "two resumers": (
        {"callbacks": [tf.keras.callbacks.BackupAndRestore("b")]},
        "BackupAndRestore is for model.fit",
    ),
    "outputs": ({"model_fn": pooled(outputs=3)}, r"gives \[B, 3\]; for 4 classes it must give"),
    "logits": (
        {"model_fn": pooled(activation=None, bias_initializer=tf.keras.initializers.Constant(7))},
        "gives values from .* which are no probabilities; end it with a sigmoid",
    ),
    "no loss": ({"loss_fn": "best_loss"}, "loss_fn is not a loss of Keras"),
    "broken loss": (
        {"model_fn": pooled(), "loss_fn": broken_loss},
        "loss_fn does not take labels and probabilities",
    ),
    "infinite loss": (
        {"model_fn": pooled(), "loss_fn": lambda y_true, y_pred: y_pred / 0.0},
        "loss_fn gives inf where all probabilities are 0.5",
    ),
    "Lambda": (
        {"model_fn": lambda classes, shape: tf.keras.Sequential([
            tf.keras.Input((*shape, 3)), tf.keras.layers.Lambda(lambda x: x / 255),
            tf.keras.layers.GlobalAveragePooling2D(), tf.keras.layers.Dense(classes, "sigmoid"),
        ])},
        "holds the class keras.layers.Lambda, which is code",
    ),
    "swish": (  # By its name its file would be read with Keras's own.
        {"model_fn": pooled(activation=swish)},
        "has a function 'swish' of its own, which is not that of Keras",
    ),
    "size": (
        {"model_fn": lambda classes, shape: pooled()(classes, (32, 48))},
        "takes images of 32 x 48 pixels, and the records have 64 x 64",
    ),
}  # fmt: skip


@pytest.mark.parametrize("kind", REFUSED)
def test_parts_that_cannot_work_are_refused_before_the_first_step(kind, records_dir, tmp_path):
    parts, sentence = REFUSED[kind]
    with pytest.raises(UserError, match=sentence):
        train(config_of(records_dir, tmp_path / "run"), **parts)
    assert not list(pathlib.Path(tmp_path).glob("run/checkpoints/*"))


def test_a_model_with_a_step_of_its_own_and_a_head_without_a_body_are_refused(
    records_dir, tmp_path
):
    class OwnStep(tf.keras.Model):
        def train_step(self, data):
            return super().train_step(data)

    def model_fn(num_classes, image_shape):
        model = pooled()(num_classes, image_shape)
        return OwnStep(model.inputs, model.outputs)

    with pytest.raises(UserError, match="has a train_step of its own, which only model.fit runs"):
        train(config_of(records_dir, tmp_path / "run"), model_fn=model_fn)
    with pytest.raises(UserError, match="head_epochs=1 needs a model with a layer called 'body'"):
        train(config_of(records_dir, tmp_path / "run", head_epochs=1), model_fn=pooled())
    with pytest.raises(UserError, match="epochs=0 leaves nothing to train"):
        train(config_of(records_dir, tmp_path / "run", epochs=0), model_fn=pooled())


def test_a_body_of_ones_own_is_frozen_in_the_stage_of_the_head(records_dir, tmp_path):
    def model_fn(num_classes, image_shape):
        return cloudtf.build_model("tiny", num_classes, image_shape)

    config = config_of(records_dir, tmp_path / "run", head_epochs=1)
    result = train(config, model_fn=model_fn)
    assert [row["stage"] for row in result.history] == ["head", "whole"]
    assert len(history.read(f"{tmp_path}/run/history.csv")) == 2
