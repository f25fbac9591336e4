"""Cleaned submissions: masks emptied where the classifier does not believe in the class.

A submission is Kaggle's: `Image_Label,EncodedPixels`, a row an (image, class) named `IMAGE_CLASS`.
Both may have underscores: the images and classes of the predictions tell where a name ends. Images
are paired by name, with or without its extension. A mask is one by its content: `nan`, `NULL`, `-1`
and `1 1` are none, and stay as they are.
"""

from __future__ import annotations

import dataclasses
import shutil
import textwrap
from collections import Counter
from typing import Optional

import numpy as np

from cloudtf import files
from cloudtf.data import rle
from cloudtf.data.image_names import ImageNames, Splitter
from cloudtf.errors import UserError, param
from cloudtf.model import calibration, thresholds
from cloudtf.model.thresholds import KINDS
from cloudtf.reporter import report
from cloudtf.settings import REQUIRED, Settings, setting
from cloudtf.submission import predictions
from cloudtf.text import MOST_SHOWN, extremes, listed

COLUMNS = ["Image_Label", "EncodedPixels"]


@dataclasses.dataclass(frozen=True)
class PostprocessConfig(Settings):
    """What to clean, with what, and where the result goes.

    >>> config = PostprocessConfig(
    ...     submission="submission.csv",
    ...     predictions="predictions.csv",
    ...     thresholds="runs/a/thresholds.json",
    ...     output="cleaned.csv",
    ... )
    """

    submission: str = setting(
        REQUIRED, "The submission CSV to clean, with the columns Image_Label,EncodedPixels."
    )
    predictions: str = setting(
        REQUIRED, "Probabilities of the same images, made by `cloudtf predict`."
    )
    thresholds: str = setting(REQUIRED, "thresholds.json made by `cloudtf evaluate`.")
    present_at: str = setting(
        "recall",
        "Which of its thresholds says that a class is present.",
        choices=KINDS,
    )
    calibrated: bool = setting(
        False,
        "The predictions were calibrated by `cloudtf predict`: so are the thresholds, by the "
        "calibration.json beside `thresholds`.",
    )
    output: str = setting(REQUIRED, "Where the cleaned submission goes; not over an input.")
    dry_run: bool = setting(False, "Only print what would be removed; write nothing.")


@dataclasses.dataclass(frozen=True)
class PostprocessResult:
    """What was done.

    Attributes:
      masks: non-empty masks before, a class, in the order of the prediction table.
      removed: masks emptied, a class.
      never_emptied: classes whose target no threshold reaches.
      unused_predictions: images with predictions that the submission does not name.
    """

    masks: dict[str, int]
    removed: dict[str, int]
    never_emptied: tuple[str, ...]
    unused_predictions: int


def postprocess(config: PostprocessConfig) -> PostprocessResult:
    """Empties the masks of each (image, class) whose probability is under the threshold.

    Rows keep their order, and every other cell is written as it was read. A class whose threshold
    is null is never emptied. Prints a table of masks before, removed and left.

    Raises:
      UserError: the output is one of the inputs; an input is missing or malformed; the classes of
        predictions and thresholds differ, or there are no such thresholds; the submission has a
        row twice, an Image_Label that cannot be divided or names a class or an image without
        predictions.

    >>> metrics = cloudtf.evaluate(cloudtf.EvaluateConfig(run_dir="runs/a", data_dir="records"))
    >>> names, scores, class_names = predictions.read("runs/a/predictions_val.csv")
    >>> rows = [(f"{name}_{kind}", "1 5") for name in names for kind in class_names]
    >>> predictions.write_table("submission.csv", COLUMNS, rows)
    >>> config = PostprocessConfig(
    ...     submission="submission.csv",
    ...     predictions="runs/a/predictions_val.csv",
    ...     thresholds="runs/a/thresholds.json",
    ...     output="cleaned.csv",
    ... )
    >>> result = postprocess(config)
    Recall thresholds of 12 examples of val.
    class ...
    Wrote cleaned.csv.
    >>> result.masks == {kind: len(names) for kind in class_names}
    True
    """
    files.check_output(
        config.output,
        "a submission",
        lambda content: content.lstrip(b"\xef\xbb\xbf").startswith(",".join(COLUMNS).encode()),
        {name: getattr(config, name) for name in ("submission", "predictions", "thresholds")},
    )
    names, scores, class_names = predictions.read(config.predictions)
    lowest = _thresholds(config, class_names)
    rows = _read_submission(config.submission)
    row_of = {name: index for index, name in enumerate(names)}
    column_of = {name: index for index, name in enumerate(class_names)}

    image_names = ImageNames(names)
    split = Splitter(image_names, class_names)

    masks: Counter[str] = Counter()
    removed: Counter[str] = Counter()
    cleaned, seen = [], set()
    for line, label, mask in rows:
        image, class_name = _split(config.submission, line, label, split)
        if class_name not in column_of:
            raise UserError(
                f"Line {line} of {config.submission} names the class {class_name!r}, which "
                f"{config.predictions} does not predict; it has {listed(class_names)}."
            )
        matches = image_names.matches(image)
        if len(matches) != 1:
            missing = {split(label)[0] for _, label, _ in rows}
            missing = {image for image in missing if len(image_names.matches(image)) != 1}
            raise UserError(
                f"Line {line} of {config.submission} names the image {image!r}, which has no "
                f"predictions in {config.predictions} ({len(missing)} such images in all); "
                "predict the images of this submission."
            )
        pair = row_of[matches[0]], column_of[class_name]
        if pair in seen:
            raise UserError(
                f"Line {line} of {config.submission} repeats {label!r}; each needs one row."
            )
        seen.add(pair)
        threshold = lowest[class_name]
        if not rle.is_empty(mask):
            masks[class_name] += 1
            if threshold is not None and scores[pair] < threshold:
                removed[class_name] += 1
                mask = ""
        cleaned.append([label, mask])

    result = PostprocessResult(
        masks={name: masks[name] for name in class_names},
        removed={name: removed[name] for name in class_names},
        never_emptied=tuple(name for name in class_names if lowest[name] is None),
        unused_predictions=len(names) - len({row for row, _ in seen}),
    )
    if not config.dry_run:
        predictions.write_table(config.output, COLUMNS, cleaned)
    width = shutil.get_terminal_size().columns
    report(describe(result, width))
    done = f"Wrote {config.output}." if not config.dry_run else "Dry run: nothing was written."
    report(done)
    return result


