"""JPEG bytes decoded by TensorFlow's ops against the converter's own decoding."""

from __future__ import annotations

import io
import struct

import cv2
import numpy as np
import pytest
import simplejpeg
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from tensorflow.python.autograph.impl import api

from cloudtf.data import images, jpeg
from cloudtf.model import jpeg_input, jpeg_parts, png_parts
from tests.data import test_odd_jpegs, test_pngs
from tests.jpegs import before_end, cut, put_in, segment, segments


@pytest.fixture(scope="module")
def decode():
    """`jpeg_input.decode` of one size as a graph, which is what a saved model holds."""
    graphs = {}

    def run(data, height, width):
        if (height, width) not in graphs:
            graphs[height, width] = tf.function(
                lambda encoded: jpeg_input.decode(encoded, height, width),
                input_signature=[tf.TensorSpec([None], tf.string)],
            )
        return graphs[height, width](tf.constant(data)).numpy()

    return run


def resized(photograph, height, width):
    return cv2.resize(photograph, (width, height), interpolation=cv2.INTER_CUBIC)


def pillow_jpeg(image, mode="RGB", **options):
    file = io.BytesIO()
    Image.fromarray(image).convert(mode).save(file, "JPEG", quality=95, **options)
    return file.getvalue()


def difference(found, expected):
    assert found.dtype == expected.dtype == np.uint8 and found.shape == expected.shape
    return np.abs(found.astype(int) - expected)


# Every test takes a graph of this size to pieces anew, which takes seconds: they are few.
SIZE = (64, 96)


def test_pixels_are_the_converters_but_for_rounding(decode, photograph):
    stored = [
        (1400, 2100),  # 1/8, and then shrunk by less than 4.
        (1800, 2400),  # 1/8, and then by more than 4.
        (1367, 2053),  # 1/8, the last row and column beyond the photograph.
        (260, 390),  # 1/4 and shrunk by little.
        (128, 192),  # 1/2.
        (96, 100),  # In full.
        (64, 96),  # As it is.
        (40, 50),  # Enlarged.
        (40, 700),  # Both.
    ]
    files = [simplejpeg.encode_jpeg(resized(photograph, *one), 90) for one in stored]
    for one, found, data in zip(stored, decode(files, *SIZE), files):
        far = difference(found, images.load(data, *SIZE))
        assert far.max() <= 1 and far.mean() < 0.002, one


