"""The converter: photographs and a label CSV to TFRecord shards and `dataset.json`.

The CSV gives a table of labels (`selection.examples`), the table gives splits (`selection.divide`),
each split a plan of shards (`shards.plan`); then threads turn image bytes into record bytes
(`recipe.make_record`, a pure function), and the shards are written in order. The same inputs and
settings give the same bytes, whatever the number of threads and however often the conversion was
interrupted. Threads suffice: decoding, resizing and encoding all release Python's lock.
"""

from __future__ import annotations

import collections
import dataclasses
import hashlib
import json
import os
from typing import TYPE_CHECKING, Any, Callable, Optional, Sequence

import numpy as np

from cloudtf import bars, files, machine, settings
from cloudtf.data import (
    copies,
    first_look,
    imagefolder,
    label_frame,
    masks,
    photograph_table,
    records,
    selection,
    shards,
    summary,
    tasks,
)
from cloudtf.data.convert_config import ConvertConfig
from cloudtf.data.labels import FOLDERS, UNKNOWN, LabelTable, combination, escaped
from cloudtf.data.progress import PHOTOGRAPHS, UNNOTED_DEFAULTS, Journal, is_shard
from cloudtf.data.recipe import Recipe, one_thread_an_image
from cloudtf.errors import UsageError, UserError, param
from cloudtf.locks import FolderLock
from cloudtf.reporter import report

if TYPE_CHECKING:
    import pandas as pd


def convert(config: ConvertConfig, labels: Optional[pd.DataFrame] = None) -> records.Manifest:
    """Makes a set of records, or finishes one whose conversion was interrupted.

    Reports what was made; a progress bar goes to stderr. With `config.verify` and no images, only
    checks the set that is in `config.output_dir`.

    >>> manifest = cloudtf.convert(
    ...     cloudtf.ConvertConfig(
    ...         labels_csv="photographs/labels.csv",
    ...         images_dir="photographs/images",
    ...         output_dir="converted",
    ...         image_height=64,
    ...         image_width=64,
    ...     )
    ... )
    photographs/labels.csv is read as:
      kind      a column of yes and no for each class
      image     Image
      classes   Fish, Flower, Gravel, Sugar
      row 2     photo_00.jpg: (none)
      row 3     photo_01.jpg: Fish
      row 4     photo_02.jpg: Flower
    split       examples  shards       MB
    train             48       6      0.1
    val               12       1      0.0
    class         train      val
    Fish ...
    >>> manifest.classes
    ('Fish', 'Flower', 'Gravel', 'Sugar')
    >>> manifest.splits["train"].shards[0].name
    'train-00000-of-00006.tfrecord'

    Args:
      config: the settings of the conversion.
      labels: the labels as a pandas DataFrame with the columns of a label CSV, in place of
        `config.labels_csv`. Messages count its rows from 0.

    Returns:
      The content of `dataset.json`.

    Raises:
      UserError: bad rows or images (unless they are skipped), a folder that holds another set or in
        which another conversion is at work, a disk that is full.
    """
    if config.images_dir is None:
        return _verify(config)
    if labels is not None:
        _check_one_source(config)
    given = imagefolder.of_settings(config) if labels is None else label_frame.table(labels)
    _check_inputs(config, given is not None)
    write = _beam_writer(config) if config.engine == "beam" else _write
    table = selection.examples(config, given)
    before_copies = _plans(config, table)
    files.make_dirs(config.output_dir)
    with FolderLock(config.output_dir, "conversion", "output_dir", keep=False):
        # Of a set that is there it is known which photographs are copies.
        groups = None if config.overwrite else copies.known(config.output_dir, table.names)
        plans = before_copies
        if groups and config.near_duplicates == "together":
            plans = _plans(config, table, groups)
        common = _settings(config, table, before_copies, plans)
        journal = Journal(config.output_dir, common, config.overwrite)
        if journal.complete:
            report(
                f"{config.output_dir} is complete already; {param(overwrite=True)} makes it anew."
            )
            manifest = records.read_manifest(config.output_dir)
            _keep_columns(config, table, plans, journal)
        else:
            manifest = _make(config, table, plans, groups, journal, write)
    report("\n".join(summary.tables(manifest)))
    notes = [*selection.groups_divided(config, table), *summary.classes_missing(manifest)]
    for note in notes:
        report(note)
    return _verify(config) if config.verify else manifest


