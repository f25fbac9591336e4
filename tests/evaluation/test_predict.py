"""Predictions for records and for folders, known by image name and by nothing else."""

from __future__ import annotations

import csv
import errno
import os
import re
import shutil

import cv2
import numpy as np
import pytest

from cloudtf import files
from cloudtf.commands import app
from cloudtf.errors import UsageError, UserError
from cloudtf.evaluation import photographs
from cloudtf.evaluation.evaluate import EvaluateConfig, evaluate
from cloudtf.evaluation.predict import PredictConfig, predict
from cloudtf.model import calibration, network, saving, thresholds
from cloudtf.submission import predictions
from cloudtf.submission.postprocess import PostprocessConfig, postprocess

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


def test_calibrated_predictions_are_those_of_the_evaluation_of_this_model(
    trained_run, records_dir, tmp_path, capsys
):
    run, output = str(tmp_path / "run"), str(tmp_path / "p.csv")
    shutil.copytree(trained_run, run)
    command = ["predict", f"--model={run}", f"--data_dir={records_dir}", "--split=val"]
    command += [f"--output={output}", "--calibrated"]
    assert app.main(command) == 1
    assert "--calibrated needs" in capsys.readouterr().err
    evaluate(EvaluateConfig(data_dir=records_dir, run_dir=run))
    plain = predictions.read(f"{run}/predictions_val.csv")
    path = f"{run}/calibration.json"
    # Twelve images are too few for a calibration of their own.
    entry = {"method": "temperature", "temperature": 3.0}
    found = calibration.read(path)
    calibration.write(path, dict.fromkeys(CLASSES, entry), found.source)
    assert app.main(command) == 0
    names, scores, classes = predictions.read(output)
    assert (names, classes) == (plain[0], CLASSES)
    np.testing.assert_allclose(scores, calibration.apply(entry, plain[1]), rtol=0, atol=1e-12)
    assert np.abs(scores - plain[1]).max() > 0.01
    capsys.readouterr()
    assert app.main([*command, "--tta"]) == 0
    assert "is for one view of each image, and these scores are the mean over four flips" in (
        capsys.readouterr().out
    )


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
    with pytest.raises(UserError, match=r"There is no photograph .* in"):
        ask(images_dir=str(images))
    with pytest.raises(UserError, match=r"The folder .*nowhere cannot be listed"):
        ask(images_dir=str(tmp_path / "nowhere"))
    shutil.copy(f"{photographs_dir}/images/photo_00.jpg", images / "a.jpg")
    for content in (b"", b"not a photograph", (images / "a.jpg").read_bytes()[:300]):
        (images / "b.jpg").write_bytes(content)
        with pytest.raises(UserError, match=r"The image .*images/b\.jpg cannot be read: .+") as no:
            ask(images_dir=str(images))
        assert str(no.value).endswith("; replace or remove it, or leave such images out with "
                                      "on_error='skip'.")  # fmt: skip
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


def names_in(path):
    return predictions.read(str(path))[0]


@pytest.fixture
def images(photographs_dir, tmp_path):
    """A folder of three sound photographs."""
    (tmp_path / "images").mkdir()
    for name in ("photo_00.jpg", "photo_01.jpg", "photo_02.jpg"):
        shutil.copy(f"{photographs_dir}/images/{name}", tmp_path / "images")
    return tmp_path / "images"


def test_bad_images_are_skipped_by_name_and_the_others_predicted(
    trained_run, images, folder_table, tmp_path, capsys
):
    sound = (images / "photo_00.jpg").read_bytes()
    for number in range(9):
        (images / f"bad_{number}.jpg").write_bytes(b"not a photograph")
    (images / "half.jpg").write_bytes(sound[:300])
    (images / "a, b.png").write_bytes(b"")
    (images / "z.jpg").symlink_to(tmp_path / "nowhere.jpg")
    output, listing = tmp_path / "o.csv", tmp_path / "o.csv.skipped.csv"
    arguments = [f"--model={trained_run}", f"--output={output}", f"--images_dir={images}"]
    arguments.append("--batch_size=2")

    assert app.main(["predict", *arguments]) == 1
    assert "a, b.png cannot be read: the image is empty" in capsys.readouterr().err
    assert not output.exists()
    assert app.main(["predict", *arguments, "--on_error=skip"]) == 0
    said = capsys.readouterr().out.splitlines()
    assert said == [
        f"Skipped 12 images of {images}: 'a, b.png', "
        + ", ".join(f"'bad_{number}.jpg'" for number in range(9))
        + f" and 2 more. {listing} has the reasons.",
        f"3 images predicted: {output}",
    ]
    names, scores, _ = predictions.read(str(output))
    assert names == ["photo_00.jpg", "photo_01.jpg", "photo_02.jpg"]
    for name, row in zip(names, scores):
        np.testing.assert_allclose(row, folder_table[name], atol=1e-6)
    with listing.open(newline="") as file:
        header, *rows = csv.reader(file)
    assert header == ["Image", "reason"] and [row[0] for row in rows] == sorted(
        {path.name for path in images.iterdir()} - set(names)
    )
    reasons = dict(rows)
    assert reasons["bad_0.jpg"].startswith("the file is text, not a JPEG, PNG, WebP,")
    assert reasons["a, b.png"] == "the image is empty (0 bytes)" and reasons["z.jpg"]

    for path in images.iterdir():
        if path.name not in names:
            path.unlink()
    assert app.main(["predict", *arguments, "--on_error=skip"]) == 0
    assert not listing.exists(), "a list of an earlier run would say what is not so"


