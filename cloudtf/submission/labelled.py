"""What is believed of masks and probabilities, by labelled images where there are some."""

from __future__ import annotations

from typing import TYPE_CHECKING, Sequence

import cv2
import numpy as np

from cloudtf.data import rle
from cloudtf.data.image_names import ImageNames, Splitter
from cloudtf.errors import UserError, param
from cloudtf.reporter import report
from cloudtf.submission import expected_dice, pairs, predictions
from cloudtf.text import listed

if TYPE_CHECKING:
    from cloudtf.submission.postprocess import PostprocessConfig


def belief(config: PostprocessConfig, class_names: Sequence[str]) -> expected_dice.Belief:
    """What masks and probabilities of a submission are taken for; says on what ground.

    Args:
      config: names the labelled images, or the Dice to expect.
      class_names: the classes of the predictions, in order.

    Raises:
      UserError: a file cannot be used, or says too little.
    """
    given = None
    if config.mask_dice:
        try:
            given = expected_dice.of_classes(config.mask_dice, class_names)
        except ValueError as error:
            raise UserError(f"{param(mask_dice=config.mask_dice)}: {error}.") from error
    if config.labelled_submission is None:
        assert given is not None
        how = "as calibrated" if config.calibration is not None else "as they are"
        report(
            f"The probabilities are taken {how}; that a mask is drawn is assumed to say nothing "
            "more of its class."
        )
        return expected_dice.assumed(given)
    known = _pairs(config, class_names)
    present = int(known.present.sum())
    if not 0 < present < len(known.present):
        raise UserError(
            f"Of the {len(known.present)} masks in {config.labelled_submission} {present} are of "
            "classes that are there; some must be, and some not."
        )
    found = expected_dice.estimated(known, len(class_names), given)
    each = listed(f"{name} {one:.2f}" for name, one in zip(class_names, found.dice))
    report(
        f"On {len(known.present):,} masks of labelled images, {present:,} of them of classes that "
        f"are there; Dice of those: {each}."
    )
    return found


def _pairs(config: PostprocessConfig, class_names: Sequence[str]) -> expected_dice.Pairs:
    assert config.labelled_submission and config.labelled_predictions and config.labelled_truth
    names, scores, own_names = predictions.read(config.labelled_predictions)
    if list(own_names) != list(class_names):
        raise UserError(
            f"The classes of {config.labelled_predictions} ({listed(own_names)}) and of "
            f"{config.predictions} ({listed(class_names)}) differ; take both from one model."
        )
    images = ImageNames(names)
    split = Splitter(images, class_names)
    truth_rows = [
        row
        for row in pairs.read(config.labelled_truth)  # Of all images, while some are predicted.
        if any(images.matches(image) for image, _ in split.ways(row[1]))
    ]
    every = pairs.matched(
        config.labelled_truth, truth_rows, config.labelled_predictions, names, class_names
    )
    truth_of = {pair: (line, mask) for (line, _, mask), pair in zip(truth_rows, every)}
    rows = pairs.read(config.labelled_submission)
    places = pairs.matched(
        config.labelled_submission, rows, config.labelled_predictions, names, class_names
    )
    size, truth_size = (
        tuple(int(side) for side in text.split("x"))
        for text in (config.mask_size, config.truth_size)
    )
    found = []
    for (line, label, mask), pair in zip(rows, places):
        if rle.is_empty(mask):
            continue
        if pair not in truth_of:
            raise UserError(
                f"Line {line} of {config.labelled_submission} names {label!r}, of which "
                f"{config.labelled_truth} does not say whether it is there."
            )
        truth_line, truth = truth_of[pair]
        present, dice = not rle.is_empty(truth), 0.0
        if present:
            drawn = _decoded(config.labelled_submission, line, mask, size, "mask_size")
            true = _decoded(config.labelled_truth, truth_line, truth, truth_size, "truth_size")
            if size != truth_size:
                small = cv2.resize(
                    true.astype(np.float32), size[::-1], interpolation=cv2.INTER_AREA
                )
                true = small >= 0.5
            dice = expected_dice.dice(drawn, true)
        found.append((*pair, scores[pair], present, dice))
    image, column, score, there, dices = np.array(found, np.float64).reshape(-1, 5).T
    return expected_dice.Pairs(
        image.astype(np.int64), column.astype(np.int64), score, there.astype(bool), dices
    )


def _decoded(path: str, line: int, mask: str, size: Sequence[int], setting: str) -> np.ndarray:
    try:
        return rle.decode(mask, size[0], size[1])
    except ValueError as error:
        raise UserError(
            f"Line {line} of {path} has a mask that is none of {size[0]}x{size[1]} ({error}); see "
            f"{param(setting)}."
        ) from error
