"""PNGs: which way up they are, what they carry beside their pixels, and how deep those are."""

import io
import struct
import zlib

import cv2
import numpy as np
import pytest
from PIL import Image, ImageOps
from sklearn.datasets import load_sample_image

from cloudtf.data import images

PIXELS = np.ascontiguousarray(load_sample_image("flower.jpg")[100:140, 150:210])


def saved(**options):
    file = io.BytesIO()
    Image.fromarray(PIXELS).save(file, "PNG", **options)
    return file.getvalue()


def chunk(name, body):
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))


PLAIN = saved()
PLACES = (33, len(PLAIN) - 12)  # Behind the header and before the end.


def exif(orientation):
    tags = Image.Exif()
    tags[0x0112] = orientation
    return tags.tobytes()


def profile(content, name=b"exif"):
    """As ImageMagick and exiftool write it: lines of hexadecimal."""
    digits = content.hex().encode()
    lines = [digits[at : at + 72] for at in range(0, len(digits), 72)]
    return b"\n%s\n%8d\n" % (name, len(content)) + b"\n".join(lines) + b"\n"


def xmp(orientation):
    return b'<x:xmpmeta><rdf:Description tiff:Orientation="%d"/></x:xmpmeta>' % orientation


def upright(png):
    return np.asarray(ImageOps.exif_transpose(Image.open(io.BytesIO(png))).convert("RGB"))


WAYS = {
    "eXIf": lambda o: chunk(b"eXIf", exif(o)[6:]),
    "eXIf with a name": lambda o: chunk(b"eXIf", exif(o)),
    "two of eXIf": lambda o: chunk(b"eXIf", exif(3)[6:]) + chunk(b"eXIf", exif(o)[6:]),
    "text": lambda o: chunk(b"tEXt", b"Raw profile type exif\0" + profile(exif(o))),
    "packed text": lambda o: chunk(
        b"zTXt", b"Raw profile type exif\0\0" + zlib.compress(profile(exif(o)))
    ),
    "Unicode text": lambda o: chunk(
        b"iTXt", b"Raw profile type exif\0\0\0en\0word\0" + profile(exif(o)[6:])
    ),
    "XMP": lambda o: chunk(b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + xmp(o)),
    "packed XMP": lambda o: chunk(b"iTXt", b"XML:com.adobe.xmp\0\1\0\0\0" + zlib.compress(xmp(o))),
    "XMP as plain text": lambda o: chunk(b"tEXt", b"XML:com.adobe.xmp\0" + xmp(o)),
    "XMP beside others": lambda o: (
        chunk(b"tEXt", b"Comment\0tiff:Orientation=2")
        + chunk(b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + xmp(o))
    ),
    "Exif before XMP": lambda o: (
        chunk(b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + xmp(3)) + chunk(b"eXIf", exif(o)[6:])
    ),
}


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("way", WAYS)
def test_an_orientation_is_found_where_pillow_finds_it(way, orientation):
    for place in PLACES:
        png = PLAIN[:place] + WAYS[way](orientation) + PLAIN[place:]
        assert (upright(png).shape == PIXELS.shape) == (orientation < 5), "Pillow finds it"
        np.testing.assert_array_equal(images.decode(png), upright(png))


def test_an_orientation_in_imagemagicks_older_profile_is_found():
    body = b"Raw profile type APP1\0\0" + zlib.compress(profile(exif(6), b"generic profile"[:7]))
    png = PLAIN[:33] + chunk(b"zTXt", body) + PLAIN[33:]
    np.testing.assert_array_equal(images.decode(png), np.rot90(PIXELS, -1))


@pytest.mark.parametrize(
    "metadata",
    [
        chunk(b"eXIf", b"garbage"),
        chunk(b"tEXt", b"Raw profile type exif\0\nexif\n   4\nzz"),
        chunk(b"tEXt", b"Raw profile type exif\0"),
        chunk(b"zTXt", b"Raw profile type exif\0\0garbage"),
        chunk(b"zTXt", b"no end"),
        chunk(b"iTXt", b"XML:com.adobe.xmp\0\1\0\0\0garbage"),
        chunk(b"iTXt", b"XML:com.adobe.xmp\0"),
        chunk(b"zTXt", b"XML:com.adobe.xmp\0\0" + zlib.compress(bytes(1 << 26))),
    ],
)
def test_metadata_that_have_no_sense_are_no_reason_to_refuse(metadata):
    for place in PLACES:
        np.testing.assert_array_equal(
            images.decode(PLAIN[:place] + metadata + PLAIN[place:]), PIXELS
        )


@pytest.mark.parametrize(
    "ancillary",
    [
        chunk(b"gAMA", struct.pack(">I", 100_000)),
        chunk(b"sBIT", b"\5\5\5"),
        chunk(b"bKGD", struct.pack(">3H", 1, 2, 3)),
        chunk(b"iCCP", b"name\0\0garbage"),
        chunk(b"cICP", b"\x09\x10\0\1"),
        chunk(b"prVt", b"private"),
    ],
)
def test_what_else_a_png_carries_changes_no_pixel_and_is_not_spoken_of(ancillary, capfd):
    np.testing.assert_array_equal(images.decode(PLAIN[:33] + ancillary + PLAIN[33:]), PIXELS)
    assert capfd.readouterr() == ("", "")


def animated(pixels):
    """A PNG of two frames, of which the still image is the first."""
    still = cv2.imencode(".png", pixels)[1].tobytes()
    height, width = pixels.shape[:2]

    def control(number):
        return chunk(b"fcTL", struct.pack(">5I2H2B", number, width, height, 0, 0, 1, 10, 0, 0))

    at = still.index(b"IDAT") - 4
    end = at + 12 + int.from_bytes(still[at : at + 4], "big")
    frames = chunk(b"acTL", struct.pack(">II", 2, 0)) + control(0)
    more = control(1) + chunk(b"fdAT", struct.pack(">I", 2) + still[at + 8 : end - 4])
    return still[:at] + frames + still[at:end] + more + still[end:]


@pytest.mark.parametrize("channels", [1, 3, 4])
@pytest.mark.parametrize("kind", [np.uint8, np.uint16])
def test_of_an_animation_the_still_image_is_read(kind, channels):
    random = np.random.default_rng(0)
    pixels = random.integers(0, np.iinfo(kind).max, (24, 30, channels), kind, endpoint=True)
    pixels[0, 0] = np.iinfo(kind).max
    plain = cv2.imencode(".png", pixels)[1].tobytes()
    np.testing.assert_array_equal(images.decode(animated(pixels)), images.decode(plain))


@pytest.mark.parametrize("channels", [1, 3, 4])
@pytest.mark.parametrize(
    "largest, bits",
    [(65_535, 16), (16_384, 16), (16_383, 14), (4_096, 14), (4_095, 12), (1_024, 12), (1_023, 10)]
    + [(256, 10), (255, 8), (0, 8)],
)
def test_of_a_16_bit_png_the_upper_8_of_the_bits_that_it_uses_are_read(largest, bits, channels):
    deep = np.random.default_rng(0).integers(0, largest, (20, 30, channels), np.uint16, True)
    deep[3, 4] = largest
    if channels == 4:
        deep[..., 3] = 65_535  # How opaque it is does not count.
    data = cv2.imencode(".png", deep)[1].tobytes()
    colours = deep[..., 2::-1] if channels > 1 else deep
    expected = np.broadcast_to(colours >> (bits - 8), (20, 30, 3))
    np.testing.assert_array_equal(images.decode(data), expected)
    assert images.convert_image(data, 20, 30, 95).depth == bits
