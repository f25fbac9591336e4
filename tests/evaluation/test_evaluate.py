"""Evaluation of a trained model: every file, and how they agree with one another."""

from __future__ import annotations

import base64
import csv
import json
import os
import pathlib
import re
import shutil
import subprocess
import sys
import time

import numpy as np
import pytest
from scipy.special import expit
from sklearn.metrics import (
    auc,
    average_precision_score,
    brier_score_loss,
    precision_recall_curve,
)

import cloudtf
from cloudtf import files
from cloudtf.commands import app
from cloudtf.data.convert import ConvertConfig, convert
from cloudtf.errors import UserError
from cloudtf.evaluation import evidence, plots, pr_auc, reliability_plot, results, thresholds
from cloudtf.evaluation.evaluate import EvaluateConfig, evaluate
from cloudtf.evaluation.preview import PreviewConfig, preview
from cloudtf.evaluation.report import page
from cloudtf.model import thresholds as model_thresholds
from cloudtf.pipeline.dataset import open_dataset
from cloudtf.submission import predictions

CLASSES = ["Fish", "Flower", "Gravel", "Sugar"]


@pytest.fixture(scope="module")
def output(trained_run, records_dir, tmp_path_factory):
    """The folder of an evaluation, and what it returned."""
    folder = str(tmp_path_factory.mktemp("evaluation") / "results")
    metrics = evaluate(EvaluateConfig(data_dir=records_dir, run_dir=trained_run, output_dir=folder))
    return folder, metrics


def read_json(folder, name):
    return json.loads(pathlib.Path(folder, name).read_text())


def labels_by_name(records_dir, split="val"):
    data = open_dataset(records_dir)
    return dict(zip(data.names(split), data.labels(split).numpy()))


def test_all_promised_files_are_written(output):
    folder, _ = output
    assert set(os.listdir(folder)) == {
        "metrics.json", "thresholds.json", "predictions_val.csv", "pr_auc_history.png",
        "report.html", *(f"pr_curve_{name}.png" for name in CLASSES), "calibration.json",
            "suspects.csv", "suspects.png",
        *(f"reliability_{name}.png" for name in CLASSES),
    }  # fmt: skip


def test_the_metrics_are_those_of_the_written_predictions(output, records_dir):
    folder, returned = output
    metrics = read_json(folder, "metrics.json")
    assert metrics == returned
    assert metrics["examples"] == 12 and metrics["split"] == "val"
    assert metrics["data"] == records_dir and metrics["model"].endswith("best.keras")
    names, scores, classes = predictions.read(f"{folder}/predictions_val.csv")
    assert classes == CLASSES
    truth = labels_by_name(records_dir)
    assert sorted(names) == sorted(truth), "every example once"
    labels = np.array([truth[name] for name in names])
    areas, averages = [], []
    for index, name in enumerate(CLASSES):
        precision, recall, _ = precision_recall_curve(labels[:, index], scores[:, index])
        areas.append(auc(recall, precision))
        averages.append(average_precision_score(labels[:, index], scores[:, index]))
        assert metrics["pr_auc"][name] == pytest.approx(areas[-1], abs=1e-12)
        assert metrics["average_precision"][name] == pytest.approx(averages[-1], abs=1e-12)
    assert metrics["pr_auc"]["mean"] == pytest.approx(np.mean(areas), abs=1e-12)
    assert metrics["average_precision"]["mean"] == pytest.approx(np.mean(averages), abs=1e-12)
    for index, name in enumerate(CLASSES):
        expected = brier_score_loss(labels[:, index], scores[:, index])
        assert metrics["brier"][name] == pytest.approx(expected, abs=1e-12)


def test_every_score_has_an_interval_around_it(output):
    metrics = read_json(output[0], "metrics.json")
    measures = {"pr_auc", "average_precision", "brier", "ece", "brier_calibrated", "ece_calibrated"}
    assert set(metrics["intervals"]) == measures
    for measure in measures:
        assert set(metrics["intervals"][measure]) == {*CLASSES, "mean"}
        for name, (low, high) in metrics["intervals"][measure].items():
            assert 0 <= low <= metrics[measure][name] <= high
    assert metrics["resamples"] == {"count": 1000, "seed": 0}
    low, high = metrics["intervals"]["average_precision"]["mean"]
    assert 0.01 < high - low < 0.9, "of 12 images"


