"""Whether one model is better than another, or the images (or the seeds) only say so by chance.

All are scored on the same images, so the errors that these make are shared, and the difference is
surer than either score: the bootstrap draws the same images for both (Efron and Tibshirani, "An
Introduction to the Bootstrap", 1993, on paired data), and images that belong together as one, where
the records are at hand that know it. A difference is called one where its 95%
interval does not hold 0, which happens to models that do not differ 5 times of 100.

Two trainings of one recipe differ too. What several seeds of each recipe differ by is added to what
the images leave open, by Welch's approximation (1947) for few seeds. Of one seed each, only the two
models are compared, and not the recipes.
"""

from __future__ import annotations

import dataclasses
import json
import math
from typing import Any, Mapping, Optional, Sequence

import numpy as np

from cloudtf import files
from cloudtf.data import photograph_table, records
from cloudtf.errors import UsageError, UserError, param
from cloudtf.evaluation.bootstrap import Resamples, affordable, areas, mean_of_classes
from cloudtf.reporter import report
from cloudtf.settings import Settings, setting
from cloudtf.submission import predictions
from cloudtf.text import extremes, listed

LEVEL = 0.95
MEASURES = ("average_precision", "pr_auc")
# Of a difference that is what it seems, so often the images that are asked for would show it.
_POWER = 0.8


@dataclasses.dataclass(frozen=True)
class CompareConfig(Settings):
    """Which models to compare, by what, and what to write.

    >>> CompareConfig(runs=("runs/a", "runs/b0,runs/b1")).measure
    'average_precision'
    """

    runs: tuple[str, ...] = setting(
        (),
        "Evaluated run folders, or prediction tables with the truth; several seeds of one recipe "
        "are joined by commas. The first is what the others are compared with.",
    )
    data_dir: Optional[str] = setting(
        None,
        "Folder of the records, which knows the images that belong together. Default: that of the "
        "first run whose records are where they were evaluated.",
    )
    measure: str = setting("average_precision", "What is compared.", choices=MEASURES)
    plot: Optional[str] = setting(None, "PNG to draw the differences in.")
    json: bool = setting(False, "Print JSON in place of the table.")
    seed: int = setting(0, "Keys the resamples of images.", minimum=0)


@dataclasses.dataclass(frozen=True)
class Scored:
    """What the models of one recipe say of the same images.

    Attributes:
      name: the run folder or table, or several joined by commas.
      scores: [S, N, C], of S seeds, N images and C classes.
    """

    name: str
    scores: np.ndarray


@dataclasses.dataclass(frozen=True)
class Difference:
    """One score beside that of the first recipe.

    Attributes:
      value: by how much it is higher; NaN where it does not exist.
      low: where the 95% interval of the difference begins.
      high: where that interval ends.
      images: the standard deviation of the difference over other images.
      seeds: the same over other seeds; NaN where there is one seed of either.
      images_needed: with how many images it would be seen 4 times of 5, if it is the true one; None
        where no number would do, since the seeds differ too much.
    """

    value: float
    low: float
    high: float
    images: float
    seeds: float
    images_needed: Optional[int]

    @property
    def is_one(self) -> bool:
        """Whether it is more than chance."""
        return bool(self.low > 0 or self.high < 0)


