"""Tables in memory read like the CSV that would hold them."""

import json
import math

import numpy as np
import pandas as pd
import pytest

from cloudtf.data import label_csv, tables
from cloudtf.errors import UserError


def frame_table(frame):
    return tables.from_rows("the labels", list(frame), frame.itertuples(index=False, name=None))


def test_a_data_frame_reads_like_its_csv(tmp_path):
    frame = pd.DataFrame({"image": ["a.jpg", "b.jpg"], "Fish": [1, 0], "Sugar": [1.0, 0.0]})
    frame.to_csv(tmp_path / "labels.csv", index=False)
    kept = label_csv.read_labels(frame_table(frame))
    read = label_csv.read_labels(str(tmp_path / "labels.csv"))
    assert (kept.names, kept.classes) == (read.names, read.classes) == (
        ("a.jpg", "b.jpg"), ("Fish", "Sugar"),
    )  # fmt: skip
    np.testing.assert_array_equal(kept.labels, read.labels)
    assert kept.rows.tolist() == read.rows.tolist() == [2, 3]


@pytest.mark.parametrize(
    "value, text",
    [
        ("a b", "a b"),
        (None, ""),
        (math.nan, ""),
        (np.float64("nan"), ""),
        (np.float32(0.5), "0.5"),
        (np.int64(7), "7"),
        (True, "True"),
        (np.bool_(False), "False"),
        (1.0, "1.0"),
        (["Fish", "Zucker ü"], '["Fish", "Zucker ü"]'),
        (np.array([3, 0]), "[3, 0]"),
        (("a",), '["a"]'),
        ([], "[]"),
    ],
)
def test_a_value_is_the_text_that_a_csv_would_hold(value, text):
    assert tables.cell_text(value) == text


def test_rows_can_be_gone_through_again():
    table = tables.from_rows("the labels", ["image", "classes"], iter([["a.jpg", "A"]]))
    assert list(table.rows()) == list(table.rows()) == [(2, ["a.jpg", "A"])]


@pytest.mark.parametrize(
    "header, rows, message",
    [
        (["image", "image"], [], "two columns named 'image'"),
        (["image"], [], "one column only"),
        (["image", 7], [], "the labels has a header but no rows"),
        (["image", "A"], [["a.jpg", 1], ["b.jpg"]], "the labels row 3 has 1 cells, the header 2"),
    ],
)
def test_what_cannot_be_used_is_refused_by_the_name_of_the_table(header, rows, message):
    with pytest.raises(UserError, match=message):
        label_csv.read_labels(tables.from_rows("the labels", header, rows))


@pytest.mark.parametrize(
    "name, text, where",
    [
        ("labels.json", '{"a.jpg": "cat",\n "b.jpg": "dog",\n "a.jpg": "dog"}', ""),
        ("labels.jsonl", '{"image": "a.jpg", "label": "cat", "label": "dog"}', " row 1"),
    ],
)
def test_what_json_says_twice_is_refused_and_not_the_last_taken(tmp_path, name, text, where):
    (tmp_path / name).write_text(text)
    with pytest.raises(UserError, match=rf"{name}{where} is not JSON: it has '\S+' twice"):
        tables.from_file(str(tmp_path / name))


@pytest.mark.parametrize(
    "cell",
    ['{""cat"": 1, ""dog"": 0, ""cat"": 0}', "{'cat': True, 'dog': 0, 'cat': False}"],
    ids=["json", "python"],
)
def test_what_an_object_in_a_cell_says_twice_is_refused_with_its_row(tmp_path, cell):
    path = tmp_path / "labels.csv"
    path.write_text(f'image,found\na.jpg,"{{""cat"": 0, ""dog"": 1}}"\nb.jpg,"{cell}"\n')
    with pytest.raises(UserError, match="labels.csv row 3: .* 'found' .* it has 'cat' twice"):
        tables.from_file(str(path))


def test_an_object_in_a_cell_that_is_none_of_python_s_is_text(tmp_path):
    path = tmp_path / "labels.csv"
    path.write_text("image,found\na.jpg,\"{'cat': {[1]: 2}}\"\n")
    assert list(tables.from_file(str(path)).rows()) == [(2, ["a.jpg", "{'cat': {[1]: 2}}"])]


@pytest.mark.parametrize(
    "data", [5, [1, 2], [["a.jpg"]], [["a.jpg", "cat"], ["b.jpg", "cat", "x"]]]
)
def test_rows_of_json_that_do_not_fit_its_header_are_refused(tmp_path, data):
    path = tmp_path / "labels.json"
    path.write_text(json.dumps({"columns": ["image", "label"], "data": data}))
    with pytest.raises(UserError, match="has 2 columns, and row [12] of its data is no list"):
        tables.from_file(str(path))
