"""How much more the presence of a rare class weighs in a loss than its absence."""

from __future__ import annotations

from typing import Sequence

import numpy as np

from cloudtf.errors import UserError, param
from cloudtf.model.choices import EFFECTIVE_BETA, POSITIVE_WEIGHTS


def positive_weights(
    kind: str, positives: Sequence[int], negatives: Sequence[int], beta: float = EFFECTIVE_BETA
) -> np.ndarray:
    """The weight of each class's presence, for `get_loss(..., positive_weights=)`.

    - `inverse`: negatives / positives, so that both sides of a class weigh the same in all.
    - `effective`: the same of effective numbers, E(n) = (1 - beta^n) / (1 - beta), which grow ever
      more slowly with n (Cui et al. 2019, arXiv:1901.05555): E(negatives) / E(positives). With
      beta = 0 all weights are 1; as beta nears 1 they are those of `inverse`.

    Args:
      kind: the kind of weights, one of `POSITIVE_WEIGHTS`.
      positives: [C], examples that show each class.
      negatives: [C], examples that do not; those whose label is unknown are neither.
      beta: from 0 to under 1, for `effective`; about 1 - 1/n for n examples that tell all.

    Returns:
      float32 [C]; 1 for a class without positives or without negatives.

    Raises:
      UserError: there is no such kind, or beta is out of range.

    >>> positive_weights("inverse", [10, 50], [90, 50]).tolist()
    [9.0, 1.0]
    >>> cloudtf.positive_weights("effective", [2, 50], [4, 50], beta=0.5).tolist()
    [1.25, 1.0]
    """
    if kind not in POSITIVE_WEIGHTS:
        kinds = ", ".join(POSITIVE_WEIGHTS)
        raise UserError(f"There are no positive weights {kind!r}; there are {kinds}.")
    if not 0 <= beta < 1:
        raise UserError(f"{param(beta=beta)} must be at least 0 and under 1.")
    if kind == "none":
        return np.ones(len(positives), np.float32)
    numbers = np.asarray([positives, negatives], np.float64)
    if kind == "effective":
        numbers = (1 - beta**numbers) / (1 - beta)
    one_sided = (numbers == 0).any(axis=0)
    numbers[:, one_sided] = 1
    return (numbers[1] / numbers[0]).astype(np.float32)
