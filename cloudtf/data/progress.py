"""Continues a killed conversion where it stopped, and refuses to mix two sets in one folder.

While a conversion runs, a small journal in the output folder holds its settings and the shards that
are in place. `dataset.json` is written last, and then the journal is removed: a folder with a
manifest is whole.
"""

from __future__ import annotations

import dataclasses
import re
import time
from typing import Any, Optional

from cloudtf import files
from cloudtf.data import photograph_table, records, shards, tasks
from cloudtf.data.convert_config import ConvertConfig
from cloudtf.errors import UserError, param
from cloudtf.reporter import report

JOURNAL_NAME = ".convert_progress.json"
# Rewriting the journal after each of very many small shards would cost more than remaking a few.
_SECONDS_BETWEEN_SAVES = 0.5

_NAMES = (records.MANIFEST_NAME, photograph_table.NAME, JOURNAL_NAME)
# What `files.replacing` calls a file that a killed run did not finish.
_LEFTOVER = rf"\.?({'|'.join([shards.NAME_PATTERN, *map(re.escape, _NAMES)])})\.\d+\.tmp(\.\w+)?"

_SAME_LABELS = "examples_sha256"
# In the settings: shard -> a digest of its photographs; null where they are remote.
PHOTOGRAPHS = "photographs_sha256"
# Settings that are not noted where they have their defaults: newer than sets that are to stay as
# they are to the byte.
UNNOTED_DEFAULTS = ("near_duplicates",)


