"""The search for a learning rate."""

from __future__ import annotations

import csv
import dataclasses
import pathlib

import numpy as np
import pytest

from cloudtf.commands import app
from cloudtf.errors import UsageError
from cloudtf.evaluation import plots
from cloudtf.training import find_rate
from cloudtf.training.config import TrainConfig
from cloudtf.training.stopping import Interrupted
from cloudtf.training.train import train


def content(folder):
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_the_command_draws_and_suggests_and_leaves_the_run_as_it_is(records_dir, tmp_path, capsys):
    flags = [
        f"--data_dir={records_dir}", f"--run_dir={tmp_path}/run", "--model=tiny",
        "--weights=none", "--batch_size=8", "--epochs=1", "--notensorboard",
    ]  # fmt: skip
    assert app.main(["train", *flags, "--find_rate"]) == 0
    out = capsys.readouterr().out
    run = tmp_path / "run"
    names = {path.name for path in run.iterdir()}
    assert names - {".lock"} == {"find_rate.csv", "find_rate.png"}
    assert plots.is_picture((run / "find_rate.png").read_bytes())
    with (run / "find_rate.csv").open(newline="") as file:
        rows = [{k: float(v) for k, v in row.items()} for row in csv.DictReader(file)]
    rates = np.array([row["learning_rate"] for row in rows])
    smoothed = np.array([row["smoothed"] for row in rows])
    assert rates[0] == pytest.approx(1e-6) and 20 < len(rows) <= find_rate.STEPS
    np.testing.assert_allclose(np.diff(np.log(rates)), np.log(rates[1] / rates[0]), rtol=1e-6)
    suggested = float(out.splitlines()[-1].removeprefix("Suggested: --learning_rate="))
    assert suggested == pytest.approx(rates[np.argmin(smoothed)] / 3, rel=0.05)
    # Then the run trains as if it had never been, and a later search leaves it as it is.
    assert app.main(["train", *flags]) == 0
    before = content(run)
    assert app.main(["train", *flags, "--find_rate"]) == 0
    after = content(run)
    changed = [path.name for path in after if before.get(path) != after[path]]
    assert set(changed) <= {"find_rate.csv", "find_rate.png"}
    assert "find_rate.csv" in changed, "it went on from the weights of the checkpoint"
    capsys.readouterr()


def test_the_suggestion_is_a_third_of_the_rate_of_the_least_loss_and_noise_is_smoothed():
    rates = np.geomspace(1e-6, 1, 61)
    bowl = (np.log10(rates) + 2) ** 2 / 10 + 0.3
    noisy = bowl + 0.05 * np.random.default_rng(0).normal(size=61)
    assert find_rate._suggest(rates, bowl).suggested == pytest.approx(1e-2 / 3, rel=0.05)
    assert 1e-3 < find_rate._suggest(rates, noisy).suggested < 1e-2
    constant = find_rate._suggest(rates, np.full(61, 0.5))
    np.testing.assert_allclose(constant.smoothed, 0.5)


def test_the_search_ends_where_the_loss_diverges(records_dir, tmp_path, monkeypatch):
    class Step:
        calls = 0

        def __init__(self, *arguments, **named):
            assert named["size"] == (32, 32), "as the first epoch has them"

        def __call__(self, batches, count):
            assert next(batches)[0].shape[1:] == (32, 32, 3)
            Step.calls += 1
            return [0.5 if Step.calls < 40 else 100.0]

    monkeypatch.setattr(find_rate, "TrainStep", Step)
    config = TrainConfig(
        data_dir=records_dir, run_dir=str(tmp_path / "run"), model="tiny", weights="none",
        train_size="32:64",
    )  # fmt: skip
    with pytest.raises(Interrupted, match="max_minutes is over; nothing is kept, run the same"):
        find_rate.find_rate(dataclasses.replace(config, max_minutes=0.0))
    Step.calls = 0
    found = find_rate.find_rate(config)
    assert len(found.rates) == len(found.losses) == Step.calls and 40 <= Step.calls <= 42


def test_training_is_not_asked_to_search(tmp_path):
    config = TrainConfig(data_dir="d", run_dir=str(tmp_path / "run"), find_rate=True)
    with pytest.raises(UsageError, match=r"find_rate=True is not training; call cloudtf.find_rate"):
        train(config)
    assert not pathlib.Path(config.run_dir).exists()
