"""A run of all folds: resumable over all, every photograph scored once by the model without it."""

from __future__ import annotations

import os
import pathlib

import numpy as np
import pytest
import tensorflow as tf

import cloudtf
from cloudtf import csv_files, files
from cloudtf.commands import app
from cloudtf.errors import UserError
from cloudtf.evaluation.evaluate import EvaluateConfig, evaluate
from cloudtf.evaluation.predict import PredictConfig, predict
from cloudtf.submission import predictions
from cloudtf.training.config import TrainConfig
from tests.small_records import records_of

FLAGS = (
    "--model=tiny", "--weights=none", "--head_epochs=0", "--epochs=1", "--batch_size=8",
    "--learning_rate=0.02", "--train_metric_examples=0", "--notensorboard", "--strategy=cpu",
)  # fmt: skip


class Crash(Exception):
    pass


class CrashIn(tf.keras.callbacks.Callback):
    """Ends the process of a run, as it were, before the first step of the second fold."""

    def __init__(self):
        super().__init__()
        self.begun = 0

    def on_train_begin(self, logs=None):
        self.begun += 1
        if self.begun == 2:
            raise Crash


@pytest.fixture(scope="module")
def fold_records(photographs_dir, tmp_path_factory):
    folder = tmp_path_factory.mktemp("folds") / "set"
    return records_of(photographs_dir, folder, 32, folds=3)


@pytest.fixture(scope="module")
def run(fold_records, tmp_path_factory):
    """The folder of a run of all folds, made by the command."""
    folder = str(tmp_path_factory.mktemp("runs") / "all")
    arguments = [*FLAGS, "--fold=all", f"--data_dir={fold_records}", f"--run_dir={folder}"]
    assert app.main(["train", *arguments]) == 0
    return folder


def test_every_photograph_is_scored_once_by_the_model_that_has_not_seen_it(
    run, fold_records, photographs_dir, tmp_path
):
    names, scores, classes = predictions.read(f"{run}/predictions_oof.csv")
    assert sorted(names) == sorted(os.listdir(f"{photographs_dir}/images"))
    found = dict(zip(names, scores))
    for number in range(3):
        output = str(tmp_path / f"{number}.csv")
        split = f"fold{number}"
        model = f"{run}/{split}"
        predict(PredictConfig(model=model, output=output, data_dir=fold_records, split=split))
        own_names, own_scores, _ = predictions.read(output)
        assert len(own_names) == 20
        for name, row in zip(own_names, own_scores):
            np.testing.assert_array_equal(found[name], row)
        assert predictions.read(f"{model}/predictions_{split}.csv")[0] == own_names
    header, rows = csv_files.read(f"{run}/predictions_oof.csv")
    assert header == ["Image", *classes, *(f"truth:{name}" for name in classes)]
    _, given = csv_files.read(f"{photographs_dir}/labels.csv")
    truth = {cells[0]: cells[1:] for _, cells in given}
    assert {cells[0]: cells[5:] for _, cells in rows} == truth


def test_the_scores_are_of_each_fold_of_their_spread_and_of_all(run, capsys):
    metrics = files.read_json(f"{run}/metrics.json")
    assert (metrics["split"], metrics["examples"]) == ("oof", 60)
    best = [files.read_json(f"{run}/fold{k}/best.json")["pr_auc"] for k in range(3)]
    for name in ("Fish", "mean"):
        values = [one[name] for one in best]
        assert [metrics["folds"][f"fold{k}"]["pr_auc"][name] for k in range(3)] == pytest.approx(
            values, abs=1e-9
        )
        assert metrics["folds_mean"]["pr_auc"][name] == pytest.approx(np.mean(values))
        assert metrics["folds_spread"]["pr_auc"][name] == pytest.approx(np.std(values, ddof=1))
    assert 0 < metrics["pr_auc"]["mean"] < 1
    chosen = files.read_json(f"{run}/thresholds.json")
    assert chosen["from"]["split"] == "oof" and chosen["from"]["examples"] == 60
    assert list(chosen["from"]["folds"]) == ["fold0", "fold1", "fold2"]
    assert files.read_json(f"{run}/calibration.json")["from"] == chosen["from"]
    assert (metrics["model"], metrics["data"]) == (run, chosen["from"]["data"])
    for measure, by_class in metrics["intervals"].items():
        low, high = by_class["mean"]
        assert low <= metrics[measure]["mean"] <= high
    assert "activation map of" in files.read_text(f"{run}/report.html")
    assert "--fold=all" in files.read_text(f"{run}/flags.txt").splitlines()


