"""Several models as one: the mean of their scores or ranks, taken by every later command."""

from __future__ import annotations

import dataclasses
import pathlib
import re
import shutil

import cv2
import numpy as np
import pytest
import tensorflow as tf

import cloudtf
from cloudtf import files
from cloudtf.commands import app
from cloudtf.errors import UserError
from cloudtf.evaluation import activation_maps, pr_auc
from cloudtf.evaluation.ensemble import EnsembleConfig, ensemble
from cloudtf.evaluation.evaluate import EvaluateConfig, evaluate
from cloudtf.evaluation.preview import PreviewConfig, preview
from cloudtf.model import ensemble as one_network
from cloudtf.model import network, saving
from cloudtf.pipeline.dataset import open_dataset
from cloudtf.submission import predictions
from tests.small_records import records_of

CLASSES = ["Fish", "Flower", "Gravel", "Sugar"]
INFO = {"classes": CLASSES, "image_height": 32, "image_width": 32, "model": "tiny"}


def save(path, seed, size=32, **info):
    """A network with random weights that answers differently to different images."""
    tf.keras.utils.set_random_seed(seed)
    model = network.build_model("tiny", 4, (size, size))
    head = model.get_layer("probabilities")
    kernel = np.random.default_rng(seed).normal(0, 8, head.kernel.shape)
    head.set_weights([kernel, np.zeros(4)])
    changed = {"image_height": size, "image_width": size, **info}
    saving.save_model(model, str(path), {**INFO, **changed})


@pytest.fixture(scope="module")
def fold_records(photographs_dir, tmp_path_factory):
    folder = tmp_path_factory.mktemp("folds") / "set"
    return records_of(photographs_dir, folder, 32, folds=2)


@pytest.fixture(scope="module")
def fold_runs(fold_records, tmp_path_factory):
    """Two folders like those of runs of both folds, judged out of fold."""
    folders = []
    for seed in (1, 2):
        folder = tmp_path_factory.mktemp("run")
        for fold in range(2):
            (folder / f"fold{fold}").mkdir()
            save(folder / f"fold{fold}" / "best.keras", 10 * seed + fold, val_split=f"fold{fold}")
        evaluate(EvaluateConfig(run_dir=str(folder), data_dir=fold_records))
        folders.append(str(folder))
    return folders


@pytest.fixture(scope="module")
def images(fold_records):
    return next(iter(open_dataset(fold_records).batches("fold0", 30)))[0].numpy()


def out_of_fold(run):
    names, scores, _ = predictions.read(f"{run}/predictions_oof.csv")
    labels = predictions.read_truth(f"{run}/predictions_oof.csv")
    order = np.argsort(names)
    return [names[i] for i in order], scores[order], labels[order]


def test_the_models_of_all_folds_are_one_model_that_gives_their_mean(fold_runs, images, tmp_path):
    made = ensemble(EnsembleConfig(runs=(fold_runs[0],), output_dir=str(tmp_path / "one")))
    assert made.members == tuple(f"{fold_runs[0]}/fold{k}/best.keras" for k in range(2))
    scores = [saving.load_model(path)(images).numpy() for path in made.members]
    found = saving.load_model(made.path)(images).numpy()
    np.testing.assert_allclose(found, np.mean(scores, axis=0), rtol=0, atol=1e-6)
    assert np.abs(scores[0] - scores[1]).max() > 0.1


def test_its_thresholds_and_scores_are_out_of_fold(fold_runs, fold_records, tmp_path):
    """A photograph counts with the mean of the models that have not seen it: one of each run."""
    folder = str(tmp_path / "both")
    made = ensemble(
        EnsembleConfig(
            runs=tuple(fold_runs), output_dir=folder, recall_target=0.7, confidence=0.8,
            beta=2, costs="5:1",
        )
    )  # fmt: skip
    assert len(made.members) == 4
    (names, first, labels), (_, second, _) = (out_of_fold(run) for run in fold_runs)
    found_names, found, found_labels = out_of_fold(folder)
    assert found_names == names and len(names) == 60
    np.testing.assert_allclose(found, (first + second) / 2, rtol=0, atol=1e-12)
    np.testing.assert_array_equal(found_labels, labels)
    expected = pr_auc.score(labels, (first + second) / 2, CLASSES)
    assert made.metrics["pr_auc"]["mean"] == pytest.approx(expected.mean_pr_auc)
    chosen = files.read_json(f"{folder}/thresholds.json")
    assert chosen["from"]["split"] == "oof" and len(chosen["from"]["folds"]) == 4
    fish = chosen["classes"]["Fish"]["recall"]
    assert fish["target"] == 0.7 and chosen["from"]["confidence"] == 0.8
    assert chosen["classes"]["Fish"]["f_beta"]["beta"] == 2
    assert chosen["classes"]["Fish"]["cost"]["miss"] == 5
    present = found[:, 0] >= fish["threshold"]
    assert fish["recall"] == pytest.approx(
        (present & (labels[:, 0] > 0)).sum() / labels[:, 0].sum()
    )


