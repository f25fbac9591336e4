"""The results of a run as pandas DataFrames.

pandas is imported when a frame is asked for, and reads floats exactly
(`float_precision="round_trip"`; its default is off by one unit in the last place for some).
"""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any, Mapping, Sequence

from cloudtf import files
from cloudtf.errors import UserError, reason
from cloudtf.evaluation import history
from cloudtf.model import thresholds
from cloudtf.submission.predictions import IMAGE, TRUTH

if TYPE_CHECKING:
    import pandas as pd


def history_frame(run: str) -> pd.DataFrame:
    """The history of a run: a row an epoch, with the columns of `history.csv`.

    Args:
      run: a run folder, or the path of a `history.csv`.

    Returns:
      `epoch` int64, `stage` text, and float64 columns, NaN where a value does not exist.

    Raises:
      UserError: the file is missing or is not a history.

    >>> frame = cloudtf.history_frame("runs/a")
    >>> frame[["epoch", "stage"]].tail(1).to_dict("records")
    [{'epoch': 8, 'stage': 'whole'}]
    >>> bool(frame["loss"].iloc[-1] < frame["loss"].iloc[0])
    True
    """
    path = _in_run(run, "history.csv")
    frame = _read_csv(path, "a history", ("epoch", "stage"))
    try:
        return frame.astype({"epoch": "int64"})
    except ValueError as error:
        raise UserError(f"{path} is not a history ({reason(error)}).") from error


def of_history(rows: Sequence[history.Row]) -> pd.DataFrame:
    """The same from rows in memory, in which a value that does not exist may be missing."""
    import pandas as pd

    names = dict.fromkeys(name for row in rows for name in row)
    return pd.DataFrame(list(rows), columns=list(names) or ["epoch", "stage"])


def predictions_frame(run: str) -> pd.DataFrame:
    """The probabilities of images, a row an image.

    Args:
      run: a run folder that was evaluated, for the validation images; or the path of a table made
        by `cloudtf.evaluate` or `cloudtf.predict`.

    Returns:
      Indexed by the images' names (`Image`): a float64 column of probabilities a class, then,
      where the truth is known, a column `truth:CLASS` a class, 0 or 1 (NaN where it is unknown for
      some).

    Raises:
      UserError: the file is missing or is not a prediction table.

    >>> metrics = cloudtf.evaluate(cloudtf.EvaluateConfig(run_dir="runs/a", data_dir="records"))
    >>> frame = cloudtf.predictions_frame("runs/a")
    >>> frame.shape, list(frame.columns[:4])
    ((12, 8), ['Fish', 'Flower', 'Gravel', 'Sugar'])
    >>> bool((frame["truth:Fish"] == 1).any())
    True
    """
    path = _in_run(run, "predictions_val.csv")
    frame = _read_csv(path, "a prediction table", (IMAGE,)).set_index(IMAGE)
    classes = [name for name in frame.columns if not name.startswith(TRUTH)]
    for name in classes:
        if not frame[name].between(0, 1).all():
            raise UserError(f"{path} has values for {name} that are no numbers from 0 to 1.")
    return frame.astype(dict.fromkeys(classes, "float64"))


def scores_frame(run: str) -> pd.DataFrame:
    """What an evaluation has found about each class.

    Args:
      run: a run folder that was evaluated, or the path of a `metrics.json`.

    Returns:
      Indexed by `class`, the last of which is `mean`: float64 columns `pr_auc` and
      `average_precision`, NaN where they are undefined, and then `pr_auc_low`, `pr_auc_high`,
      `average_precision_low` and `average_precision_high`, the ends of their 95% intervals, where
      the file has these.

    Raises:
      UserError: the file is missing or is not of an evaluation.

    >>> metrics = cloudtf.evaluate(cloudtf.EvaluateConfig(run_dir="runs/a", data_dir="records"))
    >>> frame = cloudtf.scores_frame("runs/a")
    >>> list(frame.index), list(frame.columns[:2])
    (['Fish', 'Flower', 'Gravel', 'Sugar', 'mean'], ['pr_auc', 'average_precision'])
    >>> bool(frame.loc["mean", "pr_auc"] == metrics["pr_auc"]["mean"])
    True
    """
    import pandas as pd

    path = _in_run(run, "metrics.json")
    metrics = files.read_json(path)
    columns = ("pr_auc", "average_precision")
    try:
        found = {name: pd.Series(dict(metrics[name]), dtype="float64") for name in columns}
        for name in columns:
            by_class = dict(metrics.get("intervals", {}).get(name, {}))
            for end, place in (("low", 0), ("high", 1)) if by_class else ():
                ends = {key: interval[place] for key, interval in by_class.items()}
                found[f"{name}_{end}"] = pd.Series(ends, dtype="float64")
    except (AttributeError, LookupError, TypeError, ValueError) as error:
        raise UserError(
            f"{path} is not of an evaluation ({reason(error)}); make it again with `cloudtf "
            "evaluate`."
        ) from error
    return pd.DataFrame(found, index=found["pr_auc"].index).rename_axis("class")


