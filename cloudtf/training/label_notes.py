"""What training accepts of a data set's labels, and the user should know before it starts."""

from __future__ import annotations

from typing import Sequence

from cloudtf.data import records
from cloudtf.errors import param
from cloudtf.text import listed

# Under so many, one example more or less moves PR-AUC by several hundredths.
_FEW = 10


def label_notes(
    manifest: records.Manifest,
    train_splits: Sequence[str],
    val_split: str,
    batch_size: int,
    accumulate_steps: int = 1,
) -> list[str]:
    """What training accepts and the user should know before it starts, a sentence each.

    Args:
      manifest: the content of `dataset.json`.
      train_splits: the names of the splits that are trained on.
      val_split: the name of the split that judges each epoch.
      batch_size: images a batch over all replicas.
      accumulate_steps: how many of these batches are summed for one update.
    """
    notes = []
    training = manifest.joined(train_splits)
    examples = training.num_examples
    if 0 < examples < batch_size * accumulate_steps:
        batches, would_not = f"a batch of {batch_size}", param(batch_size=examples)
        if accumulate_steps > 1:
            batches = f"{accumulate_steps} batches of {batch_size}"
            would_not = f"a smaller {param('accumulate_steps')}"
        notes.append(
            f"{examples} training examples are fewer than {batches}: a step sees some of them "
            f"more than once; {would_not} would not."
        )
    notes += _one_sided("training", training, manifest.classes, "nothing can be learnt about")
    held_out = manifest.split(val_split)
    val_counts = {c: held_out.class_counts.get(c, 0) for c in manifest.classes}
    undefined = "PR-AUC is undefined and left out of the mean for"
    notes += _one_sided(f"{val_split}", held_out, manifest.classes, undefined)
    few = [c for c, count in val_counts.items() if 0 < count < _FEW]
    if few:
        notes.append(
            f"{listed(few)}: fewer than {_FEW} positives in {val_split}, so that PR-AUC is coarse."
        )
    return notes


def _one_sided(where: str, split: records.Split, classes: Sequence[str], so: str) -> list[str]:
    """Classes that no example of a split, or every one whose label is known, shows."""
    if not split.num_examples:
        return []
    shown = {name: split.class_counts.get(name, 0) for name in classes}
    nowhere = [name for name in classes if not shown[name]]
    everywhere = [name for name in classes if shown[name] and shown[name] == split.num_known(name)]
    every = "every example with a known label" if split.unknown_counts else "every example"
    return [
        f"In {where} {words} shows {listed(names)}: {so} {_them(names)}."
        for words, names in (("no example", nowhere), (every, everywhere))
        if names
    ]


def _them(names: Sequence[str]) -> str:
    return "it" if len(names) == 1 else "them"
