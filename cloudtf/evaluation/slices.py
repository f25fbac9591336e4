"""Where a model is better or worse: its scores on parts of the images, by columns that were kept.

A column of text gives a slice a value, one of numbers or dates with many values its quartiles. Each
slice is compared with the rest of the images on the same classes. An area depends on how frequent a
class is; so the negatives of the rest are weighted until a class is as frequent there as in the
slice, and what differs is how well the classes are told, not how many there are.

The interval of a difference is made of those of the two scores (Zou and Donner, "Construction of
confidence limits about effect measures: a general approach", Statistics in Medicine 2008): slice
and rest have no image in common. A slice is called different at a level that allows for the number
of slices (Bonferroni), so that in at most 5 of 100 evaluations chance alone calls any of them so.
"""

from __future__ import annotations

import collections
import dataclasses
import datetime
import math
from typing import Any, Mapping, NamedTuple, Optional, Sequence

import numpy as np

from cloudtf.evaluation import bootstrap, guarantees, intervals

# The most values of a column that are slices; the rest are one more.
_MOST_VALUES = 10
# Fewer images are joined with others, or not scored.
_LEAST_IMAGES = 20
# Of a class, positives and negatives that slice and rest have at least if it is to count.
_LEAST_OF_A_KIND = 5
# Classes that are scored, the most frequent of the slice; and resamples of an interval.
_MOST_CLASSES, _RESAMPLES = 20, 200
_OTHER = "other"


class Part(NamedTuple):
    """Some of the images, by their value in a column.

    Attributes:
      value: the text in their cells (empty where nothing is known), `FIRST to LAST`, or `other`.
      rows: bool [N], which images they are.
      joined: the number of values that `other` stands for; 0 for a value of its own.
    """

    value: str
    rows: np.ndarray
    joined: int = 0


def find(
    columns: Mapping[str, Sequence[str]],
    labels: np.ndarray,
    scores: np.ndarray,
    class_names: Sequence[str],
    resamples: bootstrap.Resamples,
) -> dict[str, list[dict[str, Any]]]:
    """The scores of each slice of N images, and how they differ from those of the other images.

    Args:
      columns: column -> a cell for each image, empty where nothing is known.
      labels: [N, C], 0 or 1; -1 where it is not known.
      scores: [N, C], probabilities.
      class_names: the C class names.
      resamples: which images are drawn how often; some of them are taken.

    Returns:
      Column -> its slices, each with `value`, `joined` (how many values are joined in it, where
      some are), `examples`, `positives` by class (of those that it shows), `pr_auc` (the mean over
      the classes that it has enough of, NaN if none), its `interval`, `rest` (the mean on the other
      images, their classes as frequent), `difference`, its `difference_interval`, both 95%, and
      `differs`, whether that is more than noise.

    >>> random = np.random.default_rng(0)
    >>> labels = (random.random((400, 1)) < 0.4).astype(int)
    >>> noise = np.repeat([[0.2], [2.0]], 200, axis=0)
    >>> scores = 1 / (1 + np.exp(-(2 * labels - 1 + noise * random.normal(size=(400, 1)))))
    >>> columns = {"site": ["near"] * 200 + ["far"] * 200}
    >>> found = find(columns, labels, scores, ["Fish"], bootstrap.Resamples(400))
    >>> [(one["value"], one["examples"], one["differs"]) for one in found["site"]]
    [('far', 200, True), ('near', 200, True)]
    """
    labels, scores = np.asarray(labels), np.asarray(scores, np.float64)
    resamples = dataclasses.replace(resamples, count=min(_RESAMPLES, resamples.count))
    parts = {column: divided(cells) for column, cells in columns.items()}
    measured = {
        column: [_measured(part.rows, labels, scores, resamples) for part in some]
        for column, some in parts.items()
    }
    count = sum(one.rest is not None for some in measured.values() for one in some)
    found: dict[str, list[dict[str, Any]]] = {}
    for column, some in parts.items():
        found[column] = []
        for part, one in zip(some, measured[column]):
            positives = (labels[part.rows] > 0).sum(axis=0).tolist()
            found[column].append(
                {
                    "value": part.value,
                    **({"joined": part.joined} if part.joined else {}),
                    "examples": int(part.rows.sum()),
                    "positives": {n: k for n, k in zip(class_names, positives) if k},
                    **_described(one, count),
                }
            )
    return found


