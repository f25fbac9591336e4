"""Hugging Face's metadata.csv and metadata.jsonl are found among the photographs."""

import json

import numpy as np
import pytest
import simplejpeg

from cloudtf.data.convert import ConvertConfig, convert
from cloudtf.errors import UserError
from cloudtf.pipeline.dataset import open_dataset


def photographs(folder, names):
    for index, name in enumerate(names):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        pixels = np.full((20, 30, 3), 10 * index, np.uint8)
        (folder / name).write_bytes(simplejpeg.encode_jpeg(pixels))


def run(folder, **options):
    given = {"images_dir": str(folder / "images"), "output_dir": str(folder / "out"), **options}
    return convert(ConvertConfig(image_height=16, image_width=16, **given))


def labels(folder):
    data = open_dataset(str(folder / "out"))
    return {
        split: {
            name: [data.classes[i] for i in np.flatnonzero(label)]
            for name, label in zip(data.names(split), data.labels(split).numpy())
        }
        for split in data.splits
    }


def test_the_column_may_say_that_the_file_is_an_image(tmp_path):
    photographs(tmp_path / "images", ["train/a.jpg", "train/b.jpg"])
    text = "image_file_name,label\na.jpg,cat\nb.jpg,dog\n"
    (tmp_path / "images" / "train" / "metadata.csv").write_text(text)
    run(tmp_path, val_fraction=0.0)
    assert labels(tmp_path) == {"train": {"train/a.jpg": ["cat"], "train/b.jpg": ["dog"]}}


def test_a_table_among_the_photographs_is_taken(tmp_path, capsys):
    photographs(tmp_path / "images", ["a.jpg", "deep/b.jpg"])
    (tmp_path / "images" / "metadata.csv").write_text(
        "file_name,label\na.jpg,cat\ndeep/b.jpg,dog\n"
    )
    run(tmp_path, val_fraction=0.0)
    assert labels(tmp_path) == {"train": {"a.jpg": ["cat"], "deep/b.jpg": ["dog"]}}
    assert f"{tmp_path}/images/metadata.csv is read as:" in capsys.readouterr().out


def test_the_tables_of_splits_are_joined(tmp_path):
    photographs(tmp_path / "images", ["train/a.jpg", "train/b.jpg", "validation/a.jpg"])
    for split, rows in (
        ("train", [("a.jpg", ["cat"]), ("b.jpg", [])]),
        ("validation", [("a.jpg", ["cat", "dog"])]),
    ):
        lines = [json.dumps({"file_name": name, "labels": classes}) for name, classes in rows]
        (tmp_path / "images" / split / "metadata.jsonl").write_text("\n".join(lines))
    run(tmp_path, split_column="split")
    assert labels(tmp_path) == {
        "train": {"train/a.jpg": ["cat"], "train/b.jpg": []},
        "validation": {"validation/a.jpg": ["cat", "dog"]},
    }


def test_the_tables_that_roboflow_writes_are_taken(tmp_path):
    photographs(tmp_path / "images", ["train/a.jpg", "train/b.jpg", "valid/c.jpg"])
    text = "filename, cat, dog\na.jpg, 1, 0\nb.jpg, 1, 1\n"
    (tmp_path / "images" / "train" / "_classes.csv").write_text(text)
    (tmp_path / "images" / "valid" / "_classes.csv").write_text("filename, cat, dog\nc.jpg, 0, 1\n")
    run(tmp_path, split_column="split")
    assert labels(tmp_path) == {
        "train": {"train/a.jpg": ["cat"], "train/b.jpg": ["cat", "dog"]},
        "valid": {"valid/c.jpg": ["dog"]},
    }


def test_cocos_annotations_among_the_photographs_are_taken(tmp_path):
    photographs(tmp_path / "images", ["train/a.jpg", "train/b.jpg"])
    coco = {
        "images": [{"id": 1, "file_name": "a.jpg"}, {"id": 2, "file_name": "b.jpg"}],
        "annotations": [{"image_id": 2, "category_id": 7}],
        "categories": [{"id": 7, "name": "cat"}],
    }
    (tmp_path / "images" / "train" / "_annotations.coco.json").write_text(json.dumps(coco))
    run(tmp_path, val_fraction=0.0)
    assert labels(tmp_path) == {"train": {"train/a.jpg": [], "train/b.jpg": ["cat"]}}


def test_what_is_no_such_table_is_left_alone(tmp_path):
    photographs(tmp_path / "images", ["a.jpg", "b.jpg"])
    (tmp_path / "images" / "metadata.csv").write_text("id,price\n1,7\n")
    assert list(run(tmp_path).splits) == ["test"]


def test_metadata_in_parquet_are_refused_by_what_they_are(tmp_path):
    photographs(tmp_path / "images", ["a.jpg", "b.jpg"])
    (tmp_path / "images" / "metadata.parquet").write_bytes(b"PAR1...")
    with pytest.raises(UserError, match="metadata.parquet is a Parquet file, not a CSV; open it"):
        run(tmp_path)


def test_a_table_that_says_no_class_is_refused_and_not_passed_over(tmp_path):
    photographs(tmp_path / "images", ["a.jpg", "b.jpg"])
    text = "file_name,width\na.jpg,0.31\nb.jpg,0.52\n"
    (tmp_path / "images" / "metadata.csv").write_text(text)
    with pytest.raises(UserError, match="metadata.csv has no column that says classes"):
        run(tmp_path)
