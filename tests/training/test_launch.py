"""The launcher, with small programs in the place of training."""

from __future__ import annotations

import concurrent.futures
import contextlib
import io
import json
import os
import pathlib
import re
import signal
import socket
import subprocess
import sys
import textwrap
import time

import pytest

from cloudtf import network
from cloudtf.commands import app
from cloudtf.training import launch as launch_module
from cloudtf.training.config import TrainConfig
from cloudtf.training.launch import LaunchConfig, WorkerFailed, copy_lines, environments, launch
from tests import programs

ROOT = pathlib.Path(__file__).parents[2]


def started(doing, *arguments, workers=2, grace_seconds=10, **settings):
    launch(
        programs.command("stand_in_worker", doing, *arguments),
        LaunchConfig(workers=workers, **settings),
        grace_seconds=grace_seconds,
    )


@pytest.fixture()
def in_background():
    """Starts a launcher in a process of its own; it and its workers are gone after the test."""
    processes = []

    def start(doing):
        worker = programs.command("stand_in_worker", doing)
        processes.append(
            subprocess.Popen(
                programs.command("launch_program", 2, 0, 120, *worker),
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                encoding="utf-8",
            )
        )
        return processes[-1]

    yield start
    for process in processes:
        process.kill()
        process.wait()


def gone(pid):
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        try:
            with open(f"/proc/{pid}/stat", encoding="ascii") as file:
                state = file.read().rsplit(")", 1)[1].split()[0]
        except (FileNotFoundError, ProcessLookupError):
            return True
        if state == "Z":
            return True
        time.sleep(0.05)
    return False


def test_workers_get_one_cluster_and_their_own_number(capfd):
    started("show_config", workers=3)
    out, err = capfd.readouterr()
    found = {line[:4]: json.loads(line[4:]) for line in out.splitlines()}
    assert sorted(found) == ["[0] ", "[1] ", "[2] "]
    clusters = [task["cluster"] for task in found.values()]
    assert clusters[0] == clusters[1] == clusters[2]
    assert len(set(clusters[0]["worker"])) == 3
    assert all(host.startswith("127.0.0.1:") for host in clusters[0]["worker"])
    for prefix, task in found.items():
        assert task["task"] == {"type": "worker", "index": int(prefix[1])}
    assert sorted(err.splitlines()) == ["[0] oops", "[1] oops", "[2] oops"]


def test_lines_are_not_mixed_with_those_of_another_worker(capfd):
    started("print_lines", workers=4)
    lines = capfd.readouterr().out.splitlines()
    wanted = {f"[{i}] " + "abcdefgh"[i] * 200 for i in range(4)}
    assert len(lines) == 1200
    assert set(lines) == wanted


@pytest.mark.parametrize(
    ("said", "shown"),
    [
        (b"one\ntwo", "> one\n> two\n"),
        (b"one\r\n\ntwo\n", "> one\n>\n> two\n"),
        ("größe\n".encode(), "> größe\n"),
        (b"\xff\n", "> \ufffd\n"),
        # Of many states of a bar the first is shown; what it is wiped with is not.
        (b"\r1/9\r2/9\r3/9\r    \rdone\n", "> 1/9\n> done\n"),
        (b"", ""),
    ],
)
@pytest.mark.parametrize("size", [1, 3, 100])
def test_output_is_copied_by_lines(said, shown, size):
    class Pieces(io.BytesIO):
        def read1(self, _):
            return self.read(size)

    target = io.StringIO()
    copy_lines(Pieces(said), "> ", target)
    assert target.getvalue() == shown


def test_the_first_failure_stops_the_others_and_gives_the_status(tmp_path, capfd):
    with pytest.raises(WorkerFailed) as caught:
        started("fail_alone", tmp_path, workers=3)
    assert caught.value.exit_status == 7
    assert str(caught.value) == (
        "worker 1 ended with status 7 and the others were stopped; what it said is above."
    )
    assert sorted(capfd.readouterr().out.splitlines()) == ["[0] saved", "[2] saved"]


def test_a_worker_that_hangs_does_not_hold_up_the_end():
    began = time.monotonic()
    with pytest.raises(WorkerFailed, match="worker 0 was killed by signal 9"):
        started("hang", grace_seconds=3)
    assert time.monotonic() - began < 30


def test_after_a_crash_all_start_again_as_often_as_asked(tmp_path, capfd):
    started("crash_twice", tmp_path, restarts=2)
    assert sorted(p.name[0] for p in tmp_path.iterdir()) == ["0"] * 3 + ["1"] * 3
    err = capfd.readouterr().err.splitlines()
    assert err == [
        "cloudtf launch: worker 0 was killed by signal 9; all start again from the last "
        f"checkpoint ({left} more such times)."
        for left in (2, 1)
    ]