def test_where_all_are_bad_or_the_list_has_no_room_nothing_is_written(
    trained_run, images, tmp_path
):
    output, listing = tmp_path / "o.csv", tmp_path / "o.csv.skipped.csv"
    config = PredictConfig(trained_run, str(output), images_dir=str(images), on_error="skip")
    listing.write_text("mine\n")
    with pytest.raises(UserError, match=r"^/\S+o\.csv\.skipped\.csv is there .* not a list of"):
        predict(config)
    listing.unlink()
    for path in images.iterdir():
        path.write_bytes(b"not a photograph")
    with pytest.raises(UserError, match=r"No image of .*images can be read \('photo_00"):
        predict(config)
    assert os.listdir(tmp_path) == ["images"]


def test_a_list_never_stands_beside_the_table_of_another_run(
    trained_run, images, tmp_path, monkeypatch
):
    """Whichever change to the folder is the last before the process dies."""
    output, listing = tmp_path / "o.csv", tmp_path / "o.csv.skipped.csv"
    config = PredictConfig(trained_run, str(output), images_dir=str(images), on_error="skip")
    (images / "bad_1.jpg").write_bytes(b"not a photograph")
    predict(config)
    first = output.read_bytes(), listing.read_bytes()
    os.rename(images / "bad_1.jpg", images / "bad_2.jpg")
    os.remove(images / "photo_02.jpg")
    changes = []

    def dying(function):
        def change(*arguments):
            if arguments[-1] in (str(output), str(listing)) and not changes.pop():
                raise KeyboardInterrupt
            return function(*arguments)

        return change

    for name in ("move", "remove"):
        monkeypatch.setattr(files, name, dying(getattr(files, name)))
    for done in range(3):
        output.write_bytes(first[0])
        listing.write_bytes(first[1])
        changes[:] = [False] + [True] * done
        with pytest.raises(KeyboardInterrupt):
            predict(config)
        new = output.read_bytes() != first[0]
        assert listing.exists() == (done == 0) and new == (done == 2)
    changes[:] = [True] * 3
    predict(config)
    assert "bad_2.jpg" in listing.read_text() and not changes


def test_an_image_that_may_not_be_read_is_skipped_but_a_failing_machine_is_an_error(
    trained_run, images, tmp_path, monkeypatch
):
    output = tmp_path / "o.csv"
    config = PredictConfig(trained_run, str(output), images_dir=str(images), on_error="skip")
    read = files.read_bytes

    def refusing(cause):
        def read_bytes(path):
            if path.endswith("photo_01.jpg"):
                raise UserError(f"The file {path} cannot be read: no.") from cause
            return read(path)

        monkeypatch.setattr(files, "read_bytes", read_bytes)

    refusing(PermissionError(errno.EACCES, "no"))
    assert predict(config) == 2
    assert "photo_01.jpg,no\n" in (tmp_path / "o.csv.skipped.csv").read_text()
    output.unlink()
    refusing(OSError(errno.EMFILE, "no"))
    with pytest.raises(UserError, match=r"photo_01\.jpg cannot be read: no"):
        predict(config)
    assert not output.exists()


def test_what_is_passed_over_is_counted_and_folders_are_taken_on_request(
    trained_run, images, photographs_dir, folder_table, tmp_path, capsys
):
    for name in ("scan.dcm", "scan2.DCM", "old.psd", "notes.txt", "README", ".hidden.jpg"):
        (images / name).write_bytes(b"of another kind")
    for folder in ("deep/deeper", ".ipynb_checkpoints", "__MACOSX"):
        (images / folder).mkdir(parents=True)
        shutil.copy(f"{photographs_dir}/images/photo_03.jpg", images / folder / "photo_00.jpg")
    (images / "linked").symlink_to(f"{photographs_dir}/images")
    output = tmp_path / "o.csv"
    arguments = [f"--model={trained_run}", f"--output={output}", f"--images_dir={images}"]

    assert app.main(["predict", *arguments]) == 0
    said = capsys.readouterr().out.splitlines()
    assert said[0].startswith(f"Passed over in {images}: 5 files of other kinds (2 .dcm, 1 ")
    assert all(kind in said[0] for kind in ("1 .psd", "1 .txt", "1 without extension"))
    assert said[0].endswith("and 2 folders ('deep', 'linked'; --recursive takes what is in them).")
    assert names_in(output) == ["photo_00.jpg", "photo_01.jpg", "photo_02.jpg"]

    assert app.main(["predict", *arguments, "--recursive"]) == 0
    said = capsys.readouterr().out.splitlines()
    assert said[0].endswith("and 1 folder ('linked'; --follow_links takes what is in it).")
    assert len(said) == 2
    names, scores, _ = predictions.read(str(output))
    assert names[0] == "deep/deeper/photo_00.jpg" and len(names) == 4
    np.testing.assert_allclose(scores[0], folder_table["photo_03.jpg"], atol=1e-6)
    np.testing.assert_allclose(scores[1], folder_table["photo_00.jpg"], atol=1e-6)

    for name in ("photo_00.jpg", "photo_01.jpg", "photo_02.jpg"):
        (images / name).unlink()
    assert app.main(["predict", *arguments]) == 1
    err = capsys.readouterr().err
    assert f" or .heic) in {images}, but 5 files of other" in err
    assert err.count("\n") == 1 and "--recursive takes what is in them" in err


