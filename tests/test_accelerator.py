"""benchmarks/accelerator.py where there is no accelerator: its shortest form, and what it marks."""

import json
import pathlib
import sys
import types

import pytest
import tensorflow as tf

from cloudtf import errors

BENCHMARKS = pathlib.Path(__file__).parents[1] / "benchmarks"
MODULES = ("accelerator", "data", "harness")


@pytest.fixture
def given(monkeypatch, tmp_path):
    """The values of its flags."""
    values = {"shortest": True, "images": 16, "batch_size": 8, "minutes": 1.0, "write": None}
    return types.SimpleNamespace(json=None, work_dir=str(tmp_path), **values)


@pytest.fixture
def accelerator(monkeypatch, given):
    """The script as its command imports it."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    for name in MODULES:
        monkeypatch.delitem(sys.modules, name, raising=False)
    import accelerator
    import harness

    for module in (accelerator, harness):
        monkeypatch.setattr(module, "FLAGS", given)
    yield accelerator
    for name in MODULES:
        sys.modules.pop(name, None)


def test_the_shortest_form_writes_a_table_of_cloudtfs_own_step(accelerator, given, tmp_path):
    given.write, given.json = str(tmp_path / "table.md"), str(tmp_path / "table.json")
    accelerator.main()
    (case,) = json.loads((tmp_path / "table.json").read_text())["cases"]
    assert not case["why"] and min(case[part] for part in ("device", "loop", "input", "start")) > 0
    lines = (tmp_path / "table.md").read_text().splitlines()
    cells = [cell.strip() for cell in lines[-1].strip("|").split("|")]
    assert cells[:6] == ["tiny", "32", "float32", "no", "host", "2"]
    assert cells[8].endswith("%") and all(cells)


def test_without_a_gpu_one_sentence_says_so(accelerator, given, monkeypatch):
    given.shortest = False
    monkeypatch.setattr(tf.config, "list_logical_devices", lambda kind: [])
    with pytest.raises(SystemExit, match="TensorFlow sees no GPU here, .* --shortest"):
        accelerator.main()


def test_all_that_was_asked_for_is_measured_or_marked(accelerator, given, monkeypatch):
    given.shortest = False
    wanted = accelerator.settings()
    assert len(set(wanted)) == len(wanted) == 20
    assert {(s.model, s.size) for s in wanted[:4]} == {
        (model, size) for model in ("efficientnetb0", "efficientnetb2") for size in (224, 380)
    }
    clock = [0.0]
    monkeypatch.setattr(accelerator.time, "monotonic", lambda: clock[0])
    failures = {
        wanted[1]: errors.out_of_memory("A step of 64 images"),
        wanted[2]: tf.errors.ResourceExhaustedError(None, None, "OOM"),
        wanted[3]: errors.UserError("XLA is not there."),
    }

    def measure(setting):
        if setting in failures:
            raise failures[setting]
        clock[0] += 30
        return accelerator.Found(0.010, 0.0125, 0.002, 7.0)

    found = dict(accelerator.measure_all(wanted, measure, 540.0))
    whys = [found[setting].why for setting in wanted]
    assert whys[:5] == ["", "out of memory", "out of memory", "XLA is not there", ""]
    assert set(whys[5:]) == {""}
    clock[0] = 0.0
    found = dict(accelerator.measure_all(wanted, measure, 100.0))
    assert [setting for setting in wanted if found[setting].why == "no time left"] == wanted[6:]
    assert accelerator.row(wanted[0], found[wanted[0]], 64)[6:] == (
        "10.00", "12.50", "20%", "5,120", "6,400", "32,000", "7.0",
    )  # fmt: skip
    assert accelerator.row(wanted[1], found[wanted[1]], 64)[6] == "out of memory"
