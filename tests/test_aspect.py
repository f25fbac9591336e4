"""Photographs that are padded or cut: the same pixels in records, predict, and exported models."""

from __future__ import annotations

import csv
import io
import json

import numpy as np
import pytest
import simplejpeg
import tensorflow as tf
from PIL import Image

import cloudtf
from cloudtf.data import aspect, images
from cloudtf.data.pixels import FILL
from cloudtf.errors import UserError
from cloudtf.model import classifier, jpeg_input
from cloudtf.pipeline import reading

SIZE = (48, 64)
# Wider than the records, of their ratio but for rounding, higher, and smaller than they are.
SHAPES = [(200, 400), (150, 201), (300, 120), (20, 44), (48, 64)]


def encoded(photograph, shape, orientation=1, kind="JPEG"):
    exif = Image.Exif()
    exif[0x0112] = orientation
    file = io.BytesIO()
    Image.fromarray(photograph[: shape[0], : shape[1]]).save(file, kind, exif=exif, quality=95)
    return file.getvalue()


@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
@pytest.mark.parametrize("orientation", [1, 6])
@pytest.mark.parametrize("shape", SHAPES)
def test_what_is_padded_or_cut_was_resized_as_a_whole(photograph, shape, orientation, kind):
    data = encoded(photograph, shape, orientation, kind)
    rows, columns = shape[::-1] if orientation == 6 else shape
    wide = columns * SIZE[0] >= rows * SIZE[1]
    inner = (round(rows * 64 / columns), 64) if wide else (48, round(columns * 48 / rows))
    outer = (48, round(columns * 48 / rows)) if wide else (round(rows * 64 / columns), 64)

    padded = images.load(data, *SIZE, "pad")
    top, left = (SIZE[0] - inner[0]) // 2, (SIZE[1] - inner[1]) // 2
    expected = np.full((*SIZE, 3), FILL, np.uint8)
    expected[top : top + inner[0], left : left + inner[1]] = images.load(data, *inner)
    np.testing.assert_array_equal(padded, expected)

    top, left = (outer[0] - SIZE[0]) // 2, (outer[1] - SIZE[1]) // 2
    whole = images.load(data, *outer)
    cut = images.load(data, *SIZE, "crop")
    np.testing.assert_array_equal(cut, whole[top : top + SIZE[0], left : left + SIZE[1]])
    assert padded.shape == cut.shape == (*SIZE, 3)


def test_a_photograph_that_is_far_too_elongated_is_not_cut(photograph):
    data = encoded(np.repeat(photograph, 10, axis=0), (4000, 20))
    with pytest.raises(ValueError, match="too elongated to be cut"):
        images.load(data, *SIZE, "crop")
    assert images.load(data, *SIZE, "pad").shape == (*SIZE, 3)


@pytest.mark.parametrize("way", ["pad", "crop"])
def test_a_saved_model_sees_the_pixels_of_the_converter(photograph, way):
    files = [encoded(photograph, shape, 6, "PNG") for shape in SHAPES]
    # At a scale that TensorFlow's decoder has.
    files += [encoded(photograph, (400, 480), orientation) for orientation in (1, 3, 8)]
    decode = tf.function(lambda data: jpeg_input.decode(data, *SIZE, way))
    for data, found in zip(files, decode(tf.constant(files)).numpy()):
        expected = images.load(data, *SIZE, way).astype(int)
        assert np.abs(found - expected).max() <= 2
    if way == "crop":
        with pytest.raises(tf.errors.InvalidArgumentError, match="too elongated to be cut"):
            decode(tf.constant([encoded(np.repeat(photograph, 10, axis=0), (4000, 20))]))


@pytest.fixture(scope="module")
def folder(tmp_path_factory, photograph):
    """40 wide and high photographs, and their records, padded and cut."""
    folder = tmp_path_factory.mktemp("aspect")
    (folder / "images").mkdir()
    with (folder / "labels.csv").open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(("Image", "Fish", "Flower"))
        for number in range(40):
            part = photograph[5 * number :, 7 * number :]
            data = encoded(part, SHAPES[number % 4])
            (folder / "images" / f"{number:02}.jpg").write_bytes(data)
            rows.writerow((f"{number:02}.jpg", number & 1, number >> 1 & 1))
    for way in ("pad", "crop"):
        convert(folder, way, way)
    return folder


def convert(folder, output, way, **options):
    return cloudtf.convert(
        cloudtf.ConvertConfig(
            labels_csv=f"{folder}/labels.csv",
            images_dir=f"{folder}/images",
            output_dir=f"{folder}/{output}",
            image_height=SIZE[0],
            image_width=SIZE[1],
            aspect=way,
            **options,
        )
    )


