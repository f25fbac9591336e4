import io
import struct
import zlib

import cv2
import numpy as np
import pytest
import simplejpeg
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageOps
from sklearn.datasets import load_sample_image

from cloudtf.data import images


def smooth(height, width, seed=0):
    coarse = np.random.default_rng(seed).integers(0, 256, (6, 9, 3), np.uint8)
    return cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)


def encoded(image, kind, **options):
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def pillow(data):
    return np.asarray(ImageOps.exif_transpose(Image.open(io.BytesIO(data))).convert("RGB"))


def difference(a, b):
    assert a.shape == b.shape
    return np.abs(a.astype(int) - b).max()


def psnr(a, b):
    return 10 * np.log10(255**2 / np.mean((a.astype(float) - b) ** 2))


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
def test_exif_orientation_is_undone(orientation, kind):
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = encoded(Image.fromarray(smooth(48, 80)), kind, exif=exif)
    assert difference(images.decode(data), pillow(data)) <= 1


def test_a_rotated_jpeg_is_scaled_by_its_upright_size():
    exif = Image.Exif()
    exif[0x0112] = 6
    data = encoded(Image.fromarray(smooth(800, 1600)), "JPEG", exif=exif)
    # 1600 x 800 upright: 3/8 is the smallest scale that covers 600 rows and 300 columns.
    assert images.decode(data, 600, 300).shape == (600, 300, 3)


@pytest.mark.parametrize(
    "mode, options",
    [
        ("RGB", {"progressive": True}),
        ("RGB", {"subsampling": 0}),
        ("RGB", {"subsampling": 1}),
        ("L", {}),
        ("L", {"progressive": True}),
        ("CMYK", {}),
    ],
)
def test_jpegs_of_every_kind_come_out_as_pillow_reads_them(mode, options):
    data = encoded(Image.fromarray(smooth(64, 96)).convert(mode), "JPEG", quality=95, **options)
    assert difference(images.decode(data), pillow(data)) <= 2


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "L", "LA", "P", "1"])
def test_pngs_of_every_mode_come_out_as_pillow_reads_them(mode):
    image = Image.fromarray(smooth(40, 60)).convert(mode)
    options = {"transparency": 3} if mode == "P" else {}
    data = encoded(image, "PNG", **options)
    np.testing.assert_array_equal(images.decode(data), pillow(data))


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_a_16_bit_png_gives_its_upper_8_bits(channels):
    deep = np.random.default_rng(0).integers(0, 2**16, (20, 30, channels), np.uint16)
    data = cv2.imencode(".png", deep)[1].tobytes()
    expected = np.broadcast_to(deep[..., 2::-1] if channels > 1 else deep, (20, 30, 3)) / 257
    assert np.abs(images.decode(data) - expected).max() <= 1


def test_a_jpeg_is_decoded_at_the_smallest_scale_that_covers_the_target():
    data = simplejpeg.encode_jpeg(smooth(1400, 2100))
    assert images.decode(data, 224, 224).shape == (350, 525, 3)
    assert images.decode(data, 176, 1).shape == (350, 525, 3)
    assert images.decode(data, 175, 1).shape == (175, 263, 3)
    assert images.decode(data, 3000, 3000).shape == (1400, 2100, 3)


def cloud():
    """2100 x 1400, detail at all scales."""
    random = np.random.default_rng(0)
    total = np.zeros((1400, 2100, 3), np.float32)
    for size in (3, 12, 50, 200, 700):
        noise = random.random((size, size, 3), np.float32) - 0.5
        total += cv2.resize(noise, (2100, 1400), interpolation=cv2.INTER_CUBIC) / size**0.4
    return np.clip(total * 120 + 128, 0, 255).astype(np.uint8)


@pytest.mark.parametrize(
    "photograph, side, least",
    [
        ("cloud", 224, 48),
        ("china.jpg", 224, 37),
        ("china.jpg", 128, 35.5),
        ("flower.jpg", 224, 45),
        ("flower.jpg", 128, 42),
        ("flower.jpg", 64, 42),
    ],
)
def test_scaled_decode_and_resize_lose_less_than_the_jpeg_of_the_record(photograph, side, least):
    pixels = cloud() if photograph == "cloud" else load_sample_image(photograph)
    data = simplejpeg.encode_jpeg(np.ascontiguousarray(pixels), quality=90, colorsubsampling="420")
    full = cv2.resize(simplejpeg.decode_jpeg(data), (side, side), interpolation=cv2.INTER_AREA)
    quick = images.load(data, side, side)
    in_record = simplejpeg.decode_jpeg(simplejpeg.encode_jpeg(full, 95, colorsubsampling="420"))
    assert psnr(quick, full) > max(psnr(in_record, full), least)


