"""A model card for an exported model, in Markdown: what is known of it, and what is not.

After Mitchell et al., "Model Cards for Model Reporting", FAT* 2019: data, scores with intervals,
thresholds, calibration, limits, licence. All is read from what lies beside the model; a file of
other weights is not quoted.
"""

from __future__ import annotations

import contextlib
import datetime
from typing import Any, Mapping, Optional, Sequence

from cloudtf import __version__, files
from cloudtf.data import records
from cloudtf.errors import UserError
from cloudtf.evaluation import proof
from cloudtf.model import licences, thresholds
from cloudtf.model.export import Prepared
from cloudtf.settings import from_flagfile
from cloudtf.text import listed

# By this it is known again.
MARK = "# Model card: "
# A class with fewer positives in what it was judged on has an interval too wide to rely on.
_FEW = 50
# What of `metrics.json` is quoted, by the titles of its columns.
_MEASURES = {
    "PR-AUC": "pr_auc",
    "Average precision": "average_precision",
    "Brier score": "brier",
    "Calibration error": "ece",
}


def text(prepared: Prepared, context: Context, proven: Optional[Mapping[str, Any]]) -> str:
    """The card.

    Args:
      prepared: the model that was written.
      context: the scores, thresholds, settings and records that are known of it.
      proven: the content of `proof.json`; None where it was not run.
    """
    now = datetime.datetime.now(datetime.timezone.utc)
    parts = [
        f"{MARK}{files.basename(prepared.config.output)}",
        f"Written by cloudtf {__version__} on {now:%Y-%m-%d}.",
        "## Model",
        _model(prepared),
        "## Data",
        _data(prepared, context),
        "## Scores",
        _scores(prepared, context),
        "## Thresholds",
        _thresholds(prepared, context),
        "## Calibration",
        _calibration(prepared, context),
        "## Proof",
        _proof(proven),
        "## Limits",
        _limits(prepared, context),
        "## Licence",
        _licence(prepared, context),
    ]
    return "\n\n".join(parts) + "\n"


class Context:
    """What lies beside the model and is of its weights, read before anything is written.

    Args:
      prepared: the model to be written.

    Attributes:
      metrics: the content of `metrics.json`; empty where there is none.
      chosen: the thresholds that were exported; None where there are none.
      flags: the settings of the run by name; empty where they are not known.
      data_dir: the records that it was trained on, or else proven on; None where none are known.
      manifest: what these hold; None where they are not at hand.

    Raises:
      UserError: `metrics.json`, or another file, is damaged.
    """

    def __init__(self, prepared: Prepared) -> None:
        path, config = prepared.trained.path, prepared.config
        self._folder = files.dirname(path)
        source = config.thresholds or files.join(self._folder, "thresholds.json")
        self.chosen = thresholds.read(source) if prepared.info["thresholds"] is not None else None
        origin = self._json("thresholds.json").get("from")
        same = isinstance(origin, dict) and origin.get("weights_sha256") == prepared.weights_sha256
        self.metrics = self._json("metrics.json") if same else {}
        if self.metrics and not _are_metrics(self.metrics):
            raise UserError(
                f"{files.join(self._folder, 'metrics.json')} is not as an evaluation writes it; "
                "`cloudtf evaluate` makes it again."
            )
        flags = files.join(self._folder, "flags.txt")
        self.flags = from_flagfile(files.read_text(flags)) if files.exists(flags) else {}
        self.data_dir, self.manifest = None, None
        for folder in (prepared.trained.info.get("data_dir"), config.data_dir):
            if folder and self.manifest is None:
                self.data_dir = folder
                with contextlib.suppress(UserError):  # They may have been moved since.
                    self.manifest = records.read_manifest(folder)

    def _json(self, name: str) -> dict[str, Any]:
        path = files.join(self._folder, name)
        content = files.read_json(path) if files.exists(path) else {}
        return content if isinstance(content, dict) else {}


