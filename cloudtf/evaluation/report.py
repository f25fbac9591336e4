"""The report of a run: one HTML page that holds everything, pictures included.

It has no scripts and fetches nothing, so it can be mailed, archived and opened offline.
"""

from __future__ import annotations

import base64
import math
import struct
from html import escape
from typing import Any, Mapping, Optional, Sequence

from cloudtf import files
from cloudtf.errors import UserError

# Column of history.csv -> heading and number format. The columns a class are left to the CSV.
_HISTORY_COLUMNS = {
    "epoch": ("Epoch", "g"),
    "stage": ("Stage", ""),
    "loss": ("Loss", ".4f"),
    "val_loss": ("Val. loss", ".4f"),
    "train_pr_auc_mean": ("PR-AUC, train", ".4f"),
    "val_pr_auc_mean": ("PR-AUC, val.", ".4f"),
    "learning_rate": ("Learning rate", ".3g"),
    "images_per_second": ("Images/s", ".1f"),
}

_STYLE = """
:root { color-scheme: light dark; --ink: #1f2328; --soft: #59636e; --line: #d1d9e0;
  --back: #ffffff; --stripe: #f6f8fa; }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e6edf3; --soft: #9aa4af; --line: #3d444d; --back: #14171c; --stripe: #1c2128; }
}
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 60rem; padding: 1.5rem 1rem 4rem; color: var(--ink);
  background: var(--back); font: 16px/1.5 system-ui, sans-serif; overflow-wrap: anywhere; }
h1 { font-size: 1.7rem; line-height: 1.2; margin: 0 0 .25rem; }
h2 { font-size: 1.2rem; margin: 2.25rem 0 .75rem; }
p { margin: .5rem 0; }
.soft { color: var(--soft); }
.wide { overflow-x: auto; border: 1px solid var(--line); border-radius: 6px; }
table { border-collapse: collapse; width: 100%; font-size: .95rem; }
th, td { padding: .4rem .75rem; text-align: left; border-top: 1px solid var(--line); }
th { font-weight: 600; }
thead th { border-top: 0; color: var(--soft); font-size: .85rem; vertical-align: bottom; }
tbody tr:nth-child(even) { background: var(--stripe); }
.number { text-align: right; font-variant-numeric: tabular-nums; }
.facts th { width: 35%; font-weight: 400; color: var(--soft); vertical-align: top; }
.wide th, .wide td { overflow-wrap: break-word; }
.wide td { white-space: nowrap; }
.wide .loose td { white-space: normal; }
.facts td.fact { white-space: pre-wrap; overflow-wrap: anywhere; }
.total > * { font-weight: 700; border-top: 2px solid var(--line); }
.sheet { display: grid; gap: 1rem;
  grid-template-columns: repeat(auto-fit, minmax(min(100%, 26rem), 1fr)); }
figure { margin: 0; }
figure.broad { grid-column: 1 / -1; }
figcaption { color: var(--soft); font-size: .85rem; margin-bottom: .25rem; }
img { display: block; max-width: 100%; height: auto; border-radius: 6px; background: #fff;
  border: 1px solid var(--line); }
summary { cursor: pointer; }
@media (max-width: 34rem) {
  body { padding: 1rem .5rem 3rem; }
  table, thead th { font-size: .7rem; }
  th, td { padding: .25rem .2rem; }
}
details .wide { max-height: 32rem; overflow-y: auto; margin-top: .75rem; }
"""


