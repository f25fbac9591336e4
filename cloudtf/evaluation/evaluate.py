"""Judging a trained model on a split: metrics, thresholds, predictions, plots and the report."""

from __future__ import annotations

import dataclasses
from typing import Any, Optional

from cloudtf import files
from cloudtf.data.records import ON_BAD_RECORD
from cloudtf.errors import UsageError, UserError, param
from cloudtf.reporter import report
from cloudtf.settings import REQUIRED, Settings, from_flagfile, setting


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


def evaluate(config: EvaluateConfig) -> dict[str, Any]:
    """Scores every example of a split and writes all that follows from it.

    Writes `metrics.json`, `thresholds.json`, `predictions_SPLIT.csv`, a `pr_curve_CLASS.png` for
    each class and `report.html` into the output folder.

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
    from cloudtf.evaluation import history, plots, pr_auc, scoring, thresholds
    from cloudtf.evaluation.report import write_report
    from cloudtf.model import classifier
    from cloudtf.model import thresholds as thresholds_file
    from cloudtf.pipeline.dataset import open_dataset
    from cloudtf.submission import predictions

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
    check_matches(path, info, config.data_dir, data.classes, data.image_shape)
    split = config.split or info.get("val_split", "val")
    scorer = scoring.Scorer(judged.model, flips=config.tta)
    with data.naming_damage(split):
        scored = scorer.dataset(data.batches(split, config.batch_size, with_keys=True))
    names = data.names(split)
    figures = pr_auc.score(scored.labels, scored.scores, data.classes)
    if figures.undefined:
        report(figures.warning(f"examples of {split}"))
    chosen = thresholds.choose(
        scored.labels, scored.scores, data.classes, config.recall_target, config.precision_target
    )
    metrics = {
        "split": split,
        "examples": len(scored.labels),
        "pr_auc": {**figures.pr_auc, "mean": figures.mean_pr_auc},
        "average_precision": {**figures.average_precision, "mean": figures.mean_average_precision},
    }
    files.make_dirs(output)
    files.write_json(files.join(output, "metrics.json"), metrics)
    thresholds_file.write(files.join(output, "thresholds.json"), chosen)
    predictions.write(
        files.join(output, f"predictions_{split}.csv"),
        [names[number] for number in scored.numbers],
        scored.scores,
        data.classes,
    )
    pictures = {}
    rows: list[dict[str, Any]] = []
    history_path = files.join(files.dirname(path), "history.csv")
    if files.exists(history_path):
        rows = history.read(history_path)
        plot = files.join(output, "pr_auc_history.png")
        plots.pr_auc_history(plot, rows)
        pictures["PR-AUC over the epochs"] = plot
    for index, name in enumerate(data.classes):
        plot = files.join(output, f"pr_curve_{plots.slug(name)}.png")
        plots.pr_curve(plot, name, scored.labels[:, index], scored.scores[:, index], chosen[name])
        pictures[f"Precision and recall of {name}"] = plot
    facts = {"model": path, "records": config.data_dir, "split": split, "tta": str(config.tta)}
    flagfile = files.join(files.dirname(path), "flags.txt")
    if files.exists(flagfile):
        given = from_flagfile(files.read_text(flagfile))
        facts.update({param(name): value for name, value in given.items()})
    write_report(
        files.join(output, "report.html"),
        f"cloudtf: {info.get('model', 'model')} on {split}",
        metrics,
        chosen,
        rows,
        pictures,
        facts,
    )
    return metrics


def check_matches(
    model_path: str,
    info: dict[str, Any],
    data_dir: str,
    classes: tuple[str, ...],
    image_shape: tuple[int, int],
) -> None:
    """Refuses records that a model was not made for.

    Args:
      model_path: the model's file, which the refusal names.
      info: what the file says of its model (see `classifier.read`).
      data_dir: the folder of the records, which the refusal names.
      classes: the records' classes in order; empty for an unlabelled set, which fits any model.
      image_shape: height and width of the records' images, in pixels.

    Raises:
      UserError: classes, their order, or the image size differ.
    """
    if classes and list(classes) != list(info["classes"]):
        raise UserError(
            f"The model {model_path} knows the classes {', '.join(info['classes'])}, the records "
            f"in {data_dir} have {', '.join(classes)}; convert with {param('classes')} in the "
            "model's order."
        )
    size = (info["image_height"], info["image_width"])
    if tuple(image_shape) != size:
        raise UserError(
            f"The model {model_path} takes images of {size[0]}x{size[1]}, the records in "
            f"{data_dir} have {image_shape[0]}x{image_shape[1]}; convert with "
            f"{param(image_height=size[0])} and {param(image_width=size[1])}."
        )
