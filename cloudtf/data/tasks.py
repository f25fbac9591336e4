"""Shards as tasks for other machines, handed over as files in the folder of the set.

A task is a small file beside the shards to be, and so is the report on it. The process that writes
tasks need not reach the workers in any other way, no message grows with the number of images, and a
report outlives the job: a shard that is reported and whole is not made again.
"""

from __future__ import annotations

import dataclasses
from typing import Any, Callable, Optional

import numpy as np

from cloudtf import files
from cloudtf.data import records, shards
from cloudtf.data.labels import LabelTable
from cloudtf.data.recipe import Recipe
from cloudtf.errors import UserError

# Beside the shards while a conversion runs.
FOLDER = ".convert_tasks"


def hand_out(data_dir: str, plan: shards.ShardPlan, table: LabelTable) -> None:
    """Writes the task of making one shard.

    Args:
      data_dir: the folder of the shards.
      plan: the shard to be made.
      table: the images that the plan's indices stand for.
    """
    rows = list(plan.examples)
    labels = table.labels[rows].tolist() if table.classes else None
    masks = [[(n, runs.hex()) for n, runs in table.masks_of(row)] for row in rows]
    task = {"names": [table.names[row] for row in rows], "labels": labels, "masks": masks}
    files.write_json(_path(data_dir, plan.name, "task"), task)


def carry_out(
    data_dir: str, name: str, recipe: Recipe, threads: int, progress: Callable[[int], object]
) -> None:
    """Makes one shard and reports on it; one that is reported and in place is left as it is.

    May be run twice at once for one shard, as some clusters do: the bytes are the same, and each
    moves a whole file into place. A photograph that cannot be used is reported, not raised, since
    trying again would not help.

    Args:
      data_dir: the folder of the shards, as this machine sees it.
      name: the shard's file name.
      recipe: how its records are made.
      threads: threads that make them, at least 1.
      progress: called with 1 after each example.

    Raises:
      UserError: the task cannot be read or the report not written.
    """
    if in_place(data_dir, name) is not None:
        return
    task = files.read_json(_path(data_dir, name, "task"))
    names, labels, masks = task["names"], task["labels"], task["masks"]

    def make(index: int) -> shards.Outcome:
        label = None if labels is None else np.array(labels[index], np.int8)
        found = [(number, bytes.fromhex(runs)) for number, runs in masks[index]]
        return recipe.outcome(names[index], label, found)

    plan = shards.ShardPlan(name, "", tuple(range(len(names))))
    report: dict[str, Any]
    try:
        (written,) = shards.write(data_dir, [plan], make, threads, progress)
        skipped = {names[index]: reason for index, reason in written.skipped.items()}
        report = {"shard": dataclasses.asdict(written.shard), "skipped": skipped}
    except UserError as error:
        report = {"error": str(error)}
    files.write_json(_path(data_dir, name, "report"), report)


def result(data_dir: str, name: str) -> shards.Written:
    """What came of one task.

    Returns:
      The shard and the names of the examples left out, with the reasons.

    Raises:
      UserError: what its worker raised; or there is no report.
    """
    report = files.read_json(_path(data_dir, name, "report"))
    if "error" in report:
        raise UserError(report["error"])
    return shards.Written(records.shard_from(report["shard"]), dict(report["skipped"]))


def in_place(data_dir: str, name: str) -> Optional[shards.Written]:
    """The shard, if it is reported and has the checksum that the report says."""
    path = files.join(data_dir, name)
    if not files.exists(_path(data_dir, name, "report")) or not files.exists(path):
        return None
    try:
        written = result(data_dir, name)
    except UserError:
        return None
    return written if files.sha256(path) == written.shard.sha256 else None


def prepare(data_dir: str) -> None:
    """Makes the folder of tasks and reports; what an interrupted job left in it stays."""
    files.make_dirs(files.join(data_dir, FOLDER))


def exist(data_dir: str) -> bool:
    """Whether there are tasks or reports."""
    return files.is_dir(files.join(data_dir, FOLDER))


def clear(data_dir: str) -> None:
    """Removes all tasks and reports."""
    if exist(data_dir):
        files.remove_tree(files.join(data_dir, FOLDER))


def _path(data_dir: str, name: str, kind: str) -> str:
    return files.join(data_dir, FOLDER, f"{name}.{kind}.json")
