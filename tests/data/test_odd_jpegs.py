"""JPEGs as cameras, scanners and half-done downloads leave them: read as they were, or refused.

What is odd beside the picture changes no pixel; a picture that is not whole is refused by what it
lacks.
"""

import io
import time

import numpy as np
import pytest
import simplejpeg
from PIL import Image, ImageOps
from sklearn.datasets import load_sample_image

from cloudtf.data import images
from tests.jpegs import before_end, cut, encode, put_in, segment, segments

PIXELS = np.ascontiguousarray(load_sample_image("flower.jpg")[100:220, 150:330])


def saved(mode="RGB", **options):
    file = io.BytesIO()
    Image.fromarray(PIXELS).convert(mode).save(file, "JPEG", **options)
    return file.getvalue()


def turned(orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    return exif.tobytes()


PLAIN = saved(quality=90)
KINDS = {
    "baseline": PLAIN,
    "gray": saved("L"),
    "optimised": saved(optimize=True, subsampling=0),
    "progressive": saved(progressive=True),
    "progressive gray": saved("L", progressive=True, quality=95),
    "restarts": saved(restart_marker_blocks=3),
    "progressive restarts": saved(progressive=True, restart_marker_blocks=4),
    "CMYK": saved("CMYK"),
    "a scan each": encode(PIXELS, [(2, 2), (1, 1), (1, 1)], scans=((0,), (1,), (2,))),
    "two scans": encode(PIXELS, [(2, 1), (1, 1), (1, 1)], scans=((0,), (1, 2)), restart=4),
    "4:1:0": encode(PIXELS, [(4, 2), (1, 1), (1, 1)]),
}
kinds = pytest.mark.parametrize("kind", KINDS)


def check_same(odd, plain):
    np.testing.assert_array_equal(images.load(odd, 48, 64), images.load(plain, 48, 64))


NOISE = np.random.default_rng(0).integers(0, 255, 2226, np.uint8).tobytes()  # Without 0xFF.
AT_THE_END = {
    "noise": NOISE,
    "a byte": b"\x5a",
    "zeros": bytes(33),
    "many zeros": bytes(4096),
    "spaces": b" " * 100,
    "fill bytes": b"\xff" * 5,
    "stuffed bytes": b"\xff\0\xff\0",
    "no marker there is": b"\1\2\xff\x3a\0\0\xff\xff\7",
    "a restart": b"\xff\xd5",
    "a comment": segment(0xFE, b"late"),
}


@kinds
@pytest.mark.parametrize("what", AT_THE_END)
def test_bytes_between_the_picture_and_its_end_marker_change_nothing(kind, what):
    check_same(before_end(KINDS[kind], AT_THE_END[what]), KINDS[kind])


@kinds
def test_a_picture_that_is_whole_needs_no_end_marker(kind):
    plain = KINDS[kind]
    for odd in (plain[:-2], plain[:-1], plain[:-2] + NOISE[:40], plain[:-2] + PLAIN):
        check_same(odd, plain)


@kinds
def test_what_comes_after_the_end_does_not_matter(kind):
    for more in (b"\0", b"\xff\xd9", NOISE, bytes(4096), KINDS["gray"], b"\xff"):
        check_same(KINDS[kind] + more, KINDS[kind])


BETWEEN = {
    "a byte": b"\x11",
    "zeros": bytes(9),
    "text": b"hello there",
    "fill bytes": b"\xff" * 7,
    "stuffed bytes": b"\xff\0\xff\0",
    "a restart": b"\xff\xd3",
    "a reserved marker alone": b"\xff\x01",
    "an empty comment": segment(0xFE),
    "a segment of length 0": b"\xff\xe7\0\0",
    "a segment with markers in it": segment(0xE3, b"\xff\xd9\xff\xda\xff\xd8"),
    "a reserved segment": segment(0xF3, b"extension"),
    "an ICC profile's first of two": segment(0xE2, b"ICC_PROFILE\0\1\2" + NOISE[:40]),
    "an ICC profile's third of two": segment(0xE2, b"ICC_PROFILE\0\3\2" + NOISE[:40]),
    "an ICC profile's none of none": segment(0xE2, b"ICC_PROFILE\0\0\0"),
    "an ICC profile twice": 2 * segment(0xE2, b"ICC_PROFILE\0\1\1" + NOISE[:40]),
    "an ICC profile without a number": segment(0xE2, b"ICC_PROFILE\0"),
}


@kinds
@pytest.mark.parametrize("what", BETWEEN)
def test_what_is_between_segments_changes_nothing(kind, what):
    plain = KINDS[kind]
    for _, start, _ in segments(plain):
        check_same(put_in(plain, start, BETWEEN[what]), plain)


@pytest.mark.parametrize("version", [b"\0\0", b"\0\1", b"\1\0", b"\2\0", b"\x63\x63"])
@pytest.mark.parametrize("kind", ["baseline", "gray", "progressive", "restarts"])
def test_any_version_of_jfif_is_read(kind, version):
    assert b"JFIF\0\1\1" in KINDS[kind]
    check_same(KINDS[kind].replace(b"JFIF\0\1\1", b"JFIF\0" + version), KINDS[kind])


@pytest.mark.parametrize("transform", [1, 2, 7, 255])
def test_an_unknown_transform_of_adobes_is_ycc_as_decoders_take_it(transform):
    adobe = segment(0xEE, b"Adobe\0\x64\0\0\0\0" + bytes([transform]))
    without = PLAIN[:2] + PLAIN[segments(PLAIN)[0][2] :]
    check_same(put_in(without, 2, adobe), PLAIN)


def test_rgb_and_ycck_stay_what_adobes_segment_says_beside_oddities():
    for data in (
        KINDS["CMYK"],
        put_in(PLAIN[:2] + PLAIN[20:], 2, segment(0xEE, b"Adobe" + bytes(7))),
    ):
        odd = before_end(put_in(data, 2, b"\0\0"), b"more")
        check_same(odd, data)
        upright = np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))
        assert np.abs(images.decode(odd).astype(int) - upright).max() <= 2


