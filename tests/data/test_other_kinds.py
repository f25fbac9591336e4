"""Photographs of other kinds than JPEG and PNG: read, or refused by what they are."""

import io
import struct

import cv2
import numpy as np
import pytest
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageOps, features
from sklearn.datasets import load_sample_image

from cloudtf.data import images, kinds, other_kinds, pixels, rle
from cloudtf.data.convert import ConvertConfig, convert
from cloudtf.data.recipe import make_record
from cloudtf.evaluation import photographs
from cloudtf.pipeline.dataset import open_dataset

PIXELS = np.ascontiguousarray(load_sample_image("flower.jpg")[100:148, 150:222])
DEEP = (PIXELS.astype(np.uint16) << 8) + 77


def saved(kind, image=None, **options):
    file = io.BytesIO()
    image = Image.fromarray(PIXELS) if image is None else image
    image.save(file, kind, **options)
    return file.getvalue()


def tiff(array, **options):
    file = io.BytesIO()
    tifffile.imwrite(file, array, **options)
    return file.getvalue()


def grey(array=PIXELS):
    return np.ascontiguousarray(array[..., 1])


EXACT = {
    "WebP": lambda: saved("WEBP", lossless=True),
    "BMP": lambda: saved("BMP"),
    "TIFF": lambda: saved("TIFF"),
    "TIFF packed": lambda: saved("TIFF", compression="tiff_lzw"),
    "TIFF in tiles": lambda: tiff(PIXELS, tile=(16, 16), photometric="rgb"),
    "TIFF in planes": lambda: tiff(
        np.moveaxis(PIXELS, -1, 0), photometric="rgb", planarconfig="separate"
    ),
    "BigTIFF": lambda: tiff(PIXELS, bigtiff=True, photometric="rgb"),
    "TIFF, big-endian": lambda: tiff(PIXELS, byteorder=">", photometric="rgb"),
    "TIFF with alpha": lambda: saved("TIFF", Image.fromarray(PIXELS).convert("RGBA")),
    "two pages": lambda: tiff(np.stack([PIXELS, 255 - PIXELS]), photometric="rgb"),
    "16 bits": lambda: tiff(DEEP, photometric="rgb"),
    "16 bits in tiles, packed": lambda: tiff(
        DEEP, photometric="rgb", tile=(32, 32), compression="zlib"
    ),
    "16 bits, big-endian": lambda: tiff(DEEP, photometric="rgb", byteorder=">"),
    "16 bits with alpha": lambda: tiff(
        np.dstack([DEEP, np.full(DEEP.shape[:2], 500, np.uint16)]),
        photometric="rgb",
        extrasamples=["unassalpha"],
    ),
    "12 of 16 bits": lambda: tiff(DEEP >> 4, photometric="rgb"),
}


@pytest.mark.parametrize("name", EXACT)
def test_a_lossless_photograph_has_its_own_pixels(name):
    np.testing.assert_array_equal(images.decode(EXACT[name]()), PIXELS)


SINGLE = {
    "a byte": lambda: saved("TIFF", Image.fromarray(grey())),
    "a byte of BMP": lambda: saved("BMP", Image.fromarray(grey())),
    "16 bits": lambda: tiff(grey(DEEP)),
    "16 bits in tiles": lambda: tiff(grey(DEEP), tile=(16, 16)),
    "white is 0": lambda: tiff(255 - grey(), photometric="miniswhite"),
    "16 bits, white is 0": lambda: tiff(65535 - grey(DEEP), photometric="miniswhite"),
    "with alpha": lambda: saved("TIFF", Image.fromarray(grey()).convert("LA")),
    "12 of 16 bits": lambda: tiff(grey(DEEP) >> 4),
}


@pytest.mark.parametrize("name", SINGLE)
def test_a_single_band_becomes_grey(name):
    found = images.decode(SINGLE[name]())
    np.testing.assert_array_equal(found, np.repeat(grey()[..., None], 3, axis=2))