def test_the_metrics_are_those_of_the_best_epoch(output, trained_run):
    _, metrics = output
    best = read_json(trained_run, "best.json")
    assert metrics["pr_auc"]["mean"] == pytest.approx(best["pr_auc"]["mean"], abs=1e-6)
    assert set(best["intervals"]) == {"pr_auc", "average_precision"}
    for measure, by_class in best["intervals"].items():
        for name, interval in by_class.items():
            assert interval == pytest.approx(metrics["intervals"][measure][name], abs=1e-6)


def test_the_thresholds_hold_on_the_written_predictions(output, records_dir):
    folder, _ = output
    chosen = read_json(folder, "thresholds.json")["classes"]
    names, scores, _ = predictions.read(f"{folder}/predictions_val.csv")
    truth = labels_by_name(records_dir)
    labels = np.array([truth[name] for name in names]) > 0
    assert list(chosen) == CLASSES
    reached = 0
    for index, name in enumerate(CLASSES):
        for kind, target in (("recall", 0.94), ("precision", 0.90)):
            entry = chosen[name][kind]
            assert set(entry) == {"target", "threshold", "precision", "recall", "intervals",
                                  "confidence"}  # fmt: skip
            assert entry["target"] == target
            if entry["threshold"] is None:
                assert kind == "precision"
                continue
            reached += 1
            # Exactly: a class is present where the score is at least the threshold.
            present = scores[:, index] >= entry["threshold"]
            right = (present & labels[:, index]).sum()
            assert entry["recall"] == right / labels[:, index].sum()
            assert entry["precision"] == right / present.sum()
            assert entry[kind] >= target
    assert reached >= len(CLASSES)


def test_a_precision_that_no_threshold_reaches_is_null(output):
    """Of labels turned round: the highest score is then a false one."""
    names, scores, _ = predictions.read(f"{output[0]}/predictions_val.csv")
    labels = np.zeros_like(scores)
    labels[np.argsort(scores[:, 0])[:3], 0] = 1
    entry = thresholds.choose_thresholds(labels[:, :1], scores[:, :1])[0]["precision"]
    assert entry["threshold"] is None and entry["recall"] is None


def test_the_report_is_one_page_that_needs_nothing_else(output):
    text = pathlib.Path(output[0], "report.html").read_text()
    assert text.startswith("<!DOCTYPE html>") or text.startswith("<!doctype html>")
    sources = re.findall(r"""(?:src|href)\s*=\s*["']([^"']*)""", text)
    assert len([s for s in sources if s.startswith("data:image/png;base64,")]) >= 5
    assert not [s for s in sources if not s.startswith(("data:", "#"))]
    assert "url(http" not in text and "@import" not in text
    for name in CLASSES:
        assert name in text
    assert ">learning_rate<" in text, "the settings of the run"


def test_the_report_has_all_that_an_evaluation_of_a_run_knows(output):
    text = pathlib.Path(output[0], "report.html").read_text()
    headings = [heading for heading, _ in page.SECTIONS]
    headings.remove("Parts of the images")  # The records have no columns to divide them by.
    assert re.findall("<h2>(.*?)</h2>", text) == headings
    of_images = text[text.index("<h2>Images worth a look") : text.index("<h2>Labels that look")]
    # Of twelve images four of each kind, and maps beside those in which the model sees something.
    assert re.findall("<h3>(.*?)</h3>", of_images) == ["Worst", "Most doubtful", "Best"]
    assert of_images.count("<figure>") == 12
    assert 12 < of_images.count("data:image/jpeg") == 12 + of_images.count(", and where the")


