"""Why something failed, as a phrase for a sentence."""

import pytest
import tensorflow as tf

from cloudtf.errors import UserError, reason
from cloudtf.pipeline import damage
from cloudtf.training.workers import WorkerLost, Workers


def raised(function):
    with pytest.raises(tf.errors.OpError) as caught:
        function()
    return caught.value


@pytest.mark.parametrize(
    ("error", "phrase"),
    [
        (ValueError("no such\nsecond line"), "no such"),
        (ValueError("\n\n  the third line.\n"), "the third line"),
        (ValueError(), "ValueError"),
        (ValueError("\n"), "ValueError"),
        (KeyError("a"), "'a'"),
        (PermissionError(13, "Permission denied", "/a/b"), "Permission denied"),
        (OSError("no number"), "no number"),
        (tf.errors.DataLossError(None, None, ""), "DataLossError"),
        (ValueError("in user code:\n\n    File x\n\n    ValueError: odd\n"), "ValueError: odd"),
    ],
)  # fmt: skip
def test_the_first_line_or_the_class(error, phrase):
    assert reason(error) == phrase


def test_a_long_reason_is_cut():
    assert reason(ValueError("x" * 1_000_000)) == "x" * 157 + "..."
    assert reason(ValueError("x" * 40), 40) == "x" * 40


def test_a_sentence_is_never_longer_than_a_page_and_keeps_its_ends():
    said = str(UserError("The file a.csv has " + "x" * 9_000_000 + "; make it again."))
    assert len(said) < 3100 and said.startswith("The file a.csv has xx")
    assert said.endswith("x; make it again.")
    assert str(UserError("x" * 2000)) == "x" * 2000


def not_an_image():
    return tf.io.decode_jpeg(b"not an image")


def in_a_function():
    return tf.function(tf.io.decode_jpeg)(tf.constant(b"not an image"))


def in_a_pipeline():
    return list(tf.data.Dataset.from_tensors(b"not an image").map(tf.io.decode_jpeg))


def in_a_model():
    model = tf.keras.Sequential([tf.keras.layers.Lambda(lambda x: tf.io.decode_jpeg(x[0, 0]))])
    model.compile("sgd", "mse")
    return model.predict(tf.constant([["not an image"]]), verbose=0)


@pytest.mark.parametrize("function", [not_an_image, in_a_function, in_a_pipeline, in_a_model])
def test_tensorflows_reason_comes_without_its_nodes(function):
    phrase = reason(raised(function))
    assert phrase.startswith("Unknown image file format") and "{{" not in phrase, phrase
    assert "[Op:" not in phrase and "\n" not in phrase


@pytest.mark.parametrize("error", [tf.errors.UnavailableError, tf.errors.AbortedError])
def test_an_error_without_a_text_is_no_error_of_its_own(error):
    workers = Workers.__new__(Workers)
    workers.count = 2
    with pytest.raises(WorkerLost, match=error.__name__), workers.naming_losses():
        raise error(None, None, "")
    assert "(DataLossError)" in str(
        damage.shard_error("a", tf.errors.DataLossError(None, None, ""))
    )