def test_deep_values_follow_the_rule_of_pngs():
    values = (PIXELS.astype(np.uint16) * 13) + 5  # Up to 12 bits.
    png = cv2.imencode(".png", values[..., ::-1])[1].tobytes()
    found, as_png = images.decode(tiff(values, photometric="rgb")), images.decode(png)
    np.testing.assert_array_equal(found, as_png)
    np.testing.assert_array_equal(found, pixels.to_bytes(values))
    assert images.convert_image(tiff(values, photometric="rgb"), 16, 16, 95).depth == 12


@pytest.mark.parametrize("kind", ["WEBP", "GIF", "TIFF", "AVIF"])
def test_other_photographs_are_as_pillow_reads_them(kind):
    if kind == "AVIF" and not features.check("avif"):
        pytest.skip("this Pillow has no AVIF")
    data = saved(kind)
    expected = np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))
    np.testing.assert_array_equal(images.decode(data), expected)
    assert np.abs(expected.astype(int) - PIXELS).mean() < 12


@pytest.mark.parametrize("turned", [1, 6])
def test_a_photograph_of_a_phone_is_as_its_library_reads_it(turned, monkeypatch):
    """HEIC, which Pillow reads with the extra `heif`."""
    heif = pytest.importorskip("pillow_heif")
    monkeypatch.setattr(Image, "OPEN", dict(Image.OPEN))
    photograph = heif.from_pillow(Image.fromarray(PIXELS))
    tags = Image.Exif()
    tags[0x0112] = turned
    file = io.BytesIO()
    photograph.save(file, quality=90, exif=tags.tobytes())
    data = file.getvalue()
    assert kinds.kind_of(data) == "HEIC"
    found = images.decode(data)
    assert found.shape == (*images.upright_size(data), 3)
    expected = np.rot90(PIXELS, -1) if turned == 6 else PIXELS
    assert found.shape == expected.shape and np.abs(found.astype(int) - expected).mean() < 5
    assert not images.is_grey(data)
    for length in (40, len(data) // 3, len(data) - 20):
        with pytest.raises(ValueError, match="damaged|is of no known kind"):
            images.decode(data[:length])


def test_the_first_picture_of_an_animation_is_taken():
    first, second = Image.fromarray(PIXELS), Image.fromarray(255 - PIXELS)
    for kind in ("GIF", "WEBP"):
        data = saved(kind, first, save_all=True, append_images=[second])
        found = images.decode(data).astype(int)
        assert np.abs(found - PIXELS).mean() < 15


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["WEBP", "TIFF", "deep TIFF"])
def test_they_are_turned_upright(kind, orientation):
    tags = Image.Exif()
    tags[0x0112] = orientation
    if kind == "deep TIFF":
        data = tiff(DEEP, photometric="rgb", extratags=[(274, 3, 1, orientation, True)])
    else:
        data = saved(kind, exif=tags, **({"lossless": True} if kind == "WEBP" else {}))
    png = Image.open(io.BytesIO(saved("PNG", exif=tags)))
    np.testing.assert_array_equal(images.decode(data), np.asarray(ImageOps.exif_transpose(png)))


@pytest.mark.parametrize("orientation", [1, 6])
@pytest.mark.parametrize("kind", ["WEBP", "GIF", "TIFF", "deep TIFF", "BMP", "PNG", "JPEG", "AVIF"])
def test_size_and_bands_are_in_the_header(kind, orientation, monkeypatch):
    if kind == "AVIF" and not features.check("avif"):
        pytest.skip("this Pillow has no AVIF")
    tags = Image.Exif()
    tags[0x0112] = orientation
    if kind == "deep TIFF":
        data = tiff(DEEP, photometric="rgb", extratags=[(274, 3, 1, orientation, True)])
    else:
        data = saved(kind, **({} if kind in ("GIF", "BMP") else {"exif": tags}))
    expected = images.decode(data).shape[:2]
    for module in (images.jpeg, images.png, images.tiff, images.other_kinds):
        monkeypatch.delattr(module, "decode")
    assert images.upright_size(data) == expected
    assert not images.is_grey(data)


