"""What an evaluation prints."""

from __future__ import annotations

from typing import Any, Mapping

from cloudtf.evaluation import pr_auc, promises, slices
from cloudtf.evaluation.evaluate import Evaluation
from cloudtf.model.thresholds import Thresholds


def text(found: Evaluation, width: int) -> str:
    """What was judged, the tables of scores, thresholds and slices, and the page to open.

    Args:
      found: scores, thresholds and the path of the report, as `judge` gives them.
      width: how many columns the terminal has.
    """
    heading = f"{found.metrics['examples']} examples of {found.metrics['split']}"
    return "\n".join(
        [heading, of_metrics(found.metrics, found.thresholds, width), f"Open {found.report}"]
    )


def of_metrics(metrics: Mapping[str, Any], chosen: Thresholds, width: int) -> str:
    """The tables of scores, of what thresholds promise, and of slices where there are any.

    Args:
      metrics: the content of `metrics.json`.
      chosen: the thresholds of each class, chosen on the same images.
      width: how many columns the terminal has.
    """
    tables = [
        pr_auc.table(metrics, width),
        promises.table(chosen, metrics["average_precision"], width),
    ]
    if "slices" in metrics:
        tables.append(slices.table(metrics["slices"]))
    return "\n".join(tables)
