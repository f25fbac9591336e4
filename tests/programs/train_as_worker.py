"""A worker that makes several runs, one after the other, and may be sent a signal in each.

Arguments: the plan as JSON, a list of [name, settings, {worker: [step, signal, file]}]; a folder
for the answers. At the step the worker sends itself the signal, once: the file says that it has
been. With `saving` after these, it does so as it saves after that step. Settings may be {"copy":
[source, target]} for a folder to be copied in the place of a run; "run_dir_of_others" is the run
folder of all workers but the first. Writes NAME-WORKER.json with the status, history and steps, and
NAME-WORKER.npz with the model's and the optimizer's variables.
"""

from __future__ import annotations

import contextlib
import json
import os
import pathlib
import shutil
import sys
from typing import Any, Iterator
from unittest import mock

import numpy as np

import cloudtf
from cloudtf.model import network
from cloudtf.training import step
from cloudtf.training.checkpoints import CheckpointFolder
from cloudtf.training.stopping import Interrupted


class Spy:
    """Sees the steps of a run, and sends a signal at one of them.

    Attributes:
      steps: how many were made.
      asks: whether the step looks whether there is a next batch.
    """

    def __init__(self, at: int, signal: int, file: str, while_: str = "stepping") -> None:
        self._at, self._signal, self._file, self._while = at, signal, file, while_
        self.steps, self.asks = 0, False
        self._variables: list = []

    def made(self, model: Any, optimizer: Any) -> None:
        """A step is made for a model and its optimizer."""
        self._model, self._optimizer = model, optimizer

    def before(self, compiled: Any, iterator: Any) -> None:
        """A step begins."""
        self.steps += 1
        graph = compiled.get_concrete_function(iterator).graph.as_graph_def()
        self.asks = "OptionalHasValue" in str(graph)
        self._may_signal("stepping")

    def saves(self) -> None:
        """A checkpoint is about to be written."""
        self._may_signal("saving")

    def _may_signal(self, doing: str) -> None:
        due = self.steps == self._at and doing == self._while
        if due and not os.path.exists(self._file):
            pathlib.Path(self._file).touch()
            os.kill(os.getpid(), self._signal)

    def variables(self) -> list[np.ndarray]:
        """The model's and the optimizer's."""
        return [v.numpy() for v in (*self._model.variables, *self._optimizer.variables())]


@contextlib.contextmanager
def spying(spy: Spy) -> Iterator[None]:
    """While this is open, the spy sees each train step, and each checkpoint."""
    make, call = step.TrainStep.__init__, step.TrainStep.send
    save = CheckpointFolder.save

    def made(self: Any, model: Any, optimizer: Any, *arguments: Any, **named: Any) -> None:
        spy.made(model, optimizer)
        make(self, model, optimizer, *arguments, **named)

    def called(self: Any, iterator: Any, count: int) -> step.Sent:
        spy.before(self._one, iterator)
        return call(self, iterator, count)

    def saved(self: Any, checkpoint: Any, progress: Any) -> None:
        spy.saves()
        save(self, checkpoint, progress)

    steps = mock.patch.multiple(step.TrainStep, __init__=made, send=called)
    with steps, mock.patch.object(CheckpointFolder, "save", saved):
        yield


def train(settings: dict[str, Any], worker: int, spy: Spy) -> dict[str, Any]:
    """What came of one run."""
    elsewhere = settings.pop("run_dir_of_others", None)
    if elsewhere is not None and worker:
        settings["run_dir"] = elsewhere
    settings["augmentations"] = tuple(settings["augmentations"])
    result: dict[str, Any] = {"status": 0}
    try:
        config = cloudtf.TrainConfig(**settings, strategy="multi_worker")
        with spying(spy):
            result["history"] = cloudtf.train(config).history
    except Interrupted as error:
        result.update(status=error.exit_status, message=str(error))
    except cloudtf.UserError as error:
        print(f"cloudtf train: {error}", file=sys.stderr)
        sys.exit(error.exit_status)
    return {**result, "steps": spy.steps, "asks": spy.asks}


def main(plan: list, folder: str) -> None:
    """Makes all runs."""
    worker = json.loads(os.environ["TF_CONFIG"])["task"]["index"]
    network.DROP_CONNECT_RATE = 0.0
    for name, settings, signals in plan:
        if "copy" in settings:
            if worker == 0:
                shutil.copytree(*settings["copy"])
            continue
        spy = Spy(*signals.get(str(worker), (0, 0, "")))
        result = train(settings, worker, spy)
        pathlib.Path(f"{folder}/{name}-{worker}.json").write_text(json.dumps(result))
        np.savez(f"{folder}/{name}-{worker}.npz", *spy.variables())


if __name__ == "__main__":
    main(json.loads(sys.argv[1]), sys.argv[2])
