"""Which images a conversion takes, and which split each of them goes to."""

from __future__ import annotations

import collections
import dataclasses
import re
from typing import Optional, Sequence

import numpy as np

from cloudtf import files
from cloudtf.data import folders, label_csv, passed_over, sources, splits, tables, words
from cloudtf.data.convert_config import ConvertConfig
from cloudtf.data.image_names import ImageNames, ends_like_an_image
from cloudtf.data.labels import FOLDERS, LabelTable, Problem, classes_with
from cloudtf.data.layouts.facts import Options
from cloudtf.data.tables import Table
from cloudtf.errors import UserError, param
from cloudtf.reporter import report

# Problems that a sentence lists; the others are counted.
SHOWN = 5


def examples(config: ConvertConfig, labels: Optional[Table] = None) -> LabelTable:
    """The images to convert, by the names of their files, with labels and the problems so far.

    Args:
      config: the settings of the converter; the labels' are under `labels`.
      labels: a table of labels in memory; None: what the settings name.
    """
    assert config.images_dir is not None
    source, names = _labels_and_names(config, labels)
    said = config.images_dir if source is None else source.source
    if source is None:
        table = sources.unlabelled(config.images_dir, config.follow_links)
    else:
        by_folders = labels is None and config.labels_csv is None
        read = label_csv.read_labels(source, _options(config, by_folders), names)
        if by_folders and not config.classes:
            folders.check_classes(config.images_dir, read.classes)
        report("\n".join(read.account))
        table = _photographs(config, config.images_dir, source, read, names, by_folders)
        if by_folders:
            found = sources.listing(config.images_dir, follow_links=config.follow_links)
            others = passed_over.phrase(found, are_classes=True)
            if others:
                report(f"Passed over in {config.images_dir}: {others}.")
        _check_differences(config, table, by_folders)
    if config.split_column is not None:
        table = _check_split_names(table, config.split_column, said)
    _report_problems(config, table, said)
    if source is not None and not config.classes:
        _check_classes(source.source, read, table)
    if config.max_examples is not None and config.max_examples < len(table.names):
        random = np.random.default_rng((config.seed, 1))
        chosen = random.choice(len(table.names), config.max_examples, replace=False)
        table = table.take(np.sort(chosen))
    return table


def is_unlabelled(config: ConvertConfig) -> bool:
    """Whether nothing named in the settings, nor a folder for each class, gives labels."""
    return _labels_and_names(config, None)[0] is None


def _labels_and_names(
    config: ConvertConfig, labels: Optional[Table]
) -> tuple[Optional[Table], ImageNames]:
    """The table of labels, if there is one, and the names of the files."""
    assert config.images_dir is not None
    if labels is None and config.labels_csv is not None:
        labels = tables.from_file(config.labels_csv, config.labels_encoding, config.column_names)
    if labels is None and config.label_format != FOLDERS and not config.label_columns:
        top = files.list_dir(config.images_dir)
        beside = list(filter(sources.is_image_name, top))
        if beside:
            folders.check_beside(config.images_dir, beside, config.follow_links)
            return None, ImageNames(top)
    names = sources.image_names(config.images_dir, config.image_suffix, config.follow_links)
    if labels is None and (
        config.label_format == FOLDERS or any(map(sources.is_image_name, names.names))
    ):
        labels = folders.table(config.images_dir, names)
    return labels, names


def _options(config: ConvertConfig, by_folders: bool) -> Options:
    columns = (config.split_column, config.group_column)
    return Options(
        label_format="rows" if by_folders else config.label_format,
        classes=config.classes,
        columns=tuple(column for column in columns if column is not None),
        kept=config.keep_columns,
        image_column=config.image_column,
        label_columns=config.label_columns,
        label_separator="none" if by_folders else config.label_separator,
        ignore_columns=config.ignore_columns,
        uncertain=config.uncertain,
        blank=config.blank,
        class_characters=config.class_characters,
        present_words=config.present_words,
        absent_words=config.absent_words,
    )


