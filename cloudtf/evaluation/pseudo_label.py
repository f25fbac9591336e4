"""Labels by a model for photographs that have none, where it is sure of them; to train on.

Photographs without labels add no truth, so they never judge a model: they become splits of their
own, which training takes beside the others, and which no run is validated on. What a model is
judged on must not have reached it by way of another model either: the labels that the run of fold k
trains on come from the model of fold k alone, which has not learnt from fold k.

Lee, "Pseudo-label: the simple and efficient semi-supervised learning method for deep neural
networks", ICML 2013 workshop.
"""

from __future__ import annotations

import dataclasses

import numpy as np

from cloudtf import files
from cloudtf.data import records
from cloudtf.errors import UserError, param
from cloudtf.evaluation import out_of_fold
from cloudtf.evaluation.evaluate import EvaluateConfig, check_matches
from cloudtf.settings import REQUIRED, Settings, setting
from cloudtf.text import listed


@dataclasses.dataclass(frozen=True)
class PseudoLabelConfig(Settings):
    """Which photographs are labelled by which model, and where the set that they join goes.

    >>> config = PseudoLabelConfig(
    ...     model="runs/a", data_dir="records", unlabelled_dir="test", output_dir="more"
    ... )
    >>> config.confident
    0.95
    """

    model: str = setting(
        REQUIRED,
        "The .keras file, or a run folder for its best model; for records with folds the folder of "
        "a run of `fold='all'`.",
    )
    data_dir: str = setting(REQUIRED, "Folder of the labelled records that the model is of.")
    unlabelled_dir: str = setting(REQUIRED, "Folder of the records without labels.")
    output_dir: str = setting(REQUIRED, "New folder for the records of both.")
    split: str = setting("test", "Split of the records without labels.")
    confident: float = setting(
        0.95,
        "A class is there from this probability on, and not there up to one minus it; in between "
        "it is unknown.",
        minimum=0.5,
        maximum=1,
    )
    tta: bool = setting(False, "Average over the four flips of each image.")
    batch_size: int = setting(EvaluateConfig.batch_size, "Images a step.", minimum=1)


def pseudo_label(config: PseudoLabelConfig) -> records.Manifest:
    """Writes records that hold a labelled set, and photographs with the labels of its models.

    The splits of the labelled set stay as they are. To them comes `pseudo` or, of a set with folds,
    `pseudo_fold0` and so on, with the labels by the model of that fold. `cloudtf.train` trains on
    the one that belongs to its run, beside the others. Photographs of which the model is sure of
    nothing are left out.

    Returns:
      The content of the new `dataset.json`.

    Raises:
      UserError: the model is not of these records, they have folds and it is no run of them, the
        photographs are of another size or in both sets, the folder is there, or no label is sure.

    >>> import os, shutil
    >>> os.makedirs("new")
    >>> for number in range(12):
    ...     path = shutil.copy(f"photographs/images/photo_{number:02}.jpg", f"new/{number}.jpg")
    >>> unlabelled = cloudtf.convert(cloudtf.ConvertConfig(
    ...     images_dir="new", output_dir="test", image_height=64, image_width=64
    ... ))
    split ...
    >>> manifest = pseudo_label(PseudoLabelConfig(
    ...     model="runs/a", data_dir="records", unlabelled_dir="test", output_dir="more",
    ...     confident=0.6,
    ... ))
    >>> list(manifest.splits)
    ['train', 'val', 'pseudo']
    """
    from cloudtf.data import relabel

    if files.exists(config.output_dir):
        raise UserError(
            f"{param(output_dir=config.output_dir)} is there already; name a new folder."
        )
    labelled = records.read_manifest(config.data_dir)
    unlabelled = records.read_manifest(config.unlabelled_dir)
    source = unlabelled.split(config.split)
    models = _models(config, labelled)
    _check_apart(config, labelled)
    splits = {}
    with files.new_folder(config.output_dir) as folder:
        for name, (path, judged_on) in models.items():
            labels = _labels(config, path, judged_on, labelled)
            if not labels:
                raise UserError(
                    f"{path} is sure of no label ({param(confident=config.confident)}); lower it, "
                    "or leave these photographs out."
                )
            splits[name] = relabel.write_split(
                config.unlabelled_dir, source, labels, folder, name, labelled
            )
        relabel.copy_shards(config.data_dir, labelled, folder)
        # A conversion could not go on from this set.
        manifest = dataclasses.replace(
            labelled, splits={**labelled.splits, **splits}, settings=None
        )
        records.write_manifest(folder, manifest)
    return manifest


