"""Prediction tables read back exactly, and bad ones are refused by line."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from cloudtf.errors import UserError
from cloudtf.submission import predictions

# Any text that UTF-8 can hold, commas, quotes and line breaks included.
names = st.text(st.characters(blacklist_categories=("Cs",), blacklist_characters="\0"), min_size=1)


def can_be_a_column(name):
    return name != "Image" and not name.startswith("truth:")


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_what_is_written_reads_back_exactly(tmp_path_factory, data):
    images = data.draw(st.lists(names, unique=True, max_size=8))
    classes = data.draw(
        st.lists(names.filter(can_be_a_column), unique=True, min_size=1, max_size=4)
    )
    dtype = data.draw(st.sampled_from([np.float32, np.float64]))
    shape = (len(images), len(classes))
    width = np.dtype(dtype).itemsize * 8
    scores = data.draw(hnp.arrays(dtype, shape, elements=st.floats(0, 1, width=width)))
    path = str(tmp_path_factory.mktemp("p") / "p.csv")
    predictions.write(path, images, scores, classes)
    images_read, scores_read, classes_read = predictions.read(path)
    assert images_read == images and classes_read == classes
    assert scores_read.dtype == np.float64
    np.testing.assert_array_equal(scores_read, scores.astype(np.float64))


def test_the_file_is_what_the_format_says(tmp_path):
    path = tmp_path / "p.csv"
    scores = np.array([[0.1, 1.0], [np.float32(0.1), 1e-9]])
    predictions.write(str(path), ["a.jpg", "b, c.jpg"], scores, ["Fish", "Sugar"])
    assert path.read_bytes() == (
        b'Image,Fish,Sugar\na.jpg,0.1,1.0\n"b, c.jpg",0.10000000149011612,1e-09\n'
    )


def test_other_line_ends_a_byte_order_mark_and_blank_lines_are_read(tmp_path):
    path = tmp_path / "p.csv"
    path.write_bytes(b"\xef\xbb\xbfImage,Fish\r\na.jpg,0.5\r\n\r\nb.jpg,1\r\n\r\n")
    images, scores, classes = predictions.read(str(path))
    assert (images, scores.tolist(), classes) == (["a.jpg", "b.jpg"], [[0.5], [1.0]], ["Fish"])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "p.csv is empty"),
        ("id,Fish\na,0.5\n", "first column .*p.csv is 'id'; it must be 'Image'"),
        ("Image;Fish\na;0.5\n", "first column .* is 'Image;Fish'"),
        ("Image\na\n", "no class column"),
        ("Image,Fish,Fish\na,0,0\n", "2 columns named 'Fish'"),
        ("Image,Fish,\na,0,0\n", "a column without a name"),
        ("Image,Fish\na,0\nb,0\na,0\n", "2 rows for the image 'a'"),
        ("Image,Fish\n,0\n", "a row without image name"),
        ("Image,Fish\na,0\nb,high\n", "Line 3 of .*p.csv has 'high' for class Fish"),
        ("Image,Fish\na,\n", "Line 2 .* has '' for class Fish"),
        ("Image,Fish\na,nan\n", "Line 2 .* has 'nan'"),
        ("Image,Fish\na,inf\n", "Line 2 .* has 'inf'"),
        ("Image,Fish\na,1.0001\n", "Line 2 .* '1.0001' .* not a number from 0 to 1"),
        ("Image,Fish\na,-0.1\n", "Line 2 .* '-0.1'"),
        ("Image,Fish\na,0_1\n", "Line 2 .* '0_1'"),
        ("Image,Fish,Sugar\na,0,0\n\nb,0\n", "Line 4 .* has 2 cells where the header has 3"),
        ("Image,Fish\na,0,0\n", "Line 2 .* has 3 cells where the header has 2"),
        ('Image,Fish\n"a,0\n', "is not CSV"),
    ],
)
def test_a_bad_table_is_refused_naming_file_and_line(tmp_path, text, message):
    path = tmp_path / "p.csv"
    path.write_text(text)
    with pytest.raises(UserError, match=message):
        predictions.read(str(path))


def test_a_line_is_counted_as_an_editor_counts_it(tmp_path):
    path = tmp_path / "p.csv"
    path.write_text('Image,Fish\n"a\nb",0\nc,x\n')
    with pytest.raises(UserError, match="Line 4 of"):
        predictions.read(str(path))


def test_a_missing_file_and_other_encodings_are_refused(tmp_path):
    with pytest.raises(UserError, match="gone.csv cannot be read"):
        predictions.read(str(tmp_path / "gone.csv"))
    (tmp_path / "p.csv").write_bytes("Image,Fish\né,0\n".encode("latin-1"))
    with pytest.raises(UserError, match="not UTF-8"):
        predictions.read(str(tmp_path / "p.csv"))


@pytest.mark.parametrize(
    ("images", "scores", "classes", "message"),
    [
        (["a", "a"], [[0], [0]], ["Fish"], "2 rows for the image 'a'"),
        ([""], [[0]], ["Fish"], "without image name"),
        (["a"], [[np.nan]], ["Fish"], "score of a for class Fish is nan"),
        (["a"], [[1.5]], ["Fish"], "score of a for class Fish is 1.5"),
        (["a"], [[0]], ["Image"], "2 columns named 'Image'"),
        (["a"], [[]], [], "no class column"),
    ],
)
def test_what_could_not_be_read_back_is_not_written(tmp_path, images, scores, classes, message):
    path = tmp_path / "p.csv"
    with pytest.raises(UserError, match=message):
        predictions.write(str(path), images, np.array(scores, np.float32), classes)
    assert list(tmp_path.iterdir()) == []


def test_shapes_that_do_not_agree_are_refused(tmp_path):
    with pytest.raises(ValueError, match="2 names, 1 classes"):
        predictions.write(str(tmp_path / "p.csv"), ["a", "b"], np.zeros((1, 1)), ["Fish"])


@settings(max_examples=300, deadline=None)
@given(st.one_of(st.binary(max_size=200), st.text(alphabet='Image,Fish\n\r"0.5;', max_size=80)))
def test_any_bytes_are_read_or_refused_in_a_sentence(tmp_path_factory, content):
    path = tmp_path_factory.mktemp("p") / "p.csv"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    try:
        images, scores, classes = predictions.read(str(path))
    except UserError:
        return
    assert scores.shape == (len(images), len(classes))
    assert ((scores >= 0) & (scores <= 1)).all()
