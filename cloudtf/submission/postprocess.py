"""Cleaned submissions: masks emptied where the classifier does not believe in the class.

A submission is Kaggle's: `Image_Label,EncodedPixels`, a row an (image, class) named `IMAGE_CLASS`.
Both may have underscores: the images and classes of the predictions tell where a name ends. Images
are paired by name, with or without its extension. A mask is one by its content: `nan`, `NULL`, `-1`
and `1 1` are none, and stay as they are.
"""

from __future__ import annotations

import collections
import dataclasses
import re
import shutil
import textwrap
from collections import Counter
from typing import Optional, Sequence

import numpy as np

from cloudtf import csv_files, files
from cloudtf.data import rle
from cloudtf.errors import UsageError, UserError, param
from cloudtf.model import calibration, thresholds
from cloudtf.model.thresholds import KINDS
from cloudtf.reporter import report
from cloudtf.settings import REQUIRED, Settings, setting
from cloudtf.submission import expected_dice, pairs, predictions
from cloudtf.text import MOST_SHOWN, extremes, listed

COLUMNS = pairs.COLUMNS
# What masks of labelled images are known by.
LABELLED = ("labelled_submission", "labelled_predictions", "labelled_truth")
_INPUTS = ("submission", "predictions", "thresholds", "calibration", *LABELLED)


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
    thresholds: Optional[str] = setting(
        None, "thresholds.json made by `cloudtf evaluate`; required with `objective='threshold'`."
    )
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
    objective: str = setting(
        "threshold",
        "threshold: remove masks of classes that are not present by their thresholds. dice: remove "
        "those that cost more of the contest's score than they bring.",
        choices=("threshold", "dice"),
    )
    keep_best: bool = setting(
        False,
        "Never empty all masks of an image: the one that is believed most stays. For sets in which "
        "every image has a class.",
    )
    mask_dice: tuple[str, ...] = setting(
        (),
        "With `objective='dice'`: the Dice to expect of a mask whose class is there, 0.55 or "
        "Fish:0.5,Flower:0.6; if not given, estimated from labelled images.",
        topic="dice",
    )
    calibration: Optional[str] = setting(
        None,
        "calibration.json made by `cloudtf evaluate`, by which the predictions become "
        "probabilities; not needed where they are calibrated on labelled images.",
        topic="dice",
    )
    labelled_submission: Optional[str] = setting(
        None,
        "Masks of labelled images, as in `submission`, by a segmentation that has not seen them.",
        topic="dice",
    )
    labelled_predictions: Optional[str] = setting(
        None,
        "Predictions of those images by a classifier that has not seen them, such as "
        "predictions_oof.csv.",
        topic="dice",
    )
    labelled_truth: Optional[str] = setting(
        None, "CSV of their true masks, as `submission` is.", topic="dice"
    )
    mask_size: str = setting("350x525", "Rows x columns of the masks.", topic="dice")
    truth_size: str = setting("1400x2100", "Rows x columns of the true masks.", topic="dice")

    def __post_init__(self) -> None:
        super().__post_init__()
        labelled = [getattr(self, name) for name in LABELLED]
        if self.objective == "threshold":
            if self.thresholds is None:
                raise UsageError(f"{param('thresholds')} is required.")
            for name in ("mask_dice", "calibration", *LABELLED):
                if getattr(self, name):
                    raise UsageError(f"{param(name)} needs {param(objective='dice')}.")
            return
        if self.thresholds is not None:
            raise UsageError(f"{param(objective='dice')} takes no {param('thresholds')}.")
        if any(labelled) and not all(labelled):
            raise UsageError(f"Give all of {', '.join(map(param, LABELLED))}, or none.")
        if not any(labelled) and not self.mask_dice:
            raise UsageError(
                f"{param(objective='dice')} needs {param('mask_dice')}, or labelled images to "
                f"estimate it from ({', '.join(map(param, LABELLED))})."
            )
        if self.calibrated and self.calibration is not None:
            raise UsageError(
                f"{param(calibrated=True)} says that the predictions are calibrated: leave out "
                f"{param('calibration')}."
            )
        if any(labelled) and self.calibration is not None:
            raise UsageError(
                f"{param('calibration')} is not needed: the predictions are calibrated on the "
                "labelled images."
            )
        for name in ("mask_size", "truth_size"):
            if not re.fullmatch(r"[1-9]\d{0,4}x[1-9]\d{0,4}", getattr(self, name)):
                raise UsageError(f"{param(**{name: getattr(self, name)})} is not as 350x525 is.")


