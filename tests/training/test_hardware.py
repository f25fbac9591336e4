"""The choice of hardware, and two replicas against one through the whole of `train`."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf

from cloudtf.commands import app
from cloudtf.errors import UsageError, UserError
from cloudtf.training import hardware
from cloudtf.training.launch import environments
from cloudtf.training.workers import Workers
from tests import programs

HERE = '{"cluster": {"worker": ["localhost:1"]}, "task": {"type": "worker", "index": %s}}'


@pytest.fixture(autouse=True)
def no_cluster(monkeypatch):
    for name in ("TF_CONFIG", "TPU_NAME", "TPU_ACCELERATOR_TYPE"):
        monkeypatch.delenv(name, raising=False)


@pytest.mark.skipif(bool(tf.config.list_physical_devices("GPU")), reason="there is a GPU")
@pytest.mark.parametrize(
    ("strategy", "sentence"),
    [
        (
            "gpu",
            "TensorFlow sees no GPU here; choose a GPU runtime, or install the classic-gpu or "
            "current-gpu extra",
        ),
        ("mirrored", "--strategy=mirrored needs two GPUs or more, and TensorFlow sees 0"),
        ("multi_worker", "needs the environment variable TF_CONFIG"),
    ],
)
def test_hardware_that_is_not_there_is_one_sentence(
    strategy, sentence, records_dir, tmp_path, capsys
):
    flags = [f"--data_dir={records_dir}", f"--run_dir={tmp_path}/run", f"--strategy={strategy}"]
    assert app.main(["train", *flags]) == 1
    err = capsys.readouterr().err
    assert sentence in err and len(err.splitlines()) == 1
    assert not os.path.exists(f"{tmp_path}/run")


@pytest.mark.parametrize(
    ("cluster", "here"),
    [
        ({"worker": ["a:1", "a:2", "b:1"]}, 2),
        ({"worker": ["a:1", "b:1"], "chief": ["a:7"]}, 2),
        ({"worker": ["[::1]:1", "[::1]:2"]}, 2),
        ({"worker": ["a:1", "b:1"], "ps": ["a:9"]}, 1),
    ],
)
def test_the_workers_on_one_machine_are_counted(cluster, here, monkeypatch):
    task = {"type": "worker", "index": 0}
    monkeypatch.setenv("TF_CONFIG", json.dumps({"cluster": cluster, "task": task}))
    assert hardware.workers_here("multi_worker") == here
    assert hardware.workers_here("auto") == 1


def test_a_tpu_that_is_not_there_is_one_sentence(records_dir, tmp_path):
    # In a process of its own: a failed start of a TPU leaves TensorFlow's context changed.
    flags = [f"--data_dir={records_dir}", f"--run_dir={tmp_path}/run", "--strategy=tpu"]
    done = subprocess.run(
        [sys.executable, "-m", "cloudtf", "train", *flags],
        capture_output=True,
        encoding="utf-8",
        timeout=90,
    )
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    last = done.stderr.splitlines()[-1]
    assert last.startswith(
        "cloudtf train: --strategy=tpu: no TPU could be reached as --tpu=local ("
    )
    assert last.endswith("elsewhere give its name or grpc:// address.")


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("x", "JSONDecodeError"),
        ("[]", "TypeError"),
        ('{"cluster": {"worker": ["a:1"]}}', "KeyError: 'task'"),
        (HERE % 1, "there is no host number 1"),
        (HERE % -1, "there is no host number -1"),
        (HERE.replace('["localhost:1"]', '"localhost:1"') % 0, "there is no host number 0"),
        (HERE.replace('"type": "worker"', '"type": "chief"') % 0, "KeyError: 'chief'"),
        (HERE % '"first"', "ValueError"),
        (HERE.replace('"type": "worker"', '"type": "evaluator"') % 0, "a chief or a worker"),
    ],
)
def test_a_tf_config_that_names_no_worker_is_one_sentence(text, reason, monkeypatch):
    monkeypatch.setenv("TF_CONFIG", text)
    with pytest.raises(UserError) as caught:
        hardware.make_strategy("multi_worker")
    assert "TF_CONFIG does not name this worker" in str(caught.value)
    assert reason in str(caught.value)
    assert '{"cluster": {"worker": ["host1:2222", "host2:2222"]}' in str(caught.value)


def test_auto_takes_what_is_there(monkeypatch):
    if not tf.config.list_logical_devices("GPU"):
        strategy = hardware.make_strategy("auto")
        assert hardware.describe(strategy) == "1 x CPU (OneDeviceStrategy)"
        assert hardware.accelerator(strategy) == "CPU"
        assert Workers(strategy).is_chief
    # A TPU VM says so in its environment.
    monkeypatch.setenv("TPU_ACCELERATOR_TYPE", "v5litepod-8")
    monkeypatch.setattr(hardware, "_tpu_strategy", lambda tpu: f"TPU {tpu}")
    assert hardware.make_strategy("auto", tpu="mine") == "TPU mine"
    assert hardware.make_strategy("cpu").num_replicas_in_sync == 1


def test_a_batch_that_replicas_cannot_share_is_refused():
    class Three:
        num_replicas_in_sync = 3

    assert hardware.per_replica_batch(Three(), 12) == 4
    with pytest.raises(UsageError, match=r"batch_size=32 cannot be shared by 3 replicas; .* 30"):
        hardware.per_replica_batch(Three(), 32)
    with pytest.raises(UsageError, match="such as 3"):
        hardware.per_replica_batch(Three(), 2)


def test_an_unknown_strategy_is_a_usage_error():
    with pytest.raises(UsageError, match="strategy='quantum'"):
        hardware.make_strategy("quantum")


def start(records_dir, folder, kind, **variables):
    command = programs.command("train_on_replicas", records_dir, folder, kind)
    return subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        encoding="utf-8",
        env={**os.environ, **variables},
    )


@pytest.fixture(scope="module")
def result(records_dir, tmp_path_factory):
    """Runs of the same settings on one device, on two replicas, and as the only worker."""
    (worker,) = environments(1, {})
    folder = tmp_path_factory.mktemp("replicas")
    processes = [
        start(records_dir, folder, "mirrored"),
        start(records_dir, folder, "worker", TF_CONFIG=worker["TF_CONFIG"]),
    ]
    found = {}
    for process in processes:
        out, err = process.communicate(timeout=280)
        assert process.returncode == 0, err
        found.update(programs.result(out))
    return found


def losses(result, name):
    return [row[key] for row in result[name]["history"] for key in ("loss", "val_loss")]


@pytest.mark.parametrize("other", ["two", "many", "worker"])
def test_the_same_global_batch_trains_the_same(result, other):
    one = losses(result, "one")
    assert abs(one[-2] - one[0]) > 0.01, "it learns something"
    np.testing.assert_allclose(losses(result, other), one, rtol=1e-3)
    rates = [[row["learning_rate"] for row in result[name]["history"]] for name in ("one", other)]
    assert rates[0] == rates[1]
    assert len(result["one"]["history"]) == 3
    for mine, its in zip(result["one"]["weights"], result[other]["weights"]):
        np.testing.assert_allclose(its, mine, rtol=2e-2, atol=2e-3)


def test_replicas_fit_the_same_head_on_features(result):
    assert [row["stage"] for row in result["fitted"]["history"]] == ["features"]
    np.testing.assert_allclose(losses(result, "fitted_by_two"), losses(result, "fitted"), rtol=1e-3)
    for mine, its in zip(result["fitted"]["weights"], result["fitted_by_two"]["weights"]):
        np.testing.assert_allclose(its, mine, rtol=1e-3, atol=1e-3)


def test_batch_norm_of_each_replica_alone_does_not(result):
    difference = np.abs(np.subtract(losses(result, "apart"), losses(result, "one")))
    assert difference.max() > 1e-3


def test_replicas_may_have_their_step_compiled(result):
    np.testing.assert_allclose(losses(result, "compiled"), losses(result, "apart"), rtol=1e-3)


def test_a_compiled_step_with_sums_over_replicas_is_refused_before_anything_is_made(result):
    assert result["refused"] == [
        f"jit_compile=True cannot be had with {sums} on 2 replicas, over which that takes sums; "
        "leave one of the two out."
        for sums in ("sync_batch_norm=True", "loss='dice'", "loss='bce_dice'")
    ]
    assert not result["begun"]


def test_replicas_are_described_and_the_strategy_is_made_once(result):
    assert result["described"] == "2 x CPU (MirroredStrategy)"
    assert result["same"]


@pytest.mark.skipif(
    tuple(map(int, tf.__version__.split(".")[:2])) < (2, 21) or sys.platform != "linux",
    reason="malloc learns by itself",
)
def test_the_memory_of_a_step_is_not_mapped_anew_for_the_next():
    assert programs.answer("memory_of_steps") == 0
