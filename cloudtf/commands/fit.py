"""From photographs to a trained, judged and exported model.

PHOTOS is a folder of photographs. LABELS.csv says what they show, in any of the kinds that convert
reads; without it the photographs are in a folder for each class, or their folder has the one CSV.

It looks at what is there, says what it understood, converts, trains within --minutes, evaluates,
exports, and names the file to open. The same command goes on after a crash or a stop. The flags
of convert and train are taken, but for folds and --find_rate; what is not given is chosen by the
machine and the time, or is as in those commands, which can do all of this too.
"""

from __future__ import annotations

import shutil
from typing import Any, Sequence

from cloudtf.errors import UsageError
from cloudtf.evaluation import tables
from cloudtf.fitting.config import FitConfig
from cloudtf.text import duration

CONFIG = FitConfig
WORDS = "PHOTOS [LABELS.csv]"


def run(config: Any, words: Sequence[str]) -> None:
    """Does all of it."""
    if not 1 <= len(words) <= 2:
        raise UsageError(
            "give the folder of the photographs, and the labels where there is a file of them: "
            "cloudtf fit PHOTOS LABELS.csv --output_dir=DIR."
        )
    from cloudtf.fitting.fit import fit

    fitted = fit(*words, config=config)
    metrics = fitted.metrics
    print(
        f"The best model, of epoch {fitted.epoch}, on {metrics['examples']:,} photographs of val:"
    )
    print(tables.of_metrics(metrics, fitted.thresholds, shutil.get_terminal_size().columns))
    print(f"Took {duration(fitted.seconds)} of {duration(60 * config.minutes)}.")
    print(f"For new photographs: cloudtf predict --model={fitted.model} --images_dir=...")
    print(f"For other programs: {fitted.exported}")
    print(f"Open {fitted.report}")
