"""Submissions are cleaned exactly where the classifier disbelieves, and nowhere else."""

from __future__ import annotations

import csv
import os

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cloudtf.commands import app
from cloudtf.errors import UserError
from cloudtf.model import calibration, thresholds
from cloudtf.submission import predictions
from cloudtf.submission.postprocess import PostprocessConfig, PostprocessResult, describe
from cloudtf.submission.postprocess import postprocess as run_postprocess

SUBMISSION = """\
Image_Label,EncodedPixels
b.jpg_Sugar,1 5 9 2
a_1.jpg_Fish,3 4
a_1.jpg_Sugar,
b.jpg_Fish,7 1
"""


def entry(threshold):
    found = {"target": 0.94, "threshold": threshold, "precision": 0.5, "recall": 0.95}
    return {"recall": found, "precision": {**found, "threshold": 0.999}}


@pytest.fixture
def files(tmp_path):
    """A valid set of inputs; keywords replace flags."""

    class Files:
        folder = tmp_path
        submission = tmp_path / "submission.csv"
        predictions = tmp_path / "predictions.csv"
        thresholds = tmp_path / "thresholds.json"
        output = tmp_path / "clean.csv"

        def config(self, **replaced):
            paths = {
                name: str(getattr(self, name))
                for name in ("submission", "predictions", "thresholds", "output")
            }
            return PostprocessConfig(**{**paths, **replaced})

    made = Files()
    made.submission.write_text(SUBMISSION)
    # The images are in another order than the submission's, and one is not in it.
    made.predictions.write_text(
        "Image,Sugar,Fish\nunused.jpg,0.5,0.5\na_1.jpg,0.1,0.39999\nb.jpg,0.2,0.4\n"
    )
    thresholds.write(str(made.thresholds), {"Fish": entry(0.4), "Sugar": entry(0.3)})
    return made


def test_masks_under_the_recall_threshold_are_emptied_and_nothing_else(files, capsys):
    result = run_postprocess(files.config())
    assert files.output.read_bytes() == (
        b"Image_Label,EncodedPixels\nb.jpg_Sugar,\na_1.jpg_Fish,\na_1.jpg_Sugar,\nb.jpg_Fish,7 1\n"
    )
    assert result == PostprocessResult(
        masks={"Sugar": 1, "Fish": 2},
        removed={"Sugar": 1, "Fish": 1},
        never_emptied=(),
        unused_predictions=1,
    )
    printed = capsys.readouterr().out
    assert [line.split() for line in printed.splitlines()[:5]] == [
        ["Recall", "thresholds", "of", "examples", "that", "the", "file", "does", "not", "name."],
        ["class", "masks", "removed", "left"],
        ["Sugar", "1", "1", "0"],
        ["Fish", "2", "1", "1"],
        ["total", "3", "2", "1"],
    ]
    assert "Predicted images that the submission does not name: 1." in printed
    assert f"Wrote {files.output}." in printed


def test_it_says_what_the_thresholds_were_chosen_from(files, capsys):
    classes = thresholds.read(str(files.thresholds)).classes
    thresholds.write(str(files.thresholds), classes, {"split": "train", "examples": 1234})
    run_postprocess(files.config())
    assert "Recall thresholds of 1,234 examples of train." in capsys.readouterr().out


def test_a_score_equal_to_the_threshold_keeps_its_mask(files):
    score = np.float32(0.7)
    predictions.write(
        str(files.predictions), ["a_1.jpg", "b.jpg"], np.full((2, 2), score), ["Fish", "Sugar"]
    )
    just_above = float(np.nextafter(np.float64(score), 1))
    thresholds.write(
        str(files.thresholds), {"Fish": entry(float(score)), "Sugar": entry(just_above)}
    )
    assert run_postprocess(files.config()).removed == {"Fish": 0, "Sugar": 1}


def test_a_class_without_threshold_is_never_emptied_and_the_table_says_so(files, capsys):
    thresholds.write(str(files.thresholds), {"Fish": entry(None), "Sugar": entry(1.0)})
    result = run_postprocess(files.config())
    assert result.removed == {"Sugar": 1, "Fish": 0} and result.never_emptied == ("Fish",)
    assert "Fish: no threshold reaches the target" in capsys.readouterr().out
    assert "a_1.jpg_Fish,3 4\n" in files.output.read_text()


