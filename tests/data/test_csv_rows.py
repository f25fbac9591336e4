import csv
import io

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cloudtf.data import csv_rows
from cloudtf.errors import UserError

# What a cell may hold: delimiters, quotes and ends of lines among other text.
cells = st.text(alphabet="a1 ,;\t\"'\n\u2028é", max_size=6)


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    return tmp_path_factory.mktemp("csv") / "table.csv"


@settings(deadline=None)
@given(
    st.lists(st.tuples(cells, cells, cells).filter(any), min_size=1, max_size=6),
    st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL]),
    st.sampled_from(["\n", "\r\n"]),
    st.sampled_from(",;\t"),
)
def test_whatever_the_csv_module_writes_is_read_back(path, rows, quoting, line_end, delimiter):
    text = io.StringIO(newline="")
    writer = csv.writer(text, quoting=quoting, lineterminator=line_end, delimiter=delimiter)
    writer.writerows([("image", "label", "group"), *rows])
    path.write_bytes(text.getvalue().encode())
    with csv_rows.open_rows(str(path)) as (header, found):
        assert header == ["image", "label", "group"]
        assert list(found) == [(number, list(row)) for number, row in enumerate(rows, 2)]


def test_a_row_over_several_lines_counts_as_one(path):
    path.write_text('image,label\n"a\nb",1\nc,2\n')
    with csv_rows.open_rows(str(path)) as (_, rows):
        assert list(rows) == [(2, ["a\nb", "1"]), (3, ["c", "2"])]


@pytest.mark.parametrize("text", ['a,"b\nc,d\n', 'a,"b"c\nd,e\n'])
def test_a_quote_that_is_not_closed_is_refused_with_its_row(path, text):
    path.write_text("image,label\nx,y\n" + text)
    with (
        pytest.raises(UserError, match="row 3 is no CSV"),
        csv_rows.open_rows(str(path)) as (_, rows),
    ):
        list(rows)


def test_a_stray_quotation_mark_does_not_have_the_whole_file_read():
    taken = 0

    def lines():
        nonlocal taken
        yield 'a.jpg,"1\n'
        for _ in range(200):
            taken += 1
            yield "x" * (1 << 20) + "\n"

    with pytest.raises(UserError, match="labels.csv row 2 is no CSV .*quotation marks"):
        next(csv_rows._rows("labels.csv", lines(), ",", 2, False))
    assert taken < 70  # Of a megabyte each.


def test_a_large_mask_in_quotation_marks_is_read_and_the_limit_of_others_left(path):
    mask = "1 1 " * 300_000
    path.write_text(f'image,label\na,"{mask}"\nb,2\n')
    limit = csv.field_size_limit(1_000_000)
    try:
        with csv_rows.open_rows(str(path)) as (_, rows):
            for number, cells in rows:
                assert csv.field_size_limit() == 1_000_000
                assert cells == {2: ["a", mask], 3: ["b", "2"]}[number]
    finally:
        csv.field_size_limit(limit)
