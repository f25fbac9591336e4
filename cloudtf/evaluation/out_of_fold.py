"""Scores out of fold: those of each photograph by the one model that was not trained on it.

A run of all folds has a model a fold, `RUN/fold0/best.keras` and so on, each validated on the fold
that it is named after. Together they score every photograph of the set once, and none that they
have learnt from. So thresholds and scores come from the whole set, not from a fifth of it.

They are scores of several models, put together. An area over all of them is a little lower than the
mean of the folds' own areas, as far as one model's scores lie higher than another's.
"""

from __future__ import annotations

import dataclasses
import re
from typing import TYPE_CHECKING, Any, Iterable, Mapping, Sequence

import numpy as np

from cloudtf import files
from cloudtf.errors import UserError, param
from cloudtf.evaluation.evaluate import (
    EvaluateConfig,
    Evaluation,
    check_matches,
    findings,
    label_rows,
    run_settings,
)
from cloudtf.model.thresholds import Thresholds

if TYPE_CHECKING:
    from cloudtf.evaluation.activation_maps import ModelMaps
    from cloudtf.pipeline.dataset import ImageDataset

# In the place of a split's name: in metrics.json, and in the name of predictions_oof.csv.
SPLIT = "oof"


def fold_dir(run_dir: str, fold: str) -> str:
    """The run folder of one fold, such as `fold0`, in that of all of them."""
    return files.join(run_dir, fold)


def is_of_folds(run_dir: str) -> bool:
    """Whether a folder is that of a run of all folds, which has no model of its own."""
    first = files.join(fold_dir(run_dir, "fold0"), "best.keras")
    return not files.exists(files.join(run_dir, "best.keras")) and files.exists(first)


def folds_of(splits: Iterable[str]) -> list[str]:
    """Those of the names of a set's splits that are folds, in order: `fold0`, `fold1` and so on."""
    return sorted(
        (name for name in splits if re.fullmatch(r"fold\d+", name)), key=lambda name: int(name[4:])
    )


def judge(config: EvaluateConfig) -> Evaluation:
    """Judges the models of a run of all folds, each on its own, and writes what `evaluate` does.

    Beside that, `predictions_foldN.csv` in the folder of each fold.

    Args:
      config: `run_dir` is the folder of the run.

    Raises:
      UserError: a fold has no model, or one that was validated on another split; or as `evaluate`.
    """
    from cloudtf.data import stored
    from cloudtf.evaluation import activation_maps, results
    from cloudtf.pipeline.dataset import open_dataset
    from cloudtf.submission import predictions

    run_dir = config.run_dir or ""
    if config.split is not None:
        raise UserError(
            f"{run_dir} has a model a fold, judged together on all folds; leave out "
            f"{param(split=config.split)}, or judge one of them ({param('model')})."
        )
    data = open_dataset(config.data_dir, "none", config.on_bad_record)
    folds = folds_of(data.splits)
    _check_models(run_dir, config.data_dir, folds)
    results.check(config.output_dir or run_dir, SPLIT, False, data.classes)
    row_of = label_rows(config, data.names(folds), data.classes)
    scored = {fold: _score(config, data, fold) for fold in folds}
    for fold, of in scored.items():
        path = files.join(fold_dir(run_dir, fold), f"predictions_{fold}.csv")
        predictions.write(path, of.names, of.scores, data.classes, of.labels)
    source = {
        "model": run_dir,
        "folds": {
            fold: {"examples": len(of.names), "weights_sha256": of.weights_sha256}
            for fold, of in scored.items()
        },
        "data": config.data_dir,
        "tta": config.tta,
    }
    found = findings(
        config,
        SPLIT,
        False,
        data.classes,
        [name for of in scored.values() for name in of.names],
        np.concatenate([of.labels for of in scored.values()]),
        np.concatenate([of.scores for of in scored.values()]),
        source,
        _over_folds(scored, data.classes),
        np.repeat(np.arange(len(scored)), [len(of.names) for of in scored.values()]),
        stored.by_name(config.data_dir, data.manifest.joined(folds).shards, data.names(folds)),
        data.photographs,
        row_of,
        data.masks(folds),
    )
    background = results.Background(
        title=f"cloudtf: {len(folds)} folds, each photograph by the model that has not seen it",
        facts={
            "models": f"{len(folds)}, of {run_dir}",
            "records": config.data_dir,
            "tta": str(config.tta),
        },
        settings=run_settings(run_dir),
        history_path=files.join(run_dir, "history.csv"),
        fold_history_paths={
            fold: files.join(fold_dir(run_dir, fold), "history.csv") for fold in folds
        },
        learning_curve_path=files.join(fold_dir(run_dir, folds[0]), "learning_curve.json"),
        manifest=data.manifest,
        maps=activation_maps.by_image(
            {name: [of.maps] for of in scored.values() for name in of.names}
        ),
    )
    page = results.write(config.output_dir or run_dir, found, background)
    return Evaluation(found.metrics, Thresholds(found.chosen, found.source), page)


