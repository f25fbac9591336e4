"""The converter: photographs and a label CSV to TFRecord shards and `dataset.json`.

Labels give a table, the table gives splits, splits give a plan of shards; then threads turn image
bytes into record bytes (`make_record`, a pure function) and the shards are written in order. The
same inputs and settings give the same bytes, whatever the number of threads and however often the
conversion was interrupted. Threads suffice: decoding, resizing and encoding all leave Python's
lock.
"""

from __future__ import annotations

import collections
import dataclasses
import hashlib
import json
import os
import re
from typing import Any, Iterator, Optional

import cv2
import numpy as np
from tqdm import tqdm

from cloudtf import files
from cloudtf.data import images, records, shards, sources, splits, tfrecord
from cloudtf.data.labels import FORMATS, LabelTable, Problem, combination
from cloudtf.data.progress import Journal
from cloudtf.errors import UsageError, UserError
from cloudtf.settings import REQUIRED, Settings, setting

_SHOWN = 5


@dataclasses.dataclass(frozen=True)
class ConvertConfig(Settings):
    """Settings of the converter."""

    labels_csv: Optional[str] = setting(
        None, "CSV of labels; without it the images go, unlabelled, to a split named test."
    )
    images_dir: Optional[str] = setting(
        None, "Folder of the photographs, JPEG or PNG (not needed to only --verify)."
    )
    output_dir: str = setting(REQUIRED, "Folder for the shards and dataset.json.")
    image_height: int = setting(224, "Rows of the images in the records.", minimum=1, maximum=8192)
    image_width: int = setting(
        224, "Columns of the images in the records.", minimum=1, maximum=8192
    )
    jpeg_quality: int = setting(95, "JPEG quality of the records.", minimum=1, maximum=100)
    num_shards: int = setting(
        0,
        "Shards of each split; 0: as many as keep a shard under 100 MB, 8 or more if there are "
        "enough examples.",
        minimum=0,
        maximum=99_999,
    )
    workers: int = setting(0, "Threads; 0: one a core.", minimum=0, maximum=1024)
    verify: bool = setting(
        False,
        "Re-read everything at the end and check counts, checksums and images. Without "
        "--images_dir: check a set that is there already.",
    )
    overwrite: bool = setting(False, "Replace the set that is in --output_dir.")

    label_format: str = setting(
        "auto", "Kind of label CSV.", choices=("auto", *FORMATS), topic="labels"
    )
    classes: tuple[str, ...] = setting(
        (),
        "Class names in label order; if not given: as in the header of a one-hot CSV, else "
        "alphabetical.",
        topic="labels",
    )
    on_error: str = setting(
        "fail",
        "What to do about bad rows and images: fail, or skip, count and list them.",
        choices=("fail", "skip"),
        topic="labels",
    )

    val_fraction: float = setting(
        0.2, "Share of the images for the split val.", minimum=0, maximum=0.9, topic="splits"
    )
    folds: int = setting(
        0,
        "If 2 or more: make splits fold0, fold1, ... in place of train and val.",
        minimum=0,
        maximum=1000,
        topic="splits",
    )
    split_column: Optional[str] = setting(
        None, "CSV column that names each image's split.", topic="splits"
    )
    group_column: Optional[str] = setting(
        None,
        "CSV column whose equal values (photographs of one scene) stay in one split.",
        topic="splits",
    )
    max_examples: Optional[int] = setting(
        None,
        "Convert only so many images, chosen at random by the seed.",
        minimum=1,
        topic="splits",
    )
    seed: int = setting(
        2019,
        "Seed of the split and of the order of examples.",
        minimum=0,
        maximum=2**63 - 1,
        topic="splits",
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.images_dir is None and (self.labels_csv is not None or not self.verify):
            raise UsageError("--images_dir is required: the folder of the photographs.")
        if self.folds == 1:
            raise UsageError("--folds=1 leaves nothing to validate on; give 2 or more, or 0.")
        if self.split_column is not None and (self.folds or self.group_column is not None):
            raise UsageError("--split_column says it all: leave out --folds and --group_column.")
        if self.labels_csv is None:
            for name in ("folds", "split_column", "group_column", "classes"):
                if getattr(self, name):
                    raise UsageError(f"--{name} needs --labels_csv.")


def convert(config: ConvertConfig) -> records.Manifest:
    """Makes, or goes on making, a set of records.

    Prints what was made; a progress bar goes to stderr. With `config.verify` and no images, only
    checks the set that is in `config.output_dir`.

    Returns:
      The manifest, as in `dataset.json`.

    Raises:
      UserError: bad rows or images (unless they are skipped), a folder that holds another set, a
        disk that is full.
    """
    if config.images_dir is None:
        return _verify(config)
    table = _examples(config)
    split_indices = _splits(config, table)
    plans = [
        shard
        for name, indices in split_indices.items()
        for shard in shards.plan(name, indices, config.num_shards, _record_size(config))
    ]
    journal = Journal(config.output_dir, _settings(config, table, plans), config.overwrite)
    if journal.complete:
        print(f"{config.output_dir} is complete already; --overwrite makes it anew.")
        manifest = records.read_manifest(config.output_dir)
    else:
        _write(config, table, plans, journal)
        manifest = _manifest(config, table, plans, journal)
        journal.finish(manifest)
    _print_summary(manifest)
    return _verify(config) if config.verify else manifest


def make_record(
    data: bytes, name: str, label: Optional[np.ndarray], height: int, width: int, quality: int
) -> bytes:
    """The record of one photograph: a serialised `tf.train.Example`.

    Args:
      data: the bytes of its file.
      name: of the image, as later steps will know it.
      label: 0 or 1, [C]; None for an unlabelled set.
      height: rows of the image in the record.
      width: columns.
      quality: of the JPEG in the record.

    Raises:
      ValueError: one phrase on what is wrong with `data`.
    """
    encoded = images.convert_image(data, height, width, quality)
    features: dict[str, tfrecord.Feature] = {
        records.ENCODED: encoded,
        records.FORMAT: b"jpeg",
        records.FILENAME: name.encode(),
        records.HEIGHT: (height,),
        records.WIDTH: (width,),
        records.SHA256: hashlib.sha256(encoded).hexdigest().encode(),
    }
    if label is not None:
        features[records.LABEL] = label.tolist()
    return tfrecord.encode_example(features)


def _examples(config: ConvertConfig) -> LabelTable:
    """The images to convert, by the names of their files, with labels and the problems so far."""
    assert config.images_dir is not None
    if config.labels_csv is None:
        table = sources.unlabelled(config.images_dir)
    else:
        table, unnamed = sources.labelled(
            config.images_dir,
            config.labels_csv,
            config.label_format,
            config.classes,
            tuple(c for c in (config.split_column, config.group_column) if c is not None),
        )
        if unnamed:
            more = f" and {len(unnamed) - _SHOWN} more" if len(unnamed) > _SHOWN else ""
            print(
                f"Left out {len(unnamed)} images in {config.images_dir} that {config.labels_csv} "
                f"does not name: {', '.join(unnamed[:_SHOWN])}{more}."
            )
    if config.split_column is not None:
        table = _check_split_names(table, config.split_column)
    _report(config, table)
    if config.max_examples is not None and config.max_examples < len(table.names):
        random = np.random.default_rng((config.seed, 1))
        chosen = random.choice(len(table.names), config.max_examples, replace=False)
        table = table.take(np.sort(chosen))
    return table


def _check_split_names(table: LabelTable, column: str) -> LabelTable:
    problems, keep = list(table.problems), []
    for index, split in enumerate(table.columns[column]):
        if re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_]{0,50}", split):
            keep.append(index)
        else:
            reason = f"row {table.rows[index]} has {split[:60]!r} as the name of a split"
            problems.append(Problem(table.names[index], reason))
    return dataclasses.replace(table.take(keep), problems=tuple(problems))


