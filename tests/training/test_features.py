"""The head fitted on features that are computed once, in whole runs."""

from __future__ import annotations

import dataclasses
import json
import os
import pathlib
import shutil

import numpy as np
import pytest
import tensorflow as tf

import cloudtf
from cloudtf.data import photograph_table, splits
from cloudtf.errors import UsageError, UserError
from cloudtf.evaluation import history
from cloudtf.evaluation.scoring import Scorer
from cloudtf.model import head, network
from cloudtf.model.logistic import RidgeLogistic
from cloudtf.training import building, features, inputs
from cloudtf.training.config import TrainConfig
from cloudtf.training.own_parts import OwnParts
from cloudtf.training.run import open_run
from cloudtf.training.stopping import Interrupted
from cloudtf.training.train import train
from cloudtf.training.workers import Workers
from tests.small_records import records_of

CLASSES = ("Fish", "Flower", "Gravel", "Sugar")


def config_of(records_dir, run_dir, **changes):
    given = {
        "data_dir": records_dir, "run_dir": str(run_dir), "model": "tiny", "epochs": 0,
        "batch_size": 8, "tensorboard": False, "train_metric_examples": 0, "strategy": "cpu",
    }  # fmt: skip
    return TrainConfig(**{**given, **changes})


@pytest.fixture(scope="module")
def weights(trained_run):
    """A body that has learnt something."""
    return f"{trained_run}/best.keras"


@pytest.fixture(scope="module")
def fitted(records_dir, weights, tmp_path_factory):
    """A run that ends with the head fitted on features: its folder, and result."""
    run_dir = tmp_path_factory.mktemp("fitted") / "run"
    return run_dir, train(config_of(records_dir, run_dir, weights=weights))


@pytest.fixture
def small_parts(monkeypatch):
    """Parts of one batch of 8 images: six for the 48 of the training split."""
    monkeypatch.setattr(features, "_BATCHES", 1)
    monkeypatch.setattr(inputs, "_LEAST_EVALUATION_BATCH", 8)


def weights_of(run_dir):
    return cloudtf.load_model(f"{run_dir}/best.keras").get_weights()


def assert_same_weights(run_dir, other_dir):
    for one, other in zip(weights_of(run_dir), weights_of(other_dir)):
        assert np.array_equal(one, other)


# What is fitted.


def test_the_head_is_the_logistic_regression_of_the_bodys_features(fitted, records_dir, weights):
    data = cloudtf.open_dataset(records_dir)
    body = head.feature_model(cloudtf.load_model(weights))
    batches = list(data.batches("train", 48))
    images, labels = (np.concatenate([batch[i] for batch in batches]) for i in range(2))
    regressions = RidgeLogistic(body.predict(images, verbose=0), labels)
    wanted = regressions.fit(regressions.choose(splits.stratified_folds(labels, 4, 0)))
    kernel, bias = weights_of(fitted[0])[-2:]
    np.testing.assert_allclose(kernel, wanted.kernel, rtol=1e-3, atol=1e-3)
    np.testing.assert_allclose(bias, wanted.bias, rtol=1e-3, atol=1e-3)


def test_the_body_stays_as_it_was(fitted, weights):
    before = cloudtf.load_model(weights).get_weights()
    for one, other in zip(before[:-2], weights_of(fitted[0])[:-2]):
        assert np.array_equal(one, other)


@pytest.mark.parametrize("views", [2, 4])
def test_flips_are_views_of_the_same_example(records_dir, weights, tmp_path, views):
    data = cloudtf.open_dataset(records_dir)
    body = head.feature_model(cloudtf.load_model(weights))
    images, labels, _ = next(iter(data.batches("train", 48)))
    flips = [images, images[:, :, ::-1], images[:, ::-1], images[:, ::-1, ::-1]][:views]
    values = np.stack([body.predict(flip, verbose=0) for flip in flips], axis=1)
    regressions = RidgeLogistic(values, labels.numpy())
    wanted = regressions.fit(regressions.choose(splits.stratified_folds(labels.numpy(), 4, 0)))
    train(config_of(records_dir, tmp_path / "run", weights=weights, feature_views=views))
    np.testing.assert_allclose(
        weights_of(tmp_path / "run")[-2], wanted.kernel, rtol=1e-3, atol=1e-3
    )


def test_with_lite0s_weights_few_photographs_are_told_apart(records_dir, tmp_path):
    """48 photographs of 64 pixels with coloured discs, of which 12 others are judged."""
    run_dir = tmp_path / "run"
    result = train(config_of(records_dir, run_dir, model="efficientnetlite0"))
    assert result.history[0]["loss"] < 0.3
    assert result.best["pr_auc"]["mean"] > 0.8


# A run that ends there.


