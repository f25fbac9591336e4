"""Label photographs that have no labels by a model, where it is sure, for training on them.

The new folder holds the labelled records as they are, and the others with the labels of the model;
cloudtf train takes it as any set, trains on both, and judges on labelled photographs alone. For
records with folds, --model is the folder of a run of --fold=all: each fold trains on the labels by
its own model, so that nothing of the fold that it is judged on comes to it.
"""

from __future__ import annotations

from cloudtf.data.records import PSEUDO
from cloudtf.evaluation.pseudo_label import PseudoLabelConfig, pseudo_label

CONFIG = PseudoLabelConfig


def run(config: PseudoLabelConfig) -> None:
    """Labels, and says how many of each class."""
    manifest = pseudo_label(config)
    for name, split in manifest.splits.items():
        if not name.startswith(PSEUDO):
            continue
        print(f"{name}: {split.num_examples:,} photographs, in {config.output_dir}")
        width = max(map(len, manifest.classes))
        for one in manifest.classes[:24]:
            there, known = split.class_counts[one], split.num_known(one)
            print(
                f"  {one:<{width}} {there:,} there, {known - there:,} not, "
                f"{split.num_examples - known:,} unknown"
            )