class Journal:
    """The shards of a conversion that are in place.

    Attributes:
      written: file name -> shard, for each that is in place.
      complete: whether `dataset.json` is there too and every shard has the length that it says.
    """

    def __init__(self, data_dir: str, settings: dict[str, Any], overwrite: bool) -> None:
        """Opens the folder, which is there, for a conversion with `settings`.

        Raises:
          UserError: it holds a set made with other settings, or shards that nothing describes, and
            `overwrite` is False.
        """
        self.data_dir, self.settings = data_dir, settings
        self.written: dict[str, shards.Written] = {}
        self.complete = False
        self._saved = 0.0
        if overwrite:
            self._clear()
        elif not self._take_manifest():
            self._take_journal()
        self._remove_leftovers()
        if self.complete:
            # Left by a run that was killed just before it removed them.
            files.remove(self._path(JOURNAL_NAME))
            self._clear_working_files()
        else:
            self._save()
            files.remove(self._path(records.MANIFEST_NAME))

    def add(self, written: shards.Written) -> None:
        """Notes a shard that has just been moved into place."""
        self.written[written.shard.name] = written
        if time.monotonic() - self._saved > _SECONDS_BETWEEN_SAVES:
            self._save()

    def finish(self, manifest: records.Manifest) -> None:
        """Writes `dataset.json`, then removes the journal and the files of tasks."""
        records.write_manifest(self.data_dir, manifest)
        files.remove(self._path(JOURNAL_NAME))
        self._clear_working_files()

    def _clear_working_files(self) -> None:
        tasks.clear(self.data_dir)
        for folder in (shards.SKETCHES, shards.DEALT_AGAIN):
            if files.is_dir(self._path(folder)):
                files.remove_tree(self._path(folder))

    def _path(self, name: str) -> str:
        return files.join(self.data_dir, name)

    def _save(self) -> None:
        raw = {name: dataclasses.asdict(written) for name, written in self.written.items()}
        files.write_json(self._path(JOURNAL_NAME), {"settings": self.settings, "shards": raw})
        self._saved = time.monotonic()

    def _take_manifest(self) -> bool:
        """Takes over the shards of a finished set with the same settings, if there is one."""
        if not files.exists(self._path(records.MANIFEST_NAME)):
            return False
        manifest = records.read_manifest(self.data_dir)
        self._refuse_others(manifest.settings)
        for split in manifest.splits.values():
            for shard in split.shards:
                left_out = {
                    entry["file"]: entry["reason"]
                    for entry in manifest.skipped
                    if entry.get("shard") == shard.name
                }
                self.written[shard.name] = shards.Written(shard, left_out)
        count = len(self.written)
        # Their lengths only: reading everything is for --verify.
        self.written = {
            name: written
            for name, written in self.written.items()
            if files.exists(self._path(name))
            and files.size(self._path(name)) == written.shard.num_bytes
        }
        self._refuse_other_photographs(manifest.settings)
        self.complete = len(self.written) == count
        if not self.complete:
            report(f"{count - len(self.written)} of {count} shards are gone or cut: made again.")
        return True

    def _take_journal(self) -> None:
        """Takes over the shards of a killed conversion, each compared with its checksum."""
        if not files.exists(self._path(JOURNAL_NAME)):
            self._refuse_undescribed()
            self._clear_working_files()  # Nothing says what settings they are of.
            return
        raw = files.read_json(self._path(JOURNAL_NAME))
        try:
            settings = dict(raw["settings"])
            written = [
                shards.Written(records.shard_from(entry["shard"]), dict(entry["skipped"]))
                for entry in raw["shards"].values()
            ]
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise UserError(
                f"{self._path(JOURNAL_NAME)} is damaged; begin anew with {param(overwrite=True)}."
            ) from error
        self._refuse_others(settings)
        for one in written:
            path = self._path(one.shard.name)
            if files.exists(path) and files.sha256(path) == one.shard.sha256:
                self.written[one.shard.name] = one
        self._refuse_other_photographs(settings)
        if self.written:
            report(f"Going on after {len(self.written)} shards that are in place.")

    def _refuse_undescribed(self) -> None:
        """Refuses shards that neither a manifest nor a journal describes."""
        present = [name for name in files.list_dir(self.data_dir) if is_shard(name)]
        if present:
            raise UserError(
                f"{self.data_dir} holds shards that nothing describes, such as {present[0]}; "
                f"choose another {param('output_dir')}, or give {param(overwrite=True)} to replace "
                "them."
            )

    def _refuse_others(self, settings: Optional[dict[str, Any]]) -> None:
        # What a set made before a setting existed is like, its default says.
        defaults = {field.name: field.default for field in dataclasses.fields(ConvertConfig)}
        before, now = {**defaults, **(settings or {})}, {**defaults, **self.settings}
        names = [
            name
            for name in (*self.settings, *UNNOTED_DEFAULTS)
            if name != PHOTOGRAPHS and before.get(name) != now[name]
        ]
        if not names:
            return
        name = next((n for n in names if n != _SAME_LABELS), None)
        if name is None:
            difference = "other labels or images"
        else:
            difference = f"{param(**{name: before[name]})}, not {now[name]}"
        raise UserError(
            f"{self.data_dir} holds a set made with {difference}; choose another "
            f"{param('output_dir')}, or replace that set with {param(overwrite=True)}."
        )

    def _refuse_other_photographs(self, settings: Optional[dict[str, Any]]) -> None:
        """Refuses a set with a shard in place that was made of other photographs than there are.

        The photographs of a shard that is still to be made may differ: one that could not be used
        may have been replaced.
        """
        before, now = (settings or {}).get(PHOTOGRAPHS), self.settings.get(PHOTOGRAPHS)
        if not isinstance(before, dict) or now is None:
            return
        for name in sorted(name for name in now if before.get(name, now[name]) != now[name]):
            if name in self.written or tasks.in_place(self.data_dir, name) is not None:
                raise UserError(
                    f"{self.data_dir} holds a set made of other photographs than those that are in "
                    f"{param('images_dir')} now (the files for {name} had other sizes); choose "
                    f"another {param('output_dir')}, or replace that set with "
                    f"{param(overwrite=True)}."
                )

    def _clear(self) -> None:
        """Removes the set that is there: its tables, tasks and shards."""
        files.remove(self._path(records.MANIFEST_NAME))
        files.remove(self._path(JOURNAL_NAME))
        if photograph_table.is_there(self.data_dir):
            files.remove(self._path(photograph_table.NAME))
        self._clear_working_files()
        for name in files.list_dir(self.data_dir):
            if is_shard(name):
                files.remove(self._path(name))

    def _remove_leftovers(self) -> None:
        for name in files.list_dir(self.data_dir):
            if re.fullmatch(_LEFTOVER, name):
                files.remove(self._path(name))


def is_shard(name: str) -> bool:
    """Whether a file has the name of a shard."""
    return bool(re.fullmatch(shards.NAME_PATTERN, name))