def test_the_threshold_that_is_asked_for_decides(files):
    kinds = {kind: {**entry(0.4)["recall"], "threshold": 0.1} for kind in thresholds.KINDS}
    kinds["precision_guaranteed"]["threshold"] = 0.9
    thresholds.write(str(files.thresholds), {"Fish": kinds, "Sugar": kinds})
    for kind in thresholds.KINDS:
        result = run_postprocess(files.config(present_at=kind))
        strict = kind == "precision_guaranteed"
        assert result.removed == ({"Fish": 2, "Sugar": 1} if strict else {"Fish": 0, "Sugar": 0})


@pytest.mark.parametrize(
    ("kind", "how"),
    [
        ("recall_guaranteed", "make it again with `cloudtf evaluate`."),
        ("f_beta", "make it again with `cloudtf evaluate` and beta=1."),
        ("cost", "make it again with `cloudtf evaluate` and costs='5:1'."),
    ],
)
def test_a_threshold_that_the_file_does_not_have_is_refused(files, kind, how):
    with pytest.raises(UserError, match=f"thresholds.json has no '{kind}' thresholds for") as error:
        run_postprocess(files.config(present_at=kind))
    assert str(error.value).endswith(how) and not files.output.exists()


BENT = {"method": "isotonic", "from": [0.0, 0.5, 1.0], "to": [0.0, 0.1, 1.0]}


def test_calibrated_predictions_are_compared_with_calibrated_thresholds(files):
    run_postprocess(files.config())
    expected = files.output.read_bytes()
    source = {"weights_sha256": "a"}
    each = {"Fish": entry(0.4), "Sugar": entry(0.3)}
    thresholds.write(str(files.thresholds), each, source)
    path, classes = str(files.folder / "calibration.json"), {"Fish": BENT, "Sugar": BENT}
    with pytest.raises(UserError, match="calibrated=True needs .*calibration.json"):
        run_postprocess(files.config(calibrated=True))
    calibration.write(path, classes, source)
    names, scores, class_names = predictions.read(str(files.predictions))
    after = calibration.read(path).apply(scores, class_names)
    assert (after < 0.3).all(), "under every threshold as it was"
    predictions.write(str(files.predictions), names, after, class_names)
    run_postprocess(files.config(calibrated=True))
    assert files.output.read_bytes() == expected
    for others in ({"Fish": BENT}, classes):
        calibration.write(path, others, source if others != classes else {"weights_sha256": "b"})
        with pytest.raises(UserError, match="are of different models; make both again"):
            run_postprocess(files.config(calibrated=True))


def test_a_dry_run_prints_the_same_table_and_writes_nothing(files, capsys):
    before = sorted(os.listdir(files.folder))
    result = run_postprocess(files.config(dry_run=True))
    printed = capsys.readouterr().out
    assert sorted(os.listdir(files.folder)) == before
    assert "nothing was written" in printed and "Wrote" not in printed
    assert result == run_postprocess(files.config())
    assert capsys.readouterr().out.splitlines()[:-1] == printed.splitlines()[:-1]


def test_cells_that_stay_are_the_same_to_the_byte(files):
    cells = [
        "NA",
        "null",
        "1e5 2",
        " 1 2 ",
        "001 2",
        "",
        "  ",
        '1 "2',
        "1,2",
        "nan",
        "1 2" * 99_999,
    ]
    images = [f"im {i}.jpg" for i in range(len(cells))]
    with files.submission.open("w", newline="") as file:
        csv.writer(file).writerows(
            [["Image_Label", "EncodedPixels"]]
            + [[f"{image}_Fish", cell] for image, cell in zip(images, cells)]
        )
    predictions.write(str(files.predictions), images, np.ones((len(images), 1)), ["Fish"])
    thresholds.write(str(files.thresholds), {"Fish": entry(0.5)})
    result = run_postprocess(files.config())
    assert result.masks == {"Fish": 6} and result.removed == {"Fish": 0}
    with files.output.open(newline="") as file:
        limit = csv.field_size_limit(10**7)
        assert list(csv.reader(file))[1:] == [[f"{i}_Fish", c] for i, c in zip(images, cells)]
        csv.field_size_limit(limit)
    assert b"\r" not in files.output.read_bytes()
    # Cleaning a clean submission changes no byte.
    again = run_postprocess(
        files.config(submission=str(files.output), output=str(files.folder / "again.csv"))
    )
    assert again == result
    assert (files.folder / "again.csv").read_bytes() == files.output.read_bytes()


