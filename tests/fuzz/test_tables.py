"""CSV files: a table that is accepted is what Python's csv module reads in it, by plain rules."""

import csv
import io
import posixpath
import re

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from cloudtf.data import label_csv, labels, rle
from cloudtf.data.layouts.facts import Options
from cloudtf.errors import UserError
from cloudtf.model import thresholds
from cloudtf.submission import predictions
from cloudtf.submission.postprocess import PostprocessConfig, postprocess
from tests.fuzz.inputs import damaged, fuzz
from tests.fuzz.test_rle import plain_reading

NAMES = st.one_of(
    st.sampled_from(["a.jpg", "b_c.jpg", "./a.jpg", "d/e.png", "d//e.png", "../x.jpg", "/x.jpg"]),
    st.sampled_from(["é.jpg", "e\u0301.jpg", "C:x", "x\\y", " a.jpg ", "", "a,b", 'a"b', "a\nb"]),
    st.text(max_size=8),
)
CLASSES = st.one_of(
    st.sampled_from(["Fish", "Sugar", "fish", "Zucker ü", "mean", "Image", "a/b", "", "A", "B"]),
    st.text(max_size=6),
)
MASKS = st.sampled_from(["", "", "1 2", "1 2 5 1", " 3 4", "1", "x", "2 1 1 1", "1 0", "1 " * 300])
CELLS = st.sampled_from(["0", "1", "0", "1", "0.0", "1.0", " 1", "", "2", "yes", "1e0"])
KINDS = {
    "kaggle_rle": (["Image_Label", "EncodedPixels"], lambda n, c, m, b: [f"{n}_{c}", m]),
    "apart": (["Image", "Label", "EncodedPixels"], lambda n, c, m, b: [n, c, m]),
    "onehot": (["image", "Fish", "Sugar"], lambda n, c, m, b: [n, *b]),
    "list": (["image", "classes"], lambda n, c, m, b: [n, c]),
}
SEEDS = {
    "kaggle_rle": b"Image_Label,EncodedPixels\na.jpg_Fish,1 2 9 4\na.jpg_Sugar,\nb.jpg_Fish,\n",
    "apart": b"Image;Label;EncodedPixels\r\na.jpg;Fish;1 2\r\nb.jpg;Fish;\r\n",
    "onehot": b'\xef\xbb\xbfimage,Fish,Sugar\n"a.jpg",1,0\nb.jpg,0,1\nc.jpg,0,0\n',
    "list": b"image\tclasses\na.jpg\tFish|Sugar\nb.jpg\t\nc.jpg\tFish\n",
}


@st.composite
def written(draw, kind):
    """A CSV of some rows in some dialect."""
    header, row = KINDS[kind]
    file = io.StringIO()
    writer = csv.writer(
        file,
        delimiter=draw(st.sampled_from(",,;\t")),
        lineterminator=draw(st.sampled_from(["\n", "\r\n", "\r", "\n\n"])),
        quoting=draw(st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL])),
    )
    writer.writerow(header)
    if draw(st.booleans()):
        entries = st.tuples(NAMES, CLASSES, MASKS, st.tuples(CELLS, CELLS))
    else:  # Few oddities, so that there is more to read.
        good = st.sampled_from(["a.jpg", "b_c.jpg", "d/e.png", "é.jpg", "ä b.jpg"])
        flags = st.sampled_from(["0", "1"])
        classes = st.sampled_from(["Fish", "Sugar", "Zucker"])
        entries = st.tuples(good, classes, MASKS, st.tuples(flags, flags))
    writer.writerows(row(*entry) for entry in draw(st.lists(entries, max_size=8)))
    return draw(st.sampled_from([b"", b"\xef\xbb\xbf"])) + file.getvalue().encode(
        "utf-8", "surrogatepass"
    )


def inputs(kind):
    return st.one_of(
        written(kind),
        written(kind),
        damaged([SEEDS[kind]]),
        st.binary(max_size=60),
        st.text(max_size=60).map(lambda t: SEEDS[kind] + t.encode("utf-8", "surrogatepass")),
    )