def _photographs(
    config: ConvertConfig,
    images_dir: str,
    source: Table,
    read: LabelTable,
    names: ImageNames,
    by_folders: bool,
) -> LabelTable:
    """The table with the photographs that are there; says what became of the others."""
    if by_folders:  # Of which messages need not say the rows.
        read = dataclasses.replace(read, rows=np.zeros_like(read.rows))
    table, unnamed, moved = sources.labelled(images_dir, read, names, config.follow_links)
    if moved:
        name, file = next(iter(moved.items()))
        report(f"Found {len(moved)} images under another name, such as {file!r} for {name!r}.")
    if not unnamed:
        return table
    if by_folders:  # What has no row is the same photograph as one that has.
        few = "1 copy of a photograph adds its folder's class"
        many = f"{len(unnamed):,} copies of photographs add their folders' classes"
        report(f"{few if len(unnamed) == 1 else many}, such as {unnamed[0]!r}.")
        return table
    shown = ", ".join(map(repr, unnamed[:SHOWN]))
    more = f" and {len(unnamed) - SHOWN} more" if len(unnamed) > SHOWN else ""
    what = (
        f"{len(unnamed)} images in {images_dir} that {source.source} does not name: {shown}{more}"
    )
    if config.unlisted == "absent":
        report(f"Took {what}; they have none of the classes.")
        return sources.with_unnamed(images_dir, table, unnamed, config.follow_links)
    hint = param(unlisted="absent")
    report(f"Left out {what}. If they have none of the classes, take them with {hint}.")
    return table


def _check_differences(config: ConvertConfig, table: LabelTable, by_folders: bool) -> None:
    """Says that all images have the same labels; refuses a single folder, and no class at all."""
    labels = table.labels
    if len(labels) < 2 or config.classes or not (labels == labels[0]).all():
        return
    classes = ", ".join(classes_with(1, labels[0], table.classes)) or "none of the classes"
    if not (labels[0] == 1).any() and not (labels[0] == -1).any():
        raise UserError(
            f"All {len(labels):,} images have none of the classes "
            f"{', '.join(table.classes)[:200]}; is it a sample of a submission? Give the labels as "
            f"{param('labels_csv')}."
        )
    if by_folders and len(table.classes) == 1:
        raise UserError(
            f"All {len(labels):,} photographs of {config.images_dir} are in one folder of a class, "
            f"{classes}, so that there is nothing to tell apart: put those without it into another "
            f"folder beside it, or give the classes in a table with {param('labels_csv')}."
        )
    hint = ""
    if config.labels_csv is not None and not config.label_columns:
        hint = f" If another column says the classes, name it with {param('label_columns')}."
    report(
        f"All {len(labels):,} images have the same labels ({classes}): nothing to tell apart.{hint}"
    )


def _check_classes(labels_csv: str, read: LabelTable, table: LabelTable) -> None:
    """Refuses a class that only images left out of `read` show: mostly it is a slip of the pen."""
    lost = (read.labels == 1).any(axis=0) & ~(table.labels == 1).any(axis=0)
    if lost.any():
        number = int(lost.argmax())
        first = int((read.labels[:, number] == 1).argmax())
        raise UserError(
            f"{labels_csv} row {read.rows[first]} ({read.names[first]!r}) names the class "
            f"{read.classes[number]!r}, which only rows of images that are left out name; correct "
            f"them, or list the classes with {param('classes')}."
        )


def _check_split_names(table: LabelTable, column: str, source: str) -> LabelTable:
    texts = words.splits(column, table.columns[column])
    table = dataclasses.replace(table, columns={**table.columns, column: texts})
    problems, keep = list(table.problems), []
    for index, split in enumerate(texts):
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
                f"{source} has the splits {other!r} and {split!r}, which differ only in "
                "case; give them one name or two."
            )
    return dataclasses.replace(table.take(keep), problems=tuple(problems))


def _report_problems(config: ConvertConfig, table: LabelTable, source: str) -> None:
    """Refuses a table with problems, or says which are skipped."""
    # Within a sentence: "the folder photographs".
    within = source[0].lower() + source[1:] if source.startswith("The ") else source
    if table.problems:
        shown = [f"{problem.file!r}: {problem.reason}" for problem in table.problems[:SHOWN]]
        more = len(table.problems) - len(shown)
        listed = "; ".join(shown) + (f"; and {more} more" if more > 0 else "")
        count = f"{len(table.problems)} problem{'s' if len(table.problems) > 1 else ''}"
        if config.on_error == "fail":
            hint = ""
            named = table.names or any(ends_like_an_image(p.file) for p in table.problems)
            if not (named or config.image_column):
                other = param("image_column")
                hint = f"; if another column names the images, give it as {other}"
            raise UserError(
                f"{source} has {count}: {listed}. Correct them, or leave these rows and images out "
                f"with {param(on_error='skip')}{hint}."
            )
        report(f"Skipped {count} of {within}: {listed}.")
    if not table.names:
        raise UserError(f"No image of {within} can be used.")


