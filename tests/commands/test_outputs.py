"""No command writes over what it reads, or over a file of another kind."""

from __future__ import annotations

import os
import pathlib
import shutil

import pytest

from cloudtf import files
from cloudtf.commands import app
from cloudtf.evaluation.evaluate import EvaluateConfig, evaluate


@pytest.fixture(scope="module")
def folder(trained_run, records_dir, photographs_dir, tmp_path_factory):
    """A run that was evaluated, records, photographs, and other files that one may have."""
    path = tmp_path_factory.mktemp("outputs")
    shutil.copytree(trained_run, path / "run")
    shutil.copytree(records_dir, path / "records")
    (path / "photographs").mkdir()
    for name in sorted(os.listdir(f"{photographs_dir}/images"))[:3]:
        shutil.copy(f"{photographs_dir}/images/{name}", path / "photographs")
    shutil.copy(f"{photographs_dir}/labels.csv", path / "labels.csv")
    evaluate(EvaluateConfig(data_dir=str(path / "records"), run_dir=str(path / "run")))
    (path / "submission.csv").write_text("Image_Label,EncodedPixels\na.jpg_Fish,\n")
    (path / "photograph.png").write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(2000))
    (path / "link").symlink_to(path / "run" / "best.keras")
    (path / "empty").write_bytes(b"")
    return path


COMMANDS = {
    "tflite": "export --model=run --format=tflite --noprove --output={}",
    "predict a folder": "predict --model=run --images_dir=photographs --output={}",
    "predict records": "predict --model=run --data_dir=records --split=val --output={}",
    "preview": "preview --data_dir=records --output={}",
    "postprocess": "postprocess --submission=submission.csv --output={} "
    "--predictions=run/predictions_val.csv --thresholds=run/thresholds.json",
}
# What a command makes itself may be made again.
OWN = {"postprocess": {"submission.csv"}, "preview": {"run/pr_curve_Fish.png"}}
OWN["predict a folder"] = OWN["predict records"] = {"run/predictions_val.csv"}
TARGETS = (
    "run/best.keras", "link", "run/thresholds.json", "run/predictions_val.csv", "run/history.csv",
    "run/flags.txt", "run/report.html", "run/pr_curve_Fish.png", "records/dataset.json",
    "records/train-00000-of-00004.tfrecord", "labels.csv", "submission.csv", "photograph.png",
    "photographs/*", "empty", "run", "/dev/null",
)  # fmt: skip


def content(path):
    return {p: p.read_bytes() for p in path.rglob("*") if p.is_file()}


@pytest.mark.parametrize("command", COMMANDS)
def test_a_file_of_another_kind_is_never_written_over(folder, monkeypatch, capsys, command):
    monkeypatch.chdir(folder)
    before = content(folder)
    for target in TARGETS:
        if target in OWN.get(command, ()) and command != "postprocess":
            continue
        target = str(next(folder.glob(target))) if "*" in target else target
        assert app.main(COMMANDS[command].format(target).split()) == 1, target
        err = capsys.readouterr().err
        assert "never written over" in err or "is there already" in err or "is a folder" in err
        assert err.count("\n") == 1 and files.basename(target) in err
    assert content(folder) == before
    assert not os.path.isfile("/dev/null")


@pytest.mark.parametrize("command", COMMANDS)
def test_what_a_command_has_made_it_makes_again(folder, tmp_path, monkeypatch, capsys, command):
    monkeypatch.chdir(folder)
    if command == "postprocess":
        names = (folder / "run" / "predictions_val.csv").read_text().splitlines()[1:]
        text = "".join(f"{name.split(',')[0]}_Fish,1 2\n" for name in names)
        (tmp_path / "submission.csv").write_text("Image_Label,EncodedPixels\n" + text)
    arguments = COMMANDS[command].replace("=submission.csv", f"={tmp_path}/submission.csv")
    for _ in range(2):
        assert app.main(arguments.format(tmp_path / "made").split()) == 0, capsys.readouterr().err
    assert (tmp_path / "made").stat().st_size > 100


@pytest.mark.parametrize("name", ["metrics.json", "thresholds.json", "report.html",
                                  "predictions_val.csv", "pr_curve_Fish.png", "calibration.json",
                                  "reliability_Fish.png"])  # fmt: skip
def test_an_evaluation_leaves_other_files_of_its_names_alone(folder, tmp_path, capsys, name):
    (tmp_path / name).write_text("mine\n")
    command = ["evaluate", f"--run_dir={folder}/run", f"--data_dir={folder}/records"]
    assert app.main([*command, f"--output_dir={tmp_path}"]) == 1
    err = capsys.readouterr().err
    assert f"{tmp_path}/{name} is there already" in err and "--output_dir" in err
    assert {p.name: p.read_text() for p in tmp_path.iterdir()} == {name: "mine\n"}


@pytest.mark.parametrize("name", ["dataset.json", "train-00000-of-00001.tfrecord"])
def test_a_conversion_does_not_remove_its_labels(folder, tmp_path, capsys, name):
    shutil.copy(folder / "labels.csv", tmp_path / name)
    command = ["convert", f"--images_dir={folder}/photographs", f"--labels_csv={tmp_path}/{name}"]
    assert app.main([*command, f"--output_dir={tmp_path}", "--overwrite"]) == 1
    assert "is where the conversion would write" in capsys.readouterr().err
    assert (tmp_path / name).read_bytes() == (folder / "labels.csv").read_bytes()


def test_a_new_run_does_not_replace_the_model_that_it_starts_from(folder, tmp_path, capsys):
    shutil.copy(folder / "run" / "best.keras", tmp_path)
    command = ["train", f"--data_dir={folder}/records", f"--weights={tmp_path}/best.keras"]
    assert app.main([*command, f"--run_dir={tmp_path}", "--model=tiny", "--epochs=1"]) == 1
    assert "is a model that a new run in" in capsys.readouterr().err
    model = pathlib.Path(folder, "run", "best.keras").read_bytes()
    assert (tmp_path / "best.keras").read_bytes() == model
