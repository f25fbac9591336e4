"""`--profile`: a trace of the steps asked for, and of no others."""

from __future__ import annotations

import glob
import re

import pytest
import tensorflow as tf

from cloudtf.errors import UsageError
from cloudtf.training.config import TrainConfig
from cloudtf.training.profiling import StepProfiler
from cloudtf.training.train import train


def traces(run_dir):
    return glob.glob(f"{run_dir}/tensorboard/plugins/profile/*/*.xplane.pb")


@pytest.fixture
def calls(monkeypatch):
    """What the profiler is told, in place of the real one."""
    told = []
    monkeypatch.setattr(tf.profiler.experimental, "start", lambda folder: told.append("start"))
    monkeypatch.setattr(tf.profiler.experimental, "stop", lambda: told.append("stop"))
    return told


def run_steps(profiler, calls, first, last, count=1):
    with profiler:
        for done in range(first - 1, last, count):
            with profiler.steps(done, count):
                calls.append(done + 1)


def test_a_run_leaves_a_trace_and_says_how_to_see_it(records_dir, tmp_path, capsys):
    train(
        TrainConfig(
            data_dir=records_dir,
            run_dir=str(tmp_path / "run"),
            model="tiny",
            weights="none",
            epochs=1,
            batch_size=8,
            train_metric_examples=0,
            profile="3:4",
        )
    )
    (trace,) = traces(tmp_path / "run")
    with open(trace, "rb") as file:
        content = file.read()
    # The names of the step and of its operations are in it.
    assert b"train" in content and b"Conv2D" in content
    found = re.search(r"^Steps 3 to 4 are traced. .*$", capsys.readouterr().out, re.M)
    assert f"--logdir={tmp_path}/run/tensorboard" in found[0]


def test_only_the_window_is_traced(calls):
    run_steps(StepProfiler((3, 4), "run", 6), calls, 1, 6)
    assert calls == [1, 2, "start", 3, 4, "stop", 5, 6]


def test_several_steps_a_call_are_traced_with_those_that_share_it(calls, capsys):
    run_steps(StepProfiler((4, 5), "run", 12), calls, 1, 12, count=3)
    assert calls == [1, "start", 4, "stop", 7, 10]
    assert capsys.readouterr().out.startswith("Steps 4 to 6 are traced.")


def test_the_trace_ends_with_the_epoch(calls):
    profiler = StepProfiler((2, 9), "run", 12)
    run_steps(profiler, calls, 1, 3)
    run_steps(profiler, calls, 4, 6)
    assert calls == [1, "start", 2, 3, "stop", 4, 5, 6]


def test_the_trace_ends_with_an_error(calls):
    profiler = StepProfiler((1, 9), "run", 12)
    with pytest.raises(RuntimeError), profiler, profiler.steps(0, 1):
        raise RuntimeError
    assert calls == ["start", "stop"]


def test_a_resumed_run_past_the_window_says_so_once(calls, capsys):
    run_steps(StepProfiler((3, 4), "run", 9), calls, 5, 7)
    assert calls == [5, 6, 7]
    assert capsys.readouterr().out == "profile='3:4': these steps are over; nothing is traced.\n"


def test_a_window_beyond_the_end_is_refused_at_the_start():
    with pytest.raises(UsageError, match="profile='7:8': the run has only 6 steps"):
        StepProfiler((7, 8), "run", 6)


@pytest.mark.parametrize("text", ["", "9", "0:4", "5:4", "a:b", "1:2:3", "-1:2"])
def test_what_is_no_window_is_refused(text):
    with pytest.raises(UsageError, match=f"profile={text!r} must be the first and the last"):
        TrainConfig(data_dir="a", run_dir="b", profile=text)
