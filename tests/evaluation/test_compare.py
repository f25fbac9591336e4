"""Two models on the same images: what is more than chance, and how many images would settle it."""

import json
import re
import shutil

import cv2
import numpy as np
import pytest
from scipy.special import expit

import cloudtf
from cloudtf.commands import app
from cloudtf.data import photograph_table
from cloudtf.data.records import Manifest, write_manifest
from cloudtf.errors import UsageError, UserError
from cloudtf.evaluation import compare as comparing
from cloudtf.evaluation.bootstrap import Resamples
from cloudtf.evaluation.compare import CompareConfig, Scored, compare
from cloudtf.submission import predictions

CLASSES = ("Fish", "Flower")


def labelled(random, count=240):
    """Labels, and how much there is to be seen of each class."""
    labels = (random.random((count, 2)) < (0.4, 0.25)).astype(int)
    return labels, random.normal(1.6 * labels, 1)


def noisy(random, seen, noise, seeds=1):
    """Scores of models that see the same, and each something of its own."""
    return expit(seen + random.normal(0, noise, (seeds, *seen.shape)))


def differences(labels, one, other, groups=None):
    resamples = Resamples(len(labels), count=200, groups=groups)
    (found,) = comparing.differences(
        labels, Scored("one", one), [Scored("other", other)], CLASSES, resamples
    )
    return found


def difference(labels, one, other, groups=None):
    return differences(labels, one, other, groups)["mean"]


def allowed(rate, draws):
    """So many alarms that a true rate is exceeded by chance once in some hundred times."""
    return rate * draws + 2.3 * np.sqrt(rate * (1 - rate) * draws)


@pytest.mark.parametrize("draws", [150, pytest.param(1000, marks=pytest.mark.slow)])
def test_models_that_differ_by_chance_alone_are_called_different_in_6_percent_at_most(draws):
    alarms = 0
    for seed in range(draws):
        random = np.random.default_rng((1, seed))
        labels, seen = labelled(random)
        one, other = noisy(random, seen, 0.5), noisy(random, seen, 0.5)
        swapped = random.random((1, len(labels), 1)) < 0.5
        one, other = np.where(swapped, one, other), np.where(swapped, other, one)
        alarms += difference(labels, one, other).is_one
    assert alarms <= allowed(0.06, draws)


@pytest.mark.parametrize("draws", [100, pytest.param(1000, marks=pytest.mark.slow)])
def test_so_are_recipes_of_which_seeds_differ(draws):
    alarms = naive = 0
    for number in range(draws):
        random = np.random.default_rng((2, number))
        labels, seen = labelled(random)
        # Each seed sees more or less of it: that is luck too.
        one, other = (
            np.concatenate([noisy(random, seen, random.uniform(0.2, 1.4)) for _ in range(3)])
            for _ in range(2)
        )
        alarms += difference(labels, one, other).is_one
        naive += difference(labels, one[:1], other[:1]).is_one
    assert alarms <= allowed(0.06, draws)
    # Of one seed each the models do differ; it says nothing of the recipes.
    assert naive > 0.2 * draws


def test_a_better_model_is_told_and_worse_the_other_way_round():
    random = np.random.default_rng(3)
    labels, seen = labelled(random, 500)
    one, other = noisy(random, seen, 1.5), noisy(random, seen, 0.3)
    forth, back = difference(labels, one, other), difference(labels, other, one)
    assert forth.is_one and forth.low > 0 and back.is_one and back.high < 0
    assert forth.value == pytest.approx(-back.value)
    assert forth.images_needed < 500
    assert difference(labels, one, one).value == 0 and not difference(labels, one, one).is_one


def test_so_many_images_as_are_asked_for_show_the_difference_mostly():
    random = np.random.default_rng(4)
    labels, seen = labelled(random, 20_000)
    one, other = noisy(random, seen, 0.9), noisy(random, seen, 0.6)
    needs = difference(labels, one, other).images_needed
    assert 100 < needs < 5000
    shown = 0
    for part in range(12):
        some = slice(part * needs, (part + 1) * needs)
        if part * needs + needs <= len(labels):
            shown += difference(labels[some], one[:, some], other[:, some]).is_one
            total = part + 1
    assert 0.5 * total <= shown


