"""What an evaluation prints."""

from __future__ import annotations

from cloudtf.evaluation import pr_auc, promises, slices
from cloudtf.evaluation.evaluate import Evaluation


def text(found: Evaluation, width: int) -> str:
    """The tables of scores and of what thresholds promise, the slices, and the page to open.

    Args:
      found: scores, thresholds and the path of the report, as `judge` gives them.
      width: how many columns the terminal has.
    """
    metrics = found.metrics
    tables = [
        f"{metrics['examples']} examples of {metrics['split']}",
        pr_auc.table(metrics, width),
        promises.table(found.thresholds, metrics["average_precision"], width),
    ]
    if "slices" in metrics:
        tables.append(slices.table(metrics["slices"]))
    return "\n".join([*tables, f"Open {found.report}"])
