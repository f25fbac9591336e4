"""Probabilities for images without labels: a split of records, or a folder of photographs."""

from __future__ import annotations

import dataclasses
from concurrent.futures import ThreadPoolExecutor
from typing import Iterator, Optional

import numpy as np

from cloudtf import files, machine
from cloudtf.errors import UsageError, UserError, param
from cloudtf.evaluation.evaluate import EvaluateConfig, check_matches
from cloudtf.settings import REQUIRED, Settings, setting


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
        None, "Folder of photographs to predict, in place of `data_dir`."
    )
    tta: bool = setting(False, "Average over the four flips of each image.")
    batch_size: int = setting(EvaluateConfig.batch_size, "Images a step.", minimum=1)

    def __post_init__(self) -> None:
        super().__post_init__()
        if (self.data_dir is None) == (self.images_dir is None):
            raise UsageError(f"Give either {param('data_dir')} or {param('images_dir')}.")


def predict(config: PredictConfig) -> int:
    """Writes a prediction table.

    Returns:
      The number of images.

    Raises:
      UserError: the records do not fit the model, the folder has no images, or an image cannot be
        read.

    >>> predict(PredictConfig(model="runs/a", images_dir="photographs/images", output="all.csv"))
    60
    """
    from cloudtf.evaluation import scoring
    from cloudtf.model import classifier, saving
    from cloudtf.pipeline.dataset import open_dataset
    from cloudtf.submission import predictions

    path = saving.find_model(config.model)
    files.check_output(config.output, "a prediction table", predictions.is_table, {"model": path})
    trained = classifier.read(path)
    info = trained.info
    scorer = scoring.Scorer(trained.model, flips=config.tta)
    shape = (info["image_height"], info["image_width"])
    if config.data_dir is not None:
        data = open_dataset(config.data_dir, cache="none")
        check_matches(path, info, config.data_dir, data.classes, data.image_shape)
        split = config.split or (next(iter(data.splits)) if len(data.splits) == 1 else "test")
        with data.naming_damage(split):
            scored = scorer.dataset(data.evaluation_batches(split, config.batch_size))
        all_names = data.names(split)
        names, scores = [all_names[number] for number in scored.numbers], scored.scores
    else:
        names, parts = [], []
        for batch_names, batch in _folder_batches(
            config.images_dir or "", shape, config.batch_size
        ):
            names += batch_names
            parts.append(scorer.images(batch)[: len(batch_names)])
        scores = np.concatenate(parts)
    predictions.write(config.output, names, scores, info["classes"])
    return len(names)


def _folder_batches(
    images_dir: str, shape: tuple[int, int], batch_size: int
) -> Iterator[tuple[list[str], np.ndarray]]:
    """Names and uint8 images [B, H, W, 3] of a folder, by name; the last batch is padded."""
    from cloudtf.data import images, sources

    table = sources.unlabelled(images_dir)
    if table.problems:
        first = table.problems[0]
        path = files.join(images_dir, first.file)
        raise UserError(f"The image {path} cannot be read: {first.reason}; replace or remove it.")
    names = list(table.names)

    def load(name: str) -> np.ndarray:
        path = files.join(images_dir, name)
        try:
            return images.load(files.read_bytes(path), *shape)
        except ValueError as error:
            raise UserError(
                f"The image {path} cannot be read: {error}; replace or remove it."
            ) from error

    with ThreadPoolExecutor(machine.usable_cores()) as pool:
        # A bounded window of images under way, whatever the size of the folder.
        loaded = machine.map_ahead(pool, load, names, 2 * batch_size)
        for start in range(0, len(names), batch_size):
            batch_names = names[start : start + batch_size]
            batch = np.zeros((batch_size, *shape, 3), np.uint8)
            for i, image in zip(range(len(batch_names)), loaded):
                batch[i] = image
            yield batch_names, batch
