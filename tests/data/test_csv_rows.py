import csv
import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloudtf.data import csv_rows
from cloudtf.errors import UserError

# What a cell may hold: delimiters, quotes and ends of lines among other text.
cells = st.text(alphabet="a1 ,;\t\"'\n\u2028é", max_size=6)


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    return tmp_path_factory.mktemp("csv") / "table.csv"


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
