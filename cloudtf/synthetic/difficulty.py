"""What makes scenes hard: patterns thin, mixed and half covered, and people who disagree on them.

Difficulty goes from 0, each pattern as its definition has it and each label right, to 1. People who
marked these patterns on real photographs agreed on about half of what they marked (Rasp et al.,
"Combining crowdsourcing and deep learning to explore the mesoscale organization of shallow
convection", 2020); at 1 so do the labellers here.
"""

from __future__ import annotations

import dataclasses
import math
from typing import Sequence

import numpy as np

from cloudtf.synthetic import clouds, scenes


def obscure(
    rng: np.random.Generator, regions: Sequence[scenes.Region], difficulty: float
) -> list[scenes.Region]:
    """Regions of the same outlines whose cloud is harder to tell.

    Args:
      rng: the generator of how each one looks.
      regions: the patterns of a scene and where they are.
      difficulty: how much harder to tell they become, from 0 (not at all) to 1.
    """
    return [dataclasses.replace(r, look=_look(rng, r.name, difficulty)) for r in regions]


def label(
    rng: np.random.Generator, regions: Sequence[scenes.Region], difficulty: float
) -> list[scenes.Region]:
    """The regions that a person marks in a scene, coarsely.

    The less is to be seen of a pattern, the rather it is overlooked; one that is mixed into it may
    be marked in its place or beside it; and some mark what is not there.

    Args:
      rng: the generator of the person's choices.
      regions: the patterns of a scene, as `obscure` gives them.
      difficulty: how much the person errs, from 0 (exactly what is there is marked) to 1.

    Returns:
      One region at most of each pattern.
    """
    marked: dict[str, scenes.Region] = {}
    for region in regions:
        look = region.look
        seen = look.amount * (1 - look.share) * (1 - look.hidden)
        if rng.random() < 1 - 0.25 * difficulty * (1 - seen):
            marked[region.name] = region
        if rng.random() < 0.5 * difficulty * look.share:
            marked.setdefault(look.other, dataclasses.replace(region, name=look.other))
    for name in clouds.DRAW:
        if rng.random() < 0.05 * difficulty:
            marked.setdefault(name, scenes.stray_region(rng, name))
    coarse = rng.random() < difficulty
    return [scenes.blur_region(rng, r) if coarse else r for r in marked.values()]


def _look(rng: np.random.Generator, name: str, difficulty: float) -> scenes.Look:
    others = [other for other in clouds.DRAW if other != name]
    return scenes.Look(
        amount=1 - difficulty * rng.uniform(0, 0.6),
        stretch=math.exp(difficulty * rng.uniform(-0.3, 0.3)),
        other=others[rng.integers(len(others))],
        share=difficulty * rng.uniform(0, 0.4),
        hidden=difficulty * rng.uniform(0, 0.5),
    )