def divided(cells: Sequence[str]) -> list[Part]:
    """The images by their values: every image is in one part.

    Args:
      cells: the text of each of the N images.

    >>> [part.value for part in divided(["b"] * 30 + ["a"] * 40 + ["rare"] + [""])]
    ['a', 'b', 'other', '']
    """
    texts = np.array([" ".join(cell.split()) for cell in cells], object)
    counts = collections.Counter(texts.tolist())
    blank = counts.pop("", 0)
    numbers = _numbers(counts)
    parts = []
    if numbers is not None and len(counts) > _MOST_VALUES:
        parts = _quartiles(texts, numbers)
    else:
        frequent = [value for value, count in counts.most_common() if count >= _LEAST_IMAGES]
        frequent = sorted(frequent, key=lambda value: (-counts[value], value))[:_MOST_VALUES]
        if numbers is not None:
            frequent.sort(key=numbers.__getitem__)
        parts = [Part(value, texts == value) for value in frequent]
        others = counts.keys() - set(frequent)
        if others:
            rows = np.array([text in others for text in texts], bool)
            parts.append(Part(_OTHER, rows, len(others)))
    return [*parts, *([Part("", texts == "")] if blank else [])]


def table(slices: Mapping[str, Sequence[Mapping[str, Any]]]) -> str:
    """The slices that have a score as lines of text, at most 80 columns wide where names are short.

    Args:
      slices: what `find` returned, or the same from JSON.
    """
    scored = [
        (named(column, one), one)
        for column, some in slices.items()
        for one in some
        if one["pr_auc"] is not None and math.isfinite(one["pr_auc"])
    ]
    if not scored:
        return "No slice has enough images of both kinds for a score."
    scored = [(name if len(name) <= 36 else f"{name[:33]}...", one) for name, one in scored]
    width = max(len(name) for name, _ in scored) + 2
    lines = [f"{'slice':<{width}}{'images':>7}  PR-AUC  95% interval     the rest"]
    for name, one in scored:
        low, high = one["interval"]
        line = f"{name:<{width}}{one['examples']:>7,}  {one['pr_auc']:.4f}  {low:.3f} to {high:.3f}"
        if one["rest"] is not None and math.isfinite(one["rest"]):
            line += f"    {one['rest']:.4f}{'  ' + verdict(one) if one['differs'] else ''}"
        lines.append(line)
    return "\n".join(lines)


def named(column: str, one: Mapping[str, Any]) -> str:
    """What a slice is called, such as `site: Barbados`.

    Args:
      column: the name of the column.
      one: a slice of it, as `find` gives them.
    """
    if one.get("joined"):
        return f"{column}: {one['joined']:,} other value{'s' * (one['joined'] > 1)}"
    return f"{column}: {one['value'] or '(blank)'}"


def verdict(one: Mapping[str, Any]) -> str:
    """`better` or `worse` for a slice that differs from the rest by more than noise, else nothing.

    Args:
      one: a slice, as `find` gives them.
    """
    if not one["differs"]:
        return ""
    return "better" if one["difference"] > 0 else "worse"


class _Score(NamedTuple):
    """A mean of areas, its draws [R], and the positives that it was measured on.

    And how much it is too high, and the variances [C] and numbers [C] that say how sure it is.
    """

    value: float
    draws: np.ndarray
    positives: int
    bias: float
    variances: np.ndarray
    fewer: np.ndarray

    def interval(self, level: float) -> intervals.Interval:
        critical = intervals.critical_value(self.variances, self.fewer, level)
        return intervals.of_area(self.value, self.draws, self.positives, level, self.bias, critical)


class _Measured(NamedTuple):
    """The score of a slice, and of the rest; None where there is none."""

    own: Optional[_Score]
    rest: Optional[_Score]