def _are_metrics(content: dict[str, Any]) -> bool:
    """Whether all that is quoted of a `metrics.json` is there, and of its kind."""

    def are_numbers(values: Any) -> bool:
        return all(value is None or isinstance(value, (int, float)) for value in values)

    keys = [*_MEASURES.values(), "brier_calibrated", "ece_calibrated"]
    found = [content[key] for key in keys if key in content]
    intervals = content.get("intervals", {})
    return (
        isinstance(content.get("examples"), int)
        and isinstance(content.get("split"), str)
        and ("ece_calibrated" not in content or "ece" in content)
        and all(isinstance(of_class, dict) and are_numbers(of_class.values()) for of_class in found)
        and isinstance(intervals, dict)
        and all(
            isinstance(of_class, dict)
            and all(
                isinstance(pair, list) and len(pair) == 2 and are_numbers(pair)
                for pair in of_class.values()
            )
            for of_class in (intervals.get(key, {}) for key in keys)
        )
    )


def _model(prepared: Prepared) -> str:
    config, info = prepared.config, prepared.info
    best = info.get("best") or {}
    facts = {
        "Network": info.get("model", "a Keras model"),
        "Format": f"{config.format}, computing in {config.precision}",
        "Images": f"{info['image_height']} x {info['image_width']} (rows x columns), made of "
        + info["preprocessing"],
        "Classes": ", ".join(map(_cell, info["classes"])) + " (any of them at once)",
        "Best epoch": f"{best['epoch']}" if "epoch" in best else "not known",
        "Weights": f"SHA-256 {prepared.weights_sha256}",
    }
    return "\n".join(f"- {name}: {value}" for name, value in facts.items())


def _data(prepared: Prepared, context: Context) -> str:
    manifest = context.manifest
    if manifest is None:
        where = context.data_dir or "some that the model does not name"
        return f"It was trained on records ({_cell(where)}) that are not at hand here."
    rows = [
        [name, f"{split.num_examples:,}"]
        + [f"{split.class_counts.get(one, 0):,}" for one in manifest.classes]
        for name, split in manifest.splits.items()
    ]
    table = _table(["Split", "Images", *manifest.classes], rows)
    validated = prepared.trained.info.get("val_split", "val")
    copies = len(manifest.near_duplicates)
    notes = [f"Records in {_cell(context.data_dir or '')}; it was validated on `{validated}`."]
    if copies:
        notes.append(f"{copies:,} groups of photographs are copies of one another.")
    if manifest.skipped:
        notes.append(f"{len(manifest.skipped):,} photographs or rows were left out.")
    return f"{' '.join(notes)}\n\n{table}"


def _scores(prepared: Prepared, context: Context) -> str:
    metrics, intervals = context.metrics, context.metrics.get("intervals", {})
    if not metrics:
        return "No scores of these weights lie beside the model; `cloudtf evaluate` makes them."
    suffix = "_calibrated" if prepared.info["calibration"] is not None else ""
    keys = {title: key + suffix * (key in ("brier", "ece")) for title, key in _MEASURES.items()}
    keys = {title: key for title, key in keys.items() if key in metrics}
    rows = [
        [name]
        + [
            _number(metrics[key].get(name), intervals.get(key, {}).get(name))
            for key in keys.values()
        ]
        for name in [*prepared.info["classes"], "mean"]
    ]
    on = f"On {metrics['examples']:,} images of `{metrics['split']}`, which chose the best epoch"
    sure = ", with 95% intervals" if intervals else ""
    return f"{on}{sure}.\n\n{_table(['Class', *keys], rows)}"


def _thresholds(prepared: Prepared, context: Context) -> str:
    info, chosen = prepared.info, context.chosen
    if chosen is None:
        return "There are none: the model gives probabilities alone."
    kind = info["present_at"]
    rows = []
    for name in info["classes"]:
        entry, limit = chosen.classes[name][kind], info["thresholds"][name]
        intervals = entry.get("intervals") or {}
        rows.append(
            [
                name,
                "never present" if limit is None else f"{limit:.4f}",
                *(_number(entry.get(key), intervals.get(key)) for key in ("precision", "recall")),
                _number(entry.get("target")),
                _number(entry.get("confidence")),
            ]
        )
    titles = ["Class", "Threshold", "Precision", "Recall", "Target", "Confidence"]
    return (
        f"A class is `present` where its probability is at least its `{kind}` threshold, chosen on "
        f"the scores {chosen}. Confidence is how surely the target holds on new images.\n\n"
        + _table(titles, rows)
    )


