"""Sets made to harm or made in a strange place: folders, names, sizes, memory."""

import os
import sys
import unicodedata

import cv2
import numpy as np
import pytest
import simplejpeg

from cloudtf.data import images, label_csv, labels, sources
from cloudtf.data.labels import LabelTable
from cloudtf.data.layouts.facts import Options
from cloudtf.errors import UsageError, UserError
from tests import programs

PHOTO = simplejpeg.encode_jpeg(np.full((40, 60, 3), 128, np.uint8))


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "images").mkdir()
    return tmp_path


def table_of(folder, *names):
    """What of a list CSV that gives all `names` the class A can be used."""
    quoted = ['"' + name.replace('"', '""') + '",A\n' for name in names]
    (folder / "labels.csv").write_text("image,classes\n" + "".join(quoted))
    table = label_csv.read_labels(str(folder / "labels.csv"))
    return sources.labelled(str(folder / "images"), table).table


@pytest.mark.parametrize(
    "name",
    ["../secret.jpg", "deep/../../secret.jpg", "/etc/secret.jpg", "C:\\secret.jpg", "C:secret.jpg"]
    + ["..\\secret.jpg", "gs://bucket/secret.jpg", "file:///secret.jpg", "..", ".", "./..", "x/.."],
)
def test_no_name_leads_out_of_the_folder(folder, name):
    (folder / "secret.jpg").write_bytes(PHOTO)
    (folder / "images" / "own.jpg").write_bytes(PHOTO)
    table = table_of(folder, name, "own.jpg")
    assert table.names == ("own.jpg",) and len(table.problems) == 1
    with pytest.raises(UserError, match="no row that can be used; the first problem is .*row 2"):
        table_of(folder, "../secret.jpg")


def test_no_link_leads_out_of_the_folder(folder):
    (folder / "outside").mkdir()
    (folder / "outside" / "secret.jpg").write_bytes(PHOTO)
    (folder / "images" / "own.jpg").write_bytes(PHOTO)
    (folder / "images" / "file.jpg").symlink_to(folder / "outside" / "secret.jpg")
    (folder / "images" / "deep").symlink_to(folder / "outside")
    (folder / "images" / "circle.jpg").symlink_to(folder / "images" / "circle.jpg")
    (folder / "images" / "within.jpg").symlink_to("own.jpg")
    table = table_of(folder, "own.jpg", "file.jpg", "deep/secret.jpg", "circle.jpg", "within.jpg")
    assert table.names == ("own.jpg", "within.jpg")
    assert [problem.file for problem in table.problems] == [
        "file.jpg",
        "deep/secret.jpg",
        "circle.jpg",
    ]
    assert sources.unlabelled(str(folder / "images")).names == ("own.jpg", "within.jpg")


def test_links_are_followed_on_request_into_each_folder_once(folder):
    """As in Hugging Face's cache, where each file is a link to a blob."""
    images, outside = folder / "images", folder / "outside"
    (outside / "more").mkdir(parents=True)
    for name in ("blob", "secret.jpg", "more/b.jpg"):
        (outside / name).write_bytes(PHOTO)
    (images / "file.jpg").symlink_to("../outside/blob")
    (images / "deep").symlink_to(outside)
    (images / "again").symlink_to(outside / "more")
    (outside / "more" / "up").symlink_to(outside)
    (images / "circle").symlink_to(images)
    (images / "above").symlink_to(folder)
    assert sources.unlabelled(str(images), follow_links=True).names == ("file.jpg",)
    found = sources.listing(str(images), follow_links=True)
    photographs = {name for name in found.names if name.endswith(".jpg")}
    assert photographs == {"file.jpg", "again/b.jpg", "deep/secret.jpg", "deep/more/b.jpg"}
    assert not sources.listing(str(images)).entered
    table = LabelTable(
        ("file.jpg", "secret"), np.ones((2, 1), np.int8), ("A",), np.array([2, 3]), {}
    )
    assert sources.labelled(str(images), table, follow_links=True).table.names == (
        "file.jpg",
        "deep/secret.jpg",
    )
    (problem, *_) = sources.labelled(str(images), table).table.problems
    assert "leads out of the folder (follow_links=True follows it)" in problem.reason


def test_files_that_are_no_photographs_by_their_size_are_told_before_they_are_opened(folder):
    (folder / "images" / "empty.jpg").write_bytes(b"")
    with open(folder / "images" / "huge.jpg", "wb") as file:
        file.truncate(sources.MAX_FILE_BYTES + 1)
    os.mkfifo(folder / "images" / "pipe.jpg")
    (folder / "images" / "folder.jpg").mkdir()
    table = table_of(folder, "empty.jpg", "huge.jpg", "pipe.jpg", "folder.jpg")
    assert table.names == ()
    for problem, reason in zip(table.problems, ("is empty", "is larger", "is not a", "is not a")):
        assert reason in problem.reason