def describe(result: PostprocessResult, width: int = 80) -> str:
    """The table of masks before, removed and left a class, at most `width` columns wide."""
    numbers = "{:>8}{:>9}{:>8}".format
    least, most = extremes({name: result.removed[name] for name in result.masks})
    shown = most[::-1] or least
    room = max(8, min(max(map(len, [*shown, "class"])), width - len(numbers("", "", ""))))
    lines = [f"{'class':<{room}}{numbers('masks', 'removed', 'left')}"]
    for name in shown:
        before = result.masks[name]
        if len(name) > room:  # A long name gets a line of its own rather than being cut.
            lines.append(name)
            name_cell = ""
        else:
            name_cell = name
        gone = result.removed[name]
        lines.append(f"{name_cell:<{room}}{numbers(before, gone, before - gone)}")
    if len(shown) < len(result.masks):
        lines.append(f"... {len(result.masks) - len(shown):,} more classes, with fewer removed")
    before, gone = sum(result.masks.values()), sum(result.removed.values())
    lines.append(f"{'total':<{room}}{numbers(before, gone, before - gone)}")
    notes = [
        f"{name}: no threshold reaches the target, so no mask was removed."
        for name in result.never_emptied[:MOST_SHOWN]
    ]
    if len(result.never_emptied) > MOST_SHOWN:
        notes.append(f"The same of {len(result.never_emptied) - MOST_SHOWN:,} more classes.")
    if result.unused_predictions:
        notes.append(
            f"Predicted images that the submission does not name: {result.unused_predictions}."
        )
    lines += [line for note in notes for line in textwrap.wrap(note, max(20, width))]
    return "\n".join(lines)


def _thresholds(config: PostprocessConfig, class_names: list[str]) -> dict[str, Optional[float]]:
    found = thresholds.read(config.thresholds)
    report(f"{config.present_at.replace('_', ' ').capitalize()} thresholds {found}.")
    chosen = found.at(config.present_at, config.thresholds)
    without = [name for name in class_names if name not in chosen]
    unknown = [name for name in chosen if name not in class_names]
    if without or unknown:
        raise UserError(
            f"The classes of {config.predictions} ({listed(class_names)}) and of "
            f"{config.thresholds} ({listed(chosen)}) differ; take both from one model."
        )
    if not config.calibrated:
        return {name: chosen[name] for name in class_names}
    path = files.join(files.dirname(config.thresholds), calibration.FILE)
    if not files.exists(path):
        raise UserError(
            f"{param(calibrated=True)} needs {path}, which is not there; make it with `cloudtf "
            "evaluate`."
        )
    calibrated = calibration.read(path)
    lacking = [name for name in class_names if name not in calibrated.classes]
    if lacking or calibrated.source.get("weights_sha256") != found.source.get("weights_sha256"):
        raise UserError(f"{path} and {config.thresholds} are of different models; make both again.")
    return {
        name: None
        if chosen[name] is None
        else float(calibration.apply(calibrated.classes[name], np.float64(chosen[name])))
        for name in class_names
    }


def _read_submission(path: str) -> list[tuple[int, str, str]]:
    header, rows = predictions.read_table(path)
    if header != COLUMNS:
        raise UserError(
            f"The columns of the submission {path} are {','.join(header)[:60]!r}; they must be "
            f"{','.join(COLUMNS)!r}."
        )
    return [(line, cells[0], cells[1]) for line, cells in rows]


def _split(path: str, line: int, label: str, split: Splitter) -> tuple[str, str]:
    ways = split.ways(label)
    if not ways:
        raise UserError(
            f"Line {line} of {path} has the Image_Label {label!r}; it must be IMAGE_CLASS, such "
            "as 0011165.jpg_Fish."
        )
    if len(ways) > 1:
        either = " or ".join(f"{image!r} and {name!r}" for image, name in ways[:2])
        raise UserError(
            f"Line {line} of {path} has the Image_Label {label!r}, which may be the image and "
            f"class {either}; rename one."
        )
    return ways[0]
