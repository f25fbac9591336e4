"""Compare evaluated models on the same images: which differences are more than chance.

RUN is a run folder that was evaluated, or a prediction table with the truth; the first is what the
others are compared with. Several seeds of one recipe are joined by commas: a0,a1,a2 b0,b1,b2.
"""

from __future__ import annotations

import dataclasses
from typing import Sequence

from cloudtf.evaluation.compare import CompareConfig, compare

CONFIG = CompareConfig
WORDS = "RUN RUN ..."


def run(config: CompareConfig, words: Sequence[str]) -> None:
    """Compares, and prints the table or JSON."""
    compare(dataclasses.replace(config, runs=(*config.runs, *words)))
