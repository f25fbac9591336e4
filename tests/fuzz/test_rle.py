"""Masks: what is decoded is what a plain reading of the text says, and the rest is refused."""

import re

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from cloudtf.data import rle
from tests.fuzz.inputs import fuzz


def sound(gaps):
    """Runs from the gaps before them and their lengths."""
    numbers, end = [], 1
    for gap, length in gaps:
        numbers += [end + gap, length]
        end += gap + length
    return " ".join(map(str, numbers))


SOUND = st.lists(st.tuples(st.integers(0, 9), st.integers(1, 9)), max_size=60).map(sound)
NUMBERS = st.lists(
    st.one_of(
        st.integers(-3, 600), st.integers(), st.sampled_from([10**17, 10**18, 2**63, 10**30])
    ),
    max_size=80,
).map(lambda numbers: " ".join(map(str, numbers)))
TEXTS = st.one_of(
    SOUND,
    NUMBERS,
    st.text(alphabet="0123456789 -+._\t\n\r\x0b\xa0xe\x00٣²", max_size=60),
    st.text(max_size=30),
    st.tuples(SOUND, st.text(max_size=3), SOUND).map("".join),
    st.tuples(SOUND, st.integers(1, 400)).map(lambda pair: " ".join([pair[0]] * pair[1])),
)


def plain_reading(text, num_pixels):
    """The pixels, from 0, by the definition; None if the text is no mask of so many pixels."""
    words = text.split()
    if len(words) % 2 or not all(re.fullmatch("[0-9]{1,18}", word) for word in words):
        return None
    end, pixels = 1, []
    for start, length in zip(map(int, words[::2]), map(int, words[1::2])):
        if start < end or length < 1 or start + length - 1 > num_pixels:
            return None
        end = start + length
        pixels.extend(range(start - 1, end - 1))
    return pixels


@pytest.mark.parser("RLE masks")
@fuzz(300)
@given(text=TEXTS, height=st.integers(1, 40), width=st.integers(1, 40))
@example(text="1 1 2 1", height=1, width=2)
@example(text="\ud800 1", height=1, width=2)
@example(text="1 1\x1c3 1", height=2, width=2)
@example(text="1" * 18 + " 1", height=2, width=2)
@example(text="1" * 19 + " 1", height=2, width=2)
@example(text="0" * 17 + "1 1", height=2, width=2)
@example(text="1 1 " * 100, height=10, width=10)
def test_a_mask_is_what_its_text_says_or_refused(trial, text, height, width):
    expected = plain_reading(text, height * width)
    mask = trial.run(rle.decode, text, height, width, refusal=ValueError)
    try:
        rle.check(text, height * width)
        passes = True
    except ValueError:
        passes = False
    assert (mask is not None) == passes == (expected is not None)
    if passes:
        assert mask.shape == (height, width)
        assert np.flatnonzero(mask.ravel(order="F")).tolist() == expected