def compare(config: CompareConfig) -> dict[str, Any]:
    """Compares models on the images that all of them were evaluated on, and reports it.

    Returns:
      `measure`, `images`, `data` (the records that say which images belong together; None where
      they are not at hand), `groups` (how many there are; None where each image is its own),
      `first` (its scores by class and `mean`), and `others`: for each its `name`, `seeds`, its
      scores, and `differences` by class and `mean`, with the fields of `Difference` and `is_one`.

    Raises:
      UserError: a run was not evaluated, or on other images or classes, or by other labels; or
        `data_dir` has no records.

    >>> metrics = cloudtf.evaluate(cloudtf.EvaluateConfig(run_dir="runs/a", data_dir="records"))
    >>> found = compare(CompareConfig(runs=("runs/a", "runs/a/predictions_val.csv")))
    average_precision of 12 images, ...
    >>> found["others"][0]["differences"]["mean"]["is_one"]
    False
    """
    if len(config.runs) < 2:
        raise UsageError(f"{param('runs')} needs two of them at least, to compare.")
    judged = read(config.runs)
    labels, classes = judged.labels, judged.classes
    first, *others = judged.recipes
    data_dir = config.data_dir or _data_dir(judged.tables)
    groups = None
    if data_dir is not None:
        manifest = records.read_manifest(data_dir)
        groups = photograph_table.read(data_dir, manifest).shared_groups(judged.names)
    resamples = Resamples(len(labels), config.seed, affordable(labels), groups)
    result: dict[str, Any] = {
        "measure": config.measure,
        "images": len(labels),
        "data": data_dir,
        "groups": None if groups is None else len(set(groups)),
        "first": _described(first, labels, classes, config.measure),
        "others": [],
    }
    every = differences(labels, first, others, classes, resamples, config.measure)
    for other, found in zip(others, every):
        result["others"].append(
            {
                **_described(other, labels, classes, config.measure),
                "differences": {
                    name: {**dataclasses.asdict(one), "is_one": one.is_one}
                    for name, one in found.items()
                },
            }
        )
    if config.plot is not None:
        from cloudtf.evaluation import compare_plot, plots

        files.check_output(config.plot, "a picture made by cloudtf", plots.is_picture)
        compare_plot.draw(config.plot, result)
    report(json.dumps(_finite(result), indent=2) if config.json else table(result))
    return result


def differences(
    labels: np.ndarray,
    first: Scored,
    others: Sequence[Scored],
    classes: Sequence[str],
    resamples: Resamples,
    measure: str = MEASURES[0],
) -> list[dict[str, Difference]]:
    """How much better each other is than the first, of each class and on average (`mean`).

    Args:
      labels: [N, C], 0 or 1; -1 where it is not known.
      first: the scores of the recipe that the others are compared with.
      others: the scores of the other recipes, on the same images in the same order.
      classes: the C class names.
      resamples: which images are drawn how often, the same for all recipes.
      measure: the score that is compared, one of `MEASURES`, such as `pr_auc`.
    """
    values, draws = _measured(labels, first, resamples, measure)
    found = []
    for other in others:
        its_values, its_draws = _measured(labels, other, resamples, measure)
        drawn = its_draws - draws
        found.append(
            {
                name: _difference([values[:, i], its_values[:, i]], drawn[:, i], len(labels))
                for i, name in enumerate((*classes, "mean"))
            }
        )
    return found


def _measured(
    labels: np.ndarray, recipe: Scored, resamples: Resamples, measure: str
) -> tuple[np.ndarray, np.ndarray]:
    """The score of each class, and their mean: of each seed [S, C + 1], and as drawn [R, C + 1]."""
    by_seed = []
    for one in recipe.scores:
        drawn = getattr(areas(labels, one, resamples), measure)
        by_seed.append(np.concatenate([drawn, mean_of_classes(drawn)[:, None]], axis=1))
    values = np.stack([_values(labels, one, measure) for one in recipe.scores])
    return values, np.mean(by_seed, axis=0)


def _values(labels: np.ndarray, scores: np.ndarray, measure: str) -> np.ndarray:
    """The score of each class, and their mean: [C + 1]."""
    from cloudtf.evaluation import pr_auc

    names = [str(number) for number in range(labels.shape[1])]
    found = pr_auc.score(labels, scores, names)
    mean = found.mean_average_precision if measure == MEASURES[0] else found.mean_pr_auc
    return np.array([*getattr(found, measure).values(), mean], np.float64)


