"""Runs `cloudtf train` several times in one process, which gets signals at given steps.

Argument: the plan as JSON, a list of [arguments, {step: [signals]}]. Answers with the status, the
output and the number of steps of each.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import sys
from typing import Any
from unittest import mock

from cloudtf.commands import app
from cloudtf.training import step


def run(arguments: list[str], signals: dict[str, list[int]]) -> dict[str, Any]:
    """What came of one run."""
    steps = 0
    call = step.TrainStep.send

    def called(self: Any, iterator: Any, count: int) -> step.Sent:
        nonlocal steps
        steps += 1
        for number in signals.pop(str(steps), ()):
            os.kill(os.getpid(), number)
        return call(self, iterator, count)

    out, err = io.StringIO(), io.StringIO()
    stepping = mock.patch.object(step.TrainStep, "send", called)
    with stepping, contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        status = app.main(["train", *arguments])
    return {"status": status, "out": out.getvalue(), "err": err.getvalue(), "steps": steps}


if __name__ == "__main__":
    print(json.dumps([run(*part) for part in json.loads(sys.argv[1])]))
