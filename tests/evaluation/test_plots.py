"""Pictures are written whole, say what they should, and fit."""

from __future__ import annotations

import re
import types

import cv2
import matplotlib.font_manager
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib.figure import Figure
from matplotlib.text import Text
from sklearn.metrics import average_precision_score

from cloudtf.errors import UserError
from cloudtf.evaluation import calibration, fonts, plots, reliability_plot, thresholds
from tests import programs

# Scripts that matplotlib's own font has, and one that is in no font.
PLAIN, ODD = "Nuage épais Ωμέγα Облако", "\U00012000\U00013000"
LONG = "A very long class name with $formula_{x}$ and no end of words in it, " * 3


@pytest.fixture
def drawn(monkeypatch):
    """The figures saved in this test."""
    figures = []
    save = Figure.savefig

    def keep(figure, *arguments, **keywords):
        figures.append(figure)
        return save(figure, *arguments, **keywords)

    monkeypatch.setattr(Figure, "savefig", keep)
    return figures


def texts(figure):
    """The texts that are seen."""
    unseen = set()
    for axes in figure.axes:
        for axis in (axes.xaxis, axes.yaxis):
            low, high = sorted(axis.get_view_interval())
            unseen |= {t.label1 for t in axis.get_major_ticks() if not low <= t.get_loc() <= high}
            if not axes.axison:
                unseen |= {t.label1 for t in axis.get_major_ticks()}
    return [
        text
        for text in figure.findobj(Text)
        if text not in unseen and text.get_visible() and text.get_text().strip()
    ]


def words(figure):
    return "\n".join(t.get_text() for t in texts(figure))


def assert_texts_fit(figure):
    """Every text is inside the picture and no two cover each other."""
    width, height = figure.get_size_inches() * figure.dpi
    boxes = [(t.get_text(), t.get_window_extent()) for t in texts(figure)]
    for text, box in boxes:
        assert box.x0 >= 0 and box.y0 >= 0, text
        assert box.x1 <= width and box.y1 <= height, text
    for index, (text, box) in enumerate(boxes):
        for other, other_box in boxes[:index]:
            assert not box.overlaps(other_box), (text, other)


def pixels(path, color):
    """How many pixels have exactly this RGB colour."""
    image = cv2.imread(str(path))[:, :, ::-1]
    return int((image == np.array(color)).all(-1).sum())


def rgb(color):
    return [int(color[i : i + 2], 16) for i in (1, 3, 5)]


def some_examples(count=400, seed=0, rate=0.4):
    rng = np.random.default_rng(seed)
    labels = rng.random(count) < rate
    return labels, np.clip(0.35 * labels + 0.65 * rng.random(count), 0, 1)


def draw_curve(path, labels, scores, name="Fish", **targets):
    labels, scores = np.asarray(labels), np.asarray(scores)
    chosen = thresholds.choose_thresholds(labels[:, None], scores[:, None], **targets)[0]
    plots.pr_curve(str(path), name, labels, scores, chosen)
    return chosen


def test_a_curve_shows_both_thresholds_the_prevalence_and_the_areas(tmp_path, drawn):
    labels, scores = some_examples()
    path = tmp_path / "curve.png"
    chosen = draw_curve(path, labels, scores)
    assert cv2.imread(str(path)).shape == (864, 900, 3)
    for color in (plots.BLUE, plots.RED, plots.GREEN):
        assert pixels(path, rgb(color)) > 100
    said = words(drawn[0])
    assert "Precision-recall curve: Fish" in said
    assert f"average precision {average_precision_score(labels, scores):.3f}" in said
    assert f"{labels.sum()} of 400 examples positive" in said
    assert f"recall at least 0.94: threshold {chosen['recall']['threshold']:.4g}" in said
    assert f"precision at least 0.9: threshold {chosen['precision']['threshold']:.4g}" in said
    assert f"prevalence {labels.mean():.3f}" in said
    marks = {line.get_marker(): line for line in drawn[0].axes[0].lines}
    for marker, kind in (("o", "recall"), ("D", "precision")):
        point = marks[marker].get_xydata()[0].tolist()
        assert point == [chosen[kind]["recall"], chosen[kind]["precision"]]


@pytest.mark.parametrize("count", [40, 400, 200_000])
def test_the_area_under_the_drawn_curve_is_the_average_precision(tmp_path, drawn, count):
    labels, scores = some_examples(count)
    draw_curve(tmp_path / "curve.png", labels, scores.round(5))
    line = next(line for line in drawn[0].axes[0].lines if line.get_drawstyle() == "steps-post")
    recall, precision = line.get_data()
    assert len(recall) <= plots._MAX_POINTS
    area = -np.sum(np.diff(recall) * precision[:-1])
    few = len(recall) < plots._MAX_POINTS
    expected = average_precision_score(labels, scores.round(5))
    assert area == pytest.approx(expected, abs=1e-12 if few else 1e-3)
    (filled,) = drawn[0].axes[0].collections[0].get_paths()
    x, y = filled.vertices.T
    assert abs(np.sum(x * np.roll(y, -1) - y * np.roll(x, -1))) / 2 == pytest.approx(area)