@pytest.mark.parametrize("way", ["pad", "crop"])
def test_records_hold_what_load_gives_and_say_how_it_came_about(folder, way):
    assert json.loads((folder / way / "dataset.json").read_text())["aspect"] == way
    seen = 0
    for path in sorted((folder / way).glob("*.tfrecord")):
        for record in tf.data.TFRecordDataset(str(path)):
            parsed = reading.parse(record[None], 2)
            name = parsed["name"][0].numpy().decode()
            image = images.load((folder / "images" / name).read_bytes(), *SIZE, way)
            expected = simplejpeg.encode_jpeg(image, quality=95, colorsubsampling="420")
            assert parsed["encoded"][0].numpy() == expected
            seen += 1
    assert seen == 40
    # Another way is another set.
    with pytest.raises(UserError, match="aspect"):
        convert(folder, way, "stretch")


@pytest.fixture(scope="module")
def run(folder):
    """A run folder with a small network, trained on padded photographs for an epoch."""
    config = cloudtf.TrainConfig(
        data_dir=f"{folder}/pad",
        run_dir=f"{folder}/run",
        model="tiny",
        weights="none",
        epochs=1,
        batch_size=8,
        learning_rate=0.02,
        tensorboard=False,
    )
    cloudtf.train(config)
    return f"{folder}/run"


def scores(run, folder, name, **options):
    output = f"{folder}/{name}.csv"
    cloudtf.predict(cloudtf.PredictConfig(model=run, output=output, **options))
    with open(output, newline="") as file:
        rows = {row.pop("Image"): row for row in csv.DictReader(file)}
    return {name: np.array([float(v) for v in row.values()]) for name, row in rows.items()}


def test_predict_makes_of_photographs_what_the_converter_does(folder, run):
    assert classifier.read(f"{run}/best.keras").info["aspect"] == "pad"
    of_records = scores(run, folder, "records", data_dir=f"{folder}/pad", split="val")
    of_photographs = scores(run, folder, "photographs", images_dir=f"{folder}/images")
    model = cloudtf.load_model(f"{run}/best.keras")
    names = sorted(of_photographs)
    made = [images.load((folder / "images" / name).read_bytes(), *SIZE, "pad") for name in names]
    # The pixels of the records are the same, but for their JPEG compression.
    coded = [simplejpeg.encode_jpeg(each, quality=95, colorsubsampling="420") for each in made]
    recoded = np.stack([tf.io.decode_jpeg(each).numpy() for each in coded])
    for name, expected in zip(names, model.predict(recoded, verbose=0)):
        if name in of_records:
            np.testing.assert_allclose(of_records.pop(name), expected, atol=1e-5)
    assert not of_records
    expected = model.predict(np.stack(made), verbose=0)
    found = np.stack([of_photographs[name] for name in names])
    np.testing.assert_allclose(found, expected, atol=1e-6)


def test_an_export_says_it_and_does_it(folder, run):
    from cloudtf.evaluation.exporting import export
    from cloudtf.model.export import ExportConfig

    info = export(ExportConfig(model=run, output=f"{folder}/exported", prove=False))
    assert info["aspect"] == "pad" and "borders of the mean colour" in info["preprocessing"]
    names = [f"{number:02}.jpg" for number in (0, 2)]
    served = tf.saved_model.load(f"{folder}/exported").signatures["jpeg"]
    data = tf.constant([(folder / "images" / name).read_bytes() for name in names])
    found = served(jpeg=data)["probabilities"].numpy()
    expected = scores(run, folder, "few", images_dir=f"{folder}/images")
    np.testing.assert_allclose(found, [expected[name] for name in names], atol=0.03)


def test_records_made_in_another_way_are_refused(folder, run):
    with pytest.raises(UserError, match="aspect='pad', and those in .* aspect='crop'"):
        scores(run, folder, "refused", data_dir=f"{folder}/crop", split="val")


def test_a_manifest_of_before_says_stretch_and_a_wrong_one_is_damaged(folder):
    convert(folder, "stretched", "stretch")
    path = folder / "stretched" / "dataset.json"
    content = json.loads(path.read_text())
    del content["aspect"]
    path.write_text(json.dumps(content))
    assert cloudtf.open_dataset(str(folder / "stretched")).manifest.aspect == aspect.ASPECTS[0]
    path.write_text(json.dumps({**content, "aspect": "squash"}))
    with pytest.raises(UserError, match="the aspect 'squash' is not one of stretch, pad, crop"):
        cloudtf.open_dataset(str(folder / "stretched"))
