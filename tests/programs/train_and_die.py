"""Begins `cloudtf train` in processes of its own that may die at a given place.

Reads lines of JSON, [arguments, where to die, at which time], and answers each with the number of
the process that it has begun, and then with how that ended. It forks before TensorFlow has begun
anything, so that only its import is shared.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from typing import Any, Callable, NoReturn

from cloudtf import files
from cloudtf.commands import app
from cloudtf.training import (
    results,
    train,  # noqa: F401 - imported once, for all processes
)


def die_where(where: str, at: int) -> None:
    """Has this process killed at the given time that it comes to a place.

    Places: `before_history` (a new best is written, its row is not), `half_checkpoint` (the weights
    are written, state.json is not), `two_checkpoints` (the old one is not yet removed),
    `half_model` (half of the next best model is written), `before_best` (it is written and not yet
    in place), `best_without_figures` (it is in place, best.json is not).
    """
    times = 0

    def reached(place: str) -> None:
        nonlocal times
        times += place == where
        if place == where and times == at:
            os.kill(os.getpid(), signal.SIGKILL)

    def before(function: Callable[..., Any], dies: Callable[..., None]) -> Callable[..., Any]:
        def patched(*arguments: Any) -> Any:
            dies(*arguments)
            return function(*arguments)

        return patched

    def on_state(path: str, value: Any) -> None:
        if path.endswith("state.json"):
            reached("half_checkpoint")

    def on_removal(path: str) -> None:
        if files.basename(path).startswith("step-") and files.exists(path):
            reached("two_checkpoints")

    move = files.move

    def moved(source: str, target: str) -> None:
        if where == "half_model" and target.endswith("best.waiting.keras"):
            with open(source, "r+b") as file:
                file.truncate(files.size(source) // 2)
            reached("half_model")
        if target.endswith("best.keras"):
            reached("before_best")
        move(source, target)
        if target.endswith("best.keras"):
            reached("best_without_figures")

    write_history = results.ResultFolder.write_history
    patches: tuple[tuple[Any, str, Callable[..., Any]], ...] = (
        (
            results.ResultFolder,
            "write_history",
            before(write_history, lambda folder, rows: reached("before_history")),
        ),
        (files, "write_json", before(files.write_json, on_state)),
        (files, "remove_tree", before(files.remove_tree, on_removal)),
        (files, "move", moved),
    )
    for owner, name, function in patches:
        setattr(owner, name, function)


def run(arguments: list[str], where: str, at: int) -> NoReturn:
    """Trains, in a process of its own, which it ends."""
    sys.stdout = sys.stderr
    if where:
        die_where(where, at)
    status = 99
    try:
        status = app.main(["train", *arguments])
    finally:
        sys.stderr.flush()
        os._exit(status)


def main() -> None:
    """Answers each line."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # What the runs print.

    def say(value: int) -> None:
        print(json.dumps(value), flush=True, file=answers)

    for line in sys.stdin:
        child = os.fork()
        if child == 0:
            run(*json.loads(line))
        say(child)
        say(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))


if __name__ == "__main__":
    main()