def divide(
    config: ConvertConfig, table: LabelTable, together: Sequence[Sequence[int]] = ()
) -> dict[str, np.ndarray]:
    """Indices of the examples of each split, in the order in which they are stored.

    Args:
      config: the settings of the converter; the splits' are under `splits`.
      table: the images and their labels.
      together: groups of indices, each of which stays in one split, unless a column of the table
        decides the splits.
    """
    everything = np.arange(len(table.names))
    if not table.classes:
        return {"test": everything}
    if config.split_column is not None:
        column = np.array(table.columns[config.split_column])
        parts = {str(name): everything[column == name] for name in np.unique(column)}
    else:
        names = [f"fold{i}" for i in range(config.folds)] or ["train", "val"]
        part = _parts(config, table, together)
        parts = {name: everything[part == i] for i, name in enumerate(names)}
        if not config.folds and config.val_fraction == 0:
            del parts["val"]
        for name, indices in parts.items():
            if not len(indices):
                raise UserError(
                    f"{len(everything)} images are too few for the split {name}; give more, or "
                    f"{param(val_fraction=0)}."
                )
    # Shuffled, so that every shard is a fair sample and a small shuffle buffer suffices.
    return {
        name: np.random.default_rng((config.seed, 2, order)).permutation(indices)
        for order, (name, indices) in enumerate(parts.items())
    }


def groups_divided(config: ConvertConfig, table: LabelTable) -> list[str]:
    """A sentence on the groups that are in several splits, if the column of the splits has it so.

    Args:
      config: the settings of the converter, which name the columns.
      table: the images and their labels.
    """
    if config.split_column is None or config.group_column is None:
        return []
    splits_of = collections.defaultdict(set)
    for group, split in zip(
        *(table.columns[c] for c in (config.group_column, config.split_column))
    ):
        splits_of[group].add(split)
    divided = sorted(group for group, names in splits_of.items() if group and len(names) > 1)
    if not divided:
        return []
    first, second = sorted(splits_of[divided[0]])[:2]
    many = "A group is" if len(divided) == 1 else f"{len(divided):,} groups are"
    return [
        f"{many} in several splits: {divided[0][:60]!r} in {first} and {second}"
        f"{', for one' * (len(divided) > 1)}. Scores there say less of new photographs than they "
        "seem to."
    ]


def _parts(
    config: ConvertConfig, table: LabelTable, together: Sequence[Sequence[int]]
) -> np.ndarray:
    part = _parts_of_labels(config, table, table.columns.get(config.group_column or ""))
    if all(len(set(part[list(group)])) == 1 for group in together):
        return part
    sizes = np.bincount(part)
    if config.group_column is None:
        if len(table.names) - sum(len(group) - 1 for group in together) < len(sizes):
            return part  # So few photographs are different that a split would have none.
        return splits.one_by_one(table.labels, sizes, config.seed, together)
    groups = splits.joined(table.columns[config.group_column], together)
    if len(set(groups)) < len(sizes):
        return part
    return _parts_of_labels(config, table, groups)


def _parts_of_labels(
    config: ConvertConfig, table: LabelTable, groups: Optional[Sequence[str]]
) -> np.ndarray:
    labels, val = table.labels, config.val_fraction
    if groups is not None:
        if not config.folds and val == 0:
            return np.zeros(len(labels), np.int64)
        shares = [1 / config.folds] * config.folds if config.folds else [1 - val, val]
        return splits.grouped(labels, groups, shares, config.seed)
    if config.folds:
        part = splits.stratified_folds(labels, config.folds, config.seed)
    else:
        part = splits.stratified_fraction(labels, val, config.seed).astype(np.int64)
    if splits.is_balanced(labels, part):
        return part
    return splits.one_by_one(labels, np.bincount(part), config.seed)