def test_the_run_folder_is_the_default_and_a_model_may_be_named(
    trained_run, records_dir, tmp_path, capsys
):
    run_dir = tmp_path / "run"
    shutil.copytree(trained_run, run_dir)
    assert app.main(["evaluate", f"--run_dir={run_dir}", f"--data_dir={records_dir}"]) == 0
    out = capsys.readouterr().out
    assert out.startswith("12 examples of val\n")
    score = r"[01]\.\d{4} +[01]\.\d{3} to [01]\.\d{3}"
    assert re.search(rf"^mean +{score} +{score}$", out, re.M), "both areas, each with its interval"
    assert "Thresholds of 12 examples of val, and how surely each keeps its target" in out
    for name, kinds in read_json(run_dir, "thresholds.json")["classes"].items():
        (line,) = re.findall(rf"^{name}  .*%  needs \d+.*$", out, re.M)
        assert f"{kinds['recall']['threshold']:<8.3g} " in line
    assert max(map(len, out.splitlines()[1:-1])) <= 80
    assert out.endswith(f"Open {run_dir}/report.html\n")
    assert ">--learning_rate<" in (run_dir / "report.html").read_text(), "a command's are flags"
    first = read_json(run_dir, "metrics.json")
    # A model on its own: no history beside it.
    alone = tmp_path / "alone"
    alone.mkdir()
    shutil.copy(run_dir / "best.keras", alone)
    arguments = [f"--model={alone}/best.keras", f"--data_dir={records_dir}"]
    assert app.main(["evaluate", *arguments]) == 0
    assert read_json(alone, "metrics.json") == {**first, "model": f"{alone}/best.keras"}
    assert not (alone / "pr_auc_history.png").exists()


def test_another_split_gets_predictions_of_its_own(trained_run, records_dir, tmp_path):
    metrics = evaluate(
        EvaluateConfig(
            data_dir=records_dir,
            run_dir=trained_run,
            split="train",
            output_dir=str(tmp_path),
            recall_target=1.0,
        )
    )
    assert not (tmp_path / "thresholds.json").exists(), "that would be val's"
    assert metrics["split"] == "train" and metrics["examples"] == 48
    names, scores, _ = predictions.read(f"{tmp_path}/predictions_train.csv")
    truth = labels_by_name(records_dir, "train")
    assert set(names) == set(truth)
    chosen = read_json(tmp_path, "thresholds_train.json")
    assert chosen["from"]["split"] == "train" and chosen["from"]["examples"] == 48
    for index, name in enumerate(CLASSES):
        positives = [scores[i, index] for i, n in enumerate(names) if truth[n][index]]
        assert chosen["classes"][name]["recall"]["threshold"] < min(positives)


@pytest.fixture
def judged(trained_run, records_dir, tmp_path):
    """A copy of the run folder with an evaluation on val, and what evaluates in it."""
    run_dir = tmp_path / "run"
    shutil.copytree(trained_run, run_dir)

    def judge(**changes):
        evaluate(EvaluateConfig(**{"data_dir": records_dir, "run_dir": str(run_dir), **changes}))

    judge()
    return run_dir, judge


def content(folder):
    return {p.name: p.read_bytes() for p in pathlib.Path(folder).iterdir() if p.is_file()}


def test_another_split_is_judged_beside_and_not_over_the_validation(judged, records_dir, capsys):
    run_dir, judge = judged
    before = content(run_dir)
    command = ["evaluate", f"--run_dir={run_dir}", f"--data_dir={records_dir}", "--split=train"]
    assert app.main(command) == 0
    assert capsys.readouterr().out.endswith(f"Open {run_dir}/report_train.html\n")
    after = content(run_dir)
    assert {name: after[name] for name in before} == before
    assert after.keys() - before.keys() == {
        "metrics_train.json", "thresholds_train.json", "predictions_train.csv",
        "report_train.html", *(f"pr_curve.train.{name}.png" for name in CLASSES),
        "calibration_train.json", *(f"reliability.train.{name}.png" for name in CLASSES),
    }  # fmt: skip


def test_thresholds_say_what_they_are_from(judged, records_dir):
    run_dir, judge = judged
    source = read_json(run_dir, "thresholds.json")["from"]
    assert len(source.pop("weights_sha256")) == 64
    model = f"{run_dir}/best.keras"
    expected = {"split": "val", "examples": 12, "model": model, "data": records_dir}
    assert source == {**expected, "confidence": 0.95, "tta": False}
    judge(tta=True)
    assert read_json(run_dir, "thresholds.json")["from"]["tta"] is True


def test_the_truth_stands_beside_the_scores(output, records_dir):
    with open(f"{output[0]}/predictions_val.csv", encoding="utf-8", newline="") as file:
        header, *rows = csv.reader(file)
    assert header == ["Image", *CLASSES, *(f"truth:{name}" for name in CLASSES)]
    truth = labels_by_name(records_dir)
    for name, *cells in rows:
        assert [int(cell) for cell in cells[4:]] == truth[name].tolist()


