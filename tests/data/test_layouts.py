"""Label tables as they come: read as their authors meant, or refused with what mends it."""

import pytest

from cloudtf.data import label_csv, sources, tables
from cloudtf.data.labels import combination
from cloudtf.data.layouts.facts import Options
from cloudtf.errors import UserError
from tests.data import layouts, public_layouts, tool_layouts

ALL = [*layouts.ALL, *public_layouts.ALL, *tool_layouts.ALL]


def read(folder, layout, options):
    """What a table says of the files of a folder: file -> classes."""
    path = folder / f"labels.{layout.extension}"
    content = layout.text
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    for name in layout.files:
        (folder / "images" / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / "images" / name).write_bytes(b"not looked into")
    options = dict(options)
    encoding, suffix = options.pop("labels_encoding", None), options.pop("image_suffix", "")
    header = options.pop("column_names", ())
    images = str(folder / "images")
    names = sources.image_names(images, suffix)
    table = label_csv.read_labels(
        tables.from_file(str(path), encoding, header), Options(**options), names
    )
    table = sources.labelled(images, table, names).table
    if table.problems:  # As the converter does.
        raise UserError("; ".join(f"{p.file!r}: {p.reason}" for p in table.problems) + ".")
    return {
        name: set(combination(row, table.classes).split("|")) - {""}
        for name, row in zip(table.names, table.labels)
    }


def as_sets(right):
    return {name: set(classes.split("|")) - {""} for name, classes in right.items()}


@pytest.mark.parametrize("layout", ALL, ids=lambda layout: layout.name)
def test_a_table_is_read_as_its_author_meant_or_refused(layout, tmp_path):
    if isinstance(layout.right, dict):
        assert read(tmp_path, layout, layout.options) == as_sets(layout.right)
        return
    with pytest.raises(UserError, match=layout.right) as raised:
        read(tmp_path, layout, layout.options)
    sentence = str(raised.value)
    assert "\n" not in sentence and sentence.endswith(".")


@pytest.mark.parametrize(
    "layout", [each for each in ALL if each.settled[0]], ids=lambda layout: layout.name
)
def test_what_is_refused_is_read_with_the_setting_that_the_sentence_names(layout, tmp_path):
    options, right = layout.settled
    assert read(tmp_path, layout, options) == as_sets(right)
    with pytest.raises(UserError) as raised:
        read(tmp_path, layout, layout.options)
    assert any(name in str(raised.value) for name in options)
