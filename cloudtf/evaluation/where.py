"""A sheet of where a model looks: photographs beside their activation maps."""

from __future__ import annotations

from typing import Sequence, Union

import numpy as np

from cloudtf.data import masks, stored
from cloudtf.data.labels import combination
from cloudtf.errors import UserError
from cloudtf.evaluation import scoring, sheet
from cloudtf.evaluation.activation_maps import activation_maps, inside, overlaid
from cloudtf.evaluation.evaluate import check_matches
from cloudtf.model import classifier, saving
from cloudtf.pipeline.dataset import ImageDataset


def draw(
    path: str,
    model: str,
    data: ImageDataset,
    split: str,
    images: Union[int, Sequence[str]],
    most_maps: int,
) -> None:
    """Draws images of a split, each with the maps of its most probable classes.

    Args:
      path: the PNG file to write, local or remote.
      model: the path of a .keras file, or of a run folder for its best model.
      data: the records, which are for this model.
      split: the name of the split.
      images: how many of the first images, or the names of some.
      most_maps: the number of maps beside each image, if there are so many classes.

    Raises:
      UserError: the records are damaged or not for the model, or there is no image of a name.
    """
    trained = classifier.read(saving.find_model(model))
    check_matches(trained.path, trained.info, data.data_dir, data.manifest)
    names = data.names(split)
    wanted = names[:images] if isinstance(images, int) else images
    number_of = {name: number for number, name in enumerate(names)}
    for name in wanted:
        if name not in number_of:
            raise UserError(f"There is no image {name!r} in the split {split} of {data.data_dir}.")
    shards = data.manifest.split(split)
    found = stored.by_name(data.data_dir, shards.shards, names)(wanted)
    pixels = np.stack([found[name] for name in wanted])
    scores = scoring.Scorer(trained.model).images(pixels)[: len(wanted)]
    maps = activation_maps(trained.model, pixels)
    labels = data.labels(split).numpy()[[number_of[name] for name in wanted]]
    contents = data.masks(split)
    cells, captions = [], []
    for row, name in enumerate(wanted):
        cells.append(pixels[row])
        shown = combination(labels[row], data.classes).replace("|", ", ")
        captions.append((name, f"labels: {shown or 'none'}"))
        content = contents.get(name)
        of_class = masks.decode(content, labels[row]) if content else None
        for number in np.argsort(-scores[row], kind="stable")[:most_maps]:
            cells.append(overlaid(pixels[row], maps[row, number]))
            captions.append(
                (
                    f"{trained.info['classes'][number]} {scores[row, number]:.3f}",
                    "" if of_class is None else inside(maps[row, number], of_class[number]),
                )
            )
    width = 1 + min(most_maps, scores.shape[1])
    sheet.draw(path, cells, captions, "Where the model looks", width)