EMPTY_MASKS = {"", "-1", "0", "0 0", "1 1"}
NO_VALUE = {"", "nan", "-nan", "none", "null", "nil", "na", "n/a", "#n/a", "#na", "<na>", "nat"}
NO_VALUE |= {"[]", "{}", "()", "set()", "-", "--", "–", "—"}


def by_hand(content, kind):
    """{image: the sets of classes that it may have} of the images in which nothing is wrong, by
    plain rules; None for an image of which they are not enough. None if the columns have other
    names than they should."""
    text = content.decode("utf-8-sig")
    first = next(line for line in re.split(r"[\r\n]", text) if line.strip())
    rows = csv.reader(io.StringIO(text, newline=""), delimiter=max(",;\t", key=first.count))
    rows = [row for row in rows if any(row)]
    while not any(cell.strip() for cell in rows[0]):
        rows.pop(0)
    rows = [[cell.strip() for cell in row] for row in rows]
    header = [re.sub("[^a-z]", "", cell.lower()) for cell in rows[0]]
    needed = {"kaggle_rle": ["imagelabel", "encodedpixels"], "list": ["image", "classes"]}
    needed.update(apart=["image", "label", "encodedpixels"], onehot=["image", "fish", "sugar"])
    if header != needed[kind]:
        return None
    said, content_of, wrong, unsure = {}, {}, set(), set()
    for row in rows[1:]:
        if kind in ("kaggle_rle", "apart"):
            mask = row[-1]
            if kind == "kaggle_rle":
                joined = row[0]
                name, _, class_name = joined.rpartition("_")
                if joined.count("_") > 1:  # Other classes and extensions say where it ends.
                    cuts = [i for i, c in enumerate(joined) if c == "_"]
                    unsure.update(plain(joined[:i]) for i in cuts)
                cells = mask
            else:
                name, class_name, _ = row
                cells = " ".join(mask.split()) in EMPTY_MASKS | NO_VALUE
            empty = mask.lower() in NO_VALUE or " ".join(mask.split()) in EMPTY_MASKS
            present = [[] if empty else [class_name]]
            key = class_name
            bad = not name or class_name.lower() in NO_VALUE
            if re.fullmatch(r"\d+ [1-9]\d*( \d+ [1-9]\d*)+", mask):
                unsure.add(plain(name))  # In no order: each run may count from the one before.
            bad = bad or (not empty and plain_reading(mask, 10**18) is None)
        elif kind == "onehot":
            used = [i for i in range(1, len(row)) if usable([r[i] for r in rows[1:]])]
            words = [row[i] for i in used]
            name, key, cells = row[0], "", words
            bad = not all(reading(rows, i, row[i]) is not None for i in used)
            present = [[rows[0][i] for i, w in zip(used, words) if reading(rows, i, w)]]
        else:
            name, key, cells = row[0], "", row[1:]
            bad, present = False, lists([r[1] for r in rows[1:]], row[1])
        name = plain(name)
        if content_of.setdefault((name, key), cells) != cells or bad:
            wrong.add(name)
        before = said.setdefault(name, [set()])
        said[name] = [old | set(new) for old in before for new in present]
    found = {name: sets for name, sets in said.items() if name not in wrong}
    return {**found, **dict.fromkeys(unsure)}


def plain(name):
    name = name.strip()
    return posixpath.normpath(name) if name else name


def usable(cells):
    """Whether a column says yes and no: in 0 and 1 for at least half, or in words all through."""
    words = [cell for cell in cells if cell.lower() not in NO_VALUE]
    numbers = [word for word in words if re.fullmatch(r"[+-]?0*[01]([.,]0*)?", word)]
    return bool(words) and (2 * len(numbers) >= len(words) or {w.lower() for w in words} == {"yes"})


def reading(rows, column, cell):
    """1, 0 or None for what a cell says."""
    if cell.lower() in NO_VALUE:
        return 0
    if re.fullmatch(r"\+?0*1([.,]0*)?", cell):
        return 1
    if re.fullmatch(r"[+-]?0+([.,]0*)?", cell):
        return 0
    words = {r[column].lower() for r in rows[1:]} - NO_VALUE
    return 1 if words == {"yes"} else None


