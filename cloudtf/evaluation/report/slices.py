"""The section of slices: where the model is better or worse, by the columns that were kept."""

from __future__ import annotations

from typing import Any, Mapping

from cloudtf.evaluation import slices as scored
from cloudtf.evaluation.report import parts
from cloudtf.evaluation.report.material import Limits, Material


def slices(material: Material, limits: Limits) -> str:
    """A row a slice of a column, beside the rest of the images."""
    found = material.metrics.get("slices", {})
    rows = [_row(column, one) for column, some in found.items() for one in some]
    if not rows:
        return ""
    headings = ("Slice", "Images", "PR-AUC", "95% interval", "The rest", "Difference")
    return parts.table(headings, rows[: limits.rows], kind="loose cards") + parts.note(
        "The mean PR-AUC of the classes of which a slice has enough images, and that of all "
        "other images on the same classes, weighted until these are as frequent there. Better "
        "and worse are said where the difference is more than noise, with allowance for how "
        "many slices there are. metrics.json has the positives of each class."
    )


def _row(column: str, one: Mapping[str, Any]) -> tuple[str, ...]:
    difference = parts.decimal(one["difference"], 4)
    if difference != parts.DASH:
        difference = f"{one['difference']:+.4f} ({parts.interval(one['difference_interval'])})"
    return (
        scored.named(column, one),
        f"{one['examples']:,}",
        parts.decimal(one["pr_auc"], 4),
        parts.interval(one["interval"]),
        parts.decimal(one["rest"], 4),
        " ".join(filter(None, (difference, scored.verdict(one)))),
    )