def _make(
    config: ConvertConfig,
    table: LabelTable,
    plans: list[shards.ShardPlan],
    groups: Optional[list[list[int]]],
    journal: Journal,
    write: Callable[..., None],
) -> records.Manifest:
    """Makes what is not in place yet, and says that all is.

    Args:
      config: the settings of the conversion.
      table: the photographs, which all indices stand for.
      plans: all shards of the set.
      groups: photographs that are copies of one, two or more in a group; None: to be looked for.
      journal: the shards that are in place, to which those that are made now are added.
      write: `_write`, or the same by a Beam job.
    """
    assert config.images_dir is not None
    size = config.image_height, config.image_width
    for note in first_look.notes(config.images_dir, table.names, *size, config.aspect):
        report(note)
    write(config, table, plans, journal)
    if groups is None and config.near_duplicates != "ignore":
        groups = copies.find(config.output_dir, plans, journal.written, table.names)
        plans = _keep_together(config, table, plans, groups, journal)
    manifest = _manifest(config, table, plans, journal, groups or ())
    _keep_columns(config, table, plans, journal)
    journal.finish(manifest)
    return manifest


def _check_one_source(config: ConvertConfig) -> None:
    """Refuses settings that say where labels are beside a DataFrame of them."""
    if config.labels_csv is not None or config.label_format == FOLDERS:
        path = config.labels_csv
        other = param("labels_csv") if path is not None else param(label_format=FOLDERS)
        raise UsageError(f"Give either labels or {other}.")


def _check_inputs(config: ConvertConfig, has_table: bool) -> None:
    """Refuses settings that need labels where there are none, and a label CSV with the place and
    name of something that a conversion makes."""
    path = config.labels_csv
    by_folders = config.label_format == FOLDERS
    if path is None and not by_folders and not has_table:
        for name in ("folds", "split_column", "group_column", "classes", "keep_columns"):
            if getattr(config, name) and selection.is_unlabelled(config):
                raise UsageError(
                    f"{param(name)} needs {param('labels_csv')}, or {param(label_format=FOLDERS)}."
                )
    if config.group_column is not None or config.keep_columns:
        files.check_output(
            files.join(config.output_dir, photograph_table.NAME),
            "written by a conversion",
            photograph_table.is_table,
            setting="output_dir",
        )
    if isinstance(path, str) and not files.is_remote(path):
        made = (records.MANIFEST_NAME, *filter(is_shard, [files.basename(path)]))
        if any(files.same_file(files.join(config.output_dir, name), path) for name in made):
            raise UserError(
                f"{param(labels_csv=path)} is where the conversion would write; choose another "
                f"{param('output_dir')}."
            )


def _plans(
    config: ConvertConfig, table: LabelTable, together: Sequence[Sequence[int]] = ()
) -> list[shards.ShardPlan]:
    return [
        shard
        for name, indices in selection.divide(config, table, together).items()
        for shard in shards.plan(name, indices, config.num_shards, _record_size(config))
    ]


def _keep_together(
    config: ConvertConfig,
    table: LabelTable,
    plans: list[shards.ShardPlan],
    groups: list[list[int]],
    journal: Journal,
) -> list[shards.ShardPlan]:
    """Says which photographs are copies, and deals out the records again if some are divided.

    Returns:
      The plan of the shards as they are in the end.
    """
    if not groups:
        return plans
    report(copies.found([[table.names[index] for index in group] for group in groups]))
    after = _plans(config, table, groups) if config.near_duplicates == "together" else plans
    if after != plans:
        written = copies.deal_again(config.output_dir, plans, after, journal.written, table.names)
        journal.written = {one.shard.name: one for one in written}
        assert config.images_dir is not None
        journal.settings[PHOTOGRAPHS] = _photographs(config.images_dir, table, after)
        report("Some were in two splits: dealt out again, so that each is with its copies.")
    split_of = {index: plan.split for plan in after for index in plan.examples}
    may_help = config.near_duplicates == "report" and config.split_column is None
    for note in copies.divided(
        [[(table.names[index], split_of[index]) for index in group] for group in groups],
        f"{param(near_duplicates='together')} keeps copies in one split." if may_help else "",
    ):
        report(note)
    return after


