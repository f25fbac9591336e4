"""Files of a run folder that have gone, been cut or been changed: noticed, named, made good."""

from __future__ import annotations

import json
import pathlib
import shutil

import numpy as np
import pytest

from cloudtf.commands import app
from cloudtf.errors import UserError
from cloudtf.evaluation import history
from cloudtf.model import saving
from cloudtf.training.config import TrainConfig
from cloudtf.training.judge import Judge
from cloudtf.training.train import train
from cloudtf.training.trainer import Trainer
from tests.small_records import records_of


@pytest.fixture(scope="module")
def data_dir(photographs_dir, tmp_path_factory):
    """Records of 16 photographs."""
    folder = tmp_path_factory.mktemp("small") / "records"
    return records_of(photographs_dir, folder, 32, num_shards=1, max_examples=16)


def config_of(data_dir, run_dir, **changes):
    given = {
        "data_dir": data_dir, "run_dir": str(run_dir), "model": "tiny", "weights": "none",
        "epochs": 1, "batch_size": 8, "tensorboard": False, "train_metric_examples": 0,
        "early_stopping_patience": 9,
    }  # fmt: skip
    return TrainConfig(**{**given, **changes})


@pytest.fixture(scope="module")
def finished(data_dir, tmp_path_factory):
    """A finished run of one epoch, which is its best."""
    run_dir = tmp_path_factory.mktemp("finished") / "run"
    train(config_of(data_dir, run_dir))
    return run_dir


@pytest.fixture
def run_dir(finished, tmp_path):
    """A copy of it."""
    return pathlib.Path(shutil.copytree(finished, tmp_path / "run"))


def scripted(monkeypatch, *scores):
    """Makes these the mean PR-AUC of the epochs that are judged from now on."""
    measure, script = Judge.measure, iter(scores)

    def measured(self, batches):
        scored, figures = measure(self, batches)
        same = dict.fromkeys(figures.pr_auc, next(script))
        return scored, type(figures)(pr_auc=same, average_precision=same)

    monkeypatch.setattr(Judge, "measure", measured)


def weights_of(path):
    return saving.load_model(str(path)).get_weights()


