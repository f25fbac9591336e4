"""The programs of docs/CUSTOM.md run as they stand, and their runs go on like any other."""

import pathlib
import re
import shutil

import pytest

import cloudtf

TEXT = (pathlib.Path(cloudtf.__file__).parents[1] / "docs" / "CUSTOM.md").read_text()
IMPORTS, *PROGRAMS = re.findall(r"^```python\n(.*?)^```$", TEXT, re.MULTILINE | re.DOTALL)


def test_a_program_has_ten_lines_or_fewer():
    assert len(PROGRAMS) == 4
    for program in PROGRAMS:
        assert len([line for line in program.splitlines() if line.strip()]) <= 10, program


# The first is slow: tracing EfficientNetV2 twice takes half a minute.
CASES = [
    pytest.param(program, id=name, marks=[pytest.mark.slow] * (name == "network"))
    for program, name in zip(PROGRAMS, ("network", "loss", "augmentation", "callback"))
]


@pytest.mark.parametrize("program", CASES)
def test_a_program_runs_and_goes_on(program, records_dir, tmp_path, monkeypatch, capsys):
    shutil.copytree(records_dir, tmp_path / "records")
    monkeypatch.chdir(tmp_path)
    # As much as an epoch of the small set needs.
    program = IMPORTS + program.replace("epochs=1", "epochs=1, batch_size=16, tensorboard=False")
    exec(compile(program, "CUSTOM.md", "exec"), {})
    (run,) = (tmp_path / "runs").iterdir()
    assert cloudtf.history_frame(str(run))["epoch"].tolist() == [1]
    metrics = cloudtf.evaluate(cloudtf.EvaluateConfig(run_dir=str(run), data_dir="records"))
    assert 0 < metrics["pr_auc"]["mean"] <= 1
    capsys.readouterr()
    exec(compile(program.replace("epochs=1", "epochs=2"), "CUSTOM.md", "exec"), {})
    assert "Going on after step 3 (1 epochs done)." in capsys.readouterr().out
    assert cloudtf.history_frame(str(run))["epoch"].tolist() == [1, 2]