def test_a_band_shows_how_sure_a_curve_is_and_lines_how_sure_the_thresholds_are(tmp_path, drawn):
    labels, scores = some_examples()
    chosen = thresholds.choose_thresholds(labels[:, None], scores[:, None])[0]
    recalls = np.array([0.5, 1.0])
    band = plots.Band(recalls, np.array([0.6, 0.4]), np.array([0.9, 0.5]), [0.711, 0.822])
    plots.pr_curve(str(tmp_path / "c.png"), "Fish", labels, scores, chosen, band)
    assert "where 95 of 100 samples lie; average precision 0.711 to 0.822" in words(drawn[0])
    (filled,) = drawn[0].axes[0].collections[0].get_paths()
    assert {(0.5, 0.6), (1.0, 0.4), (0.5, 0.9), (1.0, 0.5)} <= set(map(tuple, filled.vertices))
    lines = [tuple(map(tuple, line.get_xydata())) for line in drawn[0].axes[0].lines]
    for kind in ("recall", "precision"):
        entry = chosen[kind]
        low, high = entry["intervals"]["recall"]
        assert ((low, entry["precision"]), (high, entry["precision"])) in lines
        low, high = entry["intervals"]["precision"]
        assert ((entry["recall"], low), (entry["recall"], high)) in lines
    assert_texts_fit(drawn[0])


@pytest.mark.parametrize("method", ["none", "temperature", "isotonic"])
def test_a_reliability_diagram_shows_what_was_said_and_what_is_true(tmp_path, drawn, method):
    labels, scores = some_examples(600)
    before = calibration.reliability(labels, scores)
    after = calibration.reliability(labels, scores**2)
    path = tmp_path / "r.png"
    reliability_plot.reliability(str(path), LONG, before, after, [0.05, 0.01], [0.12, 0.11], method)
    said = words(drawn[0])
    assert "calibration error 0.050" in said and ("0.010" in said) == (method != "none")
    points = [line.get_xydata().tolist() for line in drawn[0].axes[0].lines]
    assert np.stack([before.said, before.true], axis=1).tolist() in points
    assert (np.stack([after.said, after.true], axis=1).tolist() in points) == (method != "none")
    assert pixels(path, rgb(plots.ORANGE)) > 100
    assert_texts_fit(drawn[0])
    empty = calibration.reliability(np.zeros(0), np.zeros(0))
    reliability_plot.reliability(str(path), "a", empty, empty, [0.0] * 2, [0.0] * 2, method)
    assert "no examples" in words(drawn[1])


def test_an_unreachable_target_is_said_and_not_marked_on_the_curve(tmp_path, drawn):
    rng = np.random.default_rng(0)
    draw_curve(tmp_path / "c.png", rng.random(300) < 0.2, rng.random(300), precision_target=0.99)
    assert "precision at least 0.99: not reachable" in words(drawn[0])
    assert "recall at least 0.94: threshold" in words(drawn[0])
    diamond = next(line for line in drawn[0].axes[0].lines if line.get_marker() == "D")
    assert len(diamond.get_xdata()) == 0


@pytest.mark.parametrize(
    ("labels", "scores", "said"),
    [
        (np.zeros(20), np.linspace(0, 1, 20), "no positive examples"),
        (np.ones(20), np.linspace(0, 1, 20), "20 of 20 examples positive"),
        (np.ones(1), np.ones(1), "1 of 1 examples positive"),
        (np.zeros(0), np.zeros(0), "0 of 0 examples positive"),
        (np.arange(20) % 2, np.full(20, 0.5), "average precision 0.500"),
    ],
)
def test_odd_sets_have_a_picture_too(tmp_path, drawn, labels, scores, said):
    draw_curve(tmp_path / "curve.png", labels, scores)
    assert said in words(drawn[0])
    assert_texts_fit(drawn[0])


def test_long_names_and_many_epochs_fit(tmp_path, drawn):
    labels, scores = some_examples()
    draw_curve(tmp_path / "a.png", labels, scores)
    draw_curve(tmp_path / "b.png", labels, scores, name=LONG)
    for count, head in ((1, 1), (2, 1), (30, 1), (30, 29), (300, 20)):
        plots.pr_auc_history(str(tmp_path / "h.png"), history(count, head))
    plots.preview(*a_sheet(tmp_path / "p.png", 3, 2, [LONG, "", "Fish, Flower, Gravel, Sugar"])[:4])
    assert len(drawn) == 8
    for figure in drawn:
        assert_texts_fit(figure)
    assert r"with \$formula_{x}\$" in words(drawn[1]).replace("\n", " ")  # Not set as a formula.