def damage(path, how):
    if how == "gone":
        path.unlink()
    elif how == "cut":
        path.write_bytes(path.read_bytes()[:-50])
    else:
        content = bytearray(path.read_bytes())
        content[len(content) // 2] ^= 1
        path.write_bytes(content)


# The best model.


@pytest.mark.parametrize("how", ["gone", "cut", "flipped"])
def test_a_finished_run_writes_its_best_model_again_from_the_checkpoint(
    run_dir, data_dir, how, capsys
):
    before = weights_of(run_dir / "best.keras")
    info = saving.read_info(str(run_dir / "best.keras"))
    damage(run_dir / "best.keras", how)
    assert train(config_of(data_dir, run_dir)).best == info["best"]
    said = capsys.readouterr().out
    assert "best.keras was gone or damaged, and is written again from the checkpoint." in said
    for one, other in zip(before, weights_of(run_dir / "best.keras")):
        np.testing.assert_array_equal(one, other)
    assert saving.read_info(str(run_dir / "best.keras")) == info
    train(config_of(data_dir, run_dir))
    assert "written again" not in capsys.readouterr().out


def test_a_run_that_goes_on_writes_its_best_model_again_from_the_checkpoint(
    run_dir, data_dir, monkeypatch
):
    before = weights_of(run_dir / "best.keras")
    damage(run_dir / "best.keras", "gone")
    scripted(monkeypatch, 0.0)
    assert train(config_of(data_dir, run_dir, epochs=2)).best["epoch"] == 1
    for one, other in zip(before, weights_of(run_dir / "best.keras")):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("how", ["gone", "cut"])
def test_a_best_model_that_is_lost_for_good_is_named_and_more_epochs_make_another(
    tmp_path, data_dir, monkeypatch, how, capsys
):
    run_dir = tmp_path / "run"
    scripted(monkeypatch, 0.9, 0.5, 0.6, 0.55)
    config = config_of(data_dir, run_dir, epochs=2)
    assert train(config).best["epoch"] == 1
    damage(run_dir / "best.keras", how)
    for _ in range(2):
        with pytest.raises(UserError, match=r"best.keras has gone or been damaged since it was wr"):
            train(config)
    flags = ["train", f"--flagfile={run_dir}/flags.txt"]
    assert app.main(flags) == 1
    capsys.readouterr()
    result = train(config_of(data_dir, run_dir, epochs=4))
    said = capsys.readouterr().out
    assert "best.keras, the model of epoch 1, is gone or damaged; the next epoch's" in said
    assert result.best["epoch"] == 3
    assert saving.check_whole(str(run_dir / "best.keras"))["best"]["epoch"] == 3
    assert json.loads((run_dir / "best.json").read_text())["epoch"] == 3


def test_a_best_model_that_goes_during_a_run_is_named_and_the_next_kept(
    tmp_path, data_dir, monkeypatch, capsys
):
    run_dir = tmp_path / "run"
    scripted(monkeypatch, 0.9, 0.5, 0.4)
    judge = Judge.judge

    def removing(self, number, *others):
        decision = judge(self, number, *others)
        if number == 2:
            (run_dir / "best.keras").unlink()
        return decision

    monkeypatch.setattr(Judge, "judge", removing)
    assert train(config_of(data_dir, run_dir, epochs=3)).best["epoch"] == 3
    assert "best.keras, the model of epoch 1, is gone or damaged" in capsys.readouterr().out
    assert saving.check_whole(str(run_dir / "best.keras"))["best"]["epoch"] == 3


@pytest.mark.parametrize("best_epoch", [1, 2])
def test_a_best_model_that_goes_at_the_end_is_an_error_or_written_again(
    tmp_path, data_dir, monkeypatch, best_epoch
):
    run_dir, save = tmp_path / "run", Trainer.save

    def removing(self):
        save(self)
        if self._progress.finished:
            (run_dir / "best.keras").unlink()

    monkeypatch.setattr(Trainer, "save", removing)
    scripted(monkeypatch, *((0.9, 0.5) if best_epoch == 1 else (0.5, 0.9)))
    config = config_of(data_dir, run_dir, epochs=2)
    if best_epoch == 1:
        with pytest.raises(UserError, match="best.keras has gone or been damaged since it was wr"):
            train(config)
    else:
        assert train(config).best["epoch"] == 2
        assert saving.check_whole(str(run_dir / "best.keras"))["best"]["epoch"] == 2


def test_a_damaged_best_model_that_waits_does_not_stop_a_run(run_dir, data_dir):
    """Its epoch is in the checkpoint, with its weights; and one whose epoch is not is dropped."""
    before = weights_of(run_dir / "best.keras")
    waiting = run_dir / "best.waiting.keras"
    (run_dir / "best.keras").rename(waiting)
    damage(waiting, "cut")
    train(config_of(data_dir, run_dir))
    for one, other in zip(before, weights_of(run_dir / "best.keras")):
        np.testing.assert_array_equal(one, other)
    waiting.write_bytes(b"half")
    assert len(train(config_of(data_dir, run_dir, epochs=2)).history) == 2
    assert not waiting.exists()


def test_a_best_model_without_its_checkpoints_is_not_replaced(run_dir, data_dir):
    shutil.rmtree(run_dir / "checkpoints")
    before = (run_dir / "best.keras").read_bytes()
    with pytest.raises(UserError, match="has a best.keras and no checkpoint of the run that made"):
        train(config_of(data_dir, run_dir))
    assert (run_dir / "best.keras").read_bytes() == before


# The history.


@pytest.mark.parametrize("epochs", [1, 2], ids=["finished", "going on"])
def test_a_history_that_was_removed_is_written_again(run_dir, data_dir, epochs):
    before = history.read(str(run_dir / "history.csv"))
    for name in ("history.csv", "pr_auc_history.png", "best.json"):
        (run_dir / name).unlink()
    train(config_of(data_dir, run_dir, epochs=epochs))
    rows = history.read(str(run_dir / "history.csv"))
    assert rows[:1] == before and len(rows) == epochs
    assert (run_dir / "pr_auc_history.png").exists() and (run_dir / "best.json").exists()


# What a finished run says.


def test_a_finished_run_says_what_lets_it_go_on(tmp_path, data_dir, monkeypatch, capsys):
    run_dir = tmp_path / "run"
    scripted(monkeypatch, *[0.9, 0.5, 0.5, 0.5, 0.5])
    stopped = config_of(data_dir, run_dir, epochs=3, early_stopping_patience=1)
    assert len(train(stopped).history) == 2

    def said(**changes):
        capsys.readouterr()
        rows = train(config_of(data_dir, run_dir, **changes)).history
        return len(rows), capsys.readouterr().out.splitlines()[0]

    assert said(epochs=3, early_stopping_patience=1) == (2, (
        f"The run in {run_dir} is finished: it has stopped early, 1 epoch after its best one; "
        "early_stopping_patience of more than 1 would go on with it."
    ))  # fmt: skip
    assert said(epochs=4, early_stopping_patience=1)[0] == 2, "more epochs alone do not"
    assert said(epochs=3, early_stopping_patience=2)[0] == 3
    assert said(epochs=3, early_stopping_patience=2) == (3, (
        f"The run in {run_dir} is finished: it has stopped early, 2 epochs after its best one; "
        "early_stopping_patience of more than 2 and more epochs would go on with it."
    ))  # fmt: skip
    assert said(epochs=4, early_stopping_patience=3)[0] == 4
    assert said(epochs=4, early_stopping_patience=9) == (
        4, f"The run in {run_dir} is finished; more epochs would go on with it.",
    )  # fmt: skip
    assert said(epochs=5, early_stopping_patience=9)[0] == 5
