"""Paths with the characters of patterns: every command takes them as they are."""

from __future__ import annotations

import shutil

import pytest

from cloudtf import files
from cloudtf.commands import app

ODD = "a [b] *c? {d} \\e  'f' "
COMMANDS = (
    """
convert|--labels_csv=@/labels.csv|--images_dir=@/images|--output_dir=@/records|--image_height=64|\
--image_width=64|--num_shards=2|--verify
doctor|--data_dir=@/records|--model=tiny|--weights=none|--notiming|--run_dir=@/run
evaluate|--run_dir=@/run|--data_dir=@/records
predict|--model=@/run|--images_dir=@/images|--output=@/p.csv
predict|--model=@/run/best.keras|--data_dir=@/records|--split=val|--output=@/p.csv
postprocess|--submission=@/s.csv|--predictions=@/p.csv|--thresholds=@/run/thresholds.json|\
--output=@/clean.csv
preview|--data_dir=@/records|--output=@/p.png|--num_images=2
export|--model=@/run|--output=@/m.tflite|--format=tflite|--noprove
export|--model=@/run|--output=@/saved
""".replace("\\\n", "")
    .strip()
    .splitlines()
)


@pytest.fixture
def folder(trained_run, photographs_dir, tmp_path):
    """A folder with an odd name: photographs, their labels, a run."""
    path = tmp_path / ODD
    shutil.copytree(trained_run, path / "run")
    shutil.copytree(f"{photographs_dir}/images", path / "images")
    shutil.copy(f"{photographs_dir}/labels.csv", path)
    (path / "s.csv").write_text("Image_Label,EncodedPixels\n")
    return path


def test_every_command_takes_paths_as_they_are(folder, capsys):
    for command in COMMANDS:
        arguments = command.replace("@", str(folder)).split("|")
        assert app.main(arguments) == 0, capsys.readouterr().err
    assert "TensorFlow loads no SavedModel from a path with" in capsys.readouterr().out
    made = ("records", "p.csv", "clean.csv", "p.png", "m.tflite", "saved")
    assert all((folder / name).exists() for name in made)
    assert sorted(p.name for p in folder.parent.iterdir()) == [ODD]


@pytest.mark.parametrize("character", [*"[]*?\\{}"])
def test_files_are_linked_where_their_path_has_a_wildcard(tmp_path, character):
    folder = tmp_path / f"a{character}b"
    folder.mkdir()
    for name in ("weights.index", "weights.data-0", "state.json"):
        (folder / name).write_text(name)
    with files.without_wildcards(f"{folder}/weights") as prefix:
        assert character not in prefix
        assert files.read_text(f"{prefix}.index") == "weights.index"
        assert files.read_text(f"{prefix}.data-0") == "weights.data-0"
        assert not files.exists(f"{files.dirname(prefix)}/state.json")
    assert not files.exists(f"{prefix}.index") and (folder / "weights.index").exists()


def test_other_paths_stay_as_they_are(tmp_path):
    with files.without_wildcards(f"{tmp_path}/weights") as prefix:
        assert prefix == f"{tmp_path}/weights"
