"""Averaging trained models into one, which every later step takes as any other."""

from __future__ import annotations

import dataclasses
import itertools
from typing import TYPE_CHECKING, Any, Optional, Sequence

import numpy as np

from cloudtf import files
from cloudtf.data import photograph_table, records
from cloudtf.errors import UsageError, UserError, param
from cloudtf.evaluation import out_of_fold
from cloudtf.evaluation.evaluate import EvaluateConfig, Evaluation, findings
from cloudtf.model.thresholds import Thresholds
from cloudtf.reporter import report
from cloudtf.settings import REQUIRED, Settings, setting
from cloudtf.text import listed

if TYPE_CHECKING:
    import tensorflow as tf

    from cloudtf.evaluation import examples
    from cloudtf.pipeline.dataset import ImageDataset

AVERAGES = ("mean", "rank")


@dataclasses.dataclass(frozen=True)
class EnsembleConfig(Settings):
    """Which models to average, and where the one that they make goes.

    >>> EnsembleConfig(runs=("runs/a", "runs/b"), output_dir="runs/both").average
    'mean'
    """

    runs: tuple[str, ...] = setting(
        (),
        "Run folders or .keras files; a run of `fold='all'` stands for the models of its folds.",
    )
    output_dir: str = setting(REQUIRED, "Folder for the model, of its own: best.keras in it.")
    average: str = setting(
        "mean",
        "Average the scores, or their ranks among those of photographs not trained on (as "
        "`cloudtf evaluate` has written them).",
        choices=AVERAGES,
    )
    recall_target: float = setting(
        EvaluateConfig.recall_target,
        "Of models of all folds: recall that the recall thresholds keep.",
        minimum=0,
        maximum=1,
    )
    precision_target: float = setting(
        EvaluateConfig.precision_target,
        "Of models of all folds: precision that the precision thresholds reach.",
        minimum=0,
        maximum=1,
    )
    confidence: float = setting(
        EvaluateConfig.confidence,
        "Of models of all folds: how surely the guaranteed thresholds keep their target.",
        minimum=0.5,
        maximum=0.9999,
    )
    beta: Optional[float] = setting(
        None,
        "Of models of all folds: also choose the threshold of the best F-beta.",
        minimum=0.01,
        maximum=100,
    )
    costs: Optional[str] = setting(
        None,
        "Of models of all folds: also choose the threshold of the lowest total cost, as "
        "MISS:FALSE_ALARM.",
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        self.targets("records", "best.keras")  # Refuses what no evaluation would take.

    def targets(self, data_dir: str, model: str) -> EvaluateConfig:
        """The thresholds to choose for a model that was judged on some records, by their paths."""
        return EvaluateConfig(
            data_dir=data_dir,
            model=model,
            recall_target=self.recall_target,
            precision_target=self.precision_target,
            confidence=self.confidence,
            beta=self.beta,
            costs=self.costs,
        )


@dataclasses.dataclass(frozen=True)
class EnsembleResult:
    """What was made.

    Attributes:
      path: the `.keras` file of the model that was made.
      members: the paths of the models that it averages.
      evaluation: what came of judging it; None where there are no scores out of fold.
    """

    path: str
    members: tuple[str, ...]
    evaluation: Optional[Evaluation]

    @property
    def metrics(self) -> Optional[dict[str, Any]]:
        """The content of `metrics.json`; None where there are no scores out of fold."""
        return None if self.evaluation is None else self.evaluation.metrics


@dataclasses.dataclass(frozen=True)
class _Member:
    """One of the models.

    Attributes:
      run: what was given, of which it is a part.
      path: the `.keras` file that it was read from.
      source: the `thresholds.json` that was written with its scores.
      fold: the fold that it was validated on, in a run of all folds; else None.
      model: the network, images [B, H, W, 3] to probabilities [B, C].
      info: its classes, image size and validation split, among others.
      weights_sha256: the digest by which scores are known to be of these weights.
    """

    run: str
    path: str
    source: str
    fold: Optional[str]
    model: tf.keras.Model
    info: dict[str, Any]
    weights_sha256: str

    @property
    def val_split(self) -> str:
        """The split that it was validated on."""
        return self.fold or self.info.get("val_split", "val")


@dataclasses.dataclass(frozen=True)
class _HeldOut:
    """What a model says of N photographs that it was not trained on."""

    names: list[str]
    scores: np.ndarray
    labels: np.ndarray
    data: str
    tta: bool


def ensemble(config: EnsembleConfig) -> EnsembleResult:
    """Makes one model of several: `best.keras`, for `predict`, `evaluate` and `export`.

    Of runs of all folds, thresholds are chosen too, and scores computed, out of fold: each
    photograph counts with the mean of those models that have not seen it, one a run. They are
    written as `evaluate` writes its own. The mean of all models is another score, which no
    photograph of the set can judge, since most of the models have learnt from it.

    Raises:
      UserError: models of other classes or another image size, a run that is not finished, a folder
        with another model in it, or no scores to take ranks from.

    >>> second = cloudtf.TrainConfig(
    ...     data_dir="records", run_dir="runs/b", model="tiny", weights="none", epochs=1
    ... )
    >>> result = cloudtf.train(second)
    tiny on ...
    >>> made = ensemble(EnsembleConfig(runs=("runs/a", "runs/b"), output_dir="runs/both"))
    >>> made.path, len(made.members)
    ('runs/both/best.keras', 2)
    """
    from cloudtf.evaluation import results
    from cloudtf.model import ensemble as network
    from cloudtf.model import saving

    _check_output(config)
    members = [member for run in config.runs for member in _members(run)]
    if len(members) < 2:
        raise UsageError(
            f"An ensemble is made of two models or more; {len(members)} is named in "
            f"{param('runs')}."
        )
    for one, other in itertools.combinations(members, 2):
        _check_alike(one, other)
    of_folds = all(member.fold for member in members)
    by_rank = config.average == "rank"
    held_out = [_held_out(member) for member in members] if of_folds or by_rank else []
    knots = [network.rank_knots(of.scores) for of in held_out] if by_rank else None
    model = network.average([member.model for member in members], knots)
    validated_on = sorted({member.val_split for member in members})
    first = members[0].info
    info = {
        "classes": first["classes"],
        "image_height": first["image_height"],
        "image_width": first["image_width"],
        "aspect": first["aspect"],
        "model": network.NAME,
        "average": config.average,
        "members": [
            {"model": member.path, "weights_sha256": member.weights_sha256} for member in members
        ],
        "val_split": validated_on[0] if len(validated_on) == 1 else out_of_fold.SPLIT,
        "trained_on": validated_on if len(validated_on) > 1 else [],
    }
    path = files.join(config.output_dir, "best.keras")
    if of_folds:  # Before anything is written.
        _check_same_photographs(members, held_out)
        results.check(config.output_dir, out_of_fold.SPLIT, False, first["classes"])
    files.make_dirs(config.output_dir)
    saving.save_model(model, path, info)
    paths = tuple(member.path for member in members)
    if not of_folds:
        if len(validated_on) > 1:
            report(
                f"Note: the models were validated on {listed(validated_on)}, so each may have "
                "learnt from what another was judged on; judge their mean on other photographs."
            )
        return EnsembleResult(path, paths, None)
    if knots is not None:
        held_out = [
            dataclasses.replace(of, scores=network.ranks(of.scores, of_member))
            for of, of_member in zip(held_out, knots)
        ]
    weights = saving.weights_sha256(saving.load_model(path))
    return EnsembleResult(path, paths, _judge(config, path, weights, members, held_out))


def _records(data_dir: str) -> Optional[ImageDataset]:
    """The records that the models were judged on; None where they are elsewhere."""
    from cloudtf.pipeline.dataset import open_dataset

    if not files.exists(files.join(data_dir, records.MANIFEST_NAME)):
        report(
            f"Note: {data_dir} is not here, so intervals take photographs that belong together, "
            "such as copies, for others."
        )
        return None
    return open_dataset(data_dir, "none")


def _images(data: Optional[ImageDataset], names: Sequence[str]) -> Optional[examples.Images]:
    """The images of those names; None where the records are not at hand, or others by now."""
    from cloudtf.data import stored

    folds = [] if data is None else out_of_fold.folds_of(data.splits)
    if data is None or not folds or not set(names) <= set(data.names(folds)):
        return None
    return stored.by_name(data.data_dir, data.manifest.joined(folds).shards, data.names(folds))


def _check_output(config: EnsembleConfig) -> None:
    """Refuses a folder that is that of a run, or has another model in it.

    Raises:
      UserError: naming it.
    """
    from cloudtf.model import ensemble as network
    from cloudtf.model import saving

    folder = config.output_dir
    path = files.join(folder, "best.keras")
    taken = files.exists(files.join(folder, "checkpoints")) or out_of_fold.is_of_folds(folder)
    if not taken and files.exists(path):
        taken = saving.read_info(path).get("model") != network.NAME
    if taken:
        raise UserError(
            f"{folder} is the folder of another model; give the ensemble a folder of its own as "
            f"{param('output_dir')}."
        )


def _members(run: str) -> list[_Member]:
    """The models that a run folder or a model file stands for.

    Raises:
      UserError: there are none, or the run is not through all of its folds.
    """
    from cloudtf.model import classifier, saving, thresholds

    if out_of_fold.is_of_folds(run):
        source = files.join(run, "thresholds.json")
        folds = thresholds.read(source).source.get("folds") if files.exists(source) else None
        if not isinstance(folds, dict):
            raise UserError(
                f"{run} is not through all of its folds; go on with its run, `cloudtf train "
                "--fold=all`."
            )
        places = [
            (files.join(out_of_fold.fold_dir(run, fold), "best.keras"), source, fold)
            for fold in folds
        ]
    else:
        path = saving.find_model(run)
        places = [(path, files.join(files.dirname(path), "thresholds.json"), None)]
    members = []
    for path, source, fold in places:
        read = classifier.read(path)
        weights = saving.weights_sha256(read.model)
        members.append(_Member(run, path, source, fold, read.model, read.info, weights))
    return members


def _check_alike(one: _Member, other: _Member) -> None:
    """Refuses models that do not answer the same of the same images.

    Raises:
      UserError: naming both.
    """
    if one.info["classes"] != other.info["classes"]:
        raise UserError(
            f"{one.path} knows the classes {listed(one.info['classes'])}, and {other.path} "
            f"{listed(other.info['classes'])}; models are averaged whose classes are the same, in "
            "the same order."
        )
    sizes = [
        f"{member.info['image_height']}x{member.info['image_width']}" for member in (one, other)
    ]
    if sizes[0] != sizes[1]:
        raise UserError(
            f"{one.path} takes images of {sizes[0]}, and {other.path} of {sizes[1]}; models are "
            "averaged that take the same images."
        )
    if one.info["aspect"] != other.info["aspect"]:
        raise UserError(
            f"{one.path} is for photographs made with {param(aspect=one.info['aspect'])}, and "
            f"{other.path} with {param(aspect=other.info['aspect'])}; models are averaged that "
            "take the same images."
        )
    if one.weights_sha256 == other.weights_sha256:
        raise UserError(f"{one.path} and {other.path} are the same model; name each once.")


def _held_out(member: _Member) -> _HeldOut:
    """The scores of the split that a model was validated on, as an evaluation has written them.

    Raises:
      UserError: there are none, or they are of other weights.
    """
    from cloudtf.model import thresholds
    from cloudtf.submission import predictions

    folder, split = files.dirname(member.path), member.val_split
    table = files.join(folder, f"predictions_{split}.csv")
    again = f"run `cloudtf evaluate` on {member.run} first."
    if not files.exists(table) or not files.exists(member.source):
        raise UserError(f"There are no scores of {split} by {member.path}; {again}")
    source = thresholds.read(member.source).source
    of = source.get("folds", {}).get(split, {}) if member.fold else source
    if of.get("weights_sha256") != member.weights_sha256:
        raise UserError(f"The scores in {table} are of other weights than {member.path}; {again}")
    names, scores, classes = predictions.read(table)
    if classes != list(member.info["classes"]):
        raise UserError(f"The classes of {table} are not those of {member.path}; {again}")
    labels = predictions.read_truth(table)
    return _HeldOut(names, scores, labels, str(source.get("data", "")), bool(source.get("tta")))


def _check_same_photographs(members: Sequence[_Member], held_out: Sequence[_HeldOut]) -> None:
    """Refuses runs that have scores of different photographs.

    Raises:
      UserError: naming two.
    """
    by_run: dict[str, set[str]] = {}
    for member, of in zip(members, held_out):
        by_run.setdefault(member.run, set()).update(of.names)
    first_run, first = next(iter(by_run.items()))
    for run, names in by_run.items():
        if names != first:
            raise UserError(
                f"{first_run} and {run} have scores of different photographs; average runs of the "
                "same records."
            )


def _judge(
    config: EnsembleConfig,
    path: str,
    weights_sha256: str,
    members: Sequence[_Member],
    held_out: Sequence[_HeldOut],
) -> Evaluation:
    """Chooses thresholds by the mean of the runs' scores out of fold, and writes what is found.

    Raises:
      UserError: a file cannot be written.
    """
    from cloudtf.evaluation import activation_maps, results

    by_run: dict[str, dict[str, tuple[np.ndarray, np.ndarray]]] = {}
    for member, of in zip(members, held_out):
        rows = zip(of.names, of.scores, of.labels)
        by_run.setdefault(member.run, {}).update((name, (s, t)) for name, s, t in rows)
    fold_of = {name: member.fold for member, of in zip(members, held_out) for name in of.names}
    first = next(iter(by_run.values()))
    names, data_dir, classes = list(first), held_out[0].data, members[0].info["classes"]
    data = _records(data_dir)
    source = {
        "model": path,
        "weights_sha256": weights_sha256,
        "folds": {
            f"{member.run}/{member.fold}": {
                "examples": len(of.names),
                "weights_sha256": member.weights_sha256,
            }
            for member, of in zip(members, held_out)
        },
        "data": data_dir,
        "tta": any(of.tta for of in held_out),
    }
    maps: dict[str, list[activation_maps.ModelMaps]] = {}
    for member, of in zip(members, held_out):
        of_member = activation_maps.of_model(member.model, EvaluateConfig.batch_size)
        for name in of.names:
            maps.setdefault(name, []).append(of_member)
    found = findings(
        config.targets(data_dir, path),
        out_of_fold.SPLIT,
        False,
        classes,
        names,
        np.stack([first[name][1] for name in names]),
        np.mean([[of[name][0] for name in names] for of in by_run.values()], axis=0),
        source,
        fit_folds=np.unique([fold_of[name] for name in names], return_inverse=True)[1].reshape(-1),
        images=_images(data, names),
        known=photograph_table.Photographs() if data is None else data.photographs,
        masks=None if data is None else data.masks(out_of_fold.folds_of(data.splits)),
    )
    background = results.Background(
        title=f"cloudtf: {len(members)} models as one, scores out of fold",
        facts={"models": ", ".join(member.path for member in members), "records": data_dir},
        manifest=None if data is None else data.manifest,
        maps=activation_maps.by_image(maps),
    )
    page = results.write(config.output_dir, found, background)
    return Evaluation(found.metrics, Thresholds(found.chosen, found.source), page)