def test_a_curve_with_a_score_that_is_not_finite_is_refused_and_writes_nothing(tmp_path):
    chosen = thresholds.choose_thresholds(np.ones((1, 1)), np.ones((1, 1)))[0]
    with pytest.raises(UserError, match="not a finite number"):
        plots.pr_curve(str(tmp_path / "c.png"), "a", np.ones(1), np.array([np.nan]), chosen)
    assert list(tmp_path.iterdir()) == []


def history(count, head=0):
    return [
        {
            "epoch": epoch,
            "stage": "head" if epoch <= head else "full",
            "train_pr_auc_mean": 1 - 0.5 / epoch,
            "val_pr_auc_mean": 0.9 - 0.4 / epoch,
        }
        for epoch in range(1, count + 1)
    ]


def lines(figure):
    return {line.get_label(): line.get_xydata().tolist() for line in figure.axes[0].lines}


def test_the_history_shows_both_curves_the_best_epoch_and_the_stages(tmp_path, drawn):
    rows = history(10, head=3)
    rows[6]["val_pr_auc_mean"] = 0.95
    path = tmp_path / "history.png"
    plots.pr_auc_history(str(path), rows)
    assert cv2.imread(str(path)).shape == (624, 1020, 3)
    found = lines(drawn[0])
    assert found["training"] == [[r["epoch"], r["train_pr_auc_mean"]] for r in rows]
    assert found["validation"] == [[r["epoch"], r["val_pr_auc_mean"]] for r in rows]
    assert found["best validation"] == [[7, 0.95]]
    boundary = [
        line.get_xdata()[0] for line in drawn[0].axes[0].lines if "_child" in str(line.get_label())
    ]
    assert boundary == [3.5]
    said = words(drawn[0])
    assert "best validation 0.9500 at epoch 7" in said
    assert "← head" in said and "full →" in said
    low, high = drawn[0].axes[0].get_ylim()
    assert 0 <= low < 0.5 and 0.95 < high <= 1


def test_history_rows_may_be_text_with_gaps_and_epochs_that_begin_anew(tmp_path, drawn):
    rows = [
        {"epoch": "1", "stage": "head", "train_pr_auc_mean": "0.5", "val_pr_auc_mean": ""},
        {"epoch": "1", "stage": "full", "train_pr_auc_mean": "nan", "val_pr_auc_mean": "0.75"},
        {"epoch": "2", "stage": "full", "val_pr_auc_mean": "0.5"},
    ]
    plots.pr_auc_history(str(tmp_path / "h.png"), rows)
    found = lines(drawn[0])
    assert found["best validation"] == [[2, 0.75]]
    np.testing.assert_array_equal(found["validation"], [[1, np.nan], [2, 0.75], [3, 0.5]])
    np.testing.assert_array_equal(found["training"], [[1, 0.5], [2, np.nan], [3, np.nan]])


@pytest.mark.parametrize("rows", [[], [{"epoch": 1, "stage": "full", "val_pr_auc_mean": None}]])
def test_a_history_without_scores_says_so(tmp_path, drawn, rows):
    plots.pr_auc_history(str(tmp_path / "h.png"), rows)
    assert "no score to draw" in words(drawn[0])
    assert_texts_fit(drawn[0])


