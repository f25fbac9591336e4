"""Results as DataFrames: exactly what the files say, or one sentence."""

import math
import shutil

import numpy as np
import pandas as pd
import pytest

import cloudtf
from cloudtf import files
from cloudtf.errors import UserError
from cloudtf.evaluation import frames, history
from cloudtf.model import thresholds
from cloudtf.submission import predictions


@pytest.fixture(scope="module")
def run_dir(trained_run, records_dir, tmp_path_factory):
    """A run that was evaluated."""
    folder = tmp_path_factory.mktemp("frames") / "run"
    shutil.copytree(trained_run, folder)
    cloudtf.evaluate(cloudtf.EvaluateConfig(run_dir=str(folder), data_dir=records_dir))
    return str(folder)


def test_the_history_is_that_of_the_csv_and_of_the_result(run_dir):
    frame = cloudtf.history_frame(run_dir)
    rows = history.read(f"{run_dir}/history.csv")
    assert frame.to_dict("records") == rows
    assert frame["epoch"].dtype == np.int64 and frame["loss"].dtype == np.float64
    pd.testing.assert_frame_equal(cloudtf.history_frame(f"{run_dir}/history.csv"), frame)
    from cloudtf.training.train import TrainResult

    pd.testing.assert_frame_equal(TrainResult(run_dir, {}, rows).history_frame(), frame)


def test_a_value_that_does_not_exist_is_nan(tmp_path):
    rows = [{"epoch": 1, "stage": "whole", "loss": 0.5, "val_pr_auc_A": math.nan}]
    history.write(str(tmp_path / "history.csv"), rows, ["A"])
    frame = cloudtf.history_frame(str(tmp_path))
    assert frame["loss"].tolist() == [0.5] and math.isnan(frame["val_pr_auc_A"].iloc[0])
    assert math.isnan(frames.of_history(rows)["val_pr_auc_A"].iloc[0])
    assert frames.of_history([]).empty


def test_predictions_are_those_of_the_table_with_the_truth(run_dir):
    frame = cloudtf.predictions_frame(run_dir)
    names, scores, classes = predictions.read(f"{run_dir}/predictions_val.csv")
    assert frame.index.tolist() == names and frame.index.name == "Image"
    assert frame.columns.tolist() == [*classes, *(f"truth:{name}" for name in classes)]
    np.testing.assert_array_equal(frame[classes].to_numpy(), scores)
    truth = frame[[f"truth:{name}" for name in classes]]
    assert set(np.unique(truth.to_numpy())) == {0, 1} and set(truth.dtypes) == {np.dtype("int64")}


def test_scores_are_read_to_the_last_bit_and_names_as_they_are(tmp_path):
    """pandas' default parser is one unit off in the last place for some of these numbers."""
    path = str(tmp_path / "table.csv")
    names = ["NA", "null", "1", 'ü, "x"\r', *(f"{i}.jpg" for i in range(2000))]
    scores = np.random.default_rng(0).random((len(names), 2))
    scores[0] = 0, 1
    predictions.write(path, names, scores, ["A", "nan"])
    frame = cloudtf.predictions_frame(path)
    assert frame.index.tolist() == names and frame.columns.tolist() == ["A", "nan"]
    np.testing.assert_array_equal(frame.to_numpy(), scores)
    fast = pd.read_csv(path, keep_default_na=False)[["A", "nan"]].to_numpy()
    exact = tuple(map(int, pd.__version__.split(".")[:2])) >= (3, 1)
    assert exact or (fast != scores).any(), "else this shows nothing"


def test_remote_tables_are_read():
    predictions.write("ram://frames/table.csv", ["a.jpg"], np.array([[1.0]]), ["A"])
    assert cloudtf.predictions_frame("ram://frames/table.csv").loc["a.jpg", "A"] == 1


def test_scores_and_thresholds_are_those_of_the_files(run_dir):
    metrics = files.read_json(f"{run_dir}/metrics.json")
    frame = cloudtf.scores_frame(run_dir)
    for name in ("pr_auc", "average_precision"):
        assert frame[name].to_dict() == metrics[name]
        ends = zip(frame[f"{name}_low"], frame[f"{name}_high"])
        assert dict(zip(frame.index, map(list, ends))) == metrics["intervals"][name]
    frame = cloudtf.thresholds_frame(f"{run_dir}/thresholds.json")
    assert frame.index.names == ["class", "kind"]
    for class_name, kinds in thresholds.read(f"{run_dir}/thresholds.json").classes.items():
        for kind, entry in kinds.items():
            row = frame.loc[(class_name, kind)].fillna(-1).to_dict()
            for what, ends in (entry.pop("intervals") or {}).items():
                assert [row.pop(f"{what}_low"), row.pop(f"{what}_high")] == ends
            left = {name: value for name, value in row.items() if value != -1}
            assert left == {name: value for name, value in entry.items() if value is not None}


def test_what_is_undefined_is_nan(tmp_path):
    nothing = {"target": 0.9, "threshold": None, "precision": None, "recall": None}
    path = str(tmp_path / "thresholds.json")
    thresholds.write(path, {"A": {"recall": nothing, "precision": nothing}})
    assert cloudtf.thresholds_frame(path)["threshold"].isna().all()
    values = {"A": math.nan, "mean": math.nan}
    path = str(tmp_path / "metrics.json")
    files.write_json(path, {"pr_auc": values, "average_precision": values})
    assert cloudtf.scores_frame(str(tmp_path)).isna().all(axis=None)


@pytest.mark.parametrize(
    ("read", "content", "sentence"),
    [
        ("history_frame", "", "is not a history"),
        ("history_frame", "a,b\n1,2\n", "is not a history: epoch, stage come first"),
        ("history_frame", "epoch,stage\nx,whole\n", "is not a history .*'x'"),
        ("history_frame", "epoch,stage,loss\n1,whole,low\n", "is not a history: .*then numbers"),
        ("history_frame", "epoch,stage,loss\n1,whole,1,2\n", "is not a history"),
        ("predictions_frame", "epoch,stage\n1,whole\n", "is not a prediction table: Image come"),
        ("predictions_frame", "Image,A\na.jpg,1.5\n", "values for A that are no numbers from"),
        ("predictions_frame", "Image,A\na.jpg,\n", "values for A that are no numbers from"),
        ("predictions_frame", "Image,A\na.jpg,1_0\n", "is not a prediction table"),
        ("predictions_frame", "Image,A,A\na.jpg,1,0\n", "is not a prediction table .*[Dd]uplicate"),
        ("predictions_frame", "Image,A\na.jpg,1,0\nb.jpg,1,0\n", "is not a prediction table"),
        ("predictions_frame", "Image,A\na.jpg,1,0\nb.jpg,1\n", "is not a prediction table"),
        ("scores_frame", "[]", "is not of an evaluation"),
        ("scores_frame", '{"pr_auc": {"A": "x"}}', "is not of an evaluation"),
        ("thresholds_frame", "{}", "holds no thresholds"),
    ],
)  # fmt: skip
def test_what_is_not_such_a_file_is_refused(tmp_path, read, content, sentence):
    path = tmp_path / ("x.csv" if read in ("history_frame", "predictions_frame") else "x.json")
    path.write_text(content)
    with pytest.raises(UserError, match=sentence) as raised:
        getattr(cloudtf, read)(str(path))
    assert str(path) in str(raised.value) and "\n" not in str(raised.value)
    with pytest.raises(UserError, match="cannot be read"):
        getattr(cloudtf, read)(str(tmp_path))
