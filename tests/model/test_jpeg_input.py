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

from cloudtf.data import images
from cloudtf.model import jpeg_input


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


@pytest.mark.parametrize(
    ("stored", "size"),
    [
        ((1400, 2100), (224, 224)),  # 1/4, whole.
        ((1367, 2053), (224, 224)),  # 1/4, the last row and column beyond the photograph.
        ((900, 1200), (224, 224)),  # 1/4, and shrunk by less than 1.5.
        ((1800, 2400), (64, 96)),  # 1/8, and then by more than 4.
        ((448, 600), (224, 224)),  # 1/2.
        ((96, 100), (64, 96)),  # In full.
        ((64, 96), (64, 96)),  # As it is.
        ((40, 50), (64, 96)),  # Enlarged.
        ((40, 700), (64, 96)),  # Both.
    ],
)
def test_pixels_are_the_converters_but_for_rounding(decode, photograph, stored, size):
    data = simplejpeg.encode_jpeg(resized(photograph, *stored), 90)
    found = difference(decode([data], *size)[0], images.load(data, *size))
    assert found.max() <= 2 and found.mean() < 0.2


@pytest.mark.parametrize("eighths", [3, 5, 6, 7])
def test_at_the_scales_that_tensorflow_lacks_they_come_near(decode, photograph, eighths):
    stored = (224 * 8 // eighths + 3, 224 * 8 // eighths + 20)
    data = simplejpeg.encode_jpeg(resized(photograph, *stored), 95)
    assert simplejpeg.decode_jpeg_header(data, 224, 224)[0] == -(-stored[0] * eighths // 8)
    expected = images.load(data, 224, 224)
    found = difference(decode([data], 224, 224)[0], expected)
    assert found.mean() < 1.0 and np.percentile(found, 99.9) <= 12
    # Much nearer than the next larger scale of TensorFlow's own.
    ratio = 2 if eighths == 3 else 1
    plain = tf.io.decode_jpeg(data, 3, ratio=ratio).numpy()
    other = difference(images.resize(plain, 224, 224), expected)
    assert found.mean() < 0.6 * other.mean()


def test_a_batch_is_each_image_for_itself_and_may_be_empty(decode, photograph):
    data = [
        simplejpeg.encode_jpeg(resized(photograph, *size))
        for size in ((90, 80), (427, 640), (200, 64))
    ]
    found = decode(data, 64, 64)
    assert found.shape == (3, 64, 64, 3)
    for one, row in zip(data, found):
        np.testing.assert_array_equal(row, decode([one], 64, 64)[0])
    assert decode(np.zeros([0], object).astype(bytes), 64, 64).shape == (0, 64, 64, 3)
    eager = jpeg_input.decode(tf.constant(data[:1]), 64, 64).numpy()
    np.testing.assert_array_equal(eager, found[:1])


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("size", [(64, 96), (96, 64)])
def test_images_come_out_upright(decode, photograph, orientation, size):
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = pillow_jpeg(resized(photograph, 300, 500), exif=exif)
    assert difference(decode([data], *size)[0], images.load(data, *size)).max() <= 12
    turned = pillow_jpeg(resized(photograph, 300, 500))
    if orientation != 1:
        far = difference(decode([turned], *size)[0], images.load(data, *size))
        assert far.mean() > 10, "it matters"


@pytest.mark.parametrize(
    ("mode", "options"),
    [("RGB", {"progressive": True}), ("RGB", {"subsampling": 0}), ("L", {}), ("CMYK", {})],
)
def test_jpegs_of_every_kind_are_read(decode, photograph, mode, options):
    data = pillow_jpeg(resized(photograph, 130, 200), mode, **options)
    assert difference(decode([data], 64, 96)[0], images.load(data, 64, 96)).max() <= 3


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


def segment(marker, content):
    return struct.pack(">BBH", 0xFF, marker, len(content) + 2) + content


COMMENT = segment(0xFE, b"made by a test")
WIDTH = (0x0100, 4, 640)


@pytest.fixture(scope="module")
def orientation():
    graph = tf.function(jpeg_input._orientation, input_signature=[tf.TensorSpec([None], tf.uint8)])

    def run(data):
        found = int(graph(np.frombuffer(data, np.uint8)))
        try:
            expected = images._jpeg_segments(data)[0]
        except ValueError:
            return None  # Refused there, and here by the decoder.
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
        ([exif_segment("<", (0x0112, 3, 6)), exif_segment("<", (0x0112, 3, 8))], 8),
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
    png = io.BytesIO()
    Image.fromarray(photograph).save(png, "PNG")
    for bad, reason in (
        (b"", None),
        (b"hello, I am text", None),
        (good[: len(good) // 2], None),
        (png.getvalue(), None),
        (bytes(claims), "too many pixels.*60000"),
    ):
        with pytest.raises(tf.errors.InvalidArgumentError, match=reason):
            decode([good, bad], 64, 64)