def test_the_report_shows_where_the_models_look_that_have_not_seen_the_photograph(
    fold_runs, fold_records, tmp_path, monkeypatch
):
    looked = []
    maps = activation_maps.activation_maps

    def noted(model, images, classes):
        looked.append((saving.weights_sha256(model), len(images)))
        return maps(model, images, classes)

    monkeypatch.setattr(activation_maps, "activation_maps", noted)
    folder = str(tmp_path / "both")
    ensemble(EnsembleConfig(runs=tuple(fold_runs), output_dir=folder))
    page = files.read_text(f"{folder}/report.html")
    assert "activation map of" in page and "Classes and splits" in page
    assert sum(count for _, count in looked) == 2 * 18, "two of the four models an image"
    fold0, fold1 = (
        {saving.weights_sha256(saving.load_model(f"{run}/fold{k}/best.keras")) for run in fold_runs}
        for k in range(2)
    )
    assert {weights for weights, _ in looked} == fold0 | fold1
    shutil.move(fold_records, f"{fold_records}.moved")
    try:
        ensemble(EnsembleConfig(runs=tuple(fold_runs), output_dir=folder))
    finally:
        shutil.move(f"{fold_records}.moved", fold_records)
    assert "activation map of" not in files.read_text(f"{folder}/report.html")


def test_predict_and_export_take_it_with_its_thresholds(
    fold_runs, fold_records, images, tmp_path, capsys
):
    folder, table = str(tmp_path / "one"), str(tmp_path / "table.csv")
    arguments = [*fold_runs, f"--output_dir={folder}"]
    assert app.main(["ensemble", *arguments]) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "60 examples of oof" in said and f"Open {folder}/report.html" in said
    assert "how surely each keeps its target on new images" in said, "as evaluate prints it"
    model = saving.load_model(f"{folder}/best.keras")
    given = [f"--model={folder}", f"--data_dir={fold_records}", "--split=fold0"]
    assert app.main(["predict", *given, f"--output={table}"]) == 0
    np.testing.assert_allclose(predictions.read(table)[1], model(images), rtol=0, atol=1e-6)
    lite = str(tmp_path / "model.tflite")
    assert (
        app.main(
            ["export", "--noprove", f"--model={folder}", f"--output={lite}", "--format=tflite"]
        )
        == 0
    )
    outputs = tf.lite.Interpreter(lite).get_signature_runner("images")(images=images)
    np.testing.assert_allclose(outputs["probabilities"], model(images), rtol=0, atol=1e-5)
    assert outputs["present"].dtype == bool and outputs["present"].any()


def test_judging_it_needs_photographs_that_no_member_has_seen(
    fold_runs, fold_records, tmp_path, capsys
):
    folder = str(tmp_path / "one")
    ensemble(EnsembleConfig(runs=(fold_runs[0],), output_dir=folder))
    with pytest.raises(UserError, match="it has learnt from all of them; name a split of other"):
        evaluate(EvaluateConfig(run_dir=folder, data_dir=fold_records))
    evaluate(EvaluateConfig(run_dir=folder, data_dir=fold_records, split="fold0"))
    assert "best.keras has learnt from fold0 too, so its scores" in capsys.readouterr().out
    assert files.exists(f"{folder}/metrics_fold0.json"), "beside those out of fold"