def test_a_run_without_epochs_ends_with_all_files(fitted, records_dir):
    run_dir, result = fitted
    assert set(os.listdir(run_dir)) == {
        ".lock", "best.json", "best.keras", "checkpoints", "flags.txt", "history.csv",
        "pr_auc_history.png",
    }  # fmt: skip
    assert os.listdir(run_dir / "checkpoints") == ["step-000000000-finished"]
    (row,) = history.read(f"{run_dir}/history.csv")
    assert (row["epoch"], row["stage"], row["learning_rate"]) == (1, "features", 0.0)
    assert 0 < row["loss"] < 0.7 and row["images_per_second"] > 0
    best = json.loads(pathlib.Path(run_dir, "best.json").read_text())
    assert (best["epoch"], best["stage"]) == (1, "features")
    assert best["pr_auc"]["mean"] == row["val_pr_auc_mean"] == result.best["pr_auc"]["mean"]
    assert row["val_pr_auc_mean"] > 0.6


def test_the_commands_take_its_best_model(fitted, records_dir, photographs_dir, tmp_path):
    run_dir, result = fitted
    metrics = cloudtf.evaluate(
        cloudtf.EvaluateConfig(
            run_dir=str(run_dir), data_dir=records_dir, output_dir=str(tmp_path / "scores")
        )
    )
    assert metrics["pr_auc"]["mean"] == pytest.approx(result.best["pr_auc"]["mean"], abs=1e-6)


def test_a_finished_run_says_so_and_goes_on_with_epochs(records_dir, weights, tmp_path, capsys):
    config = config_of(records_dir, tmp_path / "run", weights=weights)
    first = train(config)
    capsys.readouterr()
    assert train(config).history == first.history
    assert "is finished; more epochs would go on with it." in capsys.readouterr().out
    longer = train(config_of(records_dir, tmp_path / "run", weights=weights, epochs=1))
    assert [row["stage"] for row in longer.history] == ["features", "whole"]
    assert longer.history[0] == first.history[0]


def test_a_lost_best_model_is_written_again(records_dir, weights, tmp_path):
    run_dir = tmp_path / "run"
    config = config_of(records_dir, run_dir, weights=weights)
    train(config)
    before = weights_of(run_dir)
    os.remove(run_dir / "best.keras")
    train(config)
    assert all(np.array_equal(*pair) for pair in zip(before, weights_of(run_dir)))


def test_its_model_stays_the_best_where_no_epoch_beats_it(records_dir, weights, tmp_path):
    run_dir = tmp_path / "run"
    ruined = {"epochs": 1, "learning_rate": 10.0}
    result = train(config_of(records_dir, run_dir, weights=weights, **ruined))
    assert result.history[1]["val_pr_auc_mean"] < result.history[0]["val_pr_auc_mean"]
    assert result.best["stage"] == "features"