@pytest.mark.parametrize("rows", range(417, 433))
def test_a_scale_that_does_not_divide_the_size_does_not_stretch_the_photograph(rows):
    bump = 250 * np.exp(-((np.arange(rows) / rows - 0.9) ** 2) / (2 * 0.03**2))
    pixels = np.broadcast_to(bump[:, None, None], (rows, 640, 3)).astype(np.uint8)
    data = simplejpeg.encode_jpeg(np.ascontiguousarray(pixels), quality=98)
    assert images.decode(data, 128, 128).shape[0] == -(-rows * 3 // 8)

    def middle(image):
        weights = image.astype(float).sum(axis=(1, 2))
        return weights @ np.arange(128) / weights.sum()

    full = cv2.resize(simplejpeg.decode_jpeg(data), (128, 128), interpolation=cv2.INTER_AREA)
    assert abs(middle(images.load(data, 128, 128)) - middle(full)) < 0.15


@pytest.mark.parametrize("size", [(336, 336), (350, 525), (500, 800), (896, 896)])
def test_the_two_step_resize_is_close_to_the_area_mean(size):
    image = cv2.resize(smooth(60, 60), size[::-1], interpolation=cv2.INTER_CUBIC)
    area = cv2.resize(image, (224, 224), interpolation=cv2.INTER_AREA)
    assert psnr(images.resize(image, 224, 224), area) > 48


def test_resizing_by_whole_steps_is_the_exact_mean():
    image = np.random.default_rng(0).integers(0, 256, (40, 60, 3), np.uint8)
    for step in (2, 5):
        means = image.reshape(40 // step, step, 60 // step, step, 3).mean(axis=(1, 3))
        assert np.abs(images.resize(image, 40 // step, 60 // step) - means).max() <= 0.5 + 1e-9


def test_resizing_to_the_same_size_changes_nothing_and_enlarging_keeps_flat_areas():
    image = smooth(30, 40)
    np.testing.assert_array_equal(images.resize(image, 30, 40), image)
    flat = np.full((5, 300, 3), (10, 130, 250), np.uint8)
    assert (images.resize(flat, 64, 64) == (10, 130, 250)).all()


def test_the_converted_image_is_a_jpeg_of_the_asked_size():
    result = images.convert_image(simplejpeg.encode_jpeg(smooth(300, 500)), 96, 64, 95).encoded
    assert simplejpeg.decode_jpeg_header(result) == (96, 64, "YCbCr", "420")


def png_header(width, height):
    body = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + body + struct.pack(">I", zlib.crc32(body))


def jpeg_claiming(width, height):
    data = bytearray(simplejpeg.encode_jpeg(smooth(16, 16), colorsubsampling="444"))
    at = data.index(b"\xff\xc0") + 5
    data[at : at + 4] = struct.pack(">HH", height, width)
    return bytes(data)


PHOTO = simplejpeg.encode_jpeg(smooth(200, 300))
PNG = encoded(Image.fromarray(smooth(40, 60)), "PNG")


@pytest.mark.parametrize(
    "data, reason",
    [
        (b"", "empty"),
        (b"hello, I am text", "the file is text, not a JPEG"),
        (b"GIF89a" + bytes(50), "the GIF is damaged"),
        (PHOTO[:10], "the JPEG is truncated: it ends in its header"),
        (b"\xff\xd8\xff\xe1\0\0" + bytes(20), "the JPEG is truncated: it ends in its header"),
        (PHOTO[: len(PHOTO) // 2], "the JPEG is truncated: image data is missing after .. %"),
        (PHOTO[:-3], "the JPEG is truncated: image data is missing after 99 %"),
        (PNG[:-12], "PNG is truncated"),
        (PNG[: len(PNG) // 2], "PNG is truncated"),
        (PNG[:60] + bytes([PNG[60] ^ 1]) + PNG[61:], "a checksum does not agree"),
        (png_header(100_000, 10), "100000 x 10 pixels"),
        (png_header(60_000, 60_000), "60000 x 60000 pixels"),
        (png_header(0, 5), "0 x 5 pixels"),
        (jpeg_claiming(65_501, 100), "65501 x 100 pixels"),
        (jpeg_claiming(60_000, 60_000), "60000 x 60000 pixels"),
    ],
)
def test_what_is_no_image_or_too_large_is_refused_with_its_reason(data, reason):
    with pytest.raises(ValueError, match=reason):
        images.decode(data)


def test_a_progressive_bomb_of_many_scans_is_refused():
    data = encoded(Image.new("L", (8000, 8000)), "JPEG", progressive=True)
    start, end = data.index(b"\xff\xda"), data.rindex(b"\xff\xda")
    with pytest.raises(ValueError, match="too many scans"):
        images.decode(data[:start] + data[end:-2] * 2000 + b"\xff\xd9")


@settings(max_examples=400, deadline=None)
@given(st.sampled_from([PHOTO, PNG]), st.data())
def test_mutated_files_decode_or_are_refused_but_never_crash(data, draw):
    mutated = bytearray(data)
    for _ in range(draw.draw(st.integers(1, 8))):
        mutated[draw.draw(st.integers(0, len(data) - 1))] = draw.draw(st.integers(0, 255))
    mutated = bytes(mutated[: draw.draw(st.integers(0, len(data)))])
    try:
        result = images.convert_image(mutated, 32, 32, 95).encoded
    except ValueError as error:
        assert str(error) and "\n" not in str(error)
    else:
        assert simplejpeg.decode_jpeg(result).shape == (32, 32, 3)
