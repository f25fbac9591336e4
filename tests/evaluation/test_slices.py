"""Scores of parts of the images: what differs from the rest is neither noise nor prevalence."""

import csv
import json
import pathlib
import shutil

import numpy as np
import pytest
from scipy.special import expit

import cloudtf
from cloudtf.commands import app
from cloudtf.data import photograph_table
from cloudtf.evaluation import bootstrap, slices

CLASSES = ["Fish", "Sugar"]


def some(random, images, separation=1.5, shares=(0.3,)):
    """Labels and scores of images of as many sites as there are shares of positives."""
    site = random.integers(len(shares), size=images)
    labels = (random.random((images, 2)) < np.array(shares)[site][:, None]).astype(int)
    return labels, random.normal(separation * labels), site


def found(labels, logits, site, **columns):
    cells = {"site": [f"site {number}" for number in site], **columns}
    return slices.find(cells, labels, expit(logits), CLASSES, bootstrap.Resamples(len(labels)))


def by_value(some_slices):
    return {one["value"]: one for one in some_slices}


@pytest.mark.parametrize("draws", [60, pytest.param(1000, marks=pytest.mark.slow)])
@pytest.mark.parametrize("shares", [(0.3,) * 4, (0.15, 0.3, 0.5)])
def test_chance_alone_calls_a_slice_different_in_5_of_100_evaluations_at_most(shares, draws):
    """Also where a class is rarer in some, whose areas are far lower for that alone."""
    alarms = covered = total = 0
    lowest, highest = [], []
    for seed in range(draws):
        labels, logits, site = some(np.random.default_rng((1, seed)), 300, shares=shares)
        of = found(labels, logits, site)["site"]
        alarms += any(one["differs"] for one in of)
        covered += sum(np.prod(one["difference_interval"]) <= 0 for one in of)
        total += len(of)
        scores = [by_value(of)[f"site {number}"]["pr_auc"] for number in (0, len(shares) - 1)]
        lowest.append(scores[0])
        highest.append(scores[1])
    # And by chance, of so few draws, one in some hundred times a few more.
    assert alarms <= 0.05 * draws + 2.3 * np.sqrt(0.05 * 0.95 * draws)
    assert covered / total > 0.93
    assert abs(np.mean(highest) - np.mean(lowest)) > 0.2 or len(set(shares)) == 1


def test_a_slice_that_is_harder_is_told_with_its_scores():
    labels, logits, site = some(np.random.default_rng(2), 800, shares=(0.3, 0.3, 0.3))
    logits += (site == 1)[:, None] * np.random.default_rng(3).normal(0, 4, logits.shape)
    of = by_value(found(labels, logits, site)["site"])
    assert [one["differs"] for one in of.values()].count(True) >= 1
    hard = of["site 1"]
    assert hard["differs"] and slices.verdict(hard) == "worse" and hard["difference"] < -0.1
    rows = site == 1
    each = [bootstrap.areas(labels[rows][:, [i]], logits[rows][:, [i]], None) for i in range(2)]
    assert hard["pr_auc"] == pytest.approx(np.mean([one.pr_auc for one in each]))
    assert hard["examples"] == rows.sum()
    assert hard["positives"] == dict(zip(CLASSES, labels[rows].sum(axis=0)))
    low, high = hard["interval"]
    assert low < hard["pr_auc"] < high < hard["rest"]
    text = slices.table({"site": list(of.values())})
    (line,) = (line for line in text.splitlines() if "site: site 1" in line)
    assert line.endswith("  worse") and f"{hard['pr_auc']:.4f}" in line


def test_weights_count_as_copies_do():
    labels, logits, _ = some(np.random.default_rng(4), 60)
    weights = np.where(labels > 0, 1, 3)
    weighted = bootstrap.areas(labels, logits, None, weights)
    for index in range(2):
        copies = np.repeat(np.arange(60), weights[:, index])
        copied = bootstrap.areas(labels[copies][:, [index]], logits[copies][:, [index]], None)
        assert weighted.pr_auc[0, index] == pytest.approx(copied.pr_auc[0, 0])
        assert weighted.average_precision[0, index] == pytest.approx(copied.average_precision[0, 0])


def test_every_image_is_in_one_slice_of_a_column():
    random = np.random.default_rng(5)
    columns = {
        "text": random.choice([*"abcdefghijklmnop", ""], 600).tolist(),
        "few": random.choice(["10", "9", "1e1", " "], 600).tolist(),
        "number": [str(value) for value in random.normal(size=600)],
        "ties": [str(min(4, int(value))) + ".0" * (value > 9) for value in range(600)],
        "date": [f"2019-{1 + value % 12:02}-11" for value in range(600)],
    }
    values = {}
    for name, cells in columns.items():
        parts = slices.divided(cells)
        assert (np.sum([part.rows for part in parts], axis=0) == 1).all()
        values[name] = [part.value for part in parts]
        for part in parts:
            if part.value in cells:
                assert part.rows.tolist() == [cell == part.value for cell in cells]
    assert len(values["text"]) == 12 and values["text"][-2:] == ["other", ""]
    assert values["few"][0] == "9" and len(values["few"]) == 4
    assert len(values["number"]) == 4 and " to " in values["number"][0]
    assert [value[:10] for value in values["date"]] == [
        f"2019-{month}-11" for month in ("01", "04", "07", "10")
    ]
    numbers = [part.rows.sum() for part in slices.divided(columns["number"])]
    assert numbers == [150] * 4


def test_where_there_is_too_little_nothing_is_said():
    labels, logits, _ = some(np.random.default_rng(6), 200)
    labels[:, 1] = -1
    of = found(labels, logits, np.r_[np.zeros(185), np.ones(15)], all=["one"] * 200)
    small = by_value(of["site"])["other"]
    assert small["joined"] == 1 and np.isnan(small["pr_auc"]) and not small["differs"]
    (whole,) = of["all"]
    assert set(whole["positives"]) == {"Fish"} and np.isnan(whole["rest"]) and whole["pr_auc"] > 0
    text = slices.table(of)
    assert "other" not in text and text.splitlines()[-1].startswith("all: one")
    none = found(labels[:10], logits[:10], np.zeros(10))
    assert slices.table(none) == "No slice has enough images of both kinds for a score."


def test_evaluate_writes_and_prints_the_slices_of_kept_columns(
    trained_run, records_dir, tmp_path, capsys
):
    records = tmp_path / "records"
    shutil.copytree(records_dir, records)
    data = cloudtf.open_dataset(records_dir)
    names = data.names("train")
    halves = ["north" if number % 2 else "south" for number in range(len(names))]
    pairs = [str(number // 2) for number in range(len(names))]
    text = photograph_table.text(names, ["train"] * len(names), pairs, {"half": halves})
    (records / "photographs.csv").write_text(text)
    flags = [f"--run_dir={trained_run}", f"--output_dir={tmp_path}", "--split=train"]
    assert app.main(["evaluate", *flags, f"--data_dir={records}"]) == 0
    said = capsys.readouterr().out
    metrics = json.loads(pathlib.Path(tmp_path, "metrics_train.json").read_text())
    assert {one["value"] for one in metrics["slices"]["half"]} == {"north", "south"}
    assert metrics["resamples"]["groups"] == -(-len(names) // 2)
    for one in metrics["slices"]["half"]:
        assert f"half: {one['value']} " in said and one["examples"] == len(names) // 2
    with open(tmp_path / "predictions_train.csv", encoding="utf-8") as file:
        assert len(list(csv.reader(file))) == 1 + len(names)