def test_runs_of_one_split_are_judged_on_it_as_any_model(tmp_path, records_dir):
    for seed in (1, 2):
        (tmp_path / f"run{seed}").mkdir()
        save(tmp_path / f"run{seed}" / "best.keras", seed, 64, val_split="val")
    runs, folder = tuple(str(tmp_path / f"run{seed}") for seed in (1, 2)), str(tmp_path / "both")
    assert ensemble(EnsembleConfig(runs=runs, output_dir=folder)).metrics is None
    metrics = evaluate(EvaluateConfig(run_dir=folder, data_dir=records_dir))
    assert (metrics["split"], metrics["examples"]) == ("val", 12)
    with pytest.raises(
        UserError, match=r"no scores of val by .*run1/best.keras; run `cloudtf eval"
    ):
        ensemble(EnsembleConfig(runs=runs, output_dir=f"{folder}2", average="rank"))
    for run in runs:
        evaluate(EvaluateConfig(run_dir=run, data_dir=records_dir))
    made = ensemble(EnsembleConfig(runs=runs, output_dir=f"{folder}2", average="rank"))
    inputs = next(iter(open_dataset(records_dir).batches("val", 12)))[0]
    ranked = []
    for run in runs:
        scores = saving.load_model(f"{run}/best.keras")(inputs).numpy()
        ranked.append(one_network.ranks(scores, one_network.rank_knots(scores)))
    found = saving.load_model(made.path)(inputs).numpy()
    np.testing.assert_allclose(found, np.mean(ranked, axis=0), rtol=0, atol=1e-4)


# Ranks.


def scores_of(kind, count):
    generator = np.random.default_rng(3)
    values = {
        "even": generator.random((count, 3)),
        "near 0": generator.beta(0.05, 3, (count, 3)),
        "all equal": np.full((count, 3), 0.5),
        "half at 1": np.where(generator.random((count, 3)) < 0.5, 1, generator.random((count, 3))),
    }
    return values[kind].astype(np.float32)


@pytest.mark.parametrize("count", [1, 7, 1000])
@pytest.mark.parametrize("kind", ["even", "near 0", "all equal", "half at 1"])
def test_ranks_in_the_network_are_the_shares_of_lower_scores(kind, count):
    held_out = scores_of(kind, count)
    knots = one_network.rank_knots(held_out)
    assert (np.diff(knots) > 0).all()
    layers = one_network._rank_layers(knots, "ranks")
    others = np.concatenate([scores_of("even", 500), scores_of("near 0", 500), held_out])
    found = layers(others).numpy()
    np.testing.assert_allclose(found, one_network.ranks(others, knots), rtol=0, atol=1e-6)
    assert found.min() >= 0 and found.max() <= 1
    for column, ranked in zip(others.T, found.T):
        order = np.argsort(column, kind="stable")
        assert (np.diff(ranked[order]) >= 0).all(), "the order of scores is kept"
    if kind == "all equal":
        np.testing.assert_allclose(layers(held_out), 0.5, atol=1e-6)
    if kind == "even" and count == 1000:
        # Those of the photographs themselves are spread evenly, wherever their scores lie.
        ordered = np.sort(one_network.ranks(held_out, knots), axis=0)
        expected = (np.arange(count)[:, None] + 0.5) / count
        assert np.abs(ordered - expected).max() < 0.02


def test_thresholds_of_averaged_ranks_are_of_averaged_ranks(fold_runs, tmp_path):
    folder = str(tmp_path / "by rank")
    made = ensemble(
        EnsembleConfig(runs=tuple(fold_runs), output_dir=folder, average="rank", recall_target=0.7)
    )
    assert saving.read_info(made.path)["average"] == "rank"
    names, found, labels = out_of_fold(folder)
    expected = dict.fromkeys(names, 0)
    for run in fold_runs:
        for fold in range(2):
            own, scores, _ = predictions.read(f"{run}/fold{fold}/predictions_fold{fold}.csv")
            ranked = one_network.ranks(scores, one_network.rank_knots(scores))
            np.testing.assert_allclose(ranked.mean(axis=0), 0.5, atol=0.02)
            for name, row in zip(own, ranked):
                expected[name] = expected[name] + row / 2
    np.testing.assert_allclose(found, [expected[name] for name in names], rtol=0, atol=1e-12)
    chosen = files.read_json(f"{folder}/thresholds.json")["classes"]
    for index, name in enumerate(CLASSES):
        present = found[:, index] >= chosen[name]["recall"]["threshold"]
        assert (present & (labels[:, index] > 0)).sum() >= 0.7 * (labels[:, index] > 0).sum()


# What cannot be averaged.


