"""Average trained models into one.

RUN is a run folder or a .keras file; a run of --fold=all stands for the models of its folds. The
model that is made, best.keras in the output folder, holds them side by side; predict, evaluate and
export take it as any other. All must know the same classes and take images of the same size.

Of runs of --fold=all, thresholds and scores are written beside it. They are out of fold: each
photograph counts with those models that have not seen it, one a run.
"""

from __future__ import annotations

import dataclasses
import shutil
from typing import Sequence

from cloudtf.evaluation import tables
from cloudtf.evaluation.ensemble import EnsembleConfig, ensemble

CONFIG = EnsembleConfig
WORDS = "RUN RUN ..."


def run(config: EnsembleConfig, words: Sequence[str]) -> None:
    """Averages, and says what was found."""
    made = ensemble(dataclasses.replace(config, runs=(*config.runs, *words)))
    print(f"{len(made.members)} models as one, by {config.average}: {made.path}")
    if made.evaluation is None:
        print("Choose its thresholds with `cloudtf evaluate`.")
    else:
        print(tables.text(made.evaluation, shutil.get_terminal_size().columns))
