import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cloudtf.data import label_csv, labels
from cloudtf.data.layouts.facts import Options
from cloudtf.errors import UsageError, UserError

KAGGLE = """Image_Label,EncodedPixels
0011165.jpg_Fish,264918 937 266318 937
0011165.jpg_Flower,1355565 1002
0011165.jpg_Gravel,
0011165.jpg_Sugar,
a_b_c.jpg_Fish,
a_b_c.jpg_Flower,
a_b_c.jpg_Gravel,
a_b_c.jpg_Sugar,
"""
ONEHOT = "image,Sugar,Fish\na.jpg,1,0\nb.jpg,0,0\nc.jpg,1.0, 1\n"
LIST = "image,classes\na.jpg,Sugar\nb.jpg,\nc.jpg,Fish|Sugar\nd.jpg,Sugar| Fish\n"


def read(tmp_path, text, label_format="auto", **options):
    path = tmp_path / "labels.csv"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return label_csv.read_labels(str(path), Options(label_format, **options))


def reasons(table):
    return [f"{problem.file}: {problem.reason}" for problem in table.problems]


def test_kaggle_rows_are_split_on_the_last_underscore_and_empty_masks_are_absent(tmp_path):
    table = read(tmp_path, KAGGLE)
    assert table.names == ("0011165.jpg", "a_b_c.jpg")
    assert table.classes == ("Fish", "Flower", "Gravel", "Sugar")
    assert table.labels.tolist() == [[1, 1, 0, 0], [0, 0, 0, 0]]
    assert table.rows.tolist() == [2, 6]
    assert table.problems == ()


def test_kaggle_columns_may_be_apart(tmp_path):
    table = read(
        tmp_path, "Image,Label,EncodedPixels\na.jpg,Fish,1 2\na.jpg,Sugar,\nb.jpg,Sugar,\n"
    )
    assert (table.names, table.labels.tolist()) == (("a.jpg", "b.jpg"), [[1, 0], [0, 0]])


def test_one_hot_columns_give_the_class_order(tmp_path):
    table = read(tmp_path, ONEHOT)
    assert table.classes == ("Sugar", "Fish")
    assert table.labels.tolist() == [[1, 0], [0, 0], [1, 1]]


def test_lists_are_separated_by_bars_and_may_be_empty(tmp_path):
    table = read(tmp_path, LIST)
    assert table.classes == ("Fish", "Sugar")
    assert table.labels.tolist() == [[0, 1], [0, 0], [1, 1], [1, 1]]


@pytest.mark.parametrize("text", [KAGGLE, ONEHOT, LIST])
def test_given_classes_give_the_order(tmp_path, text):
    order = ("Sugar", "Gravel", "Flower", "Fish") if text is KAGGLE else ("Fish", "Sugar")
    plain, ordered = read(tmp_path, text), read(tmp_path, text, classes=order)
    assert ordered.classes == order
    at = [plain.classes.index(name) for name in order]
    np.testing.assert_array_equal(ordered.labels, plain.labels[:, at])


@pytest.mark.parametrize("text", [KAGGLE, ONEHOT, LIST])
@pytest.mark.parametrize("change", ["bom", "crlf", "cr", "semicolons", "tabs", "quotes", "blank"])
def test_dialects_of_csv_read_alike(tmp_path, text, change):
    changed = {
        "bom": lambda: b"\xef\xbb\xbf" + text.encode(),
        "crlf": lambda: text.replace("\n", "\r\n"),
        "cr": lambda: text.replace("\n", "\r"),
        "semicolons": lambda: text.replace(",", ";"),
        "tabs": lambda: text.replace(",", "\t"),
        "quotes": lambda: "\n".join(
            ",".join(f'"{cell}"' for cell in line.split(",")) for line in text.splitlines()
        ),
        "blank": lambda: text.replace("\n", "\n\n").rstrip("\n"),
    }[change]()
    a, b = read(tmp_path, text), read(tmp_path, changed)
    assert (a.names, a.classes, a.labels.tolist()) == (b.names, b.classes, b.labels.tolist())


def test_names_may_be_unicode_and_hold_commas_and_spaces(tmp_path):
    table = read(tmp_path, 'image,classes\n"Wolken, früh 1.jpg",A\n雲_1.jpg,B\n')
    assert table.names == ("Wolken, früh 1.jpg", "雲_1.jpg")


def test_two_hundred_thousand_rows_are_read_within_seconds(tmp_path):
    masks = (("Fish", "264918 937 266318 937"), ("Flower", ""), ("Gravel", ""), ("Sugar", "1 5"))
    lines = [f"{i:07x}.jpg_{name},{mask}" for i in range(50_000) for name, mask in masks]
    text = "Image_Label,EncodedPixels\n" + "\n".join(lines)
    start = time.process_time()
    table = read(tmp_path, text)
    assert time.process_time() - start < 15  # About 1 s on a free core.
    assert len(table.names) == 50_000 and (table.labels == (1, 0, 0, 1)).all()