def _report(config: ConvertConfig, table: LabelTable) -> None:
    """Refuses a table with problems, or says which are skipped."""
    if table.problems:
        source = config.labels_csv or config.images_dir
        shown = [f"{problem.file!r}: {problem.reason}" for problem in table.problems[:_SHOWN]]
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


def _splits(config: ConvertConfig, table: LabelTable) -> dict[str, np.ndarray]:
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


def _record_size(config: ConvertConfig) -> int:
    """About how long a record is; half a byte a pixel is much for a photograph at quality 95."""
    return config.image_height * config.image_width // 2 + 300


def _settings(
    config: ConvertConfig, table: LabelTable, plans: list[shards.ShardPlan]
) -> dict[str, Any]:
    """What another run must agree with to go on from this one: equal settings, equal bytes."""
    names = (
        "image_height",
        "image_width",
        "jpeg_quality",
        "num_shards",
        "val_fraction",
        "folds",
        "split_column",
        "group_column",
        "max_examples",
        "seed",
    )
    settings = {name: getattr(config, name) for name in names}
    # Not the whole path, so that a set can be moved and is the same on every machine.
    settings["images_dir"] = files.basename(os.path.normpath(config.images_dir or ""))
    digest = hashlib.sha256(json.dumps([table.classes, table.names]).encode())
    digest.update(table.labels.tobytes())
    digest.update(json.dumps([dataclasses.astuple(plan) for plan in plans]).encode())
    settings["examples_sha256"] = digest.hexdigest()
    return settings


