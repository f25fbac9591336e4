"""Small masks: of runs, in records, over every way to convert."""

from __future__ import annotations

import csv
import json

import numpy as np
import pytest
import simplejpeg
import tensorflow as tf

import cloudtf
from cloudtf.data import aspect, masks, records, rle
from cloudtf.errors import UserError

SIDE = masks.SIDE


def by_pixels(mask, frame):
    """The small mask of a mask, cell by cell from its pixels: each is divided into 28 x 28 first,
    so that cells hold whole ones. `frame` is in whole pixels."""
    top, left, height, width = (int(value) for value in frame)
    picture = np.zeros((height, width), bool)
    rows, columns = np.mgrid[:height, :width]
    inside = (
        (rows + top >= 0) & (rows + top < mask.shape[0])
        & (columns + left >= 0) & (columns + left < mask.shape[1])
    )  # fmt: skip
    picture[inside] = mask[rows[inside] + top, columns[inside] + left]
    fine = picture.repeat(SIDE, axis=0).repeat(SIDE, axis=1)
    counts = fine.reshape(SIDE, height, SIDE, width).sum(axis=(1, 3))
    bits = counts >= height * width / 2
    if counts.any() and not bits.any():
        bits.flat[counts.argmax()] = True
    return bits


def packed(mask):
    return rle.pack(rle.encode(mask))