@pytest.mark.parametrize("operation", ["move", "remove"])
def test_an_evaluation_that_dies_leaves_nothing_new_beside_anything_old(
    judged, monkeypatch, operation
):
    """`tests/test_files.py` lets it die at every step."""
    run_dir, judge = judged
    results = {"metrics.json", "thresholds.json", "predictions_val.csv", "report.html"}
    results |= {f"pr_curve_{name}.png" for name in CLASSES}
    for name in results:  # As if all of them had been different.
        with open(run_dir / name, "ab") as file:
            file.write(b"old")
    metrics = {"average_precision": {}, "pr_auc": {"Older": 0.5}}
    (run_dir / "metrics.json").write_text(json.dumps(metrics))
    (run_dir / "pr_curve_Older.png").write_bytes(b"old")

    carry_out = getattr(files, operation)

    def dies(*arguments):
        if arguments[-1].startswith(str(run_dir)):
            raise KeyboardInterrupt
        carry_out(*arguments)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(files, operation, dies)
        judge()
    there = {name: data for name, data in content(run_dir).items() if name in results}
    assert all(data.endswith((b"old", b"0.5}}")) for data in there.values())
    judge()
    assert not (run_dir / "pr_curve_Older.png").exists()
    assert read_json(run_dir, "metrics.json")["examples"] == 12


def test_flips_are_averaged_when_asked_for(trained_run, records_dir, tmp_path, output):
    evaluate(
        EvaluateConfig(
            data_dir=records_dir, run_dir=trained_run, output_dir=str(tmp_path), tta=True
        )
    )
    flipped = predictions.read(f"{tmp_path}/predictions_val.csv")
    plain = predictions.read(f"{output[0]}/predictions_val.csv")
    assert flipped[0] == plain[0]
    difference = np.abs(flipped[1] - plain[1])
    assert 0 < difference.max() < 0.5


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"classes": ("Sugar", "Gravel", "Flower", "Fish")},
         "knows the classes Fish, Flower, Gravel, Sugar, the records in .* have Sugar, Gravel"),
        ({"image_height": 48, "image_width": 80},
         "takes images of 64x64, the records in .* have 48x80; convert with image_height=64"),
    ],
)  # fmt: skip
def test_records_that_the_model_was_not_made_for_are_refused(
    trained_run, photographs_dir, tmp_path, changes, sentence
):
    settings = {"image_height": 64, "image_width": 64, **changes}
    convert(
        ConvertConfig(
            labels_csv=f"{photographs_dir}/labels.csv",
            images_dir=f"{photographs_dir}/images",
            output_dir=str(tmp_path / "records"),
            num_shards=1,
            **settings,
        )
    )
    with pytest.raises(UserError, match=sentence):
        evaluate(EvaluateConfig(data_dir=str(tmp_path / "records"), run_dir=trained_run))


def test_what_is_missing_or_damaged_is_one_sentence(trained_run, records_dir, tmp_path):
    def judge(**changes):
        evaluate(EvaluateConfig(**{"data_dir": records_dir, "run_dir": str(run_dir), **changes}))

    run_dir = tmp_path / "run"
    with pytest.raises(UserError, match=r"There is no model .*run/best\.keras; train one first"):
        judge()
    shutil.copytree(trained_run, run_dir)
    with pytest.raises(UserError, match="There is no split 'dev'"):
        judge(split="dev")
    for text in ("rubbish\n1\n", "epoch,stage,loss\nfirst,whole,1\n", "epoch,stage,loss\n1,a,x\n"):
        (run_dir / "history.csv").write_text(text)
        with pytest.raises(UserError, match=r"Row 1 of .*history\.csv is damaged"):
            judge()
    (run_dir / "best.keras").write_bytes((run_dir / "best.keras").read_bytes()[:5000])
    with pytest.raises(UserError, match=r"best\.keras is damaged"):
        judge()


def test_the_preview_shows_originals_and_versions(records_dir, tmp_path):
    import cv2

    sizes = []
    for versions in (1, 3):
        path = tmp_path / f"{versions}.png"
        preview(
            PreviewConfig(data_dir=records_dir, output=str(path), num_images=3, versions=versions)
        )
        sizes.append(cv2.imread(str(path)).shape[:2])
    assert sizes[1][1] > sizes[0][1], "more versions, a wider picture"
    again = tmp_path / "again.png"
    preview(PreviewConfig(data_dir=records_dir, output=str(again), num_images=3, versions=3))
    assert np.array_equal(cv2.imread(str(again)), cv2.imread(str(tmp_path / "3.png")))
    with pytest.raises(UserError, match="There is no split 'dev'"):
        preview(PreviewConfig(data_dir=records_dir, output=str(again), split="dev"))


