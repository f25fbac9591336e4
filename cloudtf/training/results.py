"""What a run leaves in its folder for people and later commands: best model, history, plot."""

from __future__ import annotations

import json
import math
from typing import Any, Optional, Sequence

import tensorflow as tf

from cloudtf import files
from cloudtf.errors import UserError
from cloudtf.evaluation import history, plots
from cloudtf.model import saving
from cloudtf.training.summaries import Summaries

# A best model that waits for its epoch's checkpoint.
_WAITING = "best.waiting.keras"


class ResultFolder:
    """`best.keras`, `best.json`, `history.csv`, `pr_auc_history.png` and `tensorboard/`.

    A new best model is written beside the old one (`keep`) and put in its place afterwards
    (`place_best`), so that there is always a whole one, and so that a run can see to it that its
    checkpoint knows of the model first.

    Args:
      run_dir: the folder, made if it is not there.
      class_names: the names of the C classes, in label order.
      tensorboard: whether to write TensorBoard summaries too.

    Attributes:
      summaries: those of TensorBoard; None where none are wanted.

    Raises:
      UserError: the folder cannot be made.
    """

    def __init__(self, run_dir: str, class_names: Sequence[str], tensorboard: bool) -> None:
        self._run_dir, self._class_names = run_dir, tuple(class_names)
        self.summaries = Summaries(run_dir, class_names) if tensorboard else None
        self._best_size: Optional[int] = None
        self._earlier_rows: list[history.Row] = []
        self._to_beat = -math.inf
        # Now, and not after an epoch that would be lost.
        files.make_dirs(run_dir)

    def path(self, name: str) -> str:
        """Where a file of the folder is."""
        return files.join(self._run_dir, name)

    # The best model.

    def keep(self, model: tf.keras.Model, best: dict[str, Any], info: dict[str, Any]) -> None:
        """Writes a new best model, which waits for `place_best`; an earlier fit's better one stays.

        Args:
          model: the network as it is now.
          best: the content of `best.json`; the model file says the same inside, so that the two
            cannot disagree for good.
          info: JSON values that are kept inside too.
        """
        if not best["pr_auc"]["mean"] > self._to_beat:
            return
        inside = {**info, "classes": list(self._class_names), "best": best}
        saving.save_model(model, self.path(_WAITING), inside)

    def place_best(self, best: Optional[dict[str, Any]]) -> None:
        """Puts a best model that waits into its place, and what is known of it beside it."""
        if files.exists(self.path(_WAITING)):
            files.move(self.path(_WAITING), self.path("best.keras"))
            self._best_size = files.size(self.path("best.keras"))
            files.write_json(self.path("best.json"), best)

    def settle(self, rows: Sequence[history.Row], best: Optional[dict[str, Any]]) -> None:
        """Completes what a killed process was about to do, and writes again what has been removed.

        A best model that waits is put in its place if it is that of `best`. Any other is dropped:
        its epoch is done again, perhaps to a lower score, or it was cut when it was written.

        Args:
          rows: the history as the last checkpoint has it.
          best: the best model as the last checkpoint knows it.
        """
        if files.exists(self.path(_WAITING)):
            try:
                waiting = saving.check_whole(self.path(_WAITING)).get("best")
            except UserError:
                waiting = None
            if best is None or waiting != _as_json(best):
                files.remove(self.path(_WAITING))
        self.place_best(best)
        if best is not None:
            files.write_json(self.path("best.json"), best)
        if rows:
            history.write(self.path("history.csv"), rows, self._class_names)
            if not files.exists(self.path("pr_auc_history.png")):
                plots.pr_auc_history(self.path("pr_auc_history.png"), rows)

    def lacks(self, best: dict[str, Any]) -> str:
        """What is wrong with `best.keras`, as `is gone`; empty if it is whole, and of `best`."""
        path = self.path("best.keras")
        if not files.exists(path):
            return "is gone"
        try:
            found = saving.check_whole(path).get("best")
        except UserError:
            return "is damaged"
        self._best_size = files.size(path)
        return "" if found == _as_json(best) else "is another model's"

    def has_lost_best(self) -> bool:
        """Whether `best.keras` has gone or been cut since it was last written or looked at.

        Then the next best model is kept whatever the lost one's score was.
        """
        if self._best_size is None:
            return False
        path = self.path("best.keras")
        lost = not files.exists(path) or files.size(path) != self._best_size
        if lost:
            self._best_size, self._to_beat = None, -math.inf
        return lost

    # The history.

    def write_history(self, rows: Sequence[history.Row]) -> None:
        """Writes `history.csv` and draws it, with the rows of an earlier fit that these leave."""
        merged = {row["epoch"]: row for row in [*self._earlier_rows, *rows]}
        ordered = [merged[epoch] for epoch in sorted(merged)]
        history.write(self.path("history.csv"), ordered, self._class_names)
        plots.pr_auc_history(self.path("pr_auc_history.png"), ordered)

    def earlier_fit(self) -> tuple[list[history.Row], Optional[dict[str, Any]]]:
        """The history and the best model that a fit of Keras has left here; they stay.

        Its rows are written again with each history, and its best model gives way to a better one
        only.

        Returns:
          The rows of `history.csv`, and of `best.keras` what it says of itself; none and None where
          they are not there.

        Raises:
          UserError: the folder is of a run of `cloudtf.train`, or of a fit of other classes.
        """
        if files.exists(self.path("checkpoints")):
            raise UserError(
                f"{self._run_dir} is the folder of a run of cloudtf.train; give the callback "
                "another run_dir."
            )
        files.remove(self.path(_WAITING))  # Half written when its process was killed.
        rows: list[history.Row] = []
        if files.exists(self.path("history.csv")):
            rows = history.read(self.path("history.csv"), self._class_names)
        best = None
        if files.exists(self.path("best.keras")):
            info = saving.check_whole(self.path("best.keras"))
            best = info.get("best")
            if info.get("classes") != list(self._class_names) or not isinstance(best, dict):
                raise UserError(
                    f"{self.path('best.keras')} is not of a fit of these classes; give the "
                    "callback another run_dir."
                )
            self._best_size = files.size(self.path("best.keras"))
        self._earlier_rows = rows
        best = history.from_json({"best": best})["best"]
        if best is not None:
            self._to_beat = best["pr_auc"]["mean"]
        return rows, best


def _as_json(value: dict[str, Any]) -> Any:
    """A value as it comes back from a JSON file, in which NaN is null."""
    return json.loads(json.dumps(value), parse_constant=lambda name: None)
