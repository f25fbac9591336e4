"""Shards: damage is found wherever it is, and what passes for sound is what was written."""

import hashlib
import json

import cv2
import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from cloudtf.data import images, records, tfrecord, verify
from cloudtf.errors import UserError
from tests.fuzz.inputs import damaged, fuzz

NAME = "train-00000-of-00001.tfrecord"


def example_of(number):
    pixels = np.random.default_rng(number).integers(0, 256, (16, 16, 3), np.uint8)
    encoded = cv2.imencode(".jpg", pixels)[1].tobytes()
    return {
        records.ENCODED: encoded,
        records.FORMAT: b"jpeg",
        records.FILENAME: f"{number}.jpg".encode(),
        records.HEIGHT: (16,),
        records.WIDTH: (16,),
        records.LABEL: (number % 2, 1),
        records.SHA256: hashlib.sha256(encoded).hexdigest().encode(),
    }


EXAMPLES = [tfrecord.encode_example(example_of(number)) for number in range(3)]
SHARD = b"".join(map(tfrecord.frame, EXAMPLES))


def problems(folder, content, count=3):
    """What is wrong with a folder of one shard, whose length and checksum are as stated."""
    (folder / NAME).write_bytes(content)
    digest = hashlib.sha256(content).hexdigest()
    split = records.Split(
        "train", count, {"A": 1, "B": 3}, {}, (records.Shard(NAME, count, len(content), digest),)
    )
    manifest = records.Manifest(("A", "B"), 16, 16, 95, 0, {"train": split})
    for problem in verify.problems(str(folder), manifest, workers=1):
        raise UserError(problem.sentence)


def test_the_shard_is_sound_to_begin_with(tmp_path):
    problems(tmp_path, SHARD)


@pytest.mark.parser("TFRecord shards")
def test_no_damaged_shard_passes(trial, tmp_path):
    @fuzz(40)
    @given(damaged([SHARD]))
    @example(b"")
    @example(SHARD[:-1])
    @example(SHARD[: len(tfrecord.frame(EXAMPLES[0]))])
    @example(SHARD + b"\0")
    @example(b"\xff" * 8 + SHARD[8:])
    @example(bytes(16))
    @example(tfrecord.frame(b"") * 3)
    def property(content):
        accepted = trial.accepted
        trial.run(problems, tmp_path, content)
        assert (trial.accepted > accepted) == (content == SHARD)

    property()


@pytest.mark.parser("Example records")
def test_a_record_that_passes_holds_what_the_manifest_says(trial, tmp_path):
    import tensorflow as tf

    @fuzz(40)
    @given(damaged([EXAMPLES[0]]))
    @example(b"")
    @example(EXAMPLES[0] * 2)
    @example(EXAMPLES[1])
    @example(EXAMPLES[0].replace(b"0.jpg", b"\xff.jpg"))
    @example(EXAMPLES[0].replace(b"0.jpg", b"1.jpg"))
    @example(EXAMPLES[0].replace(records.FORMAT.encode(), b"image/\xff\xffrmat"))
    def property(content):
        accepted = trial.accepted
        frames = [tfrecord.frame(content), *map(tfrecord.frame, EXAMPLES[1:])]
        trial.run(problems, tmp_path, b"".join(frames))
        if trial.accepted == accepted:
            return
        features = tf.train.Example.FromString(content).features.feature
        (encoded,) = features[records.ENCODED].bytes_list.value
        (stated,) = features[records.SHA256].bytes_list.value
        assert hashlib.sha256(encoded).hexdigest() == stated.decode()
        assert encoded == example_of(0)[records.ENCODED]
        assert images.decode(encoded).shape == (16, 16, 3)
        assert list(features[records.LABEL].int64_list.value) == [0, 1]
        assert list(features[records.HEIGHT].int64_list.value) == [16]
        assert list(features[records.WIDTH].int64_list.value) == [16]
        assert features[records.FILENAME].bytes_list.value[0].decode() not in ("1.jpg", "2.jpg")

    property()


def slow_crc32c(data):
    """The definition, bit by bit."""
    state = 0xFFFFFFFF
    for byte in data:
        state ^= byte
        for _ in range(8):
            state = state >> 1 ^ (0x82F63B78 if state & 1 else 0)
    return state ^ 0xFFFFFFFF


@pytest.mark.parser("CRC-32C")
def test_the_checksum_is_that_of_the_definition(trial):
    @fuzz(150)
    @given(st.binary(max_size=20) | st.binary(max_size=700))
    def property(data):
        assert trial.run(tfrecord.crc32c, data) == slow_crc32c(data)

    property()


@pytest.mark.parser("journal of the converter")
def test_a_damaged_journal_is_refused_or_its_shards_are_as_it_says(trial, tmp_path, capsys):
    from cloudtf.data.progress import JOURNAL_NAME, Journal
    from tests.fuzz.inputs import damaged_json

    (tmp_path / NAME).write_bytes(SHARD)
    digest = hashlib.sha256(SHARD).hexdigest()
    shard = {"name": NAME, "num_examples": 3, "num_bytes": len(SHARD), "sha256": digest}
    journal = {"settings": {"seed": 0}, "shards": {NAME: {"shard": shard, "skipped": {}}}}
    path = tmp_path / JOURNAL_NAME

    @fuzz(150)
    @given(damaged_json(journal))
    @example(json.dumps(journal).encode())
    @example(b"[]")
    @example(json.dumps({**journal, "shards": {"a": {"shard": shard, "skipped": "ab"}}}).encode())
    def property(content):
        path.write_bytes(content)
        found = trial.run(Journal, str(tmp_path), {"seed": 0}, False)
        capsys.readouterr()
        for written in found.written.values() if found else ():
            assert written.shard.name == NAME and written.shard.sha256 == digest

    property()
