"""Which classes a model takes for which, where several may be in one image.

An image that shows a class and not another is a confusion if the other is called present. How often
that is says little by itself: some classes are called present everywhere. So it stands beside how
often the other is called present in any image that does not show it. Classes that are often in one
image are confused by the company they keep: so how often two are together counts too, in the labels
and in what is called present.
"""

from __future__ import annotations

import dataclasses
from typing import Any, NamedTuple, Optional, Sequence

import numpy as np

# Of more classes the most frequent are looked at: pairs are their square.
_MOST_CLASSES = 2000
# Fewer images are no ground to say that two classes are confused.
_LEAST_IMAGES = 2


class Confusion(NamedTuple):
    """A class that is called present where another one is there.

    Attributes:
      shown: the number of the class that the images show.
      called: that of the class that they do not show, and that is called present.
      images: how many there are of which it is called.
      of: how many show the one and not the other.
      usual: the share of all images without the other in which it is called.
      in_labels: of images that show the one, the share that show the other too.
      in_calls: of images of which the one is called, the share of which the other is called too.
    """

    shown: int
    called: int
    images: int
    of: int
    usual: float
    in_labels: float
    in_calls: float


@dataclasses.dataclass(frozen=True)
class Confusions:
    """Which classes are called present in N images, and which are there.

    Attributes:
      labels: [N, C], 0, 1 or -1 (unknown).
      called: bool [N, C], which classes are called present.
    """

    labels: np.ndarray
    called: np.ndarray

    def falsely(self) -> tuple[np.ndarray, np.ndarray]:
        """Images that show the class of a row and not that of a column: [C, C], all of them, and
        those in which the latter is called present."""
        there = _sparse(self.labels > 0)
        not_absent, false = _sparse(self.labels != 0), _sparse(self.called & (self.labels == 0))
        count = np.asarray(there.sum(axis=0)).reshape(-1, 1)
        return count - (there.T @ not_absent).toarray(), (there.T @ false).toarray()

    def usual(self) -> np.ndarray:
        """[C], the share of images without each class in which it is called present; NaN where
        none is without it."""
        absent = self.labels == 0
        with np.errstate(invalid="ignore"):
            return (self.called & absent).sum(axis=0) / absent.sum(axis=0)

    def together(self) -> tuple[np.ndarray, np.ndarray]:
        """The share of images with the class of a row that have that of a column: [C, C] in the
        labels, and [C, C] in what is called present; NaN where no image has the former."""
        return _shares(self.labels > 0), _shares(self.called)

    def worst(self, most: int) -> list[Confusion]:
        """The pairs that are confused more often than usual, by how many images more."""
        of, false = self.falsely()
        usual = np.nan_to_num(self.usual())
        more = false - of * usual
        more[false < _LEAST_IMAGES] = 0
        np.fill_diagonal(more, 0)
        order = np.argsort(-more, axis=None, kind="stable")[:most]
        found = []
        for i, j in np.stack(np.unravel_index(order, more.shape), axis=1).tolist():
            if more[i, j] <= 0:
                break
            in_labels, in_calls = (
                float(_shares(part[:, [i, j]])[0, 1]) for part in (self.labels > 0, self.called)
            )
            counts = round(float(false[i, j])), round(float(of[i, j]))
            found.append(Confusion(i, j, *counts, float(usual[j]), in_labels, in_calls))
        return found


def most_frequent(labels: np.ndarray, most: int = _MOST_CLASSES) -> np.ndarray:
    """The numbers of the classes with the most images, at most so many, in their order."""
    counts = (labels > 0).sum(axis=0)
    return np.sort(np.argsort(-counts, kind="stable")[:most])


def called(scores: np.ndarray, thresholds: Sequence[Optional[float]]) -> np.ndarray:
    """Which classes are called present: bool [N, C]; none whose threshold is None."""
    return scores >= np.array([np.inf if one is None else one for one in thresholds])


def _sparse(part: np.ndarray) -> Any:
    from scipy.sparse import csr_matrix

    return csr_matrix(part, dtype=np.float32)


def _shares(part: np.ndarray) -> np.ndarray:
    """[C, C], the share of images with the class of a row that have that of a column."""
    counts = (part.T.astype(np.float32)) @ part
    with np.errstate(invalid="ignore"):
        return counts / np.diag(counts)[:, None]
