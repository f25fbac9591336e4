"""Predictions for records and for folders, known by image name and by nothing else."""

from __future__ import annotations

import csv
import os
import re
import shutil

import cv2
import numpy as np
import pytest

from cloudtf.commands import app
from cloudtf.errors import UserError
from cloudtf.evaluation.evaluate import EvaluateConfig, evaluate
from cloudtf.evaluation.predict import PredictConfig, predict
from cloudtf.model import network, saving
from cloudtf.submission import predictions

CLASSES = ["Fish", "Flower", "Gravel", "Sugar"]


@pytest.fixture(scope="module")
def folder_table(trained_run, photographs_dir, tmp_path_factory):
    """Predictions for the folder of photographs: {name: scores}."""
    path = str(tmp_path_factory.mktemp("predict") / "folder.csv")
    config = PredictConfig(model=trained_run, output=path, images_dir=f"{photographs_dir}/images")
    assert predict(config) == 60
    names, scores, classes = predictions.read(path)
    assert classes == CLASSES
    return dict(zip(names, scores))


def test_the_table_names_every_image_of_the_folder(folder_table, photographs_dir):
    assert list(folder_table) == sorted(os.listdir(f"{photographs_dir}/images"))


def test_the_order_names_and_batches_of_a_folder_do_not_matter(
    trained_run, photographs_dir, folder_table, tmp_path
):
    """The same photographs under names that sort the other way, in other batches."""
    images = tmp_path / "images"
    images.mkdir()
    renamed = {}
    for number, name in enumerate(sorted(folder_table, reverse=True)):
        renamed[f"{number:03}.JPG"] = name
        shutil.copy(f"{photographs_dir}/images/{name}", images / f"{number:03}.JPG")
    (images / "notes.txt").write_text("not an image")
    (images / "deep").mkdir()
    output = str(tmp_path / "out.csv")
    config = PredictConfig(
        model=f"{trained_run}/best.keras", output=output, images_dir=str(images), batch_size=7
    )
    assert predict(config) == 60
    names, scores, _ = predictions.read(output)
    assert sorted(names) == sorted(renamed)
    for name, row in zip(names, scores):
        np.testing.assert_allclose(row, folder_table[renamed[name]], atol=1e-6)


def test_records_and_photographs_agree(trained_run, records_dir, folder_table, tmp_path):
    """But for the JPEG compression of the records."""
    output = str(tmp_path / "val.csv")
    predict(PredictConfig(model=trained_run, output=output, data_dir=records_dir, split="val"))
    names, scores, _ = predictions.read(output)
    assert len(names) == 12 and set(names) <= set(folder_table)
    pairs = np.array([[row, folder_table[name]] for name, row in zip(names, scores)])
    difference = np.abs(pairs[:, 0] - pairs[:, 1])
    assert difference.mean() < 0.02 and difference.max() < 0.1
    # Paired wrongly they would not agree.
    assert np.abs(pairs[:, 0] - np.roll(pairs[:, 1], 1, axis=0)).mean() > 5 * difference.mean()


def test_records_predicted_are_what_evaluation_writes(trained_run, records_dir, tmp_path):
    output = str(tmp_path / "val.csv")
    arguments = [f"--model={trained_run}", f"--data_dir={records_dir}", "--split=val"]
    assert app.main(["predict", *arguments, f"--output={output}"]) == 0
    arguments = [f"--run_dir={trained_run}", f"--data_dir={records_dir}"]
    assert app.main(["evaluate", *arguments, f"--output_dir={tmp_path}"]) == 0
    with open(output) as one, open(tmp_path / "predictions_val.csv") as other:
        for row, with_truth in zip(csv.reader(one), csv.reader(other)):
            assert len(row) == 1 + 4 and row == with_truth[:5]


def test_unlabelled_records_are_predicted_by_default(
    trained_run, unlabelled_dir, folder_table, tmp_path, capsys
):
    output = tmp_path / "test.csv"
    arguments = [f"--model={trained_run}", f"--data_dir={unlabelled_dir}", f"--output={output}"]
    assert app.main(["predict", *arguments]) == 0
    assert capsys.readouterr().out == f"60 images predicted: {output}\n"
    names, scores, _ = predictions.read(str(output))
    assert set(names) == set(folder_table)
    for name, row in zip(names, scores):
        np.testing.assert_allclose(row, folder_table[name], atol=0.1)


