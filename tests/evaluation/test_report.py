"""The report is one page that needs nothing else and lets nothing out."""

from __future__ import annotations

import base64
import dataclasses
import math
import re
from html import escape
from html.parser import HTMLParser

import cv2
import numpy as np
import pytest

import cloudtf
from cloudtf.data.records import Manifest, Split
from cloudtf.errors import UserError
from cloudtf.evaluation import thresholds
from cloudtf.evaluation.examples import Example, Said
from cloudtf.evaluation.report import page, parts
from cloudtf.evaluation.report.material import Material
from cloudtf.evaluation.suspects import Suspect

NASTY = '<script>alert("x")</script>'
PIXELS = np.full((20, 30, 3), 99, np.uint8)


class Page(HTMLParser):
    """Collects tags, attributes and text, and checks that tags are balanced."""

    void = {"meta", "img", "link", "br"}

    def __init__(self, text):
        super().__init__()
        self.tags, self.sources, self.text, self.open = set(), [], [], []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.tags.add(tag)
        self.sources += [value for name, value in attrs if name in ("src", "href", "srcset")]
        assert not any(name.startswith("on") for name, _ in attrs)
        if tag not in self.void:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text.append(data)


MANIFEST = Manifest(
    classes=("Fish", "Sugar"),
    image_height=64,
    image_width=64,
    jpeg_quality=95,
    seed=0,
    splits={
        "train": Split("train", 80, {"Fish": 40, "Sugar": 8}, {}, (), {}, {"Sugar": 40}),
        "val": Split("val", 20, {"Fish": 10, "Sugar": 0}, {}, ()),
    },
    near_duplicates=(("a.jpg", "b.jpg"),),
)


def of(*names, **replaced):
    """The content of metrics.json, of these classes."""
    every = dict.fromkeys((*names, "mean"), 0.5)
    measures = ("pr_auc", "average_precision", "brier", "ece", "brier_calibrated", "ece_calibrated")
    return {
        "examples": 100,
        **dict.fromkeys(measures, every),
        "intervals": dict.fromkeys(measures, dict.fromkeys(every, [0.49, 0.51])),
        **replaced,
    }


@pytest.fixture
def made(tmp_path):
    """Makes a report of two classes; returns its text. Keywords replace arguments."""

    def make(**replaced):
        picture = str(tmp_path / "picture.png")
        cv2.imwrite(picture, np.full((20, 30, 3), 99, np.uint8))
        labels, scores = np.array([[1, 0], [0, 0]]), np.array([[0.75, 0.5], [0.25, 0.5]])
        arguments = {
            "title": "A run",
            "metrics": {
                "examples": 12345,
                "pr_auc": {"Fish": 0.87654, NASTY: None, "mean": 0.87654},
                "average_precision": {"Fish": 0.81234, NASTY: float("nan"), "mean": 0.81234},
                **{
                    measure + suffix: {"Fish": value + len(suffix) / 1e4, NASTY: None, "mean": 0.5}
                    for measure, value in (("brier", 0.12), ("ece", 0.03))
                    for suffix in ("", "_calibrated")
                },
                "intervals": {
                    **dict.fromkeys(
                        ("brier", "ece", "brier_calibrated", "ece_calibrated"),
                        {"Fish": [0.01, 0.2], NASTY: [None, None], "mean": [0.4, 0.6]},
                    ),
                    "pr_auc": {
                        "Fish": [0.85, 0.9],
                        NASTY: [None, float("nan")],
                        "mean": [0.84, 0.89],
                    },
                    "average_precision": {
                        "Fish": [0.79, 0.85],
                        NASTY: [None, float("nan")],
                        "mean": [0.8, 0.9],
                    },
                },
            },
            "chosen": thresholds.choose_thresholds(labels, scores, class_names=["Fish", NASTY]),
            "source": {"split": "val", "examples": 12345, "confidence": 0.95},
            "history": [
                {"epoch": "1", "stage": "head", "loss": "0.693147", "val_pr_auc_mean": ""},
                {"epoch": "2", "stage": "full", "loss": "0.5", "val_pr_auc_mean": "0.87654"},
            ],
            "pictures": {"history": {"History": picture}, "curves": {NASTY: picture}},
            "facts": {"model": "efficientnetb2", "flags": f"--x={NASTY}\n--y=1"},
            "labels": labels,
            "scores": scores,
            "examples": {
                "Worst": [Example(NASTY, PIXELS, NASTY, PIXELS, NASTY, [Said(NASTY, 0.25, 1)])]
            },
            "suspects": [Suspect(NASTY, NASTY, 1, 0.03, 7)],
            "thumbnails": {NASTY: PIXELS},
            **replaced,
        }
        path = tmp_path / "report.html"
        page.write(str(path), Material(**arguments))
        return path.read_text(encoding="utf-8")

    return make


