"""Programs that tests start as processes of their own, and how they are started.

A process of its own is needed by what can be done once a process (choosing TensorFlow's devices,
importing), by what dies, and by what is measured. Each program takes its arguments from `sys.argv`,
as its docstring says; what it finds out is the last line of its output, as JSON.
"""

from __future__ import annotations

import json
import pathlib
import subprocess
import sys
from typing import Any, Optional

FOLDER = pathlib.Path(__file__).parent


def command(name: str, *arguments: object) -> list[str]:
    """The command that runs a program, by its name without `.py`."""
    return [sys.executable, str(FOLDER / f"{name}.py"), *map(str, arguments)]


def run(
    name: str,
    *arguments: object,
    timeout: float = 280,
    environment: Optional[dict[str, str]] = None,
) -> subprocess.CompletedProcess:
    """Runs a program to its end, with status 0; `environment` in place of this process's."""
    done = subprocess.run(
        command(name, *arguments),
        capture_output=True,
        encoding="utf-8",
        timeout=timeout,
        env=environment,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done


def kill_when_ready(name: str, *arguments: object) -> None:
    """Starts a program and kills it (SIGKILL) when it has said `ready`."""
    process = subprocess.Popen(
        command(name, *arguments), stdout=subprocess.PIPE, stderr=subprocess.PIPE, encoding="utf-8"
    )
    with process:
        assert process.stdout is not None and process.stderr is not None
        line = process.stdout.readline()
        process.kill()
        assert line == "ready\n", process.stderr.read()


def answer(name: str, *arguments: object, **options: Any) -> Any:
    """What a program finds out. For `options` see `run`."""
    return result(run(name, *arguments, **options).stdout)


def result(output: str) -> Any:
    """What a program found out, from all that it printed."""
    return json.loads(output.splitlines()[-1])
