"""Output that is not UTF-8: what it cannot say is replaced, and the work is done."""

from __future__ import annotations

import io
import shutil
import sys

import pytest

from cloudtf import reporter
from cloudtf.commands import app

# Latin-1 with an accent, and a script that neither ascii nor cp1252 has.
CLASSES = {"Fish": "Nuage_épais", "Flower": "雲", "Gravel": "Gravel", "Sugar": "Zucker"}


@pytest.fixture(scope="module")
def folder(photographs_dir, tmp_path_factory):
    """Photographs in a folder with an accent, of classes with odd names."""
    path = tmp_path_factory.mktemp("encodings") / "données"
    shutil.copytree(f"{photographs_dir}/images", path / "images")
    with open(f"{photographs_dir}/labels.csv", encoding="utf-8") as file:
        text = file.read()
    for old, new in CLASSES.items():
        text = text.replace(old, new.replace("_", " "))
    (path / "labels.csv").write_text(text, encoding="utf-8")
    return path


COMMANDS = (
    "convert --labels_csv={0}/labels.csv --images_dir={0}/images --output_dir={0}/records "
    "--image_height=64 --image_width=64 --num_shards=1 --overwrite",
    "doctor --data_dir={0}/records --model=tiny --notiming --weights=none",
    "train --data_dir={0}/records --run_dir={0}/run --model=tiny --weights=none --epochs=1",
    "evaluate --data_dir={0}/records --run_dir={0}/run",
    "predict --model={0}/run --images_dir={0}/images --output={0}/predictions.csv",
    "export --model={0}/run --output={0}/saved --noprove",
    "preview --data_dir={0}/records --output={0}/preview.png --split=val",
)


def run(command, folder, monkeypatch, encoding):
    """What a command writes to a stdout of another encoding."""
    written = io.TextIOWrapper(io.BytesIO(), encoding=encoding)
    with monkeypatch.context() as patch:
        patch.setattr(sys, "stdout", written)
        assert app.main(command.format(folder).split()) == 0, command
    written.flush()
    return written.buffer.getvalue()


def test_every_command_ends_well_with_plain_ascii(folder, monkeypatch):
    for command in COMMANDS:
        said = run(command, folder, monkeypatch, "ascii")
        assert b"?" in said and said.decode("ascii"), command


def test_what_the_encoding_has_is_kept(folder, monkeypatch):
    said = run(COMMANDS[0], folder, monkeypatch, "cp1252").decode("cp1252")
    assert "Nuage épais" in said and "雲" not in said and "\n? " in said


def test_the_library_replaces_too(monkeypatch):
    written = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    monkeypatch.setattr(sys, "stdout", written)
    reporter.report("Nuage épais: 雲")
    assert written.buffer.getvalue() == b"Nuage ?pais: ?\n"