@pytest.mark.parametrize(
    "sampling",
    [
        [(4, 2), (1, 1), (1, 1)],  # 4:1:0
        [(1, 4), (1, 1), (1, 1)],  # Of this the words were: (6).
        [(4, 1), (1, 1), (1, 1)],
        [(2, 4), (1, 1), (1, 1)],
        [(3, 1), (1, 1), (1, 1)],
        [(1, 3), (1, 1), (1, 1)],
        [(3, 2), (1, 1), (1, 1)],
        [(2, 2), (2, 1), (1, 1)],
        [(2, 2), (1, 2), (2, 1)],
        [(1, 1), (2, 2), (1, 1)],
        [(2, 1), (2, 1), (2, 1)],
    ],
)
def test_every_sampling_is_read(sampling):
    for restart, scans in ((0, ((0, 1, 2),)), (5, ((0, 1, 2),)), (0, ((0,), (1,), (2,)))):
        data = encode(PIXELS, sampling, restart, scans)
        pillow = np.asarray(Image.open(io.BytesIO(data)))
        np.testing.assert_array_equal(images.decode(data), pillow)
        small = images.load(data, 40, 60).astype(int)
        whole = images.resize(pillow, 40, 60)
        assert np.abs(small - whole).mean() < 6  # Of colours at another scale.
        for damage in (cut(data, 0.6), cut(data, 0.9, b"\xff\xd9")):
            with pytest.raises(ValueError, match="image data is missing"):
                images.decode(damage)


@kinds
@pytest.mark.parametrize("share", [0, 0.02, 0.25, 0.5, 0.75, 0.9, 0.97, 0.99])
@pytest.mark.parametrize("end", [b"", b"\xff\xd9", b"\xff", PLAIN], ids=["", "EOI", "FF", "file"])
def test_a_picture_of_which_a_part_is_missing_is_refused(kind, share, end):
    with pytest.raises(ValueError, match="truncated: image data is missing|ends in its header"):
        images.load(cut(KINDS[kind], share, end), 48, 64)


@kinds
@pytest.mark.parametrize("count", [3, 4, 6, 10])
def test_the_last_bytes_count(kind, count):
    for end in (b"", b"\xff\xd9"):
        with pytest.raises(ValueError, match="truncated: image data is missing"):
            images.load(KINDS[kind][:-count] + end, 48, 64)


@pytest.mark.parametrize("share", [0.3, 0.6, 0.9, 0.97])
@pytest.mark.parametrize("kind", ["baseline", "gray", "optimised", "restarts", "CMYK"])
@pytest.mark.parametrize("filling", [b"\0", b"\xff", b"<html>not found</html>"], ids=repr)
def test_a_picture_whose_rest_was_never_written_is_refused(kind, share, filling):
    plain = KINDS[kind]
    begun = cut(plain, share)
    rest = (filling * len(plain))[: len(plain) - len(begun)]
    for odd in (begun + rest, begun + rest[2:] + b"\xff\xd9", (begun + rest).ljust(16384, b"\0")):
        with pytest.raises(ValueError, match="truncated|damaged"):
            images.load(odd, 48, 64)


def test_a_progressive_picture_without_its_last_scans_is_refused_though_it_has_an_end():
    data = KINDS["progressive"]
    scans = [at for at in range(len(data)) if data[at : at + 2] == b"\xff\xda"]
    tables = [data.rindex(b"\xff\xc4", 0, at) for at in scans[1:]]
    for at in tables:
        with pytest.raises(ValueError, match="missing .its scans leave . of 3 colour components"):
            images.load(data[:at] + b"\xff\xd9", 48, 64)


def test_a_component_without_its_scan_is_refused():
    data = KINDS["a scan each"]
    with pytest.raises(ValueError, match="its scans leave 1 of 3 colour components unfinished"):
        images.load(data[: data.rindex(b"\xff\xda")] + b"\xff\xd9", 48, 64)