def _record_size(config: ConvertConfig) -> int:
    """About how many bytes a record has; half a byte a pixel is much for a photograph."""
    return config.image_height * config.image_width // 2 + 300


def _settings(
    config: ConvertConfig,
    table: LabelTable,
    before_copies: list[shards.ShardPlan],
    plans: list[shards.ShardPlan],
) -> dict[str, Any]:
    """What another conversion must have in common to go on from this one, by name.

    Args:
      config: the settings of the conversion.
      table: the photographs and their labels.
      before_copies: the shards as they are planned where no photograph is a copy of another.
      plans: the shards as they are made.
    """
    assert config.images_dir is not None
    common = settings.lasting(config)
    defaults = {field.name: field.default for field in dataclasses.fields(config)}
    for name in UNNOTED_DEFAULTS:
        if common[name] == defaults[name]:
            del common[name]
    # Not the whole path, so that a set can be moved and is the same on every machine.
    common["images_dir"] = escaped(files.basename(_normal(config.images_dir)))
    common[PHOTOGRAPHS] = _photographs(config.images_dir, table, plans)
    digest = hashlib.sha256(json.dumps([table.classes, table.names]).encode())
    digest.update(table.labels.tobytes())
    digest.update(json.dumps([dataclasses.astuple(plan) for plan in before_copies]).encode())
    for index, masks_of_image in enumerate(table.masks):
        for number, runs in masks_of_image:
            digest.update(b"%d %d %d " % (index, number, len(runs)) + runs)
    common["examples_sha256"] = digest.hexdigest()
    return common


def _normal(path: str) -> str:
    """The same path for all spellings of a folder, `.` and `../images` among them."""
    return os.path.normpath(path) if files.is_remote(path) else os.path.abspath(path)


def _photographs(
    images_dir: str, table: LabelTable, plans: list[shards.ShardPlan]
) -> Optional[dict[str, str]]:
    """A digest of the file sizes of each shard's photographs, by which others are recognised.

    Sizes stay the same when the photographs are moved, and need no reading. None for remote
    photographs, where a request for each would take long.
    """
    if files.is_remote(images_dir):
        return None
    digests = {}
    for plan in plans:
        names = [table.names[i] for i in plan.examples]
        lengths = [files.size(files.join(images_dir, *name.split("/"))) for name in names]
        digests[plan.name] = hashlib.sha256(json.dumps(lengths).encode()).hexdigest()
    return digests


def _recipe(config: ConvertConfig, table: LabelTable) -> Recipe:
    assert config.images_dir is not None
    return Recipe(
        config.images_dir,
        config.image_height,
        config.image_width,
        config.jpeg_quality,
        skip=config.on_error == "skip",
        aspect=config.aspect,
        sketches=config.near_duplicates != "ignore",
        with_masks=bool(table.masks),
    )


def _write(
    config: ConvertConfig, table: LabelTable, plans: list[shards.ShardPlan], journal: Journal
) -> None:
    """Makes the shards that are not in place yet."""
    recipe = _recipe(config, table)

    def make(index: int) -> shards.Outcome:
        label = table.labels[index] if table.classes else None
        return recipe.outcome(table.names[index], label, table.masks_of(index))

    if tasks.exist(config.output_dir):  # Left by an interrupted Beam job.
        for plan in plans:
            written = tasks.in_place(config.output_dir, plan.name)
            if written is not None:
                journal.add(written)
    todo = [plan for plan in plans if plan.name not in journal.written]
    total = sum(len(plan.examples) for plan in plans)
    done = total - sum(len(plan.examples) for plan in todo)
    workers = config.workers or machine.usable_cores()
    with (
        one_thread_an_image(),
        bars.bar("convert", total, "images", initial=done) as bar,
    ):
        for written in shards.write(config.output_dir, todo, make, workers, bar.update):
            skipped = {table.names[i]: reason for i, reason in written.skipped.items()}
            journal.add(shards.Written(written.shard, skipped))