def lists(cells, cell):
    """The ways to cut a cell: by what is in any of the cells, or by spaces or not at all."""
    for mark in "|;\n,":
        if any(mark in each for each in cells):
            parts = [part.strip() for part in cell.split(mark)]
            return [[part for part in parts if part]]
    if cell.lower() in NO_VALUE:
        return [[]]
    return [[cell], cell.split()]


def stays_inside(name):
    joined = posixpath.normpath(posixpath.join("/folder", name))
    return joined.startswith("/folder/") and "\0" not in name and "\\" not in name


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("tables")


@pytest.mark.parametrize(
    "kind", [pytest.param(k, marks=pytest.mark.parser(f"label CSV, {k}")) for k in KINDS]
)
def test_an_accepted_label_csv_says_what_its_rows_say(trial, folder, kind):
    path = folder / "labels.csv"
    options = Options("kaggle_rle" if kind == "apart" else kind)

    @fuzz(150)
    @given(inputs(kind))
    @example(b"")
    @example(b"\n\n \n")
    @example(b",,,\n,,,\n")
    @example(b"\xef\xbb\xbf")
    @example(b"\xff\xfea\0,\0b\0")
    @example(b'image,classes\n"a.jpg,A\n')
    @example(b"image,classes\n.,A\n")
    @example(b"image,classes\na.jpg/,A\na.jpg,B\n")
    @example(b"Image_Label,EncodedPixels\na.jpg_Fish,1 2\na.jpg_Fish,1 2\na.jpg_Fish,1 3\n")
    @example(b"Image_Label,EncodedPixels\na.jpg_Fish,1 2\n./a.jpg_,\n")
    @example(b"Image_Label,EncodedPixels\na.jpg_Fish,1 2\na.jpg _,\n")
    @example(b"Image_Label,EncodedPixels\na.jpg_fish,1 2\na.jpg_Fish,1 2\n")
    def property(content):
        path.write_bytes(content)
        table = trial.run(label_csv.read_labels, str(path), options)
        if table is None:
            return
        expected = by_hand(content, kind)
        dropped = {problem.file for problem in table.problems if problem.drops_image}
        found = {
            name: {c for c, value in zip(table.classes, row) if value}
            for name, row in zip(table.names, table.labels)
        }
        assert len(found) == len(table.names) and not dropped & found.keys()
        assert all(stays_inside(name) for name in found)
        for name in table.classes:
            labels.check_class(name)
        if expected is None:
            return
        for name, present in found.items():
            assert expected[name] is None or present in expected[name], name
        # Nothing is left out in silence.
        missing = expected.keys() - found.keys() - dropped
        missing = {name for name in missing if expected[name] is not None}
        assert not {name for name in missing if stays_inside(name) and name.isprintable()}

    property()


PREDICTIONS = b'Image,Fish,Sugar\na.jpg,0.5,1\n"b, c.jpg",1e-3,0.25\nd_e.jpg,0,1.0\n'


@pytest.mark.parser("prediction CSV")
def test_an_accepted_prediction_table_holds_the_numbers_in_its_cells(trial, folder):
    path = folder / "predictions.csv"
    cells = st.sampled_from(["0", "1", "0.5", "1e-300", "nan", "inf", "-0", "-1", "1.0001", "0_1"])
    rows = st.lists(st.tuples(NAMES, cells, cells | st.text(max_size=4)), max_size=6)
    numbers = st.floats(0, 1).map(repr)
    sound = st.lists(st.tuples(NAMES, numbers, numbers), max_size=6, unique_by=lambda row: row[0])

    def table(entries):
        file = io.StringIO()
        csv.writer(file).writerows([("Image", "Fish", "Sugar"), *entries])
        return file.getvalue().encode("utf-8", "surrogatepass")

    @fuzz(300)
    @given(st.one_of(rows.map(table), sound.map(table), damaged([PREDICTIONS]), st.binary()))
    @example(b"")
    @example(b"Image,A\n" + b"a\0b.jpg,1\n")
    @example(b"Image,A\na.jpg,\xd9\xa1\n")
    def property(content):
        path.write_bytes(content)
        result = trial.run(predictions.read, str(path))
        if result is None:
            return
        names, scores, class_names = result
        text = content.decode("utf-8-sig")
        header, *rows = [row for row in csv.reader(io.StringIO(text, newline="")) if row]
        assert header == ["Image", *class_names] and names == [row[0] for row in rows]
        assert scores.tolist() == [[float(cell) for cell in row[1:]] for row in rows]
        assert ((scores >= 0) & (scores <= 1)).all() and len(set(names)) == len(names)
        assert len(set(header)) == len(header)

    property()


