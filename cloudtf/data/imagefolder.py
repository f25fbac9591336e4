"""The table that lies among the photographs: Hugging Face's metadata.csv or .jsonl, Roboflow's.

One of its columns names each photograph relative to the table's folder, which is that of the
photographs, or one of several below it with the name of a split (`train`, `validation`, ...).
"""

from __future__ import annotations

from typing import Any, Optional

from cloudtf import files
from cloudtf.data import tables
from cloudtf.data.convert_config import ConvertConfig
from cloudtf.data.folders import SPLITS
from cloudtf.data.labels import FOLDERS
from cloudtf.data.tables import Table

# The files, and the column of the photographs in each.
_TABLES = {
    "metadata.parquet": "file_name",  # Which is refused by what it is.
    "metadata.csv": "file_name",
    "metadata.jsonl": "file_name",
    "_classes.csv": "filename",
    "_annotations.csv": "filename",
    "_annotations.coco.json": "image",
}
_SPLIT = "split"


def of_settings(config: ConvertConfig) -> Optional[Table]:
    """The table of the photographs of a conversion, unless its settings say where labels are."""
    if config.labels_csv is not None or config.label_format == FOLDERS:
        return None
    assert config.images_dir is not None
    return table(config.images_dir, config.labels_encoding)


def table(images_dir: str, encoding: Optional[str] = None) -> Optional[Table]:
    """The table of a folder of photographs; None where there is none.

    Args:
      images_dir: the folder of the photographs, local or remote.
      encoding: the name of the tables' codec; None: as the byte-order mark says, else UTF-8.

    Raises:
      UserError: the folder cannot be listed, or a table of such a name cannot be read.
    """
    top = files.list_dir(images_dir)
    found = {}
    for name in _TABLES:
        if name in top:
            found[""] = name
    if not found:
        for folder in sorted(name for name in top if name.lower() in SPLITS):
            path = files.join(images_dir, folder)
            found.update((folder, n) for n in _TABLES if files.exists(files.join(path, n)))
    read = {
        folder: tables.from_file(files.join(images_dir, *folder.split("/"), name), encoding)
        for folder, name in found.items()
    }
    read = {folder: one for folder, one in read.items() if _image(found[folder], one)}
    if not read:
        return None
    if list(read) == [""]:
        return read[""]
    return _joined(
        images_dir, {folder: (one, _image(found[folder], one)) for folder, one in read.items()}
    )


def _image(name: str, one: Table) -> str:
    """The column of the photographs, also image_file_name and the like; empty if there is none."""
    wanted = _TABLES[name]
    ends = [c for c in one.header if wanted == "file_name" and c.endswith("_file_name")]
    return wanted if wanted in one.header else ends[0] if len(ends) == 1 else ""


def _joined(images_dir: str, read: dict[str, tuple[Table, str]]) -> Table:
    """The tables of several folders as one, with a column of the folders' names."""
    header = list(dict.fromkeys(name for one, _ in read.values() for name in one.header))
    header = [*header, *[_SPLIT] * (_SPLIT not in header)]
    rows: list[list[Any]] = []
    for folder, (one, image) in read.items():
        for _, cells in one.rows():
            row = dict(zip(one.header, cells))
            row[image] = f"{folder}/{row[image]}"
            row.setdefault(_SPLIT, folder)
            rows.append([row.get(name, "") for name in header])
    return tables.from_rows(f"The metadata in {images_dir}", header, rows)