@pytest.mark.parametrize("frozen", [None, False])
def test_batch_norm_stays_as_the_head_knows_it_unless_asked(records_dir, weights, tmp_path, frozen):
    train(config_of(records_dir, tmp_path / "run", weights=weights, head="features"))
    before = cloudtf.load_model(f"{tmp_path}/run/best.keras").get_layer("body")
    changes = {"weights": weights, "freeze_batch_norm": frozen, "epochs": 1}
    networks = []

    class Keep(tf.keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            networks.append({w.name: w.numpy() for w in self.model.get_layer("body").weights})

    train(config_of(records_dir, tmp_path / "other", **changes), callbacks=[Keep()])
    for weight in before.weights:
        same = np.array_equal(weight.numpy(), networks[-1][weight.name])
        assert same == ("_bn/" in weight.name and frozen is None), weight.name


# Interruptions.


def test_a_run_that_dies_between_parts_ends_with_the_same_model(
    records_dir, weights, tmp_path, monkeypatch, small_parts
):
    train(config_of(records_dir, tmp_path / "whole", weights=weights))
    write, written = features._write_part, []

    def dies_after_two(run, number, *rest):
        if len(written) == 2:
            raise MemoryError
        written.append(number)
        write(run, number, *rest)

    run_dir = tmp_path / "run"
    with monkeypatch.context() as patch:
        patch.setattr(features, "_write_part", dies_after_two)
        with pytest.raises(MemoryError):
            train(config_of(records_dir, run_dir, weights=weights))
    assert sorted(os.listdir(run_dir / "checkpoints" / "features")) == ["000000.npz", "000001.npz"]
    # A part that is damaged is computed again.
    (run_dir / "checkpoints" / "features" / "000001.npz").write_bytes(b"PK")
    seen = []
    monkeypatch.setattr(
        features, "_write_part", lambda run, n, *rest: (seen.append(n), write(run, n, *rest))
    )
    train(config_of(records_dir, run_dir, weights=weights))
    assert seen == [1, 2, 3, 4, 5]
    assert_same_weights(run_dir, tmp_path / "whole")


def test_a_worker_is_there_where_the_chief_has_all_features_already(
    records_dir, weights, tmp_path, monkeypatch
):
    """After a kill between the last part and the checkpoint."""

    class Second(Workers):
        is_chief, said = False, iter((1, 0))

        def tell(self, value):
            return np.array([[next(self.said)], [value]])

    config = config_of(records_dir, tmp_path / "run", weights=weights, feature_views=2)
    with open_run(config, OwnParts()) as run:
        model = building.run_model(run, restored=False)
        whole = features.compute(run, model)
        assert os.listdir(tmp_path / "run" / "checkpoints" / "features") == ["000000.npz"]
        found = features.compute(dataclasses.replace(run, workers=Second(run.strategy)), model)
    for rows, of_all in zip(features._columns(found), features._columns(whole)):
        assert (len(rows), rows.shape[1:], rows.dtype) == (0, of_all.shape[1:], of_all.dtype)


def test_a_worker_without_examples_has_labels_of_all_classes():
    """What workers have is put together, which asks for equal widths."""
    model = head.feature_model(network.build_model("tiny", 4, (32, 32)))
    found = Scorer(features._Views(model, 2)).dataset([], num_classes=4)
    assert (found.labels.shape, found.scores.shape) == ((0, 4), (0, 48))


def test_a_time_limit_shorter_than_the_features_gets_there(
    records_dir, weights, tmp_path, small_parts
):
    run_dir = tmp_path / "run"
    config = config_of(records_dir, run_dir, weights=weights, max_minutes=0.0)
    for done in range(1, 6):
        with pytest.raises(Interrupted):
            train(config)
        assert len(os.listdir(run_dir / "checkpoints" / "features")) == done
    for _ in range(2):  # The last part, and then the end.
        try:
            result = train(config)
        except Interrupted:
            continue
    assert len(result.history) == 1
    train(config_of(records_dir, tmp_path / "whole", weights=weights))
    assert_same_weights(run_dir, tmp_path / "whole")


def test_features_of_another_network_are_not_taken(
    records_dir, weights, tmp_path, monkeypatch, small_parts
):
    run_dir = tmp_path / "run"
    other = network.build_model("tiny", 4, (64, 64))
    other.save_weights(str(tmp_path / "other.weights.h5"))
    write = features._write_part

    def dies_after_one(run, number, *rest):
        write(run, number, *rest)
        raise MemoryError

    with monkeypatch.context() as patch:
        patch.setattr(features, "_write_part", dies_after_one)
        with pytest.raises(MemoryError):
            train(config_of(records_dir, run_dir, weights=weights))
    seen = []
    monkeypatch.setattr(features, "_write_part", lambda run, n, *rest: seen.append(n))
    body = other.get_layer("body")
    body.save_weights(str(tmp_path / "body.weights.h5"))
    train(config_of(records_dir, run_dir, weights=str(tmp_path / "body.weights.h5")))
    assert seen == [0, 1, 2, 3, 4, 5]


# Copies, large and small sets.


def folds_of(monkeypatch):
    """What cross-validation is given, as it comes."""
    given, choose = [], RidgeLogistic.choose

    def chosen(self, folds):
        given.append(folds)
        return choose(self, folds)

    monkeypatch.setattr(RidgeLogistic, "choose", chosen)
    return given


@pytest.mark.parametrize("known_by", ["near_duplicates", "group"])
def test_photographs_that_belong_together_are_in_one_fold(
    records_dir, weights, tmp_path, monkeypatch, known_by
):
    copied = str(tmp_path / "records")
    shutil.copytree(records_dir, copied)
    names = list(cloudtf.open_dataset(copied).names("train"))
    path = pathlib.Path(copied, "dataset.json")
    if known_by == "near_duplicates":
        groups = [names[first : first + 3] for first in range(0, 30, 3)]
        path.write_text(json.dumps({**json.loads(path.read_text()), "near_duplicates": groups}))
    else:
        of = [str(number // 3) if number < 30 else "" for number in range(len(names))]
        table = photograph_table.text(names, ["train"] * len(names), of, {})
        path.with_name("photographs.csv").write_text(table)
    given = folds_of(monkeypatch)
    train(config_of(copied, tmp_path / "run", weights=weights))
    (folds,) = given
    assert all(len(set(folds[first : first + 3])) == 1 for first in range(0, 30, 3))
    assert set(folds) == {0, 1, 2, 3} and np.bincount(folds).min() >= 8


def test_of_too_few_photographs_no_strength_is_chosen(
    photographs_dir, weights, tmp_path, monkeypatch
):
    records = records_of(
        photographs_dir, tmp_path / "records", 64, max_examples=9, val_fraction=0.3
    )
    given = folds_of(monkeypatch)
    result = train(config_of(records, tmp_path / "run", weights=weights))
    assert len(result.history) == 1 and not given


def test_of_a_large_set_the_first_examples_are_taken(
    records_dir, weights, tmp_path, monkeypatch, capsys
):
    monkeypatch.setattr(features, "_MOST_NUMBERS", 24 * 20)
    result = train(config_of(records_dir, tmp_path / "run", weights=weights))
    assert "of the first 20 training examples" in capsys.readouterr().out
    assert len(result.history) == 1


def test_features_that_are_not_finite_are_one_sentence(records_dir, weights, tmp_path):
    body = cloudtf.load_model(weights).get_layer("body")
    for name in ("down_bn", "block_bn"):  # Two numbers that float32 has, and whose sum it has not.
        body.get_layer(name).beta.assign(tf.fill([24], 3e38))
    body.save_weights(str(tmp_path / "large.weights.h5"))
    with pytest.raises(UserError, match="features that the body gives are not finite"):
        train(config_of(records_dir, tmp_path / "run", weights=str(tmp_path / "large.weights.h5")))


# Settings.


def test_what_the_settings_mean(weights):
    def settings(**changes):
        return TrainConfig(data_dir="d", run_dir="r", **changes)

    assert settings().stage_epochs == (1, 20) and settings().fits_features
    assert settings(weights="none").stage_epochs == (0, 20)
    assert settings(head="epochs").stage_epochs == (3, 20)
    assert settings(head_epochs=2).stage_epochs == (2, 20)
    assert settings(head_epochs=0).stage_epochs == (0, 20)
    assert settings(epochs=0).stage_epochs == (1, 0)
    for changes, sentence in (
        ({"head": "features", "head_epochs": 2}, "head_epochs=2 is of head='epochs'"),
        ({"head": "features", "weights": "none"}, "needs a body that has learnt something"),
        ({"freeze_batch_norm": True, "weights": "none"}, "freeze_batch_norm=True is for a body"),
        ({"feature_views": 3}, "feature_views=3 must be 1, 2 or 4"),
        ({"feature_views": 2, "head": "epochs"}, "feature_views=2 is of head='features'"),
    ):
        with pytest.raises(UsageError, match=sentence):
            settings(**changes)


def test_a_run_goes_on_with_the_head_that_it_began_with(records_dir, weights, tmp_path):
    run_dir = tmp_path / "run"
    train(config_of(records_dir, run_dir, weights=weights))
    for changes, sentence in (
        ({"head": "epochs"}, "head='epochs' differs from the None"),
        ({"feature_views": 2}, "feature_views=2 differs from the 1"),
    ):
        with pytest.raises(UserError, match=sentence):
            train(config_of(records_dir, run_dir, weights=weights, epochs=1, **changes))


def test_a_run_of_before_there_was_a_choice_trains_its_head_in_epochs(
    records_dir, weights, tmp_path
):
    run_dir = tmp_path / "run"
    train(config_of(records_dir, run_dir, weights=weights, head="epochs"))
    (path,) = pathlib.Path(run_dir, "checkpoints").glob("*/state.json")
    state = json.loads(path.read_text())
    for name in ("head", "feature_views"):
        del state["settings"][name]
    del state["sha256"]
    path.write_text(json.dumps(state))
    with pytest.raises(UserError, match="began with head='epochs'; give that to go on"):
        train(config_of(records_dir, run_dir, weights=weights, epochs=1))
    result = train(config_of(records_dir, run_dir, weights=weights, epochs=1, head="epochs"))
    assert [row["stage"] for row in result.history] == ["head", "head", "head", "whole"]


def test_a_network_of_ones_own_has_it_by_request(records_dir, tmp_path):
    def colours(num_classes, image_shape):
        image = tf.keras.Input((*image_shape, 3), dtype="uint8")
        x = tf.keras.layers.Rescaling(1 / 255)(image)
        x = tf.keras.layers.AveragePooling2D(16)(x)
        x = tf.keras.layers.Flatten()(x)
        return tf.keras.Model(image, tf.keras.layers.Dense(num_classes, "sigmoid")(x), name="own")

    result = train(
        config_of(records_dir, tmp_path / "run", head="features", epochs=1), model_fn=colours
    )
    assert [row["stage"] for row in result.history] == ["features", "whole"]
    plain = train(config_of(records_dir, tmp_path / "plain", epochs=1), model_fn=colours)
    assert [row["stage"] for row in plain.history] == ["whole"]
