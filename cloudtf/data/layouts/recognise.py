"""What kind of label table it is: which column names the images, which say the classes, and how.

Every kind that a table may be is a `Candidate` with a score. The best is taken; where two are as
good, or none will do, the table is refused, and the sentence names the setting that decides.
"""

from __future__ import annotations

from typing import Optional

from cloudtf.data import words
from cloudtf.data.image_names import ImageNames
from cloudtf.data.labels import UNKNOWN
from cloudtf.data.layouts import masks, names_of_classes, yes_and_no
from cloudtf.data.layouts.facts import VALUES, Facts, Layout, Options, listed
from cloudtf.data.layouts.image_column import check_header, image_column, is_joined
from cloudtf.data.layouts.survey import Column, is_index
from cloudtf.errors import UsageError, param

# Two candidates this close are as good.
_MARGIN = 10
_OF_FORMAT = {
    "kaggle_rle": masks.candidate,
    "long": yes_and_no.long,
    "onehot": yes_and_no.onehot,
    "list": names_of_classes.candidate,
    "rows": names_of_classes.candidate,
}


def recognise(
    source: str, columns: list[Column], names: Optional[ImageNames], options: Options
) -> Layout:
    """Decides how a table is to be read.

    Args:
      source: what messages call the table: its path, mostly.
      columns: what the cells of each column are like, from `survey`.
      names: the image files that are there; None: not known.
      options: the user's settings for label tables.

    Raises:
      UserError: two readings are possible; the sentence names the setting that decides.
      UsageError: a setting names a column that is not there.
    """
    facts = _facts(source, columns, names, options)
    makers = [_OF_FORMAT[options.label_format]] if options.label_format != "auto" else [
        masks.candidate,
        yes_and_no.long,
        yes_and_no.onehot,
        names_of_classes.candidate,
    ]  # fmt: skip
    found = [candidate for candidate in (make(facts) for make in makers) if candidate is not None]
    found.sort(key=lambda candidate: -candidate.score)
    if not found:
        yes_and_no.check_signs(facts)
        raise facts.unclear(f"has no column that says classes: {listed(columns)}")
    if len(found) > 1 and found[0].score - found[1].score < _MARGIN:
        raise facts.unclear(
            f"has classes in {listed(found[0].columns[:5])} and also in "
            f"{listed(found[1].columns[:5])}; leave the others out with {param('ignore_columns')}, "
            "or"
        )
    layout = found[0].build()
    if VALUES[options.blank] == UNKNOWN and not layout.families:
        raise UsageError(
            f"{param(blank='unknown')} is for columns of yes and no, of which {source} has none."
        )
    return layout


def _facts(
    source: str, columns: list[Column], names: Optional[ImageNames], options: Options
) -> Facts:
    known = {column.name for column in columns}
    wanted = {
        "image_column": () if options.image_column is None else (options.image_column,),
        "label_columns": options.label_columns,
        "ignore_columns": options.ignore_columns,
        "keep_columns": options.kept,
        "": options.columns,
    }
    for setting, names_wanted in wanted.items():
        for name in names_wanted:
            if name not in known:
                said = f" ({param(setting)})" if setting else ""
                has = ", ".join(column.name for column in columns)[:400]
                raise UsageError(f"{source} has no column {name!r}{said}; it has {has}.")
    left_out = {*options.further_columns, *options.ignore_columns}
    usable = [column for column in columns if column.name not in left_out]
    image = image_column(source, usable, names, options.image_column, options.label_columns)
    if options.image_column is None:
        check_header(source, columns, image, names)
    usable = [column for column in usable if column is not image and not _says_nothing(column)]
    content = usable
    if options.label_columns:
        content = [column for column in usable if column.name in options.label_columns]
    return Facts(source, columns, usable, content, image, is_joined(image, names), options)


def _says_nothing(column: Column) -> bool:
    """Whether a column is pandas' index, or what a delimiter at the end of all rows gives."""
    if words.plain(column.name) not in ("", "unnamed0", "index"):
        return False
    return is_index(column) or not column.values
