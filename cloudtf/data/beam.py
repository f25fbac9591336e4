"""The converter's shards made by an Apache Beam job, on as many machines as its runner has.

The plan is made, and the manifest written, by the process that starts the job; a worker makes whole
shards, each a task of `tasks`. So the bytes are those of one machine, whatever the runner does.
TensorFlow is not needed on either side: remote files go through Beam (`cloudtf.beam_files`).
"""

from __future__ import annotations

import contextlib
import dataclasses
import io
import os
import shlex
from concurrent.futures import ThreadPoolExecutor
from typing import Sequence

import apache_beam as beam
import cv2
from apache_beam.options.pipeline_options import PipelineOptions, StandardOptions
from apache_beam.runners.runner import PipelineState

from cloudtf import files
from cloudtf.data import shards, tasks
from cloudtf.data.labels import LabelTable
from cloudtf.data.progress import Journal
from cloudtf.data.recipe import Recipe, one_thread_an_image
from cloudtf.errors import UsageError, UserError, param, reason
from cloudtf.reporter import report

_DIRECT = "DirectRunner"
# Beam's own choice for DirectRunner first downloads a server from GitHub.
_IN_PROCESS = "apache_beam.runners.portability.fn_api_runner.FnApiRunner"
# A remote file system answers each question late, but many at once.
_FILES_AT_ONCE = 32


def parse_options(text: str) -> PipelineOptions:
    """Beam's options from one line, quoted as for a shell.

    Raises:
      UsageError: Beam refuses them, or DirectRunner is given one that Beam does not know.
    """
    said = io.StringIO()
    try:
        with contextlib.redirect_stderr(said):
            options = PipelineOptions(shlex.split(text))
            known = options.get_all_options()
    except (SystemExit, ValueError) as error:
        complaint = said.getvalue().strip().rpartition("\n")[2].rstrip(".") or reason(error)
        raise UsageError(f"{param(beam_options=text)} cannot be used: {complaint}.") from error
    standard = options.view_as(StandardOptions)
    standard.runner = standard.runner or _DIRECT
    unknown = sorted(options.get_all_options(retain_unknown_options=True).keys() - known.keys())
    # Other runners pass on what Beam's Python does not know.
    if unknown and standard.runner == _DIRECT:
        raise UsageError(f"{param('beam_options')}: {_DIRECT} has no option {unknown[0]!r}.")
    return options


def write(
    data_dir: str,
    table: LabelTable,
    plans: Sequence[shards.ShardPlan],
    recipe: Recipe,
    threads: int,
    options: PipelineOptions,
    journal: Journal,
) -> None:
    """Makes the shards that are not in place yet.

    Args:
      data_dir: the folder of the shards; all workers of the job reach it by this path.
      table: the images that the indices in `plans` stand for.
      plans: all shards of the set.
      recipe: how records are made; all workers reach its folder, too, by its path.
      threads: threads that make the records of one shard, at least 1.
      options: Beam's options for the job, its runner among them.
      journal: notes each shard that is in place.

    Raises:
      UserError: the job failed, or a photograph cannot be used; the other shards are in place.
    """
    data_dir = _everywhere(data_dir)
    recipe = dataclasses.replace(recipe, images_dir=_everywhere(recipe.images_dir))
    todo = [plan for plan in plans if plan.name not in journal.written]
    runner = options.view_as(StandardOptions).runner
    report(f"{runner}: {len(todo)} of {len(plans)} shards to make.")
    tasks.prepare(data_dir)
    with ThreadPoolExecutor(_FILES_AT_ONCE) as pool:
        list(pool.map(lambda plan: tasks.hand_out(data_dir, plan, table), todo))
        with one_thread_an_image():  # For the runners that work in this process.
            _run([plan.name for plan in todo], _MakeShards(data_dir, recipe, threads), options)
        outcomes = list(pool.map(lambda plan: _result(data_dir, plan.name), todo))
    failures = [outcome for outcome in outcomes if isinstance(outcome, UserError)]
    if failures:
        # The journal stays as it is: the next job's workers check what is in place, not this
        # machine alone.
        more = f" {len(failures) - 1} other shards failed too." if len(failures) > 1 else ""
        raise UserError(f"{failures[0]}{more}") from failures[0]
    for written in outcomes:
        assert isinstance(written, shards.Written)
        journal.add(written)


def _everywhere(path: str) -> str:
    """A path that does not depend on the working folder."""
    return path if files.is_remote(path) else os.path.abspath(path)


def _result(data_dir: str, name: str) -> shards.Written | UserError:
    try:
        return tasks.result(data_dir, name)
    except UserError as error:
        return error


class _MakeShards(beam.DoFn):
    """Name of a shard -> nothing: the shard and its report are files."""

    def __init__(self, data_dir: str, recipe: Recipe, threads: int) -> None:
        super().__init__()
        self._data_dir, self._recipe, self._threads = data_dir, recipe, threads

    def setup(self) -> None:
        """Once in each worker."""
        cv2.setNumThreads(1)  # See `one_thread_an_image`.

    def process(self, name: str) -> None:
        """Makes one shard, unless an earlier attempt did."""
        made = beam.metrics.Metrics.counter("cloudtf", "images")
        tasks.carry_out(self._data_dir, name, self._recipe, self._threads, made.inc)


def _run(names: Sequence[str], make: _MakeShards, options: PipelineOptions) -> None:
    runner = options.view_as(StandardOptions).runner
    try:
        pipeline = beam.Pipeline(_IN_PROCESS if runner == _DIRECT else runner, options=options)
        # Reshuffled, or a runner may give all of them to one worker.
        _ = pipeline | beam.Create(list(names)) | beam.Reshuffle() | "shards" >> beam.ParDo(make)
        state = pipeline.run().wait_until_finish()
    except Exception as error:
        raise UserError(
            f"The Beam job failed: {reason(error, 500)}. The same command again goes on with the "
            "shards that are missing."
        ) from error
    if state != PipelineState.DONE:
        raise UserError(
            f"The Beam job ended as {state}, and its runner's log says why. The same command "
            "again goes on with the shards that are missing."
        )