def test_the_preview_says_which_labels_a_mixture_has(records_dir, tmp_path, monkeypatch):
    from cloudtf.evaluation import plots

    shown = []

    def draw(path, originals, augmented, titles):
        shown.append((originals, augmented, titles))
        return []

    monkeypatch.setattr(plots, "preview", draw)
    options = {"data_dir": records_dir, "output": str(tmp_path / "p.png"), "num_images": 2}
    preview(PreviewConfig(**options, augmentations=(), mixup=100.0, versions=2))
    ((originals, augmented, titles),) = shown
    # Both are nearly the mean of the two, and say so where their labels differ.
    mean = originals.astype(float).mean(axis=0)
    assert np.abs(augmented - mean).max(axis=(2, 3, 4)).mean() < 30
    labels = cloudtf.open_dataset(records_dir).labels("train")[:2].numpy()
    assert (labels[0] != labels[1]).any()
    for title in titles:
        assert re.search(r"; in version 1: .* 0\.\d+.*; 2: .* 0\.\d", title)


def test_the_preview_shows_all_there_are_when_there_are_fewer(records_dir, tmp_path, monkeypatch):
    # What reads models, and with it Keras, is not imported.
    monkeypatch.delattr(cloudtf.evaluation, "where", raising=False)
    monkeypatch.setitem(sys.modules, "cloudtf.evaluation.where", None)
    path = str(tmp_path / "all.png")
    config = PreviewConfig(
        data_dir=records_dir, output=path, split="val", num_images=64, versions=1
    )
    preview(config)
    assert os.path.getsize(path) > 10_000


def test_records_without_labels_are_for_predict(trained_run, unlabelled_dir, tmp_path, capsys):
    flags = [f"--run_dir={trained_run}", f"--data_dir={unlabelled_dir}", f"--output_dir={tmp_path}"]
    for split in ([], ["--split=test"]):
        capsys.readouterr()
        assert app.main(["evaluate", *flags, *split]) == 1
        error = capsys.readouterr().err
        assert f"The records in {unlabelled_dir} have no labels to judge a model by" in error
        assert "use `cloudtf predict`" in error and error.count("\n") == 1


def test_an_edited_flagfile_may_have_flags_without_a_value(trained_run, records_dir, tmp_path):
    run_dir = tmp_path / "run"
    shutil.copytree(trained_run, run_dir)
    (run_dir / "flags.txt").write_text("# mine\n--sync_batch_norm\n--nojit_compile\n--loss=a=b\n")
    evaluate(EvaluateConfig(data_dir=records_dir, run_dir=str(run_dir)))
    text = re.sub(r"<[^>]*>", " ", (run_dir / "report.html").read_text())
    for name, value in (("sync_batch_norm", "true"), ("jit_compile", "false"), ("loss", "a=b")):
        assert re.search(rf"\s{name}\s+{value}\s", text), name


def test_commands_draw_whatever_backend_the_environment_names(records_dir, tmp_path):
    """A notebook names its own, which another environment does not have."""
    command = [sys.executable, "-m", "cloudtf", "preview", f"--data_dir={records_dir}"]
    done = subprocess.run(
        [*command, f"--output={tmp_path}/preview.png"],
        env={**os.environ, "MPLBACKEND": "that_is_not_installed"},
        capture_output=True,
        encoding="utf-8",
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "preview.png").stat().st_size > 10_000