def write_report(
    path: str,
    title: str,
    metrics: Mapping[str, Any],
    chosen_thresholds: Mapping[str, Mapping[str, Mapping[str, Any]]],
    history_rows: Sequence[Mapping[str, Any]],
    images: Mapping[str, str],
    facts: Mapping[str, str],
) -> None:
    """Writes the page.

    Args:
      path: the HTML file to write, local or remote.
      title: the heading of the page, and of its window.
      metrics: what `metrics.json` holds: `examples`, `unknown` where labels are, and `pr_auc`,
        `average_precision`, `brier`, `ece` and the latter two `_calibrated`, each by class and with
        `mean`, and `intervals` of the same keys; a value that does not exist is None or NaN.
      chosen_thresholds: the content of `thresholds.json` (see `choose_thresholds`).
      history_rows: one mapping an epoch with the columns of `history.csv`; may be empty.
      images: caption -> path of a PNG file, in the order of the page.
      facts: name -> text, such as the settings of the run.

    Raises:
      UserError: a picture cannot be read or is not a PNG, or the page cannot be written.
    """
    parts = [
        f"<h1>{escape(title)}</h1>",
        f'<p class="soft">{metrics["examples"]:,} examples</p>',
        _section("Scores", _scores(metrics)),
        _section("Pictures", _pictures(images)) if images else "",
        _section("Calibration", _calibration(metrics)),
        _section("Thresholds", _thresholds(chosen_thresholds)),
        _section("History", _history(history_rows)) if history_rows else "",
        _section("Settings and facts", _facts(facts)) if facts else "",
    ]
    page = (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(title)}</title>\n<style>{_STYLE}</style>\n</head>\n<body>\n"
        + "\n".join(part for part in parts if part)
        + "\n</body>\n</html>\n"
    )
    files.write_text(path, page)


def _section(heading: str, body: str) -> str:
    return f"<section>\n<h2>{heading}</h2>\n{body}\n</section>"


def _scores(metrics: Mapping[str, Any]) -> str:
    areas, averages = metrics["pr_auc"], metrics["average_precision"]
    sure = metrics["intervals"]["average_precision"]
    rows = [
        (name, _decimal(averages[name], 4), _interval(sure[name]), _decimal(areas[name], 4))
        for name in [*(n for n in areas if n != "mean"), "mean"]
    ]
    undefined = [row[0] for row in rows if row[1] == "–" and row[0] != "mean"]
    note = ""
    if undefined:
        note = (
            "<p>Without a score, since all or no examples show the class, and left out of "
            f"the mean: {escape(', '.join(undefined))}.</p>"
        )
    unknown = {name: count for name, count in metrics.get("unknown", {}).items() if count}
    if unknown:
        listed = ", ".join(f"{name} {count:,}" for name, count in unknown.items())
        note += (
            f"<p>Examples left out of a class, since its label is unknown: {escape(listed)}.</p>"
        )
    return (
        _table(("Class", "Average precision", "95% interval", "PR-AUC"), rows, last="total")
        + note
        + '<p class="soft">PR-AUC is the trapezoid under the curve; average precision, its step '
        "function, does not flatter. Other images of the same kind would give another score: the "
        "interval holds the true one in 95 of 100 such samples.</p>"
    )


def _calibration(metrics: Mapping[str, Any]) -> str:
    names = [*(name for name in metrics["ece"] if name != "mean"), "mean"]
    columns = ("ece", "ece_calibrated", "brier", "brier_calibrated")
    rows = [(name, *(_decimal(metrics[key][name], 4) for key in columns)) for name in names]
    headings = ("Class", "Error", "calibrated", "Brier score", "calibrated")
    return (
        _table(headings, rows, last="total")
        + '<p class="soft">The expected calibration error is the mean distance between a score and '
        "the share of images with such scores that show the class; the Brier score is the mean "
        "squared error of a score. Each image was calibrated by what the others gave.</p>"
    )


def _thresholds(chosen: Mapping[str, Mapping[str, Mapping[str, Any]]]) -> str:
    rows = []
    for name, by_kind in chosen.items():
        for kind, entry in by_kind.items():
            threshold = entry["threshold"]
            rows.append(
                (
                    name,
                    _wanted(kind, entry),
                    _missing(entry) if threshold is None else f"{threshold:.4g}",
                    _with_interval(entry, "precision"),
                    _with_interval(entry, "recall"),
                    _confidence(entry),
                )
            )
    headings = ("Class", "Wanted", "Threshold", "Precision", "Recall", "Sure")
    return (
        '<p class="soft">A class is present where its score is at least the threshold. What is '
        "found there is of the examples that it was chosen on, with 95% intervals; the last column "
        "says how surely the target holds on new images of the same kind.</p>"
        + _table(headings, rows, text=2, wraps=True)
    )