def test_a_png_called_jpg_is_read_and_a_text_called_jpg_is_not():
    png = cv2.imencode(".png", np.full((40, 60, 3), 200, np.uint8))[1].tobytes()
    assert (images.decode(png) == 200).all()
    with pytest.raises(ValueError, match="the file is text, not a JPEG"):
        images.decode(b"\xef\xbb\xbfI am called photo.jpg")


def test_names_in_two_spellings_of_unicode_are_two_images_and_neither_is_mixed_up(folder):
    composed = unicodedata.normalize("NFC", "é.jpg")
    apart = unicodedata.normalize("NFD", "é.jpg")
    (folder / "images" / composed).write_bytes(PHOTO)
    if os.listdir(folder / "images") != [composed] or (folder / "images" / apart).exists():
        pytest.skip("this disk spells names its own way")
    table = table_of(folder, composed, apart)
    assert table.names == (composed,)
    assert "is the same file as" in table.problems[0].reason and table.problems[0].file == apart
    (folder / "images" / apart).write_bytes(PHOTO)
    assert table_of(folder, composed, apart).names == (composed, apart)


@pytest.mark.parametrize(
    "classes, message",
    [
        (("mean", "Fish"), "the class name 'mean' means something else in metrics.json"),
        (("Image", "Fish"), "the class name 'Image' means something else"),
        (("fish", "Fish"), "differ only in case"),
        (("é", "e\u0301"), "differ only in case or in how accents are encoded"),
        (("STRASSE", "straße"), "differ only in case"),
        (("../x", "Fish"), "'../x' has a character that file names or lists cannot hold"),
        (("a\nb", "Fish"), "has a control character"),
        (("a\u00a0b", "Fish"), "has a space other than the plain one (U+00A0)"),
        (("x" * 101, "Fish"), "is empty or too long"),
        (("a,b", "Fish"), "has a character that file names or lists cannot hold"),
        ((".hidden", "Fish"), "has a character that"),
    ],
)
@pytest.mark.parametrize("way", ["header", "flag", "cells"])
def test_classes_that_would_clash_later_are_refused_when_they_are_read(
    tmp_path, classes, message, way
):
    path = tmp_path / "labels.csv"
    quoted = ['"' + name + '"' for name in classes]
    if way == "header":
        path.write_text(f"image,{','.join(quoted)}\na.jpg,1,0\n")
    else:
        rows = [f'"a.jpg_{name}",1 1\n' for name in classes]
        path.write_text("Image_Label,EncodedPixels\n" + "".join(rows))
    with pytest.raises((UserError, UsageError)) as raised:
        label_csv.read_labels(str(path), Options(classes=classes if way == "flag" else ()))
    if way != "cells" or "/" not in classes[0]:
        assert message in str(raised.value)
    assert str(raised.value).isprintable()


def test_a_class_name_has_no_spaces_around_it():
    with pytest.raises(ValueError, match="begins or ends with a space"):
        labels.check_class(" Fish")


def test_a_header_of_a_hundred_thousand_columns_is_refused_at_once(tmp_path):
    path = tmp_path / "labels.csv"
    path.write_text("image," + ",".join(f"c{i}" for i in range(100_000)) + "\na.jpg\n")
    with pytest.raises(UserError, match="has 100,001 columns, more than any label"):
        label_csv.read_labels(str(path))


def grown(path):
    """Megabytes that a process grows by while it reads a label CSV, and the images it finds."""
    return programs.answer("memory_of_labels", path)


linux = pytest.mark.skipif(sys.platform != "linux", reason="needs Linux's /proc")


@linux
def test_memory_does_not_grow_with_the_masks(tmp_path):
    # 48 MB of masks of 8 KB: 160 MB were taken when all rows were kept.
    mask = " ".join(f"{1400 * i + 1} 937" for i in range(1, 720))
    with open(tmp_path / "labels.csv", "w") as file:
        file.write("Image_Label,EncodedPixels\n")
        for number in range(6000):
            file.write(f"{number // 4}.jpg_{'ABCD'[number % 4]},{number % 9 + 1} 1 {mask}\n")
    megabytes, count = grown(tmp_path / "labels.csv")
    assert count == 1500 and megabytes < 25


@linux
@pytest.mark.slow
def test_a_million_rows_take_little_memory_and_seconds(tmp_path):
    with open(tmp_path / "labels.csv", "w") as file:
        file.write("Image_Label,EncodedPixels\n")
        for number in range(1_000_000):
            file.write(f"{number // 4:07x}.jpg_{'ABCD'[number % 4]},{number % 2 * '1 5'}\n")
    megabytes, count = grown(tmp_path / "labels.csv")  # 2.8 s and 98 MB were measured.
    assert count == 250_000 and megabytes < 200