def test_of_many_classes_the_worst_and_best_are_drawn_and_all_are_in_the_files(
    tmp_path, monkeypatch
):
    picture = base64.b64decode(
        "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAAAAAA6fptVAAAACklEQVR4nGNgAAAAAgABSK+kcQAAAABJRU5ErkJggg=="
    )
    for module, kind in ((plots, "pr_curve"), (reliability_plot, "reliability")):
        monkeypatch.setattr(module, kind, lambda path, *_: files.write_bytes(path, picture))
    generator, names = np.random.default_rng(0), [f"class {i:03d}" for i in range(300)]
    labels = (generator.random((40, 300)) < 0.3).astype(np.float32)
    scores = (0.7 * generator.random((40, 300)) + 0.3 * labels).astype(np.float32)
    figures = pr_auc.score(labels, scores, names)
    found = results.Findings(
        split="val",
        other_split=False,
        classes=names,
        names=[f"{i}.jpg" for i in range(40)],
        labels=labels,
        scores=scores,
        evidence=evidence.gather(labels, scores, names, figures),
        chosen=thresholds.choose_thresholds(labels, scores, class_names=names),
        source={"split": "val", "examples": 40},
    )
    results.write(str(tmp_path), found, results.Background("cloudtf"))
    order = sorted(names, key=figures.average_precision.get)
    drawn = {name for name in os.listdir(tmp_path) if name.startswith("pr_curve")}
    assert drawn == {found.picture("pr_curve", name) for name in [*order[:24], *order[-24:]]}
    errors = found.evidence.measures["ece"]
    worst = sorted(names, key=lambda name: (errors[name], name))[-6:]
    drawn = {name for name in os.listdir(tmp_path) if name.startswith("reliability")}
    assert drawn == {found.picture("reliability", name) for name in worst}
    assert list(read_json(tmp_path, "thresholds.json")["classes"]) == names
    assert set(read_json(tmp_path, "metrics.json")["pr_auc"]) == {*names, "mean"}
    text = (tmp_path / "report.html").read_text()
    assert all(name in text for name in names) and len(text) < 1e6
    assert "Of 300 classes those with the 24 lowest and the 24 highest scores" in text
    assert "The 20 pairs of classes that are confused most" in text
    metrics = found.metrics
    lines = pr_auc.table(metrics).splitlines()
    assert len(lines) == 1 + 24 + 1 + 24 + 1 and "252 more classes" in lines[25]
    assert [line.split("  ")[0] for line in lines[1:25]] == order[:24]


@pytest.mark.slow
def test_a_thousand_classes_take_under_a_minute_and_under_10_megabytes(tmp_path):
    """The table of 5 million predictions aside, which has what it has."""
    random, names = np.random.default_rng(0), [f"class {i:04d}" for i in range(1000)]
    labels = (random.random((5000, 1000)) < random.uniform(0.002, 0.05, 1000)).astype(np.float32)
    scores = expit(2 * random.normal(size=labels.shape) + 3 * labels - 3).astype(np.float32)
    began = time.process_time()
    figures = pr_auc.score(labels, scores, names)
    found = results.Findings(
        split="val",
        other_split=False,
        classes=names,
        names=[f"{i}.jpg" for i in range(5000)],
        labels=labels,
        scores=scores,
        evidence=evidence.gather(labels, scores, names, figures),
        chosen=thresholds.choose_thresholds(labels, scores, class_names=names),
        source={"split": "val", "examples": 5000},
    )
    results.write(str(tmp_path), found, results.Background("cloudtf"))
    assert time.process_time() - began < 60
    sizes = {path.name: path.stat().st_size for path in tmp_path.iterdir()}
    del sizes["predictions_val.csv"]
    assert sum(sizes.values()) < 10e6
    assert sizes["report.html"] < 5e6


def test_a_sentence_about_a_thousand_classes_is_short(tmp_path, capsys):
    table = tmp_path / "p.csv"
    table.write_text("Image," + ",".join(f"class {i}" for i in range(200_000)) + "\na.jpg,0.5\n")
    (tmp_path / "s.csv").write_text("Image_Label,EncodedPixels\na.jpg_Fish,\n")
    entry = {"target": 0.9, "threshold": 0.5, "precision": 0.5, "recall": 0.9}
    many = {f"class {i}": {"recall": entry, "precision": entry} for i in range(1000)}
    model_thresholds.write(str(tmp_path / "t.json"), many)
    command = ["postprocess", f"--submission={tmp_path}/s.csv", f"--predictions={table}"]
    command += [f"--thresholds={tmp_path}/t.json", f"--output={tmp_path}/out.csv"]
    for content in (table.read_text(), "Image,Fish\na.jpg,0.5\n", "Image," + "x" * 100_000 + "\n"):
        table.write_text(content)
        assert app.main(command) == 1
        err = capsys.readouterr().err
        assert err.count("\n") == 1 and len(err) < 3500, len(err)