def test_images_that_belong_together_say_no_more_than_one_of_them():
    random = np.random.default_rng(8)
    labels, seen = labelled(random, 120)
    one, other = noisy(random, seen, 1.5), noisy(random, seen, 0.3)
    four = [np.repeat(scores, 4, axis=axis) for axis, scores in ((0, labels), (1, one), (1, other))]
    alone, together = difference(labels, one, other), difference(*four, np.arange(480) // 4)
    assert together.images == pytest.approx(alone.images, rel=0.15)
    assert difference(*four).images < 0.65 * alone.images


def test_where_seeds_differ_more_than_recipes_no_number_of_images_helps():
    random = np.random.default_rng(5)
    labels, seen = labelled(random)
    one = np.concatenate([noisy(random, seen, noise) for noise in (0.2, 1.8)])
    other = np.concatenate([noisy(random, seen, noise) for noise in (0.3, 1.7)])
    found = difference(labels, one, other)
    assert not found.is_one and found.images_needed is None and found.seeds > 0
    said = comparing.verdict({**found.__dict__, "is_one": False}, 2)
    assert said.endswith("No number of images would show it: more seeds would.")


def test_unknown_labels_and_undefined_classes_are_left_out():
    random = np.random.default_rng(6)
    labels, seen = labelled(random)
    labels[:, 1] = -1
    found = differences(labels, noisy(random, seen, 1.5), noisy(random, seen, 0.3))
    assert np.isnan(found["Flower"].value) and not found["Flower"].is_one
    assert found["mean"].value == pytest.approx(found["Fish"].value)


@pytest.fixture
def tables(tmp_path):
    """Five prediction tables of the same 200 images, in other orders: two recipes of two seeds."""
    random = np.random.default_rng(7)
    labels, seen = labelled(random, 200)
    names = np.array([f"{number}.jpg" for number in range(200)])
    for name, noise in (("a0", 1.6), ("a1", 1.5), ("b0", 0.3), ("b1", 0.2)):
        order = random.permutation(200)
        scores = noisy(random, seen, noise)[0][order]
        path = str(tmp_path / f"{name}.csv")
        predictions.write(path, names[order].tolist(), scores, CLASSES, labels[order])
    return tmp_path


def test_the_command_prints_a_table_json_and_a_picture(tables, capsys):
    a0, a1, b0, b1 = (str(tables / f"{name}.csv") for name in ("a0", "a1", "b0", "b1"))
    picture = str(tables / "picture.png")
    assert app.main(["compare", a0, b0, f"--plot={picture}"]) == 0
    said = capsys.readouterr().out
    assert "average_precision of 200 images" in said and "Better, by more than the noise" in said
    assert "That is of one seed" in said
    assert all(len(line) <= 100 for line in said.replace(str(tables), "").splitlines())
    assert cv2.imread(picture).shape[1] == 900
    assert app.main(["compare", f"{a0},{a1}", f"{b0},{b1}", "--json", "--measure=pr_auc"]) == 0
    found = json.loads(capsys.readouterr().out)
    (other,) = found["others"]
    mean = other["differences"]["mean"]
    assert (found["measure"], found["images"], other["seeds"]) == ("pr_auc", 200, 2)
    assert mean["value"] == pytest.approx(
        other["scores"]["mean"] - found["first"]["scores"]["mean"]
    )
    assert mean["low"] < mean["value"] < mean["high"] and mean["seeds"] > 0


def test_what_cannot_be_compared_is_named(tables, tmp_path):
    a0, b0 = (str(tables / f"{name}.csv") for name in ("a0", "b0"))
    with pytest.raises(UsageError, match="runs needs two of them"):
        compare(CompareConfig(runs=(a0,)))
    text = (tables / "b0.csv").read_text()
    changes = {
        "other images": (r"\n17\.jpg", "\nother.jpg"),
        "other labels": (r"(\n17\.jpg.*,)[01]\n", r"\g<1>\n"),
        "has '-1' as a truth": (r"(\n17\.jpg.*,)[01]\n", r"\g<1>-1\n"),
        "only models of the same classes": ("Fish", "Perch"),
        "does not have the truth": ("truth:Fish", "truth:Perch"),
    }
    for message, (old, new) in changes.items():
        (tables / "spoilt.csv").write_text(re.sub(old, new, text))
        with pytest.raises(UserError, match=message):
            compare(CompareConfig(runs=(a0, str(tables / "spoilt.csv"))))
    (tmp_path / "run").mkdir()
    with pytest.raises(UserError, match="has no predictions with their truth; run `cloudtf eval"):
        compare(CompareConfig(runs=(b0, str(tmp_path / "run"))))


def test_a_run_folder_is_compared_by_what_it_was_evaluated_on(tables, tmp_path):
    for name in ("a0", "b0"):
        run = tmp_path / f"run_{name}"
        run.mkdir()
        (run / "metrics.json").write_text('{"split": "oof"}')
        shutil.copy(tables / f"{name}.csv", run / "predictions_oof.csv")
    found = compare(CompareConfig(runs=(str(tmp_path / "run_a0"), str(tmp_path / "run_b0"))))
    assert found["others"][0]["differences"]["mean"]["is_one"]
    assert cloudtf.compare is compare


def test_groups_are_those_of_the_records_that_a_run_was_evaluated_on(tables, tmp_path, capsys):
    records = tmp_path / "records"
    records.mkdir()
    names = [f"{number}.jpg" for number in range(200)]
    scenes = [str(number // 4) for number in range(200)]
    (records / "photographs.csv").write_text(
        photograph_table.text(names, ["val"] * 200, scenes, {})
    )
    copies = (("0.jpg", "4.jpg"),)
    manifest = Manifest(CLASSES, 8, 8, 95, 0, {}, settings={}, near_duplicates=copies)
    write_manifest(str(records), manifest)
    a0, b0, b1 = (str(tables / f"{name}.csv") for name in ("a0", "b0", "b1"))
    alone = compare(CompareConfig(runs=(a0, b0)))
    assert alone["groups"] is alone["data"] is None
    assert "taken for one of its own; data_dir says" in capsys.readouterr().out
    grouped = compare(CompareConfig(runs=(a0, b0), data_dir=str(records)))
    assert grouped["groups"] == 49 and "200 images in 49 groups" in capsys.readouterr().out
    run = tmp_path / "run"
    run.mkdir()
    (run / "metrics.json").write_text(json.dumps({"split": "oof", "data": str(records)}))
    shutil.copy(b1, run / "predictions_oof.csv")
    several = compare(CompareConfig(runs=(a0, b0, str(run))))
    assert several["data"] == str(records)
    assert several["others"][0]["differences"] == grouped["others"][0]["differences"]
    with pytest.raises(UserError, match="There is no dataset.json"):
        compare(CompareConfig(runs=(a0, b0), data_dir=str(tmp_path)))