def sections(text):
    """Heading -> what stands under it."""
    return dict(re.findall(r"<section>\n<h2>(.*?)</h2>\n(.*?)\n</section>", text, re.DOTALL))


def said(text):
    """The words of a page or a part of it."""
    return " ".join(" ".join(Page(text).text).split()).replace("\u2060", "")


def test_the_page_refers_to_nothing_outside_itself(made, tmp_path):
    text = made()
    page = Page(text)
    picture = base64.b64encode((tmp_path / "picture.png").read_bytes()).decode()
    assert page.sources.count(f"data:image/png;base64,{picture}") == 2
    thumbnails = [one for one in page.sources if one.startswith("data:image/jpeg;base64,")]
    assert len(thumbnails) == 3 and len(page.sources) == 5
    without_data = re.sub(r"base64,[A-Za-z0-9+/=]+", "", text)
    for word in ("http", "//", "url(", "@import", "<script", "<link", "<iframe", "javascript"):
        assert word not in without_data
    assert not page.tags & {"script", "link", "iframe", "object", "embed", "base", "form"}


def test_names_from_the_data_are_escaped_everywhere(made):
    text = made(title=NASTY, history=[{"epoch": NASTY, "stage": NASTY}])
    assert "<script" not in text
    found = sections(text)
    without = {heading for heading, body in found.items() if escape(NASTY) not in body}
    assert without == {"What cleaning would do"}
    assert f"<h1>{escape(NASTY)}</h1>" in text
    assert 'alt="&lt;script&gt;alert(&quot;x&quot;)&lt;/script&gt;"' in text


def test_the_page_says_the_scores_thresholds_history_and_facts(made):
    words = said(made())
    assert "12,345 examples" in words
    assert "Fish 0.8123 0.790–0.850 0.8765 (0.850–0.900)" in words
    assert "mean 0.8123 0.800–0.900 0.8765 (0.840–0.890)" in words
    assert f"{NASTY} – – –" in words
    sure = "(0.010–0.200)"
    assert f"Fish 0.0300 {sure} 0.0311 {sure} 0.1200 {sure} 0.1211 {sure}" in words
    assert f"left out of the mean: {NASTY}." in words
    assert "are those of 12,345 examples of val, with 95% intervals" in words
    assert "Fish recall ≥ 0.94 0.5 1.000 (0.03–1.00) 1.000 (0.03–1.00) 6%" in words
    assert f"{NASTY} precision ≥ 0.9 not reachable – – –" in words
    assert "Fish recall ≥ 0.94, guaranteed needs 49 positives – – –" in words
    assert "2 epochs" in words
    assert "1 head 0.6931 –" in words and "2 full 0.5000 0.8765" in words
    assert "model efficientnetb2" in words
    assert f"{NASTY} 0.25: is there" in words
    assert f"{NASTY}: label says is there its probability by the model: 0.03" in words


def test_the_version_and_the_day_are_on_it_and_nothing_else_changes(made, monkeypatch):
    text = made()
    assert re.search(rf"· cloudtf {re.escape(cloudtf.__version__)}, 20\d\d-\d\d-\d\d<", text)
    monkeypatch.setattr(page, "_today", lambda: "2040-01-01")
    again = made()
    assert "2040-01-01" in again
    assert re.sub(r"20\d\d-\d\d-\d\d", "", again) == re.sub(r"20\d\d-\d\d-\d\d", "", text)


def test_the_page_fits_narrow_screens_and_dark_mode(made):
    text = made()
    assert '<meta name="viewport" content="width=device-width' in text
    assert "prefers-color-scheme: dark" in text
    assert text.count("<table") == text.count('<div class="wide"><table')
    assert "overflow-x: auto" in text and "max-width: 100%" in text


def test_on_a_narrow_screen_each_threshold_is_a_card_that_names_all_its_columns(made):
    body = sections(made())["Thresholds"]
    assert '<table class="loose cards">' in body
    rows = body.split("<tr>")[2:]
    assert len(rows) == 8
    for row in rows:
        labels = re.findall(r'data-label="([^"]*)"', row)
        assert labels == ["Threshold", "Precision", "Recall", "Sure"]


