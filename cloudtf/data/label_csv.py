"""Label tables to one multi-hot table, in three steps: the table, its layout, its labels.

    Image_Label,EncodedPixels      image,Fish,Flower      image,classes      image,label
    a.jpg_Fish,1 5 20 7            a.jpg,1,0              a.jpg,Fish|Flower  a.jpg,Fish
    a.jpg_Flower,                  b.jpg,0,0              b.jpg,             a.jpg,Flower

docs/LABELS.md shows all kinds. Rows are taken one at a time and not kept, masks least of all: what
stays of a row is a few numbers.
"""

from __future__ import annotations

import dataclasses
from typing import Optional, Union

from cloudtf.data import label_rows, tables
from cloudtf.data.image_names import ImageNames
from cloudtf.data.label_builder import MAX_CLASSES, TableBuilder
from cloudtf.data.labels import LabelTable
from cloudtf.data.layouts import masks
from cloudtf.data.layouts.account import account
from cloudtf.data.layouts.facts import Options
from cloudtf.data.layouts.recognise import recognise
from cloudtf.data.layouts.survey import survey
from cloudtf.data.tables import Table
from cloudtf.errors import UserError

NOTHING_SAID = Options()
# A column for each class, and others beside them.
_MAX_COLUMNS = 2 * MAX_CLASSES


def read_labels(
    source: Union[str, Table],
    options: Options = NOTHING_SAID,
    names: Optional[ImageNames] = None,
) -> LabelTable:
    """Reads the labels of a set.

    Args:
      source: a table, or the path of a CSV or of JSON lines.
      options: what the user says of the table; all of it may be left to the table.
      names: the image files that are there, by which the column of the images and the ends of
        `IMAGE_CLASS` are recognised; None: not known.

    Raises:
      UserError: the table as a whole cannot be used. Problems of single rows are in the result.
      UsageError: the options do not fit the columns.
    """
    table = tables.from_file(source) if isinstance(source, str) else source
    if options.image_column is not None:
        table = tables.with_joined(table, options.image_column)
    if len(table.header) > _MAX_COLUMNS:
        raise UserError(
            f"{table.source} has {len(table.header):,} columns, more than any label table; is it "
            "the right file?"
        )
    columns = survey(table, options.said)
    if masks.are_of_classes(columns, options):
        table = tables.melted(table, options.label_columns, masks.CLASS, masks.MASK)
        columns = survey(table, options.said)
        options = dataclasses.replace(
            options,
            label_format="kaggle_rle",
            label_columns=(masks.CLASS,),
            classes=options.classes or options.label_columns,
        )
    layout = recognise(table.source, columns, names, options)
    builder = TableBuilder(table, options, names)
    label_rows.parse(builder, layout, columns)
    read = builder.table()
    return dataclasses.replace(read, account=account(columns, layout, options, builder, read))
