"""PR-AUC of many examples: cloudtf against scikit-learn, and whether they agree.

python benchmarks/metrics.py --json=metrics.json
"""

from __future__ import annotations

import time

import harness
import numpy as np
from absl import flags

FLAGS = flags.FLAGS
flags.DEFINE_integer("examples", 1_000_000, "Examples.", lower_bound=10)
flags.DEFINE_integer("classes", 4, "Classes.", lower_bound=1)

CLOUDTF = "cloudtf, both areas"
SKLEARN = "scikit-learn, trapezoid area"
SKLEARN_BOTH = "scikit-learn, both areas"


def cloudtf_areas(examples: int, classes: int) -> harness.Measure:
    """`pr_auc.score`, as the callback and `cloudtf evaluate` call it."""
    from cloudtf.evaluation import pr_auc

    labels, scores = _data(examples, classes)
    names = [f"class {i}" for i in range(classes)]
    return _timed(lambda: pr_auc.score(labels, scores, names))


def sklearn_areas(examples: int, classes: int, both: bool) -> harness.Measure:
    """The original notebook's two calls a class, and average precision."""
    from sklearn.metrics import auc, average_precision_score, precision_recall_curve

    labels, scores = _data(examples, classes)

    def run() -> None:
        for i in range(classes):
            precision, recall, _ = precision_recall_curve(labels[:, i], scores[:, i])
            auc(recall, precision)
            if both:
                average_precision_score(labels[:, i], scores[:, i])

    return _timed(run)


def largest_difference(examples: int, classes: int) -> float:
    """Between the two, over all classes and both areas."""
    from sklearn.metrics import auc, average_precision_score, precision_recall_curve

    from cloudtf.evaluation import pr_auc

    labels, scores = _data(examples, classes)
    found = pr_auc.score(labels, scores, [str(i) for i in range(classes)])
    differences = []
    for i in range(classes):
        precision, recall, _ = precision_recall_curve(labels[:, i], scores[:, i])
        differences.append(abs(auc(recall, precision) - found.pr_auc[str(i)]))
        average = average_precision_score(labels[:, i], scores[:, i])
        differences.append(abs(average - found.average_precision[str(i)]))
    return max(differences)


def _data(examples: int, classes: int) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(0)
    labels = (random.random((examples, classes)) < 0.5).astype(np.float32)
    logits = random.normal(size=(examples, classes)) + labels
    return labels, (1 / (1 + np.exp(-logits))).astype(np.float32)


def _timed(run) -> harness.Measure:  # noqa: ANN001 - takes and gives nothing
    def measure(count: int) -> harness.Turn:
        began = time.perf_counter()
        for _ in range(count):
            run()
        return harness.Turn(time.perf_counter() - began, count)

    return measure


def main() -> None:
    """Measures and reports."""
    facts = harness.machine()
    size = {"examples": FLAGS.examples, "classes": FLAGS.classes}
    cases = [
        harness.Case(CLOUDTF, cloudtf_areas, size),
        harness.Case(SKLEARN, sklearn_areas, {**size, "both": False}),
        harness.Case(SKLEARN_BOTH, sklearn_areas, {**size, "both": True}),
    ]
    results, notes = harness.alternate(cases, items=1)
    for result in results.values():
        notes.append(f"{result.name}: {1 / result.median:.2f} s.")
    difference = harness.in_process(largest_difference, **size)
    notes.append(f"{FLAGS.examples:,} examples, {FLAGS.classes} classes.")
    notes.append(f"The largest difference between the two is {difference:.1e}.")
    ratios = [
        harness.ratio(results, CLOUDTF, SKLEARN),
        harness.ratio(results, CLOUDTF, SKLEARN_BOTH),
    ]
    more = {"largest_difference": difference}
    harness.report("metrics", facts, "runs/s", results, ratios, notes, more)


if __name__ == "__main__":
    harness.run(main)