def thresholds_frame(run: str) -> pd.DataFrame:
    """The thresholds of each class, and what they reach.

    Args:
      run: a run folder that was evaluated, or the path of a `thresholds.json`.

    Returns:
      Indexed by `class` and `kind` (`recall`, `recall_guaranteed`, `precision`,
      `precision_guaranteed`, and where they were asked for `f_beta` and `cost`): the columns
      `target`, `threshold`, `precision`, `recall`, `confidence`, and `precision_low`,
      `precision_high`, `recall_low`, `recall_high` (the ends of the 95% intervals), float64, NaN
      where the target cannot be reached, and what else an entry of the file has.

    Raises:
      UserError: the file is missing or damaged.

    >>> metrics = cloudtf.evaluate(cloudtf.EvaluateConfig(run_dir="runs/a", data_dir="records"))
    >>> frame = cloudtf.thresholds_frame("runs/a")
    >>> float(frame.loc[("Fish", "recall"), "target"])
    0.94
    >>> frame["threshold"].unstack().columns.tolist()
    ['precision', 'precision_guaranteed', 'recall', 'recall_guaranteed']
    """
    import pandas as pd

    entries = {
        (name, kind): _flat(entry)
        for name, by_kind in thresholds.read(_in_run(run, "thresholds.json")).classes.items()
        for kind, entry in by_kind.items()
    }
    frame = pd.DataFrame(list(entries.values()), dtype="float64")
    frame.index = pd.MultiIndex.from_tuples(entries, names=["class", "kind"])
    return frame


def _flat(entry: Mapping[str, Any]) -> dict[str, Any]:
    """An entry of `thresholds.json` with a number a column."""
    ends = {
        f"{name}_{end}": value
        for name, interval in (entry.get("intervals") or {}).items()
        for end, value in zip(("low", "high"), interval)
    }
    return {**{key: value for key, value in entry.items() if key != "intervals"}, **ends}


def _in_run(run: str, name: str) -> str:
    """The path of a file that may be given by its run folder."""
    return run if run.endswith(name[name.rindex(".") :]) else files.join(run, name)


def _read_csv(path: str, kind: str, texts: Sequence[str]) -> pd.DataFrame:
    """A CSV of text in the columns `texts`, which come first, and of numbers in all others."""
    import pandas as pd

    content = files.read_bytes(path)

    def read(**options: Any) -> pd.DataFrame:
        return pd.read_csv(
            io.BytesIO(content),
            encoding="utf-8-sig",
            float_precision="round_trip",
            # An image may be called NA.
            keep_default_na=False,
            na_values=[""],
            **options,
        )

    try:
        names = read(header=None, nrows=1, dtype=str).iloc[0].tolist()
        frame = read(header=0, names=names, dtype=dict.fromkeys(texts, str))
    except ValueError as error:  # pandas' own are of this kind.
        raise UserError(f"{path} is not {kind} ({reason(error)}).") from error
    columns = frame.columns[len(texts) :]
    # Where each row has a cell more than the header, pandas takes the first for an index.
    whole = isinstance(frame.index, pd.RangeIndex) and names[: len(texts)] == list(texts)
    if not whole or not all(frame[name].dtype.kind in "fi" for name in columns):
        raise UserError(f"{path} is not {kind}: {', '.join(texts)} come first, then numbers.")
    return frame