def _models(config: PseudoLabelConfig, labelled: records.Manifest) -> dict[str, tuple[str, str]]:
    """New split -> the path of the model that labels it, and the split that it was validated on.

    Raises:
      UserError: the model cannot label these records without a way for what it is judged on.
    """
    from cloudtf.model import saving

    if not labelled.classes:
        raise UserError(f"The records in {config.data_dir} have no labels.")
    others = [name for name in labelled.splits if name.startswith(records.PSEUDO)]
    if others:
        raise UserError(
            f"The records in {config.data_dir} have labels by a model already ({listed(others)}); "
            f"give those from before as {param('data_dir')}."
        )
    folds = out_of_fold.folds_of(labelled.splits)
    of_folds = out_of_fold.is_of_folds(config.model)
    if bool(folds) != of_folds:
        raise UserError(
            f"The records in {config.data_dir} have folds, and {config.model} is not a run of all "
            "of them: its labels would bring what it learnt from a fold to the run that is judged "
            "on that fold; train with `cloudtf train --fold=all`."
            if folds
            else f"{config.model} has a model a fold, and the records in {config.data_dir} have no "
            f"folds; give the records that it was made on as {param('data_dir')}."
        )
    if not of_folds:
        return {records.PSEUDO: (saving.find_model(config.model), "")}
    return {
        f"{records.PSEUDO}_{fold}": (
            files.join(out_of_fold.fold_dir(config.model, fold), "best.keras"),
            fold,
        )
        for fold in folds
    }


def _check_apart(config: PseudoLabelConfig, labelled: records.Manifest) -> None:
    """Refuses photographs that are in both sets: they have labels."""
    from cloudtf.pipeline.dataset import open_dataset

    known = open_dataset(config.data_dir, cache="none")
    names = {name for split in labelled.splits for name in known.names(split)}
    both = names.intersection(open_dataset(config.unlabelled_dir, "none").names(config.split))
    if both:
        raise UserError(
            f"{len(both):,} photographs, such as {min(both)!r}, are in both {config.data_dir} and "
            f"{config.unlabelled_dir}; leave those out that have labels."
        )


def _labels(
    config: PseudoLabelConfig, path: str, judged_on: str, labelled: records.Manifest
) -> dict[str, np.ndarray]:
    """The labels that a model is sure of, by image name: int64 [C], 1, 0 or -1."""
    from cloudtf.evaluation import scoring
    from cloudtf.model import classifier
    from cloudtf.pipeline.dataset import open_dataset

    judged = classifier.read(path)
    check_matches(path, judged.info, config.data_dir, labelled)
    data = open_dataset(config.unlabelled_dir, cache="none")
    check_matches(path, judged.info, config.unlabelled_dir, data.manifest)
    validated_on = judged.info.get("val_split", "val")
    if validated_on not in labelled.splits or validated_on != (judged_on or validated_on):
        raise UserError(
            f"The model {path} was validated on {validated_on!r}, not on "
            f"{judged_on or listed(labelled.splits)}; give the model of these records."
        )
    if judged.info.get("average") == "rank":
        raise UserError(
            f"The model {path} gives averaged ranks, which are no probabilities to be sure of; "
            "average by mean."
        )
    scorer = scoring.Scorer(judged.model, flips=config.tta)
    with data.naming_damage(config.split):
        scored = scorer.dataset(data.evaluation_batches(config.split, config.batch_size))
    names = data.names(config.split)
    scores = scored.scores.astype(np.float64)
    found = np.full(scores.shape, -1, np.int64)
    found[scores <= 1 - config.confident] = 0
    found[scores >= config.confident] = 1
    return {
        names[number]: label for number, label in zip(scored.numbers, found) if (label >= 0).any()
    }
