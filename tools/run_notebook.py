"""Run a notebook from top to bottom and keep what its cells print and draw.

    python tools/run_notebook.py notebooks/colab.ipynb

It runs in a new folder with a clone of this project, as on Colab, in the Python that runs this
file; what is not committed is not in it. Cells that need Colab say so and do nothing. Needs
nbclient, ipykernel and pip.
"""

from __future__ import annotations

import argparse
import os
import pathlib
import re
import subprocess
import sys
import tempfile
from typing import Optional

import nbformat
from nbclient import NotebookClient

ROOT = pathlib.Path(__file__).resolve().parents[1]
# Seconds; a cell may train.
CELL_TIMEOUT = 3600


def execute(notebook: nbformat.NotebookNode, folder: str) -> nbformat.NotebookNode:
    """Runs all cells in `folder`; the outputs are put into `notebook`, which is returned.

    Raises:
      nbclient.exceptions.CellExecutionError: a cell failed.
    """
    environment = {**os.environ, "IPYTHONDIR": os.path.join(folder, ".ipython")}
    # Only errors of pip: its warnings are about this machine.
    environment["PIP_QUIET"] = "1"
    # Commands that cells run are those of this Python.
    environment["PATH"] = os.path.dirname(sys.executable) + os.pathsep + environment["PATH"]
    client = NotebookClient(
        notebook,
        timeout=CELL_TIMEOUT,
        startup_timeout=300,
        # What a cell printed may come long after it ended, on a busy machine.
        iopub_timeout=60,
        kernel_name="python3",
        resources={"metadata": {"path": folder}},
    )
    return client.execute(env=environment)


def clean(notebook: nbformat.NotebookNode, folder: str) -> None:
    """Brings outputs to what a reader sees: one stream a cell, no overwritten progress bars."""
    for cell in notebook.cells:
        cell.metadata.pop("execution", None)
        if cell.cell_type != "code":
            continue
        outputs: list[nbformat.NotebookNode] = []
        for output in cell.outputs:
            text = outputs[-1] if outputs and outputs[-1].output_type == "stream" else None
            if output.output_type == "stream" and text is not None:
                text.text += output.text
            else:
                outputs.append(output)
        for output in outputs:
            if output.output_type == "stream":
                output.name = "stdout"
                output.text = shown(output.text).replace(folder + os.sep, "")
        cell.outputs = [o for o in outputs if o.output_type != "stream" or o.text.strip()]
    notebook.metadata.pop("widgets", None)


def shown(text: str) -> str:
    """What a terminal shows in the end: a carriage return goes back to the line's beginning."""
    lines = []
    for line in re.sub(r"\x1b\[[0-9;]*[A-Za-z]", "", text).split("\n"):
        parts = line.rstrip("\r").split("\r")
        shown_line = ""
        for part in parts:
            shown_line = part + shown_line[len(part) :]
        lines.append(shown_line.rstrip())
    # A bar that was wiped leaves an empty line behind; one of them is enough.
    return re.sub(r"\n{2,}", "\n", "\n".join(lines)).lstrip("\n")


def main(arguments: Optional[list[str]] = None) -> None:
    """Executes and rewrites the notebook."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("notebook", type=pathlib.Path)
    path = parser.parse_args(arguments).notebook
    notebook = nbformat.read(path, as_version=4)
    with tempfile.TemporaryDirectory() as folder:
        folder = os.path.realpath(folder)
        checkout = os.path.join(folder, "cloudtf")
        subprocess.run(["git", "clone", "--quiet", str(ROOT), checkout], check=True)
        execute(notebook, folder)
        clean(notebook, folder)
    nbformat.validate(notebook)
    nbformat.write(notebook, path)
    print(f"{path}: {path.stat().st_size / 1000:.0f} kB")


if __name__ == "__main__":
    main()