def _measured(
    rows: np.ndarray, labels: np.ndarray, scores: np.ndarray, resamples: bootstrap.Resamples
) -> _Measured:
    here, there = _kinds(labels[rows]), _kinds(labels[~rows])
    enough = (here >= _LEAST_OF_A_KIND).all(axis=0)
    in_both = enough & (there >= _LEAST_OF_A_KIND).all(axis=0)
    has_rest = in_both.any()
    classes = np.flatnonzero(in_both if has_rest else enough)
    if rows.sum() < _LEAST_IMAGES or not len(classes):
        return _Measured(None, None)
    classes = np.sort(classes[np.argsort(-here[0, classes], kind="stable")][:_MOST_CLASSES])
    labels, scores = labels[:, classes], scores[:, classes]
    own = _score(np.where(rows[:, None], labels, -1), scores, resamples)
    if not has_rest:
        return _Measured(own, None)
    (positives, negatives), (other_positives, other_negatives) = here[:, classes], there[:, classes]
    weight = negatives / positives * other_positives / other_negatives
    weights = np.where(labels > 0, 1, weight)
    return _Measured(own, _score(np.where(rows[:, None], -1, labels), scores, resamples, weights))


def _kinds(labels: np.ndarray) -> np.ndarray:
    """Positives and negatives of each class: int [2, C]."""
    return np.stack([(labels > 0).sum(axis=0), (labels == 0).sum(axis=0)])


def _score(
    labels: np.ndarray,
    scores: np.ndarray,
    resamples: bootstrap.Resamples,
    weights: Optional[np.ndarray] = None,
) -> _Score:
    value = bootstrap.areas(labels, scores, None, weights).pr_auc
    drawn = bootstrap.filled(bootstrap.areas(labels, scores, resamples, weights).pr_auc)
    there, absent = labels > 0, labels == 0
    positives = guarantees.effective_counts(there, resamples.groups)
    fewer = np.minimum(positives, guarantees.effective_counts(absent, resamples.groups))
    biases = bootstrap.biases(labels, scores, weights, there.sum(axis=0) / np.maximum(positives, 1))
    return _Score(
        float(value.mean()),
        drawn.mean(axis=1),
        int(positives.sum()),
        float(biases.mean()),
        drawn.var(axis=0),
        fewer,
    )


def _described(found: _Measured, count: int) -> dict[str, Any]:
    """The scores of a slice, one of `count` that are compared."""
    own, rest = found
    nothing = {"pr_auc": math.nan, "interval": list(intervals.UNKNOWN)}
    score = nothing if own is None else {
        "pr_auc": own.value,
        "interval": list(own.interval(intervals.LEVEL)),
    }  # fmt: skip
    if own is None or rest is None:
        unknown = list(intervals.UNKNOWN)
        return {
            **score,
            "rest": math.nan,
            "difference": math.nan,
            "difference_interval": unknown,
            "differs": False,
        }
    low, high = _difference(own, rest, 1 - (1 - intervals.LEVEL) / count)
    return {
        **score,
        "rest": rest.value,
        "difference": own.value - rest.value,
        "difference_interval": list(_difference(own, rest, intervals.LEVEL)),
        "differs": bool(low > 0 or high < 0),
    }


def _difference(one: _Score, other: _Score, level: float) -> intervals.Interval:
    """The interval of the difference of two scores of different images."""
    (low, high), (other_low, other_high) = one.interval(level), other.interval(level)
    value = one.value - other.value
    return (
        value - math.hypot(one.value - low, other_high - other.value),
        value + math.hypot(high - one.value, other.value - other_low),
    )


def _quartiles(texts: np.ndarray, numbers: Mapping[str, float]) -> list[Part]:
    """Parts of about as many images, those of one value in one part."""
    values = np.array([numbers.get(text, math.nan) for text in texts])
    known = np.isfinite(values)
    inner = np.quantile(values[known], (0.25, 0.5, 0.75), method="inverted_cdf")
    quarter = np.where(known, np.searchsorted(inner, values), -1)
    parts = []
    for number in np.unique(quarter[known]):
        rows = quarter == number
        ordered = sorted(set(texts[rows].tolist()), key=numbers.__getitem__)
        first, last = ordered[0], ordered[-1]
        parts.append(Part(first if first == last else f"{first} to {last}", rows))
    return parts


def _numbers(texts: Mapping[str, int]) -> Optional[dict[str, float]]:
    """The number, or the time of the date, in each text; None unless all have one."""
    for number in (float, _seconds):
        try:
            found = {text: number(text) for text in texts}
        except ValueError:
            continue
        if all(map(math.isfinite, found.values())):
            return found
    return None


def _seconds(text: str) -> float:
    moment = datetime.datetime.fromisoformat(text)
    return moment.replace(tzinfo=moment.tzinfo or datetime.timezone.utc).timestamp()
