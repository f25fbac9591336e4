"""Labels that look wrong: found, in order, with the row to correct, and written by evaluate."""

import csv
import shutil

import cv2
import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import cloudtf
from cloudtf.data import tables
from cloudtf.evaluation import suspects
from cloudtf.evaluation.evaluate import label_rows

CLASSES = ("Fish", "Flower", "Gravel")


def test_the_confidently_contradicted_come_first():
    labels = np.array([[1], [1], [1], [0], [0], [0], [1], [0]])
    scores = np.array([[0.9], [0.8], [0.02], [0.95], [0.2], [0.1], [0.45], [0.5]])
    found = suspects.find(labels, scores, list("abcdefgh"), ["Fish"])
    # Of c and d the model is as sure of the other as it is of images labelled so; of g and h not.
    assert [(one.image, one.label, one.probability) for one in found] == [
        ("c", 1, 0.02),
        ("d", 0, 0.95),
    ]


def test_unknown_labels_and_classes_of_one_kind_are_not_suspect():
    labels = np.array([[1, -1], [1, 1], [1, 0], [1, -1]])
    scores = np.array([[0.9, 0.1], [0.0, 0.9], [0.1, 0.1], [0.9, 0.9]])
    assert suspects.find(labels, scores, list("abcd"), ["Fish", "Flower"]) == []


def test_of_5_percent_planted_flips_most_come_first(photographs_dir):
    """On photographs that show discs of a colour a class, judged by their colours, out of fold."""
    with open(f"{photographs_dir}/labels.csv", newline="") as file:
        rows = list(csv.reader(file))[1:]
    names = [row[0] for row in rows]
    truth = np.array([row[1:] for row in rows], int)
    colours = []
    for name in names:
        image = cv2.imread(f"{photographs_dir}/images/{name}")[..., ::-1].astype(int)
        near = [np.abs(image - colour).sum(2) for colour in COLOURS]
        colours.append([np.log1p((one < limit).sum()) for one in near for limit in (60, 120)])
    found = total = 0
    for seed in range(5):
        random = np.random.default_rng(seed)
        flipped = np.zeros(truth.size, bool)
        flipped[random.choice(truth.size, round(0.05 * truth.size), replace=False)] = True
        flipped = flipped.reshape(truth.shape)
        given = np.where(flipped, 1 - truth, truth)
        model = make_pipeline(StandardScaler(), LogisticRegression())
        scores = np.stack(
            [
                cross_val_predict(model, colours, label, cv=5, method="predict_proba")[:, 1]
                for label in given.T
            ],
            axis=1,
        )
        first = suspects.find(given, scores, names, list("abcd"))[: flipped.sum()]
        found += sum(flipped[names.index(s.image), "abcd".index(s.class_name)] for s in first)
        total += flipped.sum()
    assert found >= 0.7 * total


COLOURS = ((255, 40, 40), (40, 230, 60), (60, 60, 255), (250, 240, 40))


@pytest.mark.parametrize(
    "content, expected",
    [
        ("Image_Label,EncodedPixels\na.jpg_Fish,1 5\na.jpg_Flower,\nb_1.jpg_Fish,\n", (2, 3, 2)),
        ("id,Fish,Flower,name\n7,1,0,a\n8,0,1,b_1\n", (2, 2, 2)),
        ("image,classes\nb_1.jpg,Flower\na.jpg,Fish|Flower\n", (3, 3, 3)),
        ("image,class\na.jpg,Fish\nb_1.jpg,Fish\na.jpg,Flower\n", (2, 4, 2)),
    ],
)
def test_the_row_to_correct_is_named_in_tables_of_each_kind(tmp_path, content, expected):
    (tmp_path / "labels.csv").write_text(content)
    table = tables.from_file(str(tmp_path / "labels.csv"))
    row_of = suspects.rows(table, ["a.jpg", "b_1.jpg", "c.jpg"], CLASSES)
    assert tuple(row_of("a.jpg", name) for name in CLASSES) == expected
    assert row_of("c.jpg", "Fish") is None


def test_the_rows_of_a_table_without_a_header_are_named_too(tmp_path):
    (tmp_path / "labels.csv").write_text("a.jpg,Fish\nb.jpg,Flower\n")
    config = cloudtf.EvaluateConfig(
        run_dir="run",
        data_dir="records",
        labels_csv=str(tmp_path / "labels.csv"),
        column_names=("image", "label"),
    )
    row_of = label_rows(config, ["a.jpg", "b.jpg"], ["Fish", "Flower"])
    assert (row_of("a.jpg", "Fish"), row_of("b.jpg", "Flower")) == (1, 2)


def test_evaluate_writes_them_with_a_sheet_and_the_rows(
    trained_run, records_dir, photographs_dir, tmp_path
):
    run = shutil.copytree(trained_run, tmp_path / "run")
    config = cloudtf.EvaluateConfig(
        run_dir=str(run), data_dir=records_dir, labels_csv=f"{photographs_dir}/labels.csv"
    )
    cloudtf.evaluate(config)
    lines = (run / "suspects.csv").read_text().splitlines()
    assert lines[0] == "Image,class,label,probability,row"
    assert len(lines) > 1
    for line in lines[1:]:
        image, class_name, label, probability, row = line.split(",")
        assert int(row) == int(image[6:8]) + 2
        assert (float(probability) < 0.5) == (label == "1")
    sheet = cv2.imread(str(run / "suspects.png"))
    assert sheet.shape[1] > 400
    assert "Labels that look wrong" in (run / "report.html").read_text()
    # What the model has learnt says nothing of wrong labels: they stay those of the validation.
    before = (run / "suspects.csv").read_bytes()
    cloudtf.evaluate(cloudtf.EvaluateConfig(run_dir=str(run), data_dir=records_dir, split="train"))
    assert (run / "suspects.csv").read_bytes() == before