def test_pieces_between_restarts_are_all_there_and_in_order():
    data = KINDS["restarts"]
    marks = [at for at in range(len(data)) if data[at] == 0xFF and 0xD0 <= data[at + 1] <= 0xD7]
    assert len(marks) > 10
    noisy = put_in(put_in(data, marks[7], NOISE[:30]), marks[2], b"\x5a" * 9)
    check_same(noisy, data)
    for damage, reason in (
        (data[: marks[3]] + data[marks[4] :], "out of order"),
        (data[: marks[3]] + data[marks[3] + 2 :], "damaged"),
        (data[: marks[-1]] + b"\xff\xd9", "truncated: image data is missing after 9. %"),
        (data[: marks[5] - 4] + data[marks[5] :], "damaged: image data is missing after .. %"),
    ):
        with pytest.raises(ValueError, match=reason):
            images.load(damage, 48, 64)


def test_damage_that_leaves_bytes_over_is_not_taken_for_bytes_before_the_end():
    """A byte that is changed shifts all that follows: the picture ends early, and is garbage."""
    random = np.random.default_rng(0)
    start, told, taken = segments(PLAIN)[-1][2], 0, 0
    for _ in range(200):
        at = int(random.integers(start, len(PLAIN) - 400))
        data = PLAIN[:at] + PLAIN[at + int(random.integers(1, 300)) :]
        try:
            simplejpeg.decode_jpeg(data)
        except ValueError:
            told += 1
            try:
                images.decode(data)
                taken += 1
            except ValueError as error:
                assert "JPEG is" in str(error)
    assert told > 100 and taken <= 0.02 * told


@pytest.mark.parametrize(
    "change, reason",
    [
        (
            lambda jpeg: jpeg.replace(b"\xff\xc0\0\x11\x08", b"\xff\xc1\0\x11\x0c"),
            "12 bits a value",
        ),
        (lambda jpeg: jpeg.replace(b"\xff\xdb", b"\xff\xe9"), "Quantization table"),
        (lambda jpeg: jpeg.replace(b"\xff\xc0", b"\xff\xc9"), "of a kind that"),
        (lambda jpeg: jpeg.replace(b"\xff\xc0", b"\xff\xe9"), "ends in its header"),
        (lambda jpeg: jpeg.replace(b"\xff\xc0\0", b"\xff\xc0\1"), "damaged|ends in its header"),
        (lambda jpeg: put_in(jpeg, 2, jpeg[slice(*segments(jpeg)[3][1:])]), "two frame headers"),
    ],
)
def test_each_refusal_says_what_it_is(change, reason):
    assert segments(PLAIN)[3][0] == 0xC0
    with pytest.raises(ValueError, match=reason):
        images.load(change(PLAIN), 48, 64)


def test_a_large_odd_file_takes_no_minutes():
    large = np.random.default_rng(0).integers(0, 256, (600, 800, 3), np.uint8)
    data = simplejpeg.encode_jpeg(large, 60, colorsubsampling="420")
    began = time.process_time()
    check_same(before_end(data, NOISE[:65]), data)
    check_same(before_end(data, b"\xff" * 1_000_000), data)
    check_same(put_in(data, 2, b"\xff" * 1_000_000), data)
    with pytest.raises(ValueError, match="truncated"):
        images.decode(cut(data, 0.9) + b"\xff" * 1_000_000)
    assert time.process_time() - began < 10  # Some 0.3 were measured.


XMP = b"http://ns.adobe.com/xap/1.0/\0"


def exif_segment(orientation):
    return segment(0xE1, turned(orientation))


def upright(data):
    return np.asarray(ImageOps.exif_transpose(Image.open(io.BytesIO(data))).convert("RGB"))


@pytest.mark.parametrize(
    "metadata",
    [
        exif_segment(6) + exif_segment(1),
        exif_segment(6) + segment(0xE1, b"Exif\0\0"),
        exif_segment(6) + segment(0xE1, b"Exif\0\0garbage"),
        segment(0xE1, b"Exif\0\0") + exif_segment(8),
        segment(0xE1, turned(6)[:20]) + segment(0xE1, b"Exif\0\0" + turned(6)[20:]),
        segment(0xE1, b"Exif\0\0" + turned(5)),
        segment(0xE1, turned(7).replace(b"MM\0*", b"MM*\0")),
        exif_segment(3) + segment(0xE1, XMP + b'<a tiff:Orientation="6"/>'),
        segment(0xE1, XMP + b'<a tiff:Orientation="6"/>'),
        segment(0xE1, XMP + b"<tiff:Orientation>8</tiff:Orientation>"),
        segment(0xE1, XMP + b'<a tiff:Orientation="3"/>') + segment(0xE1, b"Exif\0\0"),
        segment(0xE1, XMP + b'<a tiff:Orientation="0"/>'),
        segment(0xE1, XMP + b"nothing of it"),
        segment(0xE1, XMP + b'<a tiff:Orientation="2"/>') + segment(0xE1, XMP + b"another"),
    ],
)
def test_an_orientation_is_found_where_pillow_finds_it(metadata):
    for _, start, _ in segments(PLAIN):
        odd = put_in(PLAIN, start, metadata)
        np.testing.assert_array_equal(images.decode(odd), upright(odd))
    np.testing.assert_array_equal(images.decode(before_end(odd, NOISE)), upright(odd))
