"""Labels in a pandas DataFrame, read like the CSV that would hold them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from cloudtf.data import tables
from cloudtf.errors import UserError, param

if TYPE_CHECKING:
    import pandas as pd

# What messages call the table: the name of the parameter.
SOURCE = "labels"


def table(labels: pd.DataFrame) -> tables.Table:
    """The table of a frame, whose rows messages count from 0, as `iloc` does.

    An index that has a name, or holds text, is a column too: often the images are there. Cells may
    be text, numbers, truth values, lists of classes, or missing.

    >>> import pandas as pd
    >>> frame = pd.DataFrame({"Fish": [1, 0]}, index=pd.Index(["a.jpg", "b.jpg"], name="image"))
    >>> read = table(frame)
    >>> read.header, list(read.rows())
    (['image', 'Fish'], [(0, ['a.jpg', '1']), (1, ['b.jpg', '0'])])

    Raises:
      UserError: it is no DataFrame, or its columns cannot be told apart.
    """
    if not hasattr(labels, "itertuples"):
        raise UserError(
            f"labels must be a pandas DataFrame, not {type(labels).__name__}; make one of it, or "
            f"give the path of a CSV as {param('labels_csv')}."
        )
    if any(name is not None for name in labels.index.names) or labels.index.dtype.kind == "O":
        labels = labels.reset_index()
    # Each dtype has its own mark for what is missing.
    cells: Any = labels.astype(object).where(labels.notna(), None)
    rows = cells.itertuples(index=False, name=None)
    return tables.from_rows(SOURCE, list(labels.columns), rows, range(len(labels)))