def _write(
    config: ConvertConfig, table: LabelTable, plans: list[shards.ShardPlan], journal: Journal
) -> None:
    """Makes the shards that are not in place yet."""
    assert config.images_dir is not None
    labelled = bool(table.classes)

    def make(index: int) -> shards.Outcome:
        name = table.names[index]
        path = files.join(config.images_dir, *name.split("/"))
        try:
            record = make_record(
                files.read_bytes(path),
                name,
                table.labels[index] if labelled else None,
                config.image_height,
                config.image_width,
                config.jpeg_quality,
            )
        except (ValueError, UserError) as error:
            if config.on_error == "skip":
                return shards.Outcome(None, str(error).rstrip("."))
            if isinstance(error, UserError):
                raise
            raise UserError(
                f"The image {path} cannot be used: {error}. Replace it, or leave such images out "
                "with --on_error=skip."
            ) from error
        return shards.Outcome(record)

    todo = [plan for plan in plans if plan.name not in journal.written]
    total = sum(len(plan.examples) for plan in plans)
    done = total - sum(len(plan.examples) for plan in todo)
    workers = config.workers or shards.usable_cores()
    threads = cv2.getNumThreads()
    cv2.setNumThreads(1)  # One image a thread is faster than many threads an image.
    try:
        with tqdm(
            total=total, initial=done, unit=" images", desc="convert", dynamic_ncols=True
        ) as bar:
            for written in shards.write(config.output_dir, todo, make, workers, bar.update):
                skipped = {table.names[i]: reason for i, reason in written.skipped.items()}
                journal.add(shards.Written(written.shard, skipped))
    finally:
        cv2.setNumThreads(threads)


def _manifest(
    config: ConvertConfig, table: LabelTable, plans: list[shards.ShardPlan], journal: Journal
) -> records.Manifest:
    skipped = [{"file": p.file, "reason": p.reason} for p in table.problems]
    found: dict[str, list[shards.ShardPlan]] = collections.defaultdict(list)
    for plan in plans:
        found[plan.split].append(plan)
    result = {}
    for split, split_plans in found.items():
        kept: list[int] = []
        for plan in split_plans:
            left_out = journal.written[plan.name].skipped
            kept += [i for i in plan.examples if table.names[i] not in left_out]
            skipped += [
                {"file": name, "reason": reason, "shard": plan.name}
                for name, reason in left_out.items()
            ]
        if not kept:
            raise UserError(f"No image of the split {split} can be used; mend the images.")
        labels = table.labels[kept]
        combinations = collections.Counter(combination(row, table.classes) for row in labels)
        result[split] = records.Split(
            name=split,
            num_examples=len(kept),
            class_counts={
                name: int(count) for name, count in zip(table.classes, labels.sum(axis=0))
            },
            combination_counts=dict(sorted(combinations.items())) if table.classes else {},
            shards=tuple(journal.written[plan.name].shard for plan in split_plans),
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
    )


def _print_summary(manifest: records.Manifest) -> None:
    for line in _summary(manifest):
        print(line)


def _summary(manifest: records.Manifest) -> Iterator[str]:
    """Two tables, narrow enough for 40 columns: the splits, and the classes of each."""
    yield f"{'split':<10}{'examples':>10}{'shards':>8}{'MB':>9}"
    for split in manifest.splits.values():
        megabytes = sum(shard.num_bytes for shard in split.shards) / 1e6
        yield (
            f"{split.name:<10}{split.num_examples:>10,}{len(split.shards):>8,}{megabytes:>9,.1f}"
        )
    if manifest.classes:
        width = max(10, *(len(name) + 1 for name in manifest.classes))
        yield f"{'class':<{width}}" + "".join(f"{name:>9}" for name in manifest.splits)
        for name in manifest.classes:
            counts = (split.class_counts[name] for split in manifest.splits.values())
            yield f"{name:<{width}}" + "".join(f"{count:>9,}" for count in counts)
    unreadable = [entry for entry in manifest.skipped if "shard" in entry]
    if unreadable:
        listed = "; ".join(f"{e['file']!r}: {e['reason']}" for e in unreadable[:_SHOWN])
        more = len(unreadable) - _SHOWN
        yield (
            f"Skipped {len(unreadable)} images that cannot be used: {listed}"
            f"{f'; and {more} more' if more > 0 else ''}."
        )
    if manifest.skipped:
        yield f"{records.MANIFEST_NAME} lists all {len(manifest.skipped)} that were skipped."


def _verify(config: ConvertConfig) -> records.Manifest:
    from cloudtf.data.verify import verify

    return verify(config.output_dir, config.workers)