SUBMISSION = b'Image_Label,EncodedPixels\na.jpg_Fish,1 2 5 6\na.jpg_Sugar,\n"b, c.jpg_Fish",7 1\n'


@pytest.mark.parser("submission CSV")
def test_a_cleaned_submission_is_the_old_one_with_the_right_masks_emptied(
    trial, folder, capsys, monkeypatch
):
    paths = {n: folder / f"{n}.csv" for n in ("submission", "predictions", "output")}
    paths["thresholds"] = folder / "thresholds.json"
    paths["predictions"].write_bytes(PREDICTIONS)
    entry = {"target": 0.9, "threshold": 0.4, "precision": 0.5, "recall": 0.95}
    each = {"recall": entry, "precision": entry}
    thresholds.write(str(paths["thresholds"]), {"Fish": each, "Sugar": each})
    config = PostprocessConfig(**{name: str(path) for name, path in paths.items()})
    pairs = st.sampled_from(
        [f"{i}_{c}" for i in ("a.jpg", "b, c.jpg", "d_e.jpg") for c in ("Fish", "Sugar")]
        + ["x.jpg_Fish", "a.jpg_fish", "a.jpg", "_Fish"]
    )
    rows = st.lists(st.tuples(pairs, MASKS | st.text(max_size=5)), max_size=7)
    scores = {("b, c.jpg", "Fish"): 0.001, ("b, c.jpg", "Sugar"): 0.25, ("d_e.jpg", "Fish"): 0.0}

    def table(entries):
        file = io.StringIO()
        csv.writer(file).writerows([("Image_Label", "EncodedPixels"), *entries])
        return file.getvalue().encode("utf-8", "surrogatepass")

    def cells(content):
        text = content.decode("utf-8-sig")
        return [row for row in csv.reader(io.StringIO(text, newline="")) if row]

    @fuzz(200)
    @given(st.one_of(rows.map(table), damaged([SUBMISSION]), st.binary(max_size=50)))
    @example(b"")
    @example(SUBMISSION + b"a.jpg_Fish\0,1 2\n")
    def property(content):
        paths["submission"].write_bytes(content)
        paths["output"].unlink(missing_ok=True)
        result = trial.run(postprocess, config)
        capsys.readouterr()
        assert (result is None) == (not paths["output"].exists())
        if result is None:
            return
        before, after = cells(content), cells(paths["output"].read_bytes())
        for (label, mask), (label_after, mask_after) in zip(before[1:], after[1:]):
            disbelieved = scores.get(tuple(label.rsplit("_", 1)), 1) < 0.4
            emptied = not rle.is_empty(mask) and disbelieved
            assert (label_after, mask_after) == (label, "" if emptied else mask)
        assert len(before) == len(after)
        assert len({label for label, _ in after}) == len(after)

    monkeypatch.setattr("shutil.get_terminal_size", lambda: type("Size", (), {"columns": 80}))
    property()


def test_the_tables_that_are_damaged_are_sound_to_begin_with(folder):
    for kind, content in SEEDS.items():
        (folder / "seed.csv").write_bytes(content)
        table = label_csv.read_labels(
            str(folder / "seed.csv"), Options("kaggle_rle" if kind == "apart" else kind)
        )
        assert len(table.names) >= 2 and not table.problems
    (folder / "seed.csv").write_bytes(PREDICTIONS)
    assert len(predictions.read(str(folder / "seed.csv"))[0]) == 3
    with pytest.raises(UserError):
        predictions.read(str(folder / "labels-that-are-not-there.csv"))
