"""What convert says will happen to the photographs."""

import io

import numpy as np
import pytest
import simplejpeg
from PIL import Image

from cloudtf.data import first_look, images
from cloudtf.data.convert import ConvertConfig, convert
from cloudtf.data.first_look import Look

WIDE = Look(466, 700, False)


@pytest.mark.parametrize(
    "seen, size, aspect, sentence",
    [
        ([WIDE] * 3, (224, 224), "stretch", "squeezes them to 0.67 of their width; aspect='pad'"),
        ([Look(700, 466, False)], (224, 224), "stretch", "squeezes them to 0.67 of their height"),
        ([WIDE], (224, 224), "pad", "become 224 x 224, of which 33% are borders."),
        ([WIDE], (224, 224), "crop", "become 224 x 224, without 33% of each."),
        ([WIDE, WIDE, Look(9, 9, False)], (64, 64), "stretch", "pixels (others have other sizes)"),
    ],
)
def test_a_change_of_shape_is_said_with_the_flag_that_makes_none(seen, size, aspect, sentence):
    (found,) = first_look.of_looks(seen, *size, aspect)
    assert sentence in found and found.startswith("Photographs of ")


@pytest.mark.parametrize("aspect", ["stretch", "pad", "crop"])
def test_where_the_shape_stays_nothing_is_said(aspect):
    assert first_look.of_looks([Look(1400, 2100, False)], 240, 360, aspect) == []
    assert first_look.of_looks([Look(480, 640, False)], 225, 300, aspect) == []


def test_grey_photographs_are_counted():
    grey, colour = Look(9, 9, True), Look(9, 9, False)
    (found,) = first_look.of_looks([grey, colour, grey], 9, 9, "stretch")
    assert found.startswith("2 of 3 photographs that were looked at are grey")
    assert first_look.of_looks([colour], 9, 9, "stretch") == []


def saved(kind, mode):
    file = io.BytesIO()
    Image.new(mode, (30, 20)).save(file, kind)
    return file.getvalue()


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "TIFF", "BMP"])
def test_one_band_is_told_from_three(kind):
    assert images.is_grey(saved(kind, "L")) and not images.is_grey(saved(kind, "RGB"))


def test_convert_says_it_before_it_begins(tmp_path, capsys):
    (tmp_path / "images").mkdir()
    for number in range(30):
        data = simplejpeg.encode_jpeg(np.full((40, 60, 3), number, np.uint8))
        (tmp_path / "images" / f"{number}.jpg").write_bytes(data)
    given = {"images_dir": str(tmp_path / "images"), "output_dir": str(tmp_path / "out")}
    convert(ConvertConfig(image_height=32, image_width=32, **given))
    said = capsys.readouterr().out.splitlines()
    assert said[0].startswith("Photographs of 60 x 40 pixels become 32 x 32, which squeezes")
    convert(ConvertConfig(image_height=32, image_width=32, **given))
    assert "Photographs" not in capsys.readouterr().out, "of a set that is there already"
