"""Which images are taken, what is said of the others, and which names of classes and splits do."""

import json
import os
import subprocess
import sys

import cv2
import numpy as np
import pytest

from cloudtf.data.convert import ConvertConfig, convert
from cloudtf.errors import UserError


@pytest.fixture
def folder(tmp_path):
    """Ten photographs, `images/0.jpg`..., and nothing that names them yet."""
    (tmp_path / "images").mkdir()
    for i in range(10):
        pixels = np.random.default_rng(i).integers(0, 256, (40, 60, 3), np.uint8)
        cv2.imwrite(str(tmp_path / "images" / f"{i}.jpg"), pixels)
    return tmp_path


def run(folder, labels=None, **options):
    if labels is not None:
        (folder / "labels.csv").write_text(labels)
        options["labels_csv"] = str(folder / "labels.csv")
    given = {"image_height": 32, "image_width": 32, "images_dir": str(folder / "images")}
    return convert(ConvertConfig(output_dir=str(folder / "out"), **{**given, **options}))


ROWS = "".join(f"{i}.jpg,{'A' if i % 2 else 'B'}\n" for i in range(10))


def test_a_class_that_only_images_left_out_show_is_not_learnt_in_silence(folder, capsys):
    labels = f"image,classes\n{ROWS}gone.jpg,Fsih\n"
    with pytest.raises(UserError, match="1 problem: 'gone.jpg': row 12: the image is not in"):
        run(folder, labels)
    with pytest.raises(
        UserError, match=r"row 12 .'gone.jpg'. names the class 'Fsih', which only .* with classes"
    ):
        run(folder, labels, on_error="skip")
    assert not (folder / "out").exists()
    assert run(folder, labels, on_error="skip", classes=("A", "B", "Fsih")).classes[2] == "Fsih"


def test_a_class_without_an_image_from_the_start_stays(folder):
    rows = "".join(f"{i}.jpg_A,1 5\n{i}.jpg_B,\n" for i in range(10))
    labels = f"Image_Label,EncodedPixels\n{rows}gone.jpg_A,1 5\ngone.jpg_B,\n"
    assert run(folder, labels, on_error="skip").classes == ("A", "B")


def test_a_class_name_that_cannot_be_costs_its_row_alone(folder):
    manifest = run(
        folder, f"image,classes\n{ROWS}".replace("3.jpg,A", "3.jpg,a/b"), on_error="skip"
    )
    assert manifest.classes == ("A", "B")
    assert [entry["file"] for entry in manifest.skipped] == ["3.jpg"]


def test_a_table_in_which_no_column_names_a_file_is_refused_with_the_setting_for_it(folder):
    by_study = "subject_id,study_id,A,B\n10000032,50414267,yes,no\n10000033,53189527,no,yes\n"
    with pytest.raises(UserError, match="another column names the images, give it as image_column"):
        run(folder, by_study)


@pytest.mark.parametrize("names, refused", [(("Dev", "dev"), True), (("Dev", "held"), False)])
def test_splits_that_differ_only_in_case_are_refused(folder, names, refused):
    rows = "".join(f"{i}.jpg,A,{names[i % 2]}\n" for i in range(10))
    labels = f"image,classes,part\n{rows}"
    if refused:
        with pytest.raises(UserError, match="splits 'Dev' and 'dev', which differ only in case"):
            run(folder, labels, split_column="part")
    else:
        assert set(run(folder, labels, split_column="part").splits) == set(names)


@pytest.mark.parametrize("name", ["a b", "a-b", "", "_a", "ü"])
def test_what_the_name_of_a_split_may_hold_is_said(folder, name):
    labels = f"image,classes,part\n0.jpg,A,dev\n1.jpg,A,{name}\n"
    with pytest.raises(UserError, match="row 3 has .* which takes letters, digits and _ only"):
        run(folder, labels, split_column="part")


def test_a_file_that_is_refused_is_not_also_told_as_unnamed(folder, capsys):
    (folder / "images" / "3.jpg").write_bytes(b"")
    (folder / "images" / "other.jpg").write_bytes(b"x")
    labels = f"image,classes\n{ROWS}5.jpg,A|B\n".replace(".jpg", "")
    manifest = run(folder, labels, on_error="skip")
    assert [entry["file"] for entry in manifest.skipped] == ["5", "3"]
    printed = capsys.readouterr().out
    assert "Left out 1 images in" in printed and "does not name: 'other.jpg'." in printed


