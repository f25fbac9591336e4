"""Labels in a DataFrame give what the CSV of the same content gives."""

import pandas as pd
import pytest

import cloudtf
from cloudtf.data import label_frame
from cloudtf.errors import UsageError, UserError


def converted(photographs_dir, output, labels=None, **options):
    cloudtf.convert(
        cloudtf.ConvertConfig(
            images_dir=f"{photographs_dir}/images", output_dir=str(output), image_height=32,
            image_width=32, num_shards=2, **options,
        ),
        labels=labels,
    )  # fmt: skip
    return {path.name: path.read_bytes() for path in output.iterdir()}


@pytest.fixture(scope="module")
def frame(photographs_dir):
    return pd.read_csv(f"{photographs_dir}/labels.csv")


def lists(frame):
    classes = frame.columns[1:]
    found = [[name for name in classes if row[name]] for _, row in frame.iterrows()]
    return pd.DataFrame({"file": frame["Image"], "classes": found})


@pytest.mark.parametrize(
    "change",
    [
        lambda frame: frame,
        # The images are the index, and the rows have been shuffled.
        lambda frame: frame.set_index("Image"),
        lambda frame: frame.set_index("Image").rename_axis(None),
        lambda frame: frame.sort_values("Image", ascending=False).iloc[::-1],
        lambda frame: frame.astype({"Fish": bool, "Sugar": float, "Gravel": "category"}),
        lambda frame: frame.astype({"Fish": "Int64", "Image": "string"}),
        # 0 and missing both say that a class is absent.
        lambda frame: frame.astype({"Fish": "Int64"}).replace({"Fish": {0: pd.NA}}),
    ],
)
def test_a_frame_gives_the_bytes_that_its_csv_gives(photographs_dir, frame, tmp_path, change):
    labels_csv = f"{photographs_dir}/labels.csv"
    expected = converted(photographs_dir, tmp_path / "csv", labels_csv=labels_csv, folds=3)
    before = frame.copy()
    changed = change(frame)
    assert converted(photographs_dir, tmp_path / "frame", changed, folds=3) == expected
    pd.testing.assert_frame_equal(frame, before)


def test_cells_may_be_lists_of_classes(photographs_dir, frame, tmp_path):
    labels_csv = f"{photographs_dir}/labels.csv"
    expected = converted(photographs_dir, tmp_path / "csv", labels_csv=labels_csv)
    assert converted(photographs_dir, tmp_path / "lists", lists(frame)) == expected


def test_rows_are_counted_as_by_iloc(photographs_dir, frame, tmp_path, capsys):
    wrong = frame.copy()
    wrong.loc[3, "Fish"] = 7
    with pytest.raises(UserError, match="labels has 1 problem.*'photo_03.jpg': row 3 has '7'"):
        converted(photographs_dir, tmp_path, wrong)


def test_an_interrupted_conversion_goes_on_with_the_same_frame_only(
    photographs_dir, frame, tmp_path, capsys
):
    converted(photographs_dir, tmp_path, frame)
    converted(photographs_dir, tmp_path, frame)
    assert "is complete already" in capsys.readouterr().out
    other = frame.assign(Fish=1 - frame["Fish"])
    with pytest.raises(UserError, match="overwrite"):
        converted(photographs_dir, tmp_path, other)


@pytest.mark.parametrize(
    ("labels", "options", "error", "sentence"),
    [
        ([("a.jpg", 1)], {}, UserError, "labels must be a pandas DataFrame, not list"),
        (pd.DataFrame({"image": ["a.jpg"]}), {}, UserError, "labels has one column only"),
        (pd.DataFrame(), {"labels_csv": "x.csv"}, UsageError, "either labels or labels_csv"),
        (pd.DataFrame(), {"label_format": "folders"}, UsageError, "either labels or label_format"),
        (None, {"folds": 2}, UsageError, "folds needs labels_csv, or label_format='folders'"),
        (None, {"group_column": "x"}, UsageError, "group_column needs labels_csv"),
    ],
)
def test_what_cannot_be_used_is_refused(
    photographs_dir, tmp_path, labels, options, error, sentence
):
    with pytest.raises(error, match=sentence):
        converted(photographs_dir, tmp_path, labels, **options)


def test_an_index_of_numbers_without_a_name_counts_rows():
    frame = pd.DataFrame({"image": ["a.jpg", "b.jpg"], "A": [1, 0]}, index=[9, 4])
    assert label_frame.table(frame).header == ["image", "A"]
    assert label_frame.table(frame.rename_axis("id")).header == ["id", "image", "A"]
