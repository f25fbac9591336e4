"""The average of several epochs: which are taken, what becomes of batch norm, what is kept."""

from __future__ import annotations

import types

import numpy as np
import pytest
import tensorflow as tf

from cloudtf.errors import UsageError, UserError
from cloudtf.training import batch_norm, soup
from cloudtf.training.config import TrainConfig


def make_model():
    return tf.keras.Sequential(
        [
            tf.keras.Input((4, 4, 3), dtype="uint8"),
            tf.keras.layers.Rescaling(1 / 255),
            tf.keras.layers.BatchNormalization(momentum=0.5, name="norm"),
            tf.keras.layers.GlobalAveragePooling2D(),
            tf.keras.layers.Dense(2, activation="sigmoid", name="head"),
        ]
    )


class Scripted:
    """A judge that gives the next of some scores, and keeps what is better than `to_beat`."""

    def __init__(self, model, rows, scores, to_beat=0.0):
        self.rows, self.kept = rows, None
        self._model, self._scores, self._to_beat = model, list(scores), to_beat

    def validated(self):
        return None, types.SimpleNamespace(mean_pr_auc=self._scores.pop(0))

    def keep_if_better(self, number, stage, scored, figures):
        if figures.mean_pr_auc <= self._to_beat:
            return False
        self.kept = number, stage, figures.mean_pr_auc, self._model.get_weights()
        return True


IMAGES = np.random.default_rng(0).integers(0, 256, (5, 2, 4, 4, 3)).astype(np.uint8)


@pytest.fixture
def cooked(tmp_path, monkeypatch):
    """(soup=, scores of the epochs, scores of the averages) -> the judge, names of files."""

    def cook(setting, epoch_scores, average_scores, to_beat=0.0, stages=None):
        model = make_model()
        config = TrainConfig(data_dir="d", run_dir=str(tmp_path), soup=setting, batch_size=2)
        run = types.SimpleNamespace(
            config=config,
            output_dir=str(tmp_path),
            steps_per_epoch=len(IMAGES),
            strategy=tf.distribute.get_strategy(),
            workers=types.SimpleNamespace(chief_says=bool),
        )
        monkeypatch.setattr(soup.inputs, "plain_batches", lambda run: iter(IMAGES[:, None]))
        cooking, rows = soup.Soup(run, model), []
        for epoch, score in enumerate(epoch_scores, start=1):
            model.set_weights([np.full_like(w, 2.0**epoch) for w in model.get_weights()])
            stage = stages[epoch - 1] if stages else "whole"
            rows.append({"epoch": epoch, "stage": stage, "val_pr_auc_mean": score})
            cooking.add(rows)
            cooking.drop(rows)
        judge = Scripted(model, rows, average_scores, to_beat)
        before = model.get_weights()
        cooking.finish(judge)
        for one, other in zip(before, model.get_weights()):
            np.testing.assert_array_equal(one, other)
        assert not judge._scores
        return judge, sorted(path.name for path in (tmp_path / "soup").iterdir())

    return cook


def head_of(judge):
    return judge.kept[3][-2][0, 0]


def test_the_last_epochs_are_averaged_and_batch_norm_sees_images_anew(cooked):
    judge, names = cooked("3", [0.9, 0.5, 0.6, 0.7], [0.8])
    assert names == ["epoch-00002.npz", "epoch-00003.npz", "epoch-00004.npz"]
    number, stage, score, weights = judge.kept
    assert (number, stage, score) == (4, "soup", 0.8)
    assert head_of(judge) == pytest.approx((4 + 8 + 16) / 3)
    scaled = IMAGES.reshape(len(IMAGES), -1, 3) / 255
    np.testing.assert_allclose(weights[2], scaled.mean(axis=1).mean(axis=0), rtol=1e-5)
    np.testing.assert_allclose(weights[3], scaled.var(axis=1).mean(axis=0), rtol=0.05)


def test_a_greedy_average_takes_from_the_best_on_what_does_not_make_it_worse(cooked):
    # By score: epochs 5, 2, 4, 3 and 6; epoch 1 is not among the five.
    # The best alone, and then with each: 2 is taken, 4 is not, 3 is, 6 is not.
    judge, names = cooked(
        "greedy", [0.1, 0.8, 0.6, 0.7, 0.9, 0.5], [0.9, 0.92, 0.91, 0.92, 0.8], to_beat=0.9
    )
    assert names == [f"epoch-0000{epoch}.npz" for epoch in (2, 3, 4, 5, 6)]
    assert judge.kept[:3] == (5, "soup", 0.92)
    assert head_of(judge) == pytest.approx((32 + 4 + 8) / 3)


def test_what_is_not_better_is_not_kept(cooked, capsys):
    judge, _ = cooked("2", [0.9, 0.5], [0.85], to_beat=0.9)
    assert judge.kept is None
    assert "The average of epochs 1, 2 is not better (PR-AUC val 0.850)" in capsys.readouterr().out
    judge, _ = cooked("greedy", [0.9, 0.5], [0.9, 0.85])
    assert judge.kept is None
    assert "No average of epochs is better than epoch 1 alone." in capsys.readouterr().out


def test_only_epochs_of_the_last_stage_are_averaged(cooked):
    stages = ["head", "head", "whole", "whole"]
    judge, names = cooked("greedy", [0.9, 0.8, 0.5, 0.6], [0.6, 0.7], stages=stages)
    assert names == ["epoch-00003.npz", "epoch-00004.npz"]
    assert head_of(judge) == pytest.approx((8 + 16) / 2)


def test_one_epoch_is_no_average(cooked):
    judge, _ = cooked("2", [0.9], [])
    assert judge.kept is None


def test_a_damaged_file_is_named(cooked, tmp_path, monkeypatch):
    finish = soup.Soup.finish

    def damaged(self, judge):
        path = tmp_path / "soup" / "epoch-00001.npz"
        path.write_bytes(path.read_bytes()[:-30])
        finish(self, judge)

    monkeypatch.setattr(soup.Soup, "finish", damaged)
    with pytest.raises(UserError, match=r"epoch-00001\.npz, of which an average is to be made"):
        cooked("2", [0.9, 0.5], [])


def test_reestimation_leaves_the_layers_own_momentum():
    model = make_model()
    batches = iter(IMAGES[:, None])
    soup.reestimate(tf.distribute.get_strategy(), model, batches, 3, seed=0)
    norm = model.get_layer("norm")
    assert norm.momentum == 0.5 and batch_norm.layers_of(model) == [norm]
    expected = IMAGES[:3].reshape(3, -1, 3).mean(axis=(0, 1)) / 255
    np.testing.assert_allclose(norm.moving_mean, expected, rtol=1e-5)
    norm.trainable = False
    soup.reestimate(tf.distribute.get_strategy(), model, batches, 1, seed=0)
    np.testing.assert_allclose(norm.moving_mean, expected, rtol=1e-5)


@pytest.mark.parametrize("value", ["1", "0", "all", "100", "2.5"])
def test_a_soup_is_a_number_or_greedy(value):
    with pytest.raises(UsageError, match=f"soup='{value}' must be a number of epochs"):
        TrainConfig(data_dir="d", run_dir="r", soup=value)
