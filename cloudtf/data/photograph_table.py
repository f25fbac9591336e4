"""What is known of photographs beside their labels: `photographs.csv`, a row a photograph.

    Image,split,group,site,date
    a.jpg,train,scene 7,Barbados,2019-05-01

A conversion writes it beside `dataset.json` where `group_column` or `keep_columns` asks for it.
Evaluations draw whole groups, and are divided by the columns that were kept.
"""

from __future__ import annotations

import collections
import dataclasses
from typing import Mapping, Optional, Sequence

from cloudtf import csv_files, files
from cloudtf.data import records
from cloudtf.data.labels import escaped
from cloudtf.errors import UserError
from cloudtf.reporter import report

NAME = "photographs.csv"
# The columns of the table that are its own.
OWN = IMAGE, SPLIT, GROUP = "Image", "split", "group"
_AGAIN = "the same `cloudtf convert` again writes it anew, and converts nothing."


@dataclasses.dataclass(frozen=True)
class Photographs:
    """What is known of the photographs of a set beside their labels.

    Attributes:
      splits: image name -> its split, for the photographs of `photographs.csv`.
      groups: image name -> its group by the group column, for those that have one.
      columns: kept column -> image name -> what is in its cell, which may be empty.
      near_duplicates: the names of photographs that are copies of one, group by group.

    >>> known = Photographs(groups={"b.jpg": "scene 1", "c.jpg": "scene 1"})
    >>> known.groups_of(["a.jpg", "b.jpg", "c.jpg"])
    ('a.jpg', 'b.jpg', 'b.jpg')
    """

    splits: Mapping[str, str] = dataclasses.field(default_factory=dict)
    groups: Mapping[str, str] = dataclasses.field(default_factory=dict)
    columns: Mapping[str, Mapping[str, str]] = dataclasses.field(default_factory=dict)
    near_duplicates: tuple[tuple[str, ...], ...] = ()

    @property
    def are_grouped(self) -> bool:
        """Whether some photographs of the set belong together."""
        return bool(self.groups or self.near_duplicates)

    def groups_of(self, names: Sequence[str]) -> tuple[str, ...]:
        """The group of each photograph: equal names are of photographs that belong together.

        Those do that are copies of one or have one group, also by way of others: where a copy of
        one has the group of the other. Any other photograph is a group of its own.

        Args:
          names: the names of the images.

        Returns:
          The name of an image of its group for each.
        """
        of_group = collections.defaultdict(list)
        for name, group in self.groups.items():
            of_group[group].append(name)
        leader: dict[str, str] = {}

        def find(name: str) -> str:
            while leader.get(name, name) != name:
                name = leader[name]
            return name

        for first, *others in (*self.near_duplicates, *of_group.values()):
            for name in others:
                leader[find(name)] = find(first)
        return tuple(map(find, names))

    def shared_groups(self, names: Sequence[str]) -> Optional[tuple[str, ...]]:
        """As `groups_of`; None where no two of the photographs belong together.

        Args:
          names: the names of the images.
        """
        groups = self.groups_of(names)
        return groups if len(set(groups)) < len(groups) else None

    def columns_of(self, names: Sequence[str]) -> dict[str, tuple[str, ...]]:
        """The cell of each photograph in each kept column; empty where nothing is known.

        Args:
          names: the names of the images.
        """
        return {
            column: tuple(cells.get(name, "") for name in names)
            for column, cells in self.columns.items()
        }


def text(
    names: Sequence[str],
    splits: Sequence[str],
    groups: Optional[Sequence[str]],
    columns: Mapping[str, Sequence[str]],
) -> str:
    """The content of `photographs.csv`.

    Args:
      names: the names of the N images.
      splits: the split of each.
      groups: the group of each, empty for none; None: there is no group column.
      columns: kept column -> a cell for each image; none is called as one of `OWN`.
    """
    table = {IMAGE: names, SPLIT: splits, **({} if groups is None else {GROUP: groups}), **columns}
    rows = [[escaped(cell) for cell in row] for row in zip(*table.values())]
    return csv_files.text([escaped(name) for name in table], rows)


def is_table(content: bytes) -> bool:
    """Whether a file begins as such a table does."""
    return content.startswith(f"{IMAGE},{SPLIT}".encode())


def is_there(data_dir: str) -> bool:
    """Whether a folder has such a table; another file of its name is none."""
    path = files.join(data_dir, NAME)
    return files.exists(path) and is_table(files.read_bytes(path))


def read(data_dir: str, manifest: records.Manifest) -> Photographs:
    """What is known of the photographs of a set.

    Args:
      data_dir: the folder of the records.
      manifest: the content of `dataset.json` in that folder.

    Raises:
      UserError: the table is damaged.
    """
    path = files.join(data_dir, NAME)
    copies = manifest.near_duplicates
    if not is_there(data_dir):
        if (manifest.settings or {}).get("group_column") is not None:
            report(
                f"Note: {data_dir} has no {NAME}, so its groups are not known; the same `cloudtf "
                "convert` again writes it, and converts nothing anew."
            )
        return Photographs(near_duplicates=copies)
    header, rows = csv_files.read(path)
    if len(set(header)) < len(header):
        raise UserError(f"{path} has two columns of one name; {_AGAIN}")
    cells = [row for _, row in rows]
    by_column = {name: {row[0]: row[number] for row in cells} for number, name in enumerate(header)}
    if len(by_column[IMAGE]) < len(cells):
        raise UserError(f"{path} has an image twice; {_AGAIN}")
    groups = {name: group for name, group in by_column.get(GROUP, {}).items() if group}
    kept = {name: column for name, column in by_column.items() if name not in OWN}
    return Photographs(by_column[SPLIT], groups, kept, copies)


def problem(data_dir: str, known: Photographs, splits: Mapping[str, str]) -> Optional[str]:
    """A sentence on what in the table is not as in the records; None if nothing is.

    Args:
      data_dir: the folder of the records.
      known: the table, and the groups, as `read` gives them.
      splits: image name -> its split, of the records that a conversion has made.
    """
    if not known.splits:
        return None
    for name, split in splits.items():
        if known.splits.get(name) != split:
            has = f"in the split {known.splits[name]}" if name in known.splits else "not at all"
            return (
                f"{files.join(data_dir, NAME)} has {name!r} {has}, and the records have it in "
                f"{split}; {_AGAIN}"
            )
    return None
