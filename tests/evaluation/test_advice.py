"""How to go on: each piece of advice rests on a figure, and is given where that is out of order."""

from __future__ import annotations

import dataclasses
import math

import pytest

from cloudtf.data.records import Manifest, Split
from cloudtf.evaluation.report import advice
from cloudtf.evaluation.report.material import Limits, Material
from cloudtf.evaluation.suspects import Suspect

LIMITS = Limits(side=128, cards=6, pictures=48, rows=1000)
MEASURES = ("pr_auc", "average_precision", "brier", "ece", "brier_calibrated", "ece_calibrated")


def metrics(**replaced):
    return {
        "examples": 1000,
        **{name: {"Fish": 0.02, "Sugar": 0.02, "mean": 0.02} for name in MEASURES},
        "average_precision": {"Fish": 0.9, "Sugar": 0.8, "mean": 0.85},
        "intervals": {"average_precision": {"mean": [0.84, 0.86]}},
        "folds": {},
        **replaced,
    }


def epochs(*scores, stage="whole", train=0.86):
    return [
        {"epoch": n, "stage": stage, "val_pr_auc_mean": score, "train_pr_auc_mean": train}
        for n, score in enumerate(scores, 1)
    ]


def manifest(side=224, sugar=400, **more):
    train = Split("train", 900, {"Fish": 400, "Sugar": sugar}, {}, ())
    return Manifest(("Fish", "Sugar"), side, side, 95, 0, {"train": train}, **more)


def copies(setting):
    """Four photographs in two groups of copies, which the conversion kept together or did not."""
    groups = (("a.jpg", "b.jpg"), ("c.jpg", "d.jpg"))
    return manifest(near_duplicates=groups, settings={"near_duplicates": setting})


# Nothing is out of order: it levelled off at its third epoch, and all classes have images.
GOOD = Material(
    title="",
    metrics=metrics(),
    chosen={"Fish": {"recall_guaranteed": {"target": 0.94}}, "Sugar": {}},
    history=epochs(0.7, 0.8, 0.85, 0.84, 0.84),
    settings={"weights": "imagenet", "train_split": "train"},
    manifest=manifest(),
)
CURVE = {"images": [100, 200, 400], "average_precision": [0.7, 0.8, 0.85], "gain": 0.05,
         "gain_interval": [0.02, 0.08]}  # fmt: skip
NEEDS = {"recall_guaranteed": {"target": 0.94, "threshold": None, "needs": 49}}


@pytest.mark.parametrize(
    ("replaced", "does", "rests_on"),
    [
        ({"settings": {"weights": "none"}}, "weights='imagenet'", "0.575 after 114 s"),
        ({"history": epochs(0.6, 0.7, 0.75, 0.8, 0.86)}, "Train longer",
         "the best epoch is number 5 of 5, and the score rose by 0.060"),
        ({"history": epochs(0.85, stage="features")}, "Train all layers", "gained 0.042"),
        ({"manifest": copies("report")}, "near_duplicates='together'", "2 copies of other"),
        ({"metrics": metrics(average_precision={"Fish": math.nan, "Sugar": 0.9, "mean": 0.9})},
         "Label images of Fish, some with and some without", "are all alike in that"),
        ({"manifest": manifest(skipped=({"file": "x.jpg", "reason": "is empty"},) * 10)},
         "Look at what was left out", "10 rows or images beside 900 that were kept, such as x.jpg"),
        ({"manifest": manifest(side=64)}, "Convert larger images", "these are 64 x 64"),
        ({"manifest": manifest(sugar=40)}, "Label more images of Sugar",
         "it has 40 to learn from and an average precision of 0.800, where the mean is 0.850"),
        ({"learning_curve": CURVE}, "Label more images:",
         "0.700 of 100, 0.800 of 200, 0.850 of 400. Twice as many may add up to 0.050"),
        ({"suspects": [Suspect("a.jpg", "Fish", 1, 0.1)] * 50}, "suspects.csv",
         "50 of 2,000, 2.5%"),
        ({"history": epochs(0.8, 0.85, 0.8, 0.8, train=0.99)}, "harder to learn",
         "0.990 on images that it was trained on and 0.850 on others"),
        ({"metrics": metrics(intervals={"average_precision": {"mean": [0.8, 0.9]}})},
         "fold='all'", "anything from 0.800 to 0.900"),
        ({"metrics": metrics(ece={"mean": 0.09}, ece_calibrated={"mean": 0.02})},
         "calibrated=True", "falls from 0.090 to 0.020"),
        ({"chosen": {"Fish": NEEDS, "Sugar": {}}}, "Judge on more images",
         "takes 49 positives, of which 1 of 2 classes have fewer"),
        ({"metrics": {k: v for k, v in metrics().items() if k != "folds"}}, "five folds",
         "0.013 and 0.008 on three sets"),
    ],
)  # fmt: skip
def test_what_is_out_of_order_is_said_with_its_figure_and_nothing_else(replaced, does, rests_on):
    assert advice.advice(GOOD, LIMITS) == ""
    text = advice.advice(dataclasses.replace(GOOD, **replaced), LIMITS).replace("&#x27;", "'")
    assert text.count("<li>") == 1
    assert does in text and rests_on in text


@pytest.mark.parametrize(
    "changed",
    [
        {"gain_interval": [-0.01, 0.11]},
        {"gain": 0.004, "gain_interval": [0.001, 0.007]},
        {"gain_interval": None},
        {"images": 3},
        {"gain": "much"},
    ],
)
def test_a_learning_curve_that_is_flat_or_not_sure_or_damaged_says_nothing(changed):
    material = dataclasses.replace(GOOD, learning_curve={**CURVE, **changed})
    assert advice.advice(material, LIMITS) == ""


def test_copies_that_are_kept_together_and_a_few_photographs_left_out_are_as_they_should_be():
    few = manifest(skipped=({"file": "x.jpg", "reason": "is empty"},) * 5)
    for kept in (manifest(near_duplicates=copies("together").near_duplicates), few):
        assert advice.advice(dataclasses.replace(GOOD, manifest=kept), LIMITS) == ""


def test_three_are_given_those_first_that_were_worth_most():
    material = dataclasses.replace(
        GOOD,
        settings={"weights": "none", "train_split": "train"},
        history=epochs(0.85, stage="features", train=0.99),
        manifest=manifest(side=32, sugar=20),
    )
    lines = advice.advice(material, LIMITS).split("<li>")[1:]
    firsts = [line.split()[0:2] for line in lines]
    assert firsts == [["Begin", "with"], ["Train", "all"], ["Convert", "larger"]]


def test_of_a_model_without_a_run_only_what_is_known_is_judged():
    material = Material(title="", metrics=metrics(), chosen=GOOD.chosen)
    assert advice.advice(material, LIMITS) == ""