@dataclasses.dataclass(frozen=True)
class PostprocessResult:
    """What was done.

    Attributes:
      masks: non-empty masks before, a class, in the order of the prediction table.
      removed: masks emptied, a class.
      never_emptied: classes whose target no threshold reaches.
      unused_predictions: images with predictions that the submission does not name.
      kept_best: masks that stayed since their image would have lost its last one.
      gain: what the mean score of all pairs is expected to gain; None with
        `objective='threshold'`.
    """

    masks: dict[str, int]
    removed: dict[str, int]
    never_emptied: tuple[str, ...]
    unused_predictions: int
    kept_best: int = 0
    gain: Optional[expected_dice.Gain] = None


def postprocess(config: PostprocessConfig) -> PostprocessResult:
    """Empties the masks of each (image, class) whose probability is under the threshold.

    With `config.objective="dice"` those that are expected to cost more of the contest's score than
    they bring (see `expected_dice`); then the gain to expect is reported too.

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
    >>> csv_files.write("submission.csv", COLUMNS, rows)
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
        {name: getattr(config, name) for name in _INPUTS if getattr(config, name) is not None},
    )
    names, scores, class_names = predictions.read(config.predictions)
    lowest, belief = None, None
    if config.objective == "threshold":
        lowest = _thresholds(config, class_names)
        limits = [lowest[name] for name in class_names]
        margins = scores - np.array([-np.inf if one is None else one for one in limits])
    else:
        from cloudtf.submission import labelled

        belief = labelled.belief(config, class_names)
        if config.calibration is not None:
            found_calibration = calibration.read(config.calibration)
            if set(found_calibration.classes) != set(class_names):
                raise UserError(
                    f"The classes of {config.predictions} ({listed(class_names)}) and of "
                    f"{config.calibration} ({listed(found_calibration.classes)}) differ; take both "
                    "from one model."
                )
            scores = found_calibration.apply(scores, class_names)
        every = np.tile(np.arange(len(class_names)), len(names))
        margins = expected_dice.margins(belief, scores.ravel(), every).reshape(scores.shape)
    rows = pairs.read(config.submission)
    found = pairs.matched(config.submission, rows, config.predictions, names, class_names)
    seen = set()
    for (line, label, _), pair in zip(rows, found):
        if pair in seen:
            raise UserError(
                f"Line {line} of {config.submission} repeats {label!r}; each needs one row."
            )
        seen.add(pair)
    drawn = [pair for (_, _, mask), pair in zip(rows, found) if not rle.is_empty(mask)]
    removed = {pair for pair in drawn if margins[pair] < 0}
    kept_best = _best_of_emptied(drawn, removed, margins) if config.keep_best else set()
    removed -= kept_best
    cleaned = [
        [label, "" if pair in removed else mask] for (_, label, mask), pair in zip(rows, found)
    ]
    masks, gone = (Counter(column for _, column in some) for some in (drawn, removed))
    gain = None
    if belief is not None:
        image, column = np.array(sorted(removed), np.int64).reshape(-1, 2).T
        gain = expected_dice.gain(belief, scores[image, column], column, max(len(rows), 1))
    result = PostprocessResult(
        masks={name: masks[column] for column, name in enumerate(class_names)},
        removed={name: gone[column] for column, name in enumerate(class_names)},
        never_emptied=tuple(name for name, one in (lowest or {}).items() if one is None),
        unused_predictions=len(names) - len({row for row, _ in seen}),
        kept_best=len(kept_best),
        gain=gain,
    )
    if not config.dry_run:
        csv_files.write(config.output, COLUMNS, cleaned)
    width = shutil.get_terminal_size().columns
    report(describe(result, width))
    done = f"Wrote {config.output}." if not config.dry_run else "Dry run: nothing was written."
    report(done)
    return result


def _best_of_emptied(
    drawn: Sequence[pairs.Pair], removed: set[pairs.Pair], margins: np.ndarray
) -> set[pairs.Pair]:
    """Of each image whose masks are all removed, the one that is believed most."""
    of_image = collections.defaultdict(list)
    for pair in drawn:
        of_image[pair[0]].append(pair)
    emptied = [some for some in of_image.values() if removed.issuperset(some)]
    return {max(some, key=lambda pair: margins[pair]) for some in emptied}


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
    if result.kept_best:
        notes.append(f"Kept as the best of an image that would have none: {result.kept_best}.")
    if result.gain is not None:
        mean, low, high = dataclasses.astuple(result.gain)
        notes.append(
            f"To expect: {mean:+.4f} of the mean score (95% interval {low:+.4f} to {high:+.4f})."
        )
    lines += [line for note in notes for line in textwrap.wrap(note, max(20, width))]
    return "\n".join(lines)


def _thresholds(config: PostprocessConfig, class_names: list[str]) -> dict[str, Optional[float]]:
    assert config.thresholds is not None
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