def _check_models(run_dir: str, data_dir: str, folds: Sequence[str]) -> None:
    """Refuses records without folds, and a run that has not come to all of them."""
    if not folds:
        raise UserError(
            f"The records in {data_dir} have no folds, and {run_dir} has a model a fold; name the "
            "records that it was made on."
        )
    for fold in folds:
        if not files.exists(files.join(fold_dir(run_dir, fold), "best.keras")):
            raise UserError(
                f"{run_dir} has no model of {fold} of {data_dir} yet; go on with its run, "
                "`cloudtf train --fold=all`."
            )


@dataclasses.dataclass(frozen=True)
class _Scored:
    """What the model of a fold says of the photographs of that fold, and where it looks."""

    names: list[str]
    labels: np.ndarray
    scores: np.ndarray
    weights_sha256: str
    maps: ModelMaps


def _score(config: EvaluateConfig, data: ImageDataset, fold: str) -> _Scored:
    from cloudtf.evaluation import activation_maps, scoring
    from cloudtf.model import classifier, saving

    path = files.join(fold_dir(config.run_dir or "", fold), "best.keras")
    judged = classifier.read(path)
    check_matches(path, judged.info, config.data_dir, data.manifest)
    validated_on = judged.info.get("val_split")
    if validated_on != fold:
        raise UserError(
            f"The model {path} was validated on {validated_on!r}, and so perhaps trained on "
            f"{fold!r}; train the folds by `cloudtf train --fold=all`."
        )
    scorer = scoring.Scorer(judged.model, flips=config.tta)
    with data.naming_damage(fold):
        scored = scorer.dataset(data.evaluation_batches(fold, config.batch_size))
    names = data.names(fold)
    return _Scored(
        [names[number] for number in scored.numbers],
        scored.labels,
        scored.scores,
        saving.weights_sha256(judged.model),
        activation_maps.of_model(judged.model, config.batch_size),
    )


def _over_folds(scored: Mapping[str, _Scored], classes: Sequence[str]) -> dict[str, Any]:
    """What `metrics.json` says of the folds beside the scores out of fold.

    `folds` has the scores of each fold; `folds_mean` and `folds_spread` their mean and standard
    deviation (n - 1) over the folds in which a class can be scored.
    """
    from cloudtf.evaluation import pr_auc

    folds: dict[str, dict[str, Any]] = {}
    for fold, of in scored.items():
        figures = pr_auc.score(of.labels, of.scores, classes)
        folds[fold] = {
            "examples": len(of.names),
            "pr_auc": {**figures.pr_auc, "mean": figures.mean_pr_auc},
            "average_precision": {
                **figures.average_precision,
                "mean": figures.mean_average_precision,
            },
        }
    mean: dict[str, dict[str, float]] = {"pr_auc": {}, "average_precision": {}}
    spread: dict[str, dict[str, float]] = {"pr_auc": {}, "average_precision": {}}
    for measure in mean:
        for name in (*classes, "mean"):
            values = np.array([of[measure][name] for of in folds.values()])
            values = values[np.isfinite(values)]
            mean[measure][name] = float(values.mean()) if len(values) else np.nan
            spread[measure][name] = float(values.std(ddof=1)) if len(values) > 1 else np.nan
    return {"folds": folds, "folds_mean": mean, "folds_spread": spread}
