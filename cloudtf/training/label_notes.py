"""What training accepts of a data set's labels, and the user should know before it starts."""

from __future__ import annotations

from typing import Sequence

from cloudtf.data import records
from cloudtf.errors import param
from cloudtf.text import listed

# Under so many, one example more or less moves PR-AUC by several hundredths.
_FEW = 10


def label_notes(
    manifest: records.Manifest, train_splits: Sequence[str], val_split: str, batch_size: int
) -> list[str]:
    """What training accepts and the user should know before it starts, a sentence each.

    Args:
      manifest: the content of `dataset.json`.
      train_splits: the names of the splits that are trained on.
      val_split: the name of the split that judges each epoch.
      batch_size: images a step over all replicas.
    """
    notes = []
    training = manifest.joined(train_splits)
    examples = training.num_examples
    if 0 < examples < batch_size:
        notes.append(
            f"{examples} training examples are fewer than a batch of {batch_size}: a step sees "
            f"some of them more than once; {param(batch_size=examples)} would not."
        )
    counts = {c: training.class_counts.get(c, 0) for c in manifest.classes}
    notes += _one_sided("training", counts, examples, "nothing can be learnt about")
    held_out = manifest.split(val_split)
    val_counts = {c: held_out.class_counts.get(c, 0) for c in manifest.classes}
    undefined = "PR-AUC is undefined and left out of the mean for"
    notes += _one_sided(f"{val_split}", val_counts, held_out.num_examples, undefined)
    few = [c for c, count in val_counts.items() if 0 < count < _FEW]
    if few:
        notes.append(
            f"{listed(few)}: fewer than {_FEW} positives in {val_split}, so that PR-AUC is coarse."
        )
    return notes


def _one_sided(where: str, counts: dict[str, int], examples: int, so: str) -> list[str]:
    """Classes that no example, or every example, of a split shows."""
    if not examples:
        return []
    notes = []
    for words, count in (("no example", 0), ("every example", examples)):
        names = [name for name, shown in counts.items() if shown == count]
        if names:
            notes.append(f"In {where} {words} shows {listed(names)}: {so} {_them(names)}.")
    return notes


def _them(names: Sequence[str]) -> str:
    return "it" if len(names) == 1 else "them"
