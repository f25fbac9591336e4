"""Which images a conversion takes, and which split each of them goes to."""

from __future__ import annotations

import dataclasses
import re

import numpy as np

from cloudtf.data import label_csv, sources, splits
from cloudtf.data.convert_config import ConvertConfig
from cloudtf.data.labels import LabelTable, Problem
from cloudtf.errors import UserError

# So many problems are told of in a sentence, with the count of the others.
SHOWN = 5


def examples(config: ConvertConfig) -> LabelTable:
    """The images to convert, by the names of their files, with labels and the problems so far."""
    assert config.images_dir is not None
    if config.labels_csv is None:
        table = sources.unlabelled(config.images_dir)
    else:
        read = label_csv.read_labels(
            config.labels_csv,
            config.label_format,
            config.classes,
            tuple(c for c in (config.split_column, config.group_column) if c is not None),
        )
        table, unnamed = sources.labelled(config.images_dir, read)
        if unnamed:
            more = f" and {len(unnamed) - SHOWN} more" if len(unnamed) > SHOWN else ""
            print(
                f"Left out {len(unnamed)} images in {config.images_dir} that {config.labels_csv} "
                f"does not name: {', '.join(map(repr, unnamed[:SHOWN]))}{more}."
            )
    if config.split_column is not None:
        table = _check_split_names(config, table, config.split_column)
    _report(config, table)
    if config.labels_csv is not None and not config.classes:
        _check_classes(config.labels_csv, read, table)
    if config.max_examples is not None and config.max_examples < len(table.names):
        random = np.random.default_rng((config.seed, 1))
        chosen = random.choice(len(table.names), config.max_examples, replace=False)
        table = table.take(np.sort(chosen))
    return table


def _check_classes(labels_csv: str, read: LabelTable, table: LabelTable) -> None:
    """Refuses a class that only images left out of `read` show: mostly it is a slip of the pen."""
    lost = read.labels.any(axis=0) & ~table.labels.any(axis=0)
    if lost.any():
        number = int(lost.argmax())
        first = int(read.labels[:, number].argmax())
        raise UserError(
            f"{labels_csv} row {read.rows[first]} ({read.names[first]!r}) names the class "
            f"{read.classes[number]!r}, which only rows of images that are left out name; mend "
            "them, or list the classes with --classes."
        )


def _check_split_names(config: ConvertConfig, table: LabelTable, column: str) -> LabelTable:
    problems, keep = list(table.problems), []
    for index, split in enumerate(table.columns[column]):
        if re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_]{0,50}", split):
            keep.append(index)
        else:
            reason = f"row {table.rows[index]} has {split[:60]!r} as the name of a split"
            problems.append(
                Problem(table.names[index], f"{reason}, which takes letters, digits and _ only")
            )
    spelt: dict[str, str] = {}
    for split in sorted({table.columns[column][index] for index in keep}):
        other = spelt.setdefault(split.casefold(), split)
        if other != split:
            # Their shards would be the same files on a disk that ignores case.
            raise UserError(
                f"{config.labels_csv} has the splits {other!r} and {split!r}, which differ only in "
                "case; give them one name or two."
            )
    return dataclasses.replace(table.take(keep), problems=tuple(problems))


def _report(config: ConvertConfig, table: LabelTable) -> None:
    """Refuses a table with problems, or says which are skipped."""
    if table.problems:
        source = config.labels_csv or config.images_dir
        shown = [f"{problem.file!r}: {problem.reason}" for problem in table.problems[:SHOWN]]
        more = len(table.problems) - len(shown)
        listed = "; ".join(shown) + (f"; and {more} more" if more > 0 else "")
        count = f"{len(table.problems)} problem{'s' if len(table.problems) > 1 else ''}"
        if config.on_error == "fail":
            raise UserError(
                f"{source} has {count}: {listed}. Mend them, or leave these rows and images out "
                "with --on_error=skip."
            )
        print(f"Skipped {count} of {source}: {listed}.")
    if not table.names:
        raise UserError(f"No image of {config.labels_csv or config.images_dir} can be used.")


def divide(config: ConvertConfig, table: LabelTable) -> dict[str, np.ndarray]:
    """Indices of the examples of each split, in the order in which they are stored."""
    everything = np.arange(len(table.names))
    if config.labels_csv is None:
        return {"test": everything}
    if config.split_column is not None:
        column = np.array(table.columns[config.split_column])
        parts = {str(name): everything[column == name] for name in np.unique(column)}
    else:
        names = [f"fold{i}" for i in range(config.folds)] or ["train", "val"]
        part = _parts(config, table)
        parts = {name: everything[part == i] for i, name in enumerate(names)}
        if not config.folds and config.val_fraction == 0:
            del parts["val"]
        for name, indices in parts.items():
            if not len(indices):
                raise UserError(
                    f"{len(everything)} images are too few for the split {name}; give more, or "
                    "--val_fraction=0."
                )
    # Shuffled, so that every shard is a fair sample and a small shuffle buffer suffices.
    return {
        name: np.random.default_rng((config.seed, 2, order)).permutation(indices)
        for order, (name, indices) in enumerate(parts.items())
    }


def _parts(config: ConvertConfig, table: LabelTable) -> np.ndarray:
    labels, val = table.labels, config.val_fraction
    if config.group_column is not None:
        if not config.folds and val == 0:
            return np.zeros(len(labels), np.int64)
        shares = [1 / config.folds] * config.folds if config.folds else [1 - val, val]
        groups = table.columns[config.group_column]
        return splits.grouped(labels, groups, shares, config.seed)
    if config.folds:
        return splits.stratified_folds(labels, config.folds, config.seed)
    return splits.stratified_fraction(labels, val, config.seed).astype(np.int64)