def test_on_paper_nothing_is_folded_and_pictures_stay_with_their_captions(made):
    text = made()
    assert "<details" in text and "<details>" not in text
    rules = re.search(r"@media print \{(.*?)\n\}", text, re.DOTALL)[1]
    assert re.search(r"figure,[^{]*\{ break-inside: avoid; \}", rules)
    assert "color-scheme: light" in rules and "max-height: none" in rules


def test_parts_without_content_are_left_out(made):
    text = made(history=[], pictures={}, facts={}, labels=None, scores=None, examples={},
                suspects=[])  # fmt: skip
    assert "img" not in Page(text).tags and "details" not in Page(text).tags
    assert list(sections(text)) == ["Scores", "How to go on", "Thresholds", "Calibration"]


def test_a_page_too_large_loses_pictures_until_it_is_under_5_megabytes(made, tmp_path):
    noise = np.random.default_rng(0).integers(0, 256, (200, 200, 3), np.uint8)
    path = str(tmp_path / "noise.png")
    cv2.imwrite(path, noise)
    captions = {f"curve {number:02}": path for number in range(48)}
    text = made(pictures={"curves": captions}, thumbnails={NASTY: noise})
    assert 1e6 < len(text.encode()) < 5e6
    kept = re.findall(r"<figcaption>(curve \d\d)", text)
    # The worst come first, and the best last.
    assert kept == [f"curve {number:02}" for number in (*range(8), *range(40, 48))]


def test_a_missing_picture_or_one_of_another_kind_is_refused_and_nothing_written(made, tmp_path):
    with pytest.raises(UserError, match="gone.png cannot be read"):
        made(pictures={"curves": {"a": str(tmp_path / "gone.png")}})
    (tmp_path / "text.png").write_text("not a picture")
    with pytest.raises(UserError, match="text.png is not a PNG"):
        made(pictures={"curves": {"a": str(tmp_path / "text.png")}})
    assert not (tmp_path / "report.html").exists()


def test_a_histogram_has_the_images_on_both_sides_and_the_thresholds(made):
    labels = np.array([[1, 0]] * 4 + [[0, 0]] * 5 + [[-1, 0]])
    scores = np.array([[0.91] * 2] * 3 + [[0.11] * 2] + [[0.12] * 2] * 5 + [[0.5] * 2])
    chosen = thresholds.choose_thresholds(labels, scores, class_names=["Fish", "Sugar"])
    body = sections(made(labels=labels, scores=scores, chosen=chosen, metrics=of("Fish", "Sugar")))[
        "Scores of the images"
    ]
    fish = body[: body.index("Sugar: ")]
    assert "Fish: there in 4, not there in 5" in fish, "an unknown one is neither"
    bars = re.findall(r'class="(\w+)" x="([\d.]+)" y="[\d.]+" width="16.0" height="([\d.]+)"', fish)
    # Bins of 18 units; one of four is as long as the root of a third.
    assert [(kind, float(x)) for kind, x, _ in bars] == [
        ("present", 37.0), ("present", 325.0), ("absent", 37.0),
    ]  # fmt: skip
    assert float(bars[0][2]) == pytest.approx(float(bars[1][2]) / math.sqrt(3), abs=0.1)
    at = chosen["Fish"]["precision"]["threshold"]
    assert 0.12 < at < 0.91
    assert f">precision {at:.4g}</text>" in fish and f'x1="{360 * at:.1f}"' in fish


def test_cleaning_counts_what_each_threshold_empties(made):
    labels = np.array([[1, 0], [1, 1], [0, 1], [0, -1]])
    scores = np.array([[0.9, 0.2], [0.4, 0.8], [0.3, 0.7], [0.6, 0.1]])
    chosen = thresholds.choose_thresholds(labels, scores, class_names=["Fish", "Sugar"])
    assert chosen["Fish"]["precision"]["threshold"] == 0.75
    body = sections(made(labels=labels, scores=scores, chosen=chosen, metrics=of("Fish", "Sugar")))[
        "What cleaning would do"
    ]
    words = said(body)
    assert "Of 7 pairs" in words
    # By recall, Fish under 0.35 and Sugar under 0.45; by precision, Fish under 0.75.
    assert "recall 2 2 0" in words and "precision 4 3 1" in words
    assert "Contest" not in words, "the records have no masks"
    masked = dataclasses.replace(MANIFEST, mask_side=28)
    text = made(labels=labels, scores=scores, calibrated=scores, chosen=chosen, manifest=masked,
                metrics=of("Fish", "Sugar"))  # fmt: skip
    words = said(sections(text)["What cleaning would do"])
    # Two rightly: 2 of 7 more. Three rightly and one of Dice 0.55 wrongly: (3 - 0.55) / 7.
    assert "recall 2 2 0 +0.286 (" in words and "precision 4 3 1 +0.350 (" in words
    # Under 1 / 1.55 = 0.645 of the probability.
    assert "expected Dice, of masks of 0.55 4 3 1 +0.350 (" in words
    # All of one group: there is no other draw of such.
    text = made(labels=labels, scores=scores, chosen=chosen, manifest=masked, groups=[0] * 4,
                metrics=of("Fish", "Sugar"))  # fmt: skip
    words = said(sections(text)["What cleaning would do"])
    assert "recall 2 2 0 +0.286 (+0.286 to +0.286)" in words


