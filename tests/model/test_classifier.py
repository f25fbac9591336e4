"""What a model file says of its model is checked in one place, and holds for its network."""

from __future__ import annotations

import json
import shutil
import zipfile

import pytest
import tensorflow as tf

from cloudtf.commands import app
from cloudtf.errors import UserError
from cloudtf.model import classifier, network, saving

CLASSES = ["Fish", "Zucker ü"]
SCORES = {"Fish": 0.5, "Zucker ü": None, "mean": 0.5}
INFO = {
    "classes": CLASSES,
    "image_height": 32,
    "image_width": 48,
    "aspect": "pad",
    "model": "tiny",
    "val_split": "fold1",
    "data_dir": "records",
    "best": {"epoch": 3, "stage": "all", "pr_auc": SCORES, "average_precision": SCORES},
}


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    path = str(tmp_path_factory.mktemp("model") / "model.keras")
    saving.save_model(network.build_model("tiny", 2, (32, 48)), path, INFO)
    return path


@pytest.fixture
def saying(whole, tmp_path):
    """Writes a model file that says something else, and gives its path."""

    def write(text):
        path = str(tmp_path / "model.keras")
        with zipfile.ZipFile(whole) as archive, zipfile.ZipFile(path, "w") as changed:
            for name in archive.namelist():
                is_info = name == saving.INFO_NAME
                changed.writestr(name, text if is_info else archive.read(name))
        return path

    return write


def test_a_sound_file_gives_the_network_and_all_that_it_says(whole):
    found = classifier.read(whole)
    assert found.path == whole
    assert found.info == INFO
    assert found.model.output_shape == (None, 2)


def test_the_image_size_is_the_networks_where_the_file_is_silent(saying):
    info = classifier.read(saying(json.dumps({"classes": CLASSES}))).info
    size = {"image_height": 32, "image_width": 48}
    assert info == {"classes": CLASSES, **size, "aspect": "stretch"}


WRONG = [
    *({"classes": value} for value in (None, "AB", [], [1, 2], [None, "A"], {"A": 0, "B": 1})),
    *({"classes": value} for value in (["A", "A"], ["a", "A"], ["../A", "B"], ["A"], list("ABC"))),
    {"classes": ["mean", "A"]},
    *({"image_height": value} for value in (None, "32", 0, -32, True, 32.0, [32], 10**9, 33)),
    *({"image_width": value} for value in (None, "48", 32, 47)),
    *({"aspect": value} for value in (None, 1, "squash", ["pad"])),
    *({"model": value} for value in (None, 3, "", ["tiny"], "efficientnetb0", "tiny\n")),
    *({"val_split": value} for value in (None, 1, "", ["val"])),
    {"data_dir": None},
    *({"best": value} for value in (None, 3, [], "epoch 3")),
    *({"best": {**INFO["best"], "epoch": value}} for value in (None, "3", 0, 2.5, True)),
    {"best": {**INFO["best"], "stage": None}},
    *(
        {"best": {**INFO["best"], metric: value}}
        for metric in ("pr_auc", "average_precision")
        for value in (
            None, 0.5, [0.5], {**SCORES, "Fish": "0.5"}, {**SCORES, "Fish": 1.5},
            {**SCORES, "Fish": float("nan")}, {**SCORES, "Gravel": 0.5}, {"Fish": 0.5},
        )
    ),
]  # fmt: skip


@pytest.mark.parametrize("change", WRONG, ids=lambda change: json.dumps(change)[:70])
def test_what_a_file_says_must_be_of_its_kind_and_true_of_its_network(saying, change):
    with pytest.raises(
        UserError, match=r"model\.keras .*cloudtf\.json.*; use one that cloudtf"
    ) as e:
        classifier.read(saying(json.dumps({**INFO, **change})))
    assert len(str(e.value)) < 600


@pytest.mark.parametrize("missing", ["classes"])
def test_what_cannot_be_read_from_the_network_must_be_said(saying, missing):
    with pytest.raises(UserError, match="does not say what its classes are"):
        classifier.read(saying(json.dumps({k: v for k, v in INFO.items() if k != missing})))