def test_extra_columns_hold_no_classes_and_are_returned(tmp_path):
    text = "image,A,part,B,scene\nx.jpg,1,train,0,s1\ny.jpg,0,val,1,\n"
    table = read(tmp_path, text, columns=("part", "scene"))
    assert table.classes == ("A", "B")
    assert table.columns == {"part": ("train", "val"), "scene": ("s1", "")}
    with pytest.raises(UsageError, match="has no column 'where'; it has image, A, part, B, scene"):
        read(tmp_path, text, columns=("where",))


def test_one_column_of_zeros_and_ones_is_one_hot_unless_its_name_says_list(tmp_path):
    assert read(tmp_path, "image,Fish\na.jpg,1\nb.jpg,0\n").classes == ("Fish",)
    assert read(tmp_path, "image,label\na.jpg,1\nb.jpg,0\n").classes == ("0", "1")
    assert read(tmp_path, "image,label\na.jpg,1\nb.jpg,0\n", "onehot").classes == ("label",)


@pytest.mark.parametrize(
    "text, expected",
    [
        (KAGGLE + "0011165.jpg_Gravel,\n", "0011165.jpg: row 10 (Gravel) repeats row 4"),
        (KAGGLE + "0011165.jpg_Gravel,1 2\n", "0011165.jpg: row 10 (Gravel) contradicts row 4"),
        (KAGGLE + "x.jpg_Fish,1 2 3\n", "x.jpg: row 10 (Fish) has a malformed mask: 3 numbers"),
        (KAGGLE + "x.jpg_Fish,1 -2\n", "x.jpg: row 10 (Fish) has a malformed mask: '-2'"),
        (KAGGLE + "x.jpgFish,\n", "x.jpgFish: row 10 is not named IMAGE_CLASS"),
        (KAGGLE + "x.jpg_,\n", "x.jpg: row 10 is not named IMAGE_CLASS"),
        (KAGGLE + "img_12.jpg,1 5\n", "img_12.jpg: row 10 is not named IMAGE_CLASS"),
        (KAGGLE + "x.jpg_a:b,\n", "x.jpg: row 10 cannot be used: the class name 'a:b' has a char"),
        (LIST + "x.jpg,Fish|mean\n", "x.jpg: row 6 cannot be used: the class name 'mean' means"),
        (
            LIST + "a\u202fb.jpg,Fish\n",
            "a\u202fb.jpg: row 6 has a space other than the plain one (U+20",
        ),
        (LIST + "a\u200bb.jpg,Fish\n", "a\u200bb.jpg: row 6 has an invisible character (U+200B)"),
        (KAGGLE + "../x.jpg_Fish,\n", "../x.jpg: row 10 names an image outside the folder"),
        (KAGGLE + "/etc/x_Fish,\n", "/etc/x: row 10 names an image by an absolute path"),
        (ONEHOT + "d.jpg,1,2\n", "d.jpg: row 5 has '2' for Fish, not 0 or 1"),
        (ONEHOT + "d.jpg,0.5,1\n", "d.jpg: row 5 has '0.5' for Sugar, not 0 or 1"),
        (ONEHOT + "d.jpg,yes,1\n", "d.jpg: row 5 has 'yes' for Sugar, not 0 or 1"),
        (ONEHOT + "a.jpg,1,0\n", "a.jpg: row 5 repeats row 2"),
        (ONEHOT + "a.jpg,1,1\n", "a.jpg: row 5 contradicts row 2"),
        (LIST + "./a.jpg,Fish\n", "a.jpg: row 6 contradicts row 2"),
        (LIST + "C:\\x.jpg,Fish\n", "C:\\x.jpg: row 6 names an image by an absolute path"),
        (LIST + "b/../../x.jpg,Fish\n", "b/../../x.jpg: row 6 names an image outside the folder"),
        (LIST + "gs://x/y.jpg,Fish\n", "gs://x/y.jpg: row 6 names an image by an absolute path"),
        (LIST + ",Fish\n", ": row 6 has no image name"),
        (LIST + '"a\nb.jpg",Fish\n', "a\nb.jpg: row 6 has a control character in the image name"),
    ],
)
def test_a_bad_row_is_a_problem_that_names_image_and_row(tmp_path, text, expected):
    table = read(tmp_path, text)
    assert len(table.problems) == 1
    assert reasons(table)[0].startswith(expected)
    # Only an exact repeat leaves its image usable.
    assert (table.problems[0].file in table.names) == ("repeats" in expected)