def _beam_writer(config: ConvertConfig) -> Callable[..., None]:
    """`_write` by a Beam job; UserError if Beam is not installed or refuses the options."""
    try:
        from cloudtf.data import beam
    except ModuleNotFoundError as error:
        if (error.name or "").split(".")[0] != "apache_beam":
            raise
        raise UserError(
            "Apache Beam is not installed; install it, best in an environment of its own, with: "
            'pip install "cloudtf[beam]".'
        ) from error
    options = beam.parse_options(config.beam_options)

    def write(
        config: ConvertConfig, table: LabelTable, plans: list[shards.ShardPlan], journal: Journal
    ) -> None:
        recipe, threads = _recipe(config, table), config.workers or 1
        beam.write(config.output_dir, table, plans, recipe, threads, options, journal)

    return write


def _manifest(
    config: ConvertConfig,
    table: LabelTable,
    plans: list[shards.ShardPlan],
    journal: Journal,
    groups: Sequence[Sequence[int]],
) -> records.Manifest:
    skipped = [{"file": p.file, "reason": p.reason} for p in table.problems]
    plans_of: dict[str, list[shards.ShardPlan]] = collections.defaultdict(list)
    for plan in plans:
        plans_of[plan.split].append(plan)
    result = {}
    for split, split_plans in plans_of.items():
        kept: list[int] = []
        for plan in split_plans:
            left_out = journal.written[plan.name].skipped
            kept += [i for i in plan.examples if table.names[i] not in left_out]
            skipped += [
                {"file": name, "reason": reason, "shard": plan.name}
                for name, reason in left_out.items()
            ]
        if not kept:
            raise UserError(f"No image of the split {split} can be used; replace the images.")
        written = [journal.written[plan.name].shard for plan in split_plans]
        labels = table.labels[kept]
        combinations = collections.Counter(combination(row, table.classes) for row in labels)
        result[split] = records.Split(
            name=split,
            num_examples=len(kept),
            class_counts=_counts(table.classes, labels == 1),
            combination_counts=dict(sorted(combinations.items())) if table.classes else {},
            shards=tuple(written),
            depths=records.added(shard.depths for shard in written),
            unknown_counts={
                name: count
                for name, count in _counts(table.classes, labels == UNKNOWN).items()
                if count
            },
        )
    return records.Manifest(
        classes=table.classes,
        image_height=config.image_height,
        image_width=config.image_width,
        jpeg_quality=config.jpeg_quality,
        seed=config.seed,
        splits=result,
        skipped=tuple(skipped),
        settings=journal.settings,
        mask_side=masks.SIDE if table.masks else 0,
        aspect=config.aspect,
        near_duplicates=tuple(tuple(table.names[index] for index in group) for group in groups),
    )


def _keep_columns(
    config: ConvertConfig, table: LabelTable, plans: list[shards.ShardPlan], journal: Journal
) -> None:
    """Writes what is kept of the photographs in the records beside their labels, if anything is."""
    if config.group_column is None and not config.keep_columns:
        return
    kept = [
        (plan.split, index)
        for plan in plans
        for index in plan.examples
        if table.names[index] not in journal.written[plan.name].skipped
    ]
    kept.sort(key=lambda entry: entry[1])
    cells = {name: [cell[index] for _, index in kept] for name, cell in table.columns.items()}
    text = photograph_table.text(
        [table.names[index] for _, index in kept],
        [split for split, _ in kept],
        None if config.group_column is None else cells[config.group_column],
        {name: cells[name] for name in config.keep_columns},
    )
    path = files.join(config.output_dir, photograph_table.NAME)
    if not files.exists(path) or files.read_bytes(path) != text.encode():
        files.write_text(path, text)


def _counts(classes: Sequence[str], which: np.ndarray) -> dict[str, int]:
    """For how many rows each class has True: bool [images, classes]."""
    return {name: int(count) for name, count in zip(classes, which.sum(axis=0))}


def _verify(config: ConvertConfig) -> records.Manifest:
    from cloudtf.data.verify import verify

    return verify(config.output_dir, config.workers)