def blobs(shape, number):
    """A mask of some discs and a line along a whole column."""
    random = np.random.default_rng(number)
    rows, columns = np.mgrid[: shape[0], : shape[1]]
    mask = np.zeros(shape, bool)
    for _ in range(3):
        row, column = random.integers(shape[0]), random.integers(shape[1])
        radius = random.integers(2, 2 + min(shape) // 2)
        mask |= (rows - row) ** 2 + (columns - column) ** 2 < radius**2
    mask[:, random.integers(shape[1])] = True
    return mask


@pytest.mark.parametrize("shape", [(56, 84), (50, 61), (20, 30), (140, 29)])
@pytest.mark.parametrize("number", range(3))
def test_a_bit_says_that_half_of_its_cell_is_in_the_mask(shape, number):
    mask = blobs(shape, number)
    content = masks.encode([(1, packed(mask))], np.array([0, 1]), shape, (0, 0, *shape))
    assert len(content) == masks.NUM_BYTES == 98
    bits = masks.decode(content, np.array([0, 1]))
    np.testing.assert_array_equal(bits[1], by_pixels(mask, (0, 0, *shape)))
    assert not bits[0].any()


@pytest.mark.parametrize("way", ["pad", "crop"])
def test_a_small_mask_is_of_the_part_that_the_record_shows(way):
    shape = (60, 120)
    mask, frame = blobs(shape, 4), aspect.frame(*shape, 20, 20, way)
    assert frame == ((-30, 0, 120, 120) if way == "pad" else (0, 30, 60, 60))
    content = masks.encode([(0, packed(mask))], np.array([1]), shape, frame)
    np.testing.assert_array_equal(masks.decode(content, [1])[0], by_pixels(mask, frame))


@pytest.mark.parametrize("columns", [slice(5), slice(None, None, 59)])
def test_what_the_record_does_not_show_has_no_bit(columns):
    mask = np.zeros((40, 60), bool)
    mask[:37, columns] = True
    frame = (0.0, 10.0, 40.0, 40.0)
    content = masks.encode([(0, packed(mask))], np.array([1]), mask.shape, frame)
    assert not masks.decode(content, [1]).any()


def test_small_classes_have_a_bit_several_masks_are_one_and_foreign_ones_are_nowhere():
    shape, label = (280, 280), np.array([1, 1, 0, 1])
    dot = np.zeros(shape, bool)
    dot[101, 203] = True
    halves = [np.zeros(shape, bool) for _ in range(2)]
    halves[0][:, :100], halves[1][:, 100:200] = True, True
    beyond = np.zeros((300, 300), bool)
    beyond[-1, -1] = True
    given = [(0, packed(dot)), *((1, packed(half)) for half in halves)]
    content = masks.encode([*given, (3, packed(beyond))], label, shape, (0.0, 0.0, 280.0, 280.0))
    bits = masks.decode(content, label)
    assert np.argwhere(bits[0]).tolist() == [[10, 20]]
    assert bits[1, :, :20].all() and not bits[1, :, 20:].any()
    assert not bits[2].any() and not bits[3].any()
    with pytest.raises(ValueError, match="its masks have 294 bytes, 98 for 1 classes are right"):
        masks.decode(content, [0, 1, 0, 0])


CLASSES = ("Fish", "Flower")
SHAPE = (56, 84)


@pytest.fixture(scope="module")
def photographs(tmp_path_factory):
    """24 photographs with masks of two classes, or of one, or none; and what they are."""
    folder = tmp_path_factory.mktemp("masked")
    (folder / "images").mkdir()
    drawn = {}
    with (folder / "train.csv").open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(("Image_Label", "EncodedPixels"))
        for number in range(24):
            name = f"{number:02}.jpg"
            pixels = np.full((*SHAPE, 3), 5 * number, np.uint8)
            (folder / "images" / name).write_bytes(simplejpeg.encode_jpeg(pixels))
            for bit, class_name in enumerate(CLASSES):
                present = number >> bit & 1
                mask = blobs(SHAPE, 2 * number + bit) if present else np.zeros(SHAPE, bool)
                drawn[name, class_name] = mask
                rows.writerow((f"{name}_{class_name}", rle.encode(mask)))
    return folder, drawn


def convert(folder, output, **options):
    return cloudtf.convert(
        cloudtf.ConvertConfig(
            labels_csv=f"{folder}/train.csv",
            images_dir=f"{folder}/images",
            output_dir=str(output),
            image_height=32,
            image_width=32,
            **options,
        )
    )


def features(path):
    for record in tf.data.TFRecordDataset(str(path)):
        yield tf.train.Example.FromString(record.numpy()).features.feature


def test_records_have_the_small_masks_of_their_classes(photographs, tmp_path):
    folder, drawn = photographs
    manifest = convert(folder, tmp_path / "set", verify=True)
    assert manifest.mask_side == 28
    assert json.loads((tmp_path / "set" / "dataset.json").read_text())["mask_side"] == 28
    seen = 0
    for path in (tmp_path / "set").glob("*.tfrecord"):
        for feature in features(path):
            name = feature[records.FILENAME].bytes_list.value[0].decode()
            label = list(feature[records.LABEL].int64_list.value)
            bits = masks.decode(feature[records.MASK].bytes_list.value[0], label)
            for number, class_name in enumerate(CLASSES):
                expected = by_pixels(drawn[name, class_name], (0, 0, *SHAPE))
                np.testing.assert_array_equal(bits[number], expected)
                seen += expected.any()
    assert seen == 24


def test_other_masks_are_another_set(photographs, tmp_path):
    folder, _ = photographs
    convert(folder, tmp_path / "set")
    changed = tmp_path / "train.csv"
    content = (folder / "train.csv").read_text().splitlines()
    image, text = content[3].split(",")
    assert image == "01.jpg_Fish"
    words = text.split()
    content[3] = f"{image},{' '.join([*words[:-1], str(int(words[-1]) - 1)])}"
    changed.write_text("\n".join(content) + "\n")
    (tmp_path / "images").symlink_to(folder / "images")
    with pytest.raises(UserError, match="overwrite"):
        convert(tmp_path, tmp_path / "set")


def test_a_mask_that_is_not_of_its_label_is_found(photographs, tmp_path):
    from cloudtf.data.verify import check_record

    folder, _ = photographs
    manifest = convert(folder, tmp_path / "set")
    path = next((tmp_path / "set").glob("*.tfrecord"))
    record = next(iter(tf.data.TFRecordDataset(str(path)))).numpy()
    check_record(0, record, manifest)
    example = tf.train.Example.FromString(record)
    example.features.feature[records.MASK].bytes_list.value[0] += b"\0"
    with pytest.raises(ValueError, match="record 0: its masks have .* bytes"):
        check_record(0, example.SerializeToString(), manifest)


def test_labels_without_masks_have_no_such_feature(photographs, tmp_path):
    folder, _ = photographs
    (tmp_path / "images").symlink_to(folder / "images")
    rows = [f"{number:02}.jpg,{number & 1},{number >> 1 & 1}" for number in range(24)]
    (tmp_path / "train.csv").write_text("\n".join(["Image,Fish,Flower", *rows]) + "\n")
    manifest = convert(tmp_path, tmp_path / "set", verify=True)
    assert manifest.mask_side == 0
    for path in (tmp_path / "set").glob("*.tfrecord"):
        assert all(records.MASK not in feature for feature in features(path))