def test_slices_are_told_beside_the_rest(made):
    scores = {"pr_auc": 0.61, "interval": [0.5, 0.7], "rest": 0.8, "difference": -0.19}
    scores["difference_interval"] = [-0.3, -0.08]
    none = {**dict.fromkeys(scores), "interval": [None, None], "difference_interval": [None, None]}
    few = {"value": "other", "joined": 3, "examples": 9, "positives": {}, "differs": False, **none}
    metrics = of(
        "Fish", NASTY,
        slices={
            NASTY: [
                {"value": NASTY, "examples": 1200, "positives": {}, "differs": True, **scores}, few
            ]
        },
        resamples={"count": 1000, "seed": 0, "groups": 77},
    )  # fmt: skip
    found = sections(made(metrics=metrics))
    text = said(found["Parts of the images"])
    assert f"{NASTY}: {NASTY} 1,200 0.6100 0.500–0.700 0.8000 -0.1900 (-0.300–-0.080) worse" in text
    assert f"{NASTY}: 3 other values 9 – – – –" in text
    assert "77 groups that belong together" in said(found["Thresholds"])
    assert "Parts of the images" not in sections(made())


def test_almost_all_is_not_called_all():
    shares = (None, 0.5, 0.994, 0.9951, 0.99999, 1)
    assert [parts.percent(share) for share in shares] == [
        "–", "50%", "99%", ">99%", ">99%", "100%",
    ]  # fmt: skip


def test_the_splits_are_told_with_what_each_has_of_a_class(made):
    words = said(sections(made(manifest=MANIFEST))["Classes and splits"])
    assert "Class train val images 80 20 Fish 40 (50%) 10 (50%) Sugar 8 (20%) 0 (0%)" in words
    assert "There is no image of Sugar in val. 2 images are copies of others, in 1 groups." in words


def test_the_time_of_a_stage_follows_from_its_images_and_their_rate(made):
    rows = [
        {"epoch": 1, "stage": "features", "images_per_second": 40.0},
        {"epoch": 2, "stage": "whole", "images_per_second": 8.0},
        {"epoch": 3, "stage": "whole", "images_per_second": 4.0},
    ]
    settings = {"train_split": "train", "batch_size": "32"}
    words = said(sections(made(manifest=MANIFEST, history=rows, settings=settings))["History"])
    assert "features 1 80 2 s – – 40.0" in words
    assert "whole 2 160 30 s – – 5.3" in words
    assert "Training took 32 s, without what judges and saves after each epoch" in words
    assert "Training took" not in said(sections(made(history=rows))["History"]), "of what?"


def test_judging_and_saving_are_told_and_all_folds_together(made):
    def rows(seconds):
        times = {"judging_seconds": seconds, "saving_seconds": 1.0, "images_per_second": 10.0}
        return [{"epoch": epoch, "stage": "whole", **times} for epoch in (1, 2)]

    settings = {"train_split": "train", "batch_size": "32"}
    words = said(sections(made(manifest=MANIFEST, history=rows(4.0), settings=settings))["History"])
    assert "Training Judging Saving Images/s whole 2 160 16 s 8 s 2 s 10.0" in words
    assert "The run took 26 s, without its start and its last checkpoint." in words
    splits = {f"fold{n}": MANIFEST.splits["train"] for n in range(3)}
    folded = dataclasses.replace(MANIFEST, splits={**MANIFEST.splits, **splits})
    settings = {**settings, "fold": "all"}
    histories = {f"fold{n}": rows(10.0 * n) for n in range(3)}
    text = made(manifest=folded, history=[], fold_histories=histories, settings=settings)
    words = said(sections(text)["History"])
    assert "whole 6 960 96 s 60 s 6 s 10.0" in words and "The run of 3 folds took" in words