@pytest.fixture
def strange(folder):
    """With a file whose name is Latin-1, if the disk takes it."""
    try:
        with open(os.fsencode(folder) + b"/images/caf\xe9.jpg", "wb") as file:
            file.write((folder / "images" / "0.jpg").read_bytes())
    except OSError:
        pytest.skip("this disk takes no such name")
    return folder


def test_a_file_whose_name_is_not_utf_8_is_a_problem_like_others(strange):
    with pytest.raises(UserError, match="caf.*: the image has an image name that is not UTF-8"):
        run(strange)
    manifest = run(strange, on_error="skip")
    assert manifest.split("test").num_examples == 10
    (entry,) = json.loads((strange / "out" / "dataset.json").read_text())["skipped"]
    assert entry == {
        "file": "caf\\udce9.jpg",
        "reason": "the image has an image name that is not UTF-8",
    }


def test_a_terminal_that_takes_utf_8_alone_is_told_of_it_too(strange):
    (strange / "labels.csv").write_text(f"image,classes\n{ROWS}")
    command = [sys.executable, "-m", "cloudtf", "convert", f"--images_dir={strange / 'images'}"]
    command += [f"--labels_csv={strange / 'labels.csv'}", f"--output_dir={strange / 'out'}"]
    done = subprocess.run(
        [*command, "--image_height=32", "--image_width=32"],
        env={**os.environ, "PYTHONIOENCODING": "utf-8:strict"},
        capture_output=True,
        encoding="utf-8",
    )
    assert (done.returncode, "Traceback" in done.stderr) == (0, False)
    assert "does not name: 'caf\\udce9.jpg'." in done.stdout


def test_photographs_may_be_in_a_folder_whose_name_is_not_utf_8(folder):
    odd = os.fsdecode(os.fsencode(folder) + b"/caf\xe9")
    try:
        os.rename(folder / "images", odd)
    except OSError:
        pytest.skip("this disk takes no such name")
    labels = f"image,classes\n{ROWS}gone.jpg,A\n"
    manifest = run(folder, labels, images_dir=odd, on_error="skip")
    assert manifest.settings["images_dir"] == "caf\\udce9"


def test_a_row_a_label_keeps_photographs_of_several_labels(folder, capsys):
    rows = "".join(f"{i}.jpg,A\n{i}.jpg,B\n" for i in range(10))
    manifest = run(folder, f"image,label\n{rows}", on_error="skip")
    counts = [split.class_counts for split in manifest.splits.values()]
    assert sum(count["A"] for count in counts) == sum(count["B"] for count in counts) == 10
    assert manifest.skipped == ()


