"""Probabilities for images without labels: a split of records, or photographs."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Iterable, Iterator, Optional

import numpy as np

from cloudtf import files
from cloudtf.errors import UsageError, param
from cloudtf.evaluation.evaluate import EvaluateConfig, check_matches
from cloudtf.reporter import report
from cloudtf.settings import REQUIRED, Settings, setting
from cloudtf.text import listed

if TYPE_CHECKING:
    from cloudtf.data.labels import Problem
    from cloudtf.evaluation import scoring

# Names of skipped images that the report lists; the others are counted.
_SHOWN = 10


@dataclasses.dataclass(frozen=True)
class PredictConfig(Settings):
    """Which images to predict with which model, and where the table goes.

    >>> PredictConfig(model="runs/a", images_dir="photographs/images", output="all.csv").tta
    False
    """

    model: str = setting(REQUIRED, "The .keras file, or a run folder for its best model.")
    output: str = setting(REQUIRED, "CSV to write: Image, then a probability a class.")
    data_dir: Optional[str] = setting(None, "Folder of records to predict.")
    split: Optional[str] = setting(
        None, "Split of the records. Default: the only one there is, or test."
    )
    images_dir: Optional[str] = setting(
        None, "Folder of photographs to predict, or one photograph, in place of `data_dir`."
    )
    tta: bool = setting(False, "Average over the four flips of each image.")
    calibrated: bool = setting(
        False, "Calibrate the probabilities by the calibration.json beside the model."
    )
    batch_size: int = setting(EvaluateConfig.batch_size, "Images a step.", minimum=1)
    recursive: bool = setting(
        False, "Take the folders inside `images_dir` too; Image is then folder/name.jpg."
    )
    follow_links: bool = setting(
        False, "Follow links that lead out of `images_dir`, to files and, if `recursive`, folders."
    )
    on_error: str = setting(
        "fail",
        "What to do about images that cannot be read: fail, or skip and list them in "
        "OUTPUT.skipped.csv.",
        choices=("fail", "skip"),
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if (self.data_dir is None) == (self.images_dir is None):
            raise UsageError(f"Give either {param('data_dir')} or {param('images_dir')}.")
        if self.data_dir is None and self.split is not None:
            raise UsageError(f"{param(split=self.split)} needs {param('data_dir')}.")
        if self.images_dir is None and self.recursive:
            raise UsageError(f"{param(recursive=True)} needs {param('images_dir')}.")
        if self.images_dir is None and self.follow_links:
            raise UsageError(f"{param(follow_links=True)} needs {param('images_dir')}.")
        if self.images_dir is None and self.on_error != "fail":
            raise UsageError(f"{param(on_error=self.on_error)} needs {param('images_dir')}.")


def predict(config: PredictConfig) -> int:
    """Writes a prediction table.

    Of a folder, the photographs are predicted (JPEG, PNG, WebP, TIFF, BMP, GIF, AVIF and HEIC),
    under their names in it (`Image`): `a.jpg`, and with `config.recursive` also `folder/a.jpg`.
    Files of other kinds and folders that are passed over are reported with their numbers, hidden
    ones are not.

    With `config.on_error="skip"`, images that cannot be read are left out; the first ten are
    reported, and `OUTPUT.skipped.csv`, beside the table, lists all, with the columns `Image` and
    `reason`. A run that skips nothing removes the list that an earlier one left there.

    Args:
      config: the model, what to predict and where the table goes.

    Returns:
      The number of images in the table.

    Raises:
      UserError: the records do not fit the model, there are no images, an image cannot be read
        (with `on_error="skip"`: none can), there is no calibration of this model where one is asked
        for, or a file cannot be written. Nothing is written then.

    >>> predict(PredictConfig(model="runs/a", images_dir="photographs/images", output="all.csv"))
    60
    >>> with open("photographs/images/half.jpg", "wb") as file:
    ...     size = file.write(b"not a photograph")
    >>> predict(
    ...     PredictConfig(
    ...         model="runs/a", images_dir="photographs/images", output="all.csv", on_error="skip"
    ...     )
    ... )
    Skipped 1 image of photographs/images: 'half.jpg'. all.csv.skipped.csv has the reasons.
    60
    >>> photograph = "photographs/images/photo_00.jpg"
    >>> predict(PredictConfig(model="runs/a", images_dir=photograph, output="one.csv"))
    1
    """
    from cloudtf.evaluation import photographs, scoring
    from cloudtf.model import calibration, classifier, saving
    from cloudtf.pipeline.dataset import open_dataset
    from cloudtf.submission import predictions

    path = saving.find_model(config.model)
    files.check_output(config.output, "a prediction table", predictions.is_table, {"model": path})
    photographs.check_skipped(config.output)
    trained = classifier.read(path)
    info = trained.info
    calibrate = None
    if config.calibrated:
        weights = saving.weights_sha256(trained.model)
        calibrate = calibration.of_model(path, info["classes"], weights, config.tta)
    scorer = scoring.Scorer(trained.model, flips=config.tta)
    shape = (info["image_height"], info["image_width"])
    skipped: list[Problem] = []
    if config.data_dir is not None:
        data = open_dataset(config.data_dir, cache="none")
        check_matches(path, info, config.data_dir, data.manifest)
        split = config.split or (next(iter(data.splits)) if len(data.splits) == 1 else "test")
        with data.naming_damage(split):
            # A batch is filled up with empty images; one alone may be rounded in another way.
            size = min(config.batch_size, max(2, data.num_examples(split)))
            scored = scorer.dataset(data.evaluation_batches(split, size))
        all_names = data.names(split)
        names, scores = [all_names[number] for number in scored.numbers], scored.scores
    else:
        found = photographs.find(config.images_dir or "", config.recursive, config.follow_links)
        left_out = skipped if config.on_error == "skip" else None
        batches = photographs.batches(found, shape, config.batch_size, left_out, info["aspect"])
        names, scores = scored_photographs(scorer, batches)
    if calibrate is not None:
        scores = calibrate.apply(scores, info["classes"])
    table = predictions.text(config.output, names, scores, info["classes"])
    photographs.write(config.output, table, skipped)
    if skipped:
        which = listed((repr(problem.file) for problem in sorted(skipped)), _SHOWN)
        report(
            f"Skipped {len(skipped):,} image{'s' * (len(skipped) > 1)} of {config.images_dir}: "
            f"{which}. {photographs.skipped_path(config.output)} has the reasons."
        )
    return len(names)


def scored_photographs(
    scorer: scoring.Scorer, batches: Iterable[tuple[list[str], np.ndarray]]
) -> tuple[list[str], np.ndarray]:
    """The names of photographs and their scores, float32 [N, C].

    Photographs are decoded while the model scores those before.

    Args:
      scorer: scores batches with the model, tracing it once.
      batches: names and pixels, as `photographs.batches` gives them.
    """
    names: list[str] = []

    def images() -> Iterator[np.ndarray]:
        for batch_names, batch in batches:
            names.extend(batch_names)
            yield batch

    # Only behind the last image there is padding.
    scores = np.concatenate(list(scorer.stream(images())))
    return names, scores[: len(names)]