@pytest.mark.parametrize(
    "text",
    [
        '{"classes": ["A", "B"], "classes": ["B", "A"]}',
        '{"classes": ["A", "B"], "best": {"epoch": 1, "epoch": 2}}',
        '{"classes": ["A", "B"], "model": "\\ud800"}',
        "[" * 100_000,
        '["A", "B"]',
        "null",
    ],
)
def test_what_does_not_say_one_thing_is_damaged(saying, text):
    with pytest.raises(UserError, match=r"model\.keras is damaged: cloudtf\.json is not"):
        classifier.read(saying(text))


def test_a_file_that_holds_two_sayings_is_damaged(whole, tmp_path):
    path = tmp_path / "model.keras"
    shutil.copy(whole, path)
    with pytest.warns(UserWarning), zipfile.ZipFile(path, "a") as archive:
        archive.writestr(saving.INFO_NAME, json.dumps({**INFO, "classes": ["Fish", "Sugar"]}))
    with pytest.raises(UserError, match="model.keras is damaged .*a part of it is there twice"):
        classifier.read(str(path))


def kept(tmp_path, inputs, outputs, **info):
    path = str(tmp_path / "model.keras")
    saving.save_model(tf.keras.Model(inputs, outputs), path, {"classes": CLASSES, **info})
    return path


def test_other_networks_are_refused_in_a_sentence(tmp_path):
    layers = tf.keras.layers
    image = tf.keras.Input((32, 32, 3))
    pooled = layers.GlobalAveragePooling2D()(image)
    grey = tf.keras.Input((32, 32, 1))
    vector = tf.keras.Input((5,))
    two = layers.Dense(2)
    for inputs, outputs, sentence in (
        (vector, two(vector), r"takes \[B, 5\], not RGB images"),
        (grey, layers.Dense(2)(layers.Flatten()(grey)), r"takes \[B, 32, 32, 1\], not RGB"),
        (image, layers.Conv2D(2, 1)(image), r"names 2 classes for the output \[B, 32, 32, 2\]"),
        (image, [layers.Dense(2)(pooled), layers.Dense(2)(pooled)], "names 2 classes for the out"),
        ([image, grey], layers.Dense(2)(pooled), "not RGB images"),
        (image, layers.Dense(3)(pooled), r"names 2 classes for the output \[B, 3\]"),
    ):
        with pytest.raises(UserError, match=sentence):
            classifier.read(kept(tmp_path, inputs, outputs))


def test_a_network_for_any_size_takes_the_size_that_is_said(tmp_path):
    image = tf.keras.Input((None, None, 3))
    outputs = tf.keras.layers.Dense(2)(tf.keras.layers.GlobalAveragePooling2D()(image))
    found = classifier.read(kept(tmp_path, image, outputs, image_height=20, image_width=30))
    assert (found.info["image_height"], found.info["image_width"]) == (20, 30)
    with pytest.raises(UserError, match="takes images of any size and has no 'image_height'"):
        classifier.read(kept(tmp_path, image, outputs))


@pytest.mark.parametrize(
    "change",
    [{"image_height": 64}, {"image_width": None}, {"classes": ["A", "A"]}, {"best": {"epoch": []}},
     {"val_split": 7}, {"model": {}}],
    ids=json.dumps,
)  # fmt: skip
def test_every_command_refuses_in_one_sentence(saying, change, records_dir, tmp_path, capsys):
    path = saying(json.dumps({**INFO, **change}))
    for arguments in (
        ["evaluate", f"--data_dir={records_dir}"],
        ["predict", f"--data_dir={records_dir}", "--split=val", f"--output={tmp_path}/o.csv"],
        ["export", f"--output={tmp_path}/o"],
    ):
        assert app.main([*arguments, f"--model={path}"]) == 1
        error = capsys.readouterr().err
        assert error.count("\n") == 1 and f"The model {path} " in error and "cloudtf.json" in error
