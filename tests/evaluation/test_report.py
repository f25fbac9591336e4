"""The report is one page that needs nothing else and lets nothing out."""

from __future__ import annotations

import base64
import re
from html.parser import HTMLParser

import cv2
import numpy as np
import pytest

from cloudtf.errors import UserError
from cloudtf.evaluation import report, thresholds

NASTY = '<script>alert("x")</script>'


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
                    "average_precision": {
                        "Fish": [0.79, 0.85],
                        NASTY: [None, float("nan")],
                        "mean": [0.8, 0.9],
                    }
                },
            },
            "chosen_thresholds": thresholds.choose_thresholds(
                labels, scores, class_names=["Fish", NASTY]
            ),
            "history_rows": [
                {"epoch": "1", "stage": "head", "loss": "0.693147", "val_pr_auc_mean": ""},
                {"epoch": "2", "stage": "full", "loss": "0.5", "val_pr_auc_mean": "0.87654"},
            ],
            "images": {"History": picture, NASTY: picture},
            "facts": {"model": "efficientnetb2", "flags": f"--x={NASTY}\n--y=1"},
            **replaced,
        }
        path = tmp_path / "report.html"
        report.write_report(str(path), **arguments)
        return path.read_text(encoding="utf-8")

    return make


def test_the_page_refers_to_nothing_outside_itself(made, tmp_path):
    text = made()
    page = Page(text)
    picture = base64.b64encode((tmp_path / "picture.png").read_bytes()).decode()
    assert page.sources == [f"data:image/png;base64,{picture}"] * 2
    without_data = re.sub(r"base64,[A-Za-z0-9+/=]+", "", text)
    for word in ("http", "//", "url(", "@import", "<script", "<link", "<iframe", "javascript"):
        assert word not in without_data
    assert not page.tags & {"script", "link", "iframe", "object", "embed", "base", "form"}


def test_names_from_the_data_are_escaped_everywhere(made):
    text = made(title=NASTY, history_rows=[{"epoch": NASTY, "stage": NASTY}])
    assert "<script" not in text
    # Heading, title, score, note, caption, calibration, four thresholds, epoch, stage, fact.
    assert "".join(Page(text).text).count(NASTY) == 13
    assert 'alt="&lt;script&gt;alert(&quot;x&quot;)&lt;/script&gt;"' in text


def test_the_page_says_the_scores_thresholds_history_and_facts(made):
    said = " ".join(" ".join(Page(made()).text).split()).replace("\u2060", "")
    assert "12,345 examples" in said
    assert "Fish 0.8123 0.790–0.850 0.8765" in said
    assert "mean 0.8123 0.800–0.900 0.8765" in said
    assert f"{NASTY} – – –" in said
    assert "Fish 0.0300 0.0311 0.1200 0.1211" in said
    assert f"left out of the mean: {NASTY}." in said
    assert "Fish recall ≥ 0.94 0.5 1.000 (0.03–1.00) 1.000 (0.03–1.00) 6%" in said
    assert f"{NASTY} precision ≥ 0.9 not reachable – – –" in said
    assert "Fish recall ≥ 0.94, guaranteed needs 49 positives – – –" in said
    assert "2 epochs" in said
    assert "1 head 0.6931 –" in said and "2 full 0.5000 0.8765" in said
    assert "model efficientnetb2" in said


def test_the_page_fits_narrow_screens_and_dark_mode(made):
    text = made()
    assert '<meta name="viewport" content="width=device-width' in text
    assert "prefers-color-scheme: dark" in text
    assert text.count("<table") == text.count('<div class="wide"><table') == 5
    assert "overflow-x: auto" in text and "max-width: 100%" in text


def test_parts_without_content_are_left_out(made):
    page = Page(made(history_rows=[], images={}, facts={}))
    assert "img" not in page.tags and "details" not in page.tags
    assert "Settings and facts" not in page.text


def test_a_missing_picture_or_one_of_another_kind_is_refused_and_nothing_written(made, tmp_path):
    with pytest.raises(UserError, match="gone.png cannot be read"):
        made(images={"a": str(tmp_path / "gone.png")})
    (tmp_path / "text.png").write_text("not a picture")
    with pytest.raises(UserError, match="text.png is not a PNG"):
        made(images={"a": str(tmp_path / "text.png")})
    assert not (tmp_path / "report.html").exists()