def _calibration(prepared: Prepared, context: Context) -> str:
    calibrated, metrics = prepared.info["calibration"], context.metrics
    if calibrated is None:
        return "The probabilities are those of the network, not calibrated."
    text = "The probabilities are calibrated, class by class: " + ", ".join(
        f"{_cell(name)}: {entry['method']}" for name, entry in calibrated["classes"].items()
    )
    if "ece_calibrated" in metrics:
        before, after = metrics["ece"].get("mean"), metrics["ece_calibrated"].get("mean")
        text += f". Mean calibration error {_number(before)} before, {_number(after)} after"
    return f"{text}."


def _proof(content: Optional[Mapping[str, Any]]) -> str:
    if content is None:
        return "It was not run after it was written."
    lines = [
        f"- From `{part['input']}` on {_cell(part['on'])}: {proof.differences(part)}" + _loss(part)
        for part in content["parts"]
    ]
    verdict = "It gives what the trained model gives" if content["passed"] else "It FAILS"
    allowed = f"within {content['parts'][0]['tolerance']:g}, run by {content['runtime']}"
    return f"{verdict} ({allowed}).\n\n" + "\n".join(lines)


def _loss(part: Mapping[str, Any]) -> str:
    loss = part.get("pr_auc_loss", {}).get("mean")
    return "" if loss is None else f"; loss of mean PR-AUC {loss:.4f}"


def _limits(prepared: Prepared, context: Context) -> str:
    info = prepared.info
    lines = [
        "All numbers above hold for images drawn as those that it was judged on: from the same "
        "source, photographed and made alike. Other places, seasons, cameras or prevalences need a "
        "test of their own.",
        "It knows the classes above and no others; an image of something else gets probabilities "
        "too.",
        "The split that it was judged on chose its best epoch, and its thresholds; scores on it "
        "flatter a little.",
    ]
    if context.manifest is not None:
        counts = {
            name: context.manifest.splits[split].class_counts.get(name, 0)
            for split in [context.metrics.get("split")]
            if split in context.manifest.splits
            for name in info["classes"]
        }
        few = [f"{_cell(name)} ({count})" for name, count in counts.items() if count < _FEW]
        if few:
            lines.append(f"Judged on few positives: {listed(few)}.")
    never = [name for name, limit in (info["thresholds"] or {}).items() if limit is None]
    if never:
        lines.append(
            f"Never `present`, since no threshold reaches its target: {listed(map(_cell, never))}."
        )
    if prepared.config.precision != "float32":
        lines.append(
            f"It computes in {prepared.config.precision}; the scores above are of the model before."
        )
    if info["aspect"] == "stretch":
        lines.append("Photographs are stretched to its size; shapes are not kept.")
    return "\n".join(f"- {line}" for line in lines)


def _licence(prepared: Prepared, context: Context) -> str:
    weights = licences.of_weights(prepared.info.get("model"), context.flags.get("weights"))
    return (
        f"{_cell(weights)} cloudtf itself is under Apache 2.0. Under which licence the photographs "
        "and their labels are, and so what may be done with a network that has learnt from them, "
        "their source says."
    )


def _number(value: Any, interval: Optional[Sequence[Optional[float]]] = None) -> str:
    if value is None:
        return "–"
    low, high = interval or (None, None)
    return f"{value:.3f}" + ("" if low is None or high is None else f" ({low:.3f} to {high:.3f})")


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [header, ["---", *["---:"] * (len(header) - 1)], *rows]
    return "\n".join(f"| {' | '.join(map(_cell, line))} |" for line in lines)


def _cell(value: str) -> str:
    """A text out of a file, such that it neither ends a cell nor becomes a tag."""
    return value.replace("|", "\\|").replace("<", "&lt;").replace("\n", " ")