def test_how_the_labels_were_read_is_said(folder, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    rows = "".join(f"{i}.jpg,Bob,{'A|B' if i % 2 else 'No Finding'}\n" for i in range(10))
    run(folder, f"image,author,labels\n{rows}")
    said = capsys.readouterr().out.splitlines()
    at = next(i for i, line in enumerate(said) if "labels.csv is read as:" in line)
    assert [line.split(maxsplit=1) for line in said[at + 1 : at + 6]] == [
        ["kind", "a list of classes for each image, separated by bar"],
        ["image", "image"],
        ["class", "labels"],
        ["not", "used  author"],
        ["row", "2     0.jpg: (none)"],
    ]
    assert said[at + 6].split() == ["row", "3", "1.jpg:", "A,", "B"]
    assert said[at + 8].strip() == "5 rows of no finding count as none of the classes."


def test_cells_that_count_as_blank_are_said(folder, capsys):
    rows = "".join(f"{i}.jpg,{('A', 'B', 'none')[i % 3]}\n" for i in range(10))
    run(folder, f"image,label\n{rows}")
    assert "  3 cells such as 'none' count as blank." in capsys.readouterr().out.splitlines()


def test_photographs_without_a_row_are_left_out_or_have_none_of_the_classes(folder, capsys):
    labels = "image,label\n" + "".join(f"{i}.jpg,A\n" for i in range(6))
    manifest = run(folder, labels)
    assert sum(split.num_examples for split in manifest.splits.values()) == 6
    assert "If they have none of the classes, take them with unlisted='absent'" in (
        capsys.readouterr().out
    )
    manifest = run(folder, labels, unlisted="absent", overwrite=True)
    counts = [split.combination_counts for split in manifest.splits.values()]
    assert sum(count.get("", 0) for count in counts) == 4
    assert "Took 4 images in" in capsys.readouterr().out


@pytest.mark.parametrize(
    "options, message",
    [
        ({"blank": "unknown"}, "blank='unknown' is for columns of yes and no, of which"),
        ({"unlisted": "absent", "split_column": "x"}, "unlisted='absent' takes photographs of"),
        ({"labels_encoding": "runes"}, "labels_encoding='runes' is no encoding of text"),
        (
            {"present_words": ("x", "Y"), "absent_words": ("y",)},
            "'y' is in present_words and in absent_words",
        ),
        ({"label_format": "folders"}, "label_format='folders' takes no labels_csv"),
        ({"image_column": "who"}, r"has no column 'who' \(image_column\); it has image, label"),
        ({"label_columns": ("a",)}, r"has no column 'a' \(label_columns\)"),
        ({"ignore_columns": ("b",)}, r"has no column 'b' \(ignore_columns\)"),
    ],
)
def test_what_cannot_be_said_of_labels_is_refused(folder, options, message):
    with pytest.raises(UserError, match=message):
        run(folder, "image,label\n0.jpg,A\n1.jpg,B\n", **options)


def test_a_name_in_the_records_is_that_of_the_file(folder, capsys):
    os.rename(folder / "images" / "3.jpg", folder / "images" / "3.JPG")
    (folder / "images" / "deep").mkdir()
    os.rename(folder / "images" / "4.jpg", folder / "images" / "deep" / "4.jpg")
    run(folder, f"image,classes\n{ROWS}", val_fraction=0.0, num_shards=1)
    stored = (folder / "out" / "train-00000-of-00001.tfrecord").read_bytes()
    for i in range(10):
        name = {3: "3.JPG", 4: "deep/4.jpg"}.get(i, f"{i}.jpg").encode()
        # A bytes_list of one: its length, the field 1, the length of the name.
        assert bytes([len(name) + 2, 10, len(name)]) + name in stored
    assert "Found 2 images under another name, such as '3.JPG' for '3.jpg'" in (
        capsys.readouterr().out
    )


@pytest.mark.parametrize("yes, no", [("True", "False"), ("1", "0")])
def test_is_valid_says_which_images_are_to_validate(folder, capsys, yes, no):
    rows = "".join(f"{i}.jpg,{'A' if i % 2 else 'B'},{yes if i < 3 else no}\n" for i in range(10))
    run(folder, f"fname,labels,is_valid\n{rows}")
    assert "is_valid may say the split: split_column='is_valid' keeps it" in capsys.readouterr().out
    manifest = run(
        folder, f"fname,labels,is_valid\n{rows}", split_column="is_valid", overwrite=True
    )
    assert {n: s.num_examples for n, s in manifest.splits.items()} == {"train": 7, "val": 3}


def test_a_class_that_a_split_has_no_image_of_is_told(folder, capsys):
    rows = "".join(f"{i}.jpg,{'rare' if i == 4 else 'common'}\n" for i in range(10))
    manifest = run(folder, f"image,classes\n{rows}")
    without = next(name for name, s in manifest.splits.items() if not s.class_counts["rare"])
    said = f"No image of {without} shows rare (1 in all): nothing can be said of it there."
    assert said in capsys.readouterr().out


def test_many_classes_are_dealt_so_that_each_split_has_its_share(folder):
    names = [f"c{i:02}" for i in range(12)]
    random = np.random.default_rng(0)
    labels = (random.random((200, 12)) < 0.2).astype(int)
    for i in range(200):
        pixels = random.integers(0, 256, (8, 8, 3), np.uint8)
        cv2.imwrite(str(folder / "images" / f"{i}.jpg"), pixels)
    rows = "".join(f"{i}.jpg,{','.join(map(str, row))}\n" for i, row in enumerate(labels))
    manifest = run(folder, f"image,{','.join(names)}\n{rows}")
    assert {name: split.num_examples for name, split in manifest.splits.items()} == {
        "train": 160,
        "val": 40,
    }
    for number, name in enumerate(names):
        share = 0.2 * labels[:, number].sum()
        assert abs(manifest.splits["val"].class_counts[name] - share) <= 1


def test_labels_of_which_none_is_there_are_refused_and_equal_ones_told(folder, capsys):
    names = [f"{i}.jpg" for i in range(10)]
    rows = "".join(f"{name}_A,1 1\n{name}_B,1 1\n" for name in names)
    with pytest.raises(UserError, match="All 10 images have none of the classes A, B; is it a sam"):
        run(folder, "Image_Label,EncodedPixels\n" + rows)
    run(folder, "ImageId,EncodedPixels\n" + "".join(f"{name},1 5 20 7\n" for name in names))
    assert "All 10 images have the same labels (present): nothing" in capsys.readouterr().out
