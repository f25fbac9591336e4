"""Run-length encoding: exact cases, round trips, refusals."""

import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from cloudtf.data import rle

MASKS = hnp.arrays(bool, hnp.array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=12))


def test_pixels_are_numbered_from_one_down_the_columns():
    mask = np.array([[0, 1, 0], [1, 1, 0]], bool)
    assert rle.encode(mask) == "2 3"
    np.testing.assert_array_equal(rle.decode("2 3", 2, 3), mask)


@pytest.mark.parametrize(
    "text, expected",
    [
        ("", [[0, 0], [0, 0]]),
        ("1 4", [[1, 1], [1, 1]]),
        ("1 1 4 1", [[1, 0], [0, 1]]),
        ("3 1", [[0, 1], [0, 0]]),
        ("1 1 3 2", [[1, 1], [0, 1]]),
    ],
)
def test_known_masks_both_ways(text, expected):
    expected = np.array(expected, bool)
    decoded = rle.decode(text, 2, 2)
    assert decoded.dtype == bool
    np.testing.assert_array_equal(decoded, expected)
    assert rle.encode(expected) == text


def test_touching_runs_and_any_white_space_are_read():
    np.testing.assert_array_equal(rle.decode(" 1 2\t3 1\n", 4, 1)[:, 0], [1, 1, 1, 0])


def test_numbers_and_c_and_fortran_order_encode_alike():
    mask = np.array([[0, 2, 0], [5, 0, 0]])
    assert rle.encode(mask) == rle.encode(np.asfortranarray(mask > 0)) == "2 2"


@settings(deadline=None)
@given(MASKS)
def test_decoding_undoes_encoding(mask):
    np.testing.assert_array_equal(rle.decode(rle.encode(mask), *mask.shape), mask)


@settings(deadline=None)
@given(MASKS)
def test_encoded_masks_pass_the_check_exactly_at_their_size(mask):
    text = rle.encode(mask)
    rle.check(text, mask.size)
    last = np.flatnonzero(mask.ravel(order="F"))
    if last.size:
        with pytest.raises(ValueError, match="beyond the image"):
            rle.check(text, int(last[-1]))


# Runs and what lies between them, of any length that two numbers of 18 digits can say.
STEPS = st.integers(0, 1 << 17) | st.sampled_from([0xFFFE, 0xFFFF, 0x10000, 10**17])


@settings(deadline=None)
@given(st.lists(st.tuples(STEPS, STEPS.map(lambda step: step or 1)), max_size=60))
def test_runs_are_the_same_after_they_were_packed(steps):
    edges = np.cumsum(np.array(steps, np.int64).ravel())
    pairs = [(start + 1, end - start) for start, end in edges.reshape(-1, 2).tolist()]
    pairs = [pair for pair in pairs if pair[0] < 10**18]
    text = " ".join(f"{start} {length}" for start, length in pairs)
    content = rle.pack(text)
    for found, expected in zip(rle.unpack(content), rle.runs(text, None)):
        np.testing.assert_array_equal(found, expected)
    assert content == rle.pack(" \t".join(text.split(" "))) == rle.pack(text + " " * 400)


def test_a_mask_as_it_is_usual_takes_four_bytes_a_run():
    assert len(rle.pack(" ".join(f"{1400 * i + 1} 937" for i in range(720)))) < 4.1 * 720


@settings(deadline=None)
@given(st.text(alphabet="0123456789 -+._\t\nxe\x00٣²", max_size=40), st.integers(1, 30))
def test_any_text_is_decoded_or_refused_with_a_value_error(text, num_pixels):
    try:
        mask = rle.decode(text, num_pixels, 1)
    except ValueError as error:
        assert str(error) and "\n" not in str(error)
    else:
        lengths = [int(word) for word in text.split()[1::2]]
        assert mask.sum() == sum(lengths)


@pytest.mark.parametrize(
    "text, message",
    [
        ("1", "1 numbers cannot be paired"),
        ("1 2 3", "3 numbers cannot be paired"),
        ("a b", "'a' is not a whole number"),
        ("1.0 2", "'1.0' is not a whole number"),
        ("1 -2", "'-2' is not a whole number"),
        ("-1", "'-1' is not a whole number"),
        ("1_0 2", "'1_0' is not a whole number"),
        ("٣ 2", "is not a whole number"),
        ("1,2", "'1,2' is not a whole number"),
        ("nan", "'nan' is not a whole number"),
        ("0 3", "run 1 has start 0, under 1"),
        ("1 1 3 0", "run 2 has length 0, under 1"),
        ("1 5 3 2", "run 2 starts at pixel 3, before run 1 ends at 5"),
        ("5 2 1 1", "run 2 starts at pixel 1, before run 1 ends at 6"),
        ("1 2 1 2", "must not overlap"),
        ("1 11", "run 1 ends at pixel 11, beyond the image's 10 pixels"),
        ("11 1", "beyond the image's 10 pixels"),
        ("9223372036854775807 9223372036854775807", "far too large"),
        ("1 18446744073709551617", "far too large"),
        ("999999999999999999 999999999999999999", "ends at pixel 1999999999999999997"),
        ("9" * 100_000 + " 1", "far too large"),
        ("x" * 100_000, r"'x{20}\.\.\.' is not"),
    ],
)
def test_malformed_text_is_refused_with_a_phrase(text, message):
    with pytest.raises(ValueError, match=message):
        rle.check(text, 10)
    with pytest.raises(ValueError, match=message):
        rle.decode(text, 5, 2)
    if "image" not in message and "ends at pixel" not in message:
        with pytest.raises(ValueError, match=message):
            rle.pack(text)


def test_the_end_of_the_image_is_checked_only_when_known():
    rle.check("1 999")
    rle.check("", 1)


@pytest.mark.parametrize("space", [" ", "\t"])
def test_zeros_in_front_do_not_make_a_number_large(space):
    rle.check(space.join(["0" * 10_000 + "3", "0" * 30 + "8"]), 10)
    with pytest.raises(ValueError, match="start 0, under 1"):
        rle.check(space.join(["0" * 10_000, "1"]), 10)


def test_shapes_that_are_no_image_are_refused():
    with pytest.raises(ValueError, match="two dimensions, not 3"):
        rle.encode(np.zeros((2, 2, 2), bool))
    with pytest.raises(ValueError, match="0 x 3 pixels"):
        rle.decode("1 1", 0, 3)


def test_a_huge_text_takes_linear_time():
    # Two million runs: quadratic parsing would take hours, linear takes about a second.
    text = " ".join(f"{start} 1" for start in range(1, 4_000_001, 2))
    start = time.perf_counter()
    rle.check(text, 4_000_000)
    assert time.perf_counter() - start < 30