def test_a_run_that_died_goes_on_where_it_was_and_comes_to_the_same_scores(
    run, fold_records, tmp_path
):
    folder = str(tmp_path / "all")
    config = app.parse(
        TrainConfig, [*FLAGS, "--fold=all", f"--data_dir={fold_records}", f"--run_dir={folder}"]
    )
    with pytest.raises(Crash):
        cloudtf.train(config, callbacks=[CrashIn()])
    assert not files.exists(f"{folder}/metrics.json")
    first = pathlib.Path(folder, "fold0", "best.keras")
    written = first.stat().st_mtime_ns
    said = []
    with cloudtf.reporting_to(said.append):
        result = cloudtf.train(config)
    assert first.stat().st_mtime_ns == written, "a finished fold is passed over"
    assert sum("is finished" in line for line in said) == 1
    assert [one.run_dir for one in result.folds] == [f"{folder}/fold{k}" for k in range(3)]
    assert len(result.history) == 3
    # To the bit with --deterministic: test_resume.py.
    names, scores, _ = predictions.read(f"{folder}/predictions_oof.csv")
    expected_names, expected, _ = predictions.read(f"{run}/predictions_oof.csv")
    assert names == expected_names
    np.testing.assert_allclose(scores, expected, rtol=0, atol=1e-5)
    assert result.best["pr_auc"] == files.read_json(f"{folder}/metrics.json")["pr_auc"]


def test_it_is_judged_again_with_other_targets_by_evaluate(run, fold_records, tmp_path, capsys):
    config = {"run_dir": run, "data_dir": fold_records}
    out = str(tmp_path)
    metrics = evaluate(EvaluateConfig(**config, output_dir=out, recall_target=0.6))
    assert metrics["pr_auc"] == files.read_json(f"{run}/metrics.json")["pr_auc"]
    chosen = files.read_json(f"{out}/thresholds.json")["classes"]["Fish"]["recall"]
    assert chosen["target"] == 0.6 and chosen["recall"] >= 0.6
    with pytest.raises(UserError, match="has a model a fold, judged together on all folds; leave"):
        evaluate(EvaluateConfig(**config, split="fold0"))
    arguments = ["evaluate", f"--run_dir={run}", f"--data_dir={fold_records}"]
    assert app.main([*arguments, f"--output_dir={out}"]) == 0
    assert "60 examples of oof" in capsys.readouterr().out


def test_a_run_that_is_not_through_or_of_other_records_is_not_judged(
    run, fold_records, records_dir, tmp_path
):
    part = tmp_path / "part"
    (part / "fold0").mkdir(parents=True)
    (part / "fold0" / "best.keras").write_bytes(files.read_bytes(f"{run}/fold0/best.keras"))
    with pytest.raises(UserError, match=f"{part} has no model of fold1 of .* yet; go on with"):
        evaluate(EvaluateConfig(run_dir=str(part), data_dir=fold_records))
    with pytest.raises(UserError, match="have no folds, and .* has a model a fold"):
        evaluate(EvaluateConfig(run_dir=str(part), data_dir=records_dir))
    for number in (1, 2):  # Another fold's model, which was trained on this one.
        (part / f"fold{number}").mkdir()
        model = files.read_bytes(f"{run}/fold0/best.keras")
        (part / f"fold{number}" / "best.keras").write_bytes(model)
    with pytest.raises(
        UserError, match="fold1/best.keras was validated on 'fold0', and so perhaps"
    ):
        evaluate(EvaluateConfig(run_dir=str(part), data_dir=fold_records))


def test_what_cannot_be_is_refused_before_the_first_step(
    run, fold_records, records_dir, trained_run, tmp_path, capsys
):
    given = {"run_dir": str(tmp_path / "run"), "model": "tiny", "weights": "none", "fold": "all"}
    with pytest.raises(
        UserError, match="fold='all' needs records with folds, and .* has none; con"
    ):
        cloudtf.train(TrainConfig(data_dir=records_dir, **given))
    with pytest.raises(UserError, match="fold='all' is for one process; .* fold=0 and so on"):
        cloudtf.train(TrainConfig(data_dir=fold_records, strategy="multi_worker", **given))
    with pytest.raises(UserError, match="is the folder of a run of one model"):
        cloudtf.train(TrainConfig(data_dir=fold_records, **{**given, "run_dir": trained_run}))
    assert not (tmp_path / "run").exists()
    kept = tf.keras.callbacks.ModelCheckpoint("mine.keras")
    with pytest.raises(UserError, match="has none; con"):
        cloudtf.train(TrainConfig(data_dir=records_dir, **given), callbacks=[kept])
    assert "the ModelCheckpoint of mine.keras is one for all folds" in capsys.readouterr().out
    arguments = ["train", f"--data_dir={fold_records}", f"--run_dir={tmp_path}/run"]
    assert app.main([*arguments, "--fold=some"]) == 2
    assert "--fold=some" in capsys.readouterr().err
    assert app.main([*arguments, "--fold=-1"]) == 2
    with pytest.raises(UserError, match="fold='some' must be of type int"):
        TrainConfig(data_dir="d", run_dir="r", fold="some")