def test_a_class_that_is_not_listed_is_a_problem(tmp_path):
    table = read(tmp_path, KAGGLE, classes=("Fish", "Flower", "Gravel"))
    assert reasons(table) == [
        "0011165.jpg: row 5 has the unknown class 'Sugar'",
        "a_b_c.jpg: row 9 has the unknown class 'Sugar'",
    ]
    assert reasons(read(tmp_path, LIST, classes=("Fish",)))[0].startswith(
        "a.jpg: row 2 has the unk"
    )
    with pytest.raises(UsageError, match="classes=.'Fish', 'Gravel'. are not the class columns"):
        read(tmp_path, ONEHOT, classes=("Fish", "Gravel"))


def test_classes_choose_among_the_columns_of_a_one_hot_table(tmp_path):
    text = "image,A,B,C,note\na.jpg,1,0,7,x\nb.jpg,0,1,2,y\n"
    table = read(tmp_path, text, classes=("B", "A"))
    assert (table.classes, table.labels.tolist()) == (("B", "A"), [[0, 1], [1, 0]])


def test_every_problem_is_collected(tmp_path):
    text = "image,classes\n" + "".join(f"../{i}.jpg,A\nok{i}.jpg,A\n" for i in range(50))
    table = read(tmp_path, text)
    assert len(table.problems) == 50 and len(table.names) == 50


def test_an_image_whose_rows_disagree_on_its_group_is_a_problem(tmp_path):
    text = "Image_Label,EncodedPixels,scene\na.jpg_A,,s1\na.jpg_B,,s2\nb.jpg_A,,\n"
    assert reasons(read(tmp_path, text, columns=("scene",))) == [
        "a.jpg: row 3 gives a.jpg another scene than row 2"
    ]


@pytest.mark.parametrize(
    "text, message",
    [
        ("", "is empty; it must begin with a header row"),
        ("\n \n", "is empty"),
        ("image,classes\n", "has a header but no rows"),
        ("image\na.jpg\n", "has one column only"),
        ("image,A,A\na.jpg,1,0\n", "has two columns named 'A'"),
        ("image,classes\na.jpg,A\nb.jpg\n", "row 3 has 1 cells, the header 2"),
        ("image,classes\na.jpg,A,B\n", "row 2 has 3 cells, the header 2"),
        ('image,classes\n"a.jpg,A\n', "row 2 is no CSV"),
        ("image,classes\na.jpg,A\n\0,B\n", "has a NUL byte in row 3"),
        (b"image,classes\n\xff\xfe.jpg,A\n", "is not UTF-8 text"),
        ("image,classes\na.jpg,\n", "names no class at all"),
        (
            "image,classes\na.jpg,../../etc\n",
            "row 2 cannot be used: the class name '../../etc'",
        ),
        ("image,x:y\na.jpg,1\n", "the class name 'x:y' has a character"),
        (
            "image,classes\na.jpg,\nb.jpg,A|B\nb.jpg,B\n",
            "only in rows that cannot be used; .* row 4",
        ),
        (
            "image,mood,size\na.jpg,fine,12\nb.jpg,bad,7\n",
            "has no column that says classes: image, m",
        ),
    ],
)
def test_a_file_that_cannot_be_used_is_refused_in_one_sentence(tmp_path, text, message):
    with pytest.raises(UserError, match=message) as raised:
        read(tmp_path, text)
    assert "labels.csv" in str(raised.value) and "\n" not in str(raised.value)


def test_ten_thousand_classes_may_be_listed_for_a_header_that_has_them(tmp_path):
    names = tuple(f"c{i}" for i in range(10_000))
    text = f"image,{','.join(names)}\na.jpg{',1' * len(names)}\n"
    assert read(tmp_path, text, classes=names).classes == names


def test_a_column_of_free_text_is_not_taken_for_classes(tmp_path):
    text = "image,classes\n" + "".join(f"{i}.jpg,word{i}\n" for i in range(10_001))
    with pytest.raises(UserError, match="names more than 10,000 classes; is it the right column"):
        read(tmp_path, text)


@settings(max_examples=300, deadline=None)
@given(
    st.one_of(
        st.binary(max_size=200),
        st.text(max_size=200).map(str.encode),
        st.text(alphabet='ab._,;\t\n\r"|01 /', max_size=200).map(
            lambda s: f"image,classes\n{s}".encode()
        ),
        st.text(alphabet='ab._,\n"12 -', max_size=200).map(
            lambda s: f"Image_Label,EncodedPixels\n{s}".encode()
        ),
    )
)
def test_any_bytes_give_a_sound_table_or_one_sentence(tmp_path_factory, content):
    try:
        table = read(tmp_path_factory.mktemp("csv"), content)
    except UserError as error:
        assert "labels.csv" in str(error)
    else:
        assert table.labels.shape == (len(table.names), len(table.classes))
        assert len(set(table.names)) == len(table.names)
        assert set(np.unique(table.labels)) <= {0, 1}
        for name in table.names:
            labels.check_name(name)