def a_sheet(path, count, versions, titles, height=100, width=150):
    """Arguments of `preview`, every image of one colour that no other has."""
    colors = np.arange(count * (versions + 1)) * 7 + 40
    colors = np.stack([colors, 255 - colors, colors // 2], -1).astype(np.uint8)
    images = np.broadcast_to(
        colors.reshape(count, versions + 1, 1, 1, 3), (count, versions + 1, height, width, 3)
    )
    return str(path), images[:, 0], images[:, 1:], titles, colors


@pytest.mark.parametrize(("count", "versions"), [(1, 1), (1, 0), (4, 3)])
def test_a_preview_shows_every_image_and_title(tmp_path, drawn, count, versions):
    titles = ["Fish", "", "Fish, Sugar", "Gravel"][:count]
    path, originals, augmented, titles, colors = a_sheet(
        tmp_path / "preview.png", count, versions, titles
    )
    plots.preview(path, originals, augmented, titles)
    for color in colors:
        assert pixels(path, color) == pytest.approx(150 * 100, rel=0.03)
    said = words(drawn[0])
    for title in titles:
        assert (title or "no class") in said
    assert_texts_fit(drawn[0])


def test_preview_places_the_original_left_and_each_row_under_its_title(tmp_path):
    path, originals, augmented, titles, colors = a_sheet(tmp_path / "p.png", 2, 2, ["a", "b"])
    plots.preview(path, originals, augmented, titles)
    image = cv2.imread(path)[:, :, ::-1]
    places = [np.argwhere((image == color).all(-1)).mean(0) for color in colors]
    rows, columns = np.array(places).reshape(2, 3, 2).transpose(2, 0, 1)
    assert (np.diff(columns, axis=1) > 150).all() and (np.diff(rows, axis=0) > 100).all()
    assert np.ptp(rows, axis=1).max() < 1 and np.ptp(columns, axis=0).max() < 1


def test_preview_refuses_what_does_not_belong_together(tmp_path):
    path, originals, augmented, titles, _ = a_sheet(tmp_path / "p.png", 2, 2, ["a"])
    with pytest.raises(ValueError, match="1 titles do not belong together"):
        plots.preview(path, originals, augmented, titles)


def test_a_users_style_does_not_change_a_picture_nor_is_it_changed(tmp_path):
    plots.pr_auc_history(str(tmp_path / "plain.png"), history(5))
    with matplotlib.rc_context({"text.color": "white", "font.size": 30, "axes.facecolor": "red"}):
        plots.pr_auc_history(str(tmp_path / "styled.png"), history(5))
        assert matplotlib.rcParams["font.size"] == 30
    assert (tmp_path / "plain.png").read_bytes() == (tmp_path / "styled.png").read_bytes()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["plain.png", "styled.png"]


def test_neither_pyplot_nor_tensorflow_is_imported(tmp_path):
    before, after = programs.answer("draw_without_pyplot", tmp_path / "plot.png")
    assert not {"matplotlib", "sklearn", "tensorflow"} & set(before)
    assert not {"matplotlib.pyplot", "tensorflow"} & set(after)


def test_a_plain_name_is_its_own_slug():
    for name in ("Fish", "class_07", "a-b.c"):
        assert plots.slug(name) == name


tricky = st.text(alphabet="aA/\\. _-$<é\n0f", max_size=8)


@settings(max_examples=500, deadline=None)
@given(st.one_of(st.text(max_size=200), tricky), st.one_of(st.text(max_size=200), tricky))
def test_slugs_are_safe_and_distinct(one, other):
    for name in (one, other, plots.slug(one)):
        assert re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,70}", plots.slug(name))
    assert (plots.slug(one) == plots.slug(other)) == (one == other)
    # A class may even be called what another's slug is.
    assert (plots.slug(plots.slug(one)) == plots.slug(one)) == (plots.slug(one) == one)


def test_a_name_that_no_font_can_draw_is_left_to_the_caption(tmp_path, drawn, recwarn):
    for name in (PLAIN, ODD):
        path = tmp_path / "curve.png"
        chosen = thresholds.choose_thresholds(np.array([[1], [0]]), np.array([[0.9], [0.1]]))[0]
        plots.pr_curve(str(path), name, [1, 0], [0.9, 0.1], chosen)
        title = name.encode("latin-1", "backslashreplace")
        assert b"tEXtTitle\0Precision-recall curve: " + title in path.read_bytes()
    assert PLAIN in words(drawn[0])
    assert "Precision-recall curve\n" in words(drawn[1]) + "\n" and ODD not in words(drawn[1])
    assert not [w for w in recwarn if "missing from" in str(w.message)], "no boxes are drawn"


def test_rows_of_a_preview_that_no_font_can_name_are_told(tmp_path, drawn):
    images = np.zeros((2, 8, 8, 3), np.uint8)
    captions = plots.preview(str(tmp_path / "p.png"), images, images[:, None], [PLAIN, ODD])
    assert captions == [f"Row 2: {ODD}"]
    assert PLAIN in words(drawn[0]) and "row 2, see the caption" in words(drawn[0])


def test_a_script_is_drawn_with_an_installed_font_that_has_it(monkeypatch):
    assert fonts.families(PLAIN) == fonts.families("") == ["DejaVu Sans"]
    assert fonts.families(ODD) is None
    has = {"b.ttf": {0x4E00, 0x4E8C}, "a.ttf": {0x4E00}, "own": set(map(ord, PLAIN))}
    entries = [types.SimpleNamespace(fname=f, name=f[:-4]) for f in ("b.ttf", "a.ttf")]
    fonts._others.cache_clear()
    monkeypatch.setattr(fonts, "_default_path", lambda: "own")
    monkeypatch.setattr(fonts, "_characters", lambda path: frozenset(has[path]))
    monkeypatch.setattr(matplotlib.font_manager.fontManager, "ttflist", entries)
    assert fonts.families("\u4e00\u4e8c") == ["DejaVu Sans", "a", "b"]
    assert fonts.families("\u4e8c") == ["DejaVu Sans", "b"]
    assert fonts.families("\u4e09") is None
    fonts._others.cache_clear()