def _wanted(kind: str, entry: Mapping[str, Any]) -> str:
    if kind == "f_beta":
        return f"best F-beta, beta {entry['beta']:g}"
    if kind == "cost":
        return f"least cost, {entry['miss']:g}:{entry['false_alarm']:g}"
    what, _, guaranteed = kind.partition("_")
    return f"{what} ≥ {entry['target']:g}{', guaranteed' if guaranteed else ''}"


def _with_interval(entry: Mapping[str, Any], what: str) -> str:
    sure = entry.get("intervals")
    interval = f" ({_interval(sure[what], 2)})" if sure else ""
    return _decimal(entry[what], 3) + interval


def _interval(ends: Sequence[Optional[float]], digits: int = 3) -> str:
    low, high = (_decimal(end, digits) for end in ends)
    # Word joiners keep it on one line.
    return "–" if low == "–" else f"{low}\u2060–\u2060{high}"


def _missing(entry: Mapping[str, Any]) -> str:
    return f"needs {entry['needs']:,} positives" if entry.get("needs") else "not reachable"


def _confidence(entry: Mapping[str, Any]) -> str:
    sure = entry.get("confidence")
    return "–" if sure is None else f"{100 * sure:.0f}%"


def _history(history_rows: Sequence[Mapping[str, Any]]) -> str:
    columns = [key for key in _HISTORY_COLUMNS if any(key in row for row in history_rows)]
    rows = [
        [_cell(row.get(key), _HISTORY_COLUMNS[key][1]) for key in columns] for row in history_rows
    ]
    headings = [_HISTORY_COLUMNS[key][0] for key in columns]
    body = _table(headings, rows, text=2 if "stage" in columns else 1)
    return f"<details>\n<summary>{len(rows)} epochs</summary>\n{body}\n</details>"


def _pictures(images: Mapping[str, str]) -> str:
    figures = []
    for caption, path in images.items():
        content = files.read_bytes(path)
        if content[:8] != b"\x89PNG\r\n\x1a\n":
            raise UserError(f"The picture {path} is not a PNG file; make it again.")
        width, height = struct.unpack(">II", content[16:24])
        shape = ' class="broad"' if width > 1.3 * height else ""
        data = base64.b64encode(content).decode("ascii")
        figures.append(
            f"<figure{shape}><figcaption>{escape(caption)}</figcaption>"
            f'<img alt="{escape(caption)}" width="{width}" height="{height}" '
            f'src="data:image/png;base64,{data}"></figure>'
        )
    return '<div class="sheet">\n' + "\n".join(figures) + "\n</div>"


def _facts(facts: Mapping[str, str]) -> str:
    rows = "\n".join(
        f'<tr><th scope="row">{escape(name)}</th><td class="fact">{escape(str(text))}</td></tr>'
        for name, text in facts.items()
    )
    return f'<div class="wide"><table class="facts"><tbody>\n{rows}\n</tbody></table></div>'


def _table(
    headings: Sequence[str],
    rows: Sequence[Sequence[str]],
    text: int = 1,
    last: str = "",
    wraps: bool = False,
) -> str:
    """A table whose first `text` columns are words and the others numbers, which may wrap."""
    kind = ' class="loose"' if wraps else ""
    shape = ["" if index < text else ' class="number"' for index in range(len(headings))]
    head = "".join(f'<th scope="col"{s}>{h}</th>' for s, h in zip(shape, headings))
    body = []
    for index, row in enumerate(rows):
        mark = f' class="{last}"' if last and index == len(rows) - 1 else ""
        cells = "".join(f"<td{s}>{escape(str(cell))}</td>" for s, cell in zip(shape[1:], row[1:]))
        body.append(f'<tr{mark}><th scope="row">{escape(str(row[0]))}</th>{cells}</tr>')
    return (
        f'<div class="wide"><table{kind}>\n<thead><tr>{head}</tr></thead>\n<tbody>\n'
        + "\n".join(body)
        + "\n</tbody></table></div>"
    )


def _decimal(value: Optional[float], digits: int) -> str:
    return "–" if value is None or not math.isfinite(value) else f"{value:.{digits}f}"


def _cell(value: Any, form: str) -> str:
    """A cell of history.csv for people; a number that is missing or not finite is a dash."""
    try:
        number = float(value)
    except (TypeError, ValueError):
        return str(value) if value else "–"
    return format(number, form) if math.isfinite(number) else "–"