def test_predictions_of_folders_clean_a_submission_that_has_them_or_has_not(
    trained_run, images, tmp_path
):
    (images / "deep").mkdir()
    (images / "photo_02.jpg").rename(images / "deep" / "photo_02.jpg")
    output = tmp_path / "o.csv"
    predict(PredictConfig(trained_run, str(output), images_dir=str(images), recursive=True))
    never = {"target": 0.9, "threshold": 1.0, "precision": 0.5, "recall": 0.9}
    entries = dict.fromkeys(CLASSES, {"recall": never, "precision": never})
    thresholds.write(str(tmp_path / "thresholds.json"), entries)
    for name in ("deep/photo_02.jpg", "photo_02.jpg"):
        submission = tmp_path / "s.csv"
        submission.write_text(f"Image_Label,EncodedPixels\n{name}_Fish,1 2\n")
        result = postprocess(
            PostprocessConfig(
                submission=str(submission),
                predictions=str(output),
                thresholds=str(tmp_path / "thresholds.json"),
                output=str(tmp_path / "cleaned.csv"),
            )
        )
        assert result.removed["Fish"] == 1


@pytest.mark.parametrize("most, each", [(64, 10), (10, 10), (9, 5), (4, 4), (3, 3), (1, 1)])
def test_the_batches_of_a_folder_have_one_shape_and_are_about_full(photographs_dir, most, each):
    found = photographs.find(f"{photographs_dir}/images", False, False)
    found = found._replace(paths=dict(list(found.paths.items())[:10]))
    batches = list(photographs.batches(found, (8, 9), most, None, "stretch"))
    assert {batch.shape for _, batch in batches} == {(each, 8, 9, 3)}
    assert sum(len(names) for names, _ in batches) == 10 and len(batches) == -(-10 // most)


def test_one_photograph_is_predicted_under_its_name(
    trained_run, images, photographs_dir, folder_table, tmp_path
):
    output = tmp_path / "o.csv"
    (images / "bad.jpg").write_bytes(b"the others in its folder do not matter")
    (images / "link").symlink_to(f"{photographs_dir}/images/photo_05.jpg")
    for name, same in (("photo_01.jpg", "photo_01.jpg"), ("link", "photo_05.jpg")):
        config = PredictConfig(trained_run, str(output), images_dir=str(images / name))
        assert predict(config) == 1
        names, scores, _ = predictions.read(str(output))
        assert names == [name]
        np.testing.assert_allclose(scores[0], folder_table[same], atol=1e-6)
    output.unlink()
    os.mkfifo(images / "pipe.jpg")
    for name in ("bad.jpg", "pipe.jpg"):
        config = PredictConfig(trained_run, str(output), images_dir=str(images / name))
        with pytest.raises(UserError, match=f"The image {images / name} cannot be read: the "):
            predict(config)
    assert not output.exists()


@pytest.mark.parametrize("given", [{"recursive": True}, {"on_error": "skip"}])
def test_what_is_for_photographs_is_refused_for_records(given):
    (name,) = given
    with pytest.raises(UsageError, match=f"{name}=.* needs images_dir"):
        PredictConfig(model="m", output="o.csv", data_dir="records", **given)


def test_a_split_is_refused_for_photographs():
    with pytest.raises(UsageError, match="split='val' needs data_dir"):
        PredictConfig(model="m", output="o.csv", images_dir="photographs", split="val")


def test_a_model_with_more_outputs_than_classes_is_refused(photographs_dir, records_dir, tmp_path):
    path = str(tmp_path / "five.keras")
    info = {"classes": list(CLASSES), "image_height": 64, "image_width": 64}
    saving.save_model(network.build_model("tiny", 5, (64, 64), None), path, info)
    with pytest.raises(UserError, match=r"names 4 classes for the output \[B, 5\]"):
        output = f"{tmp_path}/o.csv"
        predict(PredictConfig(path, output, images_dir=f"{photographs_dir}/images"))
    with pytest.raises(UserError, match=r"names 4 classes for the output \[B, 5\]"):
        evaluate(EvaluateConfig(data_dir=records_dir, model=path))
