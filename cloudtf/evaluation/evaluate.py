"""Judging a trained model on a split: metrics, thresholds, predictions, plots and the report."""

from __future__ import annotations

import dataclasses
import math
from typing import TYPE_CHECKING, Any, Callable, Mapping, Optional, Sequence

from cloudtf import files
from cloudtf.data import photograph_table, records
from cloudtf.data.records import ON_BAD_RECORD
from cloudtf.errors import UsageError, UserError, param
from cloudtf.model.thresholds import Thresholds
from cloudtf.reporter import report
from cloudtf.settings import REQUIRED, Settings, from_flagfile, setting
from cloudtf.text import listed

if TYPE_CHECKING:
    import numpy as np

    from cloudtf.evaluation import results


NOTHING_KNOWN = photograph_table.Photographs()


@dataclasses.dataclass(frozen=True)
class EvaluateConfig(Settings):
    """Which model to judge on which records, and how.

    >>> EvaluateConfig(run_dir="runs/a", data_dir="records", recall_target=0.99).split is None
    True
    """

    data_dir: str = setting(REQUIRED, "Folder of the records.")
    run_dir: Optional[str] = setting(None, "Run folder whose best model is judged.")
    model: Optional[str] = setting(None, "A .keras file to judge, in place of `run_dir`.")
    split: Optional[str] = setting(
        None, "Split to judge on. Default: the one that the model was validated on."
    )
    output_dir: Optional[str] = setting(
        None, "Folder for the results. Default: the run folder, or the model's."
    )
    recall_target: float = setting(
        0.94, "Recall that the recall thresholds keep.", minimum=0, maximum=1
    )
    precision_target: float = setting(
        0.90, "Precision that the precision thresholds reach.", minimum=0, maximum=1
    )
    confidence: float = setting(
        0.95,
        "How surely the guaranteed thresholds keep their target on new images.",
        minimum=0.5,
        maximum=0.9999,
    )
    beta: Optional[float] = setting(
        None,
        "Also choose the threshold of the best F-beta; 1 weighs precision and recall alike, 2 "
        "recall twice as much.",
        minimum=0.01,
        maximum=100,
    )
    costs: Optional[str] = setting(
        None,
        "Also choose the threshold of the lowest total cost, as MISS:FALSE_ALARM; 5:1 says that a "
        "missed positive costs five times a false alarm.",
    )
    labels_csv: Optional[str] = setting(
        None, "The labels that were converted: suspects.csv then names the row of each."
    )
    labels_encoding: Optional[str] = setting(
        None, "Encoding of `labels_csv`, as in its conversion."
    )
    column_names: tuple[str, ...] = setting(
        (), "Names of the columns of `labels_csv`, as in its conversion."
    )
    tta: bool = setting(False, "Average over the four flips of each image.")
    batch_size: int = setting(64, "Images a step.", minimum=1)
    on_bad_record: str = setting(
        ON_BAD_RECORD[0],
        "Stop at a damaged record, or leave out up to 1% of a split.",
        choices=ON_BAD_RECORD,
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if (self.run_dir is None) == (self.model is None):
            raise UsageError(f"Give either {param('run_dir')} or {param('model')}.")
        if self.costs is not None and self.cost_pair is None:
            raise UsageError(f"{param(costs=self.costs)} is not two numbers from 0, such as 5:1.")

    @property
    def cost_pair(self) -> Optional[tuple[float, float]]:
        """The costs of a miss and of a false alarm; None where `costs` does not say them."""
        try:
            miss, false_alarm = (float(cost) for cost in (self.costs or "").split(":"))
        except ValueError:
            return None
        costs = miss, false_alarm
        return costs if all(0 <= cost < math.inf for cost in costs) else None


@dataclasses.dataclass(frozen=True)
class Evaluation:
    """What came of judging a model.

    Attributes:
      metrics: the content of `metrics.json`.
      thresholds: the content of `thresholds.json`.
      report: the path of the page.
    """

    metrics: dict[str, Any]
    thresholds: Thresholds
    report: str


def evaluate(config: EvaluateConfig) -> dict[str, Any]:
    """Scores every example of a split and writes all that follows from it.

    Writes `metrics.json`, `thresholds.json`, `calibration.json`, `predictions_val.csv`,
    `report.html`, and a `pr_curve_CLASS.png` and a `reliability_CLASS.png` for each class (of many,
    for the worst and the best) into the output folder, with `suspects.csv` and a sheet of
    thumbnails, `suspects.png`: labels that look wrong. What is found on another split than the one
    that the model was validated on stands beside that, not over it, and without suspects:
    `metrics_train.json`, `thresholds_train.json` and so on.

    Returns:
      The content of `metrics.json`.

    Raises:
      UserError: the records have no labels, or other classes or another image size than the model,
        or a file is damaged.

    >>> metrics = evaluate(EvaluateConfig(run_dir="runs/a", data_dir="records"))
    >>> metrics["split"], metrics["examples"]
    ('val', 12)
    >>> 0 <= metrics["pr_auc"]["mean"] <= 1
    True
    """
    return judge(config).metrics


def judge(config: EvaluateConfig) -> Evaluation:
    """The same as `evaluate`, and says where the report is."""
    from cloudtf.data import stored
    from cloudtf.evaluation import activation_maps, out_of_fold, results, scoring
    from cloudtf.model import classifier, saving
    from cloudtf.pipeline.dataset import open_dataset

    if config.run_dir is not None and out_of_fold.is_of_folds(config.run_dir):
        return out_of_fold.judge(config)
    path = config.model or files.join(config.run_dir or "", "best.keras")
    if not files.exists(path):
        raise UserError(f"There is no model {path}; train one first, or check the name.")
    output = config.output_dir or config.run_dir or files.dirname(path)
    judged = classifier.read(path)
    info = judged.info
    data = open_dataset(config.data_dir, "none", config.on_bad_record)
    if not data.classes:
        raise UserError(
            f"The records in {config.data_dir} have no labels to judge a model by; use `cloudtf "
            "predict` for their probabilities."
        )
    check_matches(path, info, config.data_dir, data.manifest)
    validated_on = info.get("val_split", "val")
    if config.split is None and validated_on == out_of_fold.SPLIT:
        raise UserError(
            f"The model {path} is the mean of models that were validated on different splits, so "
            "it has learnt from all of them; name a split of other photographs as "
            f"{param('split')}."
        )
    split = config.split or validated_on
    if split in info.get("trained_on", ()):
        report(f"Note: {path} has learnt from {split} too, so its scores there flatter it.")
    results.check(output, split, split != validated_on, data.classes)
    row_of = label_rows(config, data.names(split), data.classes)
    scorer = scoring.Scorer(judged.model, flips=config.tta)
    with data.naming_damage(split):
        scored = scorer.dataset(data.evaluation_batches(split, config.batch_size))
    names = data.names(split)
    source = {
        "model": path,
        "weights_sha256": saving.weights_sha256(judged.model),
        "data": config.data_dir,
        "tta": config.tta,
    }
    found = findings(
        config,
        split,
        split != validated_on,
        data.classes,
        [names[number] for number in scored.numbers],
        scored.labels,
        scored.scores,
        source,
        images=stored.by_name(config.data_dir, data.manifest.split(split).shards, names),
        known=data.photographs,
        row_of=row_of,
        masks=data.masks(split),
    )
    maps = activation_maps.of_model(judged.model, config.batch_size)
    background = results.Background(
        title=f"cloudtf: {info.get('model', 'model')} on {split}",
        facts={"model": path, "records": config.data_dir, "split": split, "tta": str(config.tta)},
        settings=run_settings(files.dirname(path)),
        history_path=files.join(files.dirname(path), "history.csv"),
        learning_curve_path=files.join(files.dirname(path), "learning_curve.json"),
        manifest=data.manifest,
        maps=activation_maps.by_image(dict.fromkeys(names, [maps])),
    )
    page = results.write(output, found, background)
    return Evaluation(found.metrics, Thresholds(found.chosen, found.source), page)


def label_rows(
    config: EvaluateConfig, names: Sequence[str], classes: Sequence[str]
) -> Optional[Callable[[str, str], Optional[int]]]:
    """(image, class) -> row of `labels_csv`; None where that is not given.

    Read before anything is scored, so that a wrong path costs no time.

    Args:
      config: names the label table.
      names: the names of the images that will be judged.
      classes: the C class names, in label order.

    Raises:
      UserError: the table cannot be read.
    """
    from cloudtf.data import tables
    from cloudtf.evaluation import suspects

    if config.labels_csv is None:
        return None
    table = tables.from_file(config.labels_csv, config.labels_encoding, config.column_names)
    return suspects.rows(table, names, classes)


def findings(
    config: EvaluateConfig,
    split: str,
    other_split: bool,
    classes: Sequence[str],
    names: Sequence[str],
    labels: np.ndarray,
    scores: np.ndarray,
    source: Mapping[str, Any],
    more: Optional[Mapping[str, Any]] = None,
    fit_folds: Optional[np.ndarray] = None,
    images: Optional[Callable[[Sequence[str]], Mapping[str, np.ndarray]]] = None,
    known: photograph_table.Photographs = NOTHING_KNOWN,
    row_of: Optional[Callable[[str, str], Optional[int]]] = None,
    masks: Optional[Mapping[str, bytes]] = None,
) -> results.Findings:
    """What follows from the scores of N examples: areas, thresholds, and where they are from.

    Args:
      config: says what thresholds are wanted.
      split: the name of the split that the examples are, such as `val`.
      other_split: whether the model was validated on another one.
      classes: the C class names, in label order.
      names: the N image names.
      labels: [N, C], 0 or 1.
      scores: [N, C], probabilities.
      source: what `thresholds.json` says of the model and the data.
      more: further keys of `metrics.json`, such as the scores of each fold.
      fit_folds: [N], the fold of each example, where there are several.
      images: names of images -> the images, uint8 [H, W, 3] each.
      known: what is known of the images beside their labels: which belong together, and the
        columns by which they are divided.
      row_of: (image, class) -> the row of the label table, as `label_rows` gives it.
      masks: names of images -> their small masks, see `data.masks`.

    Raises:
      UserError: a score is not finite.
    """
    from cloudtf.evaluation import evidence, pr_auc, results, slices, suspects, thresholds

    figures = pr_auc.score(labels, scores, classes)
    if figures.undefined:
        report(figures.warning(f"examples of {split}"))
    groups = known.shared_groups(names)
    found = evidence.gather(labels, scores, classes, figures, fit_folds, groups)
    columns = known.columns_of(names)
    by_column = slices.find(columns, labels, scores, classes, found.resamples)
    return results.Findings(
        split=split,
        other_split=other_split,
        classes=classes,
        names=names,
        labels=labels,
        scores=scores,
        evidence=found,
        chosen=thresholds.choose_thresholds(
            labels,
            scores,
            config.recall_target,
            config.precision_target,
            config.confidence,
            classes,
            config.beta,
            config.cost_pair,
            groups,
        ),
        source={
            "split": split,
            "examples": len(labels),
            **source,
            "confidence": config.confidence,
            **({} if groups is None else {"groups": len(set(groups))}),
        },
        more={**(more or {}), **({"slices": by_column} if by_column else {})},
        suspects=[] if other_split else suspects.find(labels, scores, names, classes, row_of),
        images=images,
        masks=masks or {},
    )


def run_settings(run_dir: str) -> dict[str, str]:
    """The settings of a run by name, for its report; none where `flags.txt` is not there."""
    path = files.join(run_dir, "flags.txt")
    return from_flagfile(files.read_text(path)) if files.exists(path) else {}


def check_matches(
    model_path: str,
    info: dict[str, Any],
    data_dir: str,
    manifest: records.Manifest,
) -> None:
    """Refuses records that a model was not made for.

    Args:
      model_path: the model's file, which the refusal names.
      info: what the file says of its model (see `classifier.read`).
      data_dir: the folder of the records, which the refusal names.
      manifest: what the records are; an unlabelled set fits a model of any classes.

    Raises:
      UserError: classes, their order, the image size or how it came about differ.
    """
    classes = manifest.classes
    image_shape = (manifest.image_height, manifest.image_width)
    if classes and list(classes) != list(info["classes"]):
        raise UserError(
            f"The model {model_path} knows the classes {listed(info['classes'])}, the records "
            f"in {data_dir} have {listed(classes)}; convert with {param('classes')} in the model's "
            "order."
        )
    size = (info["image_height"], info["image_width"])
    if tuple(image_shape) != size:
        raise UserError(
            f"The model {model_path} takes images of {size[0]}x{size[1]}, the records in "
            f"{data_dir} have {image_shape[0]}x{image_shape[1]}; convert with "
            f"{param(image_height=size[0])} and {param(image_width=size[1])}."
        )
    if manifest.aspect != info["aspect"]:
        raise UserError(
            f"The model {model_path} is for photographs that became records with "
            f"{param(aspect=info['aspect'])}, and those in {data_dir} with "
            f"{param(aspect=manifest.aspect)}; convert as the model has it."
        )
