"""Photographs: damaged ones are refused in a phrase or come out as an image of the right size."""

import io
import struct
import time
import zlib

import cv2
import numpy as np
import pytest
import simplejpeg
from hypothesis import example, given
from hypothesis import strategies as st
from PIL import Image

from cloudtf.data import images
from tests.fuzz.inputs import damaged, fuzz

SECONDS = 30  # Of processor time, for one small file.


def pixels(height, width):
    coarse = np.random.default_rng(0).integers(0, 256, (6, 9, 3), np.uint8)
    return cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)


def saved(kind, mode="RGB", height=60, width=90, **options):
    file = io.BytesIO()
    Image.fromarray(pixels(height, width)).convert(mode).save(file, kind, **options)
    return file.getvalue()


def turned():
    exif = Image.Exif()
    exif[0x0112] = 6
    return exif


JPEGS = [
    saved("JPEG"),
    saved("JPEG", height=333, width=207, quality=60),
    saved("JPEG", progressive=True),
    saved("JPEG", "L", progressive=True, quality=95),
    saved("JPEG", "CMYK"),
    saved("JPEG", subsampling=0, exif=turned()),
    saved("JPEG", restart_marker_blocks=2),
    saved("JPEG", comment=b"c" * 300),
]
DEEP = np.random.default_rng(0).integers(0, 2**16, (20, 30, 3), np.uint16)
PNGS = [
    saved("PNG"),
    saved("PNG", "RGBA"),
    saved("PNG", "P"),
    saved("PNG", "L", exif=turned()),
    saved("PNG", "1"),
    cv2.imencode(".png", DEEP)[1].tobytes(),
]


def convert(data):
    start = time.thread_time()
    try:
        return images.convert_image(data, 32, 48, 95).encoded
    finally:
        assert time.thread_time() - start < SECONDS


def check(trial, data):
    result = trial.run(convert, data, refusal=ValueError)
    if result is not None:
        assert simplejpeg.decode_jpeg(result).shape == (32, 48, 3)
        # What another image left in this thread's arrays does not show.
        images.convert_image(JPEGS[1], 40, 50, 95)
        assert images.convert_image(data, 32, 48, 95).encoded == result


@st.composite
def remade(draw):
    """A JPEG of the segments of several, some doubled, with other sizes or kinds of frame."""
    segments = [piece for jpeg in JPEGS for piece in cut(jpeg)]
    base = cut(draw(st.sampled_from(JPEGS)))
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, len(base) - 1))
        kind = draw(st.integers(0, 3))
        if kind == 0:
            base[at] = draw(st.sampled_from(segments))
        elif kind == 1:
            base[at:at] = [draw(st.sampled_from(segments))] * draw(st.sampled_from([1, 2, 200]))
        elif kind == 2 and len(base) > 1:
            del base[at]
        else:
            base = [resized(draw, piece) for piece in base]
    return b"".join(base)


def cut(jpeg):
    """The start, each segment with what follows it, and the end."""
    places, at = [0, 2], 2
    while jpeg[at + 1] != 0xDA:
        at += 2 + int.from_bytes(jpeg[at + 2 : at + 4], "big")
        places.append(at)
    scans = [
        i for i in range(at + 2, len(jpeg) - 1) if jpeg[i : i + 2] in (b"\xff\xda", b"\xff\xc4")
    ]
    places += [*scans, len(jpeg) - 2]
    return [jpeg[a:b] for a, b in zip(places, [*places[1:], len(jpeg)])]


def resized(draw, piece):
    """A frame header with another size; anything else as it is."""
    if piece[:1] != b"\xff" or piece[1] not in (0xC0, 0xC1, 0xC2):
        return piece
    sides = st.sampled_from([0, 1, 7, 8, 61, 900, 5000, 20_000, 65_500, 65_535])
    kind = draw(st.sampled_from([0xC0, 0xC1, 0xC2, 0xC3, 0xC9, 0xCA]))
    return (
        bytes([0xFF, kind]) + piece[2:5] + struct.pack(">HH", draw(sides), draw(sides)) + piece[9:]
    )


@pytest.mark.parser("JPEG bytes")
def test_damaged_jpegs_are_refused_or_come_out_at_the_right_size(trial):
    @fuzz(150)
    @given(damaged(JPEGS) | remade())
    @example(b"\xff\xd8\xff")
    @example(JPEGS[0][:-2])
    @example(JPEGS[0] + JPEGS[2])
    @example(JPEGS[0][:2] + b"\xff\xe1\xff\xffExif\0\0MM\0*\xff\xff\xff\xff" + JPEGS[0][2:])
    def property(data):
        check(trial, data)

    property()


def chunks(png):
    at, found = 8, []
    while at < len(png):
        (length,) = struct.unpack_from(">I", png, at)
        found.append((png[at + 4 : at + 8], png[at + 8 : at + 8 + length]))
        at += 12 + length
    return found


def png_of(found):
    """A PNG of chunks, whose checksums are right."""
    framed = (
        struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))
        for name, body in found
    )
    return b"\x89PNG\r\n\x1a\n" + b"".join(framed)


@st.composite
def remade_png(draw):
    found = chunks(draw(st.sampled_from(PNGS)))
    pool = [chunk for png in PNGS for chunk in chunks(png)]
    for _ in range(draw(st.integers(1, 3))):
        if not found:
            break
        at = draw(st.integers(0, len(found) - 1))
        kind = draw(st.integers(0, 4))
        if kind == 0:
            found[at] = (found[at][0], draw(damaged([found[at][1]])))
        elif kind == 1:
            found[at:at] = [draw(st.sampled_from(pool))]
        elif kind == 2:
            del found[at]
        elif kind == 3 and len(found[0][1]) == 13:
            sides = st.sampled_from([0, 1, 59, 61, 5000, 20_000, 65_500, 2**31 - 1, 2**32 - 1])
            size = struct.pack(">II", draw(sides), draw(sides))
            found[0] = (found[0][0], size + found[0][1][8:])
        else:
            found[at] = (draw(st.binary(min_size=4, max_size=4)), found[at][1])
    return png_of(found)


def sound(png):
    """Whether the pixels of a PNG are all there, by zlib alone (never for interlaced ones)."""
    found = chunks(png)
    width, height, depth, colour, _, _, interlace = struct.unpack(">IIBBBBB", found[0][1])
    stream = zlib.decompressobj()
    try:
        content = stream.decompress(b"".join(b for n, b in found if n == b"IDAT"), 100_000_000)
    except zlib.error:
        return False
    bits = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}[colour] * depth * width
    return stream.eof and (interlace == 1 or len(content) >= height * (1 + -(-bits // 8)))


@pytest.mark.parser("PNG bytes")
def test_damaged_pngs_are_refused_or_have_all_their_pixels(trial):
    @fuzz(150)
    @given(damaged(PNGS) | remade_png())
    @example(b"\x89PNG\r\n\x1a\n")
    @example(PNGS[0][:-12])
    @example(png_of([(n, b[:-5] if n == b"IDAT" else b) for n, b in chunks(PNGS[0])]))
    @example(png_of([(n, b[: len(b) // 2] if n == b"IDAT" else b) for n, b in chunks(PNGS[0])]))
    @example(png_of([(n, b[:-1] + b"\0" if n == b"IDAT" else b) for n, b in chunks(PNGS[2])]))
    def property(data):
        accepted = trial.accepted
        check(trial, data)
        if trial.accepted > accepted:
            assert sound(data)

    property()