@pytest.mark.parametrize("status", [1, 2, 75])
def test_bad_input_and_the_time_limit_are_not_tried_again(status, tmp_path):
    with pytest.raises(WorkerFailed) as caught:
        started("end_with", tmp_path, status, restarts=3)
    assert caught.value.exit_status == status
    assert len(list(tmp_path.iterdir())) == 2


@pytest.mark.parametrize(("number", "status"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_is_handed_on_and_waited_for(in_background, number, status):
    process = in_background("wait")
    begun = [process.stdout.readline(), process.stdout.readline()]
    assert sorted(line[:4] for line in begun) == ["[0] ", "[1] "]
    process.send_signal(number)
    out, _ = process.communicate(timeout=120)
    assert process.returncode == status
    assert sorted(out.splitlines()) == ["[0] saved", "[1] saved"]


def test_a_second_ctrl_c_does_not_wait(in_background):
    process = in_background("only_hear")
    for word in ("ready", "heard"):
        lines = [process.stdout.readline(), process.stdout.readline()]
        assert sorted(lines) == [f"[0] {word}\n", f"[1] {word}\n"]
        process.send_signal(signal.SIGINT)
    process.communicate(timeout=120)
    assert process.returncode == 130


@pytest.mark.skipif(sys.platform != "linux", reason="the kernel's own means")
def test_workers_do_not_outlive_a_launcher_that_is_killed(in_background):
    process = in_background("wait")
    pids = [int(process.stdout.readline().split()[1]) for _ in range(2)]
    process.kill()
    process.wait()
    assert all(gone(pid) for pid in pids)


def reached_from_here(ports):
    """Whether a program outside reaches any of the ports, by any address of this machine."""
    own = {"127.0.0.1", "::1", socket.gethostbyname(socket.gethostname())}
    for address in own:
        for port in ports:
            with contextlib.suppress(OSError):
                socket.create_connection((address, port), 5).close()
                return True
    return False


@pytest.mark.parametrize("why", ["", "data_dir='gs://a' is not on this machine"])
def test_nobody_else_reaches_the_workers_ports_or_it_is_said(tmp_path, capfd, why):
    if not why:
        try:
            with network.own_network():
                pass
        except OSError as error:
            pytest.skip(f"no network namespaces here: {error}")
    (tmp_path / "meet").mkdir()
    found = []

    def try_it():
        deadline = time.monotonic() + 60
        while len(list(tmp_path.glob("ports-*.json"))) < 2 and time.monotonic() < deadline:
            time.sleep(0.05)
        hosts = json.loads((tmp_path / "ports-0.json").read_text())
        found.append(reached_from_here([int(host.rpartition(":")[2]) for host in hosts]))
        (tmp_path / "tried").touch()

    with concurrent.futures.ThreadPoolExecutor() as pool:
        trying = pool.submit(try_it)
        command = programs.command("stand_in_worker", "listen", tmp_path / "meet", tmp_path)
        launch(command, LaunchConfig(workers=2), needs_others=why)
        trying.result()
    assert found == [bool(why)]
    said = capfd.readouterr().out
    assert said.count(", true]") == (2 if why else 0)
    assert ("Note: the workers are not in a network of their own (data_dir" in said) == bool(why)


@pytest.mark.parametrize(
    "settings, why",
    [
        ({}, ""),
        ({"run_dir": "gs://a/b"}, "run_dir='gs://a/b' is not on this machine"),
        ({"data_dir": "hdfs://a/b"}, "data_dir='hdfs://a/b' is not on this machine"),
        ({"data_service": "grpc://a:5050"}, "data_service='grpc://a:5050' is not on this machine"),
        ({"data_dir": "file:///a"}, ""),
        ({"weights": "imagenet"}, "weights='imagenet' is still to be downloaded"),
        ({"weights": "imagenet", "model": "efficientnetlite0"}, ""),
    ],
)
def test_what_needs_other_machines_is_named(settings, why, monkeypatch):
    monkeypatch.setattr("cloudtf.model.weights.cached", lambda *_: None)
    given = {"data_dir": "a", "run_dir": "b", "weights": "none", **settings}
    assert launch_module.needs_others(TrainConfig(**given)) == why


def test_listed_gpus_are_dealt_out():
    def listed(workers, **base):
        return [e.get("CUDA_VISIBLE_DEVICES") for e in environments(workers, base)]

    assert listed(2, CUDA_VISIBLE_DEVICES="0,1,2,3") == ["0,1", "2,3"]
    assert listed(2, CUDA_VISIBLE_DEVICES="GPU-a,GPU-b,GPU-c") == ["GPU-a", "GPU-b"]
    assert listed(2, CUDA_VISIBLE_DEVICES="0") == ["0", "0"]
    assert listed(2, CUDA_VISIBLE_DEVICES="") == ["", ""]
    assert listed(2) == [None, None]


def test_what_follows_the_dashes_is_the_workers_command(monkeypatch):
    given = []
    monkeypatch.setattr(
        "cloudtf.commands.launch.launch", lambda *arguments, **options: given.append(arguments)
    )
    flags = ["--data_dir=a", "--run_dir=b", "--epochs=2", "--weights=none"]
    assert app.main(["launch", "--workers=3", "--", "train", *flags]) == 0
    ((command, config),) = given
    assert config == LaunchConfig(workers=3)
    assert command == [
        sys.executable, "-m", "cloudtf", "train", *flags, "--strategy=multi_worker",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--workers=2"], "after -- comes the command train"),
        (["--workers=2", "train"], "'train' is not a flag"),
        (["--", "evaluate"], "after -- comes the command train"),
        (["--workers=0", "--", "train"], "--workers=0 must be at least 1."),
        (["--", "train", "--run_dir=a"], "--data_dir is required"),
        (["--", "train", "--data_dir=a", "--run_dir=b", "--lr=1"], "'lr'"),
        (["--", "train", "--data_dir=a", "--run_dir=b", "--strategy=gpu"], "--strategy=gpu is not"),
    ],
)
def test_wrong_usage_starts_nothing(arguments, sentence, monkeypatch, capsys):
    monkeypatch.setattr(launch_module, "_run", lambda *_: pytest.fail("started"))
    assert app.main(["launch", *arguments]) == 2
    err = capsys.readouterr().err
    assert err.startswith("cloudtf launch: ") and sentence in err
    assert len(err.splitlines()) == 1


# The scripts of docs/CLUSTERS.md, with stand-ins for the scheduler and for cloudtf.

STAND_INS = {
    "cloudtf": 'printf "%s" "$TF_CONFIG" > "$OUT/$RANK"; echo "$@" >> "$OUT/commands"',
    "scontrol": "printf 'node%s\\n' 1 2 3",
    "srun": 'shift; for i in 0 1 2; do RANK=$i SLURM_PROCID=$i "$@" || exit 1; done',
}


@pytest.fixture()
def scripts(tmp_path):
    """Runs a script; the TF_CONFIG of each worker."""
    (tmp_path / "bin").mkdir()
    (tmp_path / "out").mkdir()
    for name, body in STAND_INS.items():
        path = tmp_path / "bin" / name
        path.write_text(f"#!/bin/bash\n{body}\n")
        path.chmod(0o755)

    def run(script, **variables):
        path = f"{tmp_path}/bin:{os.environ['PATH']}"
        out = tmp_path / "out"
        environment = {**os.environ, "PATH": path, "OUT": str(out), **variables}
        subprocess.run(["bash", "-c", script], check=True, env=environment)
        lines = (out / "commands").read_text().splitlines()
        assert set(lines) == {
            "train --flagfile=flags/multi_worker.flags --data_dir=/shared/records "
            "--run_dir=/shared/runs/a"
        }
        return {p.name: json.loads(p.read_text()) for p in out.iterdir() if p.name != "commands"}

    return run


def blocks(language):
    text = (ROOT / "docs" / "CLUSTERS.md").read_text(encoding="utf-8")
    return re.findall(rf"^```{language}\n(.*?)^```", text, re.M | re.S)


def test_the_slurm_script_tells_each_worker_who_it_is(scripts):
    (script,) = blocks("bash")
    found = scripts(script, SLURM_JOB_NODELIST="node[1-3]")
    hosts = ["node1:23456", "node2:23456", "node3:23456"]
    assert found == {
        str(i): {"cluster": {"worker": hosts}, "task": {"type": "worker", "index": i}}
        for i in range(3)
    }


def test_the_kubernetes_pods_are_told_who_they_are(scripts):
    (text,) = blocks("yaml")
    script = textwrap.dedent(text.split("- |\n")[1].split("        resources:")[0])
    found = scripts(script, JOB_COMPLETION_INDEX="2", RANK="2")
    hosts = [f"clouds-{i}.clouds:23456" for i in range(4)]
    task = {"type": "worker", "index": 2}
    assert found == {"2": {"cluster": {"worker": hosts}, "task": task}}
    assert len(hosts) == int(re.search(r"completions: (\d+)", text).group(1))
