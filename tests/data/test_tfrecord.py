import io

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cloudtf.data import tfrecord

WAYS = pytest.mark.parametrize("crc32c", [tfrecord.crc32c, tfrecord.crc32c_by_tables])


@WAYS
def test_crc32c_gives_the_published_check_value(crc32c):
    assert crc32c(b"123456789") == 0xE3069283  # RFC 3720 and the CRC catalogue
    assert crc32c(bytes(32)) == 0x8A9136AA  # RFC 3720, B.4
    assert crc32c(b"\xff" * 32) == 0x62A8AB43


@given(st.binary(max_size=3000))
def test_compiled_and_by_tables_it_is_the_same(data):
    assert tfrecord.crc32c(data) == tfrecord.crc32c_by_tables(data)


@pytest.mark.parametrize("length", [0, 1, 3, 4, 5, 16, 17, 255, 256, 257, 511, 512, 513, 70_000])
def test_tensorflow_reads_a_framed_record_of_any_length(tmp_path, length):
    import tensorflow as tf

    record = np.random.default_rng(length).bytes(length)
    path = tmp_path / "x.tfrecord"
    path.write_bytes(tfrecord.frame(record) * 2)
    assert [r.numpy() for r in tf.data.TFRecordDataset(str(path))] == [record] * 2


def test_a_framed_record_is_what_tensorflow_writes(tmp_path):
    import tensorflow as tf

    path = str(tmp_path / "x.tfrecord")
    record = np.random.default_rng(0).bytes(1000)
    with tf.io.TFRecordWriter(path) as writer:
        writer.write(record)
    with open(path, "rb") as file:
        assert file.read() == tfrecord.frame(record)


def walked(data, size=None):
    """The records of a file as bytes, by the places of their frames."""
    size = len(data) if size is None else size
    return [
        tfrecord.content(data[start:end]) for start, end in tfrecord.spans(io.BytesIO(data), size)
    ]


def test_frames_are_walked_up_to_the_first_that_is_damaged():
    records = [b"", b"a" * 7, np.random.default_rng(0).bytes(3000)]
    data = b"".join(map(tfrecord.frame, records))
    assert walked(data) == records and walked(b"") == []
    starts = [0, 16, 16 + 23, len(data)]
    assert list(tfrecord.spans(io.BytesIO(data), len(data))) == list(zip(starts, starts[1:]))
    assert walked(data[:-1]) == records[:2] == walked(data + b"more", len(data) - 1)
    for end in (3, 12, 15):
        assert walked(data[:end]) == []
    for byte in range(12):  # Of the second one's length and its checksum.
        damaged = bytearray(data)
        damaged[16 + byte] ^= 0x10
        assert walked(bytes(damaged)) == records[:1]


def test_a_record_without_its_checksum_is_not_taken():
    framed = bytearray(tfrecord.frame(b"record"))
    for byte in (12, 17, 18, 21):
        framed[byte] ^= 1
        with pytest.raises(ValueError, match="does not have its checksum"):
            tfrecord.content(bytes(framed))
        framed[byte] ^= 1
    assert tfrecord.content(bytes(framed)) == b"record"


@settings(max_examples=200, deadline=None)
@given(
    st.dictionaries(
        st.text(max_size=5).filter(lambda s: s.isprintable()),
        st.binary(max_size=300) | st.lists(st.integers(-(2**63), 2**63 - 1), max_size=5),
        max_size=5,
    )
)
def test_protobuf_parses_and_writes_the_same_example(features):
    import tensorflow as tf

    encoded = tfrecord.encode_example(features)
    example = tf.train.Example.FromString(encoded)
    read = example.features.feature
    assert set(read) == set(features)
    for name, value in features.items():
        if isinstance(value, bytes):
            assert list(read[name].bytes_list.value) == [value]
        else:
            assert list(read[name].int64_list.value) == value


def test_the_order_in_which_features_are_given_does_not_matter():
    a = tfrecord.encode_example({"a": b"1", "b": (1, 2)})
    assert a == tfrecord.encode_example({"b": (1, 2), "a": b"1"})