def test_at_the_scales_that_tensorflow_lacks_they_come_near(decode, photograph):
    for eighths in (3, 5, 6, 7):
        stored = (SIZE[0] * 8 // eighths + 3, SIZE[1] * 8 // eighths + 20)
        data = simplejpeg.encode_jpeg(resized(photograph, *stored), 95)
        assert simplejpeg.decode_jpeg_header(data, *SIZE)[0] == -(-stored[0] * eighths // 8)
        expected = images.load(data, *SIZE)
        found = difference(decode([data], *SIZE)[0], expected)
        assert found.mean() < 1.5 and np.percentile(found, 99.9) <= 20
        # Much nearer than the next larger scale of TensorFlow's own.
        plain = tf.io.decode_jpeg(data, 3, ratio=2 if eighths == 3 else 1).numpy()
        other = difference(images.resize(plain, *SIZE), expected)
        assert found.mean() < 0.6 * other.mean()


def test_a_batch_is_each_image_for_itself_and_may_be_empty(decode, photograph):
    data = [
        simplejpeg.encode_jpeg(resized(photograph, *size))
        for size in ((90, 80), (427, 640), (200, 64))
    ]
    found = decode(data, *SIZE)
    assert found.shape == (3, *SIZE, 3)
    for one, row in zip(data, found):
        np.testing.assert_array_equal(row, decode([one], *SIZE)[0])
    assert decode(np.zeros([0], object).astype(bytes), *SIZE).shape == (0, *SIZE, 3)
    eager = jpeg_input.decode(tf.constant(data[:1]), *SIZE).numpy()
    np.testing.assert_array_equal(eager, found[:1])


@pytest.mark.parametrize("size", [(64, 96), (96, 64)])
def test_images_come_out_upright(decode, photograph, size):
    stored = resized(photograph, 300, 500)
    files = []
    for orientation in range(1, 9):
        exif = Image.Exif()
        exif[0x0112] = orientation
        files.append(pillow_jpeg(stored, exif=exif))
    (plain,) = decode([pillow_jpeg(stored)], *size)
    for orientation, found, data in zip(range(1, 9), decode(files, *size), files):
        expected = images.load(data, *size)
        assert difference(found, expected).max() <= 12
        if orientation != 1:
            assert difference(plain, expected).mean() > 10, "it matters"


def test_jpegs_of_every_kind_are_read(decode, photograph):
    files = [
        pillow_jpeg(resized(photograph, 130, 200), mode, **options)
        for mode, options in (
            ("RGB", {"progressive": True}),
            ("RGB", {"subsampling": 0}),
            ("L", {}),
            ("CMYK", {}),
        )
    ]
    for found, data in zip(decode(files, *SIZE), files):
        assert difference(found, images.load(data, *SIZE)).max() <= 3


def exif_segment(order, *entries, directory=8, marker=b"Exif\0\0"):
    tiff = {"<": b"II*\0", ">": b"MM\0*"}.get(order, b"XX*\0")
    order = order if order in "<>" else "<"
    tiff += struct.pack(order + "I", directory) + bytes(directory - 8)
    tiff += struct.pack(order + "H", len(entries))
    for tag, kind, value in entries:
        value = (
            struct.pack(order + "HH", value, 0) if kind == 3 else struct.pack(order + "I", value)
        )
        tiff += struct.pack(order + "HHI", tag, kind, 1) + value
    return segment(0xE1, marker + tiff)


XMP = b"http://ns.adobe.com/xap/1.0/\0"
COMMENT = segment(0xFE, b"made by a test")
WIDTH = (0x0100, 4, 640)


@pytest.fixture(scope="module")
def orientation():
    graph = tf.function(
        lambda data: jpeg_parts.take_apart(data).orientation,
        input_signature=[tf.TensorSpec([], tf.string)],
    )

    def run(data):
        try:
            expected = jpeg.read_header(data).orientation
        except ValueError:
            with pytest.raises(tf.errors.InvalidArgumentError):
                graph(data)
            return None
        found = int(graph(data))
        assert found == expected
        return found

    return run


TAIL = simplejpeg.encode_jpeg(np.zeros([8, 8, 3], np.uint8))[2:]


@pytest.mark.parametrize(
    ("segments", "expected"),
    [
        ([], 1),
        ([exif_segment("<", (0x0112, 3, 6))], 6),
        ([exif_segment(">", (0x0112, 3, 6))], 6),
        ([exif_segment(">", (0x0112, 4, 8))], 8),
        ([COMMENT, b"\xff\xff", exif_segment("<", WIDTH, (0x0112, 3, 5), WIDTH)], 5),
        ([exif_segment("<", WIDTH, (0x0112, 3, 3), directory=26)], 3),
        ([exif_segment("<", (0x0112, 3, 6)), exif_segment("<", (0x0112, 3, 8))], 6),
        ([exif_segment("<", (0x0112, 3, 6)), segment(0xE1, b"Exif\0\0more")], 6),
        ([segment(0xE1, b"Exif\0\0"), exif_segment("<", (0x0112, 3, 6))], 6),
        ([b"\0\x11", exif_segment("<", (0x0112, 3, 6)), b"\xff\0\xff\xd3"], 6),
        ([exif_segment("<", (0x0112, 1, 6))], 1),
        ([exif_segment("<", (0x0112, 8, 6))], 6),
        ([segment(0xE1, XMP + b'tiff:Orientation="8"')], 8),
        ([segment(0xE1, XMP + b"\xff<tiff:Orientation>7<\xfe")], 7),
        ([segment(0xE1, XMP + b'tiff:Orientation="8"'), exif_segment("<", (0x0112, 3, 3))], 3),
        ([segment(0xE1, XMP + b'tiff:Orientation="8"'), exif_segment("<", WIDTH)], 8),
        ([exif_segment("<", (0x0112, 3, 6), (0x0112, 3, 8))], 6),
        ([exif_segment("<", (0x0112, 3, 9))], 1),
        ([exif_segment("<", (0x0112, 3, 0))], 1),
        ([exif_segment("<", WIDTH)], 1),
        ([exif_segment("?", (0x0112, 3, 6))], 1),
        ([exif_segment("<", (0x0112, 3, 6), marker=b"http:\0")], 1),
        ([segment(0xE1, b"Exif\0\0II*\0" + struct.pack("<I", 2**32 - 4) + bytes(30))], 1),
        ([segment(0xE1, b"Exif\0\0II*\0\x08\0\0\0\xff\xff" + bytes(30))], 1),
        ([segment(0xE1, b"Exif\0\0")], 1),
    ],
)
def test_the_orientation_is_found_where_the_converter_finds_it(orientation, segments, expected):
    assert orientation(b"\xff\xd8" + b"".join(segments) + TAIL) == expected


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_a_mutated_header_is_read_as_the_converter_reads_it(orientation, data):
    head = exif_segment(data.draw(st.sampled_from("<>")), WIDTH, (0x0112, 3, 6))
    content = bytearray(b"\xff\xd8" + COMMENT + head + TAIL)
    for _ in range(data.draw(st.integers(0, 4))):
        place = data.draw(st.integers(2, 60 + len(COMMENT)))
        content[place] = data.draw(st.integers(0, 255))
    orientation(bytes(content))


def test_what_is_no_jpeg_or_too_large_is_refused(decode, photograph):
    good = simplejpeg.encode_jpeg(resized(photograph, 90, 80))
    claims = bytearray(good)
    at = good.index(b"\xff\xc0") + 5
    claims[at : at + 4] = struct.pack(">HH", 60_000, 60_000)
    for bad, reason in (
        (b"", None),
        (b"hello, I am text", None),
        (good[: len(good) // 2], None),
        (b"GIF89a" + bytes(60), "neither a JPEG nor a PNG"),
        (bytes(claims), "too many pixels.*60000"),
    ):
        with pytest.raises(tf.errors.InvalidArgumentError, match=reason):
            decode([good, bad], *SIZE)


KINDS = test_odd_jpegs.KINDS
SOME = ("baseline", "progressive", "restarts", "4:1:0")


def test_odd_jpegs_are_read_as_their_plain_twins(decode):
    for plain in (KINDS[kind] for kind in SOME):
        (expected,) = decode([plain], *SIZE)
        odd = [before_end(plain, content) for content in test_odd_jpegs.AT_THE_END.values()]
        odd += [plain[:-2], plain[:-1], plain + b"\xff\xd9", plain + bytes(4096)]
        for content in test_odd_jpegs.BETWEEN.values():
            odd += [put_in(plain, segments(plain)[at][1], content) for at in (0, -1)]
        odd.append(plain.replace(b"JFIF\0\1\1", b"JFIF\0\0\0"))
        for found in decode(odd, *SIZE):
            np.testing.assert_array_equal(found, expected)


def test_jpegs_of_which_a_part_is_missing_are_refused(decode):
    for plain in (KINDS[kind] for kind in SOME):
        for share in (0, 0.5, 0.95):
            for end in (b"", b"\xff\xd9", bytes(8192) + b"\xff\xd9", plain):
                with pytest.raises(tf.errors.InvalidArgumentError, match="image data is missing"):
                    decode([cut(plain, share, end)], *SIZE)


def test_restarts_that_are_missing_are_refused(decode):
    data = KINDS["restarts"]
    marks = [at for at in range(len(data)) if data[at] == 0xFF and 0xD0 <= data[at + 1] <= 0xD7]
    for damage, reason in (
        (data[: marks[3]] + data[marks[4] :], "out of order|missing"),
        (data[: marks[3]] + data[marks[11] :], "missing"),
        (data[: marks[-1]] + b"\xff\xd9", "missing"),
    ):
        with pytest.raises(tf.errors.InvalidArgumentError, match=reason):
            decode([damage], *SIZE)


def test_a_gray_corner_is_no_missing_data(decode):
    image = np.full((64, 96, 3), 128, np.uint8)
    image[:20] = 200
    for options in ({}, {"progressive": True}):
        assert np.abs(decode([pillow_jpeg(image, **options)], *SIZE)[0][-1, -1] - 128.0).max() < 2


def test_pngs_are_read_as_the_converter_reads_them(decode):
    plain = test_pngs.PLAIN
    found = [plain, test_pngs.animated(np.ascontiguousarray(test_pngs.PIXELS[..., ::-1]))]
    for way in test_pngs.WAYS.values():
        found += [plain[:place] + way(6) + plain[place:] for place in test_pngs.PLACES]
    for mode in ("RGBA", "L", "LA", "P", "1"):
        file = io.BytesIO()
        Image.fromarray(test_pngs.PIXELS).convert(mode).save(file, "PNG")
        found.append(file.getvalue())
    for bits in (8, 9, 10, 12, 14, 16):
        for channels in (1, 3, 4):
            shape = (40, 60, channels)
            deep = np.random.default_rng(bits).integers(0, 1 << bits, shape, np.uint16)
            found.append(cv2.imencode(".png", deep)[1].tobytes())
    for one, data in zip(decode(found, *SIZE), found):
        assert difference(one, images.load(data, *SIZE)).max() <= 2


def test_damaged_pngs_are_refused(decode):
    plain = test_pngs.PLAIN
    changed = bytearray(plain)
    changed[len(plain) // 2] ^= 1
    for damage in (plain[: len(plain) // 2], plain[:40], bytes(changed)):
        with pytest.raises(tf.errors.InvalidArgumentError):
            decode([damage], *SIZE)


def test_autograph_converts_nothing(monkeypatch):
    signature = [tf.TensorSpec([], tf.string)]
    for module, name in ((jpeg_parts, "take_apart"), (png_parts, "orientation")):
        anew = tf.function(getattr(module, name).python_function, signature, autograph=False)
        monkeypatch.setattr(module, name, anew)
    converted = []
    monkeypatch.setattr(api, "_convert_actual", lambda entity, _: converted.append(entity))
    # As someone's own graph would call it.
    graph = tf.function(jpeg_input.decode)
    graph.get_concrete_function(tf.TensorSpec([None], tf.string), *SIZE)
    assert not converted