@pytest.mark.parametrize(
    "cell", ["", " ", "nan", "NaN", "NULL", "null", "None", "NA", "N/A", "<NA>", "-1", " -1", "0"]
    + ["1 1", "0 0"]
)  # fmt: skip
def test_what_stands_for_no_mask_is_none_and_stays(files, cell):
    files.submission.write_text(SUBMISSION.replace("3 4", cell))
    result = run_postprocess(files.config())
    assert result.masks == {"Sugar": 1, "Fish": 1} and result.removed == {"Sugar": 1, "Fish": 0}
    assert f"a_1.jpg_Fish,{cell}\n" in files.output.read_text()


@pytest.mark.parametrize("extension", [".jpg", ""])
def test_classes_with_underscores_are_told_by_the_predictions(files, extension):
    files.predictions.write_text(
        "Image,Open_Water,Sand,Water\na.jpg,0.1,0.9,0.9\na_1.jpg,0.9,0.1,0.9\n"
    )
    thresholds.write(
        str(files.thresholds), {name: entry(0.5) for name in ("Open_Water", "Sand", "Water")}
    )
    names = [f"{i}{extension}_{c}" for i in ("a", "a_1") for c in ("Open_Water", "Sand", "Water")]
    files.submission.write_text(
        "Image_Label,EncodedPixels\n" + "".join(f"{name},1 2\n" for name in names)
    )
    assert run_postprocess(files.config()).removed == {"Open_Water": 1, "Sand": 1, "Water": 0}
    emptied = [line for line in files.output.read_text().splitlines() if line.endswith(",")]
    assert emptied == [f"a{extension}_Open_Water,", f"a_1{extension}_Sand,"]


def test_a_name_that_may_be_two_pairs_is_refused(files):
    files.predictions.write_text("Image,Open_Water,Water\na.jpg,0.1,0.9\na_Open.jpg,0.9,0.1\n")
    thresholds.write(str(files.thresholds), {n: entry(0.5) for n in ("Open_Water", "Water")})
    files.submission.write_text("Image_Label,EncodedPixels\na_Open_Water,1 2\n")
    with pytest.raises(UserError, match="may be the image and class 'a_Open' and 'Water' or 'a'"):
        run_postprocess(files.config())


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_pairing_is_by_name_whatever_the_orders(tmp_path_factory, data):
    folder = tmp_path_factory.mktemp("s")
    images, classes = ["a.jpg", "b_c.jpg", "d.jpg", "e"], ["Fish", "Sugar", "Rain"]
    tenths = st.integers(0, 10).map(lambda n: n / 10)
    scores = {(i, c): data.draw(tenths) for i in images for c in classes}
    lowest = {c: data.draw(st.one_of(st.none(), tenths)) for c in classes}
    predicted = data.draw(st.permutations(images))
    columns = data.draw(st.permutations(classes))
    table = np.array([[scores[i, c] for c in columns] for i in predicted])
    predictions.write(str(folder / "p.csv"), predicted, table, columns)
    thresholds.write(
        str(folder / "t.json"),
        {c: entry(lowest[c]) for c in data.draw(st.permutations(classes))},
    )
    rows = data.draw(st.permutations([(i, c) for i in images for c in classes]))
    rows = rows[: data.draw(st.integers(0, len(rows)))]
    masks = [data.draw(st.sampled_from(["", "1 2", "5 6 7 8"])) for _ in rows]
    header = "Image_Label,EncodedPixels\n"
    lines = [f"{i}_{c},{mask}\n" for (i, c), mask in zip(rows, masks)]
    (folder / "s.csv").write_text(header + "".join(lines))
    names = {"submission": "s.csv", "predictions": "p.csv", "thresholds": "t.json"}
    result = run_postprocess(
        PostprocessConfig(
            output=str(folder / "o.csv"), **{k: str(folder / v) for k, v in names.items()}
        )
    )
    expected, removed = header, dict.fromkeys(columns, 0)
    for (image, name), mask in zip(rows, masks):
        believed = lowest[name] is None or scores[image, name] >= lowest[name]
        removed[name] += bool(mask) and not believed
        expected += f"{image}_{name},{mask if believed else ''}\n"
    assert (folder / "o.csv").read_text() == expected
    assert result.removed == removed
    assert result.unused_predictions == len(images) - len({i for i, _ in rows})


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("c.jpg_Fish,1 2", "Line 6 of .*submission.csv names the image 'c.jpg', which has no pred"),
        ("c.jpg_Fish,", "names the image 'c.jpg', which has no predictions"),
        ("b.jpg_Rain,1 2", "Line 6 .* names the class 'Rain', which .* has Sugar, Fish"),
        ("b.jpg_Fish,7 1", "Line 6 .* repeats 'b.jpg_Fish'"),
        ("Fish,1 2", "Line 6 .* Image_Label 'Fish'; it must be IMAGE_CLASS"),
        ("_Fish,1 2", "Image_Label '_Fish'"),
        ("b.jpg_,1 2", "Image_Label 'b.jpg_'"),
        (",1 2", "Image_Label ''"),
        ("b.jpg_Fish", "Line 6 .* has 1 cells where the header has 2"),
        ("b.jpg_Fish,1,2", "Line 6 .* has 3 cells"),
        ('"b.jpg_Fish,1', "is not CSV"),
    ],
)
def test_a_bad_row_is_refused_by_line_and_nothing_is_written(files, row, message):
    files.submission.write_text(SUBMISSION + row + "\n")
    with pytest.raises(UserError, match=message):
        run_postprocess(files.config())
    assert not files.output.exists()