def _difference(values: Sequence[np.ndarray], draws: np.ndarray, num_images: int) -> Difference:
    """Of a score by seed of either recipe, and the draws [R] of the difference of their means."""
    from scipy.stats import norm, t

    value = float(values[1].mean() - values[0].mean())
    known = draws[np.isfinite(draws)]
    if not math.isfinite(value) or len(known) < max(2, len(draws) / 2):
        return Difference(math.nan, math.nan, math.nan, math.nan, math.nan, None)
    of_images = float(known.var(ddof=1))
    of_seeds, freedom = 0.0, math.inf
    seeded = min(map(len, values)) > 1
    if seeded:
        parts = [(one.var(ddof=1) / len(one), len(one) - 1) for one in values]
        of_seeds = float(sum(part for part, _ in parts))
        # The bootstrap's part is as if known.
        spread = sum(part**2 / degrees for part, degrees in parts)
        freedom = (of_images + of_seeds) ** 2 / spread if spread > 0 else math.inf
    quantile = (norm if math.isinf(freedom) else t(freedom)).ppf((1 + LEVEL) / 2)
    width = float(quantile) * math.sqrt(of_images + of_seeds)
    wanted = float(quantile) + float(norm.ppf(_POWER))
    room = value**2 - wanted**2 * of_seeds
    images_needed = None
    if room > 0 and of_images > 0:
        images = wanted**2 * of_images * num_images / room
        images_needed = max(1, math.ceil(images)) if images < 1e12 else None
    elif room > 0:
        images_needed = num_images
    return Difference(
        value,
        value - width,
        value + width,
        math.sqrt(of_images),
        math.sqrt(of_seeds) if seeded else math.nan,
        images_needed,
    )


@dataclasses.dataclass(frozen=True)
class Judged:
    """Recipes that were judged on the same images.

    Attributes:
      names: the N image names, in the order of the rows.
      labels: [N, C], 0, 1 or -1 (unknown).
      classes: the C class names.
      recipes: the scores of each recipe.
      tables: the paths of all prediction tables.
    """

    names: list[str]
    labels: np.ndarray
    classes: tuple[str, ...]
    recipes: list[Scored]
    tables: list[str]


def read(runs: Sequence[str]) -> Judged:
    """Reads what was evaluated, in one order of the images.

    Args:
      runs: run folders or prediction tables; those of one recipe joined by commas.

    Raises:
      UserError: one was not evaluated, or on other images or classes, or by other labels.
    """
    known: Optional[tuple[str, list[str], list[str], np.ndarray]] = None
    recipes, tables = [], []
    for word in runs:
        paths = [word] if files.exists(word) else word.split(",")
        scores = []
        for path in map(_table_of, paths):
            tables.append(path)
            names, classes, truth, scored = _read(path)
            if known is None:
                known = path, names, classes, truth
            before, known_names, known_classes, known_truth = known
            if classes != known_classes:
                raise UserError(
                    f"{path} is about {listed(classes)}, {before} about {listed(known_classes)}; "
                    "only models of the same classes, in one order, can be compared."
                )
            if sorted(names) != sorted(known_names):
                raise UserError(
                    f"{path} and {before} are about other images; evaluate all models on one split "
                    "of one set of records."
                )
            row_of = {name: row for row, name in enumerate(names)}
            order = [row_of[name] for name in known_names]
            if not np.array_equal(truth[order], known_truth):
                raise UserError(
                    f"{path} has other labels than {before}; evaluate both on the same records."
                )
            scores.append(scored[order])
        recipes.append(Scored(word, np.stack(scores)))
    assert known is not None
    _, names, classes, truth = known
    return Judged(names, truth, tuple(classes), recipes, tables)


def _data_dir(tables: Sequence[str]) -> Optional[str]:
    """The records that one of the tables is of, if they are where they were; else None."""
    for path in tables:
        split = files.basename(path)[len("predictions_") : -len(".csv")]
        for name in (f"metrics_{split}.json", "metrics.json"):
            metrics = files.join(files.dirname(path), name)
            data = files.read_json(metrics).get("data") if files.exists(metrics) else None
            if isinstance(data, str) and files.exists(files.join(data, records.MANIFEST_NAME)):
                return data
    return None


def _table_of(path: str) -> str:
    """The prediction table of a run, or that which a path names."""
    if path.endswith(".csv"):
        return path
    for split in _splits_of(path):
        table = files.join(path, f"predictions_{split}.csv")
        if files.exists(table):
            return table
    raise UserError(f"{path} has no predictions with their truth; run `cloudtf evaluate` on it.")


