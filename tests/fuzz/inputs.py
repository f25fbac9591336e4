"""Inputs for the parsers: sound ones, and what damage makes of them."""

import copy
import json
import os

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

# `make fuzz` sets it; in the usual tests a few inputs are tried, the same ones each time.
INPUTS = int(os.environ.get("CLOUDTF_FUZZ_INPUTS", "0"))

_PLACES = st.integers(0, 2**31 - 1)
_EXTREMES = (
    b"\0",
    b"\xff",
    b"\x7f\xff",
    b"\xff\xff",
    b"\0\0\0\0",
    b"\x7f\xff\xff\xff",
    b"\n",
    b'"',
)


def fuzz(short, share=1):
    """Settings of a property: `short` inputs in the usual tests, all or a share in `make fuzz`."""
    return settings(
        max_examples=-(-INPUTS // share) if INPUTS else short,
        deadline=None,
        derandomize=not INPUTS,
        database=None,
        suppress_health_check=list(HealthCheck),
    )


@st.composite
def damaged(draw, seeds, most=5):
    """Bytes of one of `seeds` with bits flipped, parts cut, doubled, moved or exchanged."""
    data = bytearray(draw(st.sampled_from(seeds)))
    steps = st.tuples(st.integers(0, 7), _PLACES, _PLACES, st.binary(max_size=6))
    for kind, a, b, content in draw(st.lists(steps, min_size=1, max_size=most)):
        at, length = a % (len(data) + 1), b % 64
        if kind == 0 and at < len(data):
            data[at] ^= 1 << b % 8
        elif kind == 1:
            data[at : at + len(content)] = content
        elif kind == 2:
            del data[at:]
        elif kind == 3:
            del data[at : at + length]
        elif kind == 4:
            data[at:at] = content
        elif kind == 5:
            data[at:at] = data[b % (len(data) + 1) :][:length]
        elif kind == 6:
            other = seeds[b % len(seeds)]
            data[at:] = other[b % (len(other) + 1) :]
        else:
            extreme = _EXTREMES[b % len(_EXTREMES)]
            data[at : at + len(extreme)] = extreme
    return bytes(data)


WEIRD = st.one_of(
    st.sampled_from(
        [None, True, False, 0, -1, 1, 0.5, 1e308, float("nan"), float("inf"), 2**63, 2**200]
        + ["", ".", "..", "../x", "/etc/passwd", "a/b", "a\\b", "a\nb", "\0", "mean", "x" * 500]
        + ["é", "e\u0301", "\ud800", "1", "NaN", [], {}, [[]], [{}], {"": None}, ["a", "a"]]
    ),
    st.integers(),
    st.floats(),
    st.text(max_size=20),
)


def _nodes(value):
    """Every container in a JSON value with each of its keys or places."""
    keys = value if isinstance(value, dict) else range(len(value))
    for key in list(keys):
        yield value, key
        if isinstance(value[key], (dict, list)):
            yield from _nodes(value[key])


@st.composite
def damaged_json(draw, value):
    """Text of a JSON value in which some parts are exchanged, removed or doubled."""
    value = json.loads(json.dumps(value))
    for _ in range(draw(st.integers(0, 3))):
        nodes = list(_nodes(value))
        if not nodes:
            break
        container, key = nodes[draw(_PLACES) % len(nodes)]
        kind = draw(st.integers(0, 4))
        if kind <= 1:
            container[key] = copy.deepcopy(draw(WEIRD))  # Later steps may change it.
        elif kind == 2:
            del container[key]
        elif kind == 3 and isinstance(container, list):
            container.append(copy.deepcopy(container[key]))
        elif isinstance(container, dict):
            container[draw(st.text(max_size=10))] = copy.deepcopy(container[key])
    text = json.dumps(value)
    if draw(st.integers(0, 9)) == 0:
        return draw(damaged([text.encode()]))
    return text.encode()