@pytest.mark.parametrize(
    "header",
    [
        "Image_Label",
        "EncodedPixels,Image_Label",
        "Image_Label;EncodedPixels",
        ",Image_Label,EncodedPixels",
    ],
)
def test_other_columns_are_refused(files, header):
    files.submission.write_text(header + "\n")
    with pytest.raises(UserError, match="columns of the submission .* must be 'Image_Label,Enc"):
        run_postprocess(files.config())


@pytest.mark.parametrize("classes", [["Fish"], ["Fish", "Sugar", "Rain"], ["Fish", "sugar"]])
def test_thresholds_of_other_classes_than_the_predictions_are_refused(files, classes):
    thresholds.write(str(files.thresholds), {name: entry(0.5) for name in classes})
    with pytest.raises(UserError, match="The classes of .* differ; take both from one model"):
        run_postprocess(files.config())
    assert not files.output.exists()


@pytest.mark.parametrize("name", ["submission", "predictions", "thresholds"])
def test_an_input_is_never_written_over_under_any_of_its_names(files, name):
    target = getattr(files, name)
    before = target.read_bytes()
    os.symlink(target, files.folder / "link")
    os.link(target, files.folder / "hard")
    for other in (
        target,
        files.folder / ".." / files.folder.name / target.name,
        files.folder / "link",
        files.folder / "hard",
    ):
        with pytest.raises(UserError, match=f"is the file of {name}, which is never written"):
            run_postprocess(files.config(output=str(other)))
    assert target.read_bytes() == before


@pytest.mark.parametrize("width", [40, 80])
def test_the_table_fits_its_width(width):
    long = "a_class_name_of_more_than_40_columns_______"
    result = PostprocessResult(
        masks={"Fish": 12345, "Stratocumulus": 7, long[: width - 1]: 1},
        removed={"Fish": 345, "Stratocumulus": 7, long[: width - 1]: 0},
        never_emptied=("Stratocumulus",),
        unused_predictions=12,
    )
    table = describe(result, width)
    assert max(map(len, table.splitlines())) <= width
    assert long[: width - 1] in table  # Not cut.
    assert "12345" in table and "12000" in table


def test_the_command_cleans_and_turns_bad_input_into_a_sentence(files, capsys):
    flags = [
        f"--{name}={getattr(files, name)}"
        for name in ("submission", "predictions", "thresholds", "output")
    ]
    assert app.main(["postprocess", *flags]) == 0
    assert "b.jpg_Fish,7 1" in files.output.read_text()
    files.submission.write_text(SUBMISSION + "b.jpg_Rain,\n")
    capsys.readouterr()
    assert app.main(["postprocess", *flags]) == 1
    error = capsys.readouterr().err
    assert error.startswith("cloudtf postprocess: Line 6 of ") and error.count("\n") == 1
    assert app.main(["postprocess", *flags[1:]]) == 2
    assert "--submission is required" in capsys.readouterr().err


def test_the_table_of_many_classes_is_bounded():
    masks = {f"class {i}": 5 for i in range(1000)}
    removed = {name: i % 100 for i, name in enumerate(masks)}
    lines = describe(PostprocessResult(masks, removed, tuple(masks), 0)).splitlines()
    assert len(lines) < 90 and "976 more classes" in "\n".join(lines)
    assert lines[1].split()[2:] == ["5", "99", "-94"], "the most removed come first"
    assert "total" in "\n".join(lines[:30])