def test_flips_are_averaged(trained_run, photographs_dir, folder_table, tmp_path):
    images = tmp_path / "images"
    images.mkdir()
    for name in list(folder_table)[:6]:
        photograph = cv2.imread(f"{photographs_dir}/images/{name}")
        # The four flips of an image; PNG, so that a flip is exact.
        for number, code in enumerate((None, 0, 1, -1)):
            flipped = photograph if code is None else cv2.flip(photograph, code)
            cv2.imwrite(str(images / f"{name[:-4]}_{number}.png"), flipped)
    tables = {}
    for tta in (False, True):
        output = str(tmp_path / f"{tta}.csv")
        predict(PredictConfig(model=trained_run, output=output, images_dir=str(images), tta=tta))
        names, scores, _ = predictions.read(output)
        assert len(names) == 24
        tables[tta] = scores.reshape(6, 4, len(CLASSES))
    # Each flip of an image has the same four views, whose mean is the answer.
    expected = np.broadcast_to(tables[False].mean(axis=1, keepdims=True), tables[True].shape)
    np.testing.assert_allclose(tables[True], expected, atol=2e-6)
    assert np.ptp(tables[False], axis=1).max() > 1e-3


def test_what_cannot_be_predicted_is_one_sentence(
    trained_run, records_dir, photographs_dir, tmp_path
):
    def ask(**changes):
        predict(PredictConfig(**{"model": trained_run, "output": f"{tmp_path}/o.csv", **changes}))

    images = tmp_path / "images"
    images.mkdir()
    with pytest.raises(UserError, match=r"There is no \.jpg, \.jpeg or \.png file in"):
        ask(images_dir=str(images))
    with pytest.raises(UserError, match=r"The folder .*nowhere cannot be listed"):
        ask(images_dir=str(tmp_path / "nowhere"))
    shutil.copy(f"{photographs_dir}/images/photo_00.jpg", images / "a.jpg")
    for content in (b"", b"not a photograph", (images / "a.jpg").read_bytes()[:300]):
        (images / "b.jpg").write_bytes(content)
        with pytest.raises(UserError, match=r"The image .*images/b\.jpg cannot be read: .+"):
            ask(images_dir=str(images))
    os.remove(images / "b.jpg")
    os.mkfifo(images / "b.jpg")
    with pytest.raises(UserError, match=r"cannot be read: the image is not a file; replace or"):
        ask(images_dir=str(images))
    os.remove(images / "b.jpg")
    os.symlink(f"{photographs_dir}/images/photo_01.jpg", images / "b.jpg")
    with pytest.raises(UserError, match="is a link that leads out of the folder"):
        ask(images_dir=str(images))
    with pytest.raises(UserError, match="There is no split 'test'.*train, val"):
        ask(data_dir=records_dir)
    with pytest.raises(UserError, match=r"other\.keras cannot be read: No such file"):
        ask(model=str(tmp_path / "other.keras"), images_dir=str(images))
    assert not os.path.exists(f"{tmp_path}/o.csv"), "nothing is written before all is well"
    os.remove(images / "b.jpg")
    with pytest.raises(UserError, match=re.escape(f"{tmp_path}/no/o.csv cannot be written")):
        ask(images_dir=str(images), output=f"{tmp_path}/no/o.csv")


def test_a_model_with_more_outputs_than_classes_is_refused(photographs_dir, records_dir, tmp_path):
    path = str(tmp_path / "five.keras")
    info = {"classes": list(CLASSES), "image_height": 64, "image_width": 64}
    saving.save_model(network.build_model("tiny", 5, (64, 64), None), path, info)
    with pytest.raises(UserError, match=r"names 4 classes for the output \[B, 5\]"):
        output = f"{tmp_path}/o.csv"
        predict(PredictConfig(path, output, images_dir=f"{photographs_dir}/images"))
    with pytest.raises(UserError, match=r"names 4 classes for the output \[B, 5\]"):
        evaluate(EvaluateConfig(data_dir=records_dir, model=path))