def _splits_of(run_dir: str) -> list[str]:
    metrics = files.join(run_dir, "metrics.json")
    judged = files.read_json(metrics).get("split") if files.exists(metrics) else None
    return [judged] if isinstance(judged, str) else ["val", "oof"]


def _read(path: str) -> tuple[list[str], list[str], np.ndarray, np.ndarray]:
    """Names, classes, truth and scores in a prediction table."""
    names, scores, classes = predictions.read(path)
    return names, classes, predictions.read_truth(path), scores


def _described(
    recipe: Scored, labels: np.ndarray, classes: Sequence[str], measure: str
) -> dict[str, Any]:
    values = np.mean([_values(labels, one, measure) for one in recipe.scores], axis=0)
    return {
        "name": recipe.name,
        "seeds": len(recipe.scores),
        "scores": dict(zip((*classes, "mean"), values.tolist())),
    }


def table(result: Mapping[str, Any], most: int = 8) -> str:
    """The comparison as lines of text, at most 80 columns wide where names are short.

    Args:
      result: scores and differences, as `compare` returns them.
      most: of more than twice as many classes, so many that differ least, and most, are shown.
    """
    first = result["first"]
    groups = "" if result["groups"] is None else f" in {result['groups']:,} groups"
    lines = [f"{result['measure']} of {result['images']:,} images{groups}, beside {_named(first)}"]
    if result["data"] is None:
        hint = param("data_dir")
        lines.append(f"Each image is taken for one of its own; {hint} says which belong together.")
    for other in result["others"]:
        found = other["differences"]
        lines += ["", _named(other)]
        by_value = {name: one["value"] for name, one in found.items() if name != "mean"}
        shown = [name for some in extremes(by_value, most) for name in some]
        width = max(8, *(len(name) + 1 for name in [*shown, "mean"]))
        lines.append(f"{'class':<{width}}{'first':>8}{'this':>8}{'difference':>12}   95% interval")
        for name in [*shown, "mean"]:
            one = found[name]
            row = (
                f"{name:<{width}}{_decimal(first['scores'][name])}{_decimal(other['scores'][name])}"
            )
            if math.isfinite(one["value"]):
                row += f"{one['value']:>+12.4f}   {one['low']:+.4f} to {one['high']:+.4f}"
            lines.append(row)
        lines.append(verdict(found["mean"], min(first["seeds"], other["seeds"])))
    return "\n".join(lines)


def verdict(mean: Mapping[str, Any], seeds: int) -> str:
    """What the difference of the means says, in a sentence or two.

    Args:
      mean: the fields of a `Difference`, and `is_one`.
      seeds: the fewest seeds of either recipe.
    """
    if not math.isfinite(mean["value"]):
        return "It cannot be said: no class has both kinds of labels."
    what = "images" if seeds == 1 else "images and seeds"
    if mean["is_one"]:
        better = "Better" if mean["value"] > 0 else "Worse"
        said = f"{better}, by more than the noise of the {what}."
    else:
        said = f"Not told apart from the noise of the {what}."
        if mean["value"] != 0:
            said += (
                f" If the true difference is the one measured, about {mean['images_needed']:,} "
                "images are needed to see it 4 times of 5."
                if mean["images_needed"] is not None
                else " No number of images would show it: more seeds would."
            )
    if seeds == 1:
        said += " That is of one seed; another may score otherwise."
    return said


def _named(recipe: Mapping[str, Any]) -> str:
    return f"{recipe['name']} ({recipe['seeds']} seeds)" if recipe["seeds"] > 1 else recipe["name"]


def _decimal(value: float) -> str:
    return f"{value:>8.4f}" if math.isfinite(value) else f"{'–':>8}"


def _finite(value: Any) -> Any:
    """JSON knows no NaN."""
    if isinstance(value, dict):
        return {key: _finite(one) for key, one in value.items()}
    if isinstance(value, list):
        return [_finite(one) for one in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