@pytest.mark.parametrize("way", ["stretch", "pad", "crop"])
@pytest.mark.parametrize("name", ["WebP", "TIFF", "BMP"])
def test_a_photograph_is_decoded_once_for_its_record_and_masks(name, way, monkeypatch):
    opened, whole = [], Image.open
    monkeypatch.setattr(Image, "open", lambda *a, **k: opened.append(a) or whole(*a, **k))
    label, masks = np.array([1]), [(0, rle.pack("1 5"))]
    record = make_record(EXACT[name](), "a", label, 16, 16, 95, way, True, masks).record
    assert b"image/mask" in record and len(opened) == 1


@pytest.mark.parametrize("kind", ["WEBP", "GIF", "TIFF", "BMP", "AVIF"])
def test_a_truncated_file_is_refused(kind):
    if kind == "AVIF" and not features.check("avif"):
        pytest.skip("this Pillow has no AVIF")
    data = saved(kind)
    for length in (40, len(data) // 3, len(data) - 20):
        with pytest.raises(ValueError, match="damaged|is of no known kind"):
            images.decode(data[:length])


def resized(width, height):
    """A BMP that says it is of another size."""
    bmp = saved("BMP")
    return bmp[:18] + struct.pack("<ii", width, height) + bmp[26:]


REFUSED = {
    "the TIFF has 4 bands, and a photograph has 1 or 3; write the three": lambda: tiff(
        np.dstack([PIXELS, grey()]), photometric="rgb", extrasamples=["unspecified"]
    ),
    "the TIFF has 8 bands": lambda: tiff(
        np.zeros((20, 20, 8), np.uint16), photometric="minisblack", planarconfig="contig"
    ),
    "the TIFF has 2 bands": lambda: tiff(
        np.zeros((20, 20, 2), np.uint8),
        photometric="minisblack",
        planarconfig="contig",
        extrasamples=["unspecified"],
    ),
    "values that are signed or floating-point": lambda: tiff(grey().astype(np.float32)),
    "bands that are stored apart": lambda: tiff(
        np.moveaxis(DEEP, -1, 0), photometric="rgb", planarconfig="separate"
    ),
    "values of 32 bits of a kind that is not read": lambda: tiff(grey().astype(np.uint32)),
    "begins with a preview; develop it": lambda: tiff(PIXELS, photometric="rgb", subfiletype=1),
    "the file is a camera's raw file": lambda: tiff(
        PIXELS, photometric="rgb", extratags=[(50706, 1, 4, bytes([1, 4, 0, 0]), True)]
    ),
    "the TIFF is damaged .it has no picture": lambda: b"II*\0" + struct.pack("<I", 8) + bytes(60),
    "the BMP has more pixels than are read: at most 65,500 a side": lambda: resized(60000, 60000),
    "the image says it has 66000 x 100 pixels; at most": lambda: resized(66000, 100),
    "the file is text, not a JPEG, PNG, WebP, TIFF, BMP, GIF, AVIF or HEIC": lambda: b"I am a text",
    "the file is an HTML .perhaps a page in place of a download": lambda: b"<!DOCTYPE html><html>",
    "the file is a Git LFS pointer .fetch the file itself": lambda: b"version https://git-lfs.git",
    "the file is a DICOM .write it as a PNG of 16 bits": lambda: bytes(128) + b"DICM" + bytes(9),
    "the file is a PDF": lambda: b"%PDF-1.7 ...",
    "the file is a JPEG XL": lambda: b"\xff\x0a" + bytes(40),
    "the file is a video": lambda: b"\0\0\0\x18ftypisom" + bytes(40),
    "the file is of no known kind .it begins with 01 02 03 04": lambda: bytes([1, 2, 3, 4] * 20),
}  # fmt: skip


@pytest.mark.parametrize("sentence", REFUSED)
def test_what_cannot_be_read_is_named_by_what_it_is(sentence):
    with pytest.raises(ValueError, match=sentence):
        images.decode(REFUSED[sentence]())


def test_what_is_not_installed_is_said_how_to_install(monkeypatch):
    heic = b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(40)
    assert kinds.kind_of(heic) == "HEIC"
    assert kinds.kind_of(b"\0\0\0\x18ftypmif1\0\0\0\0mif1avif" + bytes(40)) == "AVIF"
    Image.init()
    monkeypatch.setattr(Image, "OPEN", {k: v for k, v in Image.OPEN.items() if k != "HEIF"})
    monkeypatch.setitem(other_kinds._PLUGINS, "HEIC", ("no_such_module", "pillow-heif", ""))
    with pytest.raises(ValueError, match="a HEIC, which Pillow here does not read: pip install p"):
        images.decode(heic)


@settings(max_examples=300, deadline=None)
@given(st.sampled_from(["WEBP", "GIF", "BMP", "TIFF", *EXACT]), st.data())
def test_mutated_files_decode_or_are_refused_but_never_crash(name, draw):
    data = EXACT[name]() if name in EXACT else saved(name)
    mutated = bytearray(data)
    for _ in range(draw.draw(st.integers(1, 8))):
        last = draw.draw(st.sampled_from([min(len(data), 400), len(data)])) - 1
        mutated[draw.draw(st.integers(0, last))] = draw.draw(st.integers(0, 255))
    mutated = bytes(mutated[: draw.draw(st.integers(len(data) // 2, len(data)))])
    try:
        result = images.convert_image(mutated, 32, 32, 95).encoded
    except ValueError as error:
        assert str(error) and "\n" not in str(error)
    else:
        assert images.decode(result).shape == (32, 32, 3)


def test_offsets_beyond_all_files_are_no_crash():
    data = bytearray(EXACT["BigTIFF"]())
    data[8:16] = b"\xff" * 8
    with pytest.raises(ValueError, match="the TIFF is damaged"):
        images.decode(bytes(data))


def test_pillow_is_not_asked_what_a_file_is():
    """It would try everything that it knows, PostScript among it, which is run."""
    with pytest.raises(ValueError, match="is a PostScript"):
        images.decode(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n")
    with pytest.raises(ValueError, match="the BMP is damaged"):
        images.decode(saved("BMP")[:54] + b"%!PS-Adobe")


def test_convert_and_predict_take_all_kinds_as_their_png_twins(tmp_path):
    contents = {
        "a.webp": saved("WEBP", lossless=True),
        "b.TIF": EXACT["16 bits in tiles, packed"](),
        "c.bmp": saved("BMP"),
        "d.tiff": EXACT["TIFF in tiles"](),
        "e.png": saved("PNG"),
    }
    (tmp_path / "images").mkdir()
    for name, content in contents.items():
        (tmp_path / "images" / name).write_bytes(content)
    # Names find files of other extensions, as ever.
    rows = "".join(f"{name[0]}.jpg,A\n" for name in contents)
    (tmp_path / "labels.csv").write_text(f"image,label\n{rows}")
    manifest = convert(
        ConvertConfig(
            labels_csv=str(tmp_path / "labels.csv"), images_dir=str(tmp_path / "images"),
            output_dir=str(tmp_path / "out"), image_height=24, image_width=36, val_fraction=0.0,
            verify=True,
        )
    )  # fmt: skip
    assert manifest.splits["train"].num_examples == 5
    data = open_dataset(str(tmp_path / "out"))
    assert set(data.names("train")) == set(contents)
    (pictures, *_) = next(iter(data.batches("train", 5)))
    assert len(np.unique(pictures.numpy().reshape(5, -1), axis=0)) == 1
    found = photographs.find(str(tmp_path / "images"), recursive=False, follow_links=False)
    assert set(found.paths) == set(contents)
    ((names, batch),) = photographs.batches(found, (24, 36), 5, None, "stretch")
    assert (batch == batch[0]).all() and batch[0].any()
