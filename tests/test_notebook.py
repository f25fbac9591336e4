"""The notebook for Colab: its saved outputs are of a real run, and it runs again."""

from __future__ import annotations

import ast
import importlib.util
import json
import pathlib
import re
import sys

import pytest

import cloudtf

ROOT = pathlib.Path(__file__).parents[1]
PATH = ROOT / "notebooks" / "colab.ipynb"
NOTEBOOK = json.loads(PATH.read_text(encoding="utf-8"))
CODE = [cell for cell in NOTEBOOK["cells"] if cell["cell_type"] == "code"]
# So that the run takes seconds: what the cells say -> what the test runs.
SMALLER = {
    "num_images=800": "num_images=80",
    "num_test_images=60": "num_test_images=6",
    "image_height=466": "image_height=64",
    "image_width=700": "image_width=96",
    "image_height=64": "image_height=32",
    "image_width=64": "image_width=32",
    '"efficientnetb0"': '"tiny"',
    "epochs=14": "epochs=2",
}


def source(cell):
    return "".join(cell["source"])


def without_magics(text):
    return re.sub(r"^%.*$", "", text, flags=re.M)


def printed(cells):
    return "".join("".join(o.get("text", "")) for c in cells for o in c["outputs"])


@pytest.fixture
def tool():
    pytest.importorskip("nbclient")
    pytest.importorskip("ipykernel")
    spec = importlib.util.spec_from_file_location("run_notebook", ROOT / "tools/run_notebook.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_what_the_notebook_calls_exists_and_takes_the_settings_it_gives():
    called = set()
    for cell in CODE:
        for node in ast.walk(ast.parse(without_magics(source(cell)))):
            if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Attribute):
                continue
            if isinstance(node.func.value, ast.Name) and node.func.value.id == "cloudtf":
                name = node.func.attr
                called.add(name)
                given = {k.arg: k.value for k in node.keywords}
                if name.endswith("Config"):
                    fields = getattr(cloudtf, name).__dataclass_fields__
                    assert set(given) <= set(fields), name
                    # Ranges and choices are checked by the dataclass; names stand for paths.
                    getattr(cloudtf, name)(
                        **{
                            k: v.value if isinstance(v, ast.Constant) else "a path"
                            for k, v in given.items()
                        }
                    )
    steps = {"synthesize", "convert", "train", "preview", "evaluate", "predict", "postprocess"}
    assert steps | {"open_dataset", "load_model"} <= called


def test_the_second_cell_already_trains():
    assert "%pip install" in source(CODE[0]) and "cloudtf.train(" in source(CODE[1])
    assert re.match(r"# SET THIS: .*\nCLOUDTF = ", source(CODE[0]))


def test_the_first_cell_says_what_to_do_where_the_project_is_not_there(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    check = source(CODE[0]).partition("%pip")[0]
    with pytest.raises(SystemExit, match=r"^There is no \./cloudtf here: upload or clone .*\.$"):
        exec(check, {})
    exec(check.replace("./cloudtf", "git+https://example.org/cloudtf"), {})
    (tmp_path / "cloudtf").mkdir()
    exec(check, {})


def test_the_saved_outputs_are_of_one_whole_run_on_the_current_stack():
    assert PATH.stat().st_size < 1_000_000
    assert [cell["execution_count"] for cell in CODE] == list(range(1, len(CODE) + 1))
    kinds = {output["output_type"] for cell in CODE for output in cell["outputs"]}
    assert "error" not in kinds and "display_data" in kinds
    first, training, *_ = (printed([cell]) for cell in CODE)
    found = re.search(
        rf"cloudtf {cloudtf.__version__}, Python 3\.(\d+).*TensorFlow 2\.(\d+)", first
    )
    assert found and int(found[1]) >= 12
    # `make notebook` gives them again.
    lock = (ROOT / "requirements" / "notebook.txt").read_text()
    assert f"\ntensorflow==2.{found[2]}." in lock
    assert re.search(r"^epoch .*\bbest\b", training, re.M)
    everything = json.dumps([cell["outputs"] for cell in CODE])
    assert not re.search(r"/(tmp|root|home|work|opt|Users|usr)/", everything)
    assert printed(CODE[-3:]).count("Not on Colab") == 2 and "No GPU here" in printed(CODE[-1:])


def test_it_learns_in_its_saved_run():
    (table,) = [c for c in CODE if "cloudtf.evaluate(" in source(c)]
    text = "".join(table["outputs"][0]["data"]["text/plain"])
    assert float(re.search(r"^mean +[\d.]+ +([\d.]+)", text, re.M)[1]) > 0.8


def test_a_cleaned_stream_is_what_a_terminal_shows(tool):
    text = "a\nbar  10%\rbar 100%\n\n\nlonger\rshort\n\x1b[A\x1b[32mgreen\x1b[0m\r\n"
    assert tool.shown(text) == "a\nbar 100%\nshortr\ngreen\n"


def run(tool, folder, changes):
    import nbformat

    notebook = nbformat.read(PATH, as_version=4)
    for old, new in changes.items():
        assert any(old in cell.source for cell in notebook.cells), old
        for cell in notebook.cells:
            cell.source = re.sub(rf"\b{re.escape(old)}" if old[0].isalpha() else re.escape(old),
                                 new, cell.source)  # fmt: skip
    # cloudtf is installed already in the environment of the tests.
    first = notebook.cells[1]
    first.source = without_magics(first.source).replace('"./cloudtf"', '"."')
    tool.execute(notebook, str(folder))
    tool.clean(notebook, str(folder))
    return notebook


@pytest.mark.timeout(600)
def test_it_runs_from_top_to_bottom(tool, tmp_path):
    notebook = run(tool, tmp_path, SMALLER)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert all(cell.execution_count for cell in code)
    text = printed(code)
    assert "epoch 2 of 2" in text
    assert "Not on Colab" in text
    for name in ("preview.png", "submission.csv", "predictions.csv", "runs/first/report.html"):
        assert (tmp_path / name).stat().st_size > 0
    assert str(tmp_path) not in text and sys.prefix not in text


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_it_learns_when_run_as_it_is(tool, tmp_path):
    run(tool, tmp_path, {})
    metrics = json.loads((tmp_path / "runs/first/metrics.json").read_text())
    assert metrics["average_precision"]["mean"] > 0.8