def test_models_that_differ_are_refused(fold_runs, records_dir, tmp_path):
    save(tmp_path / "a.keras", 1)
    save(tmp_path / "other.keras", 2, classes=["Fish", "Flower", "Sugar", "Gravel"])
    save(tmp_path / "b.keras", 5)
    save(tmp_path / "large.keras", 3, 64)
    save(tmp_path / "padded.keras", 4, aspect="pad")
    shutil.copy(tmp_path / "a.keras", tmp_path / "copy.keras")

    def of(*names, folder="out"):
        runs = tuple(str(tmp_path / f"{name}.keras") for name in names)
        return EnsembleConfig(runs=runs, output_dir=str(tmp_path / folder))

    for names, sentence in (
        (("a", "other"), "other.keras Fish, Flower, Sugar, Gravel; models are averaged whose"),
        (("a", "large"), "takes images of 32x32, and .*large.keras of 64x64; models are"),
        (("a", "padded"), "made with aspect=.stretch., and .*padded.keras with aspect=.pad.; mod"),
        (("a", "copy"), "a.keras and .*copy.keras are the same model; name each once"),
        (("a", "b", "b"), "b.keras and .*b.keras are the same model; name each once"),
        (("a",), "made of two models or more; 1 is named in runs"),
        ((), "made of two models or more; 0 is named in runs"),
    ):
        with pytest.raises(UserError, match=sentence):
            ensemble(of(*names))
    assert not (tmp_path / "out").exists()


def test_no_folder_of_another_model_is_written_into(fold_runs, trained_run, tmp_path):
    save(tmp_path / "best.keras", 1)
    for folder in (str(tmp_path), trained_run, fold_runs[0]):
        with pytest.raises(UserError, match=f"{folder} is the folder of another model; give the"):
            ensemble(EnsembleConfig(runs=tuple(fold_runs), output_dir=folder))
    again = EnsembleConfig(runs=tuple(fold_runs), output_dir=str(tmp_path / "again"))
    assert ensemble(again) == ensemble(again), "an ensemble itself is made again"


def test_scores_of_other_weights_or_of_a_part_are_refused(fold_runs, tmp_path):
    copy = str(tmp_path / "copy")
    shutil.copytree(fold_runs[0], copy)
    save(tmp_path / "copy" / "fold1" / "best.keras", 99, val_split="fold1")
    config = EnsembleConfig(runs=(copy,), output_dir=str(tmp_path / "out"))
    with pytest.raises(UserError, match="predictions_fold1.csv are of other weights than .*; run"):
        ensemble(config)
    (tmp_path / "copy" / "thresholds.json").unlink()
    with pytest.raises(UserError, match="copy is not through all of its folds; go on with its"):
        ensemble(config)


def test_nothing_is_left_of_one_that_is_refused_for_its_photographs(fold_runs, tmp_path):
    copy = str(tmp_path / "copy")
    shutil.copytree(fold_runs[1], copy)
    table = pathlib.Path(copy, "fold0", "predictions_fold0.csv")
    table.write_text(re.sub(r"\n[^,]+,", "\nother.jpg,", table.read_text(), count=1))
    config = EnsembleConfig(runs=(fold_runs[0], copy), output_dir=str(tmp_path / "out"))
    with pytest.raises(UserError, match="copy have scores of different photographs"):
        ensemble(config)
    assert not (tmp_path / "out").exists()
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "metrics.json").write_text("mine")
    config = EnsembleConfig(runs=tuple(fold_runs), output_dir=str(tmp_path / "mine"))
    with pytest.raises(UserError, match="metrics.json is there already and is not of an eval"):
        ensemble(config)
    assert files.list_dir(config.output_dir) == ["metrics.json"]


def test_the_preview_shows_where_its_members_look_on_average(fold_records, tmp_path):
    members = [network.build_model("tiny", 4, (32, 32)) for _ in range(2)]
    path, output = str(tmp_path / "one.keras"), str(tmp_path / "where.png")
    info = {**INFO, "aspect": "stretch"}
    saving.save_model(one_network.average(members), path, info)
    config = PreviewConfig(data_dir=fold_records, output=output, split="fold0", model=path)
    preview(dataclasses.replace(config, num_images=1))
    assert cv2.imread(output) is not None


def test_it_is_public():
    assert cloudtf.ensemble is ensemble and cloudtf.EnsembleConfig is EnsembleConfig
